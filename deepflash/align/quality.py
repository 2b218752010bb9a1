"""Quality of a registration, judged by what the optimiser did not optimise.

Every pair gets a verdict - `good`, `check` (usable, look at it) or `bad` (left out of data sets) - with its reasons
in words and the numbers behind them. The probability that the map is right (`confidence`) decides together with limits on
single numbers; the limits say in words what is the matter, and see what no map can undo: a blink, a turned head.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from deepflash.affine import Affine, Points, apply, compose
from deepflash.align import frame
from deepflash.align.agreement import FaceEllipse, agreement_of_tiles, points_on
from deepflash.align.parts import compare_parts
from deepflash.align.registration import Registration
from deepflash.align.subjects import Faces, locate
from deepflash.eyes import compare_eyes
from deepflash.pairs import Face
from deepflash.pictures import Picture

Verdict = Literal["good", "check", "bad"]


@dataclass(frozen=True)
class Judgement:
    """A verdict, why it is not `good`, and the numbers behind it (units in their names)."""

    verdict: Verdict
    reasons: tuple[str, ...]
    numbers: dict[str, float] = field(default_factory=dict)


GOOD_CONFIDENCE = 0.7
"""Below it a pair is worth a look. Tiles of real faces leave more than rendered ones do: a higher limit rejects good pairs."""

REFERENCE_WIDTH_PX = 3120
"""Lengths in the confidence's model are in pixels of a photograph of this width (13 megapixels)."""


@dataclass(frozen=True)
class _Limit:
    """From `check` on a number is worth a look, from `bad` on the pair is of no use."""

    check: float
    bad: float
    sentence: str  # gets the number as {}


# Measured on eight real pairs (two of motion besides), on emulated ones and on those of benchmarks/confidence.py.
_AT_MOST = {
    "landmark_residual": _Limit(0.25, np.inf, "the eyes are {:.2f} eye distances apart after registration"),
    "tile_residual": _Limit(0.0065, 0.1, "parts of the face moved by {:.1%} of its width in ways an affine map cannot undo"),
    "bend": _Limit(0.0031, np.inf, "the face is bent by {:.1%} of its width: the head turned, or the mouth moved"),
    "part_shift": _Limit(0.01, np.inf, "a part of the face, such as the mouth, moved by {:.0%} of its width beside the rest"),
    "backward_residual": _Limit(0.005, 0.1, "registration forward and backward differ by {:.1%} of the face's width"),
    "scale_change": _Limit(0.08, 0.25, "the map changes the size by {:.0%}"),
    "rotation_deg": _Limit(8.0, 30.0, "the map turns the picture by {:.1f} degrees"),
    "shear": _Limit(0.06, 0.25, "the map shears the picture by {:.2f}"),
    "shift": _Limit(0.08, 0.3, "the map moves the face by {:.0%} of the picture's width"),
}
_AT_LEAST = {
    "agreement": _Limit(0.25, 0.15, "the edges of both faces agree little (correlation {:.2f})"),
    "part_agreement": _Limit(0.28, -1.0, "one part of the face agrees little with the other photograph (correlation {:.2f})"),
    "thinnest_band": _Limit(
        0.03, -1.0, "a part of the face was not found again, only {:.0%} of the tiles: it moved, or is hidden"
    ),
    "overlap": _Limit(0.98, 0.8, "only {:.0%} of the face is inside the studio picture"),
    "confidence": _Limit(GOOD_CONFIDENCE, 0.02, "the map is right with a probability of {:.0%} only"),
}

# Logistic regression of "the face is within 6 px of 3120", by benchmarks/confidence.py; see docs/results.md, "Confidence".
_INTERCEPT = 8.776
_WEIGHTS = {"tile_residual": -2.804, "tile_halves": -0.198, "backward_residual": -1.506}
_LEAST_PX, _MOST_PX = 0.3, 100.0  # lengths beyond say no more


