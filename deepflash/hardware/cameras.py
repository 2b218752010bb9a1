"""Every camera behind one narrow interface, chosen by the rig."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from deepflash.hardware.camera import Camera, CameraFacts, CardFile, Shot, Trigger
from deepflash.hardware.phone import PHONE_PORT, PhoneCamera, parse_phone_port, phone_address
from deepflash.hardware.rig import Rig


class CameraDevice(Protocol):
    """What a session needs of a camera; `Camera` says what each part promises.

    After any `CameraError` the connection is not to be trusted: call `reconnect` before the next shot.
    """

    facts: CameraFacts
    orphans: list[tuple[str, str]]
    drifts: list[str]

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def reconnect(self) -> None: ...

    def make_ready(self) -> None: ...

    def shoot(
        self, shots: Sequence[Shot], *, at_s: float, folder: Path, on_trigger: Callable[[int, Trigger], None]
    ) -> list[CardFile]: ...

    def delete(self, files: Sequence[CardFile]) -> None: ...


def what_camera_waits_for(rig: Rig) -> str:
    """Return the sentence that tells a person what this rig's camera needs before it can be opened; empty if nothing.

    Raises
    ------
    CameraError
        as `open_camera`.
    """
    if not rig.camera_port.startswith(PHONE_PORT):
        return ""
    return f"Waiting for the phone. Open {phone_address(rig.camera_port)} in its browser and tap Start."


def open_camera(rig: Rig) -> CameraDevice:
    """Return the rig's camera, not yet connected: the phone for `phone:PORT`, else one that libgphoto2 knows.

    Raises
    ------
    CameraError
        if a `phone:` port is not as `phone.parse_phone_port` wants it.
    """
    if rig.camera_port.startswith(PHONE_PORT):
        port, mode = parse_phone_port(rig.camera_port)
        return PhoneCamera(port, mode, rig.camera_settings)
    return Camera(
        rig.camera_port,
        rig.camera_model,
        quiet_s=rig.quiet_s,
        settings=rig.camera_settings,
        fetch_twice=rig.fetch_twice,
    )
