"""Weights of VGG-16 as others write them, told apart by a reference network in plain torch."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.io import savemat
from torch import Tensor, nn

from deepflash.errors import ModelError
from deepflash.model.network import DeepFlash
from deepflash.model.weights import CONVOLUTIONS, load_vgg16

PLAN = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512]  # torchvision's configuration D
FACES = (129.18628, 104.76238, 93.59396)
IMAGENET = (123.68, 116.779, 103.939)


def reference() -> nn.Sequential:
    """Return torchvision's `vgg16().features` up to relu5_3, with small random weights."""
    layers: list[nn.Module] = []
    before = 3
    for entry in PLAN:
        if entry == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            assert isinstance(entry, int)
            layers += [nn.Conv2d(before, entry, 3, padding=1), nn.ReLU()]
            before = entry
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return reference()


def arrays(network: nn.Sequential) -> list[tuple[str, np.ndarray, np.ndarray]]:
    convolutions = [layer for layer in network if isinstance(layer, nn.Conv2d)]
    return [
        (name, layer.weight.detach().numpy(), layer.bias.detach().numpy())  # type: ignore[union-attr]
        for name, layer in zip(CONVOLUTIONS, convolutions, strict=True)
    ]


def as_torchvision(network: nn.Sequential, path: Path) -> Path:
    torch.save({f"features.{name}": value for name, value in network.state_dict().items()}, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


def as_safetensors(network: nn.Sequential, path: Path) -> Path:
    save_file({f"features.{name}": value for name, value in network.state_dict().items()}, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def as_dag(network: nn.Sequential, path: Path) -> Path:
    content = {f"module.{name}.weight": torch.from_numpy(kernel.copy()) for name, kernel, _ in arrays(network)}
    content |= {f"module.{name}.bias": torch.from_numpy(bias.copy()) for name, _, bias in arrays(network)}
    torch.save({"state_dict": {**content, "module.fc6.weight": torch.zeros(2, 2)}}, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


def as_keras(network: nn.Sequential, path: Path) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, kernel, bias in arrays(network):
            file[f"{name}/{name}_W_1:0"] = kernel.transpose(2, 3, 1, 0)
            file[f"{name}/{name}_b_1:0"] = bias
        file["pool1"] = np.zeros(0)
    return path.with_suffix(".h5")


def as_keras_imagenet(network: nn.Sequential, path: Path) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, kernel, bias in arrays(network):
            layer = f"block{name[4]}_conv{name[6]}"
            file[f"model_weights/{layer}/{layer}/kernel:0"] = kernel.transpose(2, 3, 1, 0)
            file[f"model_weights/{layer}/{layer}/bias:0"] = bias
    return path.with_suffix(".h5")


def as_numpy(network: nn.Sequential, path: Path) -> Path:
    layers = {name: {"weights": kernel.transpose(2, 3, 1, 0), "biases": bias} for name, kernel, bias in arrays(network)}
    np.save(path.with_suffix(".npy"), np.array(layers, dtype=object), allow_pickle=True)
    return path.with_suffix(".npy")


def as_matconvnet(network: nn.Sequential, path: Path) -> Path:
    layers = np.empty((1, 2 * len(CONVOLUTIONS)), dtype=object)
    for place, (name, kernel, bias) in enumerate(arrays(network)):
        weights = np.empty((1, 2), dtype=object)
        weights[0, 0], weights[0, 1] = kernel.transpose(2, 3, 1, 0), bias[:, None]
        layers[0, 2 * place] = {"name": name, "type": "conv", "weights": weights}
        layers[0, 2 * place + 1] = {"name": f"relu{name[4:]}", "type": "relu", "weights": np.empty((1, 0), dtype=object)}
    average = np.broadcast_to(np.float32(FACES), (4, 4, 3))
    savemat(path.with_suffix(".mat"), {"layers": layers, "meta": {"normalization": {"averageImage": average}}})
    return path.with_suffix(".mat")


def as_lua(network: nn.Sequential, path: Path) -> Path:
    """Write a `.t7` file by its format: little-endian type numbers, indices, version strings, tables."""
    writer = LuaWriter()
    writer.sequence([("nn.SpatialConvolutionMM", kernel, bias) for _, kernel, bias in arrays(network)])
    path.with_suffix(".t7").write_bytes(bytes(writer.out))
    return path.with_suffix(".t7")


class LuaWriter:
    """Lua Torch's binary serialisation (torch7, File.lua): numbers 1, strings 2, tables 3, objects 4."""

    def __init__(self) -> None:
        self.out, self.index = bytearray(), 0

    def number(self, value: float) -> None:
        self.out += struct.pack("<id", 1, value)

    def text(self, text: str) -> None:
        self.out += struct.pack("<ii", 2, len(text)) + text.encode()

    def table(self, entries: list[tuple[Any, Callable[[], None]]]) -> None:
        self.index += 1
        self.out += struct.pack("<iii", 3, self.index, len(entries))
        for key, write in entries:
            self.text(key) if isinstance(key, str) else self.number(key)
            write()

    def head(self, name: str) -> None:
        self.index += 1
        self.out += struct.pack("<ii", 4, self.index)
        for word in ("V 1", name):
            self.out += struct.pack("<i", len(word)) + word.encode()

    def tensor(self, array: np.ndarray) -> None:
        flat = np.ascontiguousarray(array, dtype=np.float32)
        self.head("torch.FloatTensor")
        strides = [stride // 4 for stride in flat.strides]
        self.out += struct.pack(f"<i{2 * flat.ndim}qq", flat.ndim, *flat.shape, *strides, 1)
        self.head("torch.FloatStorage")
        self.out += struct.pack("<q", flat.size) + flat.tobytes()

    def sequence(self, modules: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
        self.head("nn.Sequential")
        self.table([("modules", lambda: self.table([(n + 1, self.layer(*part)) for n, part in enumerate(modules)]))])

    def layer(self, name: str, kernel: np.ndarray, bias: np.ndarray) -> Callable[[], None]:
        def write() -> None:
            self.head(name)
            flat = kernel.reshape(len(kernel), -1)  # as SpatialConvolutionMM keeps it
            self.table([("weight", lambda: self.tensor(flat)), ("bias", lambda: self.tensor(bias))])

        return write


FORMATS: dict[str, tuple[Callable[[nn.Sequential, Path], Path], str, tuple[float, float, float], float]] = {
    "torchvision": (as_torchvision, "rgb", (0.485 * 255, 0.456 * 255, 0.406 * 255), 0.0),
    "safetensors": (as_safetensors, "rgb", (0.485 * 255, 0.456 * 255, 0.406 * 255), 0.0),
    "vgg_face_dag": (as_dag, "rgb", FACES, 1.0),
    "Keras VGG-Face": (as_keras, "bgr", FACES, 1.0),
    "Keras VGG-16": (as_keras_imagenet, "bgr", IMAGENET, 1.0),
    "NumPy": (as_numpy, "bgr", IMAGENET, 1.0),
    "MatConvNet": (as_matconvnet, "rgb", FACES, 1.0),
    "Lua": (as_lua, "bgr", FACES, 1.0),
}


def as_its_network_sees(pictures: Tensor, order: str, mean: tuple[float, float, float], unit: float) -> Tensor:
    """Prepare RGB in [0, 1] as the authors of the weights did: 0 to 255 less the mean, or torchvision's normalisation."""
    seen = 255 * pictures - torch.tensor(mean)[:, None, None]
    if not unit:
        seen = seen / 255 / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    return seen.flip(1) if order == "bgr" else seen


@pytest.mark.parametrize("form", list(FORMATS))
def test_the_encoder_answers_as_the_network_that_was_stored(form: str, network: nn.Sequential, tmp_path: Path) -> None:
    write, order, mean, unit = FORMATS[form]
    pictures = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    path = write(network, tmp_path / "weights")
    ours = DeepFlash()
    report = ours.load_encoder(path)

    with torch.no_grad():
        wanted = network(as_its_network_sees(pictures, order, mean, unit))
        features = ours.encoder((pictures - ours.mean) / ours.std)[4]
    torch.testing.assert_close(features, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))
    assert load_vgg16(path).order == order
    assert "all 13 convolutions of VGG-16" in report


def test_another_order_of_the_channels_can_be_asked_for(network: nn.Sequential, tmp_path: Path) -> None:
    path = as_dag(network, tmp_path / "weights")
    kernel = load_vgg16(path).kernels["conv1_1"]
    assert np.array_equal(load_vgg16(path, order="bgr").kernels["conv1_1"], kernel[:, ::-1])


def test_a_narrow_network_is_told_that_it_cannot_take_them(network: nn.Sequential, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="width 1 only"):
        DeepFlash(0.25).load_encoder(as_torchvision(network, tmp_path / "weights"))


def test_what_is_no_vgg_is_refused_in_one_sentence(network: nn.Sequential, tmp_path: Path) -> None:
    incomplete = {f"features.{name}": value for name, value in network.state_dict().items() if not name.startswith("28")}
    torch.save(incomplete, tmp_path / "incomplete.pth")
    wrong = {f"features.{name}": value for name, value in network.state_dict().items()}
    torch.save({**wrong, "features.5.weight": torch.zeros(128, 64, 5, 5)}, tmp_path / "shape.pth")
    (tmp_path / "garbage.pth").write_bytes(b"garbage")
    (tmp_path / "garbage.h5").write_bytes(b"garbage")
    (tmp_path / "garbage.mat").write_bytes(b"garbage")
    (tmp_path / "garbage.t7").write_bytes(b"garbage")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "model.caffemodel").write_bytes(b"")
    for name, sentence in {
        "incomplete.pth": "holds no VGG-16 that is known here",
        "shape.pth": r"conv2_1 has the shape \(128, 64, 5, 5\), VGG-16's has \(128, 64, 3, 3\)",
        "garbage.pth": "cannot be read",
        "garbage.h5": "cannot be read",
        "garbage.mat": "cannot be read",
        "garbage.t7": "cannot be read",
        "array.npy": "holds one array of float64",
        "model.caffemodel": "of no known kind of weights",
        "missing.pth": "does not exist",
    }.items():
        with pytest.raises(ModelError, match=sentence):
            load_vgg16(tmp_path / name)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (print, ("owned",))

    np.save(tmp_path / "evil.npy", np.array({"conv1_1": Evil()}, dtype=object), allow_pickle=True)
    with pytest.raises(ModelError, match=r"wants builtins\.print, which weights do not need"):
        load_vgg16(tmp_path / "evil.npy")
    with (tmp_path / "evil.pth").open("wb") as file:
        pickle.dump({"features.0.weight": Evil()}, file)
    with pytest.raises(ModelError, match="cannot be read"):
        load_vgg16(tmp_path / "evil.pth")
