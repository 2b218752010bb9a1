"""Bringing pairs from elsewhere into the raw layout.

1. Every pair is examined: headers before pixels, real formats, sizes, whether all of it can be decoded, checksums.
2. The pairs are compared with each other and with the tree: what is there already, by content, is skipped, so that the same
   call goes on where a killed one stopped.
3. Persons get their ids, which the private list keeps (`names`), and the takes are stored, each whole or not at all.

The photographs are read only. What they hold beside pixels (places, owners) comes along into the raw tree, and is left
behind by the stages after it.
"""

import errno
import functools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepflash.accounts import Account, SetAside
from deepflash.batch import run_all, usable_cores
from deepflash.dataset.examine import Examined, examine
from deepflash.dataset.layouts import LAYOUTS
from deepflash.dataset.names import names_path
from deepflash.dataset.planning import Plan, Subjects, Take
from deepflash.dataset.sources import Found, printable
from deepflash.dataset.two_lights import add_lights
from deepflash.errors import DatasetError
from deepflash.files import locked_folder, sha256_of, sweep_temporaries
from deepflash.pairs import SIDECAR, Original, commit_originals
from deepflash.pictures import encode
from deepflash.progress import Report, silent

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
        plan = Plan(found, raw, subjects, names or names_path(raw), account)
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


def _store(takes: Sequence[Take], account: Account, by_reference: bool, workers: int, report: Report) -> list[Take]:
    stored = []
    unit = functools.partial(_commit, by_reference)
    for outcome in run_all(unit, takes, workers=workers, report=report) if takes else ():
        if outcome.error is not None:
            account.set_aside.append(SetAside(outcome.unit.item, printable(outcome.error)))
        else:
            account.done += 1
            stored.append(outcome.unit)
    return stored


def _commit(by_reference: bool, take: Take) -> None:
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


def _commit_added(take: Take) -> None:
    photographs = add_lights(take.flash.path, take.studio.path)
    facts = {"colours": photographs.colours, "clipped_fraction": photographs.clipped_fraction}
    record = {**take.record, "imported": {**take.record["imported"], "lights": facts}}
    with tempfile.TemporaryDirectory() as name:
        made: list[Original] = []
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


def _check_space(raw: Path, takes: Sequence[Take]) -> None:
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
    with locked_folder(raw) as mine:
        if not mine:
            raise DatasetError(f"another import into {raw} runs; wait until it has ended")
        sweep_temporaries(raw)
        yield
