"""Forgetting a person in the trees that hold a file or a folder for each pair: photographs, registrations, runs."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from deepflash.dataset.names import erase_name, names_path, read_names
from deepflash.dataset.traces import Person, Trace, is_file, names_in, weight
from deepflash.errors import DatasetError
from deepflash.files import locked_folder, sweep_temporaries, sync_folder
from deepflash.pairs import SIDECAR

RUN_FILE = "run.json"
"""What makes a folder a run."""

_REGISTERED = ".studio.jpg"  # what `align batch --write-images` stores of a pair
_SHOWN_IN_RUNS = ("samples/step-*.png", "events.out.tfevents.*")
_MOST_NAMED = 3


def find_in_raw(tree: Path, person: Person) -> Trace:
    """Find a person in a tree of photographs.

    What stands beside the tree belongs to it: the private list of who is who, and what an emulated studio wrote.
    """
    folders = _folders_of(tree, person)
    emulated = tree.absolute().with_name(f"{tree.absolute().name}-emulator") / person.id
    erased = (*((emulated,) if emulated.is_dir() else ()), *folders, *_named_photographs(tree, person))
    files, size_bytes = weight(erased)
    names = names_path(tree)
    listed = names.is_file() and any(name.id == person.id for name in read_names(names))
    sidecars = [sidecar for folder in folders for sidecar in folder.rglob(SIDECAR)]
    return Trace(
        tree,
        "raw",
        f"{files} files of {len(sidecars)} takes" if sidecars else f"{files} files",
        erased,
        (names,) if listed else (),
        files,
        size_bytes,
        notes=(*_note_originals(sidecars), *_note_mirrors(folders), *_note_links(erased)),
    )


def erase_from_raw(trace: Trace, person: Person) -> None:
    """Erase what was found.

    Raises
    ------
    DatasetError
        if a session of that person is open.
    """
    sessions = [path for folder in trace.erased if folder.is_dir() for path in (folder, *folder.glob("*/"))]
    with ExitStack() as held:
        for session in sessions:
            if not held.enter_context(locked_folder(session)):
                raise DatasetError(f"a session is open in {session}; end it, then run deepflash forget again")
        for path in trace.rewritten:  # before the tree, without which it would not be looked for again
            erase_name(path, person.id)
        _erase(trace.erased)


def find_in_aligned(tree: Path, person: Person) -> Trace:
    """Find a person in a folder of registrations."""
    erased = tuple(_registrations_of(tree, person))
    files, size_bytes = weight(erased)
    records = sum(path.suffix == ".json" for path in erased)
    what = f"{records} registrations" + (f" and {files - records} registered pictures" if files > records else "")
    return Trace(tree, "aligned", what, erased, files=files, size_bytes=size_bytes)


def find_in_run(tree: Path, *, shows_person: bool) -> Trace:
    """Find a person in a run: pictures of how training went. What `evaluate` wrote into it is a tree of its own.

    Parameters
    ----------
    tree
        A folder that `train` wrote.
    shows_person
        Whether the person is in the data set that the run was trained on, in any part.
    """
    shown = pictures_of_run(tree) if shows_person else ()
    files, size_bytes = weight(shown)
    what = "pictures of how training went, with TensorBoard's file"
    return Trace(tree, "run", what, shown, files=files, size_bytes=size_bytes)


def pictures_of_run(run: Path) -> tuple[Path, ...]:
    """Return the files of a run that show people of the data set that it was trained on."""
    return tuple(path for pattern in _SHOWN_IN_RUNS for path in sorted(run.glob(pattern)))


def erase_files(trace: Trace) -> None:
    """Erase what was found in `aligned`, in a run or in results."""
    _erase(trace.erased)
    sweep_temporaries(trace.tree)


def datasets_of_run(run: Path) -> list[str]:
    """Return the checksums of the indices of the data sets that went into a run: its own, then its first weights'."""
    content, found = _json(run / RUN_FILE), []
    while isinstance(content, dict):
        found.append(str(content.get("dataset", "")))
        content = content.get("started_from")
    return found


