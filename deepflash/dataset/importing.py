"""Bringing pairs from elsewhere into the raw layout.

1. Every pair is examined: headers before pixels, real formats, sizes, whether all of it can be decoded, checksums.
2. The pairs are compared with each other and with the tree: what is there already, by content, is skipped, so that the same
   call goes on where a killed one stopped.
3. Persons get their ids, which the private list keeps (`names`), and the takes are stored, each whole or not at all.

The photographs are read only. What they hold beside pixels (places, owners) comes along into the raw tree, and is left
behind by the stages after it.
"""

import errno
import fcntl
import functools
import json
import os
import shutil
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepflash import __version__
from deepflash.accounts import Account, SetAside
from deepflash.batch import run_all, usable_cores
from deepflash.dataset.examine import Examined, examine
from deepflash.dataset.layouts import LAYOUTS
from deepflash.dataset.names import Name, names_path, next_number, read_names, write_names
from deepflash.dataset.rotated import Copy, find_copies
from deepflash.dataset.sources import LIGHTS, Found, printable, safe_id
from deepflash.dataset.two_lights import add_lights
from deepflash.errors import DatasetError, PairError
from deepflash.files import sha256_of, sweep_temporaries
from deepflash.pairs import SIDECAR, Original, check_id, commit_originals, read_pair, take_folder
from deepflash.pictures import encode
from deepflash.progress import Report, silent

Subjects = Literal["number", "keep"]

SESSION = "import"
"""The session of pairs whose source knows of none."""

_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True)
class Import:
    """What became of a source.

    Attributes
    ----------
    account
        Every pair of it.
    takes
        Where each pair that was imported, or would be, is to be found: `{"item": ..., "folder": ...}`.
    copies
        The pairs that were left out as copies of another one at another angle.
    notes
        What a person should know besides, one sentence each.
    """

    account: Account
    takes: list[dict[str, str]]
    copies: list[dict[str, Any]]
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {**self.account.as_dict(), "takes": self.takes, "copies": self.copies, "notes": self.notes}


def import_pairs(
    found: Found,
    raw: Path,
    *,
    by_reference: bool = False,
    subjects: Subjects = "number",
    names: Path | None = None,
    dry_run: bool = False,
    workers: int | None = None,
    report: Report = silent,
) -> Import:
    """Bring the pairs of a source into a raw tree.

    Parameters
    ----------
    found
        The source's pairs, from `patterns`, `lists` or `layouts`.
    raw
        The tree; made if need be. Whatever is in it stays.
    by_reference
        Leave the photographs where they are; each `pair.json` says where that is.
    subjects
        `number` gives each person the next free id, such as S001, and keeps who that is in the private list; `keep` takes the
        source's words, which must then be ids.
    names
        The private list, by default `names.names_path(raw)`.
    dry_run
        Examine everything, write nothing.
    workers
        Number of processes, by default one for each core.
    report
        Called as pairs are examined, then as they are stored.

    Returns
    -------
    Import
        The account and what a person should be told.

    Raises
    ------
    DatasetError
        if source and tree lie in one another, if there is not enough space, if computed pictures are to be referred to, or
        if another import into `raw` runs.
    """
    _check_places(found, raw, by_reference)
    workers = workers or usable_cores()
    with _alone(raw, dry_run=dry_run):
        account = Account(set_aside=list(found.set_aside))
        examined = _examine(found, account, workers, report)
        plan = _Plan(found, raw, subjects, names or names_path(raw), account)
        takes = plan.takes(examined)
        if not by_reference and not dry_run:
            _check_space(raw, takes)
        if dry_run:
            account.done = len(takes)
        else:
            plan.keep_names()
            takes = _store(takes, account, by_reference, workers, report)
        told = [{"item": take.item, "folder": str(take.folder)} for take in takes]
        return Import(account, told, plan.copies, [*found.notes, *plan.notes])


