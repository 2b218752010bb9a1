"""Pairs from anywhere reach the raw layout whole, once, and under a pseudonym; whatever does not is told."""

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deepflash.align.batch import align_batch
from deepflash.cli import import_command
from deepflash.dataset import layouts
from deepflash.dataset.examine import examine
from deepflash.dataset.importing import Import, import_pairs
from deepflash.dataset.layouts import find_layout
from deepflash.dataset.lists import read_list
from deepflash.dataset.names import Name, names_path, read_names
from deepflash.dataset.patterns import sorter_of
from deepflash.dataset.sources import LIGHTS, Candidate, find_pairs_by
from deepflash.errors import DatasetError, DeepflashError, PictureError
from deepflash.files import sha256_of
from deepflash.pairs import find_pairs, load_alignments
from deepflash.pictures import Picture, read_header
from tests.dataset.test_rotated import turned
from tests.dataset.test_two_lights import write16

REAL = Path(__file__).parents[3] / "shared" / "data" / "pairs" / "motion"
WIDTH, HEIGHT = 48, 36
PATTERN = "{subject}/{pose}_{light}.*"


def noise(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def photograph(
    path: Path, seed: int, *, form: str = "JPEG", size: tuple[int, int] = (WIDTH, HEIGHT), orientation: int = 0
) -> Path:
    """Save a picture of noise, of its own content for each seed, in a format that its name need not tell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(noise(seed, size[1], size[0])).save(path, form, exif=exif)
    return path


def pair(folder: Path, subject: str, pose: str, seed: int) -> None:
    photograph(folder / subject / f"{pose}_flash.jpg", seed)
    photograph(folder / subject / f"{pose}_studio.jpg", seed + 1)


def bring(source: Path, raw: Path, pattern: str = PATTERN, **options: Any) -> Import:
    return import_pairs(find_pairs_by(sorter_of(pattern), source, "pattern", f"as {pattern}"), raw, workers=1, **options)


def reasons(result: Import) -> dict[str, str]:
    return {entry.item: entry.reason for entry in result.account.set_aside}


def counts(result: Import) -> tuple[int, int, int]:
    return result.account.done, result.account.skipped, len(result.account.set_aside)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_pairs_are_numbered_and_who_is_who_stays_outside_the_tree(tmp_path: Path) -> None:
    source, raw = tmp_path / "photos", tmp_path / "raw"
    for number, subject in enumerate(("Anna Bauer", "小林 ゆみ")):
        pair(source, subject, "left", 10 * number)
    pair(source, "Anna Bauer", "front", 20)
    before = everything(source)

    result = bring(source, raw)

    assert counts(result) == (3, 0, 0)
    pairs, set_aside = find_pairs(raw)
    assert [(each.id, each.pose) for each in pairs] == [
        ("S001-import-001", "front"),
        ("S001-import-002", "left"),
        ("S002-import-001", "left"),
    ]
    assert set_aside == []
    assert everything(source) == before, "a source is never changed"
    assert sha256_of(pairs[1].studio) == sha256_of(source / "Anna Bauer" / "left_studio.jpg")
    names = tmp_path / "raw-subjects.json"
    assert {(name.id, name.word) for name in read_names(names)} == {("S001", "Anna Bauer"), ("S002", "小林 ゆみ")}
    assert stat.S_IMODE(names.stat().st_mode) == 0o600
    assert not any(b"Anna" in content for content in everything(raw).values())


def test_the_same_call_again_does_nothing_and_a_later_one_what_is_new(tmp_path: Path) -> None:
    source, raw = tmp_path / "photos", tmp_path / "raw"
    pair(source, "Zoe", "left", 0)
    bring(source, raw)
    before = everything(raw)
    assert counts(bring(source, raw)) == (0, 1, 0)
    assert everything(raw) == before

    pair(source, "Anna", "left", 10)
    pair(source, "Zoe", "aside", 20)
    moved = source.rename(tmp_path / "moved")
    assert counts(bring(moved, raw)) == (2, 1, 0)
    assert [(each.id, each.pose) for each in find_pairs(raw)[0]] == [
        ("S001-import-001", "left"),
        ("S001-import-002", "aside"),
        ("S002-import-001", "left"),
    ], "Zoe keeps her number although her folder moved, and Anna gets the next"
    assert set(before.items()) <= set(everything(raw).items())


def test_what_cannot_be_used_is_set_aside_with_a_sentence_and_the_rest_goes_on(tmp_path: Path) -> None:
    source, raw = tmp_path / "photos", tmp_path / "raw"
    for number, subject in enumerate("abcdefghijk"):
        pair(source, subject, "x", 10 * number)
    spoil: dict[str, Callable[[Path], Any]] = {
        "a": lambda flash: flash.write_bytes(flash.read_bytes()[:-600]),
        "b": lambda flash: flash.write_bytes(b"no picture"),
        "c": lambda flash: photograph(flash, 1, size=(WIDTH, HEIGHT + 2)),
        "d": lambda flash: flash.write_bytes((flash.parent / "x_studio.jpg").read_bytes()),
        "e": lambda flash: photograph(flash, 2, orientation=6),
        "f": lambda flash: flash.rename(flash.with_suffix(".dng")),
        "g": lambda flash: flash.write_bytes(b"\0\0\0\x18ftypheic" + bytes(50)),
        "h": lambda flash: photograph(flash, 3, form="GIF"),
        "i": lambda flash: flash.write_bytes(bomb()),
        "j": lambda flash: (flash.unlink(), flash.symlink_to("nowhere")),
    }
    for subject, spoiled in spoil.items():
        spoiled(source / subject / "x_flash.jpg")

    result = bring(source, raw)

    assert counts(result) == (1, 0, 10)
    said = {item.partition("/")[0]: reason for item, reason in reasons(result).items()}
    for subject, words in {
        "a": "is truncated or damaged",
        "b": "is not a readable picture",
        "c": "48 x 38 pixels when upright and x_studio.jpg 48 x 36; a pair needs two photographs of one size",
        "d": "are copies of one photograph",
        "e": "36 x 48 pixels when upright",
        "f": "is a camera's RAW file; develop it",
        "g": "is a HEIC picture, which is not read here; convert it to JPEG",
        "h": "is a GIF file; convert it",
        "i": "megapixels",
        "j": "does not exist",
    }.items():
        assert words in said[subject], subject
    assert [each.subject for each in find_pairs(raw)[0]] == ["S001"]
    assert [name.word for name in read_names(names_path(raw))] == ["k"], "nobody gets a number for nothing"


def bomb() -> bytes:
    """A PNG whose header claims 60,000 x 60,000 pixels."""
    header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    checksum = __import__("zlib").crc32(header)
    return (
        b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + header + checksum.to_bytes(4, "big") + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"
    )


def test_a_name_that_lies_about_its_format_is_corrected_and_orientation_is_read(tmp_path: Path) -> None:
    source, raw = tmp_path / "photos", tmp_path / "raw"
    photograph(source / "a" / "x_flash.jpg", 1, form="PNG", size=(HEIGHT, WIDTH))
    photograph(source / "a" / "x_studio.png", 2, form="JPEG", orientation=6)
    photograph(source / "b" / "x_flash.webp", 3, form="TIFF")
    photograph(source / "b" / "x_studio.jpg", 4, form="WEBP")
    photograph(source / "c" / "x_flash.heic", 5, form="MPO", orientation=8)  # as phones write JPEGs with a second picture
    photograph(source / "c" / "x_studio.tif", 6, form="TIFF", orientation=6)
    assert counts(bring(source, raw)) == (3, 0, 0)
    first, second, third = find_pairs(raw)[0]
    assert (first.flash.name, first.studio.name) == ("flash.png", "studio.jpg")
    assert (second.flash.name, second.studio.name) == ("flash.tif", "studio.webp")
    assert (third.flash.name, third.studio.name) == ("flash.jpg", "studio.tif")
    assert read_header(first.studio).width == read_header(third.studio).width == HEIGHT


def test_what_may_not_be_read_or_is_no_file_is_a_sentence_for_its_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flash, studio = (photograph(tmp_path / f"{light}.jpg", seed) for seed, light in enumerate(LIGHTS))
    fifo, circle = tmp_path / "fifo.jpg", tmp_path / "circle.jpg"
    os.mkfifo(fifo)
    circle.symlink_to(circle)
    for path, sentence in ((fifo, "is not a file"), (circle, "circle.jpg .*; replace the file"), (tmp_path, "is not a file")):
        with pytest.raises(PictureError, match=sentence):
            examine(Candidate("a", path, studio, "a"))

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("deepflash.dataset.examine.sha256_of", refuse)
    with pytest.raises(DatasetError, match=r"flash.jpg cannot be read \(Permission denied\); mend that"):
        examine(Candidate("a", flash, studio, "a"))


def test_by_reference_nothing_is_copied_and_everything_is_found(tmp_path: Path) -> None:
    source, raw = tmp_path / "photos", tmp_path / "raw"
    pair(source, "a", "x", 0)
    assert counts(bring(source, raw, by_reference=True)) == (1, 0, 0)
    ((found,), set_aside) = find_pairs(raw)
    assert set_aside == []
    assert (found.flash, found.studio) == (source / "a" / "x_flash.jpg", source / "a" / "x_studio.jpg")
    assert [path.name for path in raw.rglob("*") if path.is_file()] == ["pair.json"]

    moved = source.rename(tmp_path / "moved")
    result = bring(moved, raw, by_reference=True)
    assert counts(result) == (0, 0, 1)
    assert "001 already, which is damaged; remove that folder and import again" in reasons(result)["a/x"]
    (raw / "S001" / "import" / "001" / "pair.json").unlink()
    (raw / "S001" / "import" / "001").rmdir()
    assert counts(bring(moved, raw, by_reference=True)) == (1, 0, 0)
    assert find_pairs(raw)[0][0].subject == "S001", "the same person as before the move"


def test_a_name_that_is_not_utf8_can_be_copied_but_not_referred_to(tmp_path: Path) -> None:
    source = tmp_path / "photos"
    pair(source, os.fsdecode(b"Ren\xe9"), "x", 0)
    result = bring(source, tmp_path / "referred", by_reference=True)
    assert "is not UTF-8 and cannot stand in pair.json; rename it, or import a copy" in reasons(result)["Ren\\udce9/x"]
    assert counts(bring(source, tmp_path / "copied")) == (1, 0, 0)
    assert read_names(tmp_path / "copied-subjects.json") == [Name("S001", str(source), "Ren\\udce9")]


def test_sidecars_that_say_nonsense_are_no_hindrance(tmp_path: Path) -> None:
    source, raw = tmp_path / "photos", tmp_path / "raw"
    pair(source, "a", "x", 0)
    bring(source, raw)
    sidecar = raw / "S001" / "import" / "001" / "pair.json"
    for take, content in enumerate(
        ("{", "[]", '{"subject": 1, "imported": 2}', '{"subject": "a", "imported": {"flash_sha256": []}}')
    ):
        (raw / "S009" / "import" / f"{take}").mkdir(parents=True)
        (raw / "S009" / "import" / f"{take}" / "pair.json").write_text(content)
    assert counts(bring(source, raw)) == (0, 1, 0)
    sidecar.write_text(sidecar.read_text().replace('"size_bytes": ', '"size_bytes": 9'))
    result = bring(source, raw)
    assert "is " + str(sidecar.parent) + " already, which is damaged" in reasons(result)["a/x"]


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(tmp_path: Path) -> None:
    source, raw = tmp_path / "photos", tmp_path / "raw"
    pair(source, "a", "x", 0)
    photograph(source / "b" / "x_flash.jpg", 5)
    result = bring(source, raw, dry_run=True)
    assert counts(result) == (1, 0, 1)
    assert result.takes == [{"item": "a/x", "folder": str(raw / "S001" / "import" / "001")}]
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_kept_words_must_be_ids(tmp_path: Path) -> None:
    source, raw = tmp_path / "photos", tmp_path / "raw"
    pair(source, "S007", "x", 0)
    pair(source, "Anna Bauer", "x", 10)
    result = bring(source, raw, subjects="keep")
    assert counts(result) == (1, 0, 1)
    assert "'Anna Bauer' is not a subject id" in reasons(result)["Anna Bauer/x"]
    assert "--subjects number" in reasons(result)["Anna Bauer/x"]
    (found,) = find_pairs(raw)[0]
    assert found.subject == "S007"
    assert found.record["imported"]["flash"] == "S007/x_flash.jpg"
    assert not names_path(raw).exists()


def test_a_list_brings_sessions_takes_and_consent(tmp_path: Path) -> None:
    for seed in range(6):
        photograph(tmp_path / "files" / f"{seed}.jpg", seed)
    rows = [
        "flash,studio,subject,session,take,pose,consent",
        "0.jpg,1.jpg,Anna/Maria,monday,7,looks left,form 12",
        "2.jpg,3.jpg,Anna/Maria,monday,7,,",
        "0.jpg,1.jpg,Bo,,,,",
        "4.jpg,5.jpg,Bo,,,,",
        "4.jpg,none.jpg,Bo,,,,",
    ]
    (tmp_path / "files" / "pairs.csv").write_text("\n".join(rows))
    result = import_pairs(read_list(tmp_path / "files" / "pairs.csv"), tmp_path / "raw", workers=1)
    assert counts(result) == (2, 0, 3)
    said = reasons(result)
    assert "is another pair's take already" in said["pairs.csv, line 3"]
    assert said["pairs.csv, line 4"] == "holds the same two photographs as pairs.csv, line 2; remove one of them"
    assert "none.jpg does not exist" in said["pairs.csv, line 6"]
    first, second = find_pairs(tmp_path / "raw")[0]
    assert (first.id, first.pose[:10], first.record["consent"]) == ("S001-monday-7", "looks-left", "form 12")
    assert (second.id, "consent" in second.record) == ("S002-import-001", False)


def test_numbers_go_on_after_what_the_tree_and_the_list_hold(tmp_path: Path) -> None:
    source, raw = tmp_path / "photos", tmp_path / "raw"
    (raw / "S041" / "20261120T124744").mkdir(parents=True)
    pair(source, "a", "x", 0)
    bring(source, raw)
    assert find_pairs(raw)[0][0].subject == "S042"


def test_a_damaged_list_of_names_stops_the_import(tmp_path: Path) -> None:
    source, raw = tmp_path / "photos", tmp_path / "raw"
    pair(source, "a", "x", 0)
    for damage in ("{", '{"format": 1, "subjects": [{"id": "../x", "source": "", "word": ""}]}', '{"format": 9}'):
        names_path(raw).write_text(damage)
        with pytest.raises(DeepflashError, match=r"is damaged|another version|is not a subject id"):
            bring(source, raw)
        assert names_path(raw).read_text() == damage


def test_source_and_tree_may_not_lie_in_one_another(tmp_path: Path) -> None:
    source = tmp_path / "photos"
    pair(source, "a", "x", 0)
    with pytest.raises(DatasetError, match=r"raw lies in the source .*; give a tree outside of it"):
        bring(source, source / "raw")
    with pytest.raises(DatasetError, match=r"lies in .*; give a tree outside of it"):
        bring(source, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="is a file; give a folder"):
        bring(source, tmp_path / "file")


def test_two_imports_into_one_tree_do_not_meet(tmp_path: Path) -> None:
    source, raw = tmp_path / "photos", tmp_path / "raw"
    pair(source, "a", "x", 0)
    raw.mkdir()
    descriptor = os.open(raw, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(DatasetError, match=r"another import into .* runs; wait until it has ended"):
            bring(source, raw)
    finally:
        os.close(descriptor)
    assert counts(bring(source, raw)) == (1, 0, 0)


def test_a_disk_that_is_too_small_is_told_before_anything_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, raw = tmp_path / "photos", tmp_path / "raw"
    pair(source, "a", "x", 0)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=99))
    with pytest.raises(DatasetError, match=r"MB free, the photographs need .*; make space, or import them by reference"):
        bring(source, raw)
    assert list(raw.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run without workers, whose disk cannot be filled from here: what `import_pairs` has each of them do."""
    source, raw = tmp_path / "photos", tmp_path / "raw"
    pair(source, "a", "x", 0)

    def full(origin: Path, copy: Path) -> None:
        raise OSError(28, "No space left on device", str(origin))

    def in_this_process(unit: Callable[[Any], Any], units: list[Any], **_: Any) -> Iterator[SimpleNamespace]:
        return (SimpleNamespace(unit=each, value=unit(each), error=None) for each in units)

    monkeypatch.setattr("deepflash.dataset.importing.run_all", in_this_process)
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(OSError, match="No space left") as error:
        bring(source, raw)
    assert error.value.filename == str(raw / "S001" / "import" / "001")
    assert list((raw / "S001" / "import").iterdir()) == []
    monkeypatch.undo()
    assert counts(bring(source, raw)) == (1, 0, 0)


def test_the_deepflash_portraits_are_imported_once_each(tmp_path: Path, astronaut: Picture) -> None:
    """Each portrait lies there at several angles, in files whose names do not tell."""
    source = tmp_path / "DPD"
    rng = np.random.default_rng(0)
    flash = np.clip(astronaut * 0.7 + 20, 0, 255).astype(np.uint8)
    for name, angle in (("3", -20), ("8", 10), ("17", 0), ("40", 20), ("41", -10)):
        for folder, picture in (("inputs_origin", flash), ("target", astronaut)):
            (source / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(turned(picture, angle)).save(source / folder / f"{name}.png")
    (source / "inputs_origin" / "17.png").rename(tmp_path / "flash")
    (source / "target" / "17.png").rename(tmp_path / "studio")
    early = import_pairs(find_layout(source, "deepflash"), tmp_path / "early", subjects="keep", workers=1)
    assert counts(early) == (1, 3, 0)
    (tmp_path / "flash").rename(source / "inputs_origin" / "17.png")
    (tmp_path / "studio").rename(source / "target" / "17.png")
    late = import_pairs(find_layout(source, "deepflash"), tmp_path / "early", subjects="keep", workers=1)
    assert counts(late) == (0, 5, 0), "what is in the tree at one angle is not imported again at a better one"
    for folder in ("inputs_origin", "target"):
        other = rng.integers(0, 256, (*astronaut.shape[:2], 3), np.uint8)
        Image.fromarray(other).save(source / folder / "5.png")

    found = find_layout(source, "deepflash")
    result = import_pairs(found, tmp_path / "raw", subjects="keep", workers=1)

    assert counts(result) == (2, 4, 0)
    assert [each.subject for each in find_pairs(tmp_path / "raw")[0]] == ["DPD-17", "DPD-5"]
    assert [(copy["item"], copy["copy_of"], round(copy["angle_deg"], -1)) for copy in result.copies] == [
        ("DPD-3", "DPD-17", -20),
        ("DPD-8", "DPD-17", 10),
        ("DPD-40", "DPD-17", 20),
        ("DPD-41", "DPD-17", -10),
    ]
    assert any("does not say who is photographed" in note for note in result.notes)
    assert any("at another angle were counted as skipped" in note for note in result.notes)
    assert counts(import_pairs(found, tmp_path / "raw", subjects="keep", workers=1)) == (0, 6, 0)


def test_flash_and_ambient_light_are_added_as_a_phone_would_see_them(tmp_path: Path) -> None:
    source = tmp_path / "People"
    source.mkdir()
    light = np.full((HEIGHT, WIDTH, 3), 0.2)
    write16(source / "People_014_flash.png", 2 * light)
    write16(source / "People_014_ambient.png", light)
    (source / "People_014_flash.mat").touch()
    found = find_layout(source, "faid")
    with pytest.raises(DatasetError, match="are computed from two, so they cannot be referred to; import copies"):
        import_pairs(found, tmp_path / "raw", by_reference=True)

    assert counts(import_pairs(found, tmp_path / "raw", subjects="keep", workers=1)) == (1, 0, 0)

    ((made,), _) = find_pairs(tmp_path / "raw")
    assert made.subject == "FAID-People_014"
    assert np.unique(np.asarray(Image.open(made.flash))).tolist() == [203], "sRGB of 0.6 (IEC 61966-2-1: 202.9)"
    assert np.unique(np.asarray(Image.open(made.studio))).tolist() == [124], "sRGB of 0.2 (123.5)"
    assert made.record["imported"]["lights"] == {"colours": "linear", "clipped_fraction": 0.0}
    assert made.record["imported"]["flash_sha256"] == sha256_of(source / "People_014_flash.png")
    assert counts(import_pairs(found, tmp_path / "raw", subjects="keep", workers=1)) == (0, 1, 0)


def test_every_pair_json_says_where_it_comes_from(tmp_path: Path) -> None:
    pair(tmp_path / "photos", "a", "x", 0)
    bring(tmp_path / "photos", tmp_path / "raw")
    content = json.loads((tmp_path / "raw" / "S001" / "import" / "001" / "pair.json").read_text())
    assert content["imported"] == {
        "source": "pattern",
        "flash_sha256": sha256_of(tmp_path / "photos" / "a" / "x_flash.jpg"),
        "studio_sha256": sha256_of(tmp_path / "photos" / "a" / "x_studio.jpg"),
    }


def test_an_import_that_was_killed_goes_on_and_ends_as_one_that_was_not(tmp_path: Path) -> None:
    source, killed, undisturbed = (tmp_path / name for name in ("photos", "killed", "undisturbed"))
    for number in range(60):
        pair(source, f"person {number % 20}", f"pose{number}", 2 * number)
    command = [sys.executable, "-m", "deepflash", "import", str(source), str(killed), "--pattern", PATTERN]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        if len(list(killed.glob("S*/import/*/pair.json"))) >= 5 or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = find_pairs(killed)[0]
    assert len(before) >= 5

    result = bring(source, killed)

    assert (result.account.total, result.account.set_aside) == (60, [])
    assert result.account.skipped >= len(before), "a worker may have stored one more before it saw that its parent is gone"
    until_s = time.monotonic() + 60
    while list(killed.rglob(".tmp-*")) and time.monotonic() < until_s:
        time.sleep(0.2)  # a worker of the killed import may still wait for the disk
        bring(source, killed)  # sweeps what it left
    bring(source, undisturbed)
    assert everything(killed) == everything(undisturbed)
    assert names_path(killed).read_bytes() == names_path(undisturbed).read_bytes()


def test_the_command_explains_itself(tmp_path: Path) -> None:
    pair(tmp_path / "photos", "Anna", "x", 0)
    photograph(tmp_path / "photos" / "Bo" / "x_flash.jpg", 5)
    (tmp_path / "photos" / "Bo" / "notes.txt").touch()

    def deepflash(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deepflash", "import", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    dry = deepflash("photos", "raw", "--pattern", PATTERN, "--dry-run")
    assert dry.returncode == 3
    assert dry.stdout.splitlines() == [
        "Anna/x -> raw/S001/import/001",
        "dry run, nothing was written: 2 pairs in = 1 done + 0 skipped + 1 set aside",
    ]
    assert "set aside Bo/x: Bo/x_flash.jpg has no studio photograph to it" in dry.stderr
    assert "note: 1 file is not named as {subject}/{pose}_{light}.*; left out: Bo/notes.txt" in dry.stderr
    assert not (tmp_path / "raw").exists()

    told = json.loads(deepflash("photos", "raw", "--pattern", PATTERN, "--reference", "--json").stdout)
    assert (told["in"], told["done"], told["dry_run"]) == (2, 1, False)
    assert told["takes"] == [{"item": "Anna/x", "folder": "raw/S001/import/001"}]

    for arguments, sentence in (
        (("photos", "raw"), "either --pattern or --layout"),
        (("photos", "raw", "--pattern", PATTERN, "--layout", "ebb"), "either --pattern or --layout"),
        (("photos", "raw", "--layout", "ebb", "--flash-word", "x"), "go with --pattern"),
        (("photos", "raw", "--layout", "ebb", "--root", "photos"), "--root goes with a list"),
    ):
        refused = deepflash(*arguments)
        assert refused.returncode == 2
        assert sentence in refused.stderr
    layout = next(option for option in import_command.params if option.name == "layout")
    assert list(getattr(layout.type, "choices", ())) == list(layouts.LAYOUTS)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pairs are not here (../shared/data)")
def test_real_pairs_by_reference_are_aligned_and_built(tmp_path: Path) -> None:
    """From photographs with other people's names to shards, without a copy of a photograph in between."""
    source, raw, aligned, shards = (tmp_path / name for name in ("photos", "raw", "aligned", "shards"))
    for path in sorted(REAL.glob("*_*.jpg")):
        person, _, light = path.stem.partition("_")
        (source / f"person {person}").mkdir(parents=True, exist_ok=True)
        (source / f"person {person}" / f"left {light}.png").write_bytes(path.read_bytes())  # JPEGs that lie

    assert counts(bring(source, raw, "{subject}/{pose} {light}.png", by_reference=True)) == (2, 0, 0)
    account = align_batch(raw, aligned, workers=1)
    assert (account.done, account.set_aside) == (2, [])
    assert align_batch(raw, aligned, workers=1).skipped == 2
    alignments, _ = load_alignments(aligned)
    assert [alignment.subject for alignment in alignments] == ["S001", "S002"]
    assert alignments[0].flash == source / "person 01" / "left flash.png"
    command = [sys.executable, "-m", "deepflash", "build-dataset", str(aligned), str(shards), "--size", "32", "--workers", "1"]
    built = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "2 pairs in = 2 done" in built.stdout, built.stderr
    assert (shards / "dataset.json").exists()
