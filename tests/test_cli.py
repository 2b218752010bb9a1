"""The command line: what a person types, and what they are told."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from deepflash.cli import cli


def deepflash(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deepflash", *arguments], capture_output=True, text=True, cwd=cwd, timeout=120, check=False
    )


def commands(command: click.Command = cli, path: str = "deepflash") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands(child, f"{path} {name}")


@pytest.mark.parametrize(("path", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_and_option_explains_itself(path: str, command: click.Command) -> None:
    assert command.help, f"{path} is missing its help"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.opts} is missing its help"


def test_the_help_of_the_program_has_every_command_once_in_whole_sentences() -> None:
    """Nothing is cut to "..." on a terminal of 80 columns, in the sections of the program and in the lists of its groups."""
    runner = CliRunner(env={"COLUMNS": "80"})
    for path, command in commands():
        if isinstance(command, click.Group):
            listed = runner.invoke(cli, [*path.split()[1:], "--help"]).output.partition("  -h, --help ")[2].splitlines()[1:]
            names = [line.split()[0] for line in listed if line.startswith("  ")]
            assert sorted(names) == sorted(command.commands), path
            assert all(line.endswith((".", ":")) for line in listed if line), path


def test_no_help_is_wider_than_the_terminal_and_no_default_is_told_in_another_form() -> None:
    for path, _ in commands():
        shown = CliRunner(env={"COLUMNS": "80"}).invoke(cli, [*path.split()[1:], "--help"]).output
        assert max(map(len, shown.splitlines())) <= 80, path
        assert "Default: " not in shown, path
        assert "RANGE" not in shown, path


@pytest.mark.parametrize("place", ["after", "configured"])
def test_quiet_leaves_the_result_and_what_was_set_aside_and_no_progress(place: str, tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    for light in ("flash", "studio"):
        (tmp_path / "pairs" / f"01_{light}.jpg").write_bytes(b"not a picture")
    (tmp_path / "config.toml").write_text("[align.batch]\nquiet = true\n")
    command = ("align", "batch", "pairs", "aligned", "--workers", "1")
    loud = deepflash(*command, cwd=tmp_path)
    quiet = deepflash(*(("--config", "config.toml", *command) if place == "configured" else (*command, "-q")), cwd=tmp_path)
    assert "align: 1/1" in loud.stderr
    assert quiet.stderr == "".join(line for line in loud.stderr.splitlines(True) if not line.startswith("align: "))
    assert quiet.stdout == loud.stdout == "1 pair in = 0 done + 0 skipped + 1 set aside\n"


def test_results_that_nobody_reads_to_the_end_leave_no_traceback() -> None:
    """`deepflash ... | head -0`: the pipe is closed before anything is written."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "deepflash", "--help"]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")


def test_a_pipe_that_broke_within_the_program_is_no_reader_who_left() -> None:
    code = "import os, deepflash.cli as c; r, w = os.pipe(); os.close(r); c.cli.main = lambda **_: os.write(w, b'x'); c.main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "BrokenPipeError" in result.stderr


