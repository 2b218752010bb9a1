"""Before and after in one picture, as in the papers' figures."""

from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deepflash.photos import Photo, srgb_of
from deepflash.pictures import Picture

Compare = Literal["none", "side", "split"]

_LONGER_SIDE_PX = 2048  # of each photograph: fills a screen; the portrait itself keeps every pixel
_LABEL_SHARE = 0.03  # of the shorter side
_GAP_SHARE = 0.01


def comparison(before: Photo, after: Photo, how: Compare) -> Picture:
    """Show a photograph and its portrait in one picture, labelled.

    Parameters
    ----------
    before, after
        Of one size; what is larger than 2048 px is reduced, what is transparent is shown on white.
    how
        `side`: beside each other; `split`: the left half of one, the right half of the other.

    Returns
    -------
    Picture
        (h, w, 3) sRGB `uint8`.
    """
    left, right = _shown(before), _shown(after)
    height, width = left.shape[:2]
    gap = max(2, round(_GAP_SHARE * min(height, width)))
    if how == "side":
        white = np.full((height, gap, 3), 255, np.uint8)
        return np.hstack([_labelled(left, "before", at_right=False), white, _labelled(right, "after", at_right=True)])
    joined = _labelled(left, "before", at_right=False)
    joined[:, width // 2 :] = _labelled(right, "after", at_right=True)[:, width // 2 :]
    joined[:, width // 2 - gap // 4 : width // 2 + max(1, gap // 4)] = 255
    return joined


def _shown(photo: Photo) -> Picture:
    height, width = photo.pixels.shape[:2]
    scale = min(1.0, _LONGER_SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    share = 255 / photo.depth
    reduced = cv2.resize(photo.pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32) * share
    picture = srgb_of(np.rint(reduced).astype(np.uint8), photo.profile)
    if photo.alpha is None:
        return picture
    cover = cv2.resize(photo.alpha, size, interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / photo.depth
    return np.rint(picture * cover + 255 * (1 - cover)).astype(np.uint8)


def _labelled(picture: Picture, label: str, *, at_right: bool) -> Picture:
    """Write a word into a lower corner, light with a dark rim: legible on anything."""
    image = Image.fromarray(picture)
    size = max(10, round(_LABEL_SHARE * min(image.size)))
    x = image.width - size if at_right else size
    ImageDraw.Draw(image).text(
        (x, image.height - size),
        label,
        fill="white",
        font=ImageFont.load_default(size),
        anchor="rs" if at_right else "ls",
        stroke_width=max(1, size // 12),
        stroke_fill="black",
    )
    return np.array(image)
