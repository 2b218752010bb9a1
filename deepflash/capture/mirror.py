"""A second copy of every committed pair, on another disk, read back and compared."""

import os
import shutil
from pathlib import Path

from deepflash.capture.journal import JOURNAL, WITHDRAWN, read_journal
from deepflash.errors import CaptureError
from deepflash.files import durable_folder, sha256_of, write_durably
from deepflash.pairs import SIDECAR


class Mirror:
    """The second tree; laid out as the raw tree, so that it is one if the first disk dies.

    A disk that is full or gone does not stop a session: the pair is safe in the raw tree. What is behind
    is copied at the next pair, or when this or a later session with the same mirror ends.

    Parameters
    ----------
    raw, root
        The tree that is copied, and where to.

    Raises
    ------
    CaptureError
        if one of the two lies in the other: that is no second copy.

    Attributes
    ----------
    fault
        One sentence about what could not be copied when it was last tried; empty if nothing is behind.
    """

    def __init__(self, raw: Path, root: Path) -> None:
        first, second = raw.resolve(), root.resolve()
        if first.is_relative_to(second) or second.is_relative_to(first):
            raise CaptureError(f"the mirror {root} and the raw tree {raw} lie in one another; put the mirror on another disk")
        self._raw = raw
        self.root = root
        self.fault = ""

    def catch_up(self, session: Path) -> None:
        """Bring the copy of a session's folder up to date: committed and withdrawn takes, then the files beside them."""
        copy = self.root / session.relative_to(self._raw)
        try:
            for sidecar in session.glob(f"[!.]*/{SIDECAR}"):
                take = sidecar.parent
                _copy_folder(take, copy / take.name, copy / WITHDRAWN / take.name)
            for take in session.glob(f"{WITHDRAWN}/*"):
                _copy_folder(take, copy / WITHDRAWN / take.name, copy / take.name)
            for file in [*session.parent.glob("[!.]*.json"), *session.glob("[!.]*.json"), *session.glob("orphans/[!.]*")]:
                _copy_file(file, self.root / file.relative_to(self._raw))
            self.fault = ""
        except OSError as error:
            self.fault = (
                f"the second copy in {self.root} is behind ({error}); the pairs are safe in {self._raw}, mend that disk"
            )

    def catch_up_others(self) -> None:
        """Bring finished sessions up to date that had this mirror, for when its disk was away at their end."""
        for path in sorted(self._raw.glob(f"*/*/{JOURNAL}")):
            if not self.fault and self._was_asked_for(path):
                self.catch_up(path.parent)

    def _was_asked_for(self, path: Path) -> bool:
        try:
            journal = read_journal(path)
        except CaptureError:
            return False
        roots = [event.get("root") for event in journal.log if event["what"] == "mirror"]
        return journal.finish is not None and str(self.root) in roots


def _copy_folder(source: Path, target: Path, former: Path) -> None:
    """Copy a folder that is not yet there, or move its copy from its former place; compare what the disk holds."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if former.exists():
        former.rename(target)
        return
    files = [file for file in sorted(source.rglob("*")) if file.is_file()]
    with durable_folder(target) as draft:
        for file in files:
            copy = draft / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            if _sha256_on_disk(copy) != sha256_of(file):
                raise OSError(f"{target} differs from {source} when read back")


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file; one of the same content stays as it is."""
    if not target.exists() or sha256_of(target) != sha256_of(source):
        write_durably(target, source.read_bytes())
        if _sha256_on_disk(target) != sha256_of(source):
            raise OSError(f"{target} differs from {source} when read back")


def _sha256_on_disk(path: Path) -> str:
    """Return the checksum of what the disk holds: written out, and dropped from the page cache where that is possible."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    return sha256_of(path)
