"""PTP/IP (CIPA DC-005): the packets that carry PTP over TCP, as bytes. No input or output happens here.

Each packet is its length and its type as 32-bit little-endian numbers, then the payload.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

MAX_PACKET_BYTES = 64 * 2**20
PROTOCOL_VERSION = 0x00010000

_HEADER = struct.Struct("<II")


class ProtocolError(ValueError):
    """The peer sent what is not PTP/IP."""


class FailReason(IntEnum):
    """Why a connection is refused."""

    REJECTED = 1
    BUSY = 2
    UNSPECIFIED = 3


class DataPhase(IntEnum):
    """Whether data follows the host's request."""

    NONE_OR_IN = 1
    OUT = 2


@dataclass(frozen=True)
class InitCommandRequest:
    """The host's first words on the command connection."""

    guid: bytes
    name: str
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True)
class InitCommandAck:
    """The camera's answer; the number ties the event connection to this one."""

    connection: int
    guid: bytes
    name: str
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True)
class InitEventRequest:
    """The host's first words on the event connection."""

    connection: int


@dataclass(frozen=True)
class InitEventAck:
    """The event connection stands."""


@dataclass(frozen=True)
class InitFail:
    """The connection is refused."""

    reason: int


@dataclass(frozen=True)
class OperationRequest:
    """A PTP operation with up to five parameters."""

    data_phase: int
    code: int
    transaction: int
    params: tuple[int, ...] = ()


@dataclass(frozen=True)
class OperationResponse:
    """How an operation ended."""

    code: int
    transaction: int
    params: tuple[int, ...] = ()


@dataclass(frozen=True)
class Event:
    """Something that happened in the camera."""

    code: int
    transaction: int
    params: tuple[int, ...] = ()


@dataclass(frozen=True)
class StartData:
    """Data of `total` bytes follows."""

    transaction: int
    total: int


@dataclass(frozen=True)
class Data:
    """A piece of data that is not the last."""

    transaction: int
    content: bytes


@dataclass(frozen=True)
class Cancel:
    """The host no longer wants a transaction's data."""

    transaction: int


@dataclass(frozen=True)
class EndData:
    """The last piece of data."""

    transaction: int
    content: bytes = b""


@dataclass(frozen=True)
class ProbeRequest:
    """A question whether the other side is still there."""


@dataclass(frozen=True)
class ProbeResponse:
    """The answer that it is."""


Packet = (
    InitCommandRequest
    | InitCommandAck
    | InitEventRequest
    | InitEventAck
    | InitFail
    | OperationRequest
    | OperationResponse
    | Event
    | StartData
    | Data
    | Cancel
    | EndData
    | ProbeRequest
    | ProbeResponse
)

_PACKETS: dict[int, tuple[Callable[..., Packet], str]] = {
    1: (InitCommandRequest, "guid name u32"),
    2: (InitCommandAck, "u32 guid name u32"),
    3: (InitEventRequest, "u32"),
    4: (InitEventAck, ""),
    5: (InitFail, "u32"),
    6: (OperationRequest, "u32 u16 u32 params"),
    7: (OperationResponse, "u16 u32 params"),
    8: (Event, "u16 u32 params"),
    9: (StartData, "u32 u64"),
    10: (Data, "u32 rest"),
    11: (Cancel, "u32"),
    12: (EndData, "u32 rest"),
    13: (ProbeRequest, ""),
    14: (ProbeResponse, ""),
}
"""Each packet's type, its class, and how its fields follow each other in the payload."""

_TYPES = {packet: number for number, (packet, _) in _PACKETS.items()}
_NUMBERS = {"u16": struct.Struct("<H"), "u32": struct.Struct("<I"), "u64": struct.Struct("<Q")}
_GUID_BYTES = 16


def encode_packet(packet: Packet) -> bytes:
    """Return a packet as bytes.

    >>> encode_packet(InitFail(FailReason.BUSY)).hex(" ")
    '0c 00 00 00 05 00 00 00 02 00 00 00'
    """
    number = _TYPES[type(packet)]
    values = (getattr(packet, field.name) for field in fields(packet))
    layout = _PACKETS[number][1].split()
    payload = b"".join(_encode_field(kind, value) for kind, value in zip(layout, values, strict=True))
    return _HEADER.pack(_HEADER.size + len(payload), number) + payload


class PacketBuffer:
    """Cuts a stream of bytes into packets, however TCP has cut it."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, content: bytes) -> list[Packet]:
        """Take bytes; return the packets that they complete. ProtocolError if they are not PTP/IP."""
        self._held += content
        packets = []
        while len(self._held) >= _HEADER.size:
            length, kind = _HEADER.unpack_from(self._held)
            if not _HEADER.size <= length <= MAX_PACKET_BYTES:
                raise ProtocolError(f"a packet of {length} bytes is not PTP/IP")
            if len(self._held) < length:
                break
            packets.append(_decode_payload(kind, bytes(self._held[_HEADER.size : length])))
            del self._held[:length]
        return packets


def _encode_field(kind: str, value: Any) -> bytes:
    match kind:
        case "name":
            return str(value).encode("utf-16-le") + b"\x00\x00"
        case "params":
            return struct.pack(f"<{len(value)}I", *value)
        case "guid" | "rest":
            return bytes(value)
        case _:
            return _NUMBERS[kind].pack(value)


def _decode_payload(number: int, payload: bytes) -> Packet:
    if number not in _PACKETS:
        raise ProtocolError(f"there is no PTP/IP packet of type {number}")
    packet, layout = _PACKETS[number]
    values, at = [], 0
    try:
        for kind in layout.split():
            value, at = _decode_field(kind, payload, at)
            values.append(value)
    except (struct.error, ValueError) as error:
        raise ProtocolError(f"a packet of type {number} with {len(payload)} bytes of payload is damaged ({error})") from error
    return packet(*values)


def _decode_field(kind: str, payload: bytes, at: int) -> tuple[Any, int]:
    """Return a field's value and where the next field begins."""
    match kind:
        case "name":
            end = at
            while payload[end : end + 2] != b"\x00\x00":
                if end >= len(payload):
                    raise ProtocolError("a name without its end")
                end += 2
            return payload[at:end].decode("utf-16-le"), end + 2
        case "params":
            count = (len(payload) - at) // 4
            return struct.unpack_from(f"<{count}I", payload, at), len(payload)
        case "guid":
            if len(payload) < at + _GUID_BYTES:
                raise ProtocolError("a GUID of less than 16 bytes")
            return payload[at : at + _GUID_BYTES], at + _GUID_BYTES
        case "rest":
            return payload[at:], len(payload)
        case _:
            (value,) = _NUMBERS[kind].unpack_from(payload, at)
            return value, at + _NUMBERS[kind].size
