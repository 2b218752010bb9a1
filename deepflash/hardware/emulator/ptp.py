"""PTP (ISO 15740), the camera's side: codes and data sets as bytes. No input or output happens here.

All numbers are little-endian, as PTP/IP and USB carry them.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

ALL = 0xFFFFFFFF
"""In a request: every storage, every object, or (as parent) the root of the storage."""


class OperationCode(IntEnum):
    """What a host can ask (ISO 15740, 10.4)."""

    GET_DEVICE_INFO = 0x1001
    OPEN_SESSION = 0x1002
    CLOSE_SESSION = 0x1003
    GET_STORAGE_IDS = 0x1004
    GET_STORAGE_INFO = 0x1005
    GET_NUM_OBJECTS = 0x1006
    GET_OBJECT_HANDLES = 0x1007
    GET_OBJECT_INFO = 0x1008
    GET_OBJECT = 0x1009
    GET_THUMB = 0x100A
    DELETE_OBJECT = 0x100B
    INITIATE_CAPTURE = 0x100E
    GET_DEVICE_PROP_DESC = 0x1014
    GET_DEVICE_PROP_VALUE = 0x1015
    SET_DEVICE_PROP_VALUE = 0x1016
    GET_PARTIAL_OBJECT = 0x101B


class ResponseCode(IntEnum):
    """How a request ended (ISO 15740, 11.3)."""

    OK = 0x2001
    GENERAL_ERROR = 0x2002
    SESSION_NOT_OPEN = 0x2003
    INVALID_TRANSACTION_ID = 0x2004
    OPERATION_NOT_SUPPORTED = 0x2005
    PARAMETER_NOT_SUPPORTED = 0x2006
    INVALID_STORAGE_ID = 0x2008
    INVALID_OBJECT_HANDLE = 0x2009
    DEVICE_PROP_NOT_SUPPORTED = 0x200A
    STORE_FULL = 0x200C
    OBJECT_WRITE_PROTECTED = 0x200D
    ACCESS_DENIED = 0x200F
    NO_THUMBNAIL_PRESENT = 0x2010
    DEVICE_BUSY = 0x2019
    INVALID_DEVICE_PROP_FORMAT = 0x201B
    INVALID_DEVICE_PROP_VALUE = 0x201C
    INVALID_PARAMETER = 0x201D
    SESSION_ALREADY_OPEN = 0x201E


class EventCode(IntEnum):
    """What a camera says unasked (ISO 15740, 12.5)."""

    OBJECT_ADDED = 0x4002
    STORE_FULL = 0x400A
    CAPTURE_COMPLETE = 0x400D


class PropertyCode(IntEnum):
    """The camera's settings and meters (ISO 15740, 13.3)."""

    BATTERY_LEVEL = 0x5001
    IMAGE_SIZE = 0x5003
    WHITE_BALANCE = 0x5005
    F_NUMBER = 0x5007
    FLASH_MODE = 0x500C
    EXPOSURE_TIME = 0x500D
    EXPOSURE_PROGRAM_MODE = 0x500E
    EXPOSURE_INDEX = 0x500F
    DATE_TIME = 0x5011
    STILL_CAPTURE_MODE = 0x5013


class FormatCode(IntEnum):
    """Kinds of objects (ISO 15740, 6.2)."""

    ASSOCIATION = 0x3001  # a folder
    UNDEFINED = 0x3000  # a file of which the protocol knows no more: RAW files
    EXIF_JPEG = 0x3801


class DataType(IntEnum):
    """Types of property values (ISO 15740, 5.3)."""

    UINT8 = 0x0002
    UINT16 = 0x0004
    UINT32 = 0x0006
    STRING = 0xFFFF


Value = int | str

_LAYOUTS = {DataType.UINT8: "<B", DataType.UINT16: "<H", DataType.UINT32: "<I"}


@dataclass(frozen=True)
class DeviceInfo:
    """Who the camera is and what it can do."""

    manufacturer: str
    model: str
    version: str
    serial_number: str
    operations: Sequence[OperationCode]
    events: Sequence[EventCode]
    properties: Sequence[PropertyCode]

    def encode(self) -> bytes:
        """Return the DeviceInfo data set (ISO 15740, 5.5.1)."""
        standard_version, no_extension, standard_mode = 100, 0, 0
        return b"".join(
            (
                struct.pack("<HIH", standard_version, no_extension, 0),
                encode_string(""),
                struct.pack("<H", standard_mode),
                encode_array("H", self.operations),
                encode_array("H", self.events),
                encode_array("H", self.properties),
                encode_array("H", [FormatCode.EXIF_JPEG]),  # what it captures
                encode_array("H", [FormatCode.ASSOCIATION, FormatCode.EXIF_JPEG]),  # what it can hold
                *(encode_string(text) for text in (self.manufacturer, self.model, self.version, self.serial_number)),
            )
        )


