"""LPIPS against its formula written out once more, over random weights: those of its authors may not be shipped.

What this cannot show is that the authors' own weights give the authors' own values.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from deepflash.errors import ModelError
from deepflash.model.perceptual import load_lpips
from tests.model.test_weights import reference

CHANNELS = (64, 128, 256, 512, 512)
AFTER = (3, 8, 15, 22, 29)  # places in torchvision's `features` of relu1_2, relu2_2, relu3_3, relu4_3, relu5_3


def write_weights(folder: Path) -> tuple[Path, Path]:
    """Write layers of LPIPS and a VGG-16 as their authors do, with random numbers."""
    torch.manual_seed(0)
    layers = {f"lin{number}.model.1.weight": torch.rand(1, channels, 1, 1) for number, channels in enumerate(CHANNELS)}
    torch.save(layers, folder / "vgg.pth")
    torch.save({f"features.{name}": value for name, value in reference().state_dict().items()}, folder / "vgg16.pth")
    return folder / "vgg.pth", folder / "vgg16.pth"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_weights(tmp_path_factory.mktemp("weights"))


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    truth = torch.as_tensor(data.astronaut()[:64, 200:296] / 255, dtype=torch.float32).permute(2, 0, 1)[None]
    return (0.7 * truth + 0.2).clamp(0, 1), truth


def written_out(layers: Path, vgg: Path, one: torch.Tensor, other: torch.Tensor) -> float:
    """Equation 1 of the paper, with the shift and scale of its code, which takes pictures in [-1, 1]."""
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    network = reference()
    network.load_state_dict({name.removeprefix("features."): value for name, value in torch.load(vgg).items()})
    lin = torch.load(layers)

    def features(picture: torch.Tensor) -> list[np.ndarray]:
        found, values = [], (2 * picture - 1 - shift) / scale
        for place, layer in enumerate(network):
            values = layer(values)
            if place in AFTER:
                assert isinstance(layer, nn.ReLU)
                plane = values[0].detach().double().numpy()
                found.append(plane / (np.linalg.norm(plane, axis=0) + 1e-10))
        return found

    total = 0.0
    for number, (first, second) in enumerate(zip(features(one), features(other), strict=True)):
        weight = lin[f"lin{number}.model.1.weight"].numpy().reshape(-1, 1, 1)
        total += (weight * (first - second) ** 2).sum(axis=0).mean()
    return total


def test_the_distance_is_the_formula(weights: tuple[Path, Path]) -> None:
    one, other = pictures()
    wanted = written_out(*weights, one, other)
    assert wanted > 0.01
    assert load_lpips(*weights)(one, other).item() == pytest.approx(wanted, rel=1e-3)


def test_every_picture_of_a_batch_has_its_own_distance_and_equal_ones_have_none(weights: tuple[Path, Path]) -> None:
    lpips = load_lpips(*weights)
    one, other = pictures()
    both = lpips(torch.cat([one, other]), torch.cat([other, other]))
    assert both[0].item() == pytest.approx(lpips(one, other).item(), rel=1e-4)
    assert both[1].item() == 0


def test_layers_over_another_network_are_a_sentence(weights: tuple[Path, Path], tmp_path: Path) -> None:
    alex = {f"lin{number}.model.1.weight": torch.rand(1, 64, 1, 1) for number in range(5)}
    torch.save(alex, tmp_path / "alex.pth")
    with pytest.raises(ModelError, match=r"alex.pth has layers of \(64, 64, 64, 64, 64\) channels, those over VGG-16 have"):
        load_lpips(tmp_path / "alex.pth", weights[1])


def test_files_that_are_something_else_are_a_sentence(weights: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none.pth holds no layers of LPIPS"):
        load_lpips(tmp_path / "none.pth", weights[1])
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ModelError, match=r"text.pth holds no layers of LPIPS"):
        load_lpips(tmp_path / "text.pth", weights[1])
    with pytest.raises(ModelError, match=r"vgg16.pth holds no layers of LPIPS"):
        load_lpips(weights[1], weights[1])
