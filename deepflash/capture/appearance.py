"""What the two photographs of a take show: a face, its eyes, its motion, its sharpness, and whose light is on it.

Everything is measured on copies of at most 2080 pixels. The limits come from 8 real pairs, and from emulated pairs of
built-in and folder sitters; the comments give what those measure. Where measurement cannot be sure, it only warns.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.affine import Affine
from deepflash.errors import FaceError
from deepflash.eyes import LOOSE_REACH_PX, compare_eyes
from deepflash.faces import DETECTION_SIDE_PX, LandmarkModel, find_faces, subject_face
from deepflash.pairs import Face
from deepflash.pictures import Picture

WORKING_SIDE_PX = 2080
"""Longer side of the copies that are measured: half of 13 megapixels."""

_FACE_PX = 400  # width at which sharpness is measured
_SHUT = 0.15  # opening of the eyes over their width; drawn shut 0.03 to 0.5, open 0.17 to 0.68: it tells half of them
_FALLEN_SHUT = (0.19, 0.7)  # also shut: less open than this, and than this part of the other photograph's
_MOTION = (0.05, 0.1)  # of the picture's width: warn, reject; good pairs up to 0.039, landmarks' errors included
_GROWTH = (1.1, 1.25)  # good pairs up to 1.091
_TURN_DEG = (10.0, 25.0)  # good pairs up to 7.7
# Warn, reject: real faces measure 7.6 to 17, enlarged built-in portraits 4.7 to 20; blurred by sigma 2 px of 400: 2.1 to 2.6.
_SHARPNESS = (3.6, 2.6)
_CLIPPED_FACE = (0.05, 0.35)  # good pairs: real up to 0.02, emulated up to 0.14
_LIGHT_LEFT = (0.25, 0.5)  # good pairs: emulated 0.06 to 0.10; with 30 % left 0.28 to 0.32, with all of it 0.72 to 0.83
_SAME_LIGHT = 0.35  # spread of the two lights' ratio; without a flash 0.08 to 0.25, good pairs 0.6 to 1.1
_BLOCKS = 24  # columns of the picture when light is compared: motion of the head matters little then
_AGAIN = "take it again"


@dataclass(frozen=True)
class Appearance:
    """What was found: sentences for which the take is rejected, sentences that only warn, and all that was measured."""

    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    numbers: dict[str, dict[str, float]]


@dataclass(frozen=True)
class _Remark:
    sentence: str
    rejects: bool


@dataclass(frozen=True)
class _View:
    """One photograph's copy, the subject's face in it, and what was measured there."""

    name: str
    picture: Picture
    face: Face | None
    numbers: dict[str, float]


def judge_appearance(studio: Picture, flash: Picture, *, eyes: bool = True, exposure_ratio: float = 1.0) -> Appearance:
    """Judge what the two photographs of a take show.

    Parameters
    ----------
    studio, flash
        (H, W, 3) RGB `uint8`, upright, of equal size, at most `WORKING_SIDE_PX` for speed.
    eyes
        Whether eyes are checked, by 68 landmarks whose model is not for commercial products.
    exposure_ratio
        How much more light the camera's settings collected in the flash photograph: time x ISO / aperture squared.
    """
    numbers = {"pair": _compare_light(studio, flash, exposure_ratio)}
    remarks = list(_judge_light(numbers["pair"]))
    try:
        views = [_look("studio", studio, eyes), _look("flash", flash, eyes)]
    except FaceError as error:
        return _summed([*remarks, _Remark(f"no faces were looked for: {error}", rejects=False)], numbers)
    numbers |= {view.name: view.numbers for view in views}
    remarks += [remark for view in views for remark in _judge_face(view)]
    if views[0].face and views[1].face:
        numbers["pair"] |= _compare_faces(views[0].face, views[1].face, studio.shape[1])
        remarks += [*_judge_eyes(*views), *_judge_motion(numbers["pair"])]
    return _summed(remarks, numbers)


def load_models(*, eyes: bool) -> None:
    """Load what finds faces, which takes a second, before anybody waits for a verdict."""
    blank = np.zeros((DETECTION_SIDE_PX, DETECTION_SIDE_PX, 3), np.uint8)
    with suppress(FaceError):  # the first take tells
        _find_faces(blank, "large" if eyes else "small")


def _summed(remarks: list[_Remark], numbers: dict[str, dict[str, float]]) -> Appearance:
    reasons = tuple(remark.sentence for remark in remarks if remark.rejects)
    warnings = tuple(remark.sentence for remark in remarks if not remark.rejects)
    rounded = {name: {key: round(value, 4) for key, value in part.items()} for name, part in numbers.items()}
    return Appearance(reasons, warnings, rounded)


def _look(name: str, picture: Picture, eyes: bool) -> _View:
    faces = _find_faces(picture, "small")  # its points are fewer, and less misled by spectacles
    face = subject_face(faces, picture.shape[1], picture.shape[0])
    numbers = {"faces": float(len(faces))}
    if face is not None:
        skin = _crop(picture, face)
        numbers |= {"face_sharpness": _sharpness(skin), "face_clipped": float(np.mean(skin.min(axis=2) >= 250))}
        lids = subject_face(_find_faces(picture, "large"), picture.shape[1], picture.shape[0]) if eyes else None
        if lids is not None:
            numbers["eyes_open"] = float(np.mean([_opening(lids.landmarks[eye]) for eye in ("left_eye", "right_eye")]))
    return _View(name, picture, face, numbers)


def _find_faces(picture: Picture, model: LandmarkModel) -> list[Face]:
    """Find faces, in small pictures on an enlarged copy: the detector knows none below 60 px."""
    enlarged = max(1.0, DETECTION_SIDE_PX / max(picture.shape[:2]))
    if enlarged == 1:
        return find_faces(picture, landmarks=model)
    copy = np.asarray(cv2.resize(picture, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_LINEAR), np.uint8)
    return [_shrunk(face, enlarged) for face in find_faces(copy, landmarks=model)]


def _shrunk(face: Face, factor: float) -> Face:
    def place(at_px: float) -> float:  # pixel centres: half a pixel is not at zero
        return (at_px + 0.5) / factor - 0.5

    left, top, right, bottom = (place(side) for side in face.box)
    return Face(
        (left, top, right, bottom), {name: [(place(x), place(y)) for x, y in points] for name, points in face.landmarks.items()}
    )


def _crop(picture: Picture, face: Face) -> Picture:
    left, top, right, bottom = (max(0, round(side)) for side in face.box)
    skin = picture[top : bottom + 1, left : right + 1]
    scale = min(1.0, _FACE_PX / skin.shape[1])
    return np.asarray(cv2.resize(skin, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _sharpness(skin: Picture) -> float:
    """Return how much more detail there is of sigma 0.7 px than of 2 px; in logarithms, so that light does not matter."""
    luma = cv2.cvtColor(skin, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine, coarse = (_detail(np.log(luma + 8), sigma) for sigma in (0.7, 2.0))
    return fine / max(1e-9, coarse)


def _detail(values: NDArray[np.float32], sigma: float) -> float:
    return float(cv2.Laplacian(cv2.GaussianBlur(values, (0, 0), sigma), cv2.CV_32F).var())


def _opening(eye: list[tuple[float, float]]) -> float:
    """Return an eye's height over its width (Soukupova and Cech 2016, equation 1) from its six landmarks."""
    outer, up1, up2, inner, low2, low1 = np.array(eye)
    height = np.linalg.norm(up1 - low1) + np.linalg.norm(up2 - low2)
    return float(height / max(1e-6, 2 * float(np.linalg.norm(outer - inner))))


