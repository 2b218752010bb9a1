"""From a flash photograph to a portrait, at the photograph's own resolution.

1. Faces are found on a reduced copy, red pupils corrected.
2. The network sees reduced copies, in sRGB, of the whole photograph and of a square around each face that is smaller than
   those it was trained on (regions.py).
3. What it answers is brought up to full resolution along the photograph's edges, joined (upsampling.py), weighed with the
   subject's matte (matte.py, composite.py), and added to the original pixels (equation 2; rendering.py), whose detail never
   passes the network.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from deepflash.affine import Affine, inverse
from deepflash.errors import ModelError, NoFaceError, PictureError
from deepflash.faces import PEOPLE_SIDE_PX, find_people, map_face
from deepflash.model.data import to_tensor
from deepflash.model.encodings import encoding_named
from deepflash.model.enhancement.composite import cut_out
from deepflash.model.enhancement.look import Look
from deepflash.model.enhancement.matte import MATTE_SIDE_PX, subject_matte
from deepflash.model.enhancement.red_eye import correct_red_eyes
from deepflash.model.enhancement.regions import Frame, frames_of
from deepflash.model.enhancement.rendering import Subject, render
from deepflash.model.enhancement.upsampling import Layer, Maps, difference_at, luma_of, make_layer
from deepflash.model.network import STRIDE
from deepflash.model.runs import TrainedRun, answer, load_run, usable_device
from deepflash.pairs import Face
from deepflash.photos import Photo, Pixels, from_srgb, srgb_of
from deepflash.pictures import Picture

_LONGEST_SHARE = 4  # a panorama's longer side, in sizes of the network
_PASS_PX = 2**20  # of all pictures that pass the network at once: bounds the memory
_PROPORTION = 0.02  # by which a mask's may differ from the photograph's: whole pixels


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
            The same size, type and colour space; a photograph without colour gets none.

        Raises
        ------
        NoFaceError
            if there is no face in it and the look is not for the whole.
        PictureError
            if mask and look do not fit the photograph or each other.
        FaceError
            if faces cannot be found on this machine.
        """
        chosen = look or Look()
        return self.develop(photo, chosen, mask=mask)(chosen.strength)

    def develop(self, photo: Photo, look: Look, *, mask: NDArray[np.uint8] | None = None) -> Callable[[float], Photo]:
        """Do once what is the same for all strengths; return what makes the portrait of one, 0 to 1. See `enhance`."""
        faces = [] if look.whole else _faces_of(photo)
        subject = _subject_of(photo, faces, look, mask)
        if look.red_eye:
            photo = replace(photo, pixels=correct_red_eyes(photo.pixels, faces))
        base, layers = self._layers(photo, faces)

        def portrait(strength: float) -> Photo:
            pixels = render(photo.pixels, lambda top, luma: difference_at(base, layers, top, luma), strength, subject)
            return replace(photo, pixels=pixels)

        return portrait

    def enhance_picture(self, picture: Pixels, look: Look | None = None, *, mask: NDArray[np.uint8] | None = None) -> Pixels:
        """Turn a picture in memory into a portrait.

        Parameters
        ----------
        picture
            (H, W, 3) sRGB `uint8` or `uint16`, upright.
        look, mask
            As for `enhance`.

        Returns
        -------
        Pixels
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
        return self.enhance(Photo(picture), look, mask=mask).pixels

    def _layers(self, photo: Photo, faces: Sequence[Face]) -> tuple[Layer, list[Layer]]:
        """Ask the network about the whole photograph and about every small face in it."""
        height, width = photo.pixels.shape[:2]
        size = self.trained.recipe.size
        whole, frames = Frame(0, 0, width, height), frames_of(faces, width, height)
        copies = [_reduced(photo.pixels, shape_seen(photo.pixels, size))]
        copies += [_reduced(photo.pixels[f.top : f.bottom, f.left : f.right], (size, size)) for f in frames]
        seen = [srgb_of(copy, photo.profile) for copy in copies]
        answers = self._differences(seen)
        if _is_grey(seen[0]):
            answers = [np.repeat(luma_of(difference)[..., None], 3, axis=2) for difference in answers]
        made = [
            make_layer(frame, (width, height), copy, _in_space_of(photo, srgb, difference))
            for frame, copy, srgb, difference in zip([whole, *frames], copies, seen, answers, strict=True)
        ]
        return made[0], made[1:]

    def _differences(self, pictures: Sequence[Picture]) -> list[Maps]:
        """Return what the network adds to sRGB pictures, (h, w, 3) in [-1, 1] each; those of one size pass together."""
        return [difference for batch in _batches(pictures) for difference in self._pass(batch)]

    @torch.no_grad()
    def _pass(self, batch: Picture) -> list[Maps]:
        network, recipe = self.trained.network, self.trained.recipe
        encoding = encoding_named(recipe.encoding)
        prepared = encoding.prepare(to_tensor(batch, next(network.parameters()).device))
        height, width = prepared.shape[-2:]
        padded = F.pad(prepared, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        predicted = answer(network, padded, recipe.precision)[:, :, :height, :width]
        added = encoding.decode(prepared, predicted) - prepared
        return list(added.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def load_enhancer(run: str | Path, *, device: str | None = None) -> Enhancer:
    """Load a run for enhancing photographs.

    Parameters
    ----------
    run
        Folder of a run, or one of its weights files.
    device
        As torch names it; the CPU if not given.

    Raises
    ------
    ModelError
        if there is no run, its weights are missing or damaged, it has learned bokeh, or there is no such device.
    """
    trained = load_run(Path(run), usable_device(device or "cpu"))
    if trained.recipe.network == "bokeh":
        raise ModelError(f"{run} has learned to blur what is behind people; use it with deepflash bokeh, and give another run")
    return Enhancer(trained)


def shape_seen(pixels: Pixels, size: int) -> tuple[int, int]:
    """Return (width, height) of the copy of a photograph that a network of that size sees.

    Its shorter side is `size`, as the photograph's is in a data set's squares; of strips the longer is at most 4 times that.
    """
    height, width = pixels.shape[:2]
    scale = min(size / min(height, width), _LONGEST_SHARE * size / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _faces_of(photo: Photo) -> list[Face]:
    """Return all faces in pixels of the photograph, the largest first; refuse one without."""
    copy, photo_from_copy = _copy(photo, PEOPLE_SIDE_PX)
    faces = [map_face(face, photo_from_copy) for face in find_people(srgb_of(copy, photo.profile))]
    if not faces:
        raise NoFaceError(
            "no face was found in the photograph; turn it if it is not upright; --whole treats the entire picture"
        )
    return faces


def _subject_of(photo: Photo, faces: Sequence[Face], look: Look, mask: NDArray[np.uint8] | None) -> Subject | None:
    """Return who is in front of the background; None if everything is treated alike."""
    if mask is not None:
        _check_mask(mask, photo, look)
    elif look.background == "enhance" or (look.whole and look.background == "keep"):
        return None
    elif look.whole:
        raise PictureError("a picture that is treated as a whole has no background to put a colour at; give a mask")
    copy, photo_from_copy = _copy(photo, MATTE_SIDE_PX)
    if mask is None:
        matte = subject_matte(srgb_of(copy, photo.profile), [map_face(face, inverse(photo_from_copy)) for face in faces])
    else:
        matte = np.asarray(cv2.resize(mask, copy.shape[1::-1], interpolation=cv2.INTER_AREA) / np.float32(255), np.float32)
    behind = None
    if not isinstance(look.background, str):
        behind = np.asarray(
            from_srgb(np.array([[look.background]], np.uint8), photo.profile)[0, 0] / np.float32(255), np.float32
        )
    return Subject(cut_out(copy, matte), mask, behind)


def _check_mask(mask: NDArray[np.uint8], photo: Photo, look: Look) -> None:
    height, width = photo.pixels.shape[:2]
    if look.background == "enhance":
        raise PictureError("a mask says where the background is, which shall be treated like the person; leave one out")
    if mask.ndim != 2 or mask.dtype != np.uint8 or not mask.size:
        raise PictureError(f"a mask must be (h, w) uint8, not {mask.shape} {mask.dtype}")
    if abs(mask.shape[1] * height / (mask.shape[0] * width) - 1) > _PROPORTION:
        raise PictureError(
            f"the mask has {mask.shape[1]} x {mask.shape[0]} pixels, the photograph, as it is displayed, {width} x {height}; "
            "give one of the same proportion"
        )


def _copy(photo: Photo, side: int) -> tuple[Picture, Affine]:
    """Return a copy whose longer side is at most `side`, and the map from its pixels to the photograph's."""
    height, width = photo.pixels.shape[:2]
    scale = min(1.0, side / max(width, height))
    copy = _reduced(photo.pixels, (max(1, round(width * scale)), max(1, round(height * scale))))
    across, down = width / copy.shape[1], height / copy.shape[0]
    return copy, np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2]])


