"""The emulated camera's memory card: a folder with the file names that cameras use, and their PTP handles.

What is on the card survives the camera process; handles and names never come again, also after deleting.
"""

import io
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

from deepflash.files import write_durably
from deepflash.hardware.emulator.ptp import FormatCode, ObjectInfo, StorageInfo

STORAGE = 0x00010001
TYPICAL_PICTURE_BYTES = 4_000_000
_THUMBNAIL_PX = 160  # the longer side, as DCF has it
_ROOT_HANDLE = 1
_FIRST_PICTURE_HANDLE = 0x00010000
_FIRST_RAW_HANDLE = 0x00800000
_FIRST_FOLDER = 100  # DCF: 100 to 999; also the folder's handle
_PICTURES_IN_FOLDER = 9999  # DCF: 0001 to 9999
_PICTURE_NAME = re.compile(r"(\d{3})DEEPF/IMG_(\d{4})\.(JPG|DNG)")


class CardFullError(Exception):
    """A picture does not fit on the card."""


@dataclass(frozen=True)
class _Preview:
    size: tuple[int, int]
    captured: str
    thumbnail: bytes
    thumbnail_size: tuple[int, int]


_NO_PREVIEW = _Preview((0, 0), "", b"", (0, 0))


class Card:
    """A memory card in a folder, which belongs to this process. Safe to use from several threads.

    Unknown handles raise KeyError. Handles of folders and of pictures can be told apart by `is_folder`.

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
        self._lock = threading.Lock()
        self._previews: dict[int, _Preview] = {}
        _folder_path(self._root, _FIRST_FOLDER).mkdir(parents=True, exist_ok=True)
        self._sizes = {handle: _picture_path(self._root, handle).stat().st_size for handle in _find_pictures(self._root)}

    @property
    def free_bytes(self) -> int:
        with self._lock:
            return max(0, self._capacity_bytes - sum(self._sizes.values()))

    @property
    def newest_shot(self) -> int:
        """The highest shot on the card, -1 if there is none."""
        with self._lock:
            return max(map(_shot_of, self._sizes), default=-1)

    def store(self, shot: int, jpeg: bytes) -> int:
        """Write the picture of a shot (counted from 0); return its handle. CardFullError if it does not fit."""
        return self._store(handle_of(shot), jpeg, _preview(jpeg))

    def store_raw(self, shot: int, content: bytes) -> int:
        """Write the RAW file of a shot; otherwise as `store`."""
        return self._store(_FIRST_RAW_HANDLE + shot, content, _NO_PREVIEW)

    def _store(self, handle: int, content: bytes, preview: _Preview) -> int:
        if len(content) > self.free_bytes:
            raise CardFullError
        write_durably(_picture_path(self._root, handle), content)
        with self._lock:
            self._sizes[handle] = len(content)
            self._previews[handle] = preview
        return handle

    def read(self, handle: int) -> bytes:
        """Return a picture's bytes."""
        with self._lock:
            return self._read(handle)

    def thumbnail(self, handle: int) -> bytes:
        """Return a picture's thumbnail, a small JPEG."""
        with self._lock:
            return self._preview(handle).thumbnail

    def delete(self, handle: int) -> None:
        """Remove a picture."""
        with self._lock:
            del self._sizes[handle]
            self._previews.pop(handle, None)
            _picture_path(self._root, handle).unlink()

    def handles(self, parent: int | None = None) -> list[int]:
        """Return the handles of all folders and pictures, or of those in one folder (0: the card's root)."""
        with self._lock:
            pictures = {handle: _folder_of(handle) for handle in sorted(self._sizes)}
        folders = dict.fromkeys(sorted({_FIRST_FOLDER, *pictures.values()}), _ROOT_HANDLE)
        known = {_ROOT_HANDLE: 0} | folders | pictures
        return [handle for handle, above in known.items() if parent is None or above == parent]

    def info(self, handle: int) -> ObjectInfo:
        """Describe a folder or picture."""
        if is_folder(handle):
            return self._folder_info(handle)
        with self._lock:
            size_bytes = self._sizes[handle]
            preview = self._preview(handle)
        return ObjectInfo(
            STORAGE,
            format_of(handle),
            _name_of(handle),
            parent=_folder_of(handle),
            size_bytes=size_bytes,
            thumbnail_bytes=len(preview.thumbnail),
            thumbnail_size=preview.thumbnail_size,
            size=preview.size,
            sequence_number=_shot_of(handle) + 1,
            captured=preview.captured,
        )

    def storage_info(self) -> StorageInfo:
        """Describe the card."""
        free = self.free_bytes
        return StorageInfo(self._capacity_bytes, free, free // TYPICAL_PICTURE_BYTES, "Emulated memory card", "DEEPFLASH")

    def _folder_info(self, handle: int) -> ObjectInfo:
        if handle not in self.handles():
            raise KeyError(handle)
        path = self._root if handle == _ROOT_HANDLE else _folder_path(self._root, handle)
        parent = 0 if handle == _ROOT_HANDLE else _ROOT_HANDLE
        return ObjectInfo(STORAGE, FormatCode.ASSOCIATION, path.name, parent=parent)

    def _preview(self, handle: int) -> _Preview:
        if handle not in self._previews:
            self._previews[handle] = _NO_PREVIEW if _is_raw(handle) else _preview(self._read(handle))
        return self._previews[handle]

    def _read(self, handle: int) -> bytes:
        if handle not in self._sizes:
            raise KeyError(handle)
        return _picture_path(self._root, handle).read_bytes()


def is_folder(handle: int) -> bool:
    """Tell whether a handle is a folder's."""
    return handle < _FIRST_PICTURE_HANDLE


def handle_of(shot: int) -> int:
    """Return the PTP handle of a shot's picture."""
    return _FIRST_PICTURE_HANDLE + shot


def picture_name(shot: int) -> str:
    """Return the file name of a shot's picture; it comes again after 9999 pictures, in another folder.

    >>> picture_name(0), picture_name(9998), picture_name(9999)
    ('IMG_0001.JPG', 'IMG_9999.JPG', 'IMG_0001.JPG')
    """
    return f"IMG_{shot % _PICTURES_IN_FOLDER + 1:04d}.JPG"


def format_of(handle: int) -> FormatCode:
    """Return the format of a picture's or RAW file's handle."""
    return FormatCode.UNDEFINED if _is_raw(handle) else FormatCode.EXIF_JPEG


def _is_raw(handle: int) -> bool:
    return handle >= _FIRST_RAW_HANDLE


def _shot_of(handle: int) -> int:
    return handle - (_FIRST_RAW_HANDLE if _is_raw(handle) else _FIRST_PICTURE_HANDLE)


def _name_of(handle: int) -> str:
    name = picture_name(_shot_of(handle))
    return name.replace(".JPG", ".DNG") if _is_raw(handle) else name


def _find_pictures(root: Path) -> list[int]:
    names = (_PICTURE_NAME.fullmatch(f"{path.parent.name}/{path.name}") for path in root.glob("*/*.*"))
    return [
        (_FIRST_RAW_HANDLE if name[3] == "DNG" else _FIRST_PICTURE_HANDLE)
        + (int(name[1]) - _FIRST_FOLDER) * _PICTURES_IN_FOLDER + int(name[2]) - 1
        for name in names
        if name
    ]  # fmt: skip


def _folder_of(handle: int) -> int:
    return _FIRST_FOLDER + _shot_of(handle) // _PICTURES_IN_FOLDER


def _folder_path(root: Path, number: int) -> Path:
    return root / f"{number}DEEPF"


def _picture_path(root: Path, handle: int) -> Path:
    return _folder_path(root, _folder_of(handle)) / _name_of(handle)


def _preview(jpeg: bytes) -> _Preview:
    try:
        return _preview_of_whole(jpeg)
    except OSError:  # a picture that was stored in part; a camera lists it nevertheless
        return _NO_PREVIEW


def _preview_of_whole(jpeg: bytes) -> _Preview:
    with Image.open(io.BytesIO(jpeg)) as image:
        size = image.size
        taken = str(image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal, ""))
        image.draft("RGB", (_THUMBNAIL_PX, _THUMBNAIL_PX))  # decodes at an eighth of the size: 13 MP in 30 ms, not 150
        image.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
        small = io.BytesIO()
        image.save(small, "JPEG", quality=75)
        return _Preview(size, taken.replace(":", "").replace(" ", "T"), small.getvalue(), image.size)
