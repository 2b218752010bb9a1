"""A person who is forgotten is in no byte of any tree; everybody else is there to the byte."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from deepflash.cli import cli
from deepflash.dataset import forget_shards
from deepflash.dataset.build import PIECES, build_dataset
from deepflash.dataset.forget import erase, find_traces
from deepflash.dataset.gate import Gate
from deepflash.dataset.names import Name, names_path, read_names, write_names
from deepflash.dataset.parameters import Parameters
from deepflash.dataset.pieces import render_piece
from deepflash.dataset.traces import Person, without
from deepflash.dataset.verify import verify
from deepflash.errors import DatasetError, ExitCode, ShardError
from deepflash.files import locked_folder, sha256_of, write_json, write_sealed_json
from deepflash.pairs import Alignment, Original, commit_originals, commit_pair, load_alignments, save_alignment, take_folder
from deepflash.pictures import encode
from deepflash.shards import FORGETTING, INDEX_FILE, SPLITS, open_shards

MakeAlignment = Callable[..., Alignment]
SIZE = 32
GONE = "S002"
FIXED = {"S001": "train", "S002": "train", "S003": "val", "S004": "train"}
PARAMETERS = Parameters(size=SIZE, leakage_check=False, fixed=FIXED, gate=Gate(leave_out=("S002-x-99",)))
SESSION = "20260101T000000"


@pytest.fixture
def studio(tmp_path: Path, astronaut: np.ndarray) -> Path:
    """A folder with a raw tree of four subjects, its alignments, and a data set in several shards."""
    source = tmp_path / "source.jpg"
    for number, subject in enumerate(FIXED):
        for take in ("001", "002"):
            picture = np.roll(astronaut, 7 * number + int(take), axis=1)
            source.write_bytes(encode(picture, ".jpg"))
            other = tmp_path / "other.jpg"
            other.write_bytes(encode(np.roll(picture, 1, axis=0), ".jpg"))
            record = {"subject": subject, "session": SESSION, "take": take, "pose": "frontal" if take == "001" else subject[-1]}
            commit_pair(take_folder(tmp_path / "raw", subject, SESSION, take), source, other, record)
        session = tmp_path / "raw" / subject / SESSION
        log = [{"at_utc": "2026", "what": "mirror", "root": "/mnt/second"}]
        attempts = [{"take": take, "verdict": "good"} for take in ("001", "002")]
        write_sealed_json(session / "session.json", {"format": 2, "subject": subject, "attempts": attempts, "log": log})
        write_sealed_json(session.parent / "subject.json", {"format": 1, "id": subject, "consent": f"form of {subject}"})
        journal = tmp_path / "raw-emulator" / subject / "lamps.jsonl"
        journal.parent.mkdir(parents=True)
        journal.write_text("{}\n")
    write_names(names_path(tmp_path / "raw"), [Name(subject, "list", f"word-{subject}") for subject in FIXED])
    return tmp_path


@pytest.fixture
def whole(studio: Path, make_alignment: MakeAlignment, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with alignments and shards; S004 has a pair that was set aside, S002, too."""
    align(studio, make_alignment, tuple(FIXED))
    small_shards(monkeypatch)
    build_dataset(studio / "aligned", studio / "shards", PARAMETERS)
    return studio


def align(studio: Path, make_alignment: MakeAlignment, subjects: tuple[str, ...], folder: str = "aligned") -> None:
    for subject in subjects:
        for take in ("001", "002"):
            place = studio / "raw" / subject / SESSION / take
            if not place.exists():
                continue
            pair_id = f"{subject}-{SESSION}-{take}"
            by_hand = make_alignment(f"{folder}{pair_id}")
            known = {"pair_id": pair_id, "subject": subject, "session": SESSION, "take": take}
            paths = {"flash": place / "flash.jpg", "studio": place / "studio.jpg"}
            checksums = {f"{light}_sha256": sha256_of(path) for light, path in paths.items()}
            pose = json.loads((place / "pair.json").read_text())["pose"]
            changed = Alignment(**{**by_hand.__dict__, **known, **paths, **checksums, "pose": pose})
            save_alignment(studio / folder, changed)
        shutil.copy(studio / "source.jpg", studio / folder / f"{subject}-{SESSION}-001.studio.jpg")
        bad = json.loads((studio / folder / f"{subject}-{SESSION}-001.json").read_text())
        bad |= {"pair_id": f"{subject}-bad", "verdict": "bad", "reasons": [f"{subject} turned away"]}
        write_json(studio / folder / f"{subject}-bad.json", {name: value for name, value in bad.items() if name != "seal"})
    shutil.rmtree(studio / "raw" / f"{folder}none", ignore_errors=True)
    for made in (studio / "raw").glob(f"{folder}*"):
        shutil.rmtree(made)


