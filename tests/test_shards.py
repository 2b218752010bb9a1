"""Shards hold what was put in, open with other people's tools, and never hand out damaged pictures."""

import hashlib
import io
import json
import math
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepflash.errors import ShardError
from deepflash.pictures import Picture
from deepflash.shards import (
    Entry,
    ShardSet,
    ShardWriter,
    encode_sample,
    is_unaugmented,
    iter_samples,
    open_shards,
    write_sample,
)

SIZE = 24


def picture(seed: int) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def info(subject: str, pair_id: str, angle_deg: int = 0) -> dict[str, object]:
    variant = {"angle_deg": angle_deg, "frame": "wide", "mirrored": False}
    return {
        "subject": subject,
        "pair_id": pair_id,
        "pose": "frontal",
        "variant": variant,
        "valid_fraction": 1.0,
        "face_box": [1, 2, 3, 4],
    }


def write(folder: Path, pairs: int = 3, target_bytes: int = 9000) -> dict[str, object]:
    """Six samples of `train` and two of `val`, a few to a shard."""
    with ShardWriter(folder, target_bytes=target_bytes) as writer:
        for number in range(pairs):
            for variant in range(2):
                sample = encode_sample(
                    picture(10 * number + variant), picture(100 + number), info(f"S{number}", f"p{number}", 10 * variant)
                )
                writer.add("train", f"p{number}+{variant:02d}", sample)
        for variant in range(2):
            writer.add("val", f"q+{variant:02d}", encode_sample(picture(50), picture(51), info("V", "q", 10 * variant)))
        return writer.commit({"size": SIZE, "note": "kept"})


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    write(folder)
    return folder


def test_what_is_read_is_what_was_written(shards: Path) -> None:
    opened = open_shards(shards)
    sample = opened.read(opened.entries("train")[3])
    assert sample.key == "p1+01"
    np.testing.assert_array_equal(sample.flash, picture(11))
    np.testing.assert_array_equal(sample.studio, picture(101))
    assert sample.info == info("S1", "p1", 10)


def test_the_index_tells_splits_sizes_and_essentials_without_opening_a_tar(shards: Path) -> None:
    opened = open_shards(shards)
    assert opened.size == SIZE
    assert opened.splits == ("train", "val")
    assert opened.manifest["note"] == "kept"
    assert opened.manifest["counts"]["train"] == {"samples": 6, "pairs": 3, "subjects": 3}
    assert [entry.key for entry in opened.entries("train") if is_unaugmented(entry.info)] == ["p0+00", "p1+00", "p2+00"]
    assert "face_box" not in opened.entries("train")[0].info
    assert opened.entries("test") == []
    with pytest.raises(ShardError, match="'tset' is not a split; choose one of train, val, test"):
        opened.entries("tset")


def test_shards_keep_to_their_target_size_and_many_samples_make_many_shards(shards: Path) -> None:
    train = sorted(shards.glob("train-*.tar"))
    assert [path.name for path in train] == [f"train-{number:06d}.tar" for number in range(len(train))]
    assert len(train) > 1
    assert all(path.stat().st_size <= 9000 + 2 * 512 for path in shards.glob("*.tar"))


def test_the_manifest_holds_the_checksum_of_every_shard(shards: Path) -> None:
    listed = {name: facts["sha256"] for name, facts in json.loads((shards / "dataset.json").read_text())["shards"].items()}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards.glob("*.tar")}
    assert listed == found


def test_the_same_samples_give_the_same_bytes(shards: Path, tmp_path: Path) -> None:
    write(tmp_path / "again")
    for path in shards.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_any_tar_tool_opens_a_shard_and_finds_nothing_of_the_machine_that_wrote_it(shards: Path) -> None:
    path = shards / "train-000000.tar"
    listed = subprocess.run(["tar", "tf", path], capture_output=True, text=True, check=True).stdout.split()
    assert listed[:3] == ["p0+00.flash.png", "p0+00.studio.png", "p0+00.json"]
    with tarfile.open(path) as tar:
        headers = tar.getmembers()
    assert {(h.mtime, h.uid, h.gid, h.uname, h.gname, h.mode) for h in headers} == {(0, 0, 0, "", "", 0o644)}
    content = path.read_bytes()
    assert content[257:263] == b"ustar\0"  # the magic of POSIX.1-1988, not that of GNU ("ustar  ")
    assert all(header.offset_data % 512 == 0 for header in headers)


def test_the_webdataset_library_reads_the_same_samples(shards: Path) -> None:
    program = """
import hashlib, json, sys, webdataset
for sample in webdataset.WebDataset(sys.argv[1:], shardshuffle=False, empty_check=False):
    members = (sample[name] for name in ("flash.png", "studio.png", "json"))
    print(json.dumps([sample["__key__"], *(hashlib.sha256(content).hexdigest() for content in members)]))
"""  # in its own process: the library leaves files open and warns of itself
    paths = sorted(shards.glob("train-*.tar"))
    printed = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True).stdout
    opened = open_shards(shards)
    ours = [
        [entry.key, *(hashlib.sha256(content).hexdigest() for content in opened.read_members(entry).values())]
        for entry in opened.entries("train")
    ]
    assert [json.loads(line) for line in printed.splitlines()] == ours


