"""The paper's twenty geometric variants of a pair: five rotations, wide or face frame, mirrored or not.

Capece et al. 2019, section 4.1: rotations from -20 to 20 degrees in steps of 10 about the centre of the face's bounding box,
crop to the box or not, horizontal flip or not. Rotation, frame, mirror and scale are composed into one matrix
flash_from_sample, and with the registration into studio_from_sample; each photograph is interpolated once, from full size.

Convention: points are (x, y) at pixel centres; a positive angle turns the picture's content counter-clockwise as seen;
mirroring comes last.

Border policy: what lies outside a photograph repeats its edge pixels (a dark or bright border would be learnt). Nothing is
invented silently: each sample stores the share that both photographs really cover as `valid_fraction`, and all from which
`deepflash.coverage.valid_mask` says it of every pixel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from deepflash.affine import Affine, compose, inverse
from deepflash.coverage import valid_fraction
from deepflash.dataset.resampling import Pyramid, read_pyramid, resample, shrink_of
from deepflash.dataset.variant_set import Variant, VariantSet, paper_variants
from deepflash.errors import DatasetError
from deepflash.faces import map_face
from deepflash.pairs import Alignment, Face
from deepflash.pictures import Picture


@dataclass(frozen=True)
class Rendered:
    """A variant in pixels: `flash` and `studio` (size, size, 3) RGB `uint8`, and what the sample's JSON says of it."""

    flash: Picture
    studio: Picture
    info: dict[str, Any]


@dataclass(frozen=True)
class Photographs:
    """Both photographs of a registered pair, decoded, each once."""

    flash: Pyramid
    studio: Pyramid


def read_photographs(alignment: Alignment, size: int, variants: VariantSet) -> Photographs:
    """Decode both photographs of a pair, no larger than its variants need; parameters and errors as `render_variants`."""
    shrinks = [shrink_of(from_sample) for from_sample in _maps(alignment, size, variants)]
    flash = read_pyramid(alignment.flash, min(shrinks), max(shrinks))
    studio = read_pyramid(alignment.studio, min(shrinks), max(shrinks))
    _check_size(alignment, "flash", flash.full_size, alignment.size)
    _check_size(alignment, "studio", studio.full_size, alignment.studio_size)
    return Photographs(flash, studio)


def render_variants(
    alignment: Alignment, size: int, *, variants: VariantSet | None = None, photographs: Photographs | None = None
) -> Iterator[Rendered]:
    """Yield the variants of a pair, in order; each photograph is decoded once.

    Parameters
    ----------
    alignment
        The registered pair. Without a face it turns about the middle of the picture, and has no variant of the face frame.
    size
        Side of the samples in pixels.
    variants
        Which ones; if None, the paper's twenty.
    photographs
        From `read_photographs`; if None, they are decoded here.

    Yields
    ------
    Rendered
        Its info holds subject, session, take, pair_id, pose, verdict, variant, size, valid_fraction (0 to 1); if there is a
        face, face_box (left, top, right, bottom) and landmarks in sample pixels; flash_size and studio_size, (width, height)
        of the photographs, flash_from_sample and studio_from_sample, in full-resolution pixels.

    Raises
    ------
    DatasetError
        if a variant wants a face that the pair has not, or a photograph has not the size that was registered.
    PictureError
        if a photograph cannot be read.
    """
    wanted = variants or paper_variants()
    decoded = photographs or read_photographs(alignment, size, wanted)
    upright: dict[Variant, tuple[Picture, Picture]] = {}
    for variant, from_sample in zip(wanted.variants, _maps(alignment, size, wanted), strict=True):
        # the pixels of a mirrored variant lie on the same points as those of its twin: interpolated once, both are exact
        twin = replace(variant, mirrored=False)
        if twin not in upright:
            twin_map = compose(from_sample, _mirror(size)) if variant.mirrored else from_sample
            upright[twin] = _interpolated(decoded, np.array(alignment.moving_from_fixed), twin_map, size)
        flash, studio = (_mirrored(picture) if variant.mirrored else picture for picture in upright[twin])
        yield Rendered(flash, studio, _info(alignment, variant, from_sample, size))