def _examine(found: Found, account: Account, workers: int, report: Report) -> list[Examined]:
    """Return the pairs that can be used; set the others aside."""
    layout = LAYOUTS.get(found.name)
    unit = functools.partial(examine, look=layout is not None and layout.rotated_copies)
    examined = []
    for outcome in run_all(unit, found.candidates, workers=workers, report=report) if found.candidates else ():
        if outcome.value is None:
            account.set_aside.append(SetAside(outcome.unit.item, printable(outcome.error or "")))
        else:
            examined.append(outcome.value)
    return examined


@dataclass(frozen=True)
class _Take:
    """A pair that is to be stored, and where."""

    item: str
    folder: Path
    flash: Original
    studio: Original
    size_bytes: int
    record: dict[str, Any]
    apart: bool


class _Plan:
    """Decides which pairs are stored, and as what; keeps who is who."""

    def __init__(self, found: Found, raw: Path, subjects: Subjects, names: Path, account: Account) -> None:
        self._found = found
        self._raw = raw
        self._numbered = subjects == "number"
        self._path = names
        self._names = read_names(names) if self._numbered else []
        self._ids = {(name.source, name.word): name.id for name in self._names}
        self._account = account
        self._present = _present(raw)
        self._number = next_number({name.id for name in self._names} | _folders_in(raw))
        self._folders: set[Path] = set()
        self._takes: Counter[Path] = Counter()  # by session: the last number given
        self.copies: list[dict[str, Any]] = []
        self.notes: list[str] = []

    def takes(self, examined: Sequence[Examined]) -> list[_Take]:
        """Return what is to be stored; account for all else."""
        fresh = self._without_twins(self._without_copies(examined))
        new = [pair for pair in fresh if not self._is_present(pair)]
        return [take for pair in new if (take := self._take(pair)) is not None]

    def keep_names(self) -> None:
        """Write the private list, before the first take that uses it."""
        if self._numbered and self._names != read_names(self._path):
            write_names(self._path, self._names)

    def _without_copies(self, examined: Sequence[Examined]) -> list[Examined]:
        looks = [pair.look for pair in examined if pair.look is not None]
        present = {index for index, pair in enumerate(examined) if pair.content in self._present}
        copies = {copy.index: copy for copy in find_copies(looks, present)}
        for copy in copies.values():
            self._leave_out(copy, examined)
        return [pair for index, pair in enumerate(examined) if index not in copies]

    def _leave_out(self, copy: Copy, examined: Sequence[Examined]) -> None:
        if not self.copies:
            self.notes.append("pictures that are others at another angle were counted as skipped; --json lists them")
        self._account.skipped += 1
        pair, kept = examined[copy.index].candidate.item, examined[copy.of].candidate.item
        facts = {"angle_deg": copy.angle_deg, "scale": copy.scale, "mirrored": copy.mirrored}
        self.copies.append({"item": pair, "copy_of": kept, **facts})

    def _without_twins(self, examined: Sequence[Examined]) -> list[Examined]:
        """Leave out what the source holds twice, byte for byte."""
        first: dict[tuple[str, str], Examined] = {}
        for pair in examined:
            if pair.content in first:
                other = first[pair.content].candidate.item
                self._set_aside(pair, f"holds the same two photographs as {other}; remove one of them")
            else:
                first[pair.content] = pair
        return list(first.values())

    def _is_present(self, pair: Examined) -> bool:
        present = self._present.get(pair.content)
        if present is None:
            return False
        if self._numbered:
            self._bind(pair.candidate.subject, present.subject)  # the source may have moved; whoever is in it is the same
        if present.whole:
            self._account.skipped += 1
        else:
            self._set_aside(pair, f"is {present.folder} already, which is damaged; remove that folder and import again")
        return True

    def _take(self, pair: Examined) -> _Take | None:
        candidate = pair.candidate
        try:
            subject = self._subject(candidate.subject)
            session = safe_id(candidate.session) or SESSION
            folder = self._folder(subject, session, safe_id(candidate.take))
        except PairError as error:
            self._set_aside(pair, printable(str(error)))
            return None
        self._folders.add(folder)
        record = self._record(pair, subject, session, folder.name)
        apart = self._found.name in LAYOUTS and LAYOUTS[self._found.name].apart
        return _Take(candidate.item, folder, pair.flash, pair.studio, pair.size_bytes, record, apart)

    def _subject(self, word: str) -> str:
        if not self._numbered:
            try:
                return check_id(word)
            except PairError as error:
                raise PairError(f"{error}, or let subjects be numbered (--subjects number)") from None
        return self._bind(word)

    def _bind(self, word: str, subject: str | None = None) -> str:
        """Return the id of a person of the source; one who is new gets the given id or the next number."""
        source, word = printable(self._found.place), printable(unicodedata.normalize("NFC", word))
        if (source, word) not in self._ids:
            if subject is None:
                subject = f"S{self._number:03d}"
                self._number += 1
            self._ids[source, word] = subject
            self._names.append(Name(subject, source, word))
        return self._ids[source, word]

    def _folder(self, subject: str, session: str, take: str) -> Path:
        """Return the folder of a take: of the one that the source names, or of the next number."""
        if take:
            folder = take_folder(self._raw, subject, session, take)
            if folder in self._folders or folder.exists():
                raise PairError(f"{folder} is another pair's take already; give each pair of a session a take of its own")
            return folder
        place = self._raw / subject / session
        while True:
            self._takes[place] += 1
            folder = take_folder(self._raw, subject, session, f"{self._takes[place]:03d}")
            if folder not in self._folders and not folder.exists():
                return folder

    def _record(self, pair: Examined, subject: str, session: str, take: str) -> dict[str, Any]:
        candidate = pair.candidate
        origin = {"source": self._found.name, "flash_sha256": pair.flash.sha256, "studio_sha256": pair.studio.sha256}
        if not self._numbered:  # the source's names may stand in the tree
            origin |= {"flash": self._below(candidate.flash), "studio": self._below(candidate.studio)}
        known = {"subject": subject, "session": session, "take": take, "pose": safe_id(candidate.pose)}
        consent = {"consent": printable(candidate.consent)} if candidate.consent else {}
        return {**known, **consent, "imported": origin, "versions": {"deepflash": __version__}}

    def _below(self, path: Path) -> str:
        place = self._found.place if self._found.place.is_dir() else self._found.place.parent
        return printable(os.path.relpath(path, place))

    def _set_aside(self, pair: Examined, reason: str) -> None:
        self._account.set_aside.append(SetAside(pair.candidate.item, reason))


