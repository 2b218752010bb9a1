"""Verifying a data set: its lists against each other, every shard against the lists, and, in full, every byte of it."""

import functools
import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from deepflash.dataset.findings import Findings, check_sealed, collect
from deepflash.errors import PictureError, ShardError
from deepflash.files import SEAL, TEMPORARY_PREFIX, sha256_of
from deepflash.pictures import decode_rgb
from deepflash.progress import Report
from deepflash.shards import (
    CARD_FILE,
    DATASET_FILE,
    ESSENTIALS,
    INDEX_FILE,
    Entry,
    Member,
    check_manifest,
    is_shard_name,
    parse_index,
    tar_header,
)

_MEND = "restore it from a copy, or build the data set again"
_MOST_FAULTS = 20  # of a shard: bytes that were inserted shift all that follow


@dataclass(frozen=True)
class _Shard:
    """What is known of a shard before it is opened; `entries` is None if the index cannot be trusted."""

    path: Path
    size_bytes: int
    sha256: str
    entries: tuple[Entry, ...] | None

    def __str__(self) -> str:
        return self.path.name


def verify_shards(tree: Path, *, full: bool, workers: int, report: Report) -> Findings:
    """Verify a folder of shards; see `deepflash.dataset.verify`."""
    found = Findings()
    manifest = _manifest(tree, found)
    entries = _entries(tree, manifest, found)
    _check_card(tree, manifest, found)
    shards = _listed(tree, manifest, entries, found)
    _name_strangers(tree, {shard.path.name for shard in shards}, found)
    present = [shard for shard in shards if _is_there(shard, found)]
    contents = {shard.sha256: shard.path.name for shard in shards}
    examine = functools.partial(_examine, contents) if full else _glance
    collect(examine, present, workers=workers, report=report, found=found, full=full)
    return found


def _manifest(tree: Path, found: Findings) -> dict[str, Any]:
    """Return what `dataset.json` says, as far as it can be used."""
    manifest = check_sealed(found, tree / DATASET_FILE, DATASET_FILE, mend=_MEND)
    if manifest is None:
        return {}
    try:
        check_manifest(tree, manifest)
    except ShardError as error:
        found.blame(DATASET_FILE, f"cannot be used: {error}")
        return {}
    return {name: value for name, value in manifest.items() if name != SEAL}


def _entries(tree: Path, manifest: dict[str, Any], found: Findings) -> list[Entry] | None:
    found.files.add(INDEX_FILE)
    try:
        content = (tree / INDEX_FILE).read_bytes()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        found.blame(INDEX_FILE, f"is missing; {_MEND}" if missing else f"cannot be read ({error.strerror}); check the disk")
        return None
    if manifest and hashlib.sha256(content).hexdigest() != manifest["index"]["sha256"]:
        found.blame(INDEX_FILE, f"is altered: it does not match its checksum in {DATASET_FILE}; {_MEND}")
        return None
    try:
        return list(parse_index(content))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        found.blame(INDEX_FILE, f"is damaged ({error!r}); {_MEND}")
        return None


def _check_card(tree: Path, manifest: dict[str, Any], found: Findings) -> None:
    if "card" not in manifest:
        return
    found.files.add(CARD_FILE)
    try:
        content = (tree / CARD_FILE).read_bytes()
    except OSError as error:
        found.blame(CARD_FILE, f"is missing or unreadable ({error.strerror}); {_MEND}")
        return
    if hashlib.sha256(content).hexdigest() != manifest["card"]["sha256"]:
        found.notes.append(f"{CARD_FILE} is not as it was written; if you edited it (the licence, say), all is well")


def _listed(tree: Path, manifest: dict[str, Any], entries: list[Entry] | None, found: Findings) -> list[_Shard]:
    """Return the shards that the lists name; blame the index where it disagrees with `dataset.json`."""
    of_shard: dict[str, list[Entry]] = {}
    for entry in entries or ():
        of_shard.setdefault(entry.shard, []).append(entry)
    if not manifest:
        found.notes.append(f"without {DATASET_FILE}, shards can only be checked against {INDEX_FILE}")
        return [_Shard(tree / name, -1, "", tuple(own)) for name, own in sorted(of_shard.items()) if is_shard_name(name)]
    counts = Counter({name: len(own) for name, own in of_shard.items()})
    listed = {name: int(facts["samples"]) for name, facts in manifest["shards"].items()}
    for name in sorted(counts.keys() | listed.keys()) if entries is not None else ():
        if counts[name] != listed.get(name, 0):
            found.blame(INDEX_FILE, f"lists {counts[name]} samples of {name}, {DATASET_FILE} {listed.get(name, 0)}; {_MEND}")
    return [
        _Shard(
            tree / name, int(facts["size_bytes"]), facts["sha256"], None if entries is None else tuple(of_shard.get(name, ()))
        )
        for name, facts in sorted(manifest["shards"].items())
    ]