def test_a_shard_set_travels_to_another_process(shards: Path) -> None:
    opened = open_shards(shards)
    opened.read(opened.entries("val")[0])
    there: ShardSet = pickle.loads(pickle.dumps(opened))
    np.testing.assert_array_equal(there.read(there.entries("val")[0]).flash, picture(50))


@pytest.mark.parametrize("member", ["flash.png", "studio.png", "json"])
def test_one_flipped_bit_in_any_member_is_named_with_shard_and_key(shards: Path, member: str) -> None:
    opened = open_shards(shards)
    entry = opened.entries("train")[1]
    flip_bit(shards / entry.shard, entry.members[member].offset + entry.members[member].size // 2)
    with pytest.raises(ShardError, match=rf"{entry.shard}, sample p0\+01, is altered: {member} .*run build-dataset again"):
        opened.read(entry)


def test_a_shard_cut_short_is_refused_when_opened_and_when_read(shards: Path) -> None:
    opened = open_shards(shards)
    entry = opened.entries("val")[-1]
    path = shards / entry.shard
    path.write_bytes(path.read_bytes()[: entry.members["studio.png"].offset + 5])
    with pytest.raises(ShardError, match=rf"{entry.shard} is cut short: it has \d+ bytes"):
        open_shards(shards)
    with pytest.raises(ShardError, match=rf"{entry.shard}, sample q\+01, is cut short: studio.png"):
        opened.read(entry)


def test_a_missing_shard_is_refused_when_opened_and_when_read(shards: Path) -> None:
    opened = open_shards(shards)
    entry = opened.entries("train")[0]
    (shards / entry.shard).unlink()
    with pytest.raises(ShardError, match=r"train-000000.tar is missing; restore it"):
        open_shards(shards)
    with pytest.raises(ShardError, match=r"train-000000.tar, sample p0\+00, cannot be read \(No such file"):
        opened.read(entry)


@pytest.mark.parametrize("name", ["index.jsonl", "dataset.json"])
def test_a_damaged_or_missing_index_or_manifest_is_refused_in_one_sentence(shards: Path, name: str) -> None:
    content = (shards / name).read_bytes()
    (shards / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ShardError, match=name):
        open_shards(shards)
    (shards / name).unlink()
    with pytest.raises(ShardError, match=name):
        open_shards(shards)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 99}, "has format 99, this program reads 1; update deepflash"),
        ({"shards": {"../../etc/passwd": {"size_bytes": 1}}}, "is no shard"),
        ({"shards": None}, "is damaged"),
        ({"index": {}}, "is damaged"),
        ({"size": "big"}, "is damaged"),
        ({"counts": 3}, "is damaged"),
        ({"counts": {"train": {"pairs": math.inf}, "val": {}, "test": {}}}, "is damaged"),
        ({"shards": {"train-000000.tar": {"size_bytes": math.inf, "samples": 1, "sha256": ""}}}, "is damaged"),
        ({"shards": {"train-000000.tar": {"size_bytes": 1, "samples": 1, "sha256": []}}}, "is damaged"),
        ({"card": None}, "is damaged"),
    ],
)
def test_a_manifest_that_this_program_cannot_trust_is_refused(shards: Path, change: dict[str, object], sentence: str) -> None:
    manifest = json.loads((shards / "dataset.json").read_text())
    (shards / "dataset.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(ShardError, match=sentence):
        open_shards(shards)


@pytest.mark.parametrize("text", ["nonsense\n", "{}\n", "[1]\n"])
def test_an_index_of_nonsense_is_refused_even_with_its_checksum(shards: Path, text: str) -> None:
    manifest = json.loads((shards / "dataset.json").read_text())
    manifest["index"]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (shards / "index.jsonl").write_text(text)
    (shards / "dataset.json").write_text(json.dumps(manifest))
    with pytest.raises(ShardError, match="is damaged"):
        open_shards(shards)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", "../../picture"),
        ("key", 7),
        ("shard", "/etc/passwd"),
        ("shard", "train-000099.tar"),
        ("split", ["train"]),
        ("info", []),
        ("info", {"subject": 5}),
        ("members", {}),
        ("members", {"flash.png": {"offset": 0, "size": 9, "sha256": ""}}),
        ("offset", 10**18),
        ("size", -1),
        ("size", 0.5),
    ],
)
def test_a_line_that_is_no_sample_is_refused_even_with_its_checksum(shards: Path, name: str, value: object) -> None:
    """A data set may come from anywhere: its keys become names of files, its offsets are read from."""
    first, *others = (shards / "index.jsonl").read_text().splitlines()
    line = json.loads(first)
    (line["members"]["flash.png"] if name in {"offset", "size"} else line)[name] = value
    text = "\n".join([json.dumps(line), *others]) + "\n"
    manifest = json.loads((shards / "dataset.json").read_text())
    manifest["index"]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (shards / "index.jsonl").write_text(text)
    (shards / "dataset.json").write_text(json.dumps(manifest))
    with pytest.raises(ShardError, match=r"index.jsonl is damaged"):
        open_shards(shards)


