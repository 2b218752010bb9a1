"""The emulated camera's memory card: a folder with the file names that cameras use, and their PTP handles.

What is on the card survives the camera process; handles and names never come again, also after deleting.
"""

import io
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from deepflash.files import write_durably
from deepflash.hardware.emulator.ptp import FormatCode, ObjectInfo, StorageInfo

STORAGE = 0x00010001
THUMBNAIL_SIZE = (160, 120)  # DCF's, either way round
_ROOT_HANDLE = 1
_FIRST_PICTURE_HANDLE = 0x00010000
_FIRST_FOLDER = 100  # DCF: 100 to 999
_PICTURES_IN_FOLDER = 9999  # DCF: 0001 to 9999
_PICTURE_NAME = re.compile(r"(\d{3})DEEPF/IMG_(\d{4})\.JPG")
_TYPICAL_PICTURE_BYTES = 4_000_000


@dataclass(frozen=True)
class _Preview:
    size: tuple[int, int]
    thumbnail: bytes
    thumbnail_size: tuple[int, int]


class Card:
    """A memory card in a folder, safe to use from several threads.

    Parameters
    ----------
    folder
        Where `DCIM` lies or will lie.
    capacity_bytes
        What the card holds.
    """

    def __init__(self, folder: Path, *, capacity_bytes: int) -> None:
        self._root = folder / "DCIM"
        self._capacity_bytes = capacity_bytes
        self._previews: dict[int, _Preview] = {}
        self._lock = threading.Lock()
        _folder_path(self._root, _FIRST_FOLDER).mkdir(parents=True, exist_ok=True)

    def store(self, shot: int, jpeg: bytes) -> int:
        """Write the picture of a shot; return its handle. Shots are counted from 0."""
        handle = handle_of(shot)
        path = self._path(handle)
        preview = _preview(jpeg)
        with self._lock:
            path.parent.mkdir(exist_ok=True)
            write_durably(path, jpeg)
            self._previews[handle] = preview
        return handle

    def read(self, handle: int) -> bytes:
        """Return a picture's bytes; KeyError if there is no such picture."""
        with self._lock:
            return self._read(handle)

    def thumbnail(self, handle: int) -> bytes:
        """Return a picture's thumbnail, a small JPEG; KeyError if there is no such picture."""
        with self._lock:
            return self._preview(handle).thumbnail

    def delete(self, handle: int) -> None:
        """Remove a picture; KeyError if there is no such picture."""
        with self._lock:
            self._existing(handle).unlink()
            self._previews.pop(handle, None)

    def handles(self, parent: int | None = None) -> list[int]:
        """Return the handles of all folders and pictures, or of those in one folder (0: the card's root)."""
        with self._lock:
            folders = [int(path.name[:3]) for path in self._root.glob("[0-9][0-9][0-9]DEEPF")]
            known = {_ROOT_HANDLE: 0} | dict.fromkeys(sorted(folders), _ROOT_HANDLE)
            pictures = {handle: _folder_of(handle) for handle in self._pictures()}
        known |= pictures
        return [handle for handle, above in known.items() if parent is None or above == parent]

    def info(self, handle: int) -> ObjectInfo:
        """Describe a folder or picture; KeyError if there is none."""
        if handle == _ROOT_HANDLE:
            return ObjectInfo(STORAGE, FormatCode.ASSOCIATION, self._root.name, parent=0)
        with self._lock:
            if handle < _FIRST_PICTURE_HANDLE:
                folder = _folder_path(self._root, handle)
                if not folder.is_dir():
                    raise KeyError(handle)
                return ObjectInfo(STORAGE, FormatCode.ASSOCIATION, folder.name, parent=_ROOT_HANDLE)
            return self._picture_info(handle)

    def storage_info(self) -> StorageInfo:
        """Describe the card."""
        free = self.free_bytes
        return StorageInfo(self._capacity_bytes, free, free // _TYPICAL_PICTURE_BYTES, "Emulated memory card", "DEEPFLASH")

    @property
    def free_bytes(self) -> int:
        with self._lock:
            used = sum(self._path(handle).stat().st_size for handle in self._pictures())
        return max(0, self._capacity_bytes - used)

    @property
    def newest_shot(self) -> int:
        """The highest shot on the card, -1 if there is none."""
        with self._lock:
            return max(self._pictures(), default=_FIRST_PICTURE_HANDLE - 1) - _FIRST_PICTURE_HANDLE

    def _pictures(self) -> list[int]:
        names = (_PICTURE_NAME.fullmatch(f"{path.parent.name}/{path.name}") for path in self._root.glob("*/*.JPG"))
        return sorted(
            handle_of((int(name[1]) - _FIRST_FOLDER) * _PICTURES_IN_FOLDER + int(name[2]) - 1) for name in names if name
        )

    def _picture_info(self, handle: int) -> ObjectInfo:
        path = self._existing(handle)
        preview = self._preview(handle)
        return ObjectInfo(
            STORAGE,
            FormatCode.EXIF_JPEG,
            path.name,
            parent=_folder_of(handle),
            size_bytes=path.stat().st_size,
            thumbnail_bytes=len(preview.thumbnail),
            thumbnail_size=preview.thumbnail_size,
            size=preview.size,
            sequence_number=handle - _FIRST_PICTURE_HANDLE + 1,
            captured=_captured(path),
        )

    def _preview(self, handle: int) -> _Preview:
        if handle not in self._previews:
            self._previews[handle] = _preview(self._read(handle))
        return self._previews[handle]

    def _read(self, handle: int) -> bytes:
        return self._existing(handle).read_bytes()

    def _existing(self, handle: int) -> Path:
        if handle < _FIRST_PICTURE_HANDLE or not (path := self._path(handle)).is_file():
            raise KeyError(handle)
        return path

    def _path(self, handle: int) -> Path:
        return _folder_path(self._root, _folder_of(handle)) / picture_name(handle - _FIRST_PICTURE_HANDLE)


def handle_of(shot: int) -> int:
    """Return the PTP handle of a shot's picture."""
    return _FIRST_PICTURE_HANDLE + shot


def picture_name(shot: int) -> str:
    """Return the file name of a shot's picture.

    >>> picture_name(0), picture_name(9999)
    ('IMG_0001.JPG', 'IMG_0001.JPG')
    """
    return f"IMG_{shot % _PICTURES_IN_FOLDER + 1:04d}.JPG"


def _folder_of(handle: int) -> int:
    return _FIRST_FOLDER + (handle - _FIRST_PICTURE_HANDLE) // _PICTURES_IN_FOLDER


def _folder_path(root: Path, number: int) -> Path:
    return root / f"{number}DEEPF"


def _preview(jpeg: bytes) -> _Preview:
    with Image.open(io.BytesIO(jpeg)) as image:
        size = image.size
        image.draft("RGB", THUMBNAIL_SIZE)  # decodes at an eighth of the size: 30 ms instead of 150 at 13 MP
        image.thumbnail((max(THUMBNAIL_SIZE), max(THUMBNAIL_SIZE)))
        small = io.BytesIO()
        image.save(small, "JPEG", quality=75)
        return _Preview(size, small.getvalue(), image.size)


def _captured(path: Path) -> str:
    with Image.open(path) as image:
        stamp = str(image.getexif().get_ifd(0x8769).get(0x9003, ""))
    return stamp.replace(":", "").replace(" ", "T")
