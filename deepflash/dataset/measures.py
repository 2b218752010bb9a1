"""What a registered pair shows, in numbers that a person can picture: exposure, colour of the skin, motion, eyes, sharpness.

All is measured in the un-augmented sample, as it is stored. The colour of skin is the individual typology angle,

    ITA = atan2(L* - 50, b*), in degrees,

of the median of CIE L*a*b* on the cheeks (Chardon et al. 1991, *Skin colour typology and suntanning pathways*; groups after
Del Bino & Bernerd 2013). Photographs are not colorimeters: light, white balance and exposure move the angle by tens of degrees,
so it tells how varied the people of a data set are, and nothing about one of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deepflash.faces import find_faces, subject_face
from deepflash.pictures import Picture

LIGHTS = ("flash", "studio")
SKIN_GROUPS = ((55.0, "very light"), (41.0, "light"), (28.0, "intermediate"), (10.0, "tan"), (-30.0, "brown"))
"""Lower limits of the typology angle in degrees, and their names; what is below them all is dark."""

_WHITE = np.array([0.950489, 1.0, 1.088840])  # of D65, 2 degrees; CIE 15:2004
_XYZ_FROM_LINEAR = np.array(  # of sRGB; IEC 61966-2-1
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
_CLIPPED = 254
_SHUT = 0.15  # an eye's height over its width; drawn shut 0.08 to 0.17, open 0.18 to 0.68 (measured for capture's checks)
_SHUT_EDGES = -1.2  # of `eye_uprightness`: open eyes about -0.7, shut ones -1.6 (align)
_FACE_PX = 128  # faces are brought to this width before they are compared, so that sizes of data sets do not matter
_MOVED = 0.02
_BLURRED = 0.25
_CLIPPED_SHARE = 0.05
_DARK, _BRIGHT = 25.0, 85.0
_COVERED = 0.9


@dataclass(frozen=True)
class Measures:
    """What was measured of a pair; None where it could not be.

    Attributes
    ----------
    flash_lightness, studio_lightness
        Median CIE L* of the face, 0 to 100: the exposure.
    flash_clipped, studio_clipped
        Share of the face's pixels that are burnt out in a channel.
    flash_ita_deg, studio_ita_deg
        Individual typology angle of the cheeks.
    motion
        How far the face in one picture lies beside that in the other, over the face's width.
    flash_sharpness, studio_sharpness
        Energy of the finest detail of the face over that of all its detail, 0 to 1; noise counts as detail.
    eyes_open
        Whether the eyes are open in both pictures, as far as landmarks or the registration's numbers tell.
    valid_fraction
        Share of the sample that both photographs cover.
    """

    flash_lightness: float
    studio_lightness: float
    flash_clipped: float
    studio_clipped: float
    flash_ita_deg: float | None
    studio_ita_deg: float | None
    motion: float
    flash_sharpness: float
    studio_sharpness: float
    eyes_open: bool | None
    valid_fraction: float

    def as_dict(self) -> dict[str, float | bool | None]:
        """Return them by name, rounded to what they are worth."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


def measure(flash: Picture, studio: Picture, info: Mapping[str, Any], *, eyes: bool = False) -> Measures:
    """Measure a pair.

    Parameters
    ----------
    flash, studio
        The pictures of an un-augmented sample, (size, size, 3) RGB `uint8`.
    info
        Its JSON: `face_box`, `landmarks`, `valid_fraction` and `quality` are used where they are there.
    eyes
        Whether to look for the lids in both pictures, by 68 landmarks whose model is not for commercial products.

    Raises
    ------
    FaceError
        if eyes are wanted and faces cannot be found on this machine.
    """
    box = _box_of(info, flash.shape[0])
    numbers: dict[str, Any] = {}
    for light, picture in zip(LIGHTS, (flash, studio), strict=True):
        face = _cut(picture, box)
        numbers[f"{light}_lightness"] = float(np.median(lab_of(face.reshape(-1, 3))[:, 0]))
        numbers[f"{light}_clipped"] = float((face >= _CLIPPED).any(axis=2).mean())
        numbers[f"{light}_ita_deg"] = skin_angle(picture, info)
        numbers[f"{light}_sharpness"] = _sharpness(_grey_face(face))
    motion = motion_between(*(_grey_face(_cut(picture, box)) for picture in (flash, studio)))
    valid = float(info.get("valid_fraction", 1.0))
    opened = eyes_in(flash, studio) if eyes else eyes_are_open(info)
    return Measures(**numbers, motion=motion, eyes_open=opened, valid_fraction=valid)


