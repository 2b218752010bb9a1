"""Serial ports: which there are, what hangs on them, and a port that is found again after its cable was pulled.

A port is named by a device (`/dev/ttyUSB0`, or better the name under `/dev/serial/by-id`, which stays the same) or by
a URL of pyserial (`socket://host:port`, `rfc2217://host:port`, `hwgrep://text-in-the-description`).
"""

import errno
import os
import termios
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import serial
from serial.tools import list_ports

from deepflash.errors import RelayError
from deepflash.hardware.relay import boards_with_chip

# What a port can raise: termios.error is no OSError, and pyserial has ValueError for URLs that it does not know.
PORT_ERRORS = (serial.SerialException, OSError, termios.error, ValueError)

_BY_ID = Path("/dev/serial/by-id")
_WRITE_LIMIT_S = 0.3
_IN_USE = {errno.EAGAIN, errno.EBUSY}
_NOT_SERIAL = {errno.EISDIR, errno.ENOTTY}  # a folder, an ordinary file


@dataclass(frozen=True)
class PortFacts:
    """A serial port of this computer.

    Attributes
    ----------
    path
        Its device.
    lasting_name
        A name that leads to it also after it was unplugged; None where the system gives none.
    description
        What the device says of itself.
    vendor, product
        USB ids; None if it is no USB device.
    serial_number, location
        What tells two of a kind apart: the chip's number, where it has one, and the USB socket.
    boards
        Names of the relay boards that are sold with such a chip; other devices have it, too.
    """

    path: str
    lasting_name: str | None
    description: str
    vendor: int | None
    product: int | None
    serial_number: str | None
    location: str | None
    boards: tuple[str, ...]

    def is_same_device(self, other: "PortFacts") -> bool:
        """Tell whether this is the other, perhaps plugged in again: by number, or by socket for chips without one."""
        if (self.vendor, self.product) != (other.vendor, other.product) or self.vendor is None:
            return False
        if self.serial_number or other.serial_number:
            return self.serial_number == other.serial_number
        return self.location is not None and self.location == other.location


def serial_ports() -> list[PortFacts]:
    """Return the serial ports of this computer, those with a USB device first."""
    names = _lasting_names()
    found = [
        PortFacts(
            port.device,
            names.get(os.path.realpath(port.device)),
            str(port.description),
            port.vid,
            port.pid,
            port.serial_number,
            port.location,
            boards_with_chip(port.vid, port.pid),
        )
        for port in list_ports.comports()
    ]
    return sorted(found, key=lambda port: (port.vendor is None, port.path))


def find_again(lost: PortFacts, ports: Iterable[PortFacts]) -> str | None:
    """Return the device under which a lost port is there again; None if it is not."""
    return next((port.path for port in ports if port.is_same_device(lost)), None)


class SerialPort:
    """A serial port that this process alone uses, and that can be opened again after a failure.

    Every method may raise one of `PORT_ERRORS`; `sentence` makes a sentence of it.

    Parameters
    ----------
    name
        Device or pyserial URL.
    baud_rate
        Of the line; 8 data bits, no parity, 1 stop bit.
    """

    def __init__(self, name: str, baud_rate: int) -> None:
        self._name = name
        self._baud_rate = baud_rate
        self._port: serial.SerialBase | None = None
        self._facts: PortFacts | None = None

    @property
    def is_open(self) -> bool:
        return self._port is not None

    def open_within(self, limit_s: float) -> None:
        """Open the port; wait for another program that is about to let it go.

        Raises
        ------
        RelayError
            if it is missing, not allowed, not a serial port, or in use.
        """
        until_s = time.monotonic() + limit_s
        while True:
            try:
                self.open()
                return
            except PORT_ERRORS as error:
                in_use = isinstance(error, OSError) and error.errno in _IN_USE
                if not in_use or time.monotonic() > until_s:
                    raise RelayError(self.sentence(error)) from error
                time.sleep(0.05)

    def open(self) -> None:
        """Open the port once; where a USB device has come back under another name, open that."""
        ports = [] if "://" in self._name else serial_ports()
        device = self._name
        here = _facts_of(device, ports)
        if self._facts is not None and (here is None or not here.is_same_device(self._facts)):
            device = find_again(self._facts, ports) or device
            here = _facts_of(device, ports)
            if here is not None and not here.is_same_device(self._facts):
                raise FileNotFoundError(2, "another device is there", device)
        # RFC 2217 knows no limit for writing
        write_limit_s = None if device.startswith("rfc2217://") else _WRITE_LIMIT_S
        self._port = serial.serial_for_url(device, self._baud_rate, timeout=0, write_timeout=write_limit_s, exclusive=True)
        if here is not None and here.vendor is not None:  # a built-in port is known by its name alone
            self._facts = here

    def write(self, content: bytes) -> None:
        """Write some bytes and wait until the system has passed them on."""
        port = self._opened()
        port.write(content)
        port.flush()

    def read(self) -> bytes:
        """Return what has come; waits for nothing."""
        return bytes(self._opened().read(4096))

    def close(self) -> None:
        """Close the port, whatever state it is in."""
        if self._port is not None:
            with suppress(*PORT_ERRORS):  # an unplugged port may refuse even this; it is given up anyway
                self._port.close()
        self._port = None

    def sentence(self, error: BaseException) -> str:
        """Say what an error of this port means."""
        number = _error_number(error)
        if number == errno.ENOENT:
            return f"relay port {self._name} does not exist; plug the board in, or name another port in the rig file"
        if number == errno.EACCES:
            return f"relay port {self._name} may not be opened by this user; join the group that owns it (often dialout)"
        if number in _NOT_SERIAL or isinstance(error, ValueError):
            return (
                f"relay port {self._name!r} is no serial port; name the board's in the rig file, best as /dev/serial/by-id/..."
            )
        if number in _IN_USE:
            return f"relay port {self._name} is in use by another program; end that program"
        return f"relay port {self._name} failed ({error}); check the cable and the power of the relay board"

    def _opened(self) -> serial.SerialBase:
        if self._port is None:
            raise OSError("the port is gone")
        return self._port


def _error_number(error: BaseException) -> int | None:
    """Return the system's number of an error; pyserial drops that of a port which cannot be configured."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    cause = error if isinstance(error, termios.error) else error.__context__
    return int(cause.args[0]) if isinstance(cause, termios.error) else None


def _facts_of(device: str, ports: Iterable[PortFacts]) -> PortFacts | None:
    real = os.path.realpath(device)
    return next((port for port in ports if os.path.realpath(port.path) == real), None)


def _lasting_names() -> dict[str, str]:
    """Return the names under `/dev/serial/by-id` by what they lead to."""
    if not _BY_ID.is_dir():
        return {}
    return {os.path.realpath(link): str(link) for link in sorted(_BY_ID.iterdir())}
