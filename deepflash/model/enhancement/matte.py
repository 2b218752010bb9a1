"""Who is in front: the matte of all people in a photograph, from where their faces are.

1. Geometry says where heads, hair and bodies are likely, where they must be, and what is far from everybody.
2. The colours of what is far are those of the background; what they explain badly, and geometry allows, is a person.
   In the light of a flash dark hair stands before a dark room: colours are compared on a scale that spreads the shadows.
3. GrabCut (Rother, Kolmogorov and Blake 2004) starts from there and settles the outline.
4. A guided filter (He, Sun and Tang 2013, with colour as guide) makes the outline soft where the picture is: at hair.

Every step gives the same bits on every run. Why no network: docs/decisions/0016-matte.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.pairs import Face
from deepflash.pictures import Picture

Maps = NDArray[np.float32]
Mask = NDArray[np.bool_]

MATTE_SIDE_PX = 640
"""The longer side of a copy whose matte is worth its time; the outline itself is found at a third of it."""

_OUTLINE_SIDE_PX = 224  # GrabCut's time grows with the area, and 1/3 of the resolution is enough for what comes after
_TURN = 2.3  # the middle of a head that looks aside lies as many times as far behind the face as the nose is before the eyes
_FAR_SHARE = 0.1  # of the picture, the part farthest from everybody: what is taken for background without a look
_SHADOWS = 15.0  # of the tone curve log(1 + 15 x): 8-bit shadows are spread as far as noise allows
_COLOURS = 6  # groups of colours in the background
_SPREAD = 0.04  # of a group's colours at least, in the units of `_tones`
_UNKNOWN = 1.0  # log density of a person's colours before any is known
_SURE = 6.0  # log odds
_AGREEMENTS = 3  # rounds of `_agreed`
_ROUNDS = 4  # of GrabCut
_PLAUSIBLE = 0.5  # of intersection over union of what was found and what geometry expects; real ones reach 0.65 to 0.9
_FEWEST = 50  # pixels of either kind, of which GrabCut can learn
_BAND = 1 / 90  # of the longer side, to both sides of the outline: where hair is thin
_ALIKE = 0.03  # squared distance of colours that tell little
_RADIUS = 1 / 90  # of the longer side: half the window of the guided filter
_EVENNESS = 1e-4  # of the guided filter: what it takes for noise, as a variance


def subject_matte(picture: Picture, faces: Sequence[Face]) -> Maps:
    """Return how much of each pixel is a person: head, hair, neck, shoulders, body.

    Parameters
    ----------
    picture
        (H, W, 3) RGB `uint8`, a copy of the photograph; `MATTE_SIDE_PX` is a good longer side.
    faces
        All people, in pixels of `picture`, with 5 landmarks.

    Returns
    -------
    (H, W) float32 in [0, 1]
        Soft at hair, 1 on faces. Where no outline is found that people could have, what geometry alone expects; without
        faces 0 everywhere.
    """
    if not faces:
        return np.zeros(picture.shape[:2], np.float32)
    scale = min(1.0, _OUTLINE_SIDE_PX / max(picture.shape[:2]))
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture
    expected = _expected(np.asarray(small, np.uint8).shape[:2], [_head(face, scale) for face in faces])
    outline = _outline(np.asarray(small, np.uint8), expected)
    if outline is None:
        return np.maximum(_up(_share(expected.odds), picture), _up(expected.certain, picture))
    return _softened(picture, _up(outline, picture), _up(expected.certain, picture))


def guided_lines(guide: Maps, values: Maps, radius_px: int, evenness: float) -> Maps:
    """Fit lines `values = slope . colour + offset` around each pixel, and average them: the guided filter before its end.

    Parameters
    ----------
    guide
        (H, W, 3) in [0, 1].
    values
        (H, W).
    radius_px
        Half the window.
    evenness
        Variance of the guide under which nothing is an edge.

    Returns
    -------
    (H, W, 4) float32
        The slopes for red, green and blue, and the offset.

    Notes
    -----
    He, Sun and Tang, Guided image filtering, TPAMI 35(6), 2013, equations 19 to 21.
    """

    def mean(maps: Maps) -> Maps:
        return np.asarray(cv2.blur(maps, (2 * radius_px + 1,) * 2, borderType=cv2.BORDER_REFLECT), np.float32)

    average, level = mean(guide), mean(values)
    spread = np.stack([mean(guide * guide[..., [channel]]) for channel in range(3)], axis=2)
    spread += np.float32(evenness) * np.eye(3, dtype=np.float32) - average[..., None] * average[..., None, :]
    covariance = mean(guide * values[..., None]) - average * level[..., None]
    slopes = np.linalg.solve(spread, covariance[..., None])[..., 0]
    offset = level - (slopes * average).sum(axis=2)
    return mean(np.dstack([slopes, offset]))


def apply_lines(lines: Maps, guide: Maps) -> Maps:
    """Return what the lines of `guided_lines` say of a guide of their size, (H, W)."""
    return np.asarray((lines[..., :3] * guide).sum(axis=2) + lines[..., 3], np.float32)


@dataclass(frozen=True)
class _Head:
    """Where a head is, in pixels: lengths are in widths of the face's box."""

    middle: NDArray[np.float64]  # of the head
    face: NDArray[np.float64]  # between the head's middle and the box's
    across: NDArray[np.float64]  # direction from the left eye, as seen, to the right one
    width: float