def remarks_on(measures: Measures) -> list[str]:
    """Say in a clause each what is worth a look; the gravest first."""
    found = []
    if measures.eyes_open is False:
        found.append("eyes look shut")
    if measures.motion > _MOVED:
        found.append(f"the face moved by {measures.motion:.1%} of its width")
    for light in LIGHTS:
        lightness, clipped, sharp = (getattr(measures, f"{light}_{name}") for name in ("lightness", "clipped", "sharpness"))
        if not _DARK <= lightness <= _BRIGHT:
            found.append(f"the {light} picture is {'dark' if lightness < _DARK else 'bright'} (L* {lightness:.0f})")
        if clipped > _CLIPPED_SHARE:
            found.append(f"{clipped:.0%} of the face is burnt out in the {light} picture")
        other = getattr(measures, f"{LIGHTS[light == 'flash']}_sharpness")
        if sharp < _BLURRED * other:
            found.append(f"the {light} picture is soft")
    if measures.valid_fraction < _COVERED:
        found.append(f"the photographs cover {measures.valid_fraction:.0%} of it")
    return found


def lab_of(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return CIE L*a*b* (D65, 2 degrees) of sRGB colours; (N, 3) `uint8` to (N, 3) `float64`.

    Source: IEC 61966-2-1 for sRGB, CIE 15:2004 for L*a*b*.
    """
    encoded = colours / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratios = linear @ _XYZ_FROM_LINEAR.T / _WHITE
    roots = np.where(ratios > (6 / 29) ** 3, np.cbrt(ratios), ratios / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = roots.T
    return np.column_stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def skin_angle(picture: Picture, info: Mapping[str, Any]) -> float | None:
    """Return the individual typology angle of the cheeks in degrees, -90 to 90; None if there is no face."""
    if "face_box" not in info:
        return None
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    on_cheeks = np.zeros(picture.shape[:2], dtype=np.bool_)
    for (x, y), radius in _cheeks(info):
        on_cheeks |= (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    colours = picture[on_cheeks]
    if not len(colours):
        return None
    lightness, _, yellow = np.median(lab_of(colours), axis=0)
    return float(np.clip(np.degrees(np.arctan2(lightness - 50, yellow)), -90, 90))


def skin_group(angle_deg: float) -> str:
    """Return the name of a typology angle's group.

    >>> skin_group(47.0), skin_group(-40.0)
    ('light', 'dark')
    """
    return next((name for limit, name in SKIN_GROUPS if angle_deg > limit), "dark")


def motion_between(flash: NDArray[np.float32], studio: NDArray[np.float32]) -> float:
    """Return how far two grey pictures of a face are shifted against each other, over their width.

    By phase correlation of the strength of their edges, which the light changes little.
    """
    edges = [cv2.GaussianBlur(_edges(grey), (0, 0), 1.5) for grey in (flash, studio)]
    if any(float(edge.std()) < 1e-3 for edge in edges):
        return 0.0
    window = cv2.createHanningWindow((flash.shape[1], flash.shape[0]), cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(edges[0], edges[1], window)
    return float(np.hypot(x, y) / flash.shape[1])


def eyes_are_open(info: Mapping[str, Any]) -> bool | None:
    """Tell whether the eyes are open: by six landmarks of each, or by what the registration measured; None if unknown."""
    landmarks = info.get("landmarks", {})
    eyes = [landmarks.get(name, ()) for name in ("left_eye", "right_eye")]
    if all(len(eye) == 6 for eye in eyes):
        return bool(np.mean([_opening(eye) for eye in eyes]) > _SHUT)
    uprightness = info.get("quality", {}).get("eye_uprightness")
    return None if uprightness is None else bool(uprightness > _SHUT_EDGES)


def eyes_in(*pictures: Picture) -> bool | None:
    """Tell whether the eyes are open in all pictures; None if a face is found in none. Errors as `find_faces`."""
    openings = []
    for picture in pictures:
        face = subject_face(find_faces(picture, landmarks="large"), picture.shape[1], picture.shape[0])
        if face is not None:
            openings.append(np.mean([_opening(face.landmarks[name]) for name in ("left_eye", "right_eye")]))
    return bool(min(openings) > _SHUT) if openings else None


def _opening(eye: Sequence[Sequence[float]]) -> float:
    """Return an eye's height over its width (Soukupova and Cech 2016, equation 1) from its six landmarks."""
    outer, up1, up2, inner, low2, low1 = np.array(eye)
    return float((np.hypot(*(up1 - low1)) + np.hypot(*(up2 - low2))) / (2 * np.hypot(*(outer - inner))))


def _box_of(info: Mapping[str, Any], size: int) -> tuple[int, int, int, int]:
    """Return the face's box within the picture, in whole pixels; all of it where there is no face."""
    left, top, right, bottom = (round(float(edge)) for edge in info.get("face_box", (0, 0, size, size)))
    left, top = (min(max(edge, 0), size - 8) for edge in (left, top))
    return left, top, max(min(right, size), left + 8), max(min(bottom, size), top + 8)


def _cut(picture: Picture, box: tuple[int, int, int, int]) -> Picture:
    left, top, right, bottom = box
    return picture[top:bottom, left:right]


def _grey_face(face: Picture) -> NDArray[np.float32]:
    scale = _FACE_PX / face.shape[1]
    size = (_FACE_PX, max(round(face.shape[0] * scale), 8))
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    resized = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.float32)