def _reduced(pixels: Pixels, shape: tuple[int, int]) -> Picture:
    """Return an 8-bit copy of (width, height), averaged where that is smaller."""
    smaller = shape[0] < pixels.shape[1]
    copy = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.asarray(copy if copy.dtype == np.uint8 else np.rint(copy / 257), dtype=np.uint8)


def _is_grey(picture: Picture) -> bool:
    return bool((picture == picture[..., :1]).all())


def _batches(pictures: Sequence[Picture]) -> Iterator[Picture]:
    """Put pictures of one size that follow each other together, as many as memory allows."""
    for (height, width, _), group in itertools.groupby(pictures, key=lambda picture: picture.shape):
        alike, at_once = list(group), max(1, _PASS_PX // (height * width))
        for start in range(0, len(alike), at_once):
            yield np.stack(alike[start : start + at_once])


def _in_space_of(photo: Photo, srgb: Picture, difference: Maps) -> Maps:
    """Bring a difference of sRGB values to the photograph's colour space."""
    if photo.profile is None:
        return difference
    changed = np.rint(np.clip(srgb + 255 * difference, 0, 255)).astype(np.uint8)
    before, after = from_srgb(srgb, photo.profile), from_srgb(changed, photo.profile)
    return np.asarray((after - before.astype(np.float32)) / np.float32(255))
