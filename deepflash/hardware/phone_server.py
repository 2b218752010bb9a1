"""The server that the phone's browser speaks with: one page, one WebSocket, and where photographs are put.

It listens on this computer's loopback alone; `adb reverse` brings it onto the phone's own loopback, which is what makes
the page a secure context there. Who wants anything needs the token in the page's address, and must have been sent there
by that page: other pages in the same browser, and other names for this computer, are refused.

On the WebSocket both sides say JSON objects. From here: `ping` (read your clock), `ready` (lock these settings and say
what you have), `shoot` (these shots at these times of your clock), `saved`, `stop`. From there: `hello`, `pong`,
`ready`, `triggered`, `failed`. Photographs come by PUT, with their sha256 and the time of their exposure.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from deepflash.errors import CameraError
from deepflash.hardware.phone_clock import PhoneClock
from deepflash.loopback import HEADERS, RequestError, check_sender

MAX_PHOTOGRAPH_BYTES = 64 * 2**20
"""More than any phone's JPEG; a larger upload is refused while it comes."""

_MAX_MESSAGE_BYTES = 64 * 2**10
_FIRST_PINGS = 8
_FIRST_PING_EVERY_S = 0.03
_PING_EVERY_S = 0.25
_SILENT_AFTER_S = 4.0  # an unplugged phone says no goodbye
_START_LIMIT_S = 10.0
_GONE = "the phone has gone; plug it in, unlock it and bring the page to the front"
_HANG_UP, _REPLACED, _NOT_UNDERSTOOD = 4000, 4001, 4002  # why a WebSocket was closed; the page knows these numbers

