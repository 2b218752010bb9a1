"""Weights that people have, in the formats they come in, brought to one form for the encoder.

VGG-16 comes in many. All hold the same thirteen convolutions; they differ in names, in the layout of the kernels, in the
order of the colour channels, and in what they want subtracted. Here a file is recognised by its keys and shapes, the kernels
become (out, in, height, width), blue-green-red becomes red-green-blue, and mean and scale are told beside the weights, so that
the network always takes RGB in [0, 1]. The mean must not be folded into the first biases: beyond the border the
convolutions see zeros, which stand for the mean colour (reference: models.md 2).

No weights come with deepflash: those of VGG-Face may not be used commercially. Files are never executed: pickles are
read with everything forbidden but arrays.
"""

import codecs
import io
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepflash.errors import ModelError
from deepflash.files import sha256_of
from deepflash.model.tensorfile import read_tensors

Order = Literal["auto", "rgb", "bgr"]
Arrays = dict[str, NDArray[np.float32]]

CONVOLUTIONS = (
    "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3",
    "conv4_1", "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3",
)  # fmt: skip
"""VGG-16's, configuration D of Simonyan and Zisserman 2015, table 1."""
_CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
_TORCHVISION = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # places in `features`

_IMAGENET_RGB = (123.68, 116.779, 103.939)  # of 255
IMAGENET_STD = (0.229, 0.224, 0.225)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Of red, green and blue in [0, 1]: torchvision's networks want `(rgb - mean) / std`."""
_FACES_RGB = (129.18628, 104.76238, 93.59396)  # of 255; VGG-Face


@dataclass(frozen=True)
class Vgg16Weights:
    """Thirteen convolutions for RGB in [0, 1], and where they come from.

    Attributes
    ----------
    kernels, biases
        By the names of `CONVOLUTIONS`: (out, in, 3, 3) and (out,) `float32`.
    mean, std
        Of red, green and blue: the network wants `(rgb - mean) / std`.
    format
        What the file was recognised as.
    order
        The order of the channels in the file: `rgb` or `bgr`.
    sha256
        Of the file.
    """

    kernels: Arrays
    biases: Arrays
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    format: str
    order: Literal["rgb", "bgr"]
    sha256: str

    def report(self) -> str:
        """Say in one sentence what matched."""
        mean = ", ".join(f"{255 * value:.1f}" for value in self.mean)
        return (
            f"all 13 convolutions of VGG-16, conv1_1 to conv5_3, from a file of the form {self.format} "
            f"({self.order.upper()}, mean colour {mean} of 255)"
        )


