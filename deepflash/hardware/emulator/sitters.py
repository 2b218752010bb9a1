"""The people who sit in the emulated studio.

Two portraits ship inside our dependencies: the astronaut Eileen Collins (scikit-image; NASA, public domain)
and Rear Admiral Grace Hopper (matplotlib; US Navy, public domain). Subjects S001 and S002 are those two;
every further subject is one of them with other proportions and colours, chosen by the subject's id, so
that a split by subject separates people. A folder of portraits may take their place.

Convention: a sitter stands on a *canvas*, the neutral frame of the picture (3:4, `FRAME` pixels) with a
margin of `MARGIN` pixels all round, so that nothing is missing at the edges when the sitter moves.
"""

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.errors import PictureError
from deepflash.faces import find_faces, subject_face
from deepflash.hardware.emulator.looks import Looks, coloured, displacement, draw_looks, moved, repainted
from deepflash.hardware.emulator.matting import Landmarks, Map, face_width, find_matte, find_skin
from deepflash.pictures import Picture, read_rgb

FRAME = (1040, 1387)
"""Width and height, in canvas pixels, of what a 3:4 picture shows."""

MARGIN = 64
CANVAS = (FRAME[0] + 2 * MARGIN, FRAME[1] + 2 * MARGIN)

_FACE_OF_FRAME = 0.40  # width between the jaw's ends; the real pairs have 0.33 to 0.45
_LARGEST_FACE_OF_FRAME = 0.53
_EYES_AT = 0.43  # of the frame's height
# fmt: off
_BESIDE_THE_ADMIRAL = np.array([  # flags and cords, which colour alone cannot tell from cap, collar and hair
    (0, 0), (240, 0), (240, 20), (218, 27), (213, 38), (194, 44), (177, 58), (171, 78), (155, 90), (146, 112), (144, 150),
    (147, 185), (151, 200), (155, 225), (159, 242), (158, 270), (164, 287), (182, 297), (196, 304), (198, 312), (183, 326),
    (163, 338), (130, 351), (98, 357), (72, 366), (57, 376), (41, 387), (29, 412), (22, 450), (15, 500), (0, 500),
], np.int32)
# fmt: on
_SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class SitterChoice:
    """Whom to photograph: a subject's id, and the folder of portraits to choose from (None: the built-in ones)."""

    subject: str
    folder: Path | str | None = None


@dataclass(frozen=True, eq=False)
class Sitter:
    """A person in front of a backdrop, ready to be lit.

    Attributes
    ----------
    colour
        (H, W, 3) float32: the person in linear light, continued beyond the matte.
    matte, skin
        (H, W) float32 in [0, 1]: how much of a pixel is the person; is the person's skin.
    backdrop
        (H, W, 3) float32: what is behind, in linear light.
    landmarks
        The 68 points by name, on the canvas.
    seed
        Decides what is random about this person, such as how much the skin shines.
    """

    colour: Map
    matte: Map
    skin: Map
    backdrop: Map
    landmarks: Landmarks
    seed: int


@dataclass(frozen=True, eq=False)
class _Portrait:
    """A photograph of somebody: where it comes from, and where it is known to show backdrop (float32, 1 there)."""

    name: str
    picture: Picture
    backdrop: Map

    def mirrored(self) -> "_Portrait":
        return _Portrait(self.name, np.ascontiguousarray(self.picture[:, ::-1]), np.ascontiguousarray(self.backdrop[:, ::-1]))


@functools.lru_cache(maxsize=4)
def load_sitter(choice: SitterChoice) -> Sitter:
    """Seat a subject in front of the camera.

    The same choice gives the same person whenever it is made; the latest four are kept in memory.

    Raises
    ------
    PictureError
        if the folder holds no portraits, or a portrait cannot be read or shows no face.
    FaceError
        if faces cannot be searched on this machine.
    """
    portrait = _portrait(choice)
    seed = int.from_bytes(hashlib.sha256(choice.subject.encode()).digest()[:8], "big")
    looks = Looks() if choice.folder is not None or choice.subject in ("S001", "S002") else draw_looks(seed)
    if looks.mirrored:
        portrait = portrait.mirrored()
    face = subject_face(find_faces(portrait.picture, landmarks="large"), *portrait.picture.shape[1::-1])
    if face is None:
        raise PictureError(
            f"{portrait.name} shows no face that can be found; choose a portrait of one face, seen from the front"
        )
    found = {group: np.array(points) for group, points in face.landmarks.items()}
    seated, beside, landmarks = _seat(portrait, found, looks)
    matte = find_matte(seated, landmarks, beside)
    linear = to_linear(seated)
    skin = find_skin(linear, matte, landmarks)
    colour, backdrop = _taken_apart(linear, matte)
    colour = coloured(colour, skin, landmarks, looks)
    if looks.backdrop is not None:
        backdrop = repainted(backdrop, looks.backdrop)
    return Sitter(colour, matte, skin, backdrop, landmarks, seed)


def to_linear(picture: Picture) -> Map:
    """Decode sRGB `uint8` to linear light, float32 in [0, 1] (IEC 61966-2-1)."""
    code = np.arange(256) / 255
    table = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return table[picture]


def _portrait(choice: SitterChoice) -> _Portrait:
    number = _number_of(choice.subject)
    if choice.folder is None:
        return (_astronaut, _admiral)[number % 2]()
    folder = Path(choice.folder)
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise PictureError(f"{folder} holds no portraits; put .jpg or .png files of one face each into it")
    path = files[number % len(files)]
    picture = read_rgb(path)
    return _Portrait(str(path), picture, np.zeros(picture.shape[:2], np.float32))


