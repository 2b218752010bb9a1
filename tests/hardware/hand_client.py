"""A PTP/IP client written from the standards with `struct` alone, to face the emulated camera with an independent one."""

import socket
import struct
from contextlib import ExitStack
from dataclasses import dataclass

PATIENCE_S = 20.0
OK = 0x2001


@dataclass(frozen=True)
class Answer:
    """A response: its code, its parameters, and the data that came before it."""

    code: int
    params: tuple[int, ...]
    data: bytes


def connect(port: int) -> socket.socket:
    """Open a TCP connection with a deadline on everything."""
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def send(connection: socket.socket, kind: int, payload: bytes) -> None:
    """Send one packet."""
    connection.sendall(struct.pack("<II", 8 + len(payload), kind) + payload)


def receive(connection: socket.socket) -> tuple[int, bytes]:
    """Return one packet's type and payload."""
    length, kind = struct.unpack("<II", _exactly(connection, 8))
    return kind, _exactly(connection, length - 8)


def _exactly(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        some = connection.recv(count - len(content))
        if not some:
            raise EOFError("the camera closed the connection")
        content += some
    return content


def say_hello(connection: socket.socket) -> tuple[int, bytes]:
    """Send an InitCommandRequest; return the answer's type and payload."""
    send(connection, 1, bytes(16) + "hand".encode("utf-16-le") + b"\0\0" + struct.pack("<I", 0x10000))
    return receive(connection)


class HandClient:
    """Both connections and an open session."""

    def __init__(self, port: int, *, open_session: bool = True) -> None:
        self._transaction = 0
        with ExitStack() as on_failure:
            self.commands = on_failure.enter_context(connect(port))
            kind, payload = say_hello(self.commands)
            assert kind == 2, f"the camera answered with packet type {kind}"
            self.events = on_failure.enter_context(connect(port))
            send(self.events, 3, payload[:4])
            assert receive(self.events) == (4, b"")
            if open_session:
                assert self.ask(0x1002, 1).code == OK
            on_failure.pop_all()

    def ask(self, code: int, *params: int, data: bytes | None = None) -> Answer:
        """Perform an operation; `data` is sent along with it."""
        self._transaction += 1
        phase = 1 if data is None else 2
        send(self.commands, 6, struct.pack(f"<IHI{len(params)}I", phase, code, self._transaction, *params))
        if data is not None:
            send(self.commands, 9, struct.pack("<IQ", self._transaction, len(data)))
            send(self.commands, 12, struct.pack("<I", self._transaction) + data)
        received = b""
        while True:
            kind, payload = receive(self.commands)
            if kind in (10, 12):
                received += payload[4:]
            elif kind == 7:
                response, transaction = struct.unpack_from("<HI", payload)
                assert transaction == self._transaction
                return Answer(response, struct.unpack(f"<{(len(payload) - 6) // 4}I", payload[6:]), received)

    def event(self) -> tuple[int, tuple[int, ...]]:
        """Wait for an event; return its code and parameters."""
        kind, payload = receive(self.events)
        assert kind == 8
        return struct.unpack_from("<H", payload)[0], struct.unpack(f"<{(len(payload) - 6) // 4}I", payload[6:])

    def close(self) -> None:
        """Hang up."""
        self.commands.close()
        self.events.close()