@dataclass(frozen=True)
class _Form:
    """How weights come in one kind of file.

    Attributes
    ----------
    name
        For people.
    kernel, bias
        How a convolution's arrays are called in the file; `{}` is its name or place there.
    named
        What `{}` stands for, for each convolution.
    order, mean, std
        See `Vgg16Weights`; the mean and the scale are those of the pictures that the file's network takes, in [0, 1].
    """

    name: str
    kernel: str
    bias: str
    named: tuple[str, ...]
    order: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def _of_255(mean: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = (value / 255 for value in mean)
    return red, green, blue


_UNIT = (1 / 255, 1 / 255, 1 / 255)  # pictures of 0 to 255, less the mean
_PLACES = tuple(str(place) for place in _TORCHVISION)
_BLOCKS = tuple(f"block{name[4]}_{name[:4]}{name[6]}" for name in CONVOLUTIONS)
_NUMBERS = tuple(str(number) for number in range(len(CONVOLUTIONS)))
_FORMS = {
    "torch": (
        _Form("torchvision", "features.{}.weight", "features.{}.bias", _PLACES, "rgb", IMAGENET_MEAN, IMAGENET_STD),
        _Form("vgg_face_dag", "{}.weight", "{}.bias", CONVOLUTIONS, "rgb", _of_255(_FACES_RGB), _UNIT),
    ),
    "keras": (
        _Form("Keras VGG-Face", "{}/kernel", "{}/bias", CONVOLUTIONS, "bgr", _of_255(_FACES_RGB), _UNIT),
        _Form("Keras VGG-16", "{}/kernel", "{}/bias", _BLOCKS, "bgr", _of_255(_IMAGENET_RGB), _UNIT),
    ),
    "numpy": (_Form("NumPy VGG-16", "{}/weights", "{}/biases", CONVOLUTIONS, "bgr", _of_255(_IMAGENET_RGB), _UNIT),),
    "matconvnet": (_Form("MatConvNet", "{}/kernel", "{}/bias", CONVOLUTIONS, "rgb", _of_255(_FACES_RGB), _UNIT),),
    "lua": (_Form("Lua Torch VGG-Face", "{}/kernel", "{}/bias", _NUMBERS, "bgr", _of_255(_FACES_RGB), _UNIT),),
}


def load_vgg16(path: Path, *, order: Order = "auto") -> Vgg16Weights:
    """Read the thirteen convolutions of a VGG-16 from a file.

    Parameters
    ----------
    path
        `.pth`, `.pt` or `.safetensors` with the names of torchvision or of `vgg_face_dag`; Keras' `.h5`; MatConvNet's
        `.mat`; `.npy` with a dictionary of layers, as HDRCNN's; Lua Torch's `.t7`. What else is in it is left alone.
    order
        In which order the file's first layer takes the channels. `auto` is what such files usually have; sources
        disagree about `.t7` (reference: models.md 2).

    Raises
    ------
    ModelError
        if the file cannot be read, is of no such kind, lacks a convolution or has it in another shape, or a library that
        its format needs is not installed.
    """
    kind, arrays, mean = read_arrays(path)
    for form in _FORMS[kind]:
        found = _convolutions(arrays, form)
        if found:
            break
    else:
        some = ", ".join(list(arrays)[:3]) or "nothing"
        raise ModelError(f"{path} holds no VGG-16 that is known here (it begins with {some}); give other weights")
    kernels = {name: _in_our_layout(path, name, kernel) for name, (kernel, _) in found.items()}
    biases = {name: _checked_bias(path, name, bias) for name, (_, bias) in found.items()}
    chosen: Literal["rgb", "bgr"] = form.order if order == "auto" else order
    if chosen == "bgr":
        kernels["conv1_1"] = np.ascontiguousarray(kernels["conv1_1"][:, ::-1])
    return Vgg16Weights(kernels, biases, mean or form.mean, form.std, form.name, chosen, sha256_of(path))


def read_arrays(path: Path) -> tuple[str, Arrays, tuple[float, float, float] | None]:
    """Return what kind of file it is, its arrays by name, and the mean colour (RGB, in [0, 1]) if the file has one.

    A `module.` in front of names, as of networks trained on several GPUs, is taken away; nothing in the file is executed.

    Raises
    ------
    ModelError
        if the file cannot be read, is of no known kind, or a library that its format needs is not installed.
    """
    readers: dict[str, Callable[[Path], tuple[str, Arrays, tuple[float, float, float] | None]]] = {
        ".pth": _read_torch, ".pt": _read_torch, ".safetensors": _read_safetensors, ".h5": _read_keras,
        ".hdf5": _read_keras, ".npy": _read_numpy, ".mat": _read_matconvnet, ".t7": _read_lua,
    }  # fmt: skip
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ModelError(f"{path} is of no known kind of weights; give one of {', '.join(readers)}")
    if not path.is_file():
        raise ModelError(f"{path} does not exist; give the file with the weights")
    try:
        return reader(path)
    except ModelError:
        raise
    except ImportError as error:
        raise ModelError(f"{path} needs {error.name}; install it with: pip install 'deepflash[weights]'") from error
    except Exception as error:
        raise ModelError(f"{path} cannot be read ({_first_line(error)}); get the file again") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _read_torch(path: Path) -> tuple[str, Arrays, None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of an unusual pickle, which is read or refused all the same
        content = torch.load(path, map_location="cpu", weights_only=True)
    for wrapper in ("state_dict", "model", "params"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise ModelError(f"{path} holds a {type(content).__name__}, no dictionary of weights; save its state_dict")
    return "torch", _as_arrays({str(name): value for name, value in content.items() if isinstance(value, Tensor)}), None


def _read_safetensors(path: Path) -> tuple[str, Arrays, None]:
    return "torch", _as_arrays(read_tensors(path).tensors), None


def _as_arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    return {name.removeprefix("module."): tensor.float().numpy() for name, tensor in tensors.items()}


def _read_keras(path: Path) -> tuple[str, Arrays, None]:
    import h5py  # noqa: PLC0415 (extra)

    arrays: Arrays = {}

    def note(name: str, item: Any) -> None:
        """Name an array by its layer and its dimensions: all else differs from one version of Keras to the next."""
        layer = next((part for part in name.split("/") if part in {*CONVOLUTIONS, *_BLOCKS}), None)
        if isinstance(item, h5py.Dataset) and layer and item.ndim in {1, 4}:
            arrays[f"{layer}/{'kernel' if item.ndim == 4 else 'bias'}"] = np.asarray(item, dtype=np.float32)

    with h5py.File(path) as file:
        file.visititems(note)
    return "keras", arrays, None


def _read_numpy(path: Path) -> tuple[str, Arrays, None]:
    content = _unpickled(path)
    layers = content.item() if isinstance(content, np.ndarray) and content.ndim == 0 else content
    if not isinstance(layers, Mapping):
        raise ModelError(f"{path} holds no dictionary of layers; give one of {{layer: {{'weights': ..., 'biases': ...}}}}")
    arrays: Arrays = {}
    for layer, parts in layers.items():
        items = parts.items() if isinstance(parts, Mapping) else zip(("weights", "biases"), parts, strict=False)
        arrays |= {f"{layer}/{name}": np.asarray(array, dtype=np.float32) for name, array in items}
    return "numpy", arrays, None


def _unpickled(path: Path) -> Any:
    """Read an `.npy` file of objects; what its pickle may name are arrays and nothing else."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = read_header(file)
        if not dtype.hasobject:
            raise ModelError(f"{path} holds one array of {dtype}, no dictionary of layers; give a whole network's weights")
        return _ArraysOnly(io.BytesIO(file.read()), encoding="latin1").load()


class _ArraysOnly(pickle.Unpickler):
    """Refuses whatever could run code."""

    _ALLOWED: Mapping[str, Any] = {
        "_reconstruct": np.empty(0).__reduce__()[0],
        "scalar": np.float32(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".", maxsplit=1)[0] == "numpy" and name in self._ALLOWED:
            return self._ALLOWED[name]
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return codecs.encode
        raise pickle.UnpicklingError(f"it wants {module}.{name}, which weights do not need")


def _read_matconvnet(path: Path) -> tuple[str, Arrays, tuple[float, float, float] | None]:
    from scipy.io import loadmat  # noqa: PLC0415 (half a second)

    content = loadmat(path, simplify_cells=True)
    arrays: Arrays = {}
    for layer in content["layers"]:
        parts = list(layer["weights"]) if "weights" in layer else [layer.get("filters"), layer.get("biases")]
        if len(parts) >= 2 and np.ndim(parts[0]) == 4:
            arrays[f"{layer['name']}/kernel"] = np.asarray(parts[0], dtype=np.float32)
            arrays[f"{layer['name']}/bias"] = np.asarray(parts[1], dtype=np.float32)
    average = content.get("meta", content).get("normalization", {}).get("averageImage")
    if average is None:
        return "matconvnet", arrays, None
    red, green, blue = np.asarray(average, dtype=np.float64).reshape(-1, 3).mean(axis=0) / 255
    return "matconvnet", arrays, (float(red), float(green), float(blue))


def _read_lua(path: Path) -> tuple[str, Arrays, None]:
    import torchfile  # noqa: PLC0415 (extra)

    modules = torchfile.load(str(path))["modules"]
    arrays: Arrays = {}
    for number, module in enumerate(part for part in modules if getattr(part, "weight", None) is not None):
        arrays[f"{number}/kernel"] = np.asarray(module.weight, dtype=np.float32)
        arrays[f"{number}/bias"] = np.asarray(module.bias, dtype=np.float32)
    return "lua", arrays, None


def _convolutions(arrays: Arrays, form: _Form) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return kernel and bias of each convolution; nothing if any is missing."""
    keys = {
        name: (form.kernel.format(called), form.bias.format(called))
        for name, called in zip(CONVOLUTIONS, form.named, strict=True)
    }
    if not all(kernel in arrays and bias in arrays for kernel, bias in keys.values()):
        return {}
    return {name: (arrays[kernel], arrays[bias]) for name, (kernel, bias) in keys.items()}


def _in_our_layout(path: Path, name: str, kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring a kernel to (out, in, 3, 3), from (3, 3, in, out) or (out, in * 9) if need be."""
    number = CONVOLUTIONS.index(name)
    wanted = (_CHANNELS[number + 1], _CHANNELS[number], 3, 3)
    if kernel.shape == wanted[2:] + wanted[1::-1]:
        kernel = kernel.transpose(3, 2, 0, 1)
    if kernel.shape == (wanted[0], wanted[1] * 9):
        kernel = kernel.reshape(wanted)
    if kernel.shape != wanted:
        raise ModelError(f"{path}: {name} has the shape {kernel.shape}, VGG-16's has {wanted}; give VGG-16 weights")
    return np.ascontiguousarray(kernel, dtype=np.float32)


def _checked_bias(path: Path, name: str, bias: NDArray[np.float32]) -> NDArray[np.float32]:
    wanted = _CHANNELS[CONVOLUTIONS.index(name) + 1]
    if bias.size != wanted:
        raise ModelError(f"{path}: the bias of {name} has {bias.size} values, VGG-16's has {wanted}; give VGG-16 weights")
    return np.ascontiguousarray(bias, dtype=np.float32).reshape(-1)