def _number_of(subject: str) -> int:
    """S001 is 0, S002 is 1; ids without a number at the end get an arbitrary, lasting one."""
    digits = re.search(r"(\d+)$", subject)
    if digits:
        return max(int(digits[1]) - 1, 0)
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:4], "big")


def _astronaut() -> _Portrait:
    from skimage import data  # noqa: PLC0415  only this sitter needs it

    picture: Picture = np.asarray(data.astronaut(), dtype=np.uint8)  # type: ignore[no-untyped-call]
    return _Portrait("scikit-image's astronaut", picture, np.zeros(picture.shape[:2], np.float32))


def _admiral() -> _Portrait:
    from matplotlib import cbook  # noqa: PLC0415

    path = Path(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    picture = read_rgb(path)
    beside = cv2.fillPoly(np.zeros(picture.shape[:2], np.float32), [_BESIDE_THE_ADMIRAL], (1.0,))
    return _Portrait(str(path), picture, np.asarray(beside, np.float32))


def _seat(portrait: _Portrait, found: Landmarks, looks: Looks) -> tuple[Picture, Map, Landmarks]:
    """Put the portrait on the canvas, and with it what is known of its backdrop, and the landmarks.

    The cut and the change of proportions are one map, so that the portrait is interpolated once.
    """
    scale, corner = _frame(portrait.picture, found)  # canvas pixel = (portrait pixel - corner) * scale
    neutral = {name: (points - corner) * scale for name, points in found.items()}
    coarse = 8
    rows, columns = np.mgrid[: CANVAS[1] // coarse + 2, : CANVAS[0] // coarse + 2].astype(np.float64) * coarse
    knots = np.stack([columns, rows], axis=2)
    shift = displacement(knots.reshape(-1, 2), neutral, looks).reshape(knots.shape)
    source = ((knots + shift) / scale + corner).astype(np.float32)
    finer = np.array([[1 / coarse, 0, 0], [0, 1 / coarse, 0]])
    x, y = cv2.split(cv2.warpAffine(source, finer, CANVAS, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))
    seated = cv2.remap(portrait.picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    beside = cv2.remap(portrait.backdrop, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    landmarks = {name: moved(points, neutral, looks) for name, points in neutral.items()}
    return _crisp(np.asarray(seated, np.uint8), scale), np.asarray(beside, np.float32), landmarks


def _frame(portrait: Picture, found: Landmarks) -> tuple[float, NDArray[np.float64]]:
    """Place the frame: the face at its proper size and height, within the portrait where that is possible."""
    height, width = portrait.shape[:2]
    face = face_width(found)
    eyes = (found["left_eye"].mean(axis=0) + found["right_eye"].mean(axis=0)) / 2
    middle = (found["chin"][0, 0] + found["chin"][16, 0] + 2 * found["chin"][8, 0]) / 4
    fits = min(width, height * FRAME[0] / FRAME[1])
    frame = float(np.clip(fits, face / _LARGEST_FACE_OF_FRAME, face / _FACE_OF_FRAME))
    frame_height = frame * FRAME[1] / FRAME[0]
    left = np.clip(middle - frame / 2, *sorted((0.0, width - frame)))
    room = height - frame_height
    top = np.clip(eyes[1] - _EYES_AT * frame_height, 0, room) if room > 0 else room  # backdrop is continued best
    scale = FRAME[0] / frame
    return scale, np.array([left, top]) - MARGIN / scale


def _crisp(seated: Picture, scale: float) -> Picture:
    """Undo some of the enlargement's blur; nothing where the portrait was larger than the canvas."""
    if scale <= 1:
        return seated
    amount = min(0.25 * scale, 1.0)
    soft = cv2.GaussianBlur(seated, (0, 0), 0.55 * scale)
    return np.asarray(cv2.addWeighted(seated, 1 + amount, soft, -amount, 0), dtype=np.uint8)


def _taken_apart(linear: Map, matte: Map) -> tuple[Map, Map]:
    """Split a picture into the person, continued outwards, and the backdrop, out of focus and continued inwards."""
    inside = (np.clip(matte - 0.9, 0, None) * 10).astype(np.float32)
    outside = np.clip(1 - cv2.dilate(matte, np.ones((27, 27), np.uint8)) * 1.2, 0, 1).astype(np.float32)
    person = linear + (1 - matte[..., None]) * (_continued(linear, inside, 4) - linear)
    return person, _continued(linear, outside, 32)


def _continued(picture: Map, weight: Map, blur_px: float) -> Map:
    """Blur only what has weight, and let ever wider blurs, on ever smaller copies, fill what has none."""
    colours, weights = picture * weight[..., None], weight
    layers = []
    for level in range(8):
        reach = blur_px * 2**level / picture.shape[1]  # of the width
        step = max(1.0, reach * colours.shape[1] / 4)  # four samples a blur are enough
        size = (max(2, round(colours.shape[1] / step)), max(2, round(colours.shape[0] / step)))
        colours, weights = _resized(colours, size), _resized(weights, size)
        layers.append((_blurred(colours, reach * size[0]), _blurred(weights, reach * size[0])[..., None]))
        if min(size) < 8:
            break
    filled = layers[-1][0] / np.maximum(layers[-1][1], 1e-6)
    for blurred, trust in reversed(layers[:-1]):
        filled = np.asarray(cv2.resize(filled, blurred.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)
        filled += np.clip(trust * 4, 0, 1) * (blurred / np.maximum(trust, 1e-6) - filled)
    return np.asarray(cv2.resize(filled, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR).clip(0, 1), np.float32)


def _blurred(values: Map, sigma_px: float) -> Map:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE), np.float32)


def _resized(values: Map, size: tuple[int, int]) -> Map:
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)
