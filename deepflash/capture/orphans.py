"""Photographs that failed attempts and killed programs left on the camera's card: kept, told apart, and cleared away.

Names are no identity (two cameras both store IMG_0001.JPG), so what is found is fetched and known by its content: what
is in a pair already only leaves the card; everything else goes into `orphans/` of the session first. What was on the
card before the session is not touched: it is written down in `card.json` before the first photograph.
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from deepflash.errors import CameraError, CaptureError
from deepflash.files import durable_file, sha256_of, temporary_folder, write_sealed_json
from deepflash.hardware.camera import Camera, CardFile
from deepflash.pairs import Pair

CARD = "card.json"
FOLDER = "orphans"
CARD_FORMAT = 1

_KEPT_DIGITS = 12  # of the checksum, in the names of what is kept

CardPaths = frozenset[tuple[str, str]]


def note_card(camera: Camera, session: Path) -> CardPaths:
    """Return what was on the card before the session's first photograph; write it down if that is to come.

    Parameters
    ----------
    camera
        Connected.
    session
        The session's folder.

    Raises
    ------
    CaptureError
        if what was written down is damaged.
    """
    path = session / CARD
    serial_number = camera.facts.settings.get("serialnumber", "")
    cameras: dict[str, list[list[str]]] = {}
    if path.exists():
        try:
            cameras = json.loads(path.read_text(encoding="utf-8"))["cameras"]
            if serial_number in cameras:
                return frozenset((folder, name) for folder, name in cameras[serial_number])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CaptureError(f"{path} is damaged ({error}); remove it, what is on the card then stays there") from error
    cameras[serial_number] = [list(found) for found in sorted(camera.card)]
    write_sealed_json(path, {"format": CARD_FORMAT, "cameras": cameras})
    return camera.card


def clear_orphans(camera: Camera, session: Path, before: CardPaths, pairs: Iterable[Pair]) -> tuple[str, ...]:
    """Clear the card of the session's photographs: those not in a pair are kept in `orphans/`; return their names.

    A camera that fails meanwhile keeps the rest; nothing leaves the card before it is safe.

    Parameters
    ----------
    camera
        Connected.
    session
        The session's folder.
    before
        From `note_card`.
    pairs
        The session's pairs.
    """
    committed = {
        said["sha256"] for pair in pairs for part in ("files", "beside") for said in pair.record.get(part, {}).values()
    }
    kept: list[str] = []
    try:
        for place in sorted(camera.card - before):
            with temporary_folder(session) as folder:
                (file,) = camera.fetch([place], folder)
                sha256 = sha256_of(file.path)
                if sha256 not in committed:
                    kept.append(_keep(file, sha256, session / FOLDER))
            camera.delete([file])
    except CameraError:
        return tuple(kept)
    return tuple(kept)


def _keep(file: CardFile, sha256: str, folder: Path) -> str:
    target = folder / f"{sha256[:_KEPT_DIGITS]}-{Path(file.name).name}"
    with file.path.open("rb") as source, durable_file(target) as copy:
        shutil.copyfileobj(source, copy)
    if sha256_of(target) != sha256:
        raise CaptureError(f"{target} is not what was copied to it; check that disk")
    return target.name
