"""A run's network as one ONNX file, for phones, browsers and whatever else has no PyTorch.

The file holds the network alone, with the mean and the deviation that its encoder wants inside, and takes any number of
pictures of any size in multiples of 32. What stands before and after the network (crop, filter, up-sampling) is not in
it: docs/phone-app.md tells it, docs/decisions/0017-onnx.md why. Before a file is written, it is asked about pictures by
onnxruntime and its answers are compared with PyTorch's; one that differs is not written at all.
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from skimage import data
from torch import Tensor, nn

from deepflash import __version__
from deepflash.errors import ModelError
from deepflash.files import write_durably
from deepflash.model.bilateral import SIGMA_R, SIGMA_S_SHARE
from deepflash.model.data import to_tensor
from deepflash.model.encodings import encoding_named
from deepflash.model.network import STRIDE
from deepflash.model.runs import TrainedRun, answer, load_run
from deepflash.pictures import Picture
from deepflash.progress import Report, silent

FORMAT = 1
"""Of the metadata in the file."""
INPUT, OUTPUT = "prepared", "answer"
"""Names of the file's input and output, in the words of `encodings.Encoding`."""
OPSETS = (18, 25)
"""The oldest and the newest version of ONNX's operators that are written; the older, the more runtimes know it."""
LIMITS = {"float32": 1e-4, "float16": 5e-3}
"""Largest difference from PyTorch's float32 that is allowed in any pixel; 0.002 of an answer is a grey level of a portrait."""

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_LARGEST_BYTES = 2**31 - 2**24  # a protobuf ends at 2 GiB; the graph beside the weights takes less than the rest
_LICENCE = (
    "The network's code is MIT (deepflash). Its weights are whoever's trained them, under the terms of the photographs that "
    "they were trained on"
)
_ENCODER_LICENCE = "; its encoder began with weights of others, whose terms hold too (VGG-Face: not for commercial use)"

Shape = tuple[int, int, int]
"""How many pictures, their height and their width."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    model
        The file.
    size_bytes
        Of the file.
    precision
        Of weights and arithmetic: `float32` or `float16`.
    opset
        Version of ONNX's operators.
    runtime
        Version of the onnxruntime that was asked.
    differences
        Largest difference from PyTorch's answers, for each shape that was tried, `1 of 512x512`.
    limit
        What they had to stay below.
    notes
        Sentences about what a user may not expect.
    """

    model: Path
    size_bytes: int
    precision: str
    opset: int
    runtime: str
    differences: Mapping[str, float]
    limit: float
    notes: tuple[str, ...]

    @property
    def largest_difference(self) -> float:
        """Of all shapes; 1 is the whole range of an answer."""
        return max(self.differences.values())

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        return {**asdict(self), "model": str(self.model), "largest_difference": self.largest_difference}

    def sentence(self) -> str:
        """Say what was written and how far it is from PyTorch."""
        return (
            f"{self.model}: {self.size_bytes / 1e6:.1f} MB, {self.precision}, opset {self.opset}; largest difference from "
            f"PyTorch by onnxruntime {self.runtime} {self.largest_difference:.1e} (limit {self.limit:.0e}) "
            f"at {', '.join(self.differences)}"
        )


def export_onnx(
    run: Path,
    model: Path,
    *,
    half: bool = False,
    opset: int = OPSETS[0],
    sizes: Sequence[tuple[int, int]] = (),
    report: Report = silent,
) -> Exported:
    """Write a run's network as an ONNX file, if onnxruntime answers as PyTorch does.

    Parameters
    ----------
    run
        Folder that `train` wrote.
    model
        File to write, `.onnx`. It appears whole or not at all; one that is there already is replaced.
    half
        Weights and arithmetic in float16, input and output still float32: half the bytes.
    opset
        Version of ONNX's operators, within `OPSETS`.
    sizes
        (width, height) of the pictures to compare answers for, multiples of 32; if none, four about the size trained on.
        With one picture at the first size, two at the second, three at the third, and so on over again.
    report
        Called before each step.

    Raises
    ------
    ModelError
        if the run has no weights, an answer differs by more than its limit in `LIMITS`, the file would be larger than
        2 GiB, something in the arguments cannot be, or a package of the extra `export` is missing.
    """
    _check_arguments(model, opset, sizes)
    _check_packages()
    trained = load_run(run)
    precision = "float16" if half else "float32"
    _check_bytes(trained.network, half)
    shapes = _numbered(sizes or _sizes_about(trained.recipe.size))
    report(0, len(shapes) + 1, "translate")
    encoded = _as_onnx(trained.network, opset, half, _metadata(trained, precision))
    session = _session(encoded)
    differences = {}
    for number, shape in enumerate(shapes, start=1):
        report(number, len(shapes) + 1, f"compare {_in_words(shape)}")
        differences[_in_words(shape)] = _difference(session, trained, shape)
    exported = Exported(
        model, len(encoded), precision, opset, _version("onnxruntime"), differences, LIMITS[precision], _notes(trained)
    )
    if not exported.largest_difference <= exported.limit:  # also where it is not a number
        raise ModelError(
            f"{model} was not written: onnxruntime answers otherwise than PyTorch, by {exported.largest_difference:.1e}, which "
            f"is above {exported.limit:.0e}; " + ("leave out --fp16" if half else "try another --opset")
        )
    write_durably(model, encoded)
    report(len(shapes) + 1, len(shapes) + 1, "written")
    return exported


