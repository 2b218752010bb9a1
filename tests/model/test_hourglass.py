"""The hourglass is that of MegaDepth, told by its published names and by an interpreter of them in plain functions."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deepflash.errors import ModelError
from deepflash.model.cost import count_parameters, multiply_accumulates
from deepflash.model.hourglass import Hourglass

SMALL, LARGE = (3, 5, 7), (3, 7, 11)
DEEP_1, SKIP_1 = "3.0.0", "3.0.1"
DEEP_2, SKIP_2 = f"{DEEP_1}.3.0.0", f"{DEEP_1}.3.0.1"
SKIP_3, DEEP_3 = f"{DEEP_2}.3.0.0", f"{DEEP_2}.3.0.1"
SKIP_4, DEEP_4 = f"{DEEP_3}.3.0.0", f"{DEEP_3}.3.0.1"
MODULES = {  # where each stands in MegaDepth's network: channels before and after, between, kernels
    f"{DEEP_1}.1": (128, 128, 32, SMALL), f"{DEEP_1}.2": (128, 128, 32, SMALL),
    f"{DEEP_1}.4": (128, 128, 64, SMALL), f"{DEEP_1}.5": (128, 64, 32, LARGE),
    f"{SKIP_1}.0": (128, 64, 64, LARGE),
    f"{DEEP_2}.1": (128, 128, 32, SMALL), f"{DEEP_2}.2": (128, 256, 32, SMALL),
    f"{DEEP_2}.4": (256, 256, 32, SMALL), f"{DEEP_2}.5": (256, 128, 32, SMALL),
    f"{SKIP_2}.0": (128, 128, 32, SMALL), f"{SKIP_2}.1": (128, 128, 64, LARGE),
    f"{SKIP_3}.0": (256, 256, 32, SMALL), f"{SKIP_3}.1": (256, 256, 64, LARGE),
    f"{DEEP_3}.1": (256, 256, 32, SMALL), f"{DEEP_3}.2": (256, 256, 32, SMALL),
    f"{DEEP_3}.4": (256, 256, 32, SMALL), f"{DEEP_3}.5": (256, 256, 64, LARGE),
    f"{SKIP_4}.0": (256, 256, 32, SMALL), f"{SKIP_4}.1": (256, 256, 32, SMALL),
    f"{DEEP_4}.1": (256, 256, 32, SMALL), f"{DEEP_4}.2": (256, 256, 32, SMALL), f"{DEEP_4}.3": (256, 256, 32, SMALL),
}  # fmt: skip

Weights = dict[str, Tensor]


def megadepth(planes: int = 1) -> Weights:
    """Return random weights by the names that MegaDepth's file has: DataParallel's `module.`, no `num_batches_tracked`."""
    generator = torch.Generator().manual_seed(0)
    weights: Weights = {}

    def convolution(name: str, before: int, after: int, kernel: int) -> None:
        shape = (after, before, kernel, kernel)
        weights[f"module.{name}.weight"] = torch.randn(shape, generator=generator) / (before * kernel**2 / 2) ** 0.5
        weights[f"module.{name}.bias"] = 0.1 * torch.randn(after, generator=generator)

    def normalisation(name: str, channels: int, *, learned: bool) -> None:
        for part in ("weight", "bias") if learned else ():
            weights[f"module.{name}.{part}"] = torch.rand(channels, generator=generator)
        weights[f"module.{name}.running_mean"] = 0.1 * torch.randn(channels, generator=generator)
        weights[f"module.{name}.running_var"] = 0.5 + torch.rand(channels, generator=generator)

    convolution("0", 3, 128, 7)
    normalisation("1", 128, learned=True)
    for name, (before, after, middle, kernels) in MODULES.items():
        convolution(f"{name}.0.0", before, after // 4, 1)
        normalisation(f"{name}.0.1", after // 4, learned=False)
        for branch, kernel in enumerate(kernels, start=1):
            convolution(f"{name}.{branch}.0", before, middle, 1)
            normalisation(f"{name}.{branch}.1", middle, learned=False)
            convolution(f"{name}.{branch}.3", middle, after // 4, kernel)
            normalisation(f"{name}.{branch}.4", after // 4, learned=False)
    convolution("4", 64, planes, 3)
    return weights


class Interpreter:
    """MegaDepth's network as functions of its weights; written from the table of reference: models.md 7."""

    def __init__(self, weights: Weights) -> None:
        self.weights = {name.removeprefix("module."): value for name, value in weights.items()}

    def convolve(self, features: Tensor, name: str) -> Tensor:
        kernel = self.weights[f"{name}.weight"]
        return F.conv2d(features, kernel, self.weights[f"{name}.bias"], padding=kernel.shape[-1] // 2)

    def layer(self, features: Tensor, convolution: str, normalisation: str) -> Tensor:
        features = self.convolve(features, convolution)
        mean, var, factor, offset = (
            self.weights.get(f"{normalisation}.{part}") for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.relu(F.batch_norm(features, mean, var, factor, offset))

    def see(self, features: Tensor, *names: str) -> Tensor:
        for name in names:
            parts = [self.layer(features, f"{name}.0.0", f"{name}.0.1")]
            for branch in (1, 2, 3):
                thin = self.layer(features, f"{name}.{branch}.0", f"{name}.{branch}.1")
                parts.append(self.layer(thin, f"{name}.{branch}.3", f"{name}.{branch}.4"))
            features = torch.cat(parts, dim=1)
        return features

    def __call__(self, pictures: Tensor) -> Tensor:
        one = self.layer(pictures, "0", "1")
        two = self.see(F.max_pool2d(one, 2), f"{DEEP_1}.1", f"{DEEP_1}.2")
        three = self.see(F.max_pool2d(two, 2), f"{DEEP_2}.1", f"{DEEP_2}.2")
        four = self.see(F.avg_pool2d(three, 2), f"{DEEP_3}.1", f"{DEEP_3}.2")
        five = self.see(F.avg_pool2d(four, 2), f"{DEEP_4}.1", f"{DEEP_4}.2", f"{DEEP_4}.3")
        four = self.see(four, f"{SKIP_4}.0", f"{SKIP_4}.1") + twice(five)
        three = self.see(three, f"{SKIP_3}.0", f"{SKIP_3}.1") + twice(self.see(four, f"{DEEP_3}.4", f"{DEEP_3}.5"))
        two = self.see(two, f"{SKIP_2}.0", f"{SKIP_2}.1") + twice(self.see(three, f"{DEEP_2}.4", f"{DEEP_2}.5"))
        one = self.see(one, f"{SKIP_1}.0") + twice(self.see(two, f"{DEEP_1}.4", f"{DEEP_1}.5"))
        return self.convolve(one, "4")


def twice(features: Tensor) -> Tensor:
    return features.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As old versions of torch wrote it, in one pickle and not zipped."""
    path = tmp_path_factory.mktemp("weights") / "best_generalization_net_G.pth"
    torch.save(megadepth(), path, _use_new_zipfile_serialization=False)
    return path


def test_size_and_cost_are_those_of_the_table() -> None:
    with torch.device("meta"):  # shapes without numbers
        network = Hourglass()
    assert count_parameters(network) == 5_357_153
    assert multiply_accumulates(network, 384, 512) / 1e9 == pytest.approx(120.6, abs=0.05)


def test_names_are_megadepths() -> None:
    with torch.device("meta"):
        network = Hourglass()
    names = {f"module.{name}": value.shape for name, value in network.state_dict().items() if "num_batches" not in name}
    assert names == {name: value.shape for name, value in megadepth().items()}
    assert "module.3.0.0.1.0.0.weight" in names  # as reference: models.md 2 has it


def test_megadepths_weights_give_megadepths_answer(file: Path) -> None:
    network = Hourglass().eval()
    network.load_megadepth(file)
    pictures = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    wanted = Interpreter(megadepth())(pictures)
    assert wanted.std() > 0.1
    with torch.no_grad():
        assert torch.allclose(network(pictures), wanted, atol=1e-4)


def test_four_planes_begin_anew_and_all_else_is_megadepths(file: Path) -> None:
    network = Hourglass(outputs=4)
    before = network[4].weight.clone()
    network.load_megadepth(file)
    assert torch.equal(network[4].weight, before)
    assert all(torch.equal(network.state_dict()[name.removeprefix("module.")], value)
               for name, value in megadepth().items() if not name.startswith("module.4."))  # fmt: skip


def test_other_weights_are_a_sentence(file: Path, tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "vgg.pth")
    with pytest.raises(ModelError, match=r"vgg.pth holds no hourglass of MegaDepth \(0.weight is missing\)"):
        Hourglass(0.125).load_megadepth(tmp_path / "vgg.pth")
    with pytest.raises(ModelError, match=r"0.weight has the shape \(128, 3, 7, 7\), not \(16, 3, 7, 7\).*width = 1.0"):
        Hourglass(0.125).load_megadepth(file)
    with pytest.raises(ModelError, match=r"none.pth does not exist"):
        Hourglass(0.125).load_megadepth(tmp_path / "none.pth")


def test_pictures_of_other_sizes_are_filled_up_and_cut_off_again() -> None:
    network = Hourglass(0.125, outputs=2).eval()
    picture = torch.rand(1, 3, 30, 48, generator=torch.Generator().manual_seed(0))
    by_hand = torch.cat([picture, picture[..., -1:, :], picture[..., -1:, :]], dim=-2)
    assert torch.equal(network(picture), network(by_hand)[..., :30, :])


def test_every_kernel_learns() -> None:
    network = Hourglass(0.125, outputs=2)
    network(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    kernels = {name: parameter for name, parameter in network.named_parameters() if name.endswith("weight")}
    assert [name for name, kernel in kernels.items() if kernel.grad is None or not kernel.grad.any()] == []
