"""Forgetting a person in a data set: the shards that hold samples of theirs are written anew without these.

All of it is made in `SHARDS/.forgetting` first: shards, index, card and, last, `dataset.json`. From then on everything that
will be needed is on the disk, and the files are moved to their places by renames. Whoever is killed before that has changed
nothing; whoever is killed after it goes on with the renames when the command is given again.
"""

import difflib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from deepflash.dataset.build import PIECES, UNKNOWN_POSE
from deepflash.dataset.card import card
from deepflash.dataset.split import Split, notes_on
from deepflash.dataset.statistics import PixelSums
from deepflash.dataset.traces import Person, Trace, weight, without
from deepflash.errors import DatasetError, ShardError
from deepflash.files import locked_folder, sha256_of, sweep_temporaries, sync_folder
from deepflash.shards import (
    CARD_FILE,
    DATASET_FILE,
    FORGETTING,
    INDEX_FILE,
    SPLITS,
    Entry,
    ShardSet,
    commit_shards,
    index_line,
    is_shard_name,
    is_unaugmented,
    iter_samples,
    open_shards,
    read_manifest,
    write_shard,
)

_OF_THE_FORMAT = ("format", "counts", "index", "shards", "card")  # commit_shards says them anew
_OF_SUBJECTS = ("split", "stand_ins", "leakage", "notes", "set_aside", "parameters")
"""What of `dataset.json` may name a person."""


def find_in_shards(tree: Path, person: Person) -> Trace:
    """Find a person in a data set, or in what an unfinished build left.

    Raises
    ------
    ShardError
        if it is damaged.
    """
    if _is_staged(tree):
        what = "a forgetting that was interrupted, which is completed first"
        return Trace(tree, "shards", what, rewritten=(tree / DATASET_FILE,))
    if not (tree / DATASET_FILE).exists():
        return _find_in_unfinished(tree, person)
    shards = open_shards(tree)
    own = _own(shards, person)
    left = tuple(path for path in (tree / PIECES,) if path.exists())
    files, size_bytes = weight(left)
    if not own and _scrubbed(shards.manifest, person) == shards.manifest and not left:
        return Trace(tree, "shards", notes=_note_foreign_card(tree, shards.manifest, person))
    kept = {entry.shard for entry in _entries(shards) if entry.info.get("subject") != person.id}
    affected = {entry.shard for entry in own}
    lists = (tree / INDEX_FILE, tree / CARD_FILE, tree / DATASET_FILE)
    gone = tuple(tree / name for name in sorted(affected - kept))
    everything = bool(own) and not kept
    return Trace(
        tree,
        "shards",
        f"{len(own)} of {len(_entries(shards))} samples",
        erased=left + gone + tuple(path for path in lists if everything and path.exists()),
        rewritten=() if everything else (*(tree / name for name in sorted(affected & kept)), *lists),
        files=files + len(gone),
        size_bytes=size_bytes + sum(member.size for entry in own for member in entry.members.values()),
        samples=len(own),
        notes=_note_foreign_card(tree, shards.manifest, person),
    )


def identities_with(tree: Path, person: Person) -> tuple[set[str], set[str], set[str]]:
    """Return by which checksums runs know this data set, now and before, and before alone; and the splits the person is in.

    A data set only ever loses people, so who is in it now was in it at all earlier times.
    """
    if _is_staged(tree) or not (tree / DATASET_FILE).exists():
        return set(), set(), set()
    shards = open_shards(tree)
    before = {str(entry["index_sha256"]) for entry in shards.manifest.get("forgotten", ())}
    splits = {entry.split for entry in _own(shards, person)}
    return {str(shards.manifest["index"]["sha256"])} | before, before, splits


def subjects_in_shards(tree: Path) -> set[str]:
    """Return all subjects of a finished data set."""
    if _is_staged(tree) or not (tree / DATASET_FILE).exists():
        return set()
    return {str(entry.info["subject"]) for entry in _entries(open_shards(tree)) if "subject" in entry.info}


def erase_from_shards(tree: Path, person: Person) -> None:
    """Erase a person from a data set; it stays one, its other samples the same to the byte.

    Raises
    ------
    DatasetError
        if somebody else does so at this moment.
    ShardError
        if a sample that is to be kept is damaged; nothing has been changed then.
    """
    with locked_folder(tree) as mine:
        if not mine:
            raise DatasetError(f"{tree} is being written by another process; wait until it has ended")
        sweep_temporaries(tree)
        _complete(tree)
        if not (tree / DATASET_FILE).exists():
            _erase_from_unfinished(tree, person)
            return
        shutil.rmtree(tree / PIECES, ignore_errors=True)
        shards = open_shards(tree)
        if _own(shards, person) or _scrubbed(shards.manifest, person) != shards.manifest:
            if len(_own(shards, person)) == len(_entries(shards)):
                _remove_all(tree, shards)
                return
            try:
                _stage(tree, shards, person)
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                raise ShardError(
                    f"{tree / DATASET_FILE} is damaged ({error!r}); restore it from a copy, then forget"
                ) from error
            finally:
                if not _is_staged(tree):
                    shutil.rmtree(tree / FORGETTING, ignore_errors=True)
            _complete(tree)