@dataclass(frozen=True)
class _Expected:
    """What geometry says of each pixel."""

    odds: Maps  # log odds of being a person
    certain: Mask  # a person, whatever the colours
    beyond: Maps  # distance from the farthest reach of hair and arms, in widths of a face; negative within


def _head(face: Face, scale: float) -> _Head:
    """Find the head behind a face: of one that looks aside, the box shows the front."""
    eyes = sorted((np.mean(face.landmarks[name], axis=0) for name in ("left_eye", "right_eye")), key=lambda eye: eye[0])
    across = (eyes[1] - eyes[0]) / max(float(np.hypot(*(eyes[1] - eyes[0]))), 1e-6)
    left, top, right, bottom = face.box
    width = right - left
    nose = np.mean(face.landmarks["nose_tip"], axis=0)
    turn = float(np.clip((nose - (eyes[0] + eyes[1]) / 2) @ across / width, -0.16, 0.16))
    middle = np.array([left + right, top + bottom]) / 2
    head, front = (middle - share * _TURN * turn * width * across for share in (1.0, 0.5))
    return _Head((head + 0.5) * scale - 0.5, (front + 0.5) * scale - 0.5, across, width * scale)


def _expected(shape: tuple[int, ...], heads: Sequence[_Head]) -> _Expected:
    every = [_expected_of(shape, head) for head in heads]
    return _Expected(
        np.clip(np.max([one.odds for one in every], axis=0), -5, 3),
        np.any([one.certain for one in every], axis=0),
        np.min([one.beyond for one in every], axis=0),
    )


def _expected_of(shape: tuple[int, ...], head: _Head) -> _Expected:
    """Draw a head as an ellipse, hair as a wider and paler one, and a body as its half width at each height."""
    tilted, fronted = _places(shape, head.middle, head.across, head.width), _places(shape, head.face, head.across, head.width)
    aside, down = _places(shape, head.middle, np.array([1.0, 0.0]), head.width)  # bodies stand upright
    aside = np.abs(aside)
    skull = 8 * (1 - _ellipse(tilted, -0.15, 0.62, 0.85))
    hair = np.minimum(8 * (1 - _ellipse(tilted, 0.2, 0.95, 1.25)) - 1, 0)
    shoulders = _profile(down, [(0.45, 0.2), (0.6, 0.45), (0.95, 0.95), (1.3, 1.35), (1.7, 1.5), (9, 1.7)])
    body = np.minimum(4 * (shoulders - aside), 6 * (down - 0.55))
    trunk = _profile(down, [(0.5, 0.12), (0.85, 0.2), (1.05, 0.55), (1.4, 0.95), (1.8, 1.1)])
    certain = (_ellipse(fronted, 0.07, 0.33, 0.5) < 1) | (_ellipse(fronted, -0.15, 0.36, 0.54) < 1)
    certain |= (aside < trunk) & (down > 0.5)
    reach = [(-1.35, 0.0), (-1.2, 0.6), (-0.8, 0.95), (0.3, 1.05), (0.8, 1.15), (1.3, 1.9), (1.8, 2.4), (2.5, 4.0)]
    return _Expected(np.maximum(np.maximum(skull, body), hair), certain, aside - _profile(down, reach))


