"""ONNX files: what onnxruntime and the onnx package, both others' work, say of them."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from safetensors.torch import load_file
from skimage import data

from deepflash import __version__
from deepflash.cli import cli
from deepflash.errors import ModelError
from deepflash.files import sha256_of
from deepflash.model.enhancement.enhancer import load_enhancer
from deepflash.model.enhancement.look import Look
from deepflash.model.export import LIMITS, OPSETS, Exported, export_onnx
from deepflash.model.recipe import Recipe
from deepflash.model.runs import RECIPE_FILE, WEIGHTS_FILE, TrainedRun, load_run, save_weights
from deepflash.pictures import Picture, encode, read_rgb
from tests.model.tiny_run import write_run

RECIPE = Recipe(width=0.0625, size=64, encoder_weights="/home/somebody/vgg.pth", precision="bfloat16")
EXAMPLE = Path(__file__).parents[2] / "examples" / "portrait_onnx.py"
MEAN = torch.tensor([0.5, 0.4, 0.3])[:, None, None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose encoder wants a mean subtracted, as those of others do."""
    run = write_run(tmp_path_factory.mktemp("export") / "run", RECIPE)
    save_weights(run / WEIGHTS_FILE, {**load_file(run / WEIGHTS_FILE), "mean": MEAN}, RECIPE, step=7)
    return run


@pytest.fixture(scope="module")
def printed(run: Path) -> Result:
    """What the command says that writes full.onnx."""
    return CliRunner().invoke(cli, ["export", str(run), str(run.parent / "full.onnx"), "--size", "64x96"])


@pytest.fixture(scope="module")
def full(run: Path, printed: Result) -> Path:
    return run.parent / "full.onnx"


@pytest.fixture(scope="module")
def halved(run: Path) -> Exported:
    return export_onnx(run, run.parent / "deep" / "half.onnx", half=True, opset=OPSETS[1])


def portraits(count: int, height: int, width: int) -> NDArray[np.float32]:
    picture = cv2.resize(data.astronaut()[:350, 50:400], (width, height), interpolation=cv2.INTER_AREA)
    return np.stack([picture.transpose(2, 0, 1) / np.float32(255 + 50 * n) for n in range(count)])


def answers(model: Path, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model)
    result: NDArray[np.float32] = session.run(["answer"], {"prepared": prepared})[0]
    return result