def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepflash.dataset.joining.plan_shards.__defaults__", (150_000,))


def trees(studio: Path) -> list[Path]:
    return [path for path in (studio / name for name in ("raw", "aligned", "shards", "run")) if path.exists()]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def members(shards: Path) -> dict[str, bytes]:
    """Every member of every tar, by Python's own reader."""
    found = {}
    for path in sorted(shards.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                found[f"{path.name.partition('-')[0]}/{member.name}"] = file.read()
    return found


def secrets(studio: Path, subject: str = GONE) -> list[bytes]:
    """What may be found nowhere: the id, and of each picture the checksum and a piece from its middle."""
    photographs = sorted((studio / "raw" / subject).rglob("*.jpg"))
    wanted = [subject.encode(), *(sha256_of(path).encode() for path in photographs)]
    pictures = [value for name, value in members(studio / "shards").items() if f"/{subject}-" in name]
    pictures += [path.read_bytes() for path in photographs]
    others = b"".join(value for name, value in members(studio / "shards").items() if f"/{subject}-" not in name)
    for picture in pictures:
        piece = picture[len(picture) // 2 : len(picture) // 2 + 40]
        if piece not in others:
            wanted.append(piece)
    return wanted


def assert_nowhere(studio: Path, wanted: list[bytes]) -> None:
    for tree in (*trees(studio), studio / "raw-subjects.json", studio / "raw-emulator"):
        for path in [tree, *tree.rglob("*")]:
            found = path.read_bytes() if path.is_file() else b""
            for secret in wanted:
                assert secret not in found, path
                assert secret not in str(path.relative_to(studio)).encode(), path


def forget(studio: Path, subject: str = GONE) -> None:
    erase(find_traces(subject, trees(studio)))


def test_who_is_forgotten_is_in_no_byte_and_everybody_else_is_the_same_to_the_byte(whole: Path) -> None:
    before, samples, wanted = content(whole), members(whole / "shards"), secrets(whole)
    assert len(wanted) > 20
    affected = {entry.shard for entry in open_shards(whole / "shards").entries("train") if entry.info["subject"] == GONE}
    tars = {path.name for path in (whole / "shards").glob("*.tar")}
    assert affected < tars
    assert len(affected) > 1
    traces = find_traces(GONE, trees(whole))
    assert content(whole) == before
    assert traces.samples == 40
    raw = next(trace for trace in traces.trees if trace.kind == "raw")
    assert raw.files == 1 + sum(path.is_file() for path in (whole / "raw" / GONE).rglob("*"))
    erase(traces)
    assert_nowhere(whole, wanted)
    for tree in trees(whole):
        outcome = verify(tree, full=True)
        assert outcome.faults == (), outcome
    assert members(whole / "shards") == {name: value for name, value in samples.items() if f"/{GONE}-" not in name}
    after = content(whole)
    assert {name: after[f"shards/{name}"] for name in tars - affected} == {
        name: before[f"shards/{name}"] for name in tars - affected
    }
    kept = {name for name in before if GONE not in name and not name.startswith("shards/") and name != "raw-subjects.json"}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert [name.id for name in read_names(whole / "raw-subjects.json")] == ["S001", "S003", "S004"]


def test_the_lists_are_those_of_a_data_set_that_was_built_without_the_person(whole: Path) -> None:
    """Another build, of the alignments that are left, is the oracle."""
    forget(whole)
    fixed = {subject: part for subject, part in FIXED.items() if subject != GONE}
    parameters = Parameters(size=SIZE, leakage_check=False, fixed=fixed)
    build_dataset(whole / "aligned", whole / "again", parameters)
    found, built = (open_shards(whole / name) for name in ("shards", "again"))
    for name in ("counts", "split", "poses", "statistics", "set_aside", "notes", "parameters", "stand_ins", "size", "pictures"):
        assert found.manifest[name] == built.manifest[name], name
    assert found.manifest["forgotten"] != []
    for split in SPLITS:
        ours, theirs = found.entries(split), built.entries(split)
        assert [(entry.key, entry.info) for entry in ours] == [(entry.key, entry.info) for entry in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert found.read_members(one) == built.read_members(other)


def test_a_killed_command_goes_on_from_any_step(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A child is killed at the n-th rename or removal, before the data set is rewritten and while it is."""
    wanted, samples = secrets(whole), members(whole / "shards")
    left = {name: value for name, value in samples.items() if f"/{GONE}-" not in name}
    script = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from deepflash.dataset.forget import erase, find_traces\n"
        "steps = int(sys.argv[1])\n"
        "def kill(event, args):\n"
        "    global steps\n"
        "    if event in ('os.rename', 'os.remove', 'os.rmdir'):\n"
        "        steps -= 1\n"
        "        if steps < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "found = find_traces(sys.argv[2], [Path(name) for name in sys.argv[3:]])\n"
        "sys.addaudithook(kill)\nerase(found)\n"
    )
    killed = 0
    for step in (0, 12, 17, 19, 21, 22, 24):
        copy = tmp_path_factory.mktemp("copy") / "studio"
        shutil.copytree(whole, copy)
        places = [str(copy / name) for name in ("raw", "aligned", "shards")]
        ended = subprocess.run([sys.executable, "-c", script, str(step), GONE, *places], check=False)
        killed += ended.returncode == -signal.SIGKILL
        forget(copy)
        assert_nowhere(copy, wanted)
        assert members(copy / "shards") == left
        assert verify(copy / "shards", full=True).faults == ()
        assert not (copy / "shards" / FORGETTING).exists()
        shutil.rmtree(copy)
    assert killed > 4


def test_between_two_renames_the_data_set_says_what_to_do(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(tree: Path) -> None:
        raise KeyboardInterrupt

    calls = iter((forget_shards._complete, stopped))

    def second_is_stopped(tree: Path) -> None:
        next(calls)(tree)

    monkeypatch.setattr(forget_shards, "_complete", second_is_stopped)
    with pytest.raises(KeyboardInterrupt):
        forget(whole)
    monkeypatch.undo()
    with pytest.raises(ShardError, match=r"half rewritten.*run deepflash forget again"):
        open_shards(whole / "shards")
    assert "interrupted" in find_traces(GONE, [whole / "shards"]).trees[0].what
    forget(whole)
    assert GONE not in str(open_shards(whole / "shards").manifest)


def test_the_only_person_leaves_nothing_and_once_more_is_no_error(whole: Path) -> None:
    for subject in FIXED:
        wanted = secrets(whole, subject)
        forget(whole, subject)
        assert_nowhere(whole, wanted)
        again = find_traces(subject, trees(whole))
        assert not again
        assert "nothing of" in again.sentence()
    assert content(whole / "shards") == content(whole / "raw") == {}


def test_a_run_that_started_from_weights_that_knew_the_person_is_named(whole: Path) -> None:
    """Its own pictures show others and stay."""
    identity = open_shards(whole / "shards").manifest["index"]["sha256"]
    run = whole / "runs" / "tuned"
    (run / "samples").mkdir(parents=True)
    (run / "samples" / "step-000010.png").write_bytes(b"other faces")
    start = {"sha256": "0" * 64, "dataset": "1" * 64, "started_from": {"sha256": "2" * 64, "dataset": identity}}
    write_json(run / "run.json", {"format": 1, "dataset": "3" * 64, "started_from": start})
    traces = find_traces(GONE, [whole / "shards", whole / "runs"])
    assert [(run.run.name, run.splits) for run in traces.runs] == [("tuned", ("train",))]
    erase(traces)
    assert set(content(run)) == {"run.json", "samples/step-000010.png"}


def test_runs_that_trained_on_the_person_are_named_also_later(whole: Path) -> None:
    identity = open_shards(whole / "shards").manifest["index"]["sha256"]
    for name, dataset in (("one", identity), ("other", "0" * 64)):
        folder = whole / "runs" / name
        (folder / "samples").mkdir(parents=True)
        write_json(folder / "run.json", {"format": 1, "dataset": dataset})
        (folder / "samples" / "step-000010.png").write_bytes(b"faces")
        (folder / "events.out.tfevents.1").write_bytes(b"faces")
        write_json(folder / "evaluation-test" / "evaluation.json", {"pairs": [{"key": f"{GONE}-x+00", "subject": GONE}]})
        write_json(folder / "evaluation-val" / "evaluation.json", {"pairs": [{"key": "S003-x+00", "subject": "S003"}]})
    given = [whole / "shards", whole / "runs"]
    traces = find_traces(GONE, given)
    assert [(run.run.name, run.splits, run.earlier) for run in traces.runs] == [("one", ("train",), False)]
    assert "train it anew" in traces.runs[0].sentence()
    assert "was scored on this person (val) while it was trained on others" in find_traces("S003", given).runs[0].sentence()
    erase(traces)
    one, other = (set(content(whole / "runs" / name)) for name in ("one", "other"))
    assert one == {"run.json", "evaluation-val/evaluation.json"}
    assert other == {"run.json", "evaluation-val/evaluation.json", "samples/step-000010.png", "events.out.tfevents.1"}
    later = find_traces(GONE, given)
    assert not later
    assert [(run.run.name, run.earlier) for run in later.runs] == [("one", True)]
    assert GONE not in str(open_shards(whole / "shards").manifest)
    next_one = find_traces("S004", given)
    assert [(run.run.name, run.splits) for run in next_one.runs] == [("one", ("train",))], "S004 was in the earlier set, too"


def test_who_was_only_set_aside_leaves_the_lists_and_the_runs_alone(whole: Path, make_alignment: MakeAlignment) -> None:
    """A person whose pairs were all bad is named in `dataset.json` alone."""
    folder = whole / "bad"
    for subject, verdict in (("S001", "good"), ("S003", "good"), (GONE, "bad")):
        save_alignment(folder, make_alignment(f"{subject}-a-01", subject=subject, verdict=verdict))
    build_dataset(folder, whole / "few", Parameters(size=SIZE, leakage_check=False))
    identity = open_shards(whole / "few").manifest["index"]["sha256"]
    write_json(whole / "run" / "run.json", {"format": 1, "dataset": identity})
    tars = {path.name: path.stat().st_mtime_ns for path in (whole / "few").glob("*.tar")}
    traces = find_traces(GONE, [whole / "few", whole / "run"])
    assert (traces.samples, traces.runs) == (0, ())
    left = erase(traces)
    assert left.runs == ()
    assert not any(GONE.encode() in value for value in content(whole / "few").values())
    assert open_shards(whole / "few").manifest["index"]["sha256"] == identity
    assert {path.name: path.stat().st_mtime_ns for path in (whole / "few").glob("*.tar")} == tars


def test_an_unfinished_build_forgets_too_and_then_ends_without_the_person(whole: Path) -> None:
    shards = whole / "unfinished"
    alignments = [entry for entry in load_alignments(whole / "aligned")[0] if entry.verdict == "good"]
    for alignment in alignments:
        piece = render_piece(alignment, PARAMETERS, shards / PIECES)
        piece.path.with_suffix(".face").write_bytes(b"numbers of " + alignment.subject.encode())
    for path in (whole / "shards").glob("*.tar"):
        shutil.copy(path, shards)
    shutil.copy(whole / "shards" / INDEX_FILE, shards)
    wanted, kept = secrets(whole), {name: value for name, value in members(shards).items() if f"/{GONE}-" not in name}
    erase(find_traces(GONE, [shards, whole / "aligned"]))
    for name, value in content(shards).items():
        assert not any(secret in value or secret in name.encode() for secret in wanted), name
    assert members(shards) == kept
    assert len(list((shards / PIECES).glob("*.tar"))) == 6
    account = build_dataset(whole / "aligned", shards, PARAMETERS)
    assert account.done == 6
    assert set(members(shards)) == set(kept)


def test_an_edited_card_keeps_its_edits(whole: Path) -> None:
    card = whole / "shards" / "README.md"
    text = card.read_text().replace("license: unknown", "license: cc-by-4.0").replace("**Nobody has stated", "**We have stated")
    card.write_text(text + f"\nThanks to all, and to {GONE}.\n")
    forget(whole)
    edited = card.read_text()
    assert "license: cc-by-4.0" in edited
    assert "**We have stated" in edited
    assert GONE not in edited
    assert "| train | 2 | `S001`, `S004` |" in edited
    assert "| train | 2 | 4 | 80 |" in edited


def test_what_is_not_reached_is_said(whole: Path) -> None:
    (whole / "aligned" / "report.html").write_text(f"<p>{GONE}-{SESSION}-001 is good</p>")
    (whole / "aligned" / "other.html").write_text("<p>S0021 is good</p>")
    notes = find_traces(GONE, trees(whole)).notes
    assert any("a second copy was kept in /mnt/second" in note for note in notes)
    assert [note for note in notes if "report.html names S002" in note]
    assert not any("other.html" in note for note in notes)


@pytest.mark.parametrize("log", ["x", None, ["x", None], [{"what": "mirror", "root": 5}]])
def test_a_journal_whose_log_is_none_does_not_keep_anybody(studio: Path, log: object) -> None:
    journal = studio / "raw" / GONE / SESSION / "session.json"
    journal.write_text(json.dumps({"format": 2, "log": log}))
    erase(find_traces(GONE, [studio / "raw"]))
    assert not (studio / "raw" / GONE).exists()


def test_a_damaged_sample_of_somebody_else_stops_it_before_anything_changes(whole: Path) -> None:
    shards = open_shards(whole / "shards")
    own = {entry.shard for entry in shards.entries("train") if entry.info["subject"] == GONE}
    other = next(entry for entry in shards.entries("train") if entry.shard in own and entry.info["subject"] != GONE)
    path = whole / "shards" / other.shard
    with path.open("r+b") as file:
        file.seek(other.extent[0] + 5)
        file.write(b"\xff\xfe\xfd")
    before = content(whole / "shards")
    with pytest.raises(ShardError, match=f"sample {other.key}".replace("+", r"\+")):
        erase(find_traces(GONE, [whole / "shards"]))
    assert content(whole / "shards") == before


@pytest.mark.parametrize("change", [{"split": None}, {"leakage": "x"}, {"set_aside": None}])
def test_a_list_of_another_shape_is_told_and_nothing_is_changed(whole: Path, change: dict[str, Any]) -> None:
    path = whole / "shards" / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    before = content(whole / "shards")
    with pytest.raises(ShardError, match=r"dataset.json is damaged .*; restore it from a copy, then forget"):
        erase(find_traces(GONE, [whole / "shards"]))
    assert content(whole / "shards") == before


def test_a_full_disk_changes_nothing_in_a_data_set(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = content(whole / "shards")
    monkeypatch.setattr(forget_shards, "commit_shards", full)
    with pytest.raises(DatasetError, match=r"shards cannot be erased \(No space left on device\); mend that and give"):
        forget(whole)
    assert content(whole / "shards") == before
    monkeypatch.undo()
    forget(whole)
    assert GONE not in str(open_shards(whole / "shards").manifest)


def test_a_link_goes_and_what_it_leads_to_is_named(studio: Path) -> None:
    (studio / "raw" / GONE).rename(studio / "elsewhere")
    (studio / "raw" / GONE).symlink_to(studio / "elsewhere")
    traces = find_traces(GONE, [studio / "raw"])
    assert any(f"{studio / 'elsewhere'} stays" in note for note in traces.notes)
    erase(traces)
    assert not (studio / "raw" / GONE).is_symlink()
    assert (studio / "elsewhere" / SESSION / "001" / "flash.jpg").exists()


def test_an_open_session_is_not_erased(whole: Path) -> None:
    with locked_folder(whole / "raw" / GONE / SESSION), pytest.raises(DatasetError, match=r"a session is open in .*end it"):
        forget(whole)
    assert (whole / "raw" / GONE / SESSION / "001" / "flash.jpg").exists()


def test_folders_that_are_none_or_cannot_be_written_are_refused(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="nowhere is not a folder; give"):
        find_traces(GONE, [whole / "nowhere"])
    (whole / "letters").mkdir()
    (whole / "letters" / "a.txt").write_text("Dear")
    with pytest.raises(DatasetError, match="holds neither pairs, alignments nor shards"):
        find_traces(GONE, [whole / "letters"])
    with pytest.raises(DatasetError, match=r"'\.\./x' is not a subject id"):
        find_traces("../x", [whole / "raw"])
    before = content(whole)
    monkeypatch.setattr(os, "access", lambda path, mode: "shards" not in str(path))
    with pytest.raises(DatasetError, match="shards cannot be written, so nothing was erased"):
        forget(whole)
    assert content(whole) == before


def test_another_subject_whose_id_begins_alike_stays(studio: Path, make_alignment: MakeAlignment) -> None:
    (studio / "raw" / "S003").rename(studio / "raw" / f"{GONE}-b")
    folder = studio / "alike"
    for pair_id, subject in ((f"{GONE}-a-01", GONE), (f"{GONE}-b-a-01", f"{GONE}-b"), ("S001-a-01", "S001")):
        save_alignment(folder, make_alignment(pair_id, subject=subject))
    build_dataset(folder, studio / "shards", Parameters(size=SIZE, leakage_check=False))
    erase(find_traces(GONE, [studio / "raw", folder, studio / "shards"]))
    assert sorted(path.name for path in folder.iterdir()) == ["S001-a-01.json", f"{GONE}-b-a-01.json"]
    assert sorted(path.name for path in (studio / "raw").iterdir() if len(path.name) < 8) == ["S001", f"{GONE}-b", "S004"]
    split = open_shards(studio / "shards").manifest["split"]
    assert sorted(subject for subjects in split.values() for subject in subjects) == ["S001", f"{GONE}-b"]


def test_pairs_by_file_name_are_forgotten_too(tmp_path: Path) -> None:
    for name in ("01_flash.jpg", "01_studio.png", "011_flash.jpg", "011_studio.jpg"):
        (tmp_path / name).write_bytes(b"a picture")
    erase(find_traces("01", [tmp_path]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["011_flash.jpg", "011_studio.jpg"]


def test_originals_of_an_import_by_reference_are_named_and_stay(tmp_path: Path, astronaut: np.ndarray) -> None:
    original = tmp_path / "original.jpg"
    original.write_bytes(encode(astronaut, ".jpg"))
    photograph = Original(original, sha256_of(original))
    record = {"subject": GONE, "session": SESSION, "take": "001", "pose": "frontal"}
    place = take_folder(tmp_path / "raw", GONE, SESSION, "001")
    commit_originals(place, photograph, photograph, record, by_reference=True)
    traces = find_traces(GONE, [tmp_path / "raw"])
    assert f"2 photographs were imported by reference and stay where they lie: {original}" in traces.notes[0]
    erase(traces)
    assert original.exists()


def run_command(*arguments: Any) -> Any:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], standalone_mode=False)


def test_nothing_is_erased_unless_it_is_agreed_to(whole: Path) -> None:
    before = content(whole)
    dry = run_command("forget", GONE, *trees(whole), "--dry-run")
    assert dry.return_value == ExitCode.OK
    assert "40 of 160 samples" in dry.output
    unasked = run_command("forget", GONE, *trees(whole))
    assert unasked.return_value == ExitCode.FAILURE
    assert "nothing was erased" in unasked.output
    assert content(whole) == before
    done = run_command("forget", GONE, *trees(whole), "--yes", "--json")
    assert done.return_value == ExitCode.OK
    assert json.loads(done.stdout)["samples"] == 40
    assert json.loads(done.stdout)["erased"] is True
    once_more = run_command("forget", GONE, *trees(whole), "--yes")
    assert once_more.return_value == ExitCode.OK
    assert f"hold nothing of {GONE}" in once_more.output


@pytest.mark.parametrize("text", ["S002", "S002-a-01", "pair S002 is", "raw/S002/x", "S002_flash.jpg", "`S002`, `S003`"])
def test_texts_that_name_the_person(text: str) -> None:
    assert Person(GONE).is_in(text)


@pytest.mark.parametrize("text", ["S0021", "XS002", "S002_b", "0.S002", "s002"])
def test_texts_that_do_not(text: str) -> None:
    assert not Person(GONE).is_in(text)


def test_whatever_names_the_person_leaves_a_value() -> None:
    value = {"S002": 1, "list": ["S002-a", "S003", {"subjects": ["S002", "S003"]}], "deep": {"x": [["S002"]]}, "n": 2}
    assert without(value, Person(GONE)) == {"list": ["S003"], "deep": {"x": []}, "n": 2}
