"""Where in an example portrait lies what is at each pixel of a picture: landmarks first, optical flow for the rest.

Shih et al. morph by 66 landmarks, placed by hand where need be, and refine by SIFT flow. Here the landmarks are found, five
of them unless the 68 are asked for, and the flow is Kroeger's dense inverse search on pictures whose local contrast has
been made equal, so that it sees shapes and not light. All of it is done on reduced copies.

Convention: points are (x, y) at pixel centres, x to the right, y down.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.affine import Affine, compose, inverse
from deepflash.faces import LandmarkModel, find_faces, find_subject, subject_face
from deepflash.model.stacks import Channel, blurred, resized
from deepflash.pairs import Face
from deepflash.pictures import Picture

WORKING_SIDE_PX = 512
"""Longer side of the copies on which the flow is found."""

FACE_SHARE = 0.4
"""Of a picture's shorter side, the width of the face that is assumed where none is found."""

_LEAST_SIDE_PX = 16  # of a working copy, also of a strip: the flow wants 12
_CONTRAST_PX = 12.0  # of a working copy: over which contrast is made equal
_FAINTEST = 4.0  # grey levels: less contrast than this is noise, and stays weak
_AGREE_PX = 1.5  # of a working copy: how well the flow there and the flow back agree where they can be trusted
_STIFFNESS_PX = 5.0  # of a working copy: the flow is smoothed over this, weighted by trust
_DOUBT = 0.05  # weight of no flow at all, beside trust from 0 to 1
_LANDMARK_REACH = 0.075  # of the face's width: sigma of the Gaussian that spreads what is left at a landmark
_FAR = 0.02  # beside a landmark's weight 1 at its own place: from about three reaches on it has none

Points = NDArray[np.float32]


