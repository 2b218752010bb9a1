"""The daemon's API, asked by another HTTP client than the project's own: what it does, and whom it refuses."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from deepflash.capture import desk as desk_module
from deepflash.capture.daemon import Address, running_daemon
from deepflash.capture.desk import Desk, Studio
from deepflash.capture.openapi import describe
from deepflash.capture.poses import named_poses
from deepflash.capture.terminal import read_address
from deepflash.errors import ServingError
from deepflash.hardware.emulator.faults import Fault, order_fault
from deepflash.hardware.emulator.studio import emulated_board
from deepflash.hardware.phone import phone_address
from deepflash.hardware.rig import Rig, save_rig
from deepflash.pairs import find_pairs
from tests.hardware.hand_phone import HandPhone, free_port

LAMPS_LIMIT_S = 1.0  # off after a kill

OpenStudio = Callable[..., tuple[Rig, Path]]

NO_RIG = Rig("no board", "no camera")


def studio_of(rig: Rig, raw: Path, *, retakes: int = 0, is_emulated: bool = True, mirror: Path | None = None) -> Studio:
    return Studio(lambda subject: nullcontext(rig), is_emulated, raw, named_poses(("frontal", "left")), mirror, retakes)


@contextmanager
def serving(studio: Studio) -> Iterator[tuple[httpx.Client, Address]]:
    with Desk(studio) as desk, running_daemon(desk) as address, client_of(address) as client:
        yield client, address


def client_of(address: Address) -> httpx.Client:
    headers = {"Authorization": f"Bearer {address.token}"}
    return httpx.Client(base_url=f"http://127.0.0.1:{address.port}", headers=headers, timeout=60, trust_env=False)


def lamps_are_on(folder: Path) -> bool:
    entries = [json.loads(line) for line in (folder / "lamps.jsonl").read_text().splitlines()]
    return bool([entry for entry in entries if entry["channel"] == 1][-1]["on"])


def test_a_session_from_a_first_subject_to_its_end(open_studio: OpenStudio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    with serving(studio_of(rig, tmp_path / "raw")) as (client, _):
        assert client.get("/api/state").json()["phase"] == "closed"
        added = client.post("/api/subjects", json={"id": "S001", "consent": "form 3"}).json()
        assert added == [{"id": "S001", "consent": "form 3", "sessions": 0, "pairs": 0, "unfinished": []}]

        state = client.post("/api/session", json={"subject": "S001"}).json()
        assert (state["phase"], state["session"]["pose"], state["session"]["consent"]) == ("ready", "frontal", "form 3")
        assert state["lamps"] == {"connected": True, "heartbeat": True, "on": False, "seen_on": False, "fault": ""}

        state = client.post("/api/session/shoot", json={"pose": "frontal"}).json()
        assert state["message"] == {"kind": "good", "text": "Take 001 of frontal is good and saved."}
        assert state["session"]["takes"][0]["pictures"]
        for light in ("studio", "flash"):
            answer = client.get(f"/api/takes/001/{light}")
            assert answer.headers["content-type"] == "image/jpeg"
            assert answer.content[:2] == b"\xff\xd8"
            assert b"Exif" not in answer.content[:200]
        assert client.get("/api/pictograms/frontal").text.startswith("<svg")

        meant_for_another = client.post("/api/session/shoot", json={"pose": "frontal"})
        assert meant_for_another.status_code == 409
        assert "the session is at 'left'; look again" in meant_for_another.json()["error"]

        client.post("/api/session/skip", json={})
        state = client.post("/api/session/finish", json={"reason": "enough"}).json()
        assert (state["phase"], state["session"]["finish"], state["session"]["missing"]) == ("finished", "incomplete", ["left"])
        assert client.get("/api/takes/001/flash").status_code == 200, "the pictures can be looked at afterwards"
        assert client.post("/api/session/shoot", json={}).json()["error"] == "no session is open; choose a subject first"
        assert client.get("/api/subjects").json()[0]["pairs"] == 1


def test_a_session_goes_on_where_another_daemon_left_it_with_its_pictures(open_studio: OpenStudio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    with serving(studio_of(rig, tmp_path / "raw")) as (client, _):
        client.post("/api/session", json={"subject": "S001"})
        client.post("/api/session/shoot", json={})
    with serving(studio_of(rig, tmp_path / "raw")) as (client, _):
        assert client.get("/api/subjects").json()[0]["unfinished"] == ["frontal", "left"]
        session = client.post("/api/session", json={"subject": "S001"}).json()["session"]
        assert (session["pose"], session["takes"][0]["kept"]) == ("left", True)
        assert client.get("/api/takes/001/studio").status_code == 200


def test_the_state_comes_by_itself(open_studio: OpenStudio, tmp_path: Path) -> None:
    rig, _ = open_studio()
    with serving(studio_of(rig, tmp_path / "raw")) as (client, address):
        client.post("/api/session", json={"subject": "S001"})
        seen: list[dict[str, Any]] = []

        def follow() -> None:
            with client_of(address) as other, other.stream("GET", "/api/events") as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        seen.append(json.loads(line[6:]))
                        if seen[-1]["session"]["pairs"]:
                            return

        follower = threading.Thread(target=follow)
        follower.start()
        client.post("/api/session/shoot", json={})
        follower.join(30)

        phases = [state["phase"] for state in seen]
        assert "photographing" in phases
        assert any(state["lamps"]["on"] for state in seen), "whoever watches sees the lamps on"
        assert seen[-1]["session"]["pairs"][0]["pose"] == "frontal"


def test_what_fails_is_a_sentence_and_the_daemon_lives_on(
    open_studio: OpenStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig, folder = open_studio()
    with serving(studio_of(rig, tmp_path / "raw")) as (client, _):
        client.post("/api/session", json={"subject": "S001"})

        def fail_with_lamps_on(sitting: Any) -> None:
            sitting._lamps.on()
            raise ZeroDivisionError("a fault of the program")

        with monkeypatch.context() as broken:
            broken.setattr(desk_module.Sitting, "shoot", fail_with_lamps_on)
            answer = client.post("/api/session/shoot", json={})

        assert answer.status_code == 409
        assert "ZeroDivisionError: a fault of the program); the lamps are off" in answer.json()["error"]
        assert not lamps_are_on(folder)
        state = client.get("/api/state").json()
        assert (state["phase"], state["busy"], state["message"]["kind"]) == ("closed", False, "fault")
        assert client.post("/api/session", json={"subject": "S001"}).json()["session"]["pose"] == "frontal"
        assert client.post("/api/session/shoot", json={}).json()["session"]["pairs"]
    assert "the desk failed" in caplog.text


def test_times_out_of_tolerance_are_retaken_by_themselves_up_to_the_limit_and_said(
    open_studio: OpenStudio, tmp_path: Path
) -> None:
    rig, _ = open_studio()
    with serving(studio_of(replace(rig, tolerance_s=0.0), tmp_path / "raw", retakes=1)) as (client, _):
        client.post("/api/session", json={"subject": "S001"})
        state = client.post("/api/session/shoot", json={}).json()
        assert [take["verdict"] for take in state["session"]["takes"]] == ["rejected", "rejected"]
        assert state["message"]["kind"] == "bad"
        assert "It was repeated 1 time." in state["message"]["text"]
        assert client.get("/api/takes/002/flash").status_code == 200, "what was not kept can be looked at as well"


def test_a_rig_that_is_missing_is_said_at_once_and_again_when_somebody_sits(tmp_path: Path) -> None:
    with serving(studio_of(NO_RIG, tmp_path / "raw", is_emulated=False)) as (client, _):
        answer = client.post("/api/session", json={"subject": "S001"})
        while answer.status_code == 409:  # it is still looking for the board
            answer = client.post("/api/session", json={"subject": "S001"})
        assert answer.status_code == 503
        assert "relay port no board does not exist; plug the board in" in answer.json()["error"]
        state = client.get("/api/state").json()
        assert (state["message"]["kind"], state["lamps"]["connected"]) == ("fault", False)
        assert not (tmp_path / "raw").exists()


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Address]]:
    with serving(studio_of(NO_RIG, tmp_path_factory.mktemp("idle") / "raw")) as served:
        yield served


def test_everything_but_the_page_and_the_description_wants_the_token(idle: tuple[httpx.Client, Address]) -> None:
    _, address = idle
    with httpx.Client(base_url=f"http://127.0.0.1:{address.port}", trust_env=False) as stranger:
        assert stranger.get("/").status_code == 200
        assert address.token not in stranger.get("/").text
        assert stranger.get("/api/openapi.json").status_code == 200
        for path, methods in describe()["paths"].items():
            for method in methods:
                where = path.replace("{", "").replace("}", "")
                assert stranger.request(method, where).status_code == 401, f"{method} {path}"
                wrong = stranger.request(method, where, headers={"Authorization": "Bearer wrong"})
                assert wrong.status_code == 401, f"{method} {path}"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8765"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_another_host_or_page_is_refused_even_with_the_token(
    headers: dict[str, str], idle: tuple[httpx.Client, Address]
) -> None:
    client, _ = idle
    for path in ("/", "/api/state"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


def test_its_own_page_may_ask_under_each_loopback_name(idle: tuple[httpx.Client, Address]) -> None:
    client, address = idle
    for host in (f"127.0.0.1:{address.port}", f"localhost:{address.port}"):
        assert client.get("/api/state", headers={"Host": host, "Origin": f"http://{host}"}).status_code == 200


def test_it_listens_on_loopback_only(idle: tuple[httpx.Client, Address]) -> None:
    _, address = idle
    local = f"{address.port:04X}"
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"]
    assert [entry for entry in listening if entry.endswith(f":{local}")] == [f"0100007F:{local}"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/takes/..%2f..%2fsecret/flash",
        "/api/takes/%2e%2e/flash",
        "/api/takes/001/..%2fpair.json",
        "/api/takes/001/pair",
        "/api/takes/001/flash",
        "/api/pictograms/..%2f..%2fetc%2fpasswd",
        "/api/pictograms/none",
        "/../../etc/passwd",
        "/console.html",
    ],
)
def test_nothing_is_found_by_path(path: str, idle: tuple[httpx.Client, Address]) -> None:
    _, address = idle
    with socket.create_connection(("127.0.0.1", address.port), timeout=20) as line:  # clients would tidy the path
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {address.token}\r\nConnection: close\r\n\r\n"
        line.sendall(head.encode())
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert answer.split()[1] == b"404"


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/api/session", b"{", "not JSON"),
        ("/api/session", b"[" * 9000, "not JSON"),
        ("/api/session", b"[]", "send a JSON object"),
        ("/api/session", b"{}", "field 'subject' is missing"),
        ("/api/session", b'{"subject": 3}', "field 'subject' is not a text"),
        ("/api/session", b'{"subject": "S001", "poses": "up"}', "field 'poses' is not a list of texts"),
        ("/api/session", b'{"subject": "S001", "raw": "/etc"}', "unknown field 'raw'; known here: subject, poses"),
        ("/api/session", b'{"subject": "../S001"}', "is not a subject id"),
        ("/api/subjects", b'{"id": "a/b"}', "is not a subject id"),
        ("/api/session/finish", b'{"reason": "' + b"x" * 20000 + b'"}', "larger than 10000 bytes"),
    ],
)
def test_a_request_that_is_not_as_described_is_refused_with_a_sentence(
    path: str, body: bytes, sentence: str, idle: tuple[httpx.Client, Address]
) -> None:
    client, _ = idle
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert sentence in answer.json()["error"]


def test_a_form_of_another_page_is_no_request(idle: tuple[httpx.Client, Address]) -> None:
    client, _ = idle
    assert client.post("/api/session", data={"subject": "S001"}).status_code == 422


def test_the_page_allows_nothing_from_elsewhere(idle: tuple[httpx.Client, Address]) -> None:
    client, _ = idle
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    (nonce,) = set(re.findall(r"'nonce-([^']+)'", policy))
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert f'<script nonce="{nonce}">' in answer.text
    assert not re.search(r"(src|href)=\"https?:", answer.text)
    assert client.get("/").text != answer.text, "a nonce is used once"


def test_the_description_and_the_answers_agree(open_studio: OpenStudio, tmp_path: Path) -> None:
    """Every key of a real state is described, and every described key is there."""
    rig, _ = open_studio()
    with serving(studio_of(rig, tmp_path / "raw", mirror=tmp_path / "mirror")) as (client, _):
        client.post("/api/session", json={"subject": "S001"})
        state = client.post("/api/session/shoot", json={}).json()
        schemas = client.get("/api/openapi.json").json()["components"]["schemas"]
        assert_described(state, schemas["State"], schemas)
        assert_described(client.get("/api/subjects").json()[0], schemas["Subject"], schemas)


def assert_described(value: Any, schema: dict[str, Any], schemas: dict[str, Any]) -> None:
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        if value is None:
            return
        schema = schema["anyOf"][0]
        assert_described(value, schema, schemas)
    elif schema["type"] == "object":
        assert set(value) == set(schema["properties"])
        for name, part in schema["properties"].items():
            assert_described(value[name], part, schemas)
    elif schema["type"] == "array":
        for entry in value:
            assert_described(entry, schema["items"], schemas)
    else:
        assert isinstance(value, {"string": str, "integer": int, "boolean": bool}[schema["type"]])
        assert value in schema.get("enum", [value])


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        Desk(studio_of(NO_RIG, tmp_path)) as desk,
        pytest.raises(ServingError, match="cannot be listened on"),
        running_daemon(desk, port=taken.getsockname()[1]),
    ):
        pass


def test_an_unplugged_board_is_said_while_nobody_shoots(open_studio: OpenStudio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    with serving(studio_of(rig, tmp_path / "raw")) as (client, _):
        client.post("/api/session", json={"subject": "S001"})
        order_fault(folder, Fault("relay", "unplugged", for_s=2))
        wait_until(lambda: client.get("/api/state").json()["lamps"]["fault"])
        wait_until(lambda: client.post("/api/rig/connect", json={}).status_code == 200)
        assert client.get("/api/state").json()["lamps"]["fault"] == ""
        assert client.post("/api/session/shoot", json={}).json()["session"]["pairs"], "the sitting has its rig back"


def test_a_killed_daemon_leaves_the_lamps_off_and_the_next_one_goes_on(open_studio: OpenStudio, tmp_path: Path) -> None:
    rig, folder = open_studio()
    save_rig(rig, tmp_path / "rig.toml")
    with daemon_process(tmp_path) as (daemon, client):
        client.post("/api/subjects", json={"id": "S001", "consent": ""})
        client.post("/api/session", json={"subject": "S001", "poses": ["frontal", "left"]})
        first = client.post("/api/session/shoot", json={}).json()["session"]["pairs"]
        shooting = threading.Thread(target=lambda: suppressed(client.post, "/api/session/shoot", json={}))
        shooting.start()
        wait_until(lambda: lamps_are_on(folder))
        daemon.kill()
        killed_s = time.monotonic()
        wait_until(lambda: not lamps_are_on(folder))
        assert time.monotonic() - killed_s < LAMPS_LIMIT_S
        shooting.join()

    with daemon_process(tmp_path) as (_, client):
        state = client.post("/api/session", json={"subject": "S001", "poses": ["frontal", "left"]}).json()
        assert state["session"]["pairs"] == first
        assert state["session"]["pose"] == "left"
        state = client.post("/api/session/shoot", json={}).json()
        assert [pair["pose"] for pair in state["session"]["pairs"]] == ["frontal", "left"]
    assert len(find_pairs(tmp_path / "raw")[0]) == 2


def test_the_phone_that_is_waited_for_is_said_with_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    camera_port = f"phone:{free_port()}"
    with emulated_board(tmp_path / "board") as board:
        rig = replace(board, camera_port=camera_port, camera_lag_s=0.0, tolerance_s=0.5, check_faces=False, check_eyes=False)
        with serving(studio_of(rig, tmp_path / "raw", is_emulated=False)) as (client, _):
            address = phone_address(camera_port)
            wait_until(lambda: address in client.get("/api/state").json()["message"]["text"])
            with HandPhone(address) as phone:
                wait_until(lambda: client.get("/api/state").json()["phase"] == "closed")
                client.post("/api/session", json={"subject": "S001", "poses": ["frontal"]})
                state = client.post("/api/session/shoot", json={}).json()
                assert state["camera"]["name"] == "Hand 1"
                assert [order["do"] for order in phone.orders][-1] in {"saved", "shoot"}
                assert state["session"]["takes"][0]["pictures"]


@contextmanager
def daemon_process(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", httpx.Client]]:
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder / "run")}
    command = [sys.executable, "-m", "deepflash", "capture", "daemon", "--rig=rig.toml", "--port=0", "--json"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment) as daemon:
        assert daemon.stdout is not None
        with client_of(read_address(json.loads(daemon.stdout.readline())["url"])) as client:
            wait_until(lambda: not client.get("/api/state").json()["busy"])
            yield daemon, client
        daemon.terminate()


def suppressed(call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    with suppress(httpx.HTTPError):
        call(*arguments, **options)


def wait_until(condition: Callable[[], Any], limit_s: float = 30.0) -> None:
    until_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until_s, "it never happened"
        time.sleep(0.02)