def face_portrait(
    alignment: Alignment, photographs: Photographs, size: int, face_enlargement: float
) -> tuple[Picture, Face] | None:
    """Return the subject's face under studio light, upright, as a square of `size` pixels, and where in it the face is.

    None if there is no face.
    """
    face = face_of(alignment)
    if face is None:
        return None
    from_portrait = flash_from_sample(Variant(0, "face", False), face, alignment.size, size, face_enlargement)
    studio_from_portrait = compose(np.array(alignment.moving_from_fixed), from_portrait)
    picture = resample(photographs.studio, studio_from_portrait, size, shrink_of(from_portrait))
    return picture, map_face(face, inverse(from_portrait))


def face_of(alignment: Alignment) -> Face | None:
    """Return the face in pixels of the flash photograph: found there, or else in the studio photograph, or in neither: None."""
    if alignment.flash_face is not None:
        return alignment.flash_face
    if alignment.studio_face is not None:
        return map_face(alignment.studio_face, inverse(np.array(alignment.moving_from_fixed)))
    return None


def check_face(alignment: Alignment, variants: VariantSet) -> None:
    """Check that a pair has a face if a variant is cropped to it.

    Raises
    ------
    DatasetError
        if it has none.
    """
    if face_of(alignment) is None and any(variant.frame == "face" for variant in variants.variants):
        raise DatasetError(
            f"pair {alignment.pair_id} has no face to crop to; photograph it again, or declare variants of the wide frame alone"
        )


def flash_from_sample(
    variant: Variant, face: Face | None, photograph: tuple[int, int], size: int, face_enlargement: float
) -> Affine:
    """Return the map from a sample's pixels to the flash photograph's.

    Parameters
    ----------
    variant
        Rotation, frame and mirror.
    face
        In pixels of the flash photograph; None for the wide frame about the middle of the photograph.
    photograph
        (width, height) of the flash photograph in pixels.
    size
        Side of the sample in pixels.
    face_enlargement
        Side of the face frame over the longer side of the face box.
    """
    left, top, right, bottom = face.box if face else (0, 0, photograph[0] - 1, photograph[1] - 1)
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


def _maps(alignment: Alignment, size: int, variants: VariantSet) -> list[Affine]:
    check_face(alignment, variants)
    face = face_of(alignment)
    return [flash_from_sample(variant, face, alignment.size, size, variants.face_enlargement) for variant in variants.variants]


def _interpolated(
    photographs: Photographs, moving_from_fixed: Affine, from_sample: Affine, size: int
) -> tuple[Picture, Picture]:
    shrink = shrink_of(from_sample)  # the same for both, so that they are filtered alike
    flash = resample(photographs.flash, from_sample, size, shrink)
    return flash, resample(photographs.studio, compose(moving_from_fixed, from_sample), size, shrink)


def _mirror(size: int) -> Affine:
    return np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0]])


def _mirrored(picture: Picture) -> Picture:
    return np.ascontiguousarray(picture[:, ::-1])


def _info(alignment: Alignment, variant: Variant, from_sample: Affine, size: int) -> dict[str, Any]:
    studio_from_sample = compose(np.array(alignment.moving_from_fixed), from_sample)
    covered = valid_fraction(size, (from_sample, alignment.size), (studio_from_sample, alignment.studio_size))
    return {
        "subject": alignment.subject,
        "session": alignment.session,
        "take": alignment.take,
        "pair_id": alignment.pair_id,
        "pose": alignment.pose,
        "verdict": alignment.verdict,
        "variant": asdict(variant),
        "size": size,
        "valid_fraction": round(covered, 4),
        **_face_info(face_of(alignment), from_sample),
        "flash_size": list(alignment.size),
        "studio_size": list(alignment.studio_size),
        "flash_from_sample": from_sample.tolist(),
        "studio_from_sample": studio_from_sample.tolist(),
    }


def _face_info(face: Face | None, from_sample: Affine) -> dict[str, Any]:
    if face is None:
        return {}
    there = map_face(face, inverse(from_sample))
    landmarks = {name: [_rounded(point) for point in points] for name, points in there.landmarks.items()}
    return {"face_box": _rounded(there.box), "landmarks": landmarks}


def _check_size(alignment: Alignment, light: str, found: tuple[int, int], registered: tuple[int, int]) -> None:
    if found != registered:
        raise DatasetError(
            f"the {light} photograph of pair {alignment.pair_id} is {found[0]} x {found[1]} pixels, but {registered[0]} x "
            f"{registered[1]} were registered; run align batch again"
        )


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values]