def _is_staged(tree: Path) -> bool:
    return (tree / FORGETTING / DATASET_FILE).exists()


def _entries(shards: ShardSet) -> list[Entry]:
    return [entry for split in SPLITS for entry in shards.entries(split)]


def _own(shards: ShardSet, person: Person) -> list[Entry]:
    return [entry for entry in _entries(shards) if entry.info.get("subject") == person.id]


def _remove_all(tree: Path, shards: ShardSet) -> None:
    """Remove a data set that holds nobody else; without `dataset.json` it is none from the first moment."""
    for name in (DATASET_FILE, INDEX_FILE, CARD_FILE, *shards.manifest["shards"]):
        (tree / name).unlink(missing_ok=True)
        sync_folder(tree)


def _stage(tree: Path, shards: ShardSet, person: Person) -> None:
    """Make the data set without the person, in a folder within it; only what changes is in there."""
    staging = tree / FORGETTING
    shutil.rmtree(staging, ignore_errors=True)  # of an attempt that was killed before it was whole
    kept = [entry for entry in _entries(shards) if entry.info.get("subject") != person.id]
    facts = dict(shards.manifest["shards"])
    moved: dict[str, Entry] = {}
    for name in sorted({entry.shard for entry in _own(shards, person)}):
        remaining = [entry for entry in kept if entry.shard == name]
        del facts[name]
        if remaining:
            samples = ((entry.key, shards.read_members(entry)) for entry in remaining)
            facts[name], entries = write_shard(staging / name, remaining[0].split, samples)
            moved |= {entry.key: entry for entry in entries}
    commit_shards(
        staging,
        _manifest_without(shards, kept, person),
        shards=facts,
        index=(index_line(moved.get(entry.key, entry)) for entry in kept),
        counts={split: _count([entry for entry in kept if entry.split == split]) for split in SPLITS},
        card=_card_of(tree, shards.manifest, person),
    )
    sync_folder(tree)


def _complete(tree: Path) -> None:
    """Move what was staged to its places: every step can be done twice, and the last one makes it a data set."""
    staging = tree / FORGETTING
    if _is_staged(tree):
        listed = read_manifest(staging)["shards"]
        for path in sorted(staging.glob("*.tar")):
            path.replace(tree / path.name)
        for path in sorted(tree.glob("*.tar")):
            if is_shard_name(path.name) and path.name not in listed:
                path.unlink()
        for name in (INDEX_FILE, CARD_FILE):
            if (staging / name).exists():
                (staging / name).replace(tree / name)
        sync_folder(tree)
        (staging / DATASET_FILE).replace(tree / DATASET_FILE)
        sync_folder(tree)
    shutil.rmtree(staging, ignore_errors=True)


def _scrubbed(manifest: Mapping[str, Any], person: Person) -> dict[str, Any]:
    """Return `dataset.json` without what names the person."""
    return {name: without(value, person) if name in _OF_SUBJECTS else value for name, value in manifest.items()}


def _manifest_without(shards: ShardSet, kept: list[Entry], person: Person) -> dict[str, Any]:
    """Return what `dataset.json` shall say beside the format, the counts and checksums."""
    content = _scrubbed(shards.manifest, person)
    own = _own(shards, person)
    if content.get("leakage") and own:
        content["leakage"] = {**content["leakage"], "subjects_compared": content["leakage"]["subjects_compared"] - 1}
    if "poses" in content:
        content["poses"] = _poses(kept)
    if "statistics" in content and any(entry.split == "train" for entry in own):
        content["statistics"] = _statistics(shards, kept)
    if "inputs_sha256" in content:
        content["inputs_sha256"] = ""  # these alignments, together, no longer make this data set
    if "notes" in content:
        ours = _notes_on_split(shards.manifest)
        others = [note for note in content["notes"] if note not in ours]
        content["notes"] = [*_notes_on_split(content), *others]
    if own:  # else the index stays as it is
        identity = {"index_sha256": shards.manifest["index"]["sha256"]}
        content["forgotten"] = [*content.get("forgotten", ()), identity]
    return {name: value for name, value in content.items() if name not in _OF_THE_FORMAT}


def _notes_on_split(manifest: Mapping[str, Any]) -> list[str]:
    """Return what a build remarks of the split in a `dataset.json`."""
    parameters = manifest.get("parameters", {})
    if "split" not in manifest or "proportions" not in parameters:
        return []
    split = Split(manifest["split"], tuple(manifest.get("stand_ins", ())))
    return notes_on(split, parameters["proportions"], fixed=parameters.get("fixed"), table=manifest.get("poses"))


def _poses(kept: list[Entry]) -> dict[str, dict[str, int]]:
    """Count pairs of each pose in each split."""
    pose_of = {(entry.split, entry.info["pair_id"]): entry.info.get("pose") or UNKNOWN_POSE for entry in kept}
    counts = Counter((split, pose) for (split, _), pose in pose_of.items())
    names = sorted(set(pose_of.values()))
    return {split: {pose: counts[split, pose] for pose in names} for split in SPLITS}