@dataclass(frozen=True)
class _Present:
    """A take that is in the tree; `whole` if its sidecar and photographs are as they should be."""

    subject: str
    folder: Path
    whole: bool


def _present(raw: Path) -> dict[tuple[str, str], _Present]:
    """Return every take of the tree, by the checksums of the photographs that it was made from."""
    present = {}
    for sidecar in sorted(raw.glob(f"*/*/*/{SIDECAR}")):
        folder = sidecar.parent
        if any(part.startswith(".") for part in folder.relative_to(raw).parts):
            continue  # a temporary
        try:
            record, whole = read_pair(folder).record, True
        except PairError:
            record, whole = _what_is_left(sidecar), False
        imported, files = record.get("imported"), record.get("files", {})
        origin = imported if isinstance(imported, dict) else {}
        made_from = [origin.get(f"{light}_sha256") or files.get(light, {}).get("sha256") for light in LIGHTS]
        if all(isinstance(sha256, str) for sha256 in made_from):
            present[made_from[0], made_from[1]] = _Present(record["subject"], folder, whole)
    return present


def _folders_in(raw: Path) -> set[str]:
    return {path.name for path in raw.iterdir()} if raw.is_dir() else set()


def _what_is_left(sidecar: Path) -> dict[str, Any]:
    """Return the content of a sidecar whose take is damaged, as far as it says which photographs it was made from."""
    try:
        record = json.loads(sidecar.read_text(encoding="utf-8"))
        check_id(record["subject"])
        return {"subject": record["subject"], "imported": record["imported"]}
    except (OSError, ValueError, KeyError, TypeError, PairError):
        pass
    return {}


