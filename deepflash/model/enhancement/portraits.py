"""Portraits from Python: one function for a picture, one object for many, as scikit-learn has them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from deepflash.errors import PictureError
from deepflash.model.enhancement.enhancer import Enhancer, load_enhancer
from deepflash.model.enhancement.look import Background, Look, parse_background
from deepflash.photos import Pixels

P = TypeVar("P", NDArray[np.uint8], NDArray[np.uint16])

Run = str | PathLike[str] | Enhancer
"""The folder of a trained run, or what `load_enhancer` made of it."""
Images = Sequence[Pixels] | Pixels
"""Pictures of any sizes, or one array (N, H, W, 3)."""


def enhance(
    image: P,
    run: Run,
    *,
    strength: float = 1.0,
    background: Background | str = "keep",
    red_eye: bool = True,
    whole: bool = False,
    mask: NDArray[np.uint8] | None = None,
) -> P:
    """Turn a flash photograph into a studio portrait, at its own resolution.

    Parameters
    ----------
    image
        (H, W, 3) sRGB, red first, upright; `uint8` from 0 to 255 or `uint16` from 0 to 65535. It is not changed.
    run
        Folder of a trained run, or, for more than one picture, what `load_enhancer` made of it: a folder is loaded anew in
        every call.
    strength
        How much of the change is made, from 0 (the photograph itself, its red pupils corrected) to 1.
    background
        `"keep"` leaves what is behind the person as it is, `"enhance"` treats it like the person; a colour, as CSS writes it
        (`"white"`, `"#406080"`) or as (red, green, blue) from 0 to 255, takes its place.
    red_eye
        Whether red pupils are corrected.
    whole
        Treat the entire picture as one, without looking for faces.
    mask
        (h, w) `uint8`, 255 where the person is, 0 elsewhere, of the picture's proportion; if None, the person is found.

    Returns
    -------
    ndarray
        The same shape and type as `image`.

    Raises
    ------
    PictureError
        if the array is of another shape or type, or shows no face and `whole` is not set.
    ModelError
        if the run cannot be used, or an option is out of its range.

    Examples
    --------
    ::

        image = numpy.asarray(PIL.Image.open("selfie.jpg").convert("RGB"))
        portrait = deepflash.enhance(image, "run", strength=0.8)
    """
    portrait = _loaded(run).enhance_picture(image, _look(strength, background, red_eye, whole), mask=mask)
    return cast(P, portrait)  # of the picture's own type


@dataclass
class Portraits:
    """Many photographs with the same options; the run is loaded once, when the first picture comes.

    It has the methods of a scikit-learn transformer and stands in a `Pipeline`; there is nothing to fit.

    Attributes
    ----------
    run, strength, background, red_eye, whole
        As for `enhance`.
    device
        As torch names it; the CPU if None. Of no effect where `run` is loaded already.

    Examples
    --------
    ::

        portraits = deepflash.Portraits("run", strength=0.8).transform(images)
    """

    run: Run
    strength: float = 1.0
    background: Background | str = "keep"
    red_eye: bool = True
    whole: bool = False
    device: str | None = None
    _enhancer: tuple[Any, Enhancer] | None = field(default=None, init=False, repr=False, compare=False)

    def fit(self, images: Any = None, target: Any = None) -> Self:  # noqa: ARG002 (scikit-learn's)
        """Do nothing: the network was trained by `deepflash train`."""
        return self

    def transform(self, images: Images) -> Images:
        """Turn photographs into portraits.

        Parameters
        ----------
        images
            Pictures as `enhance` takes them, of any sizes, or one array (N, H, W, 3).

        Returns
        -------
        list of ndarray, or ndarray
            As many, in the same order, each of its picture's shape and type; one array (N, H, W, 3) where one was given.

        Raises
        ------
        PictureError
            if a picture cannot be used; the sentence says which. For a batch that goes on, call `deepflash.enhance` for one
            picture at a time and catch it.
        ModelError
            as `enhance`.
        """
        enhancer, look = self._loaded(), _look(self.strength, self.background, self.red_eye, self.whole)
        portraits = [_numbered(enhancer, look, number, image) for number, image in enumerate(images)]
        if isinstance(images, np.ndarray):
            return cast(Pixels, np.array(portraits, dtype=images.dtype).reshape(images.shape))
        return portraits

    def fit_transform(self, images: Images, target: Any = None) -> Images:  # noqa: ARG002 (scikit-learn's)
        """Do what `transform` does."""
        return self.transform(images)

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 (scikit-learn's)
        """Return the options by name, as scikit-learn asks for them; `deep` makes no difference."""
        return {option.name: getattr(self, option.name) for option in fields(self) if option.init}

    def set_params(self, **options: Any) -> Self:
        """Change options.

        Raises
        ------
        ValueError
            if there is none of such a name.
        """
        unknown = sorted(set(options) - set(self.get_params()))
        if unknown:
            raise ValueError(f"there are no options {', '.join(unknown)}; there are {', '.join(self.get_params())}")
        for name, value in options.items():
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn 1.6 and later, who alone asks, that nothing need be fitted."""
        from sklearn.utils import Tags, TargetTags, TransformerTags  # noqa: PLC0415 (no dependency of ours)

        return Tags(None, TargetTags(required=False), transformer_tags=TransformerTags(), requires_fit=False)

    def _loaded(self) -> Enhancer:
        source = (self.run, self.device)
        if self._enhancer is None or self._enhancer[0] != source:
            self._enhancer = (source, _loaded(self.run, self.device))
        return self._enhancer[1]


def _loaded(run: Run, device: str | None = None) -> Enhancer:
    return run if isinstance(run, Enhancer) else load_enhancer(Path(run), device=device)


def _look(strength: float, background: Background | str, red_eye: bool, whole: bool) -> Look:
    behind = parse_background(background) if isinstance(background, str) else background
    return Look(strength=strength, background=behind, red_eye=red_eye, whole=whole)


def _numbered(enhancer: Enhancer, look: Look, number: int, image: Pixels) -> Pixels:
    try:
        return enhancer.enhance_picture(image, look)
    except PictureError as error:
        raise PictureError(f"images[{number}]: {error}") from error