def torch_answers(run: Path, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.no_grad():
        return np.asarray(load_run(run).network(torch.from_numpy(prepared)))


@pytest.mark.parametrize("shape", [(1, 32, 32), (2, 64, 160), (3, 96, 32)])
def test_onnxruntime_answers_as_pytorch_at_sizes_that_the_export_never_saw(
    run: Path, full: Path, shape: tuple[int, int, int]
) -> None:
    """The encoder's mean is inside: without it the answers would be others."""
    prepared = portraits(*shape)
    wanted = torch_answers(run, prepared)
    np.testing.assert_allclose(answers(full, prepared), wanted, atol=1e-5)
    assert np.abs(torch_answers(run, prepared + MEAN.numpy()) - wanted).max() > 1e-3


@pytest.mark.parametrize(
    ("network", "encoding"),
    [
        ("hdrnet", "C"),
        pytest.param("light", "B", marks=pytest.mark.slow),
        pytest.param("unet", "C", marks=pytest.mark.slow),
        pytest.param("dense-unet", "A", marks=pytest.mark.slow),
        pytest.param("bokeh", "A", marks=pytest.mark.slow),
    ],
)
def test_every_network_is_exported_for_any_size(tmp_path: Path, network: Any, encoding: str) -> None:
    """What happens at other resolutions inside it takes the sizes from the input."""
    run = write_run(tmp_path / "run", Recipe(network=network, width=0.125, size=64, encoding=encoding))
    exported = export_onnx(run, tmp_path / "model.onnx", sizes=[(64, 32)])
    assert list(exported.differences) == ["1 of 64x32"]
    prepared = portraits(2, 96, 160)
    np.testing.assert_allclose(answers(exported.model, prepared), torch_answers(run, prepared), atol=5e-5)


def test_halves_are_half_the_bytes_and_near(run: Path, full: Path, halved: Exported) -> None:
    """Input and output stay float32."""
    prepared = portraits(2, 64, 96)
    difference = np.abs(answers(halved.model, prepared) - torch_answers(run, prepared)).max()
    assert 1e-6 < difference < LIMITS["float16"]
    assert halved.size_bytes < 0.6 * full.stat().st_size
    weights = onnx.load(halved.model).graph.initializer
    assert {onnx.TensorProto.FLOAT16} == {weight.data_type for weight in weights if weight.dims}


def test_the_model_is_one_valid_file_of_the_opset_that_was_asked_for(full: Path, halved: Exported) -> None:
    for model, opset in ((full, OPSETS[0]), (halved.model, OPSETS[1])):
        onnx.checker.check_model(model, full_check=True)
        assert [entry.version for entry in onnx.load(model, load_external_data=False).opset_import] == [opset]
    assert [path.name for path in halved.model.parent.iterdir()] == ["half.onnx"]
    assert halved.size_bytes == halved.model.stat().st_size
    assert list(halved.differences) == ["1 of 64x64", "2 of 96x64", "3 of 64x96", "1 of 32x32"]


def test_it_says_what_an_app_must_know_and_nothing_of_persons_or_folders(run: Path, full: Path) -> None:
    model = onnx.load(full)
    known = {entry.key: entry.value for entry in model.metadata_props}
    assert {
        key: known[key] for key in ("encoding", "size", "multiple_of", "sigma_s_share", "sigma_r", "precision", "step")
    } == {
        "encoding": "C",
        "size": "64",
        "multiple_of": "32",
        "sigma_s_share": "0.03125",
        "sigma_r": "0.4",
        "precision": "float32",
        "step": "7",
    }
    assert known["weights_sha256"] == sha256_of(run / WEIGHTS_FILE)
    assert "MIT" in known["licence"]
    assert "VGG-Face: not for commercial use" in known["licence"]
    assert (model.producer_name, model.producer_version) == ("deepflash", __version__)
    dims = [[dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.input]
    assert dims == [["batch", 3, "32*h", "32*w"]]
    content = full.read_bytes()
    for private in (b"somebody", b"S001", str(run.parent).encode(), str(Path(__file__).parents[2]).encode()):
        assert private not in content


def test_what_answers_otherwise_is_not_written(full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter is made to write another network than it was given; what was there before stays."""
    monkeypatch.setattr("deepflash.model.export._as_onnx", lambda *_: full.read_bytes())
    other = write_run(tmp_path / "run", Recipe(width=0.0625, size=64, seed=2))
    model = tmp_path / "model.onnx"
    model.write_bytes(b"an earlier one")
    with pytest.raises(ModelError, match=r"model\.onnx was not written: onnxruntime answers otherwise .*; try another --opset"):
        export_onnx(other, model)
    assert model.read_bytes() == b"an earlier one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "run"]


class OneByOne(torch.nn.Module):
    """Counts its pictures in Python, so that the exporter writes for as many as it was shown."""

    def forward(self, prepared: torch.Tensor) -> torch.Tensor:
        return torch.cat([prepared[n : n + 1] * 1.0 for n in range(prepared.shape[0])])


def test_a_network_that_is_tied_to_one_size_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepflash.model.export.load_run", lambda _: TrainedRun(RECIPE, OneByOne(), step=0))
    with pytest.raises(ModelError, match="cannot be exported: its code ties it to one size of pictures"):
        export_onnx(run, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


class Airy(torch.nn.Module):
    """Asks for a function of light's diffraction, which ONNX has no operator for."""

    def forward(self, prepared: torch.Tensor) -> torch.Tensor:
        return torch.special.airy_ai(prepared)


def test_a_network_that_onnx_has_no_words_for_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepflash.model.export.load_run", lambda _: TrainedRun(RECIPE, Airy(), step=0))
    with pytest.raises(ModelError, match="cannot be exported: torch knows no ONNX for something in it"):
        export_onnx(run, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("model.pb", {}, r"model\.pb does not end in \.onnx"),
        ("model.onnx", {"opset": 17}, "opset 17 is not written; choose one from 18 to 25"),
        ("model.onnx", {"sizes": [(100, 64)]}, "no picture of 100 x 64; give sides that are multiples of 32"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_done(
    run: Path, tmp_path: Path, name: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ModelError, match=sentence):
        export_onnx(run, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_weights_is_a_sentence(run: Path, tmp_path: Path) -> None:
    for name in ("run.json", RECIPE_FILE):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    with pytest.raises(ModelError, match="has no weights yet"):
        export_onnx(tmp_path, tmp_path / "model.onnx")


def test_missing_packages_are_named_with_the_command_that_brings_them(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModelError, match=r"needs onnxscript; install it with: pip install 'deepflash\[export\]'"):
        export_onnx(run, tmp_path / "model.onnx")


def test_a_network_beyond_two_gigabytes_is_refused_before_it_is_built(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepflash.model.export._LARGEST_BYTES", 200_000)
    with pytest.raises(ModelError, match=r"an ONNX file holds 2 GiB at most; try --fp16"):
        export_onnx(run, run.parent / "large.onnx")


def test_the_command_prints_the_largest_difference_and_nothing_of_the_exporters(full: Path, printed: Result) -> None:
    assert printed.exit_code == 0
    assert printed.stdout.startswith(f"{full}: ")
    assert "float32, opset 18; largest difference from PyTorch by onnxruntime" in printed.stdout
    assert printed.stdout.endswith("(limit 1e-04) at 1 of 64x96\n")
    lines = [line for line in printed.stderr.splitlines() if not line.startswith("export: ")]
    assert lines == ["note: the run computes in bfloat16, which few phones know; the model has its weights in full"]


def test_the_example_imports_what_a_phone_has() -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(EXAMPLE.read_text(encoding="utf-8")))
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None)])
        if name
    }
    assert imported == {"cv2", "math", "numpy", "onnxruntime", "sys"}


@pytest.mark.parametrize(("width", "height", "strength"), [(420, 300, 1.0), (61, 75, 0.5)])
def test_the_example_makes_the_portrait_that_enhance_makes(
    run: Path, full: Path, tmp_path: Path, width: int, height: int, strength: float
) -> None:
    """Its filter is an approximation: 50 dB is the difference of rounding to 8 bits nearly three times over."""
    photo = cv2.resize(data.astronaut()[:300, 20:440], (width, height), interpolation=cv2.INTER_AREA)
    (tmp_path / "photo.png").write_bytes(encode(photo, ".png"))
    subprocess.run(
        [sys.executable, EXAMPLE, full, tmp_path / "photo.png", tmp_path / "portrait.png", str(strength)], check=True
    )
    wanted = load_enhancer(run).enhance_picture(photo, Look(strength=strength, whole=True, red_eye=False, background="enhance"))
    assert psnr(read_rgb(tmp_path / "portrait.png"), wanted) > 50
    assert psnr(photo, wanted) < 40


def psnr(a: Picture, b: Picture) -> float:
    return float(-10 * np.log10(np.square((a.astype(float) - b) / 255).mean()))
