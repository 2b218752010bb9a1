"""The page's server: what it answers, what it refuses, and that it keeps nothing."""

import base64
import io
import json
import os
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from skimage import data

from deepflash.cli import cli
from deepflash.errors import ModelError
from deepflash.model.enhancement import serve
from deepflash.model.enhancement.enhancer import Enhancer
from deepflash.model.enhancement.look import Look, parse_background
from deepflash.model.enhancement.serve import Limits, served_page
from deepflash.photos import Photo, decode_photo, encode_photo
from tests.model.enhancement.stand_ins import Slow, warming_enhancer

LIMITS = Limits(megapixels=2, megabytes=3)


def encoded(picture: np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, **options)
    return stream.getvalue()


PORTRAIT = encoded(data.astronaut(), quality=95)
FACELESS = encoded(data.coffee(), quality=90)


@pytest.fixture(scope="module")
def enhancer() -> Enhancer:
    return warming_enhancer()


@pytest.fixture(scope="module")
def client(enhancer: Enhancer) -> Iterator[httpx.Client]:
    with served_page(enhancer, limits=LIMITS) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client


def picture_at(address: str) -> np.ndarray:
    """Decode what a `data:` address holds, by another library than the project's."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def test_the_page_says_its_limits_and_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/")
    assert 'data-megabytes="3" data-megapixels="2"' in page.text
    assert "{{" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    assert "https://" not in page.text


@pytest.mark.parametrize(
    ("kind", "options", "suffix"),
    [
        ("JPEG", {"quality": 90}, ".jpg"),
        ("PNG", {}, ".png"),
        ("WEBP", {"lossless": True}, ".webp"),
        ("TIFF", {}, ".tif"),
    ],
)
def test_a_portrait_is_what_the_program_makes_without_the_page(
    kind: str, options: dict[str, object], suffix: str, client: httpx.Client, enhancer: Enhancer
) -> None:
    """Byte for byte, in the format that came."""
    photograph = encoded(data.astronaut(), kind, **options)
    answer = client.post("/portrait", params={"strength": "0.6", "background": "enhance"}, content=photograph)
    assert answer.status_code == 200
    expected = enhancer.enhance(decode_photo(photograph, "it"), Look(strength=0.6, background="enhance"))
    assert answer.content == encode_photo(expected, suffix)
    assert Image.open(io.BytesIO(answer.content)).format == kind
    assert answer.headers["content-type"] == f"image/{kind.lower()}"


@pytest.mark.parametrize(
    ("query", "look"),
    [
        ({}, Look()),
        ({"strength": "0"}, Look(strength=0.0)),
        ({"background": "#406080"}, Look(background=parse_background("#406080"))),
        ({"red_eye": "0"}, Look(red_eye=False)),
        ({"whole": "1"}, Look(whole=True)),
    ],
)
def test_every_option_reaches_the_portrait(query: dict[str, str], look: Look, client: httpx.Client, enhancer: Enhancer) -> None:
    answer = client.post("/portrait", params=query, content=PORTRAIT)
    assert answer.content == encode_photo(enhancer.enhance(decode_photo(PORTRAIT, "it"), look), ".jpg")


def test_a_preview_shows_the_photograph_and_its_portraits(client: httpx.Client) -> None:
    preview = client.post("/preview", content=PORTRAIT).json()
    assert (preview["width"], preview["height"], preview["suffix"]) == (512, 512, ".jpg")
    before, strongest = picture_at(preview["before"]), picture_at(preview["strongest"])
    assert np.abs(before.astype(float) - data.astronaut()).mean() < 3
    full = np.asarray(Image.open(io.BytesIO(client.post("/portrait", content=PORTRAIT).content)))
    assert np.abs(strongest.astype(float) - full).mean() < 2


def test_every_strength_lies_between_the_two_of_the_preview(client: httpx.Client) -> None:
    """What the page blends is what the program makes, to the accuracy of a JPEG."""
    preview = client.post("/preview", content=PORTRAIT).json()
    weakest, strongest = (picture_at(preview[name]).astype(float) for name in ("weakest", "strongest"))
    half = client.post("/portrait", params={"strength": "0.5"}, content=PORTRAIT).content
    assert np.abs((weakest + strongest) / 2 - np.asarray(Image.open(io.BytesIO(half)))).mean() < 2


def test_a_preview_is_small_and_keeps_what_is_transparent(client: httpx.Client) -> None:
    picture = np.zeros((200, 2500, 4), np.uint8)
    picture[..., :3], picture[:, 1250:, 3] = 120, 255
    preview = client.post("/preview", params={"whole": "1"}, content=encoded(picture, "PNG")).json()
    strongest = picture_at(preview["strongest"])
    assert strongest.shape == (164, 2048, 4)
    assert strongest[80, 100, 3] == 0
    assert strongest[80, 1500, 3] == 255
    assert (preview["width"], preview["height"], preview["suffix"]) == (2500, 200, ".png")


def test_a_photograph_without_a_face_can_be_treated_as_a_whole(client: httpx.Client) -> None:
    refused = client.post("/preview", params={"name": "coffee.jpg"}, content=FACELESS)
    assert refused.status_code == 409
    assert refused.json()["error"] == "no face was found in coffee.jpg; turn it if it is not upright, or treat it as a whole"
    assert client.post("/preview", params={"whole": "1"}, content=FACELESS).status_code == 200


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims many pixels and holds none."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


@pytest.mark.parametrize(
    ("photograph", "sentence"),
    [
        (b"Dear diary,", "notes.jpg is not a"),
        (b"", "notes.jpg is"),
        (PORTRAIT[:9000], "notes.jpg is"),
        (bomb(20000, 20000), "notes.jpg claims to have more than 2 megapixels"),
        (bomb(2000, 2000), "notes.jpg claims to have more than 2 megapixels"),
    ],
    ids=["text", "nothing", "cut off", "bomb", "too large"],
)
def test_what_is_no_usable_photograph_is_one_sentence(photograph: bytes, sentence: str, client: httpx.Client) -> None:
    for path in ("/preview", "/portrait"):
        answer = client.post(path, params={"name": "notes.jpg"}, content=photograph)
        assert answer.status_code == 422
        assert answer.json()["error"].startswith(sentence)
        assert "Traceback" not in answer.text
        assert "BytesIO" not in answer.text


def test_too_many_bytes_are_refused_before_they_are_read(client: httpx.Client) -> None:
    """By what the header says, without a byte of the body; and where it says nothing, while they come."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=20) as line:
        line.sendall(b"POST /preview?name=big.tif HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3000001\r\n\r\n")
        assert b"413" in line.recv(100)

    def pieces() -> Iterator[bytes]:
        for _ in range(4):
            yield bytes(10**6)

    answer = client.post("/preview", params={"name": "big.tif"}, content=pieces())
    assert answer.status_code == 413
    assert answer.json()["error"] == "big.tif has more than 3 MB; make it smaller, or serve with --max-megabytes"


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"strength": "2"}, "strength 2.0 is not from 0 to 1"),
        ({"strength": "nan"}, "strength nan is not from 0 to 1"),
        ({"strength": "much"}, "strength is a number from 0 to 1"),
        ({"background": "plaid"}, "background 'plaid' is none"),
        ({"red_eye": "yes"}, "red_eye and whole are 0 or 1, not 'yes'"),
        ({"run": "/etc"}, "unknown option 'run'; known here: background, name, red_eye, strength, ticket, whole"),
    ],
)
def test_an_option_that_makes_no_sense_is_one_sentence(query: dict[str, str], sentence: str, client: httpx.Client) -> None:
    answer = client.post("/portrait", params=query, content=PORTRAIT)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(sentence)