def _count(entries: list[Entry]) -> dict[str, int]:
    named = {name: {entry.info[name] for entry in entries if name in entry.info} for name in ("pair_id", "subject")}
    return {"samples": len(entries), "pairs": len(named["pair_id"]), "subjects": len(named["subject"])}


def _statistics(shards: ShardSet, kept: list[Entry]) -> dict[str, dict[str, list[float]]]:
    """Return mean and deviation of the channels over the training samples that are left, as a build computes them."""
    flash, studio = PixelSums(), PixelSums()
    for entry in kept:
        if entry.split == "train" and is_unaugmented(entry.info):
            sample = shards.read(entry)
            flash, studio = flash + PixelSums.of(sample.flash), studio + PixelSums.of(sample.studio)
    return {"flash": flash.as_dict(), "studio": studio.as_dict()}


def _card_of(tree: Path, manifest: Mapping[str, Any], person: Person) -> Callable[[Mapping[str, Any]], str] | None:
    """Return what writes the card: as a build does, or, if somebody edited it, the edited text with the new numbers."""
    if "card" not in manifest:
        return None
    path = tree / CARD_FILE
    if not path.exists() or sha256_of(path) == manifest["card"]["sha256"]:
        return card
    edited = path.read_text(encoding="utf-8", errors="replace")
    written = card({name: value for name, value in manifest.items() if name != "card"})
    return lambda content: _merged(edited, written, card(content), person)


def _merged(edited: str, written: str, anew: str, person: Person) -> str:
    """Bring an edited card up to date: blocks of lines that the program wrote and that stand in it still are exchanged.

    Lines that name the person nevertheless, because they were edited, are left out.
    """
    old, new = written.splitlines(), anew.splitlines()
    text = "\n" + "\n".join(edited.splitlines()) + "\n"
    for what, begin, end, new_begin, new_end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if what in {"replace", "delete"}:
            block = "\n" + "".join(f"{line}\n" for line in old[begin:end])
            text = text.replace(block, "\n" + "".join(f"{line}\n" for line in new[new_begin:new_end]), 1)
    return "".join(f"{line}\n" for line in text.splitlines()[1:] if not person.is_in(line))


def _note_foreign_card(tree: Path, manifest: Mapping[str, Any], person: Person) -> tuple[str, ...]:
    path = tree / CARD_FILE
    if "card" in manifest or not path.is_file() or not person.is_in(path.read_text(encoding="utf-8", errors="replace")):
        return ()
    return (f"{path} names {person.id} and is not deepflash's; edit it",)


# --- builds that have not ended ---------------------------------------------------------------------------------------


def _find_in_unfinished(tree: Path, person: Person) -> Trace:
    erased = [*_pieces_of(tree, person), *_lists_of(tree, person)]
    rewritten: list[Path] = []
    samples = 0
    for path in _shards_of(tree):
        subjects = [_subject_of(members) for _, members in iter_samples(path)]
        own = subjects.count(person.id)
        samples += own
        if own:
            (erased if own == len(subjects) else rewritten).append(path)
    files, size_bytes = weight(erased)
    what = f"{files} files of a build that has not ended"
    return Trace(tree, "shards", what, tuple(erased), tuple(rewritten), files, size_bytes, samples)


def _erase_from_unfinished(tree: Path, person: Person) -> None:
    """Erase a person from the pieces and shards of a build that was killed; the build goes on with the others."""
    trace = _find_in_unfinished(tree, person)
    for path in trace.rewritten:
        kept = ((key, members) for key, members in iter_samples(path) if _subject_of(members) != person.id)
        write_shard(path, path.name.partition("-")[0], kept)
    for path in trace.erased:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in trace.erased}:
        sync_folder(folder)


def _pieces_of(tree: Path, person: Person) -> Iterator[Path]:
    """Yield a person's pieces, each after what describes the face in it, so that none is left without its piece."""
    for path in sorted((tree / PIECES).glob("[!.]*.tar")):
        try:
            _, members = next(iter_samples(path))
        except (ShardError, StopIteration):
            own = True  # damaged: nobody knows whose it is, and the build renders it again
        else:
            own = _subject_of(members) == person.id
        if own:
            yield from (beside for beside in (path.with_suffix(".face"),) if beside.exists())
            yield path
    for path in sorted((tree / PIECES).glob("[!.]*.face")):
        if not path.with_suffix(".tar").exists():  # a build was killed between the two
            yield path


def _lists_of(tree: Path, person: Person) -> Iterator[Path]:
    """Yield the lists of an unfinished data set that name a person; a build writes them again."""
    for path in (*sorted((tree / PIECES).glob("[!.]*.lines")), tree / INDEX_FILE, tree / CARD_FILE):
        if path.is_file() and person.is_in(path.read_text(encoding="utf-8", errors="replace")):
            yield path


def _shards_of(tree: Path) -> list[Path]:
    return [path for path in sorted(tree.glob("*.tar")) if is_shard_name(path.name)]


def _subject_of(members: Mapping[str, bytes]) -> str:
    return str(json.loads(members["json"]).get("subject", ""))