def _name_strangers(tree: Path, listed: set[str], found: Findings) -> None:
    for path in sorted(tree.iterdir()):
        if path.name in listed | {DATASET_FILE, INDEX_FILE, CARD_FILE}:
            continue
        if path.name.startswith(TEMPORARY_PREFIX) or path.name == ".pieces":
            found.notes.append(f"{path.name} was left by a build that was interrupted; it may be removed")
        elif path.name.startswith("."):
            found.notes.append(f"{path.name} is no part of the data set")
        else:
            found.blame(path.name, "is listed nowhere; move it away")


def _is_there(shard: _Shard, found: Findings) -> bool:
    found.files.add(shard.path.name)
    lost = "" if shard.entries is None else f", and its {len(shard.entries)} samples with it"
    try:
        size_bytes = shard.path.stat().st_size
    except FileNotFoundError:
        found.blame(shard.path.name, f"is missing{lost}; {_MEND}")
        return False
    if shard.size_bytes not in {-1, size_bytes}:
        state = "is cut short" if size_bytes < shard.size_bytes else "is too long"
        found.blame(shard.path.name, f"{state}: it has {size_bytes} bytes instead of {shard.size_bytes}; {_MEND}")
    return True


def _glance(shard: _Shard) -> Findings:
    """Check that the shard begins as the index says: two that were swapped may be equally long."""
    found = Findings({shard.path.name})
    if shard.entries:
        first = shard.entries[0]
        name, member = next(iter(first.members.items()))
        with shard.path.open("rb") as file:
            if file.read(tarfile.BLOCKSIZE) != tar_header(f"{first.key}.{name}", member.size):
                found.blame(shard.path.name, f"does not begin with sample {first.key}, as the index says; {_MEND}")
    return found


def _examine(contents: dict[str, str], shard: _Shard) -> Findings:
    """Read every byte of a shard."""
    found = Findings({shard.path.name})
    try:
        sha256 = sha256_of(shard.path)
        altered = bool(shard.sha256) and sha256 != shard.sha256
        if altered and sha256 in contents:
            found.blame(shard.path.name, f"holds what belongs into {contents[sha256]}; give each its own name again")
        elif altered or not shard.sha256:
            _locate(shard, found)
            if altered and not found.faults:
                found.blame(shard.path.name, f"is altered: it does not match its checksum in {DATASET_FILE}; {_MEND}")
        else:
            _decode_all(shard, found)
    except OSError as error:
        found.blame(shard.path.name, f"cannot be read ({error.strerror}); check the disk")
    return found


def _locate(shard: _Shard, found: Findings) -> None:
    """Walk through an altered shard as the index describes it, and name what differs."""
    with shard.path.open("rb") as file:
        for entry, name, member in _members(shard):
            what = _difference(file, f"{entry.key}.{name}", member)
            if what:
                found.blame(shard.path.name, f"is altered in sample {entry.key}: {what}; {_MEND}")
            if what.endswith("cut short"):
                return
            if len(found.faults) == _MOST_FAULTS:
                found.blame(shard.path.name, "is altered in more places than are named here")
                return
        rest = file.read(2 * tarfile.BLOCKSIZE + 1)
        if shard.entries is not None and rest != bytes(2 * tarfile.BLOCKSIZE):
            found.blame(shard.path.name, f"is altered behind its last sample; {_MEND}")


def _difference(file: IO[bytes], name: str, member: Member) -> str:
    header = file.read(tarfile.BLOCKSIZE)
    content = file.read(member.size)
    padding = file.read(-member.size % tarfile.BLOCKSIZE)
    if len(content) < member.size:
        return f"{name} is cut short"
    if hashlib.sha256(content).hexdigest() != member.sha256:
        return f"{name} does not match its checksum"
    if header != tar_header(name, member.size):
        return f"the header of {name}"
    if padding.strip(b"\0"):
        return f"the padding of {name}"
    return ""


def _decode_all(shard: _Shard, found: Findings) -> None:
    """Decode every picture, and compare every sample's JSON with the index: what was stored wrong has the right checksum."""
    with shard.path.open("rb") as file:
        for entry, name, member in _members(shard):
            file.seek(member.offset)
            content = file.read(member.size)
            try:
                if name == "json":
                    _check_info(entry, json.loads(content))
                else:
                    decode_rgb(content, name)
            except (PictureError, ValueError) as error:
                found.blame(shard.path.name, f"holds a damaged sample {entry.key} ({name}: {error}); build the data set again")


def _check_info(entry: Entry, info: dict[str, Any]) -> None:
    if entry.info != {name: info[name] for name in ESSENTIALS if name in info}:
        raise ValueError(f"it is not what {INDEX_FILE} says of it")


def _members(shard: _Shard) -> Iterator[tuple[Entry, str, Member]]:
    for entry in shard.entries or ():
        for name, member in entry.members.items():
            yield entry, name, member
