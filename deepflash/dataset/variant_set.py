"""Which geometric variants are made of a pair: declared in a small TOML file, by default the paper's twenty."""

import functools
import itertools
import tomllib
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from deepflash.errors import DatasetError
from deepflash.shards import UNAUGMENTED

Frame = Literal["wide", "face"]

MAX_VARIANTS = 100
"""A sample's key has two digits for its variant."""

_FRAMES: tuple[Frame, ...] = get_args(Frame)
_LISTS = ("frames", "mirrored", "angles_deg")
_KEYS = ("face_enlargement", "variants")
_ENLARGEMENTS = (0.5, 4.0)


@dataclass(frozen=True)
class Variant:
    """One geometric augmentation.

    Attributes
    ----------
    angle_deg
        Rotation of the picture's content about the centre of the face box, counter-clockwise, in degrees.
    frame
        `wide`: the largest square that the flash photograph holds, as near to the face as it goes;
        `face`: the square of the face box, enlarged.
    mirrored
        Whether left and right are exchanged.
    """

    angle_deg: float
    frame: Frame
    mirrored: bool


@dataclass(frozen=True)
class VariantSet:
    """The variants of every pair, in the order of their numbers, and `face_enlargement`: face frame over face box."""

    variants: tuple[Variant, ...]
    face_enlargement: float

    def __post_init__(self) -> None:
        least, most = _ENLARGEMENTS
        if not least <= self.face_enlargement <= most:
            raise DatasetError(f"face_enlargement is {self.face_enlargement}; it must be from {least} to {most}")
        if len(self.variants) > MAX_VARIANTS:
            raise DatasetError(f"{len(self.variants)} variants are declared; {MAX_VARIANTS} is the most")
        twice = next((v for number, v in enumerate(self.variants) if v in self.variants[:number]), None)
        if twice:
            raise DatasetError(f"the variant {_words(twice)} is declared twice; keep one of them")
        if UNAUGMENTED not in map(asdict, self.variants):
            raise DatasetError(
                "the photograph as it was taken (angle 0, wide, not mirrored) is not among the variants; add it, since"
                " nothing else is evaluated"
            )


def load_variants(path: Path) -> VariantSet:
    """Read a declaration of variants.

    Raises
    ------
    DatasetError
        if the file cannot be read, has an unknown or missing key, or a value that is out of range.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist; give a TOML file that declares variants") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); give a TOML file that declares variants") from error
    try:
        return _parsed(text)
    except (DatasetError, tomllib.TOMLDecodeError) as error:
        raise DatasetError(f"{path}: {error}") from error


@functools.cache
def paper_variants() -> VariantSet:
    """Return the paper's twenty, as `variants.toml` in this package declares them; the first shows the photograph as taken."""
    return _parsed((resources.files("deepflash.dataset") / "variants.toml").read_text(encoding="utf-8"))


def _parsed(text: str) -> VariantSet:
    content = tomllib.loads(text)
    _check_keys(content, _KEYS, "the file")
    tables = content["variants"]
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise DatasetError("variants must be tables; begin each with [[variants]]")
    variants = [variant for table in tables for variant in _combinations(table)]
    return VariantSet(tuple(variants), float(_number(content["face_enlargement"], "face_enlargement")))


def _combinations(table: dict[str, Any]) -> list[Variant]:
    _check_keys(table, _LISTS, "a table [[variants]]")
    for name in _LISTS:
        if not isinstance(table[name], list) or not table[name]:
            raise DatasetError(f"{name} is {table[name]!r}; it must be a list of at least one value")
    frames = [_one_of(frame, _FRAMES, "frames") for frame in table["frames"]]
    mirrored = [_one_of(flag, (False, True), "mirrored") for flag in table["mirrored"]]
    angles = [_angle(angle) for angle in table["angles_deg"]]
    return [Variant(angle, frame, flag) for frame, flag, angle in itertools.product(frames, mirrored, angles)]


def _check_keys(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in sorted(table.keys() - set(known)):
        raise DatasetError(f"{where} has an unknown key {name!r}; known are {', '.join(known)}")
    for name in known:
        if name not in table:
            raise DatasetError(f"{where} lacks {name}; add it")


def _one_of(value: Any, choices: tuple[Any, ...], name: str) -> Any:
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        allowed = ", ".join(str(choice).lower() for choice in choices)
        raise DatasetError(f"{name} has {value!r}; choose from {allowed}")
    return value


def _angle(value: Any) -> float:
    angle = _number(value, "angles_deg")
    if not -180 <= angle <= 180:
        raise DatasetError(f"angles_deg has {angle}; angles are from -180 to 180 degrees")
    return int(angle) if angle == int(angle) else angle  # 10 and 10.0 are one angle and must be written alike


def _number(value: Any, name: str) -> float:
    if type(value) not in {int, float}:
        raise DatasetError(f"{name} has {value!r}, which is no number; correct it")
    return float(value)


def _words(variant: Variant) -> str:
    return f"{variant.angle_deg} degrees, {variant.frame}, {'mirrored' if variant.mirrored else 'not mirrored'}"
