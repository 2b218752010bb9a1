"""The capture daemon: a desk behind HTTP, on loopback only, for the console page and for other programs.

Who may ask: requests must be addressed to a loopback name (a web page that lets its own name point here is
refused), must not come from another page (`Origin`), and must carry the token, which is made anew for each daemon
and printed with its address. The page takes it from behind the `#` of the address, which is never sent.

No path is made of anything in a request: photographs and pictograms are looked up by take and pose in the session.
"""

import asyncio
import hmac
import json
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from deepflash.capture.desk import Desk
from deepflash.capture.openapi import OPERATIONS, TEXT, Operation, describe
from deepflash.errors import DeepflashError, HardwareError, PairError
from deepflash.loopback import Handler, RequestError, guarded, page_of, served

_LARGEST_BODY = 10_000
_LONGEST_TEXT = 300
_EVENT_EVERY_S = 1.0
_LOOK_EVERY_S = 0.05

_PAGE = files("deepflash.capture") / "console.html"


@dataclass(frozen=True)
class Address:
    """Where a daemon listens, and the token that it wants."""

    port: int
    token: str

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return f"http://127.0.0.1:{self.port}/#{self.token}"


def build_app(desk: Desk, token: str, is_over: Callable[[], bool] = lambda: False) -> Starlette:
    """Return the daemon's application (ASGI) over a desk; event streams end when `is_over`."""
    readers = _Readers(desk, is_over)
    routes = [
        Route("/", _guarded(_show_page)),
        Route("/api/openapi.json", _guarded(_describe_api)),
        *(
            Route(operation.path, _handler(desk, readers, operation, token), methods=[operation.method])
            for operation in OPERATIONS
        ),
    ]
    return Starlette(routes=routes)


@contextmanager
def running_daemon(desk: Desk, *, port: int = 0, token: str = "") -> Iterator[Address]:
    """Serve a desk from a thread of this process while the block runs.

    Parameters
    ----------
    desk
        Entered by the caller.
    port
        Of 127.0.0.1; 0 takes a free one.
    token
        What requests must carry; made here if empty.

    Raises
    ------
    ServingError
        if the port is taken.
    """
    token = token or secrets.token_urlsafe(24)
    over = threading.Event()
    with served(build_app(desk, token, over.is_set), port=port) as taken:
        try:
            yield Address(taken, token)
        finally:
            over.set()


def _guarded(handler: Handler, token: str | None = None) -> Handler:
    """Check who asks, and the token if one is wanted, then handle."""
    if token is None:
        return guarded(handler, _status)

    async def with_token(request: Request) -> Response:
        _check_token(request, token)
        return await handler(request)

    return guarded(with_token, _status)


def _check_token(request: Request, token: str) -> None:
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise RequestError(
            401, "the token is missing or wrong; open the address that the daemon printed, with what follows its #"
        )


def _status(error: Exception) -> int:
    statuses = ((HardwareError, 503), (PairError, 422), (DeepflashError, 409))
    return next((status for kind, status in statuses if isinstance(error, kind)), 507)


async def _show_page(_request: Request) -> Response:
    return page_of(_PAGE)


async def _describe_api(_request: Request) -> Response:
    return JSONResponse(describe())


def _handler(desk: Desk, readers: "_Readers", operation: Operation, token: str) -> Handler:
    if operation.command:

        async def command(request: Request) -> Response:
            body = await _read_body(request, operation)
            return JSONResponse(await run_in_threadpool(desk.do, operation.command, **body))

        return _guarded(command, token)
    if operation.name == "add_subject":

        async def add_subject(request: Request) -> Response:
            body = await _read_body(request, operation)
            await run_in_threadpool(desk.add_subject, body["id"], body.get("consent", ""))
            return await readers.subjects(request)

        return _guarded(add_subject, token)
    handler: Handler = getattr(readers, operation.name)
    return _guarded(handler, token)


async def _read_body(request: Request, operation: Operation) -> dict[str, Any]:
    """Read a request's JSON object and check it against the operation's description."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise RequestError(422, "send JSON, as Content-Type: application/json")
    body = b""
    async for some in request.stream():
        body += some
        if len(body) > _LARGEST_BODY:
            raise RequestError(422, f"the request is larger than {_LARGEST_BODY} bytes")
    try:
        content = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise RequestError(422, f"the request is not JSON ({error})") from error
    _check_fields(content, operation)
    return content  # type: ignore[no-any-return]


def _check_fields(content: Any, operation: Operation) -> None:
    if not isinstance(content, dict):
        raise RequestError(422, "send a JSON object")
    for name in content:
        if name not in operation.body:
            known = ", ".join(operation.body) or "none"
            raise RequestError(422, f"unknown field {name!r}; known here: {known}")
    for name, known_field in operation.body.items():
        if name not in content and known_field.required:
            raise RequestError(422, f"field {name!r} is missing")
        if name in content and not _is(content[name], known_field.kind):
            raise RequestError(422, f"field {name!r} is not {'a text' if known_field.kind == TEXT else 'a list of texts'}")


def _is(value: Any, kind: str) -> bool:
    if kind == TEXT:
        return isinstance(value, str) and len(value) <= _LONGEST_TEXT
    return isinstance(value, list) and all(_is(entry, TEXT) for entry in value)


class _Readers:
    """Handlers of what changes nothing, named after their operations."""

    def __init__(self, desk: Desk, is_over: Callable[[], bool]) -> None:
        self._desk = desk
        self._is_over = is_over

    async def state(self, _request: Request) -> Response:
        return JSONResponse(self._desk.state())

    async def subjects(self, _request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._desk.subjects))

    async def events(self, request: Request) -> Response:
        return StreamingResponse(self._stream(request), media_type="text/event-stream")

    async def picture(self, request: Request) -> Response:
        take, light = request.path_params["take"], request.path_params["light"]
        jpeg = await run_in_threadpool(self._desk.picture, take, light)
        if jpeg is None:
            raise RequestError(404, f"this session has no picture {light!r} of a take {take!r}")
        return Response(jpeg, media_type="image/jpeg")

    async def pictogram(self, request: Request) -> Response:
        pose = self._desk.pictogram(request.path_params["pose"])
        if pose is None:
            raise RequestError(404, "this pose has no pictogram")
        return Response(pose.pictogram, media_type=pose.media_type)

    async def _stream(self, request: Request) -> AsyncIterator[str]:
        """Send the state when it has changed, and once a second as a sign of life."""
        sent: tuple[int, Any] | None = None
        loop = asyncio.get_running_loop()
        sent_s = 0.0
        while not (self._is_over() or await request.is_disconnected()):
            state = self._desk.state()
            now = (state["revision"], state["lamps"])
            if now != sent or loop.time() > sent_s + _EVENT_EVERY_S:
                sent, sent_s = now, loop.time()
                yield f"event: state\ndata: {json.dumps(state)}\n\n"
            await asyncio.sleep(_LOOK_EVERY_S)
