"""The emulated studio: a relay board on a pty and a PTP/IP camera on loopback, started and ended together."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from deepflash.errors import DeepflashError, HardwareError
from deepflash.hardware.emulator.camera_body import LAMP_CHANNEL, SHUTTER_LAG_S, USUAL_INERTIA, Inertia
from deepflash.hardware.rig import Rig

if TYPE_CHECKING:  # the sitters' module loads face models, which only the darkroom's process needs
    from deepflash.hardware.emulator.sitters import SitterChoice

START_DEADLINE_S = 20.0  # generous: a busy machine; ready is normal within a second
LAST_MOMENTS_S = 0.5
END_DEADLINE_S = 4.0  # longer than the board waits for its lamps to be switched off


def emulator_folder(raw: Path) -> Path:
    """Return where a raw tree's emulated studios keep state and truth: beside the tree, where no stage reads."""
    return raw.with_name(f"{raw.name}-emulator")


@contextmanager
def emulated_studio(
    folder: Path,
    sitter: "SitterChoice",
    *,
    size: tuple[int, int] = (3120, 4160),
    seed: int = 0,
    inertia: Inertia = USUAL_INERTIA,
    board: str = "lcus",
) -> Iterator[Rig]:
    """Start an emulated studio with a sitter in it; yield the rig to photograph with; end it when the block ends.

    Both devices are processes of their own. They end also if this process is killed, and the same call on the same
    folder goes on with the memory card and the logs that it finds there.

    Parameters
    ----------
    folder
        Gets `lamps.jsonl`, `camera.jsonl`, `truth.jsonl` (see `relay_board` and `camera_body`), `card/`, and
        what the processes said on standard error in `relay_board.err` and `camera_body.err`.
    sitter
        Who is photographed.
    size
        Width and height of the pictures in pixels.
    seed
        Decides the scene's random motion.
    inertia
        Of the lamps and the shutter. The rig knows nothing of it: `capture calibrate` finds it out.
    board
        Kind of relay board, see `relay_codecs.KINDS`.

    Raises
    ------
    HardwareError
        if a device does not come up, or the camera ended by itself while the block failed; the sentence
        holds the device's last words.
    """
    options = ["--sitter", _as_json(sitter), "--size", f"{size[0]}x{size[1]}", "--seed", str(seed)]
    options += ["--lamp-rise", str(inertia.lamp_rise_s), "--lamp-decay", str(inertia.lamp_decay_s)]
    options += ["--shutter-lag", str(inertia.shutter_lag_s)]
    folder = folder.resolve()
    command = [*_module("camera_body"), "--folder", str(folder), *options]
    with studio_with_camera(folder, command, board=board) as rig:
        yield replace(rig, check_faces=True)


@contextmanager
def studio_with_camera(folder: Path, camera_command: Sequence[str], *, board: str = "lcus") -> Iterator[Rig]:
    """Start an emulated studio whose camera process is started by `camera_command`; otherwise as `emulated_studio`.

    The rig leaves unchecked what the photographs show: whatever that camera sees, it need not be a person.
    """
    with emulated_board(folder, board) as rig, ExitStack() as running:
        camera = _Device("camera", camera_command, folder.resolve() / "camera_body.err")
        running.callback(camera.end)
        camera_port = camera.address()
        try:
            yield replace(rig, camera_port=camera_port, camera_lag_s=SHUTTER_LAG_S, check_faces=False)
        except DeepflashError as error:
            if camera.has_failed():
                raise HardwareError(camera.last_words()) from error
            raise


@contextmanager
def emulated_board(folder: Path, kind: str = "lcus") -> Iterator[Rig]:
    """Start an emulated relay board alone; yield a rig that has no camera; end the board when the block ends.

    Parameters
    ----------
    folder
        Gets `lamps.jsonl` and `relay_board.err`, as in a whole studio.
    kind
        Of board, see `relay_codecs.KINDS`.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    command = [*_module("relay_board"), "--board", kind, "--link", str(folder / "relay"), "--log", str(folder / "lamps.jsonl")]
    board = _Device("relay board", command, folder / "relay_board.err")
    try:
        yield Rig(board.address(), "no camera", relay_board=kind, relay_channel=LAMP_CHANNEL)
    finally:
        board.end()


class _Device:
    """An emulator's process, which lives until its standard input ends."""

    def __init__(self, name: str, command: Sequence[str], errors_file: Path) -> None:
        self._name = name
        self._errors = errors_file
        with errors_file.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the session; it still needs the devices to end in good order
            )

    def has_failed(self) -> bool:
        """Tell whether the device ended by itself, or is about to: its sockets close a moment before it does."""
        try:
            return self._process.wait(LAST_MOMENTS_S) != 0
        except subprocess.TimeoutExpired:
            return False

    def address(self) -> str:
        """Wait until the device says where it is reached; HardwareError if it ends first or takes too long."""
        output = self._stream(self._process.stdout)
        poll = select.poll()
        poll.register(output, select.POLLIN)
        said = b""
        deadline = time.monotonic() + START_DEADLINE_S
        while not said.endswith(b"\n"):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise HardwareError(f"the emulated {self._name} was not ready within {START_DEADLINE_S:.0f} s")
            some = os.read(output.fileno(), 4096)
            if not some:
                self._process.wait(END_DEADLINE_S)
                raise HardwareError(self.last_words())
            said += some
        return said.decode().strip()

    def last_words(self) -> str:
        """Say that the device ended, and what it said last."""
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        words = " / ".join(lines[-3:]) or f"exit code {self._process.returncode}"
        return f"the emulated {self._name} ended by itself: {words}"

    def end(self) -> None:
        """End the device by its lifeline; kill it if it does not care."""
        self._stream(self._process.stdin).close()
        try:
            self._process.wait(END_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stream(self._process.stdout).close()

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> IO[bytes]:
        if stream is None:
            raise ValueError("the process was started without this pipe")
        return stream


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"{__package__}.{name}"]


def _as_json(sitter: "SitterChoice") -> str:
    return json.dumps(asdict(sitter), default=os.fspath)