def _edges(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    across, down = (cv2.Sobel(cv2.GaussianBlur(grey, (0, 0), 1.0), cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    strength = np.hypot(across, down)
    local = np.sqrt(cv2.GaussianBlur(strength**2, (0, 0), 12.0)) + 1.0
    return np.asarray(strength / local, dtype=np.float32)


def _sharpness(grey: NDArray[np.float32]) -> float:
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 1.0)
    coarse = grey - cv2.GaussianBlur(grey, (0, 0), 8.0)
    energy = float((coarse**2).mean())
    return min(1.0, float((fine**2).mean()) / energy) if energy > 1e-6 else 0.0


def _cheeks(info: Mapping[str, Any]) -> list[tuple[tuple[float, float], float]]:
    """Return the middle of each cheek and its radius: under the eyes at the height of the nose, or by the box alone."""
    left, top, right, bottom = info["face_box"]
    landmarks = info.get("landmarks", {})
    eyes = [landmarks.get(name) for name in ("left_eye", "right_eye")]
    nose = landmarks.get("nose_tip")
    if all(eyes) and nose:
        centres = [np.mean(eye, axis=0) for eye in eyes]
        between = np.mean(centres, axis=0)
        down = np.mean(nose, axis=0) - between
        outwards = [0.1 * (centre - between) for centre in centres]
        radius = 0.16 * float(np.hypot(*(centres[1] - centres[0])))
        middles = [centre + down + out for centre, out in zip(centres, outwards, strict=True)]
        return [((float(x), float(y)), radius) for x, y in middles]
    width, height = right - left, bottom - top
    return [((left + share * width, top + 0.62 * height), 0.08 * width) for share in (0.27, 0.73)]