def test_a_sample_without_a_subject_is_read_but_names_nobody(tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as writer:
        writer.add("train", "p+00", encode_sample(picture(0), picture(1), {"number": 1}))
        writer.commit({"size": SIZE})
    shards = open_shards(tmp_path)
    (entry,) = shards.entries("train")
    assert shards.read(entry).info == {"number": 1}
    with pytest.raises(ShardError, match=r"sample p\+00 has no subject in index.jsonl"):
        entry.subject  # noqa: B018 (the property raises)


def test_without_commit_there_is_no_data_set_and_no_rubbish(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    with ShardWriter(folder) as writer:
        writer.add("train", "p+00", encode_sample(picture(0), picture(1), info("S", "p")))
    assert list(folder.iterdir()) == []
    with pytest.raises(ShardError, match=r"no finished data set .* run build-dataset"):
        open_shards(folder)


def test_a_second_attempt_removes_shards_that_the_first_one_left(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    with ShardWriter(folder, target_bytes=1) as writer:
        for number in range(4):
            writer.add("train", f"p+{number:02d}", encode_sample(picture(0), picture(1), info("S", "p")))
    assert len(list(folder.glob("*.tar"))) == 3  # closed, never committed
    write(folder, target_bytes=10**9)
    assert sorted(path.name for path in folder.glob("*.tar")) == ["train-000000.tar", "val-000000.tar"]
    assert len(open_shards(folder).entries("train")) == 6


def test_a_finished_data_set_is_never_written_over(shards: Path) -> None:
    with pytest.raises(ShardError, match="holds a data set already"):
        ShardWriter(shards)


def test_keys_out_of_order_are_refused(tmp_path: Path) -> None:
    sample = encode_sample(picture(0), picture(1), info("S", "p"))
    with ShardWriter(tmp_path) as writer:
        writer.add("train", "p+01", sample)
        writer.add("val", "p+00", sample)
        with pytest.raises(ShardError, match=r"p\+00 comes after p\+01"):
            writer.add("train", "p+00", sample)


def test_a_split_of_another_name_is_not_written(tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as writer, pytest.raises(ShardError, match="'tset' is not a split"):
        writer.add("tset", "p+00", encode_sample(picture(0), picture(1), {}))
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "shards").touch()
    with pytest.raises(ShardError, match="holds no finished data set"):
        open_shards(tmp_path / "shards")


@pytest.mark.parametrize("key", ["", "a.b", "../x", "a/b", "-a", "a b", "ä", "a" * 90])
def test_keys_that_could_leave_the_folder_or_confuse_readers_are_refused(key: str) -> None:
    with pytest.raises(ShardError, match="cannot name a sample"):
        write_sample(io.BytesIO(), key, encode_sample(picture(0), picture(1), {}))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(st.tuples(st.binary(max_size=1100), st.binary(max_size=1100), st.binary(max_size=600)), max_size=4))
def test_a_tar_of_any_members_is_read_back_by_the_standard_library(tmp_path: Path, contents: list[tuple[bytes, ...]]) -> None:
    file = io.BytesIO()
    names = ("flash.png", "studio.png", "json")
    for number, members in enumerate(contents):
        places = write_sample(file, f"k{number}", dict(zip(names, members, strict=True)))
        assert all(file.getvalue()[p.offset : p.offset + p.size] == m for p, m in zip(places.values(), members, strict=True))
    path = tmp_path / "any.tar"
    path.write_bytes(file.getvalue() + bytes(1024))
    found = [tuple(members.values()) for _, members in iter_samples(path)]
    assert found == contents


def test_a_tar_that_ends_early_or_holds_something_else_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    write_sample(file, "k", {"flash.png": b"1" * 700, "studio.png": b"2" * 700, "json": b"{}"})
    whole = file.getvalue()
    for length in (100, 900, 1600, len(whole) - 600):
        (tmp_path / "short.tar").write_bytes(whole[:length])
        with pytest.raises(ShardError, match=r"short.tar"):
            list(iter_samples(tmp_path / "short.tar"))
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(__file__, "notes.txt")
    with pytest.raises(ShardError, match=r"notes.txt, which is no member"):
        list(iter_samples(tmp_path / "other.tar"))


def test_the_essentials_in_the_index_are_those_of_the_sample(shards: Path) -> None:
    opened = open_shards(shards)
    entries: list[Entry] = opened.entries("train") + opened.entries("val")
    for entry in entries:
        full = opened.read(entry).info
        assert entry.info == {name: full[name] for name in ("subject", "pair_id", "pose", "variant", "valid_fraction")}


def flip_bit(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