def judge(
    registration: Registration,
    flash_face: Face | None,
    studio_face: Face | None,
    size: tuple[int, int],
    *,
    pictures: tuple[Picture, Picture] | None = None,
) -> Judgement:
    """Judge a registration.

    Parameters
    ----------
    registration
        In pixels of the same pictures as the faces.
    flash_face, studio_face
        As detected in each picture, not mapped from one to the other.
    size
        (width, height) of the pictures in pixels.
    pictures
        The flash and the studio picture, (H, W, 3) RGB `uint8`; without them parts of the face and eyes are not compared.

    Returns
    -------
    Judgement
        Numbers, lengths in face widths where nothing else is said, and only what could be measured:

        - `confidence`: calibrated probability that the mean distance of the two faces is within 6 px of 3120;
        - `tile_residual`, `tile_halves`, `bend`, `thinnest_band`: see `deepflash.align.agreement.Agreement`;
        - `backward_residual`: mean distance on the face between where one comes from and where one ends, going
          to the studio picture by this map and back by the one that was found in the other direction;
        - `landmark_residual`: mean distance of the eyes of the flash face, mapped, from those of the studio face, in
          inter-ocular distances;
        - `part_agreement`, `part_shift`: see `deepflash.align.parts.Parts`;
        - `eye_likeness`, `eye_uprightness`, `eye_loss`: see `deepflash.eyes.Comparison`;
        - `agreement`, `agreement_before`: correlation of gradients on the face;
        - `scale_change`, `rotation_deg`, `shear`, `shift` (in widths of the picture) of the map; `overlap`, how much of
          the face's box is inside the studio picture.
    """
    face = flash_face or studio_face
    numbers = {"agreement": registration.metric, "agreement_before": registration.metric_before}
    numbers |= _tiles(registration, face, size) | _backward(registration, face, size)
    numbers |= _shape(registration.moving_from_fixed) | _place(registration.moving_from_fixed, face, size)
    if flash_face and studio_face:
        numbers |= _landmarks(registration.moving_from_fixed, flash_face, studio_face)
    if pictures:
        numbers |= _parts(pictures, registration.moving_from_fixed, face, size)
    numbers["confidence"] = confidence_of(numbers, face_width_px(face, size))
    bad, check = _over_limits(numbers)
    if pictures and face:
        eye_numbers, remarks = _compared_eyes(pictures, Faces(flash_face, studio_face), registration.moving_from_fixed)
        numbers |= eye_numbers
        check += remarks
    if face is None:
        bad.insert(0, "no face was found in either photograph, so that a data set cannot crop it")
    elif flash_face is None or studio_face is None:
        missing = "flash" if flash_face is None else "studio"
        check.insert(0, f"no face was found in the {missing} photograph; it was taken from the other one through the map")
    verdict: Verdict = "bad" if bad else "check" if check else "good"
    return Judgement(verdict, (*bad, *check), {name: round(value, 5) for name, value in numbers.items()})


def log_px(length: float, face_px: float) -> float:
    """Return the logarithm of a length, given in face widths, in pixels of a 3120 px wide photograph; limited."""
    return float(np.log(np.clip(length * face_px, _LEAST_PX, _MOST_PX)))


def face_width_px(face: Face | None, size: tuple[int, int]) -> float:
    """Return the width of the face in pixels of a 3120 px wide photograph; 0.6 of that without a face."""
    return REFERENCE_WIDTH_PX * ((face.box[2] - face.box[0]) / size[0] if face else 0.6)


def evidence(numbers: dict[str, float], face_px: float) -> dict[str, float]:
    """Return what the confidence is computed from: logarithms of lengths in pixels of a 3120 px wide photograph."""
    residual = numbers.get("tile_residual", np.inf)
    lengths = {
        "tile_residual": residual,
        "tile_halves": numbers.get("tile_halves", np.inf),
        "backward_residual": numbers.get("backward_residual", residual),
    }
    return {name: log_px(length, face_px) for name, length in lengths.items()}


def confidence_of(numbers: dict[str, float], face_px: float) -> float:
    """Return the probability that the face is within 6 px of a 3120 px wide photograph, from a judgement's numbers."""
    known = evidence(numbers, face_px)
    score = _INTERCEPT + sum(weight * known[name] for name, weight in _WEIGHTS.items())
    return float(1 / (1 + np.exp(-np.clip(score, -30, 30))))


def _over_limits(numbers: dict[str, float]) -> tuple[list[str], list[str]]:
    bad: list[str] = []
    check: list[str] = []
    for limits, sign in ((_AT_MOST, 1), (_AT_LEAST, -1)):
        for name, limit in limits.items():
            value = numbers.get(name)
            if value is None or sign * value <= sign * limit.check:
                continue
            (bad if sign * value > sign * limit.bad else check).append(limit.sentence.format(value))
    return bad, check


