"""From a flash photograph to a portrait, at the photograph's own resolution.

The network works on a reduced copy, whose shorter side is the size it was trained on. What it answers is brought up to the
full size along the photograph's edges (upsampling.py) and added to the original pixels (equation 2), whose detail never
passes the network.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from deepflash.errors import PictureError
from deepflash.model.data import to_tensor
from deepflash.model.encodings import encoding_named
from deepflash.model.enhancement.look import Look
from deepflash.model.enhancement.upsampling import Maps, add_difference
from deepflash.model.network import STRIDE
from deepflash.model.runs import TrainedRun, answer, load_run, usable_device
from deepflash.photos import Photo, with_pixels
from deepflash.pictures import Picture

_LONGEST_SHARE = 4  # a panorama's longer side, in sizes of the network


@dataclass(frozen=True)
class Enhancer:
    """A trained run, ready to make portraits. See `load_enhancer`."""

    trained: TrainedRun

    def enhance(self, photo: Photo, look: Look | None = None, *, mask: NDArray[np.uint8] | None = None) -> Photo:
        """Turn a flash photograph into a portrait.

        Parameters
        ----------
        photo
            From `read_photo`; of any size and aspect, 8 or 16 bit.
        look
            How; if None, as `Look()` says.
        mask
            (h, w) `uint8`, 255 for the subject: the photograph as it is displayed, of any size. If None, the subject is
            found.

        Returns
        -------
        Photo
            The same size, type and colour space.

        Raises
        ------
        PictureError
            if there is no face in it and the look is not for the whole, or the mask has another proportion.
        FaceError
            if faces cannot be found on this machine.
        """
        chosen = look or Look()
        reduced = _reduce(photo.pixels, self.trained.recipe.size)
        difference = chosen.strength * self._difference(reduced)
        return with_pixels(photo, add_difference(photo.pixels, reduced, difference))

    def enhance_picture(self, picture: Picture, look: Look | None = None) -> Picture:
        """Turn a picture in memory into a portrait.

        Parameters
        ----------
        picture
            (H, W, 3) sRGB `uint8` or `uint16`, upright.
        look
            How; if None, as `Look()` says.

        Returns
        -------
        Picture
            The same shape and type.

        Raises
        ------
        PictureError
            if it is grey, has an alpha channel or other values; and as `enhance`.
        """
        usable = picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype in (np.uint8, np.uint16) and picture.size
        if not usable:
            raise PictureError(
                f"a photograph must be (H, W, 3) RGB uint8 or uint16, not {picture.shape} {picture.dtype}; convert it first"
            )
        return self.enhance(Photo(picture), look).pixels  # type: ignore[return-value]

    @torch.no_grad()
    def _difference(self, reduced: Picture) -> Maps:
        """Return what the network adds to the reduced photograph, (h, w, 3) in [-1, 1]."""
        network, recipe = self.trained.network, self.trained.recipe
        encoding = encoding_named(recipe.encoding)
        prepared = encoding.prepare(to_tensor(reduced[None], next(network.parameters()).device))
        height, width = prepared.shape[-2:]
        padded = F.pad(prepared, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        predicted = answer(network, padded, recipe.precision)[:, :, :height, :width]
        added = encoding.decode(prepared, predicted) - prepared
        return np.ascontiguousarray(added[0].permute(1, 2, 0).cpu().numpy())


def load_enhancer(run: Path, *, device: str | None = None) -> Enhancer:
    """Load a run for enhancing photographs.

    Parameters
    ----------
    run
        Folder of a run.
    device
        As torch names it; the CPU if not given.

    Raises
    ------
    ModelError
        if there is no run, its weights are missing or damaged, or there is no such device.
    """
    return Enhancer(load_run(run, usable_device(device or "cpu")))


def _reduce(picture: NDArray[np.uint8] | NDArray[np.uint16], size: int) -> Picture:
    """Bring the shorter side to `size`, by area when that is smaller."""
    height, width = picture.shape[:2]
    scale = min(size / min(height, width), _LONGEST_SHARE * size / max(height, width))
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    reduced = cv2.resize(picture, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(reduced if picture.dtype == np.uint8 else np.rint(reduced / 257), dtype=np.uint8)