def test_another_page_gets_nothing(client: httpx.Client) -> None:
    for path in ("/preview", "/portrait", "/line"):
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            answer = client.request("GET" if path == "/line" else "POST", path, headers=headers, content=PORTRAIT)
            assert answer.status_code == 403
    assert client.get("/portrait").status_code == 405


def test_nothing_is_stored_and_nothing_cached(client: httpx.Client) -> None:
    """No temporary file either, for a photograph of more than the megabyte from which on servers like to spool."""
    big = encoded(np.random.default_rng(7).integers(0, 255, (700, 1000, 3), np.uint8), "PNG")
    assert len(big) > 2 * 10**6
    with watched_writes() as written:
        answer = client.post("/preview", params={"whole": "1"}, content=big)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    assert written == []


@contextmanager
def watched_writes() -> Iterator[list[str]]:
    """Yield a list of the files that this process opens for writing during the block."""
    opened: list[str] = []
    watching = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            opened.append(str(arguments[0]))

    sys.addaudithook(watch)  # which stays for the life of the process
    yield opened
    watching = False


@pytest.fixture
def slow() -> Iterator[tuple[Slow, httpx.Client]]:
    enhancer = Slow()
    with served_page(enhancer, limits=LIMITS) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        try:
            yield enhancer, client
        finally:
            enhancer.go.set()


