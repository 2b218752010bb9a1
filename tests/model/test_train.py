"""The trainer: what it learns, and that nothing can be lost or changed by stopping it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from deepflash.errors import ModelError, ShardError
from deepflash.model.enhancement.enhancer import load_enhancer
from deepflash.model.enhancement.look import Look
from deepflash.model.evaluate import evaluate
from deepflash.model.losses import picture_loss
from deepflash.model.recipe import load_recipe, recipe_names
from deepflash.model.runs import load_run
from deepflash.model.train import TrainResult, read_metrics, train
from tests.model.test_weights import as_torchvision, reference
from tests.model.tiny_dataset import TINY_RECIPE, flash_and_studio, write_shards

STEPS = 22  # 16 samples, 4 epochs, batches of 3


def stop_at(step: int) -> object:
    """Return a report that interrupts as a person would, after some steps."""

    def report(done: int, total: int, note: str) -> None:
        if done == step:
            signal.raise_signal(signal.SIGINT)

    return report


def same_weights(one: Path, other: Path) -> bool:
    a, b = (load_file(run / "weights.safetensors") for run in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns(finished: Path) -> None:
    """The loss falls, and an unseen subject's portrait is nearer to the studio than the flash picture was."""
    lines = read_metrics(finished)
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    validations = [line for line in lines if line["split"] == "val"]
    assert losses[-1] < losses[0] / 1.5
    assert validations[0]["psnr"] == pytest.approx(validations[0]["flash_psnr"], abs=0.01)  # it begins as the identity
    assert validations[-1]["psnr"] > validations[-1]["flash_psnr"] + 1


def test_a_run_holds_what_it_promises(finished: Path) -> None:
    names = {path.name.partition(".tfevents")[0] for path in finished.iterdir()}
    promised = {"run.json", "recipe.toml", "weights.safetensors", "best.safetensors", "state.pt", "metrics.jsonl", "samples"}
    assert names == {*promised, "events.out"}
    assert [path.name for path in sorted((finished / "samples").iterdir())] == ["step-000000.png", f"step-{STEPS:06d}.png"]
    assert cv2.imread(str(finished / "samples" / "step-000000.png")).shape == (32, 3 * 32, 3)
    with safe_open(finished / "weights.safetensors", framework="pt") as file:
        assert file.metadata()["step"] == str(STEPS)


def test_the_state_can_be_read_without_running_code(finished: Path) -> None:
    state = torch.load(finished / "state.pt", weights_only=True)
    assert state["step"] == STEPS


