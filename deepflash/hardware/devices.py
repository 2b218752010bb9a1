"""What is plugged into this computer: serial ports with the relay boards that may hang on them, and USB cameras."""

import time
from dataclasses import dataclass

from deepflash.errors import CameraError, HardwareError
from deepflash.hardware.child import Child
from deepflash.hardware.ports import PortFacts, serial_ports

_SEARCH_LIMIT_S = 20.0


@dataclass(frozen=True)
class FoundCamera:
    """A camera, as a rig file names it: `camera_model` and `camera_port`."""

    model: str
    port: str


@dataclass(frozen=True)
class Devices:
    """What was found. `camera_fault` says in a sentence why no camera could be searched for; mostly empty."""

    ports: tuple[PortFacts, ...]
    cameras: tuple[FoundCamera, ...]
    camera_fault: str = ""


def find_devices() -> Devices:
    """Look for serial ports and USB cameras.

    Cameras on a network (PTP/IP) and phones cannot be found; their address is entered in the rig file.
    """
    ports = tuple(serial_ports())
    try:
        return Devices(ports, find_cameras())
    except CameraError as error:
        return Devices(ports, (), str(error))


def find_cameras(limit_s: float = _SEARCH_LIMIT_S) -> tuple[FoundCamera, ...]:
    """Return the USB cameras that libgphoto2 knows, searched for by a process of its own.

    Raises
    ------
    CameraError
        if the search fails or does not end in time.
    """
    try:
        search = Child("deepflash.hardware.camera_search", [])
        try:
            found = search.receive(time.monotonic() + limit_s)
        finally:
            search.close(grace_s=0.5)
    except HardwareError as error:
        raise CameraError(f"cameras could not be searched for: {error}") from error
    return tuple(FoundCamera(model, port) for model, port in found["cameras"] if port.startswith("usb:"))