def _places(
    shape: tuple[int, ...], middle: NDArray[np.float64], across: NDArray[np.float64], width: float
) -> tuple[Maps, Maps]:
    """Return each pixel's place beside and below a point, in widths of the face."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    x, y = (columns - np.float32(middle[0])) / np.float32(width), (rows - np.float32(middle[1])) / np.float32(width)
    cosine, sine = np.float32(across[0]), np.float32(across[1])
    return x * cosine + y * sine, y * cosine - x * sine


def _ellipse(places: tuple[Maps, Maps], below: float, half_width: float, half_height: float) -> Maps:
    """Return the distance from an ellipse's middle: 1 on its line."""
    return np.asarray(np.hypot(places[0] / half_width, (places[1] - below) / half_height), np.float32)


def _profile(down: Maps, widths: Sequence[tuple[float, float]]) -> Maps:
    heights, halves = zip(*widths, strict=True)
    return np.asarray(np.interp(down, heights, halves), np.float32)


def _outline(picture: Picture, expected: _Expected) -> Maps | None:
    """Return 1 on people and 0 elsewhere, (h, w); None if what was found cannot be people."""
    tones = _tones(picture)
    reach = min(0.0, float(np.quantile(expected.beyond, 1 - _FAR_SHARE)))
    far = _share(25 * (expected.beyond - reach)) * _share(-4 * expected.odds)
    person = _agreed(_person_odds(tones, far) + expected.odds, expected.certain, tones)
    labels = np.where(person > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[(expected.beyond > 0.05) | ((far > 0.5) & (person < 0.3))] = cv2.GC_BGD
    labels[expected.certain] = cv2.GC_FGD
    person_px = np.count_nonzero(labels & 1)  # GC_FGD and GC_PR_FGD are odd
    if min(person_px, labels.size - person_px) < _FEWEST:
        return None
    shown = np.clip(tones * (255, 170, 170) + (0, 128, 128), 0, 255).astype(np.uint8)
    cv2.setRNGSeed(0)  # GrabCut's clustering draws from OpenCV's generator
    behind, before = np.zeros((1, 65)), np.zeros((1, 65))  # models of the colours: scratch
    cv2.grabCut(shown, labels, (0, 0, 1, 1), behind, before, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    inside = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD) | ((person > 0.5) & (expected.odds > 1))
    found = _whole_people(inside, expected.certain)
    likely = expected.odds > 0
    plausible = (found & likely).sum() >= _PLAUSIBLE * (found | likely).sum()
    return found.astype(np.float32) if plausible else None


def _agreed(odds: Maps, certain: Mask, tones: Maps) -> Maps:
    """Let each pixel and those of like colour around it agree on whether they are a person."""
    person = _share(odds)
    for _ in range(_AGREEMENTS):
        person[certain] = 1
        around = apply_lines(guided_lines(tones, person, 5, 1e-2), tones)
        person = _share(0.6 * odds + 4 * (2 * around - 1))
    return person


def _tones(picture: Picture) -> Maps:
    """Return lightness and two differences of colours on a logarithmic scale, (h, w, 3)."""
    red, green, blue = np.moveaxis(np.log1p(_SHADOWS / 255 * picture.astype(np.float32)) / np.log1p(_SHADOWS), 2, 0)
    return np.dstack([(red + green + blue) / 3, 1.5 * (red - green), 1.5 * (blue - green)]).astype(np.float32)


def _person_odds(tones: Maps, far: Maps) -> Maps:
    """Return log odds of being a person by colour alone: by how badly the colours of what is far explain it."""
    colours = tones.reshape(-1, 3)
    sample = np.flatnonzero(far > 0.3)
    if len(sample) < 4 * _COLOURS:
        return np.zeros(far.shape, np.float32)
    cv2.setRNGSeed(0)
    ends = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-3)
    groups = np.zeros((len(sample), 1), np.int32)
    cv2.kmeans(colours[sample], _COLOURS, groups, ends, 1, cv2.KMEANS_PP_CENTERS)
    density = [_log_density(colours, colours[sample[groups[:, 0] == group]]) for group in range(_COLOURS)]
    shares = np.bincount(groups[:, 0], minlength=_COLOURS) / len(sample)
    background = np.logaddexp.reduce([one + np.log(max(share, 1e-6)) for one, share in zip(density, shares, strict=True)])
    return np.asarray(np.clip(_UNKNOWN - background, -_SURE, _SURE), np.float32).reshape(far.shape)