def test_a_finished_run_is_left_as_it_is(shards: Path, recipe: Path, finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    result = train(shards, finished, recipe)
    assert result.steps == result.resumed_from == STEPS
    assert result.validation is not None
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


@pytest.mark.parametrize("step", [1, 7, 10, 21])
def test_interrupted_and_resumed_ends_with_the_same_bits(
    shards: Path, recipe: Path, finished: Path, tmp_path: Path, step: int
) -> None:
    """Weights and curve, wherever the interruption falls: in an epoch, in a window of the log, before the last step."""
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(shards, run, recipe, device="cpu", report=stop_at(step))
    result = train(shards, run, recipe, device="cpu", workers=1, cache_gb=0)
    assert result.resumed_from == step
    assert same_weights(run, finished)
    assert read_metrics(run) == read_metrics(finished)


def test_killed_and_resumed_ends_with_the_same_bits(shards: Path, recipe: Path, finished: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle; the state was last saved some steps before, so the curve is taken back to there."""
    run = tmp_path / "run"
    program = (
        "import os, signal, sys; from pathlib import Path; from deepflash.model.train import train\n"
        "kill = lambda done, total, note: os.kill(os.getpid(), signal.SIGKILL) if done == 13 else None\n"
        "train(*map(Path, sys.argv[1:4]), device='cpu', save_every_s=float(sys.argv[4]), report=kill)"
    )
    command = [sys.executable, "-c", program, str(shards), str(run), str(recipe)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    assert subprocess.run([*command, "0"], check=False, env=environment).returncode == -signal.SIGKILL
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "split": "train", "loss": 9}\n{"step": 2')  # later than the state, and cut short
    assert train(shards, run, recipe, device="cpu").resumed_from == 12
    assert same_weights(run, finished)
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (run, finished)]
    assert weights[0] == weights[1], "also the file's header: the library orders it by chance"
    assert read_metrics(run) == read_metrics(finished)


def test_killed_before_the_first_save_begins_again(shards: Path, recipe: Path, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(shards, run, recipe, device="cpu", report=stop_at(3))
    (run / "state.pt").unlink()
    assert train(shards, run, recipe, device="cpu").resumed_from == 0
    assert read_metrics(run) == read_metrics(finished)


def test_sigterm_saves_and_stops(shards: Path, recipe: Path, tmp_path: Path) -> None:
    def terminate(done: int, total: int, note: str) -> None:
        if done == 5:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train(shards, tmp_path / "run", recipe, device="cpu", report=terminate)
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"] == 5


def test_signal_handlers_and_switches_are_put_back(shards: Path, recipe: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        train(shards, tmp_path / "run", recipe, device="cpu", report=stop_at(1))
    assert signal.getsignal(signal.SIGTERM) == before[0]
    assert torch.are_deterministic_algorithms_enabled() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_it_trains_in_a_thread(shards: Path, recipe: Path, tmp_path: Path) -> None:
    """Where signals cannot be caught."""
    results: list[TrainResult] = []
    short = tmp_path / "short.toml"
    short.write_text(TINY_RECIPE + "max_steps = 2\n")
    thread = threading.Thread(target=lambda: results.append(train(shards, tmp_path / "run", short, device="cpu")))
    thread.start()
    thread.join()
    assert results[0].steps == 2


def test_progress_tells_loss_speed_and_memory(shards: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.toml"
    short.write_text(TINY_RECIPE + "max_steps = 3\n")
    calls: list[tuple[int, int, str]] = []
    train(shards, tmp_path / "run", short, device="cpu", report=lambda *call: calls.append(call))
    assert [call[:2] for call in calls] == [(1, 3), (2, 3), (3, 3)]
    notes = [re.fullmatch(r"loss 0\.\d+, (?:\d\.\d|\d\d+) pictures/s, (\d+\.\d) GB", call[2]) for call in calls]
    assert all(note and 0.1 < float(note[1]) < 50 for note in notes)


def test_another_recipe_in_the_same_folder_is_refused(shards: Path, finished: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(TINY_RECIPE.replace("0.003", "0.004"))
    with pytest.raises(ModelError, match="was begun with another recipe"):
        train(shards, finished, other)


def test_another_data_set_in_the_same_folder_is_refused(finished: Path, recipe: Path, tmp_path: Path) -> None:
    other = write_shards(tmp_path / "other", {"train": range(7, 9)})
    with pytest.raises(ModelError, match=r"was begun on another data set than .*other"):
        train(other, finished, recipe)


def test_a_folder_with_something_else_in_it_is_refused(shards: Path, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(ModelError, match="is not empty and holds no run"):
        train(shards, tmp_path, recipe)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_file_in_the_place_of_the_run_is_refused(shards: Path, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"mine")
    with pytest.raises(ModelError, match="is a file; give a new or empty folder"):
        train(shards, tmp_path / "run", recipe)


def test_a_data_set_without_training_pictures_is_refused(recipe: Path, tmp_path: Path) -> None:
    empty = write_shards(tmp_path / "shards", {"test": range(1)})
    with pytest.raises(ModelError, match="has no pictures in its split train"):
        train(empty, tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


def test_too_small_pictures_are_refused_before_anything_is_written(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="wants pictures of 512 px"):
        train(shards, tmp_path / "run", "paper")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("device", ["toaster", "cuda:99"])
def test_a_device_that_is_not_there_is_a_sentence(shards: Path, recipe: Path, tmp_path: Path, device: str) -> None:
    with pytest.raises(ModelError, match=rf"device '{device}' cannot be used here .*; try cpu"):
        train(shards, tmp_path / "run", recipe, device=device)
    assert not (tmp_path / "run").exists()


def test_without_validation_pairs_it_says_so_and_trains(recipe: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    shards = write_shards(tmp_path / "shards", {"train": range(1)})
    result = train(shards, tmp_path / "run", recipe, device="cpu", report=lambda done, total, note: notes.append(note))
    assert result.validation is None
    assert notes[0] == "no validation pairs, so no validation"


def test_a_shard_cut_short_is_a_sentence(recipe: Path, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", {"train": range(1)})
    tar = next(shards.glob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:-3000])
    with pytest.raises(ShardError, match="cut short"):
        train(shards, tmp_path / "run", recipe)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_pictures(shards: Path, tmp_path: Path) -> None:
    wild = tmp_path / "wild.toml"
    wild.write_text(TINY_RECIPE.replace("0.003", "1e30").replace("warmup_steps = 2", "warmup_steps = 0"))
    with pytest.raises(ModelError, match=r"the loss became (nan|inf) in step \d+ .*pictures S00.*lower learning_rate"):
        train(shards, tmp_path / "run", wild, device="cpu")


def test_a_gpu_without_room_is_a_sentence(shards: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("deepflash.model.train._take_step", full)
    with pytest.raises(ModelError, match=r"has no memory for batches of \d+ at 32 px; .* a smaller batch"):
        train(shards, tmp_path / "run", recipe, device="cpu")


def test_a_state_from_before_there_were_judges_is_read(shards: Path, recipe: Path, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(shards, run, recipe, device="cpu", report=stop_at(7))
    state = torch.load(run / "state.pt", weights_only=True)
    del state["judge"]
    torch.save({**state, "format": 2, "unlogged": [one["loss"] for one in state["unlogged"]]}, run / "state.pt")
    assert train(shards, run, recipe, device="cpu").resumed_from == 7
    assert same_weights(run, finished)
    assert read_metrics(run) == read_metrics(finished)


@pytest.mark.parametrize("damage", [lambda state: state[:5000], lambda _state: b"garbage"])
def test_a_damaged_state_is_a_sentence(
    shards: Path, recipe: Path, finished: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Also where torch has a page to say, with advice that would run what is in the file."""
    run = tmp_path / "run"
    run.mkdir()
    for name in ("run.json", "recipe.toml"):
        (run / name).write_bytes((finished / name).read_bytes())
    (run / "state.pt").write_bytes(damage((finished / "state.pt").read_bytes()))
    with pytest.raises(ModelError, match=r"^[^\n]*state.pt is damaged [^\n]*; remove it to begin again[^\n]*$") as raised:
        train(shards, run, recipe)
    assert "weights_only" not in str(raised.value)


@pytest.mark.parametrize("damage", ["missing", "cut short", "altered"])
def test_damaged_weights_are_refused_and_written_again_from_the_state(
    shards: Path, recipe: Path, finished: Path, tmp_path: Path, damage: str
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    weights = run / "weights.safetensors"
    content = weights.read_bytes()
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(content[:1000] if damage == "cut short" else content[:-9] + b"\xff" + content[-8:])
    with pytest.raises(ModelError, match=r"give deepflash train the same command again"):
        load_run(run)
    assert train(shards, run, recipe).resumed_from == STEPS
    assert weights.read_bytes() == content


@pytest.mark.parametrize("text", ["", "{bad\n", "3\n", '{"step": 1}\n', '{"step": 9, "split": "train"}\n'])
def test_a_damaged_curve_is_a_sentence(shards: Path, recipe: Path, finished: Path, tmp_path: Path, text: str) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "metrics.jsonl").write_text(text)
    with pytest.raises(ModelError, match=r"metrics.jsonl (is damaged|lacks its last figures)"):
        train(shards, run, recipe)


def test_a_run_that_does_not_name_its_data_set_is_refused(shards: Path, recipe: Path, finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "run.json").write_text('{"format": 1}')
    with pytest.raises(ModelError, match="was begun on another data set"):
        train(shards, run, recipe)


def test_an_encoder_that_others_trained_is_taken_over_once(shards: Path, tmp_path: Path) -> None:
    """A run that goes on keeps its own weights, and does not need the file any more."""
    torch.manual_seed(0)
    weights = as_torchvision(reference(), tmp_path / "vgg16")
    text = TINY_RECIPE.replace("width = 0.0625", "width = 1.0") + f'encoder_weights = "{weights}"\nmax_steps = 1\n'
    (tmp_path / "recipe.toml").write_text(text)
    notes: list[str] = []

    train(shards, tmp_path / "run", tmp_path / "recipe.toml", report=lambda _done, _total, note: notes.append(note))
    weights.unlink()
    train(shards, tmp_path / "run", tmp_path / "recipe.toml")

    assert (
        "the encoder begins with all 13 convolutions of VGG-16, conv1_1 to conv5_3, from a file of the form torchvision"
        in notes[0]
    )
    trained = load_file(tmp_path / "run" / "weights.safetensors")
    assert trained["mean"].flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


LIGHT_RECIPE = """
network = "light"
width = 0.125
size = 32
batch = 4
epochs = 4
max_steps = 6
learning_rate = 0.003
"""


def losses_of(shards: Path, run: Path, recipe: str) -> list[float]:
    path = run.with_suffix(".toml")
    path.write_text(recipe)
    losses: list[float] = []
    train(
        shards,
        run,
        path,
        device="cpu",
        report=lambda _done, _total, note: losses.append(float(note.split()[1].strip(","))) if "loss" in note else None,
    )
    return losses


def test_a_batch_in_parts_trains_as_the_whole(shards: Path, tmp_path: Path) -> None:
    """The light network has no batch normalisation, so that only the order of additions differs."""
    whole = losses_of(shards, tmp_path / "whole", LIGHT_RECIPE)
    parts = losses_of(shards, tmp_path / "parts", LIGHT_RECIPE + "accumulate = 2\n")
    assert parts == pytest.approx(whole, rel=0.01)
    assert whole[-1] < whole[0]


def test_a_clipped_gradient_moves_the_weights_less(shards: Path, tmp_path: Path) -> None:
    """Adam divides by the gradient's size, so that a clip near its epsilon is what shows."""
    free = losses_of(shards, tmp_path / "free", LIGHT_RECIPE)
    clipped = losses_of(shards, tmp_path / "clipped", LIGHT_RECIPE + "clip = 1e-10\n")
    assert clipped[0] == free[0]
    assert abs(clipped[-1] / clipped[0] - 1) < abs(free[-1] / free[0] - 1)


def test_the_best_and_the_last_few_weights_are_kept(shards: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(TINY_RECIPE.replace("epochs = 4", "epochs = 40") + "keep = 2\n")
    train(shards, tmp_path / "run", path, device="cpu")

    validations = {line["step"]: line["psnr"] for line in read_metrics(tmp_path / "run") if line["split"] == "val"}
    steps = sorted(validations)
    kept = sorted(path.name for path in (tmp_path / "run" / "snapshots").iterdir())
    assert kept == [f"step-{step:06d}.safetensors" for step in steps[-2:]]
    with safe_open(tmp_path / "run" / "best.safetensors", framework="pt") as file:
        assert validations[int(file.metadata()["step"])] == max(validations.values())


def test_two_processes_train_as_one_with_the_same_batches(shards: Path, tmp_path: Path) -> None:
    """As `torchrun` starts them; gloo on a CPU."""
    alone = losses_of(shards, tmp_path / "alone", LIGHT_RECIPE)
    (tmp_path / "recipe.toml").write_text(LIGHT_RECIPE)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "deepflash", "train"]
    command = [*torchrun, str(shards), str(tmp_path / "two"), f"--recipe={tmp_path / 'recipe.toml'}", "--device=cpu", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 6, "one of them speaks for both"
    one, two = (read_metrics(tmp_path / run) for run in ("alone", "two"))
    assert [line["step"] for line in two] == [line["step"] for line in one]
    for ours, theirs in zip(one, two, strict=True):
        assert ours.pop("split") == theirs.pop("split")
        assert theirs == pytest.approx(ours, rel=0.01)
    assert len(alone) == 6


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_comes_with_the_package_trains_resumes_and_is_evaluated(
    name: str, shards: Path, tmp_path: Path
) -> None:
    """Small and short, and else as it is shipped."""
    patch = ["patch=32"] if load_recipe(name).patch else []
    recipe = load_recipe(name, ["size=32", *patch, "width=0.0625", "batch=4", "max_steps=4"])
    train(shards, tmp_path / "whole", recipe, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train(shards, tmp_path / "run", recipe, device="cpu", report=stop_at(2))
    assert train(shards, tmp_path / "run", recipe, device="cpu").resumed_from == 2
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    evaluation = evaluate([tmp_path / "run"], shards, device="cpu")
    assert evaluation.runs[0].mean("studio")["psnr"].mean > 4
    if name != "bokeh":  # whose photographs are tried in test_bokeh_files
        photograph = flash_and_studio(5, 50)[0][:, :41]
        assert load_enhancer(tmp_path / "run").enhance_picture(photograph, Look(whole=True)).shape == (50, 41, 3)


@pytest.mark.parametrize(
    "change",
    [
        "encoder=resnet18",
        "batch_norm=false",
        "image_skip=true",
        "ms_ssim_weight=0.1",
        "chance=flips",
        "chance=jitter",
        "patch=32",
        "other_cameras=true",
    ],
)
def test_every_option_trains_and_resumes_with_the_same_bits(change: str, shards: Path, recipe: Path, tmp_path: Path) -> None:
    plan = load_recipe(recipe, [change, "max_steps=4"])
    train(shards, tmp_path / "whole", plan, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train(shards, tmp_path / "run", plan, device="cpu", report=stop_at(3))
    train(shards, tmp_path / "run", plan, device="cpu")
    assert same_weights(tmp_path / "run", tmp_path / "whole")
    assert load_run(tmp_path / "run" / "best.safetensors").recipe == plan


@pytest.mark.parametrize("encoding", ["A", "B", "C"])
def test_other_cameras_change_what_the_network_sees_and_not_what_it_shall_make(
    encoding: str, shards: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[Tensor, Tensor]] = []

    def watched(decoded: Tensor, wanted: Tensor, **options: Any) -> Tensor:
        compared.append((decoded.detach(), wanted))
        return picture_loss(decoded, wanted, **options)

    monkeypatch.setattr("deepflash.model.train.picture_loss", watched)
    for cameras in ("false", "true"):
        changes = [f"encoding={encoding}", f"other_cameras={cameras}", "batch=16", "max_steps=1"]
        train(shards, tmp_path / cameras, load_recipe(recipe, changes), device="cpu")
    (own, wanted), (other, still_wanted) = compared
    assert torch.allclose(still_wanted, wanted, atol=1e-6)
    changed = (other - own).abs().mean(dim=(1, 2, 3)) > 0.01  # B and C begin with the picture as it was seen
    assert encoding == "A" or 4 < changed.sum() < 12


def test_bfloat16_trains_too(shards: Path, tmp_path: Path) -> None:
    path = tmp_path / "bf16.toml"
    path.write_text(TINY_RECIPE + 'precision = "bfloat16"\nmax_steps = 4\n')
    assert train(shards, tmp_path / "run", path, device="cpu").steps == 4


def test_metrics_are_lines_of_json_in_order(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["split"]) for line in lines] == [
        (0, "val"),
        (10, "train"),
        (20, "train"),
        (22, "train"),
        (22, "val"),
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
def test_a_run_goes_on_compiled_and_not_compiled(shards: Path, recipe: Path, tmp_path: Path) -> None:
    """Two steps compiled, two not, the rest compiled: names stay, and so does the curve, but for its last digits."""
    plain = load_recipe(recipe, ["max_steps=6"])
    compiled = replace(plain, compile=True)
    train(shards, tmp_path / "plain", plain, device="cpu")
    for plan, step in ((compiled, 2), (plain, 4)):
        with pytest.raises(KeyboardInterrupt):
            train(shards, tmp_path / "run", plan, device="cpu", report=stop_at(step))
    result = train(shards, tmp_path / "run", compiled, device="cpu")

    assert (result.resumed_from, result.steps) == (4, 6)
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("plain", "run"))
    assert one.keys() == other.keys()
    for ours, theirs in zip(*(read_metrics(tmp_path / name) for name in ("plain", "run")), strict=True):
        assert ours.pop("split") == theirs.pop("split")
        assert theirs == pytest.approx(ours, rel=0.01)
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert not any("_orig_mod" in name for name in (*state["network"], *state["averaged"]))
    assert load_run(tmp_path / "run").step == 6


def test_without_a_compiler_it_says_so_before_training_begins(shards: Path, recipe: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deepflash", "train", str(shards), str(tmp_path / "run"), f"--recipe={recipe}"]
    environment = {**os.environ, "CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [*command, "--set=compile=true", "--device=cpu"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=environment,
    )
    assert done.returncode == 1
    assert "the recipe wants compile, but torch cannot compile here" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
