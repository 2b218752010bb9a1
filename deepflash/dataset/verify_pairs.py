"""Verifying the trees of photographs and of their registrations: `raw` and `aligned`."""

import functools
import re
from pathlib import Path
from typing import Any

from deepflash.dataset.findings import Findings, check_content, check_sealed, collect
from deepflash.errors import PairError, PictureError
from deepflash.files import TEMPORARY_PREFIX, sha256_of
from deepflash.pairs import SIDECAR, Alignment, Pair, check_id, find_pairs, load_alignment, read_pair
from deepflash.pictures import read_rgb
from deepflash.progress import Report

SESSION_FILES = ("subject.json", "session.json", "card.json")
"""What capture keeps beside the takes, each sealed."""
_WITHDRAWN = ".withdrawn"
_ORPHAN = re.compile(r"([0-9a-f]{12})-.+")
"""The name of an orphan begins with that of its SHA-256."""
_RESTORE = "restore it from a copy"
_MOST_NAMED = 10


def verify_raw(tree: Path, *, full: bool, workers: int, report: Report) -> Findings:
    """Verify a tree of pairs, in the raw layout or by file name; see `deepflash.dataset.verify`."""
    found = Findings()
    takes = sorted(sidecar.parent for sidecar in tree.rglob(SIDECAR) if not _is_temporary(sidecar.relative_to(tree)))
    for path in sorted(path for name in SESSION_FILES for path in tree.rglob(name)):
        content = check_sealed(found, path, _name(tree, path), mend=_RESTORE)
        if path.name == "session.json" and isinstance(content, dict):
            _check_journal(tree, path.parent, content, found)
    collect(functools.partial(_examine_take, tree, full), takes, workers=workers, report=report, found=found, full=full)
    orphans = [path for path in sorted(tree.glob("*/*/orphans/*")) if _ORPHAN.fullmatch(path.name)]
    if full:
        for path in orphans:
            _check_orphan(tree, path, found)
    found.files |= {_name(tree, path) for path in orphans}
    named = _named_pairs(tree, found)
    collect(functools.partial(_examine_named, tree, full), named, workers=workers, report=report, found=found, full=full)
    _name_strangers(tree, found, layout=bool(takes))
    return found


def verify_aligned(tree: Path, *, full: bool, workers: int, report: Report) -> Findings:
    """Verify a folder of alignments; see `deepflash.dataset.verify`."""
    found = Findings()
    records = sorted(tree.glob("[!.]*.json"))
    collect(functools.partial(_examine_record, tree, full), records, workers=workers, report=report, found=found, full=full)
    _name_strangers(tree, found, layout=True)
    _note_unaligned(records, found)
    return found


def _check_journal(tree: Path, session: Path, content: dict[str, Any], found: Findings) -> None:
    """Blame a session for every take that its journal calls good and that is nowhere."""
    try:
        good = [check_id(attempt["take"], "take") for attempt in content["attempts"] if attempt["verdict"] == "good"]
    except (KeyError, TypeError, PairError):
        found.blame(_name(tree, session / "session.json"), f"is damaged: it lists no attempts; {_RESTORE}")
        return
    for take in good:
        if not any((folder / take / SIDECAR).exists() for folder in (session, session / _WITHDRAWN)):
            found.blame(_name(tree, session / take / SIDECAR), f"is missing: session.json says it was saved; {_RESTORE}")


def _examine_take(tree: Path, full: bool, folder: Path) -> Findings:
    found = Findings()
    record = check_sealed(found, folder / SIDECAR, _name(tree, folder / SIDECAR), mend=_RESTORE)
    if not isinstance(record, dict):
        found.files |= {_name(tree, path) for path in folder.iterdir()}  # nobody knows what they should be
        return found
    try:
        listed = _listed_files(folder, record)
        place = (str(record["subject"]), str(record["session"]), str(record["take"]))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        found.blame(_name(tree, folder / SIDECAR), f"is damaged ({error!r}); {_RESTORE}")
        return found
    session = folder.parent.parent if folder.parent.name == _WITHDRAWN else folder.parent
    if (session.parent.name, session.name, folder.name) != place:
        found.blame(_name(tree, folder / SIDECAR), f"is that of {'/'.join(place)}; give the folders their own names again")
    for path, facts in listed:
        what = _difference(path, facts, full)
        if what:
            found.blame(_name(tree, path), what)
        found.files.add(_name(tree, path))
    if not found.faults:
        _check_readable(tree, folder, full, found)
    return found


