"""PTP/IP packets, against bytes written down from CIPA DC-005."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepflash.hardware.emulator.ptpip import (
    Cancel,
    Data,
    EndData,
    Event,
    InitCommandAck,
    InitCommandRequest,
    InitEventAck,
    InitEventRequest,
    InitFail,
    OperationRequest,
    OperationResponse,
    Packet,
    PacketBuffer,
    ProbeRequest,
    ProbeResponse,
    ProtocolError,
    StartData,
    encode_packet,
)

GUID = bytes(range(16))
VECTORS: list[tuple[str, Packet]] = [
    (f"22 00 00 00 01 00 00 00 {GUID.hex()} 61 00 C4 00 00 00 00 00 01 00", InitCommandRequest(GUID, "aÄ", 0x10000)),
    (f"22 00 00 00 02 00 00 00 07 00 00 00 {GUID.hex()} 00 00 00 00 01 00", InitCommandAck(7, GUID, "", 0x10000)),
    ("0C 00 00 00 03 00 00 00 07 00 00 00", InitEventRequest(7)),
    ("08 00 00 00 04 00 00 00", InitEventAck()),
    ("0C 00 00 00 05 00 00 00 02 00 00 00", InitFail(2)),
    ("16 00 00 00 06 00 00 00 01 00 00 00 02 10 03 00 00 00 01 00 00 00", OperationRequest(1, 0x1002, 3, (1,))),
    ("0E 00 00 00 07 00 00 00 01 20 03 00 00 00", OperationResponse(0x2001, 3)),
    ("12 00 00 00 08 00 00 00 02 40 04 00 00 00 05 00 00 00", Event(0x4002, 4, (5,))),
    ("14 00 00 00 09 00 00 00 04 00 00 00 02 00 00 00 00 00 00 00", StartData(4, 2)),
    ("0D 00 00 00 0A 00 00 00 04 00 00 00 FF", Data(4, b"\xff")),
    ("0C 00 00 00 0B 00 00 00 04 00 00 00", Cancel(4)),
    ("0C 00 00 00 0C 00 00 00 04 00 00 00", EndData(4)),
    ("08 00 00 00 0D 00 00 00", ProbeRequest()),
    ("08 00 00 00 0E 00 00 00", ProbeResponse()),
]


@pytest.mark.parametrize(("content", "packet"), VECTORS, ids=[type(packet).__name__ for _, packet in VECTORS])
def test_packets_are_the_bytes_of_the_standard(content: str, packet: Packet) -> None:
    assert encode_packet(packet) == bytes.fromhex(content)
    assert PacketBuffer().feed(bytes.fromhex(content)) == [packet]


@given(st.lists(st.integers(1, 40)))
def test_packets_are_found_however_tcp_cuts_the_stream(cuts: list[int]) -> None:
    stream = b"".join(bytes.fromhex(content) for content, _ in VECTORS)
    buffer, packets, at = PacketBuffer(), [], 0
    for length in [*cuts, len(stream)]:
        packets += buffer.feed(stream[at : at + length])
        at += length
    assert packets == [packet for _, packet in VECTORS]


@pytest.mark.parametrize(
    "content",
    [
        "07 00 00 00 04 00 00 00",  # shorter than its header
        "00 00 00 80 0A 00 00 00",  # two gigabytes
        "08 00 00 00 63 00 00 00",  # no such type
        "0A 00 00 00 03 00 00 00 07 00",  # a payload cut short
        "1A 00 00 00 01 00 00 00 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 61 00",  # a name without end
        "0A 00 00 00 01 00 00 00 00 01",  # a GUID cut short
        "47 45 54 20 2F 20 48 54",  # GET / HT(TP)
    ],
)
def test_what_is_not_ptpip_is_refused(content: str) -> None:
    with pytest.raises(ProtocolError):
        PacketBuffer().feed(bytes.fromhex(content))


@given(st.integers(1, 14), st.binary(max_size=40))
def test_a_damaged_payload_is_a_packet_or_a_protocol_error_and_nothing_else(kind: int, payload: bytes) -> None:
    content = (8 + len(payload)).to_bytes(4, "little") + kind.to_bytes(4, "little") + payload
    with suppress(ProtocolError):
        assert len(PacketBuffer().feed(content)) == 1