def people_of_run(run: Path) -> set[str]:
    """Return the ids of those whom a run says that it was trained on, those of its first weights included."""
    content, found = _json(run / RUN_FILE), set()
    while isinstance(content, dict):
        subjects = content.get("subjects")
        found |= set(map(str, subjects)) if isinstance(subjects, list | dict) else set()
        content = content.get("started_from")
    return found


def mentions(tree: Path, person: Person, known: Iterable[Path]) -> Iterator[Path]:
    """Yield files in a tree that are named after a person, or whose words (lists, reports, notes) name them.

    Those that are known already are left out, and what runs say of whom they were trained on: `people_of_run` has that.
    """
    done = set(known)
    for path in sorted(tree.rglob("*")):
        new = path.name != RUN_FILE and is_file(path) and not done & {path, *path.parents}
        if new and (person.is_in(path.name) or names_in(path, person)):
            yield path


def _folders_of(tree: Path, person: Person) -> list[Path]:
    """Return the person's own folder, and takes of theirs that stand elsewhere (in a copy of the tree within it, say)."""
    found = {tree / person.id} if (tree / person.id).is_dir() else set()
    for sidecar in tree.rglob(SIDECAR):
        content = _json(sidecar)
        if isinstance(content, dict) and content.get("subject") == person.id:
            above = [folder for folder in sidecar.parents if folder.name == person.id and folder.is_relative_to(tree)]
            found.add(above[-1] if above and above[-1] != tree else sidecar.parent)
    return sorted(folder for folder in found if not found & set(folder.parents))


def _named_photographs(tree: Path, person: Person) -> list[Path]:
    wanted = re.compile(rf"{re.escape(person.id)}_(flash|studio)\.(jpe?g|png|webp|tiff?)", re.IGNORECASE)
    return sorted(path for path in tree.iterdir() if wanted.fullmatch(path.name) and is_file(path))


def _registrations_of(tree: Path, person: Person) -> Iterator[Path]:
    """Yield each registered picture before its record, so that none is left without."""
    for path in sorted(tree.glob("[!.]*.json")):
        content = _json(path)
        subject = content.get("subject") if isinstance(content, dict) else None
        if subject == person.id or (subject is None and person.is_in(path.stem)):  # a damaged record can be made again
            yield from (picture for picture in (tree / f"{path.stem}{_REGISTERED}",) if picture.exists())
            yield path
    for path in sorted(tree.glob(f"[!.]*{_REGISTERED}")):
        stem = path.name.removesuffix(_REGISTERED)
        if person.is_in(stem) and not (tree / f"{stem}.json").exists():
            yield path


def _note_originals(sidecars: list[Path]) -> Iterator[str]:
    """Say which photographs lie elsewhere, because they were imported by reference."""
    records = [content for sidecar in sidecars if isinstance(content := _json(sidecar), dict)]
    files = [facts for record in records if isinstance(record.get("files"), dict) for facts in record["files"].values()]
    paths = [str(facts["path"]) for facts in files if isinstance(facts, dict) and "path" in facts]
    if paths:
        more = ", ..." if len(paths) > _MOST_NAMED else ""
        named = ", ".join(paths[:_MOST_NAMED]) + more
        yield f"{len(paths)} photographs were imported by reference and stay where they lie: {named}"


def _note_mirrors(folders: list[Path]) -> Iterator[str]:
    journals = [_json(path) for folder in folders for path in folder.rglob("session.json")]
    logs = [journal.get("log") for journal in journals if isinstance(journal, dict)]
    events = [event for log in logs if isinstance(log, list) for event in log if isinstance(event, dict)]
    roots = {str(event["root"]) for event in events if event.get("what") == "mirror" and "root" in event}
    for root in sorted(roots):
        yield f"a second copy was kept in {root}; give that tree to deepflash forget, too"


def _note_links(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        if path.is_symlink():
            yield f"{path} is a link, which is removed; {path.resolve()} stays, erase it by hand"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _erase(paths: Iterable[Path]) -> None:
    """Erase files and folders, each durably; links go and what they point to stays."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        sync_folder(path.parent)