def _ellipse(face: Face | None, size: tuple[int, int]) -> FaceEllipse:
    """Return the face in the frame; the box of the detector ends at the brows and the chin."""
    width, height = size
    left, top, right, bottom = face.box if face else (0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height)
    return (
        ((left + right) / 2 + 0.5) / width,
        ((top + bottom) / 2 + 0.5) / width,
        0.5 * (right - left) / width,
        0.58 * (bottom - top) / width,
    )


def _tiles(registration: Registration, face: Face | None, size: tuple[int, int]) -> dict[str, float]:
    ellipse = _ellipse(face, size)
    found = agreement_of_tiles(registration.matches, frame.in_frame(registration.moving_from_fixed, size[0]), ellipse)
    lengths = {"tile_residual": found.residual, "tile_halves": found.halves, "bend": found.bend}
    in_faces = {name: value / (2 * ellipse[2]) for name, value in lengths.items() if np.isfinite(value)}
    return in_faces | {"thinnest_band": found.thinnest}


def _parts(
    pictures: tuple[Picture, Picture], moving_from_fixed: Affine, face: Face | None, size: tuple[int, int]
) -> dict[str, float]:
    found = compare_parts(*pictures, frame.in_frame(moving_from_fixed, size[0]), _ellipse(face, size))
    return {"part_agreement": found.agreement, "part_shift": found.shift}


def _backward(registration: Registration, face: Face | None, size: tuple[int, int]) -> dict[str, float]:
    if registration.fixed_from_moving is None:
        return {}
    ellipse, width = _ellipse(face, size), size[0]
    points = points_on(ellipse) * width - 0.5
    returned = apply(compose(registration.fixed_from_moving, registration.moving_from_fixed), points)
    return {"backward_residual": float(np.linalg.norm(returned - points, axis=1).mean()) / (2 * ellipse[2] * width)}


def _shape(affine: Affine) -> dict[str, float]:
    """Return the linear part as rotation, shear and scale: A = R(angle) [[sx, m], [0, sy]]."""
    (a, b), (c, d) = affine[:, :2]
    across = float(np.hypot(a, c))
    down = float((a * d - b * c) / across)
    return {
        "scale_change": float(abs(np.sqrt(abs(across * down)) - 1)),
        "rotation_deg": float(abs(np.degrees(np.arctan2(c, a)))),
        "shear": float(np.hypot((a * b + c * d) / across, across - down)),  # unequal scales are a shear, too
    }


def _place(affine: Affine, face: Face | None, size: tuple[int, int]) -> dict[str, float]:
    width, height = size
    left, top, right, bottom = face.box if face else (0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height)
    u, v = np.meshgrid(
        np.linspace(max(left, 0), min(right, width - 1), 16), np.linspace(max(top, 0), min(bottom, height - 1), 16)
    )
    points = np.column_stack([u.ravel(), v.ravel()])
    mapped = apply(affine, points)
    inside = ((mapped >= -0.5) & (mapped <= np.array([width, height]) - 0.5)).all(axis=1)
    return {
        "shift": float(np.linalg.norm((mapped - points).mean(axis=0))) / width,
        "overlap": float(inside.mean()),
    }


def _landmarks(affine: Affine, flash_face: Face, studio_face: Face) -> dict[str, float]:
    flash_eyes, studio_eyes = _eyes(flash_face), _eyes(studio_face)
    if flash_eyes is None or studio_eyes is None:
        return {}
    apart = float(np.linalg.norm(studio_eyes[0] - studio_eyes[1]))
    offsets = studio_eyes - apply(affine, flash_eyes)
    return {"landmark_residual": float(np.linalg.norm(offsets, axis=1).mean()) / apart}


def _eyes(face: Face) -> Points | None:
    """Return the middle of each eye; single landmarks are off by up to a tenth of the distance of the eyes."""
    if not {"left_eye", "right_eye"} <= face.landmarks.keys():
        return None
    return np.array([np.mean(face.landmarks[eye], axis=0) for eye in ("left_eye", "right_eye")])


def _compared_eyes(pictures: tuple[Picture, Picture], faces: Faces, affine: Affine) -> tuple[dict[str, float], list[str]]:
    """Return what was measured of the eyes, and a sentence if they are open in one picture and shut in the other."""
    face = locate(faces, affine).flash
    seen = compare_eyes(*pictures, face, affine) if face else None
    if seen is None:
        return {}, []
    numbers = {"eye_likeness": seen.likeness, "eye_uprightness": seen.uprightness, "eye_loss": seen.loss}
    return numbers, ["the eyes may be open in one photograph and shut in the other"] if seen.differ else []
