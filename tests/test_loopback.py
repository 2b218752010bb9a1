"""What is served answers to this computer and to its own page, and to nobody else."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from deepflash.errors import PictureError, ServingError
from deepflash.loopback import RequestError, check_sender, guarded, page_of, served


async def _greet(_request: Request) -> Response:
    return PlainTextResponse("welcome")


async def _refuse(_request: Request) -> Response:
    raise RequestError(410, "that is over")


async def _take_in(request: Request) -> Response:
    check_sender(request, origin_needed=True)
    return PlainTextResponse("taken in")


async def _fail(_request: Request) -> Response:
    raise PictureError("photo.jpg is not a picture")


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    handlers = {"/": _greet, "/refuse": _refuse, "/fail": _fail, "/take-in": _take_in}
    app = Starlette(routes=[Route(path, guarded(handler, lambda _: 422)) for path, handler in handlers.items()])
    with served(app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "[evil"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1"},
    ],
)
def test_another_name_or_page_is_refused_in_a_sentence(headers: dict[str, str], client: httpx.Client) -> None:
    answer = client.get("/", headers=headers)
    assert answer.status_code == 403
    assert "its own page" in answer.json()["error"] or "open it as http://127.0.0.1" in answer.json()["error"]
    assert "access-control-allow-origin" not in answer.headers


def test_its_own_page_may_ask_under_each_loopback_name(client: httpx.Client) -> None:
    port = client.base_url.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"):
        assert client.get("/", headers={"Host": host, "Origin": f"http://{host}"}).text == "welcome"


def test_where_only_the_own_page_may_send_who_does_not_say_where_it_comes_from_is_refused(client: httpx.Client) -> None:
    here = f"http://127.0.0.1:{client.base_url.port}"
    assert client.get("/take-in").status_code == 403
    assert client.get("/take-in", headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.get("/take-in", headers={"Origin": here}).text == "taken in"


def test_what_is_refused_or_fails_has_its_status_and_a_sentence(client: httpx.Client) -> None:
    assert (client.get("/refuse").status_code, client.get("/refuse").json()) == (410, {"error": "that is over"})
    assert (client.get("/fail").status_code, client.get("/fail").json()) == (422, {"error": "photo.jpg is not a picture"})


@pytest.mark.parametrize("path", ["/", "/refuse", "/fail"])
def test_nothing_is_kept_by_a_browser_or_sent_on(path: str, client: httpx.Client) -> None:
    headers = client.get(path).headers
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"


def test_it_listens_on_loopback_only(client: httpx.Client) -> None:
    local = f"{client.base_url.port:04X}"
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"]
    assert [entry for entry in listening if entry.endswith(f":{local}")] == [f"0100007F:{local}"]


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ServingError, match=r"cannot be listened on .*; use another --port"),
        served(Starlette(), port=taken.getsockname()[1]),
    ):
        pass


def test_after_the_block_the_port_is_free_again() -> None:
    with served(Starlette()) as port:
        pass
    with served(Starlette(), port=port):
        pass


def test_a_page_runs_its_own_script_and_fetches_nothing_from_elsewhere(tmp_path: Path) -> None:
    template = tmp_path / "page.html"
    template.write_text('<body data-size="{{size}}"><script nonce="{{nonce}}">go()</script>')
    first, second = page_of(template, size="3"), page_of(template, size="3")
    policy = first.headers["content-security-policy"]
    (nonce,) = set(re.findall(r"'nonce-([^']+)'", policy))
    assert first.body.decode() == f'<body data-size="3"><script nonce="{nonce}">go()</script>'
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert first.body != second.body, "a nonce is used once"