def _judge_face(view: _View) -> Iterator[_Remark]:
    if view.face is None:
        yield _Remark(
            f"no face was found in the {view.name} photograph; ask the subject to face the camera, check light and focus, "
            f"and {_AGAIN}",
            rejects=True,
        )
        return
    clipped = view.numbers["face_clipped"]
    if clipped > _CLIPPED_FACE[0]:
        act = "lower the flash or move it away" if view.name == "flash" else "lower the camera's exposure or the lamps"
        sentence = f"{clipped:.0%} of the face in the {view.name} photograph is burnt out; {act}"
        yield _Remark(sentence, rejects=clipped > _CLIPPED_FACE[1])
    sharpness = view.numbers["face_sharpness"]
    if sharpness < _SHARPNESS[0]:
        sentence = f"the face in the {view.name} photograph is blurred; lock the focus, ask for a still head, and {_AGAIN}"
        yield _Remark(sentence, rejects=sharpness < _SHARPNESS[1])


def _judge_eyes(studio: _View, flash: _View) -> Iterator[_Remark]:
    """Look for lids that are low, which also tells when both photographs show them, and for eyes that differ."""
    if "eyes_open" not in studio.numbers or "eyes_open" not in flash.numbers:
        return
    shut = {view.name for view, other in ((studio, flash), (flash, studio)) if _has_low_lids(view, other)}
    shut |= _differing_eyes(studio, flash)
    for name in sorted(shut, reverse=True):
        yield _Remark(f"the eyes are shut in the {name} photograph; ask for open eyes, and {_AGAIN}", rejects=True)


def _has_low_lids(view: _View, other: _View) -> bool:
    opening, others = view.numbers["eyes_open"], other.numbers["eyes_open"]
    return opening < _SHUT or (opening < _FALLEN_SHUT[0] and opening < others * _FALLEN_SHUT[1])