@pytest.mark.parametrize(("typed", "offered"), [("deepflash ev", "evaluate"), ("deepflash align pair --re", "--report")])
def test_a_shell_completes_commands_and_options(typed: str, offered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_DEEPFLASH_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    assert deepflash().stdout == f"plain,{offered}\n"


def test_help_answers_without_loading_a_heavy_library() -> None:
    code = "import sys, deepflash.cli; print([m for m in ('torch','cv2','numpy','SimpleITK','rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_model_room_needs_no_hardware_registration_or_face_library() -> None:
    """Training machines have neither SimpleITK nor gphoto2, pyserial, dlib and scikit-image; photographs want Pillow."""
    code = """
import sys
names = "SimpleITK gphoto2 serial dlib face_recognition skimage scipy matplotlib tensorboard PIL safetensors rich"
for name in names.split():
    sys.modules[name] = None
import deepflash.model.train, deepflash.model.evaluate, deepflash.model.compare, deepflash.cli
del sys.modules["PIL"]
import deepflash.model.enhancement.files, deepflash.model.bokeh_files
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("subject", ["../x", "a b", "", "-S001", "x" * 33, "S/1"])
def test_a_subject_id_that_is_no_safe_folder_name_is_refused(subject: str, tmp_path: Path) -> None:
    result = deepflash("capture", "session", f"--subject={subject}", "--emulate", cwd=tmp_path)
    assert result.returncode == 2
    assert "is not a subject id" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_capture_without_rig_and_emulation_explains_both(tmp_path: Path) -> None:
    result = deepflash("capture", "session", "--subject", "S001", cwd=tmp_path)
    assert result.returncode == 2
    assert "--rig" in result.stderr
    assert "--emulate" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("capture", "session", "--subject", "S001", "--rig", "none.toml"), "none.toml"),
        (("align", "batch", "none", "aligned"), "none is not a folder"),
        (("align", "batch", "empty", "aligned"), "empty holds no pairs"),
        (("align", "pair", "a.jpg", "b.jpg"), "does not exist"),
        (("build-dataset", "empty", "shards"), "empty holds no alignments"),
        (("train", "empty", "run"), "empty"),
        (("evaluate", "empty", "empty"), "empty"),
        (("enhance", "photo.jpg", "-o", "out", "--run", "empty"), "empty"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_a_missing_or_empty_input_is_one_sentence_and_exit_code_1(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    result = deepflash(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert sentence in result.stderr
    assert result.stderr.strip().startswith("Error: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_several_runs_to_evaluate_want_a_folder_for_their_tables(tmp_path: Path) -> None:
    result = deepflash("evaluate", "one", "two", "shards", cwd=tmp_path)
    assert result.returncode == 2
    assert "give one with -o" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_config_file_gives_defaults_that_flags_override(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[capture.session]\nsubject = "../bad"\n')
    assert "'../bad'" in deepflash("--config", "config.toml", "capture", "session", cwd=tmp_path).stderr
    given = deepflash("--config", "config.toml", "capture", "session", "--subject", "../flag", cwd=tmp_path)
    assert "'../flag'" in given.stderr


def test_an_unknown_key_in_the_config_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[train]\nlearning = 3\n")
    result = deepflash("--config", "config.toml", "train", "a", "b", cwd=tmp_path)
    assert result.returncode == 2
    assert "unknown key 'learning'" in result.stderr


@pytest.mark.parametrize("poses", ["0", "11", "", "a,a", "a,,b", "../a"])
def test_poses_that_make_no_plan_are_a_matter_of_usage_before_any_device_is_started(poses: str, tmp_path: Path) -> None:
    result = deepflash("capture", "session", "--subject", "S001", "--emulate", f"--poses={poses}", cwd=tmp_path)
    assert result.returncode == 2
    assert "Invalid value for '--poses'" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train = 3", "train is a command, so it needs a table"),
        ("[align]\nbatch = 3", "table align: batch is a command"),
        ('[train]\nrecipe = ["quick"]', "recipe = ['quick'] must be text, a number, true or false"),
        ("[build-dataset]\nsize = 64.5", "'64.5' is not a valid integer range"),
        ("[train]\nrecipe = 3", "there is no recipe 3"),
        ("[train]\njson = 'perhaps'", "'perhaps' is not a valid boolean"),
    ],
)
def test_a_config_value_of_the_wrong_kind_is_a_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(text)
    command = "build-dataset" if "build" in text else "train"
    result = deepflash("--config", "config.toml", command, "a", "b", cwd=tmp_path)
    assert sentence in result.stderr
    assert result.returncode in {1, 2}
    assert "Traceback" not in result.stderr


def test_config_and_environment_know_options_by_the_names_that_are_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "1_flash.jpg").touch()
    (tmp_path / "config.toml").write_text("[align.batch]\njson = true\nwrite-images = true\nworkers = 1\n")
    from_file = deepflash("--config", "config.toml", "align", "batch", "pairs", "aligned", cwd=tmp_path)
    assert json.loads(from_file.stdout)["in"] == 1
    monkeypatch.setenv("DEEPFLASH_ALIGN_BATCH_JSON", "1")
    from_environment = deepflash("align", "batch", "pairs", "aligned", cwd=tmp_path)
    assert json.loads(from_environment.stdout)["in"] == 1


def test_a_folder_that_cannot_be_made_is_a_sentence() -> None:
    result = deepflash("capture", "session", "--subject", "S001", "--emulate", "--raw", "/proc/nowhere/raw", "--poses", "1")
    assert result.returncode == 1
    assert result.stderr.startswith("Error: /proc/nowhere")
    assert len(result.stderr.splitlines()) == 1


def test_sigterm_ends_in_order_like_ctrl_c(tmp_path: Path) -> None:
    code = "import time, deepflash.cli as c; c.cli.main = lambda **_: (print('up', flush=True), time.sleep(60)); c.main()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == "Interrupted; run the same command again to go on.\n"


@pytest.mark.parametrize("lost", ["closed", "a pipe that nobody reads"])
def test_work_goes_on_when_nobody_reads_what_it_says(lost: str, tmp_path: Path) -> None:
    """A log that has gone (ssh, `2>&1 | head`) must not end a night's work."""
    (tmp_path / "work.py").write_text("from deepflash.progress import shown\nwith shown('work') as report:\n    report(1, 1)\n")
    reader, writer = os.pipe()
    os.close(reader)
    target = "&-" if lost == "closed" else f"&{writer}"
    shell = f"'{sys.executable}' work.py 2>{target}"
    result = subprocess.run(["bash", "-c", shell], pass_fds=(writer,), cwd=tmp_path, timeout=60, check=False)
    os.close(writer)
    assert result.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("capture", "lamps", "on", "--emulate", "--for=nan"),
        ("build-dataset", "aligned", "shards", "--min-confidence=NaN"),
        ("enhance", "photo.jpg", "--out=out", "--run=run", "--strength=nan"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_is_not_a_number_is_a_usage_error(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = deepflash(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert "is not a number" in result.stderr


@pytest.mark.parametrize("part", ["0/3", "4/3", "3", "1/0", "a/b", "-1/3", "1/3/5"])
def test_a_part_that_does_not_exist_is_a_usage_error(part: str, tmp_path: Path) -> None:
    result = deepflash("align", "batch", "raw", "aligned", f"--part={part}", cwd=tmp_path)
    assert result.returncode == 2
    assert "is no part; write K/N with K from 1 to N, such as 3/64" in result.stderr


def test_workers_and_a_cluster_exclude_each_other_and_what_is_typed_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pairs").mkdir()
    for light in ("flash", "studio"):
        (tmp_path / "pairs" / f"01_{light}.jpg").write_bytes(b"not a picture")
    command = ("align", "batch", "pairs", "aligned")
    both = deepflash(*command, "--workers", "1", "--cluster", "none.json", cwd=tmp_path)
    assert both.returncode == 2
    assert "Give one of them" in both.stderr
    monkeypatch.setenv("DEEPFLASH_ALIGN_BATCH_CLUSTER", "none.json")
    local = deepflash(*command, "--workers", "1", cwd=tmp_path)
    assert local.stdout == "1 pair in = 0 done + 0 skipped + 1 set aside\n"
    monkeypatch.setenv("DEEPFLASH_ALIGN_BATCH_WORKERS", "1")
    there = deepflash(*command, cwd=tmp_path)
    assert there.returncode == 1
    assert there.stderr.splitlines()[-1].startswith("Error: none.json does not exist; `dask scheduler")


def test_json_is_one_object_on_stdout_with_every_item_accounted_for(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "01_flash.jpg").write_bytes(b"not a picture")
    (tmp_path / "pairs" / "01_studio.jpg").write_bytes(b"not a picture")
    (tmp_path / "pairs" / "02_flash.jpg").write_bytes(b"alone")
    result = deepflash("align", "batch", "pairs", "aligned", "--workers", "1", "--json", cwd=tmp_path)
    account = json.loads(result.stdout)
    assert account["in"] == 2
    assert account["done"] == 0
    assert {entry["item"] for entry in account["set_aside"]} == {"01", "02"}
    assert result.returncode == 1
