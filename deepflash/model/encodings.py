"""How the problem is put to the network: what it sees, what it shall answer, and the way back to a picture.

The three encodings of the paper's Figure 3:

- A: the network sees the flash picture and answers with the studio picture. Simple, and it blurs;
- B: it sees the flash picture and answers with the difference of the two;
- C, the one that the paper proposes: it sees the filtered flash picture and answers with the difference of the filtered
  pictures, so that fine detail, which the filter has removed, passes by the network and cannot be blurred by it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from deepflash.errors import ModelError
from deepflash.model.bilateral import SIGMA_S_SHARE, bilateral


@dataclass(frozen=True)
class Encoding:
    """Three functions of batches (N, 3, H, W), float32, RGB in [0, 1].

    Attributes
    ----------
    name
        The letter of the paper's Figure 3.
    prepare
        `prepare(pictures)`: what of a photograph the network is concerned with.
    target
        `target(prepared_flash, prepared_studio)`: the answer that the network shall give to `prepared_flash`, in [0, 1].
    decode
        `decode(flash, answer)`: the picture that an answer means. Of the photograph it is the result (equation 2),
        of the prepared photograph what the loss compares (equation 4), with the target for an answer the best that can
        be reached, the "reconstructed ground truth" (equation 8).
    """

    name: str
    prepare: Callable[[Tensor], Tensor]
    target: Callable[[Tensor, Tensor], Tensor]
    decode: Callable[[Tensor, Tensor], Tensor]


def encoding_named(name: str) -> Encoding:
    """Return the encoding with that letter.

    Raises
    ------
    ModelError
        if there is none.
    """
    if name not in ENCODINGS:
        raise ModelError(f"there is no encoding {name!r}; choose one of {', '.join(sorted(ENCODINGS))}")
    return ENCODINGS[name]


def _filtered(pictures: Tensor) -> Tensor:
    """Filter with the paper's sigmas, sigma_s in proportion to the shorter side: that of the square trained on."""
    return bilateral(pictures, max(1.0, SIGMA_S_SHARE * min(pictures.shape[-2:])))


def _half_difference(prepared_flash: Tensor, prepared_studio: Tensor) -> Tensor:
    """Equation 1: [-1, 1] brought to [0, 1]."""
    return (prepared_flash - prepared_studio + 1) / 2


def _subtract(flash: Tensor, answer: Tensor) -> Tensor:
    """Equations 2, 4 and 8."""
    return flash - 2 * answer + 1


def _unchanged(pictures: Tensor) -> Tensor:
    return pictures


def _studio(_flash: Tensor, studio: Tensor) -> Tensor:
    """Let the answer be the picture itself, both as target and as result."""
    return studio


ENCODINGS = {
    "A": Encoding("A", prepare=_unchanged, target=_studio, decode=_studio),
    "B": Encoding("B", prepare=_unchanged, target=_half_difference, decode=_subtract),
    "C": Encoding("C", prepare=_filtered, target=_half_difference, decode=_subtract),
}
"""By the paper's letter."""