def _check_arguments(model: Path, opset: int, sizes: Sequence[tuple[int, int]]) -> None:
    if model.suffix != ".onnx":
        raise ModelError(f"{model} does not end in .onnx; give the model such a name")
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ModelError(f"opset {opset} is not written; choose one from {OPSETS[0]} to {OPSETS[1]}")
    for width, height in sizes:
        if width < STRIDE or height < STRIDE or width % STRIDE or height % STRIDE:
            raise ModelError(f"the network takes no picture of {width} x {height}; give sides that are multiples of {STRIDE}")


def _check_packages() -> None:
    missing = []
    for package in _PACKAGES:
        try:
            import_module(package)
        except ImportError:
            missing.append(package)
    if missing:
        raise ModelError(f"exporting needs {', '.join(missing)}; install it with: pip install 'deepflash[export]'")


def _version(package: str) -> str:
    return str(import_module(package).__version__)


def _check_bytes(network: nn.Module, half: bool) -> None:
    size_bytes = sum(tensor.numel() for tensor in network.state_dict().values()) * (2 if half else 4)
    if size_bytes > _LARGEST_BYTES:
        mend = "train a narrower network" if half else "try --fp16"
        raise ModelError(f"the weights take {size_bytes / 1e9:.1f} GB, an ONNX file holds 2 GiB at most; {mend}")


class _Half(nn.Module):
    """A network in float16 between pictures and answers in float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, prepared: Tensor) -> Tensor:
        result: Tensor = self.network(prepared.half()).float()
        return result


def _as_onnx(network: nn.Module, opset: int, half: bool, metadata: Mapping[str, str]) -> bytes:
    """Translate a network; the same network gives the same bytes."""
    dim = torch.export.Dim
    example = torch.rand(2, 3, 3 * STRIDE, 5 * STRIDE)  # sides that differ and are not 1, which would be taken for constants
    with _silent_exporter():
        try:
            program = torch.onnx.export(
                _Half(network) if half else network,
                (example,),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=({0: dim("batch"), 2: STRIDE * dim("h"), 3: STRIDE * dim("w")},),
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ModelError(
                "the run's network cannot be exported: torch knows no ONNX for something in it; train another network"
            ) from error
        model = program.model_proto  # type: ignore[union-attr]
        _check_free_sizes(model)
        _drop_traces(model)
        model.producer_name, model.producer_version = "deepflash", __version__
        model.doc_string = "From a flash portrait to a studio portrait; see docs/phone-app.md of deepflash."
        for key, value in metadata.items():
            model.metadata_props.add(key=key, value=value)
        encoded: bytes = model.SerializeToString(deterministic=True)
    return encoded


def _check_free_sizes(model: Any) -> None:
    """Refuse a network whose code made the exporter, without a word, take the example's sizes for the only ones."""
    batch, _, height, width = model.graph.input[0].type.tensor_type.shape.dim
    if not (batch.dim_param and height.dim_param and width.dim_param):
        raise ModelError(
            "the run's network cannot be exported: its code ties it to one size of pictures; train another network"
        )


@contextmanager
def _silent_exporter() -> Iterator[None]:
    """Keep to ourselves what the exporter says to those who develop it: deprecations, and packages it can do without."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _drop_traces(model: Any) -> None:
    """Remove where in whose folders each node's line of Python stood, and shapes that a runtime infers itself."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]


def _metadata(trained: TrainedRun, precision: str) -> dict[str, str]:
    """Return what an app must know, and what the model was made of; nothing of persons or folders."""
    recipe = trained.recipe
    return {
        "format": str(FORMAT),
        "encoding": recipe.encoding,
        "size": str(recipe.size),
        "multiple_of": str(STRIDE),
        "sigma_s_share": str(SIGMA_S_SHARE),
        "sigma_r": str(SIGMA_R),
        "network": recipe.network,
        "width": str(recipe.width),
        "step": str(trained.step),
        "precision": precision,
        "weights_sha256": trained.origin.sha256,
        "deepflash": __version__,
        "licence": _LICENCE + (_ENCODER_LICENCE if recipe.encoder_weights else ""),
    }


def _session(encoded: bytes) -> Any:
    import onnxruntime  # noqa: PLC0415 (extra)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(encoded, options, providers=["CPUExecutionProvider"])


def _sizes_about(size: int) -> list[tuple[int, int]]:
    """Return four sizes: square, landscape, portrait, and a small one."""
    long = -(-4 * size // (3 * STRIDE)) * STRIDE
    return [(size, size), (long, size), (size, long), (STRIDE, STRIDE)]


def _numbered(sizes: Sequence[tuple[int, int]]) -> list[Shape]:
    return [(1 + number % 3, height, width) for number, (width, height) in enumerate(sizes)]


def _in_words(shape: Shape) -> str:
    count, height, width = shape
    return f"{count} of {width}x{height}"


@torch.no_grad()
def _difference(session: Any, trained: TrainedRun, shape: Shape) -> float:
    """Return the largest difference between the two answers to portraits as the network sees them."""
    prepared = encoding_named(trained.recipe.encoding).prepare(to_tensor(_portraits(shape)))
    wanted = answer(trained.network, prepared, "float32").numpy()
    (found,) = session.run([OUTPUT], {INPUT: prepared.numpy()})
    return float(np.abs(found - wanted).max())


def _portraits(shape: Shape) -> Picture:
    """Cut one after the other from the portrait that comes with scikit-image, each darker than the last."""
    count, height, width = shape
    whole = data.astronaut()  # type: ignore[no-untyped-call]
    crops = [whole[20 * n : 20 * n + 320, 60:380] / (1 + n / 2) for n in range(count)]
    return np.stack([cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA) for crop in crops]).astype(np.uint8)


def _notes(trained: TrainedRun) -> tuple[str, ...]:
    if trained.recipe.precision == "float32":
        return ()
    return (f"the run computes in {trained.recipe.precision}, which few phones know; the model has its weights in full",)
