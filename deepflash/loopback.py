"""What all our servers have in common: they are there for this computer only, and their pages need nothing from elsewhere.

Requests must be addressed to a loopback name (a web page that lets its own name point here is refused) and must not come
from another page (`Origin`). Nothing is cached. What is refused or fails is answered with a status and one sentence, as
JSON: `{"error": "..."}`.
"""

import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.resources.abc import Traversable
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from deepflash.errors import DeepflashError, ServingError

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_FAREWELL_S = 1  # for answers that are still on their way when the server ends
_END_LIMIT_S = 20.0
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
"""Of every answer."""

Handler = Callable[[Request], Awaitable[Response]]


class RequestError(Exception):
    """A request is refused, with a status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def check_sender(connection: HTTPConnection, *, origin_needed: bool = False) -> None:
    """Raise RequestError unless a request is addressed to a loopback name and does not come from another page.

    Parameters
    ----------
    connection
        A request, or a WebSocket that has not been accepted.
    origin_needed
        Refuse who does not say where it comes from, too: what a browser's page always says when it sends something.
    """
    host = connection.headers.get("host", "")
    if _name_in(host) not in _LOOPBACK:
        raise RequestError(403, f"this server is not {host!r}; open it as http://127.0.0.1 with its port")
    origin = connection.headers.get("origin")
    if origin != f"http://{host}" and (origin_needed or origin is not None):
        raise RequestError(403, "another page may not ask this server; use its own page")


def guarded(handler: Handler, status_of: Callable[[Exception], int]) -> Handler:
    """Return a handler that checks who asks before it handles, and answers in a sentence if that fails.

    Parameters
    ----------
    handler
        May raise `RequestError`, `DeepflashError` and `OSError`; what else it raises is a programmer's error.
    status_of
        The HTTP status of a `DeepflashError` or an `OSError`.
    """

    async def guarded(request: Request) -> Response:
        try:
            check_sender(request)
            response = await handler(request)
        except RequestError as error:
            response = JSONResponse({"error": str(error)}, error.status)
        except (DeepflashError, OSError) as error:
            response = JSONResponse({"error": str(error)}, status_of(error))
        response.headers.update(HEADERS)
        return response

    return guarded


def page_of(template: Traversable, **values: str) -> HTMLResponse:
    """Return a page that may run its own script and speak with its own server, and nothing else.

    Parameters
    ----------
    template
        HTML with `{{nonce}}` in its `<style>` and `<script>`.
    values
        What else stands there in double braces; texts of ours, put in as they are.
    """
    nonce = secrets.token_urlsafe(12)
    page = template.read_text(encoding="utf-8")
    for name, value in {**values, "nonce": nonce}.items():
        page = page.replace(f"{{{{{name}}}}}", value)
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY.format(nonce=nonce)})


@contextmanager
def served(app: Starlette, *, port: int = 0) -> Iterator[int]:
    """Serve an application on 127.0.0.1, from a thread of this process, while the block runs; yield the port.

    Parameters
    ----------
    app
        Its handlers are `guarded`.
    port
        0 takes a free one.

    Raises
    ------
    ServingError
        if the port is taken.
    """
    listener = _listen(port)
    config = uvicorn.Config(app, log_level="warning", lifespan="off", ws="none", timeout_graceful_shutdown=_FAREWELL_S)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="server", daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(_END_LIMIT_S)
        listener.close()


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ServingError(
            f"port {port} cannot be listened on ({error.strerror}); use another --port, or 0 for a free one"
        ) from error


def _name_in(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # brackets that hold no IPv6 address
        return None
