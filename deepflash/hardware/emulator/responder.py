"""Serves a PTP/IP camera on a TCP port: connections, sessions and data phases, for one client at a time.

Command and event connection come in on the same port; libgphoto2 is told so by naming it twice, `ptpip:ADDRESS:PORT:PORT`.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from deepflash.hardware.emulator.ptp import EventCode, ResponseCode
from deepflash.hardware.emulator.ptpip import (
    Data,
    DataPhase,
    EndData,
    Event,
    FailReason,
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

_FIRST_WORDS_S = 5.0  # a client that connects and says nothing is shown out
_HANDOVER_S = 0.5  # how long a new client waits for the one before it to be gone
_CHUNK_BYTES = 2**20


class Delivery(Enum):
    """What becomes of a reply on its way."""

    WHOLE = "it arrives"
    WITHHELD = "nothing is sent"
    BROKEN_OFF = "the connection is closed instead of it"
    CUT = "the connection is closed in the middle of the data"
    STALLED = "the data stops in the middle, for a while"
    SHORT = "less data comes than was announced"


@dataclass(frozen=True)
class Reply:
    """What a camera answers: a code, parameters, the data phase if there is one, and what becomes of it."""

    code: ResponseCode = ResponseCode.OK
    params: tuple[int, ...] = ()
    data: bytes | None = None
    delivery: Delivery = Delivery.WHOLE
    stall_s: float = 0.0


class Session(Protocol):
    """A camera as one client sees it."""

    def perform(self, code: int, transaction: int, params: tuple[int, ...], data: bytes) -> Reply:
        """Carry out an operation."""


@dataclass
class _Client:
    number: int
    commands: socket.socket
    events: socket.socket | None = None
    sending: threading.Lock = field(default_factory=threading.Lock)


class Responder:
    """A PTP/IP responder on a listening socket.

    Parameters
    ----------
    listener
        A bound, listening TCP socket.
    guid, name
        Who the camera says it is.
    open_session
        Called for every client that is let in.
    refuses
        Asked for every client before it is let in.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        guid: bytes,
        name: str,
        open_session: Callable[[], Session],
        refuses: Callable[[], bool] = lambda: False,
    ) -> None:
        self._listener = listener
        self._guid = guid
        self._name = name
        self._open_session = open_session
        self._refuses = refuses
        self._client: _Client | None = None
        self._connections = 0
        self._changed = threading.Condition()

    def serve_forever(self) -> None:
        """Accept connections, each in its own thread."""
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def announce(self, code: EventCode, transaction: int, *params: int) -> None:
        """Send an event to the client, if there is one that listens."""
        client = self._client
        if client is None or client.events is None:
            return
        with client.sending, contextlib.suppress(OSError):  # a client that leaves misses what happens meanwhile
            client.events.sendall(encode_packet(Event(code, transaction, params)))

    def _serve(self, connection: socket.socket) -> None:
        """Let a connection's first packet decide what it is. A peer that breaks off or talks nonsense is let go."""
        with connection, contextlib.suppress(OSError, ProtocolError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(_FIRST_WORDS_S)
            packets = _received(connection)
            first = next(packets, None)
            connection.settimeout(None)
            match first:
                case InitCommandRequest():
                    self._serve_commands(connection, packets)
                case InitEventRequest(number):
                    self._serve_events(connection, packets, number)

    def _serve_commands(self, connection: socket.socket, packets: Iterator[Packet]) -> None:
        client = None if self._refuses() else self._let_in(connection)
        if client is None:
            _send(connection, InitFail(FailReason.BUSY))
            return
        try:
            _send(connection, InitCommandAck(client.number, self._guid, self._name))
            session = self._open_session()
            for packet in packets:
                if isinstance(packet, OperationRequest):
                    _answer(connection, session, packet, packets)
                elif isinstance(packet, ProbeRequest):
                    _send(connection, ProbeResponse())
        finally:
            self._show_out(client)

    def _serve_events(self, connection: socket.socket, packets: Iterator[Packet], number: int) -> None:
        client = self._client
        if client is None or client.number != number or client.events is not None:
            _send(connection, InitFail(FailReason.REJECTED))
            return
        with client.sending:
            _send(connection, InitEventAck())
            client.events = connection
        for packet in packets:
            if isinstance(packet, ProbeRequest):
                with client.sending:
                    _send(connection, ProbeResponse())

    def _let_in(self, connection: socket.socket) -> _Client | None:
        """Make this connection the client, or None while another one is connected: a camera serves one."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._client is None, _HANDOVER_S):
                return None
            self._connections += 1
            self._client = _Client(self._connections, connection)
            return self._client

    def _show_out(self, client: _Client) -> None:
        with self._changed:
            self._client = None
            self._changed.notify_all()
        if client.events is not None:
            with contextlib.suppress(OSError):  # already gone
                client.events.shutdown(socket.SHUT_RDWR)


def _answer(connection: socket.socket, session: Session, request: OperationRequest, packets: Iterator[Packet]) -> None:
    """Have one operation performed and send what comes of it.

    Raises
    ------
    ConnectionAbortedError
        if the reply's delivery is to end the connection.
    """
    data = b"".join(_data_phase(packets)) if request.data_phase == DataPhase.OUT else b""
    reply = session.perform(request.code, request.transaction, request.params, data)
    if reply.delivery is Delivery.BROKEN_OFF:
        raise ConnectionAbortedError
    if reply.delivery is Delivery.WITHHELD:
        return
    if reply.data is not None:
        _send_data(connection, request.transaction, reply.data, reply)
    _send(connection, OperationResponse(reply.code, request.transaction, reply.params))


def _send_data(connection: socket.socket, transaction: int, data: bytes, reply: Reply) -> None:
    _send(connection, StartData(transaction, len(data)))
    if reply.delivery is Delivery.SHORT:
        data = data[: len(data) // 2]
    if reply.delivery in {Delivery.CUT, Delivery.STALLED}:
        _send(connection, Data(transaction, data[: len(data) // 2]))
        if reply.delivery is Delivery.CUT:
            raise ConnectionAbortedError
        time.sleep(reply.stall_s)
        data = data[len(data) // 2 :]
    for start in range(0, len(data), _CHUNK_BYTES):
        piece = data[start : start + _CHUNK_BYTES]
        is_last = start + _CHUNK_BYTES >= len(data)
        _send(connection, (EndData if is_last else Data)(transaction, piece))
    if not data:
        _send(connection, EndData(transaction))


def _data_phase(packets: Iterator[Packet]) -> Iterator[bytes]:
    """Yield what the host sends after a request with data."""
    if not isinstance(next(packets, None), StartData):
        raise ProtocolError("the host announced data and sent none")
    for packet in packets:
        if isinstance(packet, (Data, EndData)):
            yield packet.content
        if isinstance(packet, EndData):
            return
    raise ProtocolError("the connection ended within the data")


def _received(connection: socket.socket) -> Iterator[Packet]:
    buffer = PacketBuffer()
    while content := connection.recv(65536):
        _acknowledge_at_once(connection)
        yield from buffer.feed(content)


def _acknowledge_at_once(connection: socket.socket) -> None:
    """Spare the host 40 ms for each pair of small packets: its Nagle would wait for our delayed acknowledgement."""
    if hasattr(socket, "TCP_QUICKACK"):  # Linux; the option falls back by itself, hence again at each read
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _send(connection: socket.socket, packet: Packet) -> None:
    connection.sendall(encode_packet(packet))
