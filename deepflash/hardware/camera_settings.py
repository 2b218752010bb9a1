"""Reading a camera's settings, and holding those that the rig file names. Only the camera's worker process uses this.

A camera on a tripod is touched between two takes: somebody turns a dial. What the rig file names is set when the camera
is connected and compared before every take; what has drifted is set back and told, and what cannot be set back is an
error with a name, because no retake would mend it.
"""

from collections.abc import Mapping
from typing import Any

import gphoto2 as gp

from deepflash.hardware.camera_calls import CALL_LIMIT_S, LacksError, SettingsError, within

_CHOICES = {gp.GP_WIDGET_RADIO, gp.GP_WIDGET_MENU}
_SWITCH = {"0": 0, "off": 0, "false": 0, "1": 1, "on": 1, "true": 1}


def find_widget(camera: Any, name: str) -> Any:
    """Return libgphoto2's widget of a setting, or None where the camera has no such setting."""
    try:
        return within(CALL_LIMIT_S, f"reading {name}", camera.get_single_config, name)
    except LacksError:
        return None


def read_setting(camera: Any, name: str) -> str | None:
    """Return a setting's value as text, or None where the camera has no such setting."""
    widget = find_widget(camera, name)
    return None if widget is None else str(widget.get_value())


def choices_of(widget: Any) -> list[str]:
    """Return what a setting may be; empty where it is not a choice among words."""
    if widget.get_type() not in _CHOICES:
        return []
    return [str(widget.get_choice(number)) for number in range(widget.count_choices())]


class SettingsLock:
    """The settings that the rig file names, by libgphoto2's names."""

    def __init__(self, camera: Any, wanted: Mapping[str, str]) -> None:
        self._camera = camera
        self._wanted = dict(wanted)

    @property
    def names(self) -> list[str]:
        return list(self._wanted)

    def hold(self) -> dict[str, str]:
        """Set what differs; return what was found where it differed, by name.

        Raises
        ------
        SettingsError
            if the camera lacks a setting, does not let it be set, or does not keep it.
        """
        return {name: found for name, wanted in self._wanted.items() if (found := self._hold_one(name, wanted)) is not None}

    def _hold_one(self, name: str, wanted: str) -> str | None:
        widget = find_widget(self._camera, name)
        if widget is None:
            raise SettingsError(f"the camera has no setting {name}; take it out of camera_settings in the rig file")
        value = _value_for(widget, name, wanted)
        found = widget.get_value()
        if _same(found, value):
            return None
        if widget.get_readonly():
            raise SettingsError(f"{name} is {found}, the rig file says {wanted}, and only a hand can change it; set it")
        widget.set_value(value)
        within(CALL_LIMIT_S, f"setting {name}", self._camera.set_single_config, name, widget)
        kept = read_setting(self._camera, name)
        if kept is None or not _same(type(value)(kept), value):
            raise SettingsError(
                f"{name} stays {kept}, the rig file says {wanted}; turn the camera's dial so that it may be set"
            )
        return str(found)


def _value_for(widget: Any, name: str, wanted: str) -> Any:
    """Return the text of the rig file as the widget takes it."""
    kind, choices = widget.get_type(), choices_of(widget)
    try:
        if kind in _CHOICES:
            return next(choice for choice in choices if choice.lower() == wanted.lower())
        if kind == gp.GP_WIDGET_RANGE:
            return float(wanted)
        if kind == gp.GP_WIDGET_TOGGLE:
            return _SWITCH[wanted.lower()]
    except (StopIteration, ValueError, KeyError):
        possible = ", ".join(choices) or "a number, or on and off"
        raise SettingsError(f"{name} cannot be {wanted!r}; the camera offers {possible}: mend the rig file") from None
    return wanted


def _same(found: Any, value: Any) -> bool:
    if isinstance(value, float):
        return abs(float(found) - value) <= 1e-4 * max(1.0, abs(value))  # libgphoto2 holds ranges as 32-bit floats
    return bool(found == value)
