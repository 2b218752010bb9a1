"""VGG-19's features against torchvision's layers in plain torch, over random weights: real ones may not be shipped."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from skimage import data
from torch import nn

from deepflash.errors import ModelError
from deepflash.model.vgg_features import VggFeatures, load_vgg19

PLAN = (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512, 512, 512)  # configuration E
MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def reference() -> nn.Sequential:
    """Return torchvision's `vgg19().features` up to conv5_4, whose place is 34, with weights that keep the values' size."""
    layers: list[nn.Module] = []
    before = 3
    for entry in PLAN:
        if isinstance(entry, int):
            layers += [nn.Conv2d(before, entry, 3, padding=1), nn.ReLU()]
            before = entry
        else:
            layers.append(nn.MaxPool2d(2))
    network = nn.Sequential(*layers[:-1]).eval().requires_grad_(requires_grad=False)
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            layer.weight.mul_(2.4)
    return network


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return reference()


@pytest.fixture(scope="module")
def file(network: nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg19.pth"
    content = {f"features.{name}": value for name, value in network.state_dict().items()}
    torch.save({**content, "classifier.0.weight": torch.zeros(2, 2)}, path)
    return path


@pytest.fixture(scope="module")
def features(file: Path) -> VggFeatures:
    return load_vgg19(file)


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    truth = torch.as_tensor(data.astronaut()[:48, 200:264] / 255, dtype=torch.float32).permute(2, 0, 1)[None]
    return (0.7 * truth + 0.2).clamp(0, 1), truth


def test_features_are_those_before_the_last_rectifier(network: nn.Sequential, features: VggFeatures) -> None:
    assert isinstance(network[34], nn.Conv2d)
    assert len(network) == 35
    _, truth = pictures()
    found, wanted = features(truth), network((truth - MEAN) / STD)
    assert found.shape == (1, 512, 3, 4)
    assert found.min() < 0
    assert torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))


def test_the_loss_is_their_mean_absolute_difference(network: nn.Sequential, features: VggFeatures) -> None:
    one, other = pictures()
    difference = network((one - MEAN) / STD) - network((other - MEAN) / STD)
    wanted = difference.abs().mean().item()
    assert wanted > 0.01
    assert features.loss(one, other).item() == pytest.approx(wanted, rel=1e-3)
    assert features.loss(other, other).item() == 0


def test_a_step_against_the_gradient_lowers_the_loss_and_the_truth_has_none(features: VggFeatures) -> None:
    one, truth = pictures()
    one.requires_grad_()
    truth.requires_grad_()
    before = features.loss(one, truth)
    before.backward()
    assert one.grad is not None
    assert truth.grad is None
    step = 1e-3 * one.grad / one.grad.norm()
    after = features.loss(one.detach() - step, truth)
    assert (before - after).item() == pytest.approx(1e-3 * one.grad.norm().item(), rel=0.2)  # as much as the slope promises


def test_other_files_are_a_sentence(network: nn.Sequential, tmp_path: Path) -> None:
    vgg16 = {f"features.{place}.{part}": torch.zeros(1) for place in (0, 2, 5) for part in ("weight", "bias")}
    torch.save(vgg16, tmp_path / "vgg16.pth")
    with pytest.raises(ModelError, match=r"features.0.weight has the shape \(1,\), not \(64, 3, 3, 3\)"):
        load_vgg19(tmp_path / "vgg16.pth")
    content = {f"features.{name}": value for name, value in network.state_dict().items() if not name.startswith("16.")}
    save_file(content, tmp_path / "short.safetensors")
    with pytest.raises(ModelError, match=r"short.safetensors holds no VGG-19 \(features.16.weight is missing\)"):
        load_vgg19(tmp_path / "short.safetensors")