@dataclass(frozen=True)
class StorageInfo:
    """A memory card."""

    capacity_bytes: int
    free_bytes: int
    free_pictures: int
    description: str
    label: str

    def encode(self) -> bytes:
        """Return the StorageInfo data set (ISO 15740, 5.5.3): a removable card with a DCF file system, read and write."""
        removable_ram, dcf, read_write = 4, 3, 0
        sizes = struct.pack("<QQI", self.capacity_bytes, self.free_bytes, self.free_pictures)
        kind = struct.pack("<HHH", removable_ram, dcf, read_write)
        return kind + sizes + encode_string(self.description) + encode_string(self.label)


@dataclass(frozen=True)
class ObjectInfo:
    """A file or folder on the card; sizes in bytes and pixels, `captured` as `YYYYMMDDThhmmss`."""

    storage: int
    format: FormatCode
    name: str
    parent: int
    size_bytes: int = 0
    thumbnail_bytes: int = 0
    thumbnail_size: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (0, 0)
    sequence_number: int = 0
    captured: str = ""

    def encode(self) -> bytes:
        """Return the ObjectInfo data set (ISO 15740, 5.5.2)."""
        is_folder = self.format == FormatCode.ASSOCIATION
        numbers = struct.pack(
            "<IHHIHIIIIIIIHII",
            self.storage,
            self.format,
            0,  # not protected
            min(self.size_bytes, ALL),
            0 if is_folder else FormatCode.EXIF_JPEG,
            self.thumbnail_bytes,
            *self.thumbnail_size,
            *self.size,
            0 if is_folder else 24,  # bits per pixel
            self.parent,
            1 if is_folder else 0,  # a generic folder
            0,
            self.sequence_number,
        )
        return numbers + b"".join(encode_string(text) for text in (self.name, self.captured, self.captured, ""))


@dataclass(frozen=True)
class Property:
    """A property's description: its type, what it may be, and whether a host may change it.

    `choices` is an enumeration of the values allowed, or a `range`; None allows every value of the type.
    """

    code: PropertyCode
    type: DataType
    default: Value
    choices: Sequence[Value] | None = None
    writable: bool = False

    def encode(self, current: Value) -> bytes:
        """Return the DevicePropDesc data set (ISO 15740, 13.3.3) with the current value."""
        head = struct.pack("<HHB", self.code, self.type, self.writable)
        return head + encode_value(self.type, self.default) + encode_value(self.type, current) + self._form()

    def _form(self) -> bytes:
        if self.choices is None:
            return b"\x00"
        if isinstance(self.choices, range):
            bounds = (self.choices[0], self.choices[-1], self.choices.step)
            return b"\x01" + b"".join(encode_value(self.type, bound) for bound in bounds)
        values = b"".join(encode_value(self.type, value) for value in self.choices)
        return b"\x02" + struct.pack("<H", len(self.choices)) + values


def encode_string(text: str) -> bytes:
    """Return a PTP string: the number of UTF-16 units with the closing zero (at most 255), then the units.

    >>> encode_string("A").hex(" "), encode_string("").hex()
    ('02 41 00 00 00', '00')
    """
    if not text:
        return b"\x00"
    units = text.encode("utf-16-le")
    if len(units) > 254 * 2:
        raise ValueError(f"a PTP string has at most 254 characters, not {len(units) // 2}")
    return bytes([len(units) // 2 + 1]) + units + b"\x00\x00"


def decode_string(content: bytes) -> str:
    """Return the text of a PTP string that fills `content`; ValueError if it does not."""
    if content == b"\x00":
        return ""
    if not content or len(content) != 1 + 2 * content[0] or content[-2:] != b"\x00\x00":
        raise ValueError("not a PTP string")
    return content[1:-2].decode("utf-16-le")


def encode_array(layout: str, values: Sequence[int]) -> bytes:
    """Return a PTP array of numbers; `layout` is a letter of `struct` ("H" or "I").

    >>> encode_array("H", [0x1001]).hex(" ")
    '01 00 00 00 01 10'
    """
    return struct.pack(f"<I{len(values)}{layout}", len(values), *values)


def encode_value(kind: DataType, value: Value) -> bytes:
    """Return a property's value as bytes."""
    return encode_string(str(value)) if kind == DataType.STRING else struct.pack(_LAYOUTS[kind], value)


def decode_value(kind: DataType, content: bytes) -> Value:
    """Return a property's value from bytes; ValueError if they are not of that type."""
    if kind == DataType.STRING:
        return decode_string(content)
    if len(content) != struct.calcsize(_LAYOUTS[kind]):
        raise ValueError(f"{len(content)} bytes are not a {kind.name}")
    value: int = struct.unpack(_LAYOUTS[kind], content)[0]
    return value
