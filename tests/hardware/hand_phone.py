"""A second client of the phone's server, written from the protocol's description: a phone that does as it is told."""

import hashlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx
import numpy as np
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

GOOD = "good"


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def jpeg(seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=90)
    return file.getvalue()


class HandPhone:
    """Keeps calling `address`; its clock is `ahead_s` ahead; `habits` say what it does at its next series.

    `answer_delays_s` are the times that its next answers to pings take on their way, over and over.
    """

    def __init__(self, address: str, *, ahead_s: float = 5000.0, modes: tuple[str, ...] = ("torch", "flash")) -> None:
        self.origin, _, self.query = address.partition("/?")
        self.ahead_s = ahead_s
        self.hello: dict[str, Any] = {"say": "hello", "modes": list(modes), "label": "Hand 1", "agent": "by hand"}
        self.habits: list[str] = []
        self.settings: dict[str, Any] = {"width": 64}
        self.takes_settings = True
        self.answer_delays_s = [0.0]
        self.orders: list[dict[str, Any]] = []
        self.exposures_s: list[float] = []  # on our clock
        self.uploaded: list[httpx.Response] = []
        self.calls = 0
        self.reloads = 0  # how often it hangs up just after it has called
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> "HandPhone":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def now_ms(self) -> float:
        return (time.monotonic() + self.ahead_s) * 1000

    def put(self, series: str, number: int, content: bytes, stamp_ms: float, sha256: str = "") -> httpx.Response:
        headers = {
            "origin": self.origin,
            "x-exposure-ms": repr(stamp_ms),
            "x-sha256": sha256 or hashlib.sha256(content).hexdigest(),
        }
        address = f"{self.origin}/photographs/{series}/{number}?{self.query}"
        answer = httpx.put(address, content=content, headers=headers, trust_env=False, timeout=20)
        self.uploaded.append(answer)
        return answer

    def _live(self) -> None:
        while not self._ended.is_set():
            try:
                address = f"ws{self.origin.removeprefix('http')}/link?{self.query}"
                with connect(address, origin=self.origin, proxy=None, close_timeout=1) as line:
                    self.calls += 1
                    line.send(json.dumps(self.hello))
                    if self.reloads > 0:
                        self.reloads -= 1
                        continue
                    self._obey(line)
            except (OSError, ConnectionClosed, InvalidHandshake, httpx.TransportError):  # hung up on, in the middle of anything
                self._ended.wait(0.05)

    def _obey(self, line: ClientConnection) -> None:
        pings = 0
        while not self._ended.is_set():
            try:
                order = json.loads(line.recv(0.05))
            except TimeoutError:
                continue
            if order["do"] == "ping":
                heard_ms = self.now_ms()
                pings += 1
                answer = {"say": "pong", "sent_s": order["sent_s"], "heard_ms": heard_ms, "answered_ms": heard_ms}
                time.sleep(self.answer_delays_s[pings % len(self.answer_delays_s)])
                line.send(json.dumps(answer))
                continue
            self.orders.append(order)
            if order["do"] == "ready":
                found = dict(self.settings)
                if self.takes_settings:
                    self.settings.update({name: float(value) for name, value in order["settings"].items() if name in found})
                line.send(json.dumps({"say": "ready", "id": order["id"], "found": found, "settings": self.settings}))
            elif order["do"] == "shoot":
                habit = self.habits.pop(0) if self.habits else GOOD
                HABITS[habit](self, line, order)

    def expose(self, line: ClientConnection, order: dict[str, Any]) -> list[float]:
        """Wait for each shot's time and say that it was taken; return the stamps."""
        stamps = []
        for number, shot in enumerate(order["shots"]):
            due_ms = order["at_ms"] + shot["offset_ms"]
            time.sleep(max(0.0, (due_ms - self.now_ms()) / 1000))
            stamp_ms = self.now_ms()
            self.exposures_s.append(stamp_ms / 1000 - self.ahead_s)
            line.send(
                json.dumps({"say": "triggered", "id": order["id"], "shot": number, "before_ms": stamp_ms, "after_ms": stamp_ms})
            )
            stamps.append(stamp_ms)
        return stamps


def _uploads(*contents: Callable[[int], bytes]) -> Callable[[HandPhone, ClientConnection, dict[str, Any]], None]:
    def behave(phone: HandPhone, line: ClientConnection, order: dict[str, Any]) -> None:
        for number, stamp_ms in enumerate(phone.expose(line, order)):
            phone.put(order["id"], number, contents[min(number, len(contents) - 1)](number), stamp_ms)

    return behave


def _hangs_up(phone: HandPhone, line: ClientConnection, order: dict[str, Any]) -> None:
    line.close()


def _hangs_up_between(phone: HandPhone, line: ClientConnection, order: dict[str, Any]) -> None:
    phone.expose(line, {**order, "shots": order["shots"][:1]})
    line.close()


def _says(message: str) -> Callable[[HandPhone, ClientConnection, dict[str, Any]], None]:
    def behave(phone: HandPhone, line: ClientConnection, order: dict[str, Any]) -> None:
        line.send(message.replace("ID", order["id"]))

    return behave


def _twice(phone: HandPhone, line: ClientConnection, order: dict[str, Any]) -> None:
    stamps = phone.expose(line, order)
    phone.put(order["id"], 0, jpeg(), stamps[0])
    phone.put(order["id"], 0, jpeg(), stamps[0])


def _wrong_sum(phone: HandPhone, line: ClientConnection, order: dict[str, Any]) -> None:
    phone.put(order["id"], 0, jpeg(), phone.expose(line, order)[0], sha256="0" * 64)


def _exchanged(phone: HandPhone, line: ClientConnection, order: dict[str, Any]) -> None:
    stamps = phone.expose(line, order)
    for number in (0, 1):
        phone.put(order["id"], number, jpeg(number), stamps[1 - number])


def _nothing(phone: HandPhone, line: ClientConnection, order: dict[str, Any]) -> None:
    return


HABITS: dict[str, Callable[[HandPhone, ClientConnection, dict[str, Any]], None]] = {
    GOOD: _uploads(jpeg),
    "hangs up": _hangs_up,
    "hangs up between the shots": _hangs_up_between,
    "does nothing": _nothing,
    "sends no JSON": _says("\x00garbage"),
    "sends a deep hole": _says("[" * 30000),
    "sends a list": _says("[]"),
    "sends an unknown word": _says('{"say": "tea"}'),
    "sends half a trigger": _says('{"say": "triggered", "id": "ID", "shot": 0}'),
    "says another shot": _says('{"say": "triggered", "id": "ID", "shot": 1, "before_ms": 0, "after_ms": 0}'),
    "says that it was long ago": _says('{"say": "triggered", "id": "ID", "shot": 0, "before_ms": 0, "after_ms": 0}'),
    "says infinity": _says('{"say": "triggered", "id": "ID", "shot": 0, "before_ms": Infinity, "after_ms": Infinity}'),
    "says that it failed": _says('{"say": "failed", "id": "ID", "error": "the torch could not be switched on"}'),
    "uploads twice": _twice,
    "sends no JPEG": _uploads(lambda _: b"GIF89a"),
    "sends half a JPEG": _uploads(lambda number: jpeg(number)[: 600 + number]),
    "sends a PNG in JPEG's clothes": _uploads(lambda _: b"\xff\xd8\x89PNG\xff\xd9"),
    "sends a wrong checksum": _wrong_sum,
    "exchanges the photographs": _exchanged,
}
