"""The rig: relay board, camera and timing, described in a `rig.toml`."""

import json
import math
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from deepflash.errors import HardwareError
from deepflash.files import write_durably
from deepflash.hardware.relay import switch_frame

_KINDS: dict[type, str] = {
    str: "text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table, [camera_settings]",
}


@dataclass(frozen=True)
class Rig:
    """A capture rig. Times are in seconds.

    The planned course of a take, on one clock whose zero is the start of the studio exposure::

        -warm_up_s       lamps on
        0                studio exposure
        lamps_hold_s     lamps off
        spacing_s        flash exposure, settle_s after the lamps went off

    Attributes
    ----------
    relay_port
        Serial device (best `/dev/serial/by-id/...`) or a pyserial URL such as `socket://host:port`.
    camera_port, camera_model
        As libgphoto2 names them: `usb:001,004` and `Nikon DSC D750`, or `ptpip:192.168.1.7` and
        `PTP/IP Camera`; `ptpip:HOST:PORT:PORT` where the port is not 15740. HOST is numeric.
    relay_board, relay_channel
        Row of `relay.BOARDS`, and the channel that all lamps hang on.
    warm_up_s
        From lamps on to the studio exposure.
    lamps_hold_s
        From the start of the studio exposure to lamps off: the longest exposure, with a margin.
    settle_s
        From lamps off to the flash exposure.
    camera_lag_s
        From the trigger to the start of the exposure; triggers lead by it.
    quiet_s
        How long a newly connected camera must have announced nothing before the first shot; longer than
        it takes to store a photograph. See `Camera.make_ready`.
    tolerance_s
        By how much measured times may differ from the plan before a pair is retaken.
    max_on_s
        The guard switches lamps off that have been on for so long, whatever it is told.
    fetch_twice
        Whether each photograph is fetched twice and compared: a transfer may garble a file that still decodes.
    check_faces
        Whether what the photographs show is checked: a face in both, its motion, sharpness and light. For people.
    check_eyes
        Whether eyes are checked to be open, by 68 landmarks whose model is not for commercial products.
    camera_settings
        What the camera must be set to, by libgphoto2's names (`gphoto2 --list-config`), such as
        `{"iso": "100", "whitebalance": "Daylight"}`. Set when it is connected, compared before every take.
    """

    relay_port: str
    camera_port: str
    relay_board: str = "lcus"
    relay_channel: int = 1
    camera_model: str = "PTP/IP Camera"
    warm_up_s: float = 0.3
    lamps_hold_s: float = 0.1
    settle_s: float = 0.4
    camera_lag_s: float = 0.0
    quiet_s: float = 2.0
    tolerance_s: float = 0.05
    max_on_s: float = 30.0
    fetch_twice: bool = True
    check_faces: bool = True
    check_eyes: bool = True
    camera_settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        switch_frame(self.relay_board, self.relay_channel, on=False)
        for name in ("warm_up_s", "lamps_hold_s", "settle_s", "camera_lag_s", "quiet_s", "tolerance_s", "max_on_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 3600):
                raise HardwareError(f"{name} = {value} is not a time of a rig; use 0 to 3600 seconds")
        if self.max_on_s <= self.warm_up_s + self.lamps_hold_s:
            raise HardwareError(f"max_on_s = {self.max_on_s} would switch the lamps off before the studio shot; raise it")
        if "flashmode" in self.camera_settings:
            raise HardwareError("camera_settings may not hold flashmode, which is set for every shot; leave it out")

    @property
    def spacing_s(self) -> float:
        """The planned time from the studio exposure to the flash exposure."""
        return self.lamps_hold_s + self.settle_s


def load_rig(path: Path) -> Rig:
    """Read a rig file.

    Raises
    ------
    HardwareError
        if the file is missing, not TOML, or has an unknown, missing or mistyped key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HardwareError(f"{path} does not exist; write a rig file or use --emulate") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise HardwareError(f"{path} is not a readable TOML file ({error}); mend it") from error
    try:
        return Rig(**_checked(content))
    except HardwareError as error:
        raise HardwareError(f"{path}: {error}") from error


def save_rig(rig: Rig, path: Path) -> None:
    """Write a rig file, durably."""
    values = asdict(rig)
    settings = values.pop("camera_settings")
    lines = [
        "# A deepflash capture rig; times are in seconds.",
        *(_line(name, value) for name, value in values.items()),
    ]
    if settings:
        lines += ["", "[camera_settings]", *(_line(_toml(name), value) for name, value in settings.items())]
    write_durably(path, "\n".join(lines) + "\n")


def _line(key: str, value: Any) -> str:
    return f"{key} = {_toml(value)}"


def _toml(value: str | float) -> str:
    """Write a value as TOML; of JSON's strings TOML refuses only a bare DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _checked(content: dict[str, Any]) -> dict[str, Any]:
    types: dict[str, Any] = {field.name: field.type for field in fields(Rig)}
    unknown = sorted(content.keys() - types.keys())
    if unknown:
        raise HardwareError(f"unknown key {unknown[0]!r}; a rig has {', '.join(types)}")
    types["camera_settings"] = dict
    for name in ("relay_port", "camera_port"):
        if name not in content:
            raise HardwareError(f"key {name!r} is missing; add it")
    return {name: _typed(name, value, types[name]) for name, value in content.items()}


def _typed(name: str, value: Any, kind: type) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise HardwareError(f"{name} = {value!r} is not {_KINDS[kind]}; mend it")
    if isinstance(value, dict):
        return {setting: _setting(setting, wanted) for setting, wanted in value.items()}
    return value


def _setting(name: str, wanted: Any) -> str:
    """Return a camera's setting as text, which is what cameras take; numbers may be written as such."""
    if type(wanted) not in {str, int, float}:
        raise HardwareError(f"camera_settings {name} = {wanted!r} is not a text or a number; mend it")
    return str(wanted)
