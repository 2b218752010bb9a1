"""The same bytes come from a folder, a web server and an object store, and failures are sentences."""

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from deepflash.places import CachedPlace, LocalFolder, ObjectFolder, Place, WebFolder, folders_like, place_at
from tests.web_folder import WebServer, serve

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "files"
    path.mkdir()
    (path / "a+b.tar").write_bytes(CONTENT)
    return path


@pytest.fixture
def web(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr("deepflash.places._PAUSES_S", (0.0, 0.0))
    with serve(folder) as server:
        yield server


@pytest.fixture(params=["local", "file", "web", "store", "cached"])
def place(request: pytest.FixtureRequest, folder: Path, web: WebServer, tmp_path: Path) -> Place:
    if request.param == "store":
        store = fsspec.filesystem("memory")
        store.pipe(f"/{tmp_path.name}/set/a+b.tar", CONTENT)
        return place_at(f"memory://{tmp_path.name}/set")
    if request.param == "cached":
        return CachedPlace(place_at(web.url), tmp_path / "cache")
    return place_at({"local": folder, "file": f"file://{folder}", "web": f"{web.url}/"}[request.param])


def test_the_same_bytes_come_from_everywhere(place: Place, tmp_path: Path) -> None:
    assert place.read("a+b.tar") == CONTENT
    assert place.read_range("a+b.tar", 100, 50) == CONTENT[100:150]
    assert place.read_range("a+b.tar", len(CONTENT) - 3, 50) == CONTENT[-3:]
    place.fetch("a+b.tar", tmp_path / "there" / "copy.tar")
    assert (tmp_path / "there" / "copy.tar").read_bytes() == CONTENT


def test_a_place_travels_to_another_process(place: Place) -> None:
    place.read_range("a+b.tar", 0, 1)
    assert pickle.loads(pickle.dumps(place)).read_range("a+b.tar", 1, 2) == CONTENT[1:3]


def test_what_is_not_there_is_said_to_be_missing(place: Place, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        place.read("c.tar")
    with pytest.raises(FileNotFoundError):
        place.read_range("c.tar", 0, 1)
    with pytest.raises(FileNotFoundError):
        place.fetch("c.tar", tmp_path / "copy.tar")
    assert not (tmp_path / "copy.tar").exists()


@pytest.mark.parametrize("fault", [503, 429, "cut"])
def test_a_server_that_is_busy_or_hangs_up_is_asked_again(web: WebServer, fault: object, tmp_path: Path) -> None:
    web.faults = [fault]
    assert WebFolder(web.url).read_range("a+b.tar", 5, 9) == CONTENT[5:14]
    web.faults = [fault]
    WebFolder(web.url).fetch("a+b.tar", tmp_path / "copy.tar")
    assert (tmp_path / "copy.tar").read_bytes() == CONTENT


def test_a_server_that_goes_on_failing_is_named(web: WebServer) -> None:
    web.faults = [503] * 3
    with pytest.raises(OSError, match="the server answers 503 Service Unavailable"):
        WebFolder(web.url).read("a+b.tar")
    web.faults = ["cut"] * 3
    with pytest.raises(OSError, match="the server does not answer"):
        WebFolder(web.url).read("a+b.tar")


def test_a_server_that_forbids_is_not_asked_again(web: WebServer) -> None:
    web.faults = [403]
    with pytest.raises(OSError, match="the server answers 403 Forbidden"):
        WebFolder(web.url).read("a+b.tar")
    assert len(web.asked) == 1


def test_a_server_that_is_not_there_is_said_to_be_silent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepflash.places._PAUSES_S", ())
    with serve(folder) as gone:
        pass
    with pytest.raises(OSError, match=r"does not answer .*refused"):
        WebFolder(gone.url).read("a+b.tar")


def test_a_server_without_ranges_is_read_through_a_cache_only(folder: Path, web: WebServer, tmp_path: Path) -> None:
    web.ranges = False
    with pytest.raises(OSError, match="sends whole files only; give a cache folder"):
        WebFolder(web.url).read_range("a+b.tar", 5, 9)
    assert CachedPlace(WebFolder(web.url), tmp_path / "cache").read_range("a+b.tar", 5, 9) == CONTENT[5:14]


def test_a_cache_is_filled_once_whoever_reads(web: WebServer, tmp_path: Path) -> None:
    place = CachedPlace(WebFolder(web.url), tmp_path / "cache")
    readers = [threading.Thread(target=place.read_range, args=("a+b.tar", n, 5)) for n in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(web.asked) == 1


def test_a_token_goes_along_and_is_not_told(web: WebServer) -> None:
    place = WebFolder(f"{web.url}/?token=secret")
    place.read("a+b.tar")
    assert web.asked == [("/a%2Bb.tar?token=secret", "")]
    assert "secret" not in str(place)


def test_unknown_stores_say_what_is_missing() -> None:
    with pytest.raises(OSError, match="Protocol not known: xyz"):
        place_at("xyz://bucket/set")


def test_folders_are_listed_where_that_is_possible(tmp_path: Path) -> None:
    for name in ("s1", "s2", "t1"):
        (tmp_path / name).mkdir()
        fsspec.filesystem("memory").pipe(f"/{tmp_path.name}/{name}/x", b"")
    assert folders_like(f"{tmp_path}/s*") == [f"{tmp_path}/s1", f"{tmp_path}/s2"]
    found = folders_like(f"memory://{tmp_path.name}/s*")
    assert [name.rpartition("/")[2] for name in found] == ["s1", "s2"]
    assert all(isinstance(place_at(name), ObjectFolder) for name in found)
    with pytest.raises(OSError, match="lists no folders"):
        folders_like("http://localhost/s*")


def test_a_path_is_a_folder_of_this_machine(tmp_path: Path) -> None:
    assert place_at(tmp_path) == place_at(str(tmp_path)) == LocalFolder(tmp_path)