_HEADERS = {
    **HEADERS,
    "Cross-Origin-Embedder-Policy": "require-corp",  # with the next one: the page's clock ticks in 5 us instead of 100
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Photograph:
    """An uploaded photograph: its bytes, whose sha256 was right, and the time that came with it, on the phone's clock."""

    content: bytes
    exposure_ms: float


class PhoneGoneError(CameraError):
    """The phone is not there, or has gone."""


class PhoneLine:
    """What the server's thread hears from the phone, for the thread that photographs.

    At most one phone is on the line; a page that opens takes the line from the one before it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._mail: deque[dict[str, Any]] = deque()
        self._photographs: dict[int, Photograph] = {}
        self._expected: tuple[str, int] = ("", 0)  # a series and how many photographs it has
        self._number = 0
        self._send: Callable[[dict[str, Any]], None] | None = None
        self._hang_up: Callable[[int], None] | None = None
        self._hello: dict[str, Any] | None = None
        self.clock = PhoneClock()

    # for the thread that photographs

    def wait_for_hello(self, until_s: float) -> dict[str, Any] | None:
        """Return what the phone said of itself when it came; None if none is there by `until_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._hello is not None, max(0.0, until_s - time.monotonic()))
            return self._hello

    def wait_for_clock(self, doubt_s: float, until_s: float) -> float | None:
        """Wait until the phone's clock is known to `doubt_s`; return the doubt that is left, None where it is not known."""
        while True:
            with self._changed:
                best = self.clock.best()
                if (best is not None and best.doubt_s <= doubt_s) or time.monotonic() > until_s:
                    return None if best is None else best.doubt_s
                self._changed.wait(_PING_EVERY_S)

    def expect(self, series: str, count: int) -> None:
        """Let photographs of that series in, and no others; forget what came before."""
        with self._changed:
            self._expected = (series, count)
            self._photographs.clear()
            self._mail.clear()

    def tell(self, message: dict[str, Any]) -> None:
        """Send the phone a message; PhoneGoneError if none is there."""
        with self._changed:
            if self._send is None:
                raise PhoneGoneError(_GONE)
            self._send(message)

    def next_message(self, until_s: float) -> dict[str, Any] | None:
        """Return the phone's next message; None if it says nothing by `until_s`. PhoneGoneError if it has gone."""
        with self._changed:
            self._changed.wait_for(lambda: self._mail or self._send is None, max(0.0, until_s - time.monotonic()))
            if self._mail:
                return self._mail.popleft()
            if self._send is None:
                raise PhoneGoneError(_GONE)
            return None

    def wait_for_photographs(self, until_s: float) -> list[Photograph] | None:
        """Return the series' photographs; None if they are not there by `until_s`, or a message has come instead."""
        with self._changed:
            count = self._expected[1]
            self._changed.wait_for(
                lambda: len(self._photographs) == count or self._mail or self._send is None,
                max(0.0, until_s - time.monotonic()),
            )
            if len(self._photographs) < count or self._mail:
                return None
            return [self._photographs[number] for number in range(count)]

    def hang_up(self) -> None:
        """Close the line; the page puts its torch out, and calls again."""
        with self._changed:
            if self._hang_up is not None:
                self._hang_up(_HANG_UP)
            self._forget_phone()
            self._expected = ("", 0)
            self._photographs.clear()
            self._mail.clear()

    # for the server's thread

    def take_over(self, send: Callable[[dict[str, Any]], None], hang_up: Callable[[int], None]) -> int:
        """Give the line to a page; return its number."""
        with self._changed:
            if self._hang_up is not None:
                self._hang_up(_REPLACED)
            self._forget_phone()
            self._number += 1
            self._send, self._hang_up = send, hang_up
            return self._number

    def leave(self, number: int) -> None:
        """Take the line from a page, if it still has it."""
        with self._changed:
            if number == self._number:
                self._forget_phone()

    def hear(self, number: int, message: dict[str, Any]) -> None:
        """Take in a page's message; ValueError, KeyError or TypeError if it is none of the protocol's."""
        back_s = time.monotonic()
        with self._changed:
            if number != self._number or self._send is None:
                return
            if message["say"] == "pong":
                heard_s, answered_s = float(message["heard_ms"]) / 1000, float(message["answered_ms"]) / 1000
                self.clock.add(sent_s=float(message["sent_s"]), heard_s=heard_s, answered_s=answered_s, back_s=back_s)
            elif message["say"] == "hello":
                self._hello = _checked_hello(message)
            elif message["say"] in {"ready", "triggered", "failed"}:
                self._mail.append(message)
            else:
                raise ValueError(f"it said {message['say']!r}")
            self._changed.notify_all()

    def complain(self, error: str, number: int | None = None) -> None:
        """Let the thread that photographs know that something is wrong (with that page, if it still has the line)."""
        with self._changed:
            if number is not None and (number != self._number or self._send is None):
                return
            self._mail.append({"say": "failed", "id": self._expected[0], "error": error})
            self._changed.notify_all()

    def awaits(self, series: str, number: int) -> bool:
        """Say whether that photograph is part of the series that is being made."""
        with self._changed:
            return bool(series) and series == self._expected[0] and 0 <= number < self._expected[1]

    def put(self, series: str, number: int, photograph: Photograph) -> bool:
        """Take in a photograph; return whether it was the first of that number."""
        with self._changed:
            if series != self._expected[0] or number in self._photographs:
                return False
            self._photographs[number] = photograph
            self._changed.notify_all()
            return True

    def _forget_phone(self) -> None:
        self._send = self._hang_up = self._hello = None
        self.clock = PhoneClock()
        self._changed.notify_all()


class PhoneServer:
    """The server, in a thread of its own; a context manager.

    Raises
    ------
    CameraError
        if the port is taken.
    """

    def __init__(self, port: int, token: str, line: PhoneLine) -> None:
        self._port = port
        self._app = _application(token, line)
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._socket = _listen(self._port)
        config = uvicorn.Config(
            self._app,
            access_log=False,  # addresses hold the token
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
            ws="websockets-sansio",
            ws_max_size=_MAX_MESSAGE_BYTES,
            ws_ping_interval=_SILENT_AFTER_S / 2,
            ws_ping_timeout=_SILENT_AFTER_S / 2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="phone server", daemon=True)
        self._thread.start()
        until_s = time.monotonic() + _START_LIMIT_S
        while not self._server.started:
            if time.monotonic() > until_s or not self._thread.is_alive():
                self.stop()
                raise CameraError(f"phone:{self._port}: the phone's server did not start; end other programs")
            time.sleep(0.005)

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_START_LIMIT_S)
        if self._socket is not None:
            self._socket.close()
        self._server = self._thread = self._socket = None


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise CameraError(
            f"phone:{port}: this port cannot be had ({error.strerror}); end what uses it, or name another"
        ) from error


def _application(token: str, line: PhoneLine) -> Starlette:
    async def page(request: Request) -> Response:
        _check(request, token, origin_needed=False)
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        text = files(__package__).joinpath("phone.html").read_text(encoding="utf-8").replace("NONCE", nonce)
        return HTMLResponse(text, headers={**_HEADERS, "Content-Security-Policy": policy})

    async def link(websocket: WebSocket) -> None:
        try:
            _check(websocket, token, origin_needed=True)
        except RequestError as error:
            await websocket.send_denial_response(await _refuse(websocket, error))
            return
        await websocket.accept()
        await _converse(websocket, line)

    async def photograph(request: Request) -> Response:
        _check(request, token, origin_needed=True)
        series, number = request.path_params["series"], request.path_params["number"]
        if not line.awaits(series, number):
            raise RequestError(410, "nobody waits for this photograph any more")
        try:
            uploaded = await _read_photograph(request)
        except ClientDisconnect as error:
            line.complain(f"photograph {number} broke off on its way; the take is lost")
            raise RequestError(400, "it broke off") from error
        except ValueError as error:
            line.complain(f"photograph {number} did not arrive: {error}; the take is lost")
            raise RequestError(400, str(error)) from error
        if not line.put(series, number, uploaded):
            line.complain(f"photograph {number} came twice; the take is lost")
            raise RequestError(409, "this photograph is here already")
        return Response(status_code=204, headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/", page),
            WebSocketRoute("/link", link),
            Route("/photographs/{series}/{number:int}", photograph, methods=["PUT"]),
        ],
        exception_handlers={RequestError: _refuse, HTTPException: _refuse},
    )


def _check(connection: HTTPConnection, token: str, *, origin_needed: bool) -> None:
    """Raise RequestError unless the request is for us by name, from our own page, and holds the token."""
    check_sender(connection, origin_needed=origin_needed)
    if not hmac.compare_digest(connection.query_params.get("token", "").encode(), token.encode()):
        raise RequestError(403, "open the whole address, with its token; `deepflash capture phone` prints it")


async def _refuse(_connection: HTTPConnection, error: Exception) -> Response:
    if isinstance(error, RequestError):
        return JSONResponse({"error": str(error)}, error.status, headers=_HEADERS)
    status, text = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "this failed")
    return JSONResponse({"error": text}, status, headers=_HEADERS)


async def _converse(websocket: WebSocket, line: PhoneLine) -> None:
    loop = asyncio.get_running_loop()
    outbox: asyncio.Queue[dict[str, Any] | int] = asyncio.Queue()

    def post(item: dict[str, Any] | int) -> None:
        with suppress(RuntimeError):  # the loop has been closed: there is nobody to tell any more
            loop.call_soon_threadsafe(outbox.put_nowait, item)

    number = line.take_over(post, post)
    tasks = [asyncio.create_task(_speak(websocket, outbox)), asyncio.create_task(_ask_for_time(websocket))]
    try:
        while True:
            line.hear(number, _parse(await websocket.receive_text()))
    except (WebSocketDisconnect, RuntimeError):  # RuntimeError: we have closed it ourselves
        pass
    except (ValueError, KeyError, TypeError) as error:
        line.complain(f"the phone sent what is no message ({error}); load its page again", number)
        with suppress(RuntimeError, WebSocketDisconnect):
            await websocket.close(_NOT_UNDERSTOOD)
    finally:
        line.leave(number)
        for task in tasks:
            task.cancel()


async def _speak(websocket: WebSocket, outbox: "asyncio.Queue[dict[str, Any] | int]") -> None:
    """Send what is in the box; a number there is the order to close, and why."""
    with suppress(RuntimeError, WebSocketDisconnect):
        while True:
            item = await outbox.get()
            if isinstance(item, int):
                await websocket.close(item)
                return
            await websocket.send_text(json.dumps(item))


async def _ask_for_time(websocket: WebSocket) -> None:
    count = 0
    with suppress(RuntimeError, WebSocketDisconnect):
        while True:
            await websocket.send_text(json.dumps({"do": "ping", "sent_s": time.monotonic()}))
            count += 1
            await asyncio.sleep(_FIRST_PING_EVERY_S if count < _FIRST_PINGS else _PING_EVERY_S)


async def _read_photograph(request: Request) -> Photograph:
    """Read a photograph; ValueError if it is too large or not what its headers say."""
    exposure_ms = float(request.headers.get("x-exposure-ms", "nan"))
    digest, content = hashlib.sha256(), bytearray()
    async for part in request.stream():
        content += part
        digest.update(part)
        if len(content) > MAX_PHOTOGRAPH_BYTES:
            raise ValueError(f"it has more than {MAX_PHOTOGRAPH_BYTES // 2**20} MiB")
    if digest.hexdigest() != request.headers.get("x-sha256"):
        raise ValueError("its sha256 is not the one that the phone computed")
    return Photograph(bytes(content), exposure_ms)


def _parse(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(message, dict):
        raise TypeError("a message is an object")
    return message


def _checked_hello(message: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(message["modes"], list) or not isinstance(message["agent"], str):
        raise TypeError("its greeting")
    return {
        "modes": [str(mode) for mode in message["modes"]],
        "agent": message["agent"][:300],
        "label": str(message["label"])[:100],
    }