def _listed_files(folder: Path, record: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
    photographs = [
        (folder / (facts.get("path") or facts.get("name") or f"{light}.jpg"), facts) for light, facts in record["files"].items()
    ]
    beside = [(folder / name, facts) for name, facts in record.get("beside", {}).items()]
    for _, facts in photographs + beside:
        _ = int(facts["size_bytes"]), str(facts["sha256"])
    return photographs + beside


def _difference(path: Path, facts: dict[str, Any], full: bool) -> str:
    """Return what is wrong with a listed file, as a clause, or nothing."""
    try:
        size_bytes = path.stat().st_size
    except FileNotFoundError:
        return f"is missing; {_RESTORE}"
    except OSError as error:
        return f"cannot be read ({error.strerror}); check the disk"
    if size_bytes != facts["size_bytes"]:
        state = "is cut short" if size_bytes < facts["size_bytes"] else "is too long"
        return f"{state}: it has {size_bytes} bytes instead of {facts['size_bytes']}; {_RESTORE}"
    return check_content(path, facts["sha256"]) if full else ""


def _check_readable(tree: Path, folder: Path, full: bool, found: Findings) -> None:
    """Read a pair as every stage does; in full, decode its photographs."""
    try:
        pair = read_pair(folder)
        for photograph in (pair.flash, pair.studio) if full else ():
            read_rgb(photograph)
    except PairError as error:
        found.blame(_name(tree, folder / SIDECAR), f"cannot be used: {error}")
    except PictureError as error:
        found.blame(_name(tree, photograph), f"cannot be decoded: {error}")


def _check_orphan(tree: Path, path: Path, found: Findings) -> None:
    if not sha256_of(path).startswith(path.name.partition("-")[0]):
        found.blame(_name(tree, path), f"is altered: it does not match the checksum in its name; {_RESTORE}")


def _named_pairs(tree: Path, found: Findings) -> list[Pair]:
    """Return the pairs that are pairs by their files' names; blame photographs without a partner."""
    try:
        pairs, set_aside = find_pairs(tree)
    except PairError:
        return []
    named = [pair for pair in pairs if pair.flash.parent == tree and not pair.record]
    for item in set_aside:
        if "/" not in item.item and not (tree / item.item).is_dir():
            found.blame(item.item, f"is no pair: {item.reason}")
    return named


def _examine_named(tree: Path, full: bool, pair: Pair) -> Findings:
    found = Findings({_name(tree, pair.flash), _name(tree, pair.studio)})
    for photograph in (pair.flash, pair.studio) if full else ():
        try:
            read_rgb(photograph)
        except PictureError as error:
            found.blame(_name(tree, photograph), f"cannot be decoded: {error}")
    return found


def _examine_record(tree: Path, full: bool, path: Path) -> Findings:
    found = Findings()
    name = _name(tree, path)
    check_sealed(found, path, name, mend="run align batch again")
    registered = tree / f"{path.stem}.studio.jpg"
    if registered.exists():
        found.files.add(registered.name)
    if found.faults:
        return found
    try:
        alignment = load_alignment(path)
    except PairError as error:
        found.blame(name, f"cannot be used: {error}")
        return found
    _check_photographs(alignment, name, full, found)
    if full and registered.exists():
        try:
            read_rgb(registered)
        except PictureError as error:
            found.blame(registered.name, f"cannot be decoded: {error}; run align batch again")
    return found


def _check_photographs(alignment: Alignment, name: str, full: bool, found: Findings) -> None:
    for path, sha256 in ((alignment.flash, alignment.flash_sha256), (alignment.studio, alignment.studio_sha256)):
        if not path.is_file():
            found.blame(name, f"was computed from {path}, which is missing; {_RESTORE}")
        elif full and (what := check_content(path, sha256)):
            found.blame(name, f"was computed from {path}, which {what}, or run align batch again")


def _note_unaligned(records: list[Path], found: Findings) -> None:
    """Note pairs of the raw tree that have no record: no list says which there should be."""
    known = {path.stem for path in records}
    roots = set()
    for path in records:
        try:
            take = load_alignment(path).flash.parent
        except PairError:
            continue
        if (take / SIDECAR).exists():
            roots.add(take.parents[2])
    for root in sorted(roots):
        present = {"-".join(sidecar.parts[-4:-1]) for sidecar in root.glob(f"[!.]*/[!.]*/[!.]*/{SIDECAR}")}
        missing = sorted(present - known)
        if missing:
            names = ", ".join(missing[:_MOST_NAMED]) + (" ..." if len(missing) > _MOST_NAMED else "")
            found.notes.append(f"{len(missing)} pairs of {root} have no record here ({names}); run align batch again")


def _name_strangers(tree: Path, found: Findings, *, layout: bool) -> None:
    """Name the files that nothing lists. In a folder of pairs by name there may be anything."""
    others = 0
    for path in sorted(tree.rglob("*")):
        name = _name(tree, path)
        if not path.is_file() or name in found.files:
            continue
        inner = path.relative_to(tree)
        if _is_temporary(inner):
            found.notes.append(f"{name} was left by a process that was killed; the next run removes it")
        elif any(part.startswith(".") and part != _WITHDRAWN for part in inner.parts):
            continue  # the file browser's, or a lock: no stage looks at them
        elif path.stem in {"flash", "studio"} and not (path.parent / SIDECAR).exists():
            found.blame(_name(tree, path.parent / SIDECAR), f"is missing, beside {path.name}; {_RESTORE}")
        elif layout:
            found.blame(name, "is listed nowhere; move it away")
        else:
            others += 1
    if others:
        found.notes.append(f"{others} other files are no pairs, and were not looked at")


def _is_temporary(path: Path) -> bool:
    return any(part.startswith(TEMPORARY_PREFIX) for part in path.parts)


def _name(tree: Path, path: Path) -> str:
    """Return a file's path in the tree, or its whole path if it lies elsewhere."""
    return str(path.relative_to(tree)) if path.is_relative_to(tree) else str(path)
