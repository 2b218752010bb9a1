"""What is asked of a subject: pose lists, from a file or the usual one, with prompts and pictograms."""

import math
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepflash.capture.journal import check_poses
from deepflash.errors import CaptureError, PairError

_LARGEST_PICTOGRAM = 1_000_000
_PICTOGRAM_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_LONGEST_PROMPT = 200
_FACE_SEEN_DEGREES = 60  # the detector knows faces from the front


@dataclass(frozen=True)
class Pose:
    """One thing to ask for.

    Attributes
    ----------
    name
        Safe id, unique in its list; goes into the pair's sidecar.
    prompt
        What the operator says or the subject reads.
    pictogram, media_type
        A picture of it, and its kind; empty if there is none.
    face, eyes
        Whether a face, and its open eyes, are to be seen in it; what is not is not checked.
    """

    name: str
    prompt: str
    pictogram: bytes = b""
    media_type: str = ""
    face: bool = True
    eyes: bool = True


def load_poses(path: Path) -> tuple[Pose, ...]:
    """Read a pose list: a TOML file with a table `[[pose]]` for each, with a `name`.

    It may have a `prompt`; a `pictogram`, the name of an SVG, PNG or JPEG file in the list's folder or below; and
    `face = false` or `eyes = false` where none, or none that are open, are to be seen. A usual pose has the usual ones.

    Raises
    ------
    CaptureError
        if the file is missing, not TOML, or a pose is not as described.
    PairError
        if a name is not a safe id.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CaptureError(f"{path} does not exist; give a pose list, or the names of the poses") from None
    except (OSError, ValueError) as error:
        raise CaptureError(f"{path} is not a readable TOML file ({error}); mend it") from error
    entries = content.pop("pose", None)
    if content or not isinstance(entries, list) or not entries:
        raise CaptureError(f"{path} is not a pose list; give one or more tables [[pose]] with name and prompt, nothing else")
    try:
        poses = tuple(_pose_from(entry, path.parent) for entry in entries)
        check_poses([pose.name for pose in poses])
    except (CaptureError, PairError) as error:
        raise type(error)(f"{path}: {error}") from error
    return poses


def named_poses(names: Sequence[str]) -> tuple[Pose, ...]:
    """Return the usual poses of these names; errors as `check_poses`."""
    check_poses(names)
    return tuple(usual_pose(name) for name in names)


def _pose_from(entry: Any, folder: Path) -> Pose:
    kinds = {"name": str, "prompt": str, "pictogram": str, "face": bool, "eyes": bool}
    if not isinstance(entry, dict) or "name" not in entry:
        raise CaptureError("a [[pose]] has no name")
    for key, value in entry.items():
        if type(value) is not kinds.get(key):
            raise CaptureError(f"{key} = {value!r} is not for a [[pose]]; it has name, prompt, pictogram, face and eyes")
    pose = replace(usual_pose(entry["name"]), **{key: entry[key] for key in entry.keys() - {"pictogram"}})
    if not 1 <= len(pose.prompt) <= _LONGEST_PROMPT:
        raise CaptureError(f"the prompt of {pose.name!r} has {len(pose.prompt)} characters; use 1 to {_LONGEST_PROMPT}")
    if "pictogram" in entry:
        content, media_type = _read_pictogram(folder, entry["pictogram"])
        pose = replace(pose, pictogram=content, media_type=media_type)
    return pose


def _read_pictogram(folder: Path, name: str) -> tuple[bytes, str]:
    path = (folder / name).resolve()
    media_type = _PICTOGRAM_TYPES.get(path.suffix.lower())
    if media_type is None or not path.is_relative_to(folder.resolve()):
        raise CaptureError(f"pictogram {name!r} is not an SVG, PNG or JPEG file beside the list")
    try:
        size_bytes = path.stat().st_size
        if size_bytes > _LARGEST_PICTOGRAM:
            raise CaptureError(f"pictogram {name!r} has {size_bytes} bytes; use at most {_LARGEST_PICTOGRAM}")
        return path.read_bytes(), media_type
    except OSError as error:
        raise CaptureError(f"pictogram {name!r} cannot be read ({error.strerror}); put it beside the list") from error


@dataclass(frozen=True)
class _Head:
    """How the usual pictogram holds its head; angles in degrees, to the right of the picture, down, and clockwise."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    smile: float = 0.2
    eyes_open: bool = True


_USUAL = {
    "frontal": ("Look straight into the camera", _Head()),
    "left": ("Turn your head a little to your left", _Head(yaw=30)),
    "right": ("Turn your head a little to your right", _Head(yaw=-30)),
    "up": ("Lift your chin a little", _Head(pitch=-25)),
    "down": ("Lower your chin a little", _Head(pitch=25)),
    "smile": ("Smile", _Head(smile=1.0)),
    "tilt-left": ("Tilt your head towards your left shoulder", _Head(roll=18)),
    "tilt-right": ("Tilt your head towards your right shoulder", _Head(roll=-18)),
    "eyes-closed": ("Close your eyes", _Head(eyes_open=False)),
    "profile": ("Turn your head fully to your left", _Head(yaw=75)),
}

POSES = tuple(_USUAL)


def usual_pose(name: str) -> Pose:
    """Return the usual pose of that name; a name that is not usual is its own prompt."""
    if name not in _USUAL:
        return Pose(name, re.sub(r"[-_]+", " ", name).strip().capitalize())
    prompt, head = _USUAL[name]
    face = abs(head.yaw) < _FACE_SEEN_DEGREES
    return Pose(name, prompt, _draw_head(head).encode(), "image/svg+xml", face=face, eyes=head.eyes_open)


def _draw_head(head: _Head) -> str:
    """Draw a head as SVG, 100 x 100: an oval whose features are shifted and foreshortened by the turn."""
    aside, down = 27 * math.sin(math.radians(head.yaw)), 30 * math.sin(math.radians(head.pitch))
    eyes = "".join(_draw_eye(50 + aside + side * 13 * math.cos(math.radians(head.yaw)), 46 + down, head) for side in (-1, 1))
    mouth_x, mouth_y, wide = 50 + 0.9 * aside, 70 + 0.8 * down, 11 * math.cos(math.radians(0.7 * head.yaw))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" fill="none" stroke="#7a8794" stroke-width="3" '
        f'stroke-linecap="round"><g transform="rotate({head.roll} 50 80)"><ellipse cx="50" cy="52" rx="31" ry="40"/>{eyes}'
        f'<path d="M{50 + 1.25 * aside:.1f} {50 + 1.2 * down:.1f}v8"/>'
        f'<path d="M{mouth_x - wide:.1f} {mouth_y:.1f}q{wide:.1f} {12 * head.smile:.1f} {2 * wide:.1f} 0"/></g></svg>'
    )


def _draw_eye(x: float, y: float, head: _Head) -> str:
    if head.eyes_open:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="#7a8794"/>'
    return f'<path d="M{x - 5:.1f} {y:.1f}q5 4 10 0"/>'