def until(condition: Callable[[], object]) -> None:
    until_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until_s, "it never happened"
        time.sleep(0.01)


def present(client: httpx.Client) -> int:
    return int(client.get("/line").json()["present"])


def test_one_photograph_at_a_time_and_not_too_many_in_memory(slow: tuple[Slow, httpx.Client]) -> None:
    enhancer, client = slow
    with ThreadPoolExecutor(4) as people:
        answers = []
        for number in range(4):
            answers.append(people.submit(client.post, "/portrait", params={"ticket": f"t{number}"}, content=PORTRAIT))
            until(lambda: present(client) == len(answers))
        assert [client.get("/line", params={"ticket": ticket}).json()["before"] for ticket in ("t0", "t2", "?")] == [0, 2, 0]
        fifth = client.post("/portrait", content=PORTRAIT)
        assert fifth.status_code == 503
        assert fifth.json()["error"] == "4 photographs are here already; try again in a moment"
        enhancer.go.set()
        assert [answer.result().status_code for answer in answers] == [200] * 4
    assert (enhancer.most, enhancer.done) == (1, 4)
    until(lambda: present(client) == 0)


def test_whoever_goes_away_is_not_worked_for(slow: tuple[Slow, httpx.Client]) -> None:
    enhancer, client = slow
    with ThreadPoolExecutor(1) as people:
        first = people.submit(client.post, "/portrait", content=PORTRAIT)
        assert enhancer.begun.acquire(timeout=30)
        with sent(client, PORTRAIT, len(PORTRAIT)):
            until(lambda: present(client) == 2)
            with sent(client, PORTRAIT[:1000], len(PORTRAIT)):
                until(lambda: present(client) == 3)
            until(lambda: present(client) == 2)  # the one that broke off is forgotten at once
        until(lambda: present(client) == 1)  # and so is the one that waited
        enhancer.go.set()
        assert first.result().status_code == 200
    until(lambda: present(client) == 0)
    assert enhancer.done == 1
    assert client.post("/portrait", content=PORTRAIT).status_code == 200, "the others are served as ever"


def test_a_photograph_that_does_not_arrive_is_not_waited_for_for_ever(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "_BODY_LIMIT_S", 0.3)
    with sent(client, PORTRAIT[:1000], len(PORTRAIT)) as line:
        assert b" 408 " in line.recv(4000)
    assert present(client) == 0


def sent(client: httpx.Client, content: bytes, length: int) -> socket.socket:
    """Return a line on which a photograph has been sent, or a part of it."""
    line = socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)
    line.sendall(b"POST /portrait HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % length + content)
    return line


def test_a_failure_is_a_sentence_and_the_next_photograph_is_served(client: httpx.Client, enhancer: Enhancer) -> None:
    class Failing:
        def enhance(self, photo: Photo, _look: Look) -> Photo:
            raise ModelError("the GPU is out of memory; use --device cpu")

    with served_page(Failing()) as url:
        for _ in range(2):
            answer = httpx.post(f"{url}portrait", content=PORTRAIT, trust_env=False)
            assert (answer.status_code, answer.json()) == (422, {"error": "the GPU is out of memory; use --device cpu"})


def test_the_command_serves_until_it_is_told_to_end(finished: Path) -> None:
    command = [sys.executable, "-m", "deepflash", "serve", f"--run={finished}", "--port=0", "--no-open", "--json"]
    with subprocess.Popen([*command, "--max-megapixels=1"], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        url = json.loads(program.stdout.readline())["url"]
        assert 'data-megapixels="1"' in httpx.get(url, trust_env=False).text
        answer = httpx.post(f"{url}portrait", params={"whole": "1"}, content=PORTRAIT, timeout=60, trust_env=False)
        assert Image.open(io.BytesIO(answer.content)).size == (512, 512)
        program.terminate()
        assert program.wait(30) == 0


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["serve", "--run", str(tmp_path), "--no-open"])
    assert isinstance(result.exception, ModelError)
    assert str(tmp_path) in str(result.exception)
