"""Where the daemons of this user listen, so that a terminal finds the one that has the rig."""

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deepflash.capture.daemon import Address
from deepflash.errors import CaptureError
from deepflash.files import write_durably
from deepflash.hardware.rig import Rig


def name_of(rig: Rig | None, raw: Path) -> str:
    """Return what tells one rig from another: its ports; for the emulated studio, None, its raw tree."""
    return f"emulated {raw.resolve()}" if rig is None else f"{rig.relay_port} {rig.camera_port}"


@contextmanager
def announced(name: str, address: Address) -> Iterator[None]:
    """Let this user's other programs find the daemon while the block runs; nobody else can read its token."""
    path = _place(name)
    write_durably(path, "")
    path.chmod(0o600)
    path.write_text(json.dumps({"port": address.port, "token": address.token}), encoding="utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def find_daemon(name: str) -> Address | None:
    """Return where the rig's daemon says that it listens, or None. It may have been killed since."""
    try:
        content = json.loads(_place(name).read_text(encoding="utf-8"))
        return Address(int(content["port"]), str(content["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _place(name: str) -> Path:
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return _folder() / f"daemon-{digest}.json"


def _folder() -> Path:
    """Return this user's folder for the time of a login; CaptureError if somebody else got there first."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / "deepflash" if runtime else Path(tempfile.gettempdir()) / f"deepflash-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise CaptureError(f"{folder} is not a folder of this user alone; remove it, or set XDG_RUNTIME_DIR")
    return folder
