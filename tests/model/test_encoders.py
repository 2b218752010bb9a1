"""Encoders: each is the published network, gives six maps, takes over what others trained, and learns behind the decoder."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from deepflash.errors import ModelError
from deepflash.model.cost import multiply_accumulates
from deepflash.model.encoders import ENCODERS, ResNet
from deepflash.model.network import DeepFlash

RESNETS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}


def torchvision_state(blocks: tuple[int, ...], *, counters: bool = True) -> dict[str, Tensor]:
    """Return random tensors with the names and shapes of torchvision's `resnet18().state_dict()`, or of its 34."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def convolution(name: str, after: int, before: int, side: int) -> None:
        state[f"{name}.weight"] = torch.randn(after, before, side, side, generator=generator) / (before * side * side) ** 0.5

    def norm(name: str, channels: int) -> None:
        for part in ("weight", "running_var"):
            state[f"{name}.{part}"] = torch.rand(channels, generator=generator) + 0.5
        for part in ("bias", "running_mean"):
            state[f"{name}.{part}"] = torch.rand(channels, generator=generator) - 0.5
        if counters:
            state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    convolution("conv1", 64, 3, 7)
    norm("bn1", 64)
    before = 64
    for stage, (count, after) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            convolution(f"{name}.conv1", after, before, 3)
            norm(f"{name}.bn1", after)
            convolution(f"{name}.conv2", after, after, 3)
            norm(f"{name}.bn2", after)
            if before != after:
                convolution(f"{name}.downsample.0", after, before, 1)
                norm(f"{name}.downsample.1", after)
            before = after
    return {**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


def as_torchvision_computes(state: dict[str, Tensor], blocks: tuple[int, ...], pictures: Tensor) -> Tensor:
    """Write the network out, in evaluation mode, from the tensors alone."""
    from torch.nn import functional as F  # noqa: PLC0415 (an oracle beside the code that it checks)

    def norm(features: Tensor, name: str) -> Tensor:
        parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(features, *parts)

    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    features = (pictures - mean[:, None, None]) / std[:, None, None]
    features = F.relu(norm(F.conv2d(features, state["conv1.weight"], stride=2, padding=3), "bn1"))
    features = F.max_pool2d(features, 3, 2, 1)
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            learned = F.relu(norm(F.conv2d(features, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"))
            learned = norm(F.conv2d(learned, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if f"{name}.downsample.0.weight" in state:
                features = norm(F.conv2d(features, state[f"{name}.downsample.0.weight"], stride=stride), f"{name}.downsample.1")
            features = F.relu(features + learned)
    return features


@pytest.mark.parametrize("name", list(ENCODERS))
def test_six_maps_each_half_the_size_of_the_one_before(name: str) -> None:
    encoder = ENCODERS[name](0.125)
    maps = encoder(torch.rand(2, 3, 64, 96))
    assert [tuple(one.shape) for one in maps] == [
        (2, channels, 64 >> level, 96 >> level) for level, channels in enumerate([*encoder.skips, encoder.bottom])
    ]


@pytest.mark.parametrize(
    ("name", "parameters", "giga"), [("vgg16", 14_714_688, 15.3), ("resnet18", 11_176_512, 1.8), ("resnet34", 21_284_672, 3.6)]
)
def test_parameters_and_work_are_those_that_were_published(name: str, parameters: int, giga: float) -> None:
    """Multiply-adds at 224 x 224: He et al. 2015, table 1, and torchvision's listing. Parameters without classifiers."""
    encoder = ENCODERS[name](1.0)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == parameters
    assert multiply_accumulates(encoder, 224, 224) / 1e9 == pytest.approx(giga, rel=0.02)


@pytest.mark.parametrize(("name", "suffix"), [("resnet18", ".pth"), ("resnet18", ".safetensors"), ("resnet34", ".pth")])
def test_a_resnet_answers_as_the_network_that_was_stored(name: str, suffix: str, tmp_path: Path) -> None:
    state = torchvision_state(RESNETS[name])
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    pictures = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    ours = DeepFlash(encoder=name).eval()
    report = ours.load_encoder(path)

    with torch.no_grad():
        found = ours.encoder((pictures - ours.mean) / ours.std)[-1]
    torch.testing.assert_close(found, as_torchvision_computes(state, RESNETS[name], pictures), rtol=1e-4, atol=1e-4)
    depth = name.removeprefix("resnet")
    count = {"18": 20, "34": 36}[depth]
    assert report == (
        f"all {count} convolutions of ResNet-{depth}, with their batch normalisation, from a file of the form torchvision (RGB)"
    )


def test_files_of_old_have_no_counters_and_some_have_a_prefix(tmp_path: Path) -> None:
    state = torchvision_state(RESNETS["resnet18"], counters=False)
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "old.pth")
    encoder = ResNet(RESNETS["resnet18"])
    encoder.load(tmp_path / "old.pth", "bgr")
    assert torch.equal(encoder.conv1.weight, state["conv1.weight"].flip(1))


def test_other_networks_are_refused_in_one_sentence(tmp_path: Path) -> None:
    for name, blocks in RESNETS.items():
        torch.save(torchvision_state(blocks), tmp_path / f"{name}.pth")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg.pth")
    (tmp_path / "weights.h5").write_bytes(b"")
    cases = [
        ("resnet34", 1.0, "resnet18.pth", r"resnet18.pth holds no ResNet-34 of torchvision \(it lacks layer1\.2\.bn1\.bias\)"),
        ("resnet18", 1.0, "resnet34.pth", r"holds no ResNet-18 of torchvision \(it has layer1\.2\.bn1\.bias\)"),
        ("resnet18", 0.5, "resnet18.pth", r"does not fit this ResNet-18 \(conv1.weight is .*; torchvision's wants width = 1.0"),
        ("resnet18", 1.0, "vgg.pth", r"holds no ResNet-18 of torchvision"),
        ("vgg16", 1.0, "resnet18.pth", r"holds no VGG-16 that is known here"),
        ("resnet18", 1.0, "weights.h5", r"cannot be read|is no state dictionary of PyTorch"),
    ]
    for encoder, width, file, sentence in cases:
        with pytest.raises(ModelError, match=sentence):
            ENCODERS[encoder](width).load(tmp_path / file)
