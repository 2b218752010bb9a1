"""Deciding which pairs of a source are stored in a raw tree, and as what."""

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepflash import __version__
from deepflash.accounts import Account, SetAside
from deepflash.dataset.examine import Examined
from deepflash.dataset.layouts import LAYOUTS
from deepflash.dataset.names import Name, next_number, read_names, write_names
from deepflash.dataset.rotated import Copy, find_copies
from deepflash.dataset.sources import LIGHTS, Found, printable, safe_id
from deepflash.errors import PairError
from deepflash.pairs import SIDECAR, Original, check_id, read_pair, take_folder

Subjects = Literal["number", "keep"]
"""Whether persons get numbers, or keep the source's words as ids."""

SESSION = "import"
"""The session of pairs whose source knows of none."""


@dataclass(frozen=True)
class Take:
    """A pair that is to be stored.

    Attributes
    ----------
    item
        What to call it in a sentence.
    folder
        Where it is to stand, as `pairs.take_folder` says.
    flash, studio
        The photographs.
    size_bytes
        Of both together.
    record
        The content of its `pair.json`, without what is known of the stored files.
    apart
        Whether the flash photograph shows the flash's light alone, so that the ambient light is to be added.
    """

    item: str
    folder: Path
    flash: Original
    studio: Original
    size_bytes: int
    record: dict[str, Any]
    apart: bool


class Plan:
    """Decides which pairs are stored, and as what; keeps who is who.

    Parameters
    ----------
    found
        The source.
    raw
        The tree.
    subjects
        Whether persons are numbered.
    names
        The private list of who is who.
    account
        Takes up what is not stored.

    Attributes
    ----------
    copies
        Pairs that are others at another angle: `item`, `copy_of`, `angle_deg`, `scale`, `mirrored`.
    notes
        What a person should know, one sentence each.
    """

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

    def takes(self, examined: Sequence[Examined]) -> list[Take]:
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

    def _take(self, pair: Examined) -> Take | None:
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
        return Take(candidate.item, folder, pair.flash, pair.studio, pair.size_bytes, record, apart)

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