def _differing_eyes(studio: _View, flash: _View) -> set[str]:
    """Return in which photograph the eyes are shut, if they are open in the other."""
    if studio.face is None or flash.face is None:
        return set()
    studio_from_flash = _similarity(_head(flash.face)[:2], _head(studio.face)[:2])
    found = compare_eyes(flash.picture, studio.picture, flash.face, studio_from_flash, reach_px=LOOSE_REACH_PX)
    return {found.shut} if found and found.differ else set()


def _similarity(before: NDArray[np.float64], after: NDArray[np.float64]) -> Affine:
    """Return the turn, growth and shift that take two points to two others."""
    one, other = (complex(*(points[1] - points[0])) for points in (before, after))
    turn = other / one if one else 1 + 0j
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([linear, after.mean(axis=0) - linear @ before.mean(axis=0)])


def _compare_faces(studio: Face, flash: Face, width: int) -> dict[str, float]:
    """Return how the head moved: its shift over the picture's width, its growth (1 or more), its turn in degrees."""
    before, after = _head(studio), _head(flash)
    step = float(np.linalg.norm(np.mean(after, axis=0) - np.mean(before, axis=0)))
    eyes_before, eyes_after = before[1] - before[0], after[1] - after[0]
    growth = float(np.linalg.norm(eyes_after)) / max(1e-6, float(np.linalg.norm(eyes_before)))
    turn = np.arctan2(eyes_after[1], eyes_after[0]) - np.arctan2(eyes_before[1], eyes_before[0])
    return {"motion": step / width, "growth": max(growth, 1 / max(growth, 1e-6)), "turn_deg": abs(float(np.degrees(turn)))}


def _head(face: Face) -> NDArray[np.float64]:
    """Return the middles of both eyes and the tip of the nose, which both landmark models know."""
    return np.array([np.mean(face.landmarks[part], axis=0) for part in ("left_eye", "right_eye", "nose_tip")])


def _judge_motion(numbers: dict[str, float]) -> Iterator[_Remark]:
    for name, limits, what in (
        ("motion", _MOTION, f"moved by {numbers['motion']:.1%} of the picture's width"),
        ("growth", _GROWTH, f"came nearer or went back by {numbers['growth'] - 1:.0%}"),
        ("turn_deg", _TURN_DEG, f"tilted by {numbers['turn_deg']:.0f} degrees"),
    ):
        if numbers[name] > limits[0]:
            sentence = f"the head {what} between the two photographs; ask the subject to hold still, and {_AGAIN}"
            yield _Remark(sentence, rejects=numbers[name] > limits[1])


def _compare_light(studio: Picture, flash: Picture, exposure_ratio: float) -> dict[str, float]:
    """Compare the light of the two photographs, block by block.

    The brightness of a block is what it reflects times the light on it; the ratio of two photographs leaves only the
    light. Where the flash reaches least (its shadow, the far backdrop) the ratio bounds what is left of the lamps;
    where it is the same everywhere, the flash photograph was lit like the studio photograph.
    """
    before, after = _light(studio), _light(flash) / exposure_ratio
    seen = np.all((before > 0.01) & (before < 0.95), axis=2)
    if seen.mean() < 0.1:  # too dark or too bright for a comparison; other checks say so
        return {"light_left_at_most": 0.0, "light_spread": 1.0}
    ratio = after[seen] / before[seen]
    return {
        "light_left_at_most": float(np.percentile(ratio.min(axis=1), 2)),
        "light_spread": float(np.std(np.log(ratio + 1e-4))),
    }


def _light(picture: Picture) -> NDArray[np.float32]:
    """Return blocks of a photograph in linear light, by the sRGB curve (IEC 61966-2-1)."""
    rows = max(1, round(_BLOCKS * picture.shape[0] / picture.shape[1]))
    code = cv2.resize(picture, (_BLOCKS * 16, rows * 16), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    linear = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return np.asarray(cv2.resize(linear, (_BLOCKS, rows), interpolation=cv2.INTER_AREA), np.float32)


def _judge_light(numbers: dict[str, float]) -> Iterator[_Remark]:
    left = numbers["light_left_at_most"]
    if numbers["light_spread"] < _SAME_LIGHT:
        yield _Remark(
            "the flash photograph is lit like the studio photograph: the flash did not fire, or the lamps were still on; "
            f"check both, and {_AGAIN}",
            rejects=True,
        )
    elif left > _LIGHT_LEFT[0]:
        yield _Remark(
            f"up to {left:.0%} of the lamps' light may be left in the flash photograph; close the blinds, and measure "
            "the settle time with `deepflash capture calibrate`",
            rejects=left > _LIGHT_LEFT[1],
        )