def _log_density(colours: Maps, group: Maps) -> NDArray[np.float64]:
    """Return the logarithm of a group's normal distribution at each colour."""
    if not len(group):
        return np.full(len(colours), -np.inf)
    middle = group.mean(axis=0)
    covariance = (group - middle).T.astype(np.float64) @ (group - middle) / len(group) + _SPREAD**2 * np.eye(3)
    white = np.linalg.cholesky(np.linalg.inv(covariance))
    distance = (((colours - middle) @ white) ** 2).sum(axis=1)
    return np.asarray(np.log(np.diag(white)).sum() - 1.5 * np.log(2 * np.pi) - distance / 2, np.float64)


def _whole_people(inside: Mask, certain: Mask) -> Mask:
    """Keep the parts that belong to a face or a body, with their holes filled."""
    _, parts = cv2.connectedComponents(inside.astype(np.uint8))
    kept = np.isin(parts, np.unique(parts[certain & inside])).astype(np.uint8)
    outlines, _ = cv2.findContours(kept, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(kept), outlines, -1, (1.0,), -1), np.bool_)


def _softened(picture: Picture, outline: Maps, certain: Maps) -> Maps:
    """Let the picture say within a band around the outline how much of each pixel is of the colours inside."""
    guide = picture.astype(np.float32) / np.float32(255)
    side = max(picture.shape[:2])
    mixed = _mixed(guide, outline, certain, side)
    soft = apply_lines(guided_lines(guide, mixed, max(1, round(_RADIUS * side)), _EVENNESS), guide)
    return np.asarray(np.maximum(np.clip((soft - 0.04) / 0.92, 0, 1), certain), np.float32)


def _mixed(guide: Maps, outline: Maps, certain: Maps, side: int) -> Maps:
    """Place each pixel of the band between the colours on its both sides, as far as these differ."""
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * max(1, round(_BAND * side)) + 1,) * 2)
    inside = np.maximum(cv2.erode((outline > 0.5).astype(np.uint8), brush), certain > 0.5).astype(np.float32)
    outside = 1 - cv2.dilate((outline > 0.5).astype(np.uint8), brush).astype(np.float32)
    fore, fore_known = _nearby(guide, inside, _BAND * side)
    back, back_known = _nearby(guide, outside, _BAND * side)
    apart = fore - back
    distance = (apart**2).sum(axis=2)
    place = np.clip(((guide - back) * apart).sum(axis=2) / np.maximum(distance, 1e-6), 0, 1)
    trust = np.minimum(fore_known, back_known) * distance / (distance + _ALIKE)
    band = (inside == 0) & (outside == 0)
    return np.asarray(np.where(band, trust * place + (1 - trust) * outline, outline), np.float32)


def _nearby(guide: Maps, known: Maps, reach_px: float) -> tuple[Maps, Maps]:
    """Return the mean colour of what is known around each pixel, and whether anything is."""
    weight = np.asarray(cv2.GaussianBlur(known, (0, 0), reach_px), np.float32)
    colour = np.asarray(cv2.GaussianBlur(guide * known[..., None], (0, 0), reach_px), np.float32)
    colour /= np.maximum(weight, np.float32(1e-6))[..., None]
    return colour, np.asarray(np.clip(weight / 0.02, 0, 1), np.float32)


def _share(odds: Maps) -> Maps:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -30, 30))), np.float32)


def _up(values: Maps | Mask, picture: Picture) -> Maps:
    size = (picture.shape[1], picture.shape[0])
    return np.asarray(cv2.resize(values.astype(np.float32), size, interpolation=cv2.INTER_LINEAR), np.float32)
