"""The three encodings: there and back again."""

import pytest
import torch

from deepflash.errors import ModelError
from deepflash.model.bilateral import bilateral
from deepflash.model.encodings import encoding_named


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, 64, 64, generator=generator), torch.rand(1, 3, 64, 64, generator=generator)


def test_the_target_is_equation_1() -> None:
    """t = (BL(x) - BL(o) + 1) / 2 with sigma_s = 16 px at 512 px, hence 2 px at 64 px."""
    flash, studio = pair()
    encoding = encoding_named("C")
    target = encoding.target(encoding.prepare(flash), encoding.prepare(studio))
    assert torch.equal(target, (bilateral(flash, 2.0) - bilateral(studio, 2.0) + 1) / 2)


def test_a_and_b_see_the_flash_picture_and_answer_with_the_studio_picture_or_their_difference() -> None:
    """Figure 3, rows A and B."""
    flash, studio = pair()
    for letter, wanted in (("A", studio), ("B", (flash - studio + 1) / 2)):
        encoding = encoding_named(letter)
        assert torch.equal(encoding.prepare(flash), flash)
        assert torch.equal(encoding.target(flash, studio), wanted)


@pytest.mark.parametrize("letter", ["A", "B", "C"])
def test_the_perfect_answer_decodes_to_the_prepared_studio_picture(letter: str) -> None:
    """Equation 4: t_d = BL(o), or o where nothing is filtered."""
    flash, studio = pair()
    encoding = encoding_named(letter)
    prepared = encoding.prepare(flash)
    wanted = encoding.decode(prepared, encoding.target(prepared, encoding.prepare(studio)))
    assert torch.allclose(wanted, encoding.prepare(studio), atol=1e-6)


@pytest.mark.parametrize("letter", ["B", "C"])
def test_answering_one_half_changes_nothing(letter: str) -> None:
    """Equation 2: pred = x - 2y + 1 is x at y = 1/2."""
    flash, _ = pair()
    assert torch.allclose(encoding_named(letter).decode(flash, torch.full_like(flash, 0.5)), flash, atol=1e-6)


def test_an_unknown_letter_is_refused() -> None:
    with pytest.raises(ModelError, match="no encoding 'Z'; choose one of A, B, C"):
        encoding_named("Z")
