"""A web server of one folder, on a free port of this machine, that may know ranges and may fail on order."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class WebServer:
    """What it was asked for, and what it shall do.

    `faults` are used up one by one: a status such as 503, or `cut`, which ends an answer in its middle.
    """

    url: str = ""
    ranges: bool = True
    faults: list[object] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def serve(folder: Path, *, ranges: bool = True) -> Iterator[WebServer]:
    """Serve a folder while the block runs."""
    state = WebServer(ranges=ranges)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append((self.path, self.headers.get("Range", "")))
            fault = state.faults.pop(0) if state.faults else None
            path = folder / unquote(urlsplit(self.path).path).lstrip("/")
            if isinstance(fault, int) or not path.is_file():
                self.send_error(fault if isinstance(fault, int) else 404)
                return
            content, status = path.read_bytes(), 200
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if state.ranges and asked:
                content, status = content[int(asked[1]) : int(asked[2]) + 1], 206
                if not content:
                    self.send_error(416)
                    return
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