def _store(takes: Sequence[_Take], account: Account, by_reference: bool, workers: int, report: Report) -> list[_Take]:
    stored = []
    unit = functools.partial(_commit, by_reference)
    for outcome in run_all(unit, takes, workers=workers, report=report) if takes else ():
        if outcome.error is not None:
            account.set_aside.append(SetAside(outcome.unit.item, printable(outcome.error)))
        else:
            account.done += 1
            stored.append(outcome.unit)
    return stored


def _commit(by_reference: bool, take: _Take) -> None:
    """Run in a worker; a full disk ends the run, a source that cannot be read any more is a matter of its pair."""
    if (take.folder / SIDECAR).exists():
        return  # a worker died after it had stored this take
    try:
        if take.apart:
            _commit_added(take)
        else:
            commit_originals(take.folder, take.flash, take.studio, take.record, by_reference=by_reference)
    except OSError as error:
        if error.errno in _OF_THE_DISK:
            raise OSError(error.errno, error.strerror, str(take.folder)) from error
        raise DatasetError(f"{error.filename} cannot be read any more ({error.strerror}); import it again") from error


def _commit_added(take: _Take) -> None:
    photographs = add_lights(take.flash.path, take.studio.path)
    facts = {"colours": photographs.colours, "clipped_fraction": photographs.clipped_fraction}
    record = {**take.record, "imported": {**take.record["imported"], "lights": facts}}
    with tempfile.TemporaryDirectory() as name:
        made = []
        for picture in (photographs.flash, photographs.studio):
            path = Path(name) / f"{len(made)}.png"
            path.write_bytes(encode(picture, ".png"))
            made.append(Original(path, sha256_of(path), ".png"))
        commit_originals(take.folder, made[0], made[1], record)


def _check_places(found: Found, raw: Path, by_reference: bool) -> None:
    source = found.place if found.place.is_dir() else found.place.parent
    tree = raw.resolve()
    if found.place.is_dir() and tree.is_relative_to(source):
        raise DatasetError(f"{raw} lies in the source {printable(found.place)}; give a tree outside of it")
    if source.is_relative_to(tree):
        raise DatasetError(f"the source {printable(found.place)} lies in {raw}; give a tree outside of it")
    if raw.exists() and not raw.is_dir():
        raise DatasetError(f"{raw} is a file; give a folder for the pairs")
    if by_reference and found.name in LAYOUTS and LAYOUTS[found.name].apart:
        raise DatasetError(
            f"the pictures of the {LAYOUTS[found.name].title} are computed from two, so they cannot be referred to;"
            " import copies"
        )


def _check_space(raw: Path, takes: Sequence[_Take]) -> None:
    needed = sum(take.size_bytes for take in takes)
    free = shutil.disk_usage(raw).free
    if needed > free:
        raise DatasetError(
            f"{raw} has {free / 1e6:,.1f} MB free, the photographs need {needed / 1e6:,.1f}; make space, or import them by"
            " reference"
        )


@contextmanager
def _alone(raw: Path, *, dry_run: bool) -> Iterator[None]:
    """Keep other imports out of the tree, lest two persons get one number."""
    if dry_run:
        yield
        return
    raw.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(raw, os.O_RDONLY)
    try:
        _lock(descriptor, raw)
        sweep_temporaries(raw)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, raw: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DatasetError(f"another import into {raw} runs; wait until it has ended") from None