@dataclass(frozen=True)
class Correspondence:
    """Which point of an example belongs to each pixel of a picture.

    Attributes
    ----------
    points
        (h, w, 2): (x, y) in pixels of the example, on a reduced grid over the picture.
    scale
        Pixels of the example per pixel of the picture, at the face.
    face, example_face
        The subjects' faces, if found.
    face_px
        Width of the face in the picture, assumed where none is found.
    """

    points: Points
    scale: float
    face: Face | None
    example_face: Face | None
    face_px: float

    def warp(self, grid: Channel, example_size: tuple[int, int], size: tuple[int, int]) -> Channel:
        """Bring what was computed of the example to the picture.

        Parameters
        ----------
        grid
            (h, w): values on a grid over the example, of its own or less resolution.
        example_size, size
            (H, W): the example's, and that of the result, which covers the picture.
        """
        down, across = grid.shape[0] / example_size[0], grid.shape[1] / example_size[1]
        points = resized(self.points, size)
        x, y = (points[..., 0] + 0.5) * across - 0.5, (points[..., 1] + 0.5) * down - 0.5
        warped = cv2.remap(grid, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(warped, dtype=np.float32)


def find_correspondence(picture: Picture, example: Picture, *, landmarks: LandmarkModel = "small") -> Correspondence:
    """Find where in an example lies what is at each pixel of a picture.

    The flow starts from a similarity between landmarks, or from both pictures lying upon each other (as those of a
    registered pair do), whichever makes them more alike; where no face is found in either, from the latter.

    Parameters
    ----------
    picture, example
        (H, W, 3) RGB `uint8`, of any sizes.
    landmarks
        `small`: 5 points; `large`: 68 points, which also bend the start, by a model that is not for commercial products.

    Raises
    ------
    FaceError
        if `face_recognition` cannot be used on this machine.
    """
    face, example_face = (_subject(one, landmarks) for one in (picture, example))
    shrink = min(1.0, WORKING_SIDE_PX / max(picture.shape[:2]))
    size = max(_LEAST_SIDE_PX, round(picture.shape[0] * shrink)), max(_LEAST_SIDE_PX, round(picture.shape[1] * shrink))
    picture_from_copy = _stretch(size, picture.shape[:2])
    copy = _even_contrast(_gray(picture, size))
    window = _window(face, picture_from_copy)
    looks = [_look(example, start, points) for start, points in _starts(picture_from_copy, size, example, face, example_face)]
    best = max(looks, key=lambda look: _likeness(copy, look.seen, window))
    return Correspondence(
        points=_moved_by(_flow(copy, best.seen), best.points),
        scale=_scale(best.example_from_copy) / _scale(picture_from_copy),
        face=face,
        example_face=example_face,
        face_px=face.box[2] - face.box[0] if face else FACE_SHARE * min(picture.shape[:2]),
    )


@dataclass(frozen=True)
class _Look:
    """What a start of the search says: a map, the points that belong to the copy's pixels, and the example seen there."""

    example_from_copy: Affine
    points: Points
    seen: Channel


def _starts(
    picture_from_copy: Affine, size: tuple[int, int], example: Picture, face: Face | None, example_face: Face | None
) -> list[tuple[Affine, Points]]:
    grid = _grid(size)
    lying = _stretch(size, example.shape[:2])
    starts = [(lying, _moved(lying, grid))]
    if face and example_face:
        by_face = compose(_similarity(face, example_face), picture_from_copy)
        bend = _bend(face, example_face, by_face, inverse(picture_from_copy), size)
        starts.append((by_face, _moved(by_face, grid) + bend))
    return starts


def _look(example: Picture, example_from_copy: Affine, points: Points) -> _Look:
    return _Look(example_from_copy, points, _seen(example, points, example_from_copy))


def _subject(picture: Picture, landmarks: LandmarkModel) -> Face | None:
    faces = find_faces(picture, landmarks="large") if landmarks == "large" else find_subject(picture)
    return subject_face(faces, picture.shape[1], picture.shape[0])


def _similarity(face: Face, example_face: Face) -> Affine:
    """Return the least-squares similarity from the picture to the example. Umeyama, TPAMI 13(4), 1991, in complex numbers."""
    source, target = (_points(one) @ np.array([1, 1j]) for one in (face, example_face))
    centred = source - source.mean()
    factor = np.vdot(centred, target - target.mean()) / np.vdot(centred, centred)
    shift = target.mean() - factor * source.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def _points(face: Face) -> NDArray[np.float64]:
    return np.array([point for name in sorted(face.landmarks) for point in face.landmarks[name]], dtype=np.float64)


def _bend(
    face: Face, example_face: Face, example_from_copy: Affine, copy_from_picture: Affine, size: tuple[int, int]
) -> Points:
    """Return what is left between the landmarks after the similarity, spread around them: (h, w, 2) in example pixels."""
    at = _moved(copy_from_picture, _points(face)).round().astype(int)
    left = _points(example_face) - _moved(example_from_copy, _moved(copy_from_picture, _points(face)))
    inside = ((at >= 0) & (at < size[::-1])).all(axis=1)
    reach_px = _LANDMARK_REACH * (face.box[2] - face.box[0]) * _scale(copy_from_picture)
    impulses = np.zeros((*size, 3), np.float32)
    np.add.at(impulses, (at[inside, 1], at[inside, 0]), np.column_stack([left, np.ones(len(left))])[inside])
    spread = np.stack([blurred(channel, reach_px).full() for channel in impulses.transpose(2, 0, 1)])
    alone = 1 / (2 * np.pi * reach_px**2)  # what one landmark's Gaussian has at its middle
    return np.asarray((spread[:2] / (spread[2] + _FAR * alone)).transpose(1, 2, 0), dtype=np.float32)


def _flow(copy: Channel, seen: Channel) -> Points:
    """Return (h, w, 2): where in `seen` lies what is at each pixel of `copy`, less the pixel; zero where that is not known."""
    there, back = _inverse_search(copy, seen), _inverse_search(seen, copy)
    disagreement = np.linalg.norm(there + _moved_by(there, back), axis=2)
    trust = np.exp(-0.5 * (disagreement / _AGREE_PX) ** 2)
    weight = blurred(trust, _STIFFNESS_PX).full() + _DOUBT
    smooth = [blurred(channel * trust, _STIFFNESS_PX).full() / weight for channel in there.transpose(2, 0, 1)]
    return np.stack(smooth, axis=2)


def _inverse_search(copy: Channel, seen: Channel) -> Points:
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    nothing: Any = None
    return np.asarray(search.calc(_levels(copy), _levels(seen), nothing), dtype=np.float32)


def _moved_by(flow: Points, values: Points) -> Points:
    """Return what (h, w, 2) values are where the flow leads, continued beyond the borders as they are there."""
    at = _grid(flow.shape[:2]) + flow
    moved = cv2.remap(values, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, dtype=np.float32)


def _seen(example: Picture, points: Points, example_from_copy: Affine) -> Channel:
    """Return the example as it looks from the picture's working copy, its contrast made equal."""
    reduction = max(1.0, _scale(example_from_copy))
    height, width = example.shape[:2]
    reduced = _gray(example, (max(1, round(height / reduction)), max(1, round(width / reduction))))
    at = _moved(_stretch((height, width), reduced.shape), points)
    return _even_contrast(cv2.remap(reduced, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _even_contrast(gray: Any) -> Channel:
    """Return (value - mean) / deviation, both local: light that changes slowly is gone, edges are equally strong."""
    detail = gray - blurred(gray, _CONTRAST_PX).full()
    variance = blurred(detail**2, _CONTRAST_PX).full()
    return np.asarray(detail / np.sqrt(variance + _FAINTEST**2), dtype=np.float32)


def _levels(contrast: Channel) -> Picture:
    return np.asarray(np.clip(128 + 42 * contrast, 0, 255).round(), dtype=np.uint8)  # three deviations either way


def _likeness(copy: Channel, seen: Channel, window: tuple[slice, slice]) -> float:
    """Return the correlation of two pictures in a window."""
    one, other = copy[window], seen[window]
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum() + 1e-12))


def _window(face: Face | None, picture_from_copy: Affine) -> tuple[slice, slice]:
    if face is None:
        return slice(None), slice(None)
    left, top, right, bottom = _moved(inverse(picture_from_copy), np.array(face.box).reshape(2, 2)).ravel()
    return slice(max(0, int(top)), max(1, int(bottom))), slice(max(0, int(left)), max(1, int(right)))


def _gray(picture: Picture, size: tuple[int, int]) -> Channel:
    """Return the mean of the channels at that size: of the flash's blue-green light as much as of the studio's."""
    return resized(np.asarray(picture.mean(axis=2), dtype=np.float32), size)


def _stretch(source: tuple[int, ...], target: tuple[int, ...]) -> Affine:
    """Return the map from the pixels of one (H, W) to those of another that lies upon it, corner on corner."""
    down, across = target[0] / source[0], target[1] / source[1]
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2]])


def _scale(affine: Affine) -> float:
    return float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))


def _moved(affine: Affine, points: NDArray[Any]) -> Any:
    return (points @ affine[:, :2].T + affine[:, 2]).astype(points.dtype)


def _grid(size: tuple[int, ...]) -> Points:
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([x, y], axis=2).astype(np.float32)
