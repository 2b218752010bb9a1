"""Quality of a registration, judged by what the optimiser did not optimise.

Every pair gets a verdict - `good`, `check` (usable, look at it) or `bad` (left out of data sets) - with its reasons
in words and the numbers behind them.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from deepflash.affine import Affine, Points, apply
from deepflash.align import frame
from deepflash.align.registration import Registration
from deepflash.pairs import Face

Verdict = Literal["good", "check", "bad"]


@dataclass(frozen=True)
class Judgement:
    """A verdict, why it is not `good`, and the numbers behind it (units in their names)."""

    verdict: Verdict
    reasons: tuple[str, ...]
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Limit:
    """From `check` on a number is worth a look, from `bad` on the pair is of no use."""

    check: float
    bad: float
    sentence: str  # gets the number as {}


# Measured: ten real pairs (deepflash, motion) agree by 0.28 to 0.54 and emulated ones by 0.87 to 0.96, photographs of two
# different people by 0.01 to 0.10. Tiles of real heads that held still lie within 0.0054 of the face's width, of those that
# turned or spoke 0.0079 to 0.015. The detector's eyes are up to 0.11 eye distances off on well registered real pairs.
_AT_MOST = {
    "landmark_residual": _Limit(0.2, 0.4, "the eyes are {:.2f} eye distances apart after registration"),
    "tile_residual": _Limit(0.0075, 0.1, "parts of the face moved by {:.1%} of its width in ways an affine map cannot undo"),
    "scale_change": _Limit(0.08, 0.25, "the map changes the size by {:.0%}"),
    "rotation_deg": _Limit(8.0, 30.0, "the map turns the picture by {:.1f} degrees"),
    "shear": _Limit(0.06, 0.25, "the map shears the picture by {:.2f}"),
    "shift": _Limit(0.08, 0.3, "the map moves the face by {:.0%} of the picture's width"),
}
_AT_LEAST = {
    "agreement": _Limit(0.25, 0.15, "the edges of both faces agree little (correlation {:.2f})"),
    "overlap": _Limit(0.98, 0.8, "only {:.0%} of the face is inside the studio picture"),
}


def judge(registration: Registration, flash_face: Face | None, studio_face: Face | None, size: tuple[int, int]) -> Judgement:
    """Judge a registration.

    Parameters
    ----------
    registration
        In pixels of the same pictures as the faces.
    flash_face, studio_face
        As detected in each picture, not mapped from one to the other.
    size
        (width, height) of the pictures in pixels.

    Returns
    -------
    Judgement
        Numbers: `landmark_residual`, the mean distance of the eyes of the flash face, mapped, from those of the studio
        face, in inter-ocular distances; `tile_residual`, the third quartile of how far small tiles of the face lie
        from where the map puts them, in face widths; `agreement` and `agreement_before`, correlation of gradients on
        the face; `scale_change`, `rotation_deg`, `shear`, `shift` (in widths of the picture) of the map; `overlap`,
        how much of the face's box is inside the studio picture. Only what could be measured is in there.
    """
    face = flash_face or studio_face
    numbers = _agreement(registration, face, size) | _shape(registration.moving_from_fixed)
    numbers |= _place(registration.moving_from_fixed, face, size)
    if flash_face and studio_face:
        numbers |= _landmarks(registration.moving_from_fixed, flash_face, studio_face)
    bad, check = _over_limits(numbers)
    if face is None:
        bad.insert(0, "no face was found in either photograph, so that a data set cannot crop it")
    elif flash_face is None or studio_face is None:
        missing = "flash" if flash_face is None else "studio"
        check.insert(0, f"no face was found in the {missing} photograph; it was taken from the other one through the map")
    verdict: Verdict = "bad" if bad else "check" if check else "good"
    return Judgement(verdict, (*bad, *check), {name: round(value, 5) for name, value in numbers.items()})


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


def _agreement(registration: Registration, face: Face | None, size: tuple[int, int]) -> dict[str, float]:
    numbers = {"agreement": registration.metric, "agreement_before": registration.metric_before}
    residuals = registration.matches.residuals(frame.in_frame(registration.moving_from_fixed, size[0]))
    if face and len(residuals):
        face_width = (face.box[2] - face.box[0]) / size[0]
        numbers["tile_residual"] = float(np.percentile(residuals, 75)) / face_width
    return numbers


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
    apart = float(np.linalg.norm(flash_eyes[0] - flash_eyes[1]))
    distances = np.linalg.norm(apply(affine, flash_eyes) - studio_eyes, axis=1)
    return {"landmark_residual": float(distances.mean()) / apart}


def _eyes(face: Face) -> Points | None:
    """Return the middle of each eye; single landmarks are off by up to a tenth of the distance of the eyes."""
    if not {"left_eye", "right_eye"} <= face.landmarks.keys():
        return None
    return np.array([np.mean(face.landmarks[eye], axis=0) for eye in ("left_eye", "right_eye")])
