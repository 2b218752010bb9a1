"""Portrait style transfer among the systems that are evaluated: with the answer as the example, and without.

With the studio picture of the very pair as the example it is what the paper compares with, "the ideal condition" (section
5.4): an upper bound of the method, as nobody has that picture when it is wanted. With the studio picture of another person, the
most alike of the training split, it is what the method can do for a new photograph.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepflash.errors import ModelError
from deepflash.faces import find_subject, subject_face
from deepflash.model.data import Portrait, to_picture, to_tensor
from deepflash.model.style_transfer import transfer_style
from deepflash.model.systems import System
from deepflash.pictures import Picture

STYLE_NAMES = ("style of the answer", "style of another")
"""Of the two systems, for the tables."""

_FRONTAL = (0.0, 0.6, 0.0)  # the geometry that is assumed where no face is found
_MIDDLE = (0.3, 0.7)  # of a picture's sides: where a face is assumed
_LAB_UNITS = 100.0  # a tenth of the distance of the eyes counts as much as 10 units of colour


@dataclass(frozen=True)
class _Sitter:
    """A training pair that can serve as an example."""

    subject: str
    digest: str
    looks: NDArray[np.float64]
    studio: Picture


def style_of_the_answer(pairs: Iterable[Portrait]) -> System:
    """Return style transfer with each pair's own studio picture as the example.

    Parameters
    ----------
    pairs
        Those that will be evaluated; a flash picture is recognised by its pixels. Their studio pictures are kept in memory,
        0.8 MB each at 512 px.

    Returns
    -------
    System
        It raises `ModelError` for a flash picture that is not among the pairs, and `FaceError` where faces cannot be found.
    """
    answers = {_digest(pair.flash): to_picture(pair.studio[0]) for pair in pairs}

    def portrait(flash: Tensor) -> Tensor:
        answer = answers.get(_digest(flash))
        if answer is None:
            raise ModelError("a flash picture has no pair to take the style from; give the split that is evaluated")
        return _restyled(flash, answer)

    return System(STYLE_NAMES[0], "baseline", "Shih 2014, the pair's own studio picture as example", portrait)


def style_of_another(pairs: Iterable[Portrait]) -> System:
    """Return style transfer with the studio picture of another person, the most alike, as the example.

    Alike is whose *flash* picture shows a face turned alike and of a like colour. Of a person among the pairs, that person's
    own are left out.

    Parameters
    ----------
    pairs
        Un-augmented pairs of the training split. Each costs a search for its face, 0.1 s, and its studio picture is kept.

    Returns
    -------
    System
        It raises `ModelError` if nobody else is among the pairs.

    Raises
    ------
    FaceError
        if `face_recognition` cannot be used on this machine; so does the system.
    """
    sitters = [
        _Sitter(pair.subject, _digest(pair.flash), _looks(to_picture(pair.flash[0])), to_picture(pair.studio[0]))
        for pair in pairs
    ]

    def portrait(flash: Tensor) -> Tensor:
        digest, looks = _digest(flash), _looks(to_picture(flash[0]))
        own = {sitter.subject for sitter in sitters if sitter.digest == digest}
        others = [sitter for sitter in sitters if sitter.subject not in own]
        if not others:
            raise ModelError("there is nobody else to take the style from; give a training split of at least two people")
        nearest = min(others, key=lambda sitter: float(np.linalg.norm(sitter.looks - looks)))
        return _restyled(flash, nearest.studio)

    return System(STYLE_NAMES[1], "baseline", "Shih 2014, the training split's most alike person as example", portrait)


def _restyled(flash: Tensor, example: Picture) -> Tensor:
    styled = transfer_style(to_picture(flash[0]), example)
    return to_tensor(styled[None]).to(flash.device)


def _digest(flash: Tensor) -> str:
    return hashlib.sha256(to_picture(flash[0]).tobytes()).hexdigest()


def _looks(flash: Picture) -> NDArray[np.float64]:
    """Return where the nose is between the eyes (2 numbers), how unequal the eyes are, and the face's mean L, a and b."""
    face = subject_face(find_subject(flash), flash.shape[1], flash.shape[0])
    if face is None:
        height, width = flash.shape[:2]
        box, geometry = tuple(share * side for share in _MIDDLE for side in (width, height)), _FRONTAL
    else:
        box, geometry = face.box, _geometry(face.landmarks)
    left, top, right, bottom = (max(0, round(edge)) for edge in box)
    skin = flash[top : max(top + 1, bottom), left : max(left + 1, right)].mean(axis=(0, 1)).astype(np.float32) / 255
    colour = cv2.cvtColor(skin[None, None], cv2.COLOR_RGB2Lab)[0, 0] / _LAB_UNITS
    return np.array([*geometry, *colour])


def _geometry(landmarks: dict[str, list[tuple[float, float]]]) -> tuple[float, float, float]:
    eyes = [np.array(landmarks[name]) @ np.array([1, 1j]) for name in ("left_eye", "right_eye")]
    middles, widths = [eye.mean() for eye in eyes], [abs(eye[0] - eye[-1]) for eye in eyes]
    if middles[0].real > middles[1].real:
        middles, widths = middles[::-1], widths[::-1]
    nose = np.mean(np.array(landmarks["nose_tip"]) @ np.array([1, 1j]))
    at = (nose - (middles[0] + middles[1]) / 2) / (middles[1] - middles[0])
    return float(at.real), float(at.imag), float(np.log(max(widths[0], 1.0) / max(widths[1], 1.0)))
