"""The paper's twenty geometric variants of a pair: five rotations, wide or face frame, mirrored or not.

Capece et al. 2019, section 4.1: rotations from -20 to 20 degrees in steps of 10 about the centre of the face's bounding box,
crop to the box or not, horizontal flip or not. Rotation, frame, mirror and scale are composed into one matrix
flash_from_sample, and with the registration into studio_from_sample; each photograph is interpolated once, from full size.

Convention: points are (x, y) at pixel centres; a positive angle turns the picture's content counter-clockwise as seen;
mirroring comes last. What lies outside a photograph repeats its edge pixels (a dark or bright border would be learnt),
and the share of the sample that both photographs really cover is stored as `valid_fraction`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from deepflash.affine import Affine, compose, inverse
from deepflash.dataset.resampling import read_pyramid, resample, shrink_of, valid_fraction
from deepflash.errors import DatasetError
from deepflash.faces import map_face
from deepflash.pairs import Alignment, Face
from deepflash.pictures import Picture

FACE_ENLARGEMENT = 1.5
"""Side of the face frame over the longer side of the face box.

The box of face_recognition ends at the eyebrows and the chin (the paper's 1.0); the pairs that the paper's authors released
show 1.8 to 2.7 boxes. With 1.5 the frame holds the whole face with hair line and ears, also when rotated by 20 degrees."""


@dataclass(frozen=True)
class Variant:
    """One geometric augmentation.

    Attributes
    ----------
    angle_deg
        Rotation of the picture's content about the centre of the face box, counter-clockwise, in degrees.
    frame
        `wide`: the largest square that the flash photograph holds, as near to the face as it goes;
        `face`: the square of the face box times `FACE_ENLARGEMENT`.
    mirrored
        Whether left and right are exchanged.
    """

    angle_deg: int
    frame: Literal["wide", "face"]
    mirrored: bool


VARIANTS: tuple[Variant, ...] = tuple(
    Variant(angle_deg, frame, mirrored)
    for frame in ("wide", "face")
    for mirrored in (False, True)
    for angle_deg in (0, -20, -10, 10, 20)
)
"""The twenty; the first shows the photograph as taken (`deepflash.shards.is_unaugmented`)."""


@dataclass(frozen=True)
class Rendered:
    """A variant in pixels: `flash` and `studio` (size, size, 3) RGB `uint8`, and what the sample's JSON says of it."""

    flash: Picture
    studio: Picture
    info: dict[str, Any]


def render_variants(
    alignment: Alignment, size: int, *, variants: Sequence[Variant] = VARIANTS, face_enlargement: float = FACE_ENLARGEMENT
) -> Iterator[Rendered]:
    """Yield the variants of a pair, in order; each photograph is decoded once.

    Parameters
    ----------
    alignment
        The registered pair, with a face in at least one photograph.
    size
        Side of the samples in pixels.
    variants
        Which ones.
    face_enlargement
        See `FACE_ENLARGEMENT`.

    Yields
    ------
    Rendered
        Its info holds subject, session, take, pair_id, pose, verdict, variant, valid_fraction (0 to 1), face_box (left, top,
        right, bottom) and landmarks in sample pixels, flash_from_sample and studio_from_sample in full-resolution pixels.

    Raises
    ------
    DatasetError
        if the pair has no face, or a photograph has not the size that was registered.
    PictureError
        if a photograph cannot be read.
    """
    face = face_of(alignment)
    flash_matrices = [flash_from_sample(variant, face, alignment.size, size, face_enlargement) for variant in variants]
    moving_from_fixed = np.array(alignment.moving_from_fixed)
    shrinks = [shrink_of(matrix) for matrix in flash_matrices]
    flash = read_pyramid(alignment.flash, min(shrinks), max(shrinks))
    studio = read_pyramid(alignment.studio, min(shrinks), max(shrinks))
    _check_size(alignment, "flash", flash.full_size, alignment.size)
    _check_size(alignment, "studio", studio.full_size, alignment.studio_size)
    for variant, from_sample, shrink in zip(variants, flash_matrices, shrinks, strict=True):
        studio_from_sample = compose(moving_from_fixed, from_sample)
        yield Rendered(
            resample(flash, from_sample, size, shrink),
            resample(studio, studio_from_sample, size, shrink),
            _info(alignment, variant, face, from_sample, studio_from_sample, size),
        )


def face_of(alignment: Alignment) -> Face:
    """Return the subject's face in pixels of the flash photograph: found there, or else in the studio photograph.

    Raises
    ------
    DatasetError
        if it was found in neither.
    """
    if alignment.flash_face is not None:
        return alignment.flash_face
    if alignment.studio_face is not None:
        return map_face(alignment.studio_face, inverse(np.array(alignment.moving_from_fixed)))
    raise DatasetError(f"pair {alignment.pair_id} has no face to rotate about and to crop to; photograph it again")


def flash_from_sample(
    variant: Variant, face: Face, photograph: tuple[int, int], size: int, face_enlargement: float = FACE_ENLARGEMENT
) -> Affine:
    """Return the map from a sample's pixels to the flash photograph's.

    Parameters
    ----------
    variant
        Rotation, frame and mirror.
    face
        In pixels of the flash photograph.
    photograph
        (width, height) of the flash photograph in pixels.
    size
        Side of the sample in pixels.
    face_enlargement
        See `FACE_ENLARGEMENT`.
    """
    left, top, right, bottom = face.box
    face_centre = np.array([(left + right) / 2, (top + bottom) / 2])
    side = float(min(photograph))
    if variant.frame == "face":
        side = min(side, face_enlargement * max(right - left, bottom - top))
    frame_centre = np.clip(face_centre, side / 2 - 0.5, np.array(photograph) - side / 2 - 0.5)
    angle = np.deg2rad(variant.angle_deg)
    unrotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # y points down
    mirror = np.diag([-1.0 if variant.mirrored else 1.0, 1.0])
    linear = unrotate @ mirror * (side / size)
    sample_centre = np.full(2, (size - 1) / 2)
    offset = face_centre + unrotate @ (frame_centre - face_centre) - linear @ sample_centre
    return np.column_stack([linear, offset])


def _info(
    alignment: Alignment, variant: Variant, face: Face, from_sample: Affine, studio_from_sample: Affine, size: int
) -> dict[str, Any]:
    there = map_face(face, inverse(from_sample))
    return {
        "subject": alignment.subject,
        "session": alignment.session,
        "take": alignment.take,
        "pair_id": alignment.pair_id,
        "pose": alignment.pose,
        "verdict": alignment.verdict,
        "variant": asdict(variant),
        "valid_fraction": round(
            valid_fraction(size, (from_sample, alignment.size), (studio_from_sample, alignment.studio_size)), 4
        ),
        "face_box": _rounded(there.box),
        "landmarks": {name: [_rounded(point) for point in points] for name, points in there.landmarks.items()},
        "flash_from_sample": from_sample.tolist(),
        "studio_from_sample": studio_from_sample.tolist(),
    }


def _check_size(alignment: Alignment, light: str, found: tuple[int, int], registered: tuple[int, int]) -> None:
    if found != registered:
        raise DatasetError(
            f"the {light} photograph of pair {alignment.pair_id} is {found[0]} x {found[1]} pixels, but {registered[0]} x "
            f"{registered[1]} were registered; run align batch again"
        )


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values]
