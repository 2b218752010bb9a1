"""The doctor: what is wrong with a rig and this computer, before the subject sits down, and how to mend it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from deepflash.errors import HardwareError
from deepflash.hardware.cameras import open_camera
from deepflash.hardware.lamps import Lamps
from deepflash.hardware.rig import Rig

State = Literal["ok", "warning", "fault"]

_PAIR_BYTES = 2 * 6_000_000  # two photographs of 13 megapixels, as large as phones make them
_DISK_LOW, _DISK_EMPTY = 500 * _PAIR_BYTES, 20 * _PAIR_BYTES
_CARD_LOW, _CARD_EMPTY = 100 * _PAIR_BYTES, 4 * _PAIR_BYTES
_CLOCK_OFF_S = 60.0
_BATTERY_LOW, _BATTERY_EMPTY = 40, 15  # percent
_NET_LIMIT_S = 2.0
_SEEN_LIMIT_S = 1.0
_BROWSERS_OF_CAMERAS = ("gvfs-gphoto2-volume-monitor", "gvfsd-gphoto2", "gvfsd-mtp", "gvfs-mtp-volume-monitor")
_PTY_MASTERS = {"/dev/ptmx", "/dev/pts/ptmx"}  # who holds one is the other end of such a port, a played device
_LET_GO = "systemctl --user stop gvfs-gphoto2-volume-monitor gvfs-mtp-volume-monitor; pkill gvfsd-gphoto2"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    what
        `relay port`, `lamps`, `camera`, `battery`, `disk`, `clock`, ...
    state
        `ok`; `warning`, with which a sitting can be held; `fault`, with which it cannot.
    sentence
        What was found.
    mend
        What to do about it; empty if nothing.
    """

    what: str
    state: State
    sentence: str
    mend: str = ""


@dataclass(frozen=True)
class Holder:
    """A process of this computer that has a device open."""

    pid: int
    name: str


def examine(rig: Rig, raw: Path, *, proc: Path = Path("/proc")) -> Iterator[Finding]:
    """Look at everything that a sitting needs; yield the findings one by one.

    The lamps are switched off by it. The camera is connected, but not triggered.

    Parameters
    ----------
    raw
        The tree that pairs will be stored in.
    proc
        Where the kernel shows its processes.
    """
    relay_free = True
    for finding in _relay_port(rig.relay_port, proc):
        relay_free = relay_free and finding.state != "fault"
        yield finding
    if relay_free:
        yield _lamps(rig)
    yield from _rivals(proc)
    yield from _camera_port(rig.camera_port, proc)
    yield from _camera(rig)
    yield from _disk(raw)
    yield _computer_clock()


def holders_of(device: Path, proc: Path = Path("/proc")) -> list[Holder]:
    """Return the processes, other than this one, that have a device open; of other users' only root is told."""
    real = os.path.realpath(device)
    others = (process for process in sorted(proc.glob("[0-9]*")) if int(process.name) != os.getpid())
    return [Holder(int(process.name), _name_of(process)) for process in others if _has_open(process, real)]


