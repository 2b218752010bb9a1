"""Child processes that are told, and answer, one JSON object per line, with a deadline on every answer.

A child is its own session, so that Ctrl-C in the terminal reaches only the parent, which then lets the
child end in order. When the parent dies, of whatever, the child reads the end of its input.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any, cast

from deepflash.errors import HardwareError


class ChildGoneError(HardwareError):
    """The child process has ended."""


class ChildSilentError(HardwareError):
    """The child process did not answer in time."""


class Child:
    """A Python module run as a process of its own, with pipes to it. Not for use by several threads.

    Raises
    ------
    ChildGoneError
        if the machine has no room for another process.
    """

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        self.module = module
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except OSError as error:
            self._errors.close()
            raise ChildGoneError(f"{module} could not be started: {error}") from error
        self._input = cast(IO[bytes], self._process.stdin)  # pipes, as asked for
        self._output = cast(IO[bytes], self._process.stdout)
        self._received = bytearray()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Send one message.

        Raises
        ------
        ChildGoneError
            if the child has ended.
        """
        try:
            self._input.write(json.dumps(message).encode() + b"\n")
            self._input.flush()
        except (BrokenPipeError, ValueError) as error:  # ValueError: closed by us
            raise ChildGoneError(self._last_words()) from error

    def receive(self, until_s: float) -> dict[str, Any]:
        """Return the next message.

        Parameters
        ----------
        until_s
            The deadline on `time.monotonic`.

        Raises
        ------
        ChildGoneError
            if the child has ended and everything it said has been received.
        ChildSilentError
            if no whole message has come by the deadline.
        """
        while b"\n" not in self._received:
            self._read_some(until_s)
        line, _, rest = self._received.partition(b"\n")
        self._received = rest
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ChildGoneError(f"{self.module} said {message!r}, which is no message")
        return message

    def kill(self) -> None:
        """End the child at once (SIGKILL)."""
        self._process.kill()
        self.close(grace_s=5.0)

    def close(self, grace_s: float) -> None:
        """Close the child's input, which asks it to end; kill it if it has not after `grace_s`."""
        with suppress(BrokenPipeError):  # what was still to be sent finds no reader: it is gone already
            self._input.close()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()
        self._errors.close()

    def _read_some(self, until_s: float) -> None:
        descriptor = self._output.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(max(0.0, until_s - time.monotonic()) * 1000):
            raise ChildSilentError(f"{self.module} did not answer in time")
        some = os.read(descriptor, 65536)
        if not some:
            raise ChildGoneError(self._last_words())
        self._received += some

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"{self.module} has ended" + (f": {lines[-1]}" if lines else "")