def _has_open(process: Path, real: str) -> bool:
    try:
        open_files = {_target(link) for link in (process / "fd").iterdir()}
    except OSError:  # it ended meanwhile, or is another user's
        return False
    return real in open_files and not (_PTY_MASTERS & open_files)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _name_of(process: Path) -> str:
    """Return a process's program; `comm` would be cut off after 15 letters."""
    try:
        program = (process / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
        return Path(program).name or (process / "comm").read_text().strip()
    except OSError:
        return "a process that has ended"


def _relay_port(port: str, proc: Path) -> Iterator[Finding]:
    if "://" in port:
        yield _reachable("relay port", port.partition("://")[2])
        return
    yield from _device("relay port", Path(port), proc)


def _device(what: str, device: Path, proc: Path) -> Iterator[Finding]:
    if not device.exists():
        yield Finding(what, "fault", f"{device} does not exist", "plug it in, or name another port in the rig file")
        return
    if not os.access(device, os.R_OK | os.W_OK):
        mend = f"join the group that owns it (ls -l {os.path.realpath(device)}; often dialout or plugdev), and log in again"
        yield Finding(what, "fault", f"{device} may not be opened by this user", mend)
        return
    holders = holders_of(device, proc)
    for holder in holders:
        mend = f"end that program, for example with: kill {holder.pid}"
        yield Finding(what, "fault", f"{device} is held by {holder.name} (process {holder.pid})", mend)
    if not holders:
        yield Finding(what, "ok", f"{device} is there, may be opened and is free")


def _reachable(what: str, address: str) -> Finding:
    host, _, port = address.partition("/")[0].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_NET_LIMIT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        mend = "check that the device is switched on and in this network, and its address in the rig file"
        return Finding(what, "fault", f"{address} cannot be reached ({error})", mend)
    return Finding(what, "ok", f"{address} can be reached")


def _lamps(rig: Rig) -> Finding:
    try:
        with Lamps(rig) as lamps:
            lamps.off()
            seen = lamps.wait_until_seen(on=False, limit_s=_SEEN_LIMIT_S)
            fault = lamps.state().fault
    except HardwareError as error:
        return Finding("lamps", "fault", str(error), "check the board's power, its cable, and relay_board in the rig file")
    if fault:
        return Finding("lamps", "fault", fault, "check the board's power and its cable")
    if seen is None:
        told = f"the {rig.relay_board} board took the order to switch off; it did not say whether it obeyed"
        return Finding("lamps", "warning", told, "look whether the lamps switch with: deepflash capture lamps on")
    if seen:
        told = f"the {rig.relay_board} board says that the lamps are still on"
        return Finding("lamps", "fault", told, "check relay_board and relay_channel in the rig file, and the board's power")
    return Finding("lamps", "ok", f"the {rig.relay_board} board obeys: the lamps are off")


def _rivals(proc: Path) -> Iterator[Finding]:
    """Look for the desktop's services that take every camera for themselves."""
    for process in sorted(proc.glob("[0-9]*")):
        name = _name_of(process)
        if name in _BROWSERS_OF_CAMERAS:
            told = f"{name} (process {process.name}) takes cameras for the desktop as soon as they are plugged in"
            yield Finding("rivals", "warning", told, _LET_GO)


def _camera_port(port: str, proc: Path) -> Iterator[Finding]:
    kind, _, address = port.partition(":")
    if kind == "usb" and "," in address:
        bus, _, number = address.partition(",")
        yield from _device("camera port", Path("/dev/bus/usb", bus, number), proc)


def _camera(rig: Rig) -> Iterator[Finding]:
    if rig.camera_port.startswith("phone:"):
        yield Finding("camera", "ok", "the camera is a phone; a sitting waits for its browser to open the page")
        return
    try:
        with open_camera(rig) as camera:
            facts = camera.facts
    except HardwareError as error:
        yield Finding("camera", "fault", str(error), "switch it on, and end other programs that use cameras")
        return
    yield Finding("camera", "ok", f"{facts.settings.get('cameramodel', rig.camera_model)} answers on {rig.camera_port}")
    yield from _battery(facts.settings.get("batterylevel"))
    yield from _card(facts.card_free_bytes)
    yield from _camera_clock(facts.clock_ahead_s)
    if not facts.flash_settable:
        told = "the flash cannot be set through the cable"
        yield Finding("flash", "warning", told, "set the camera so that its flash fires only when the lamps are off")


def _battery(level: str | None) -> Iterator[Finding]:
    """Judge the battery by what cameras say: `75%`, `100`, or a word such as `Low`."""
    if level is None:
        return
    digits = level.strip().rstrip("%").strip()
    percent = float(digits) if digits.replace(".", "", 1).isdigit() else None
    if percent is None:
        state: State = "warning" if "low" in level.lower() else "ok"
    else:
        state = "fault" if percent < _BATTERY_EMPTY else "warning" if percent < _BATTERY_LOW else "ok"
    told = f"the camera's battery says {level}"
    yield Finding("battery", state, told, "" if state == "ok" else "charge it, or use a mains adapter")


def _card(free: int | None) -> Iterator[Finding]:
    if free is not None:
        state: State = "fault" if free < _CARD_EMPTY else "warning" if free < _CARD_LOW else "ok"
        told = f"{free / 1e9:.1f} GB are free on the camera's card: about {free // _PAIR_BYTES} pairs"
        yield Finding("card", state, told, "" if state == "ok" else "copy the photographs that you need and empty the card")


def _camera_clock(ahead_s: float | None) -> Iterator[Finding]:
    if ahead_s is None:
        return
    if abs(ahead_s) < _CLOCK_OFF_S:
        yield Finding("camera clock", "ok", "the camera's clock agrees with this computer's")
        return
    told = f"the camera's clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this computer's"
    yield Finding("camera clock", "warning", told, "set the camera's clock; nothing that we measure depends on it")


def _disk(raw: Path) -> Iterator[Finding]:
    folder = raw.absolute()
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("disk", "fault", f"{raw} cannot be written", "choose another folder, or change its owner")
        return
    free = shutil.disk_usage(folder).free
    state: State = "fault" if free < _DISK_EMPTY else "warning" if free < _DISK_LOW else "ok"
    told = f"{free / 1e9:.1f} GB are free for {raw}: about {free // _PAIR_BYTES} pairs"
    yield Finding("disk", state, told, "" if state == "ok" else "make room, or choose another disk")


def _computer_clock() -> Finding:
    """Ask whether the time of day is kept by a time server; spacing is measured by another clock and needs none."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    mend = "set it: timedatectl set-ntp true"
    if time.time() < 1_700_000_000:  # 2023: before this program was written
        return Finding("clock", "fault", f"this computer believes that it is {now}", mend)
    synchronized = _time_server_keeps_clock()
    if synchronized is None:
        return Finding("clock", "ok", f"it is {now}; whether a time server keeps that is not known here")
    if not synchronized:
        return Finding("clock", "warning", f"it is {now}, and no time server keeps that", mend)
    return Finding("clock", "ok", f"it is {now}, kept by a time server")


def _time_server_keeps_clock() -> bool | None:
    try:
        told = subprocess.run(
            ["timedatectl", "show", "--property=NTPSynchronized", "--value"],  # noqa: S607 - wherever the system has it
            capture_output=True,
            text=True,
            timeout=_NET_LIMIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() == "yes"
