"""Is a tree complete and valid, as BagIt (RFC 8493) means it: all that is listed is there, nothing else is, and unaltered.

*Fast* looks at names, sizes, the lists themselves (they are sealed, see `files.seal_of`) and how they agree. *Full* reads every
byte: checksums, every picture decoded, and of an altered tar every header and padding, since both follow from the index.
A fault names the file, and within a tar the sample. A note is something to know that is no fault.

What no list can tell is not found: a subject's folder, or a whole data set, that is gone without a trace.
"""

from pathlib import Path

from deepflash.dataset.findings import Fault, Findings, Verification
from deepflash.dataset.verify_pairs import SESSION_FILES, verify_aligned, verify_raw
from deepflash.dataset.verify_shards import verify_shards
from deepflash.errors import DatasetError, PairError
from deepflash.pairs import SIDECAR, find_pairs
from deepflash.progress import Report, silent
from deepflash.shards import DATASET_FILE, INDEX_FILE, is_shard_name

__all__ = ["Fault", "Findings", "Verification", "kind_of", "verify"]

_VERIFY = {"raw": verify_raw, "aligned": verify_aligned, "shards": verify_shards}


def verify(tree: Path, *, full: bool = False, workers: int = 1, report: Report = silent) -> Verification:
    """Verify a tree that capture, import, align or build-dataset wrote. Nothing is changed.

    Parameters
    ----------
    tree
        The folder; which of the three it is, is found out.
    full
        Whether to read every byte, and decode every picture.
    workers
        Processes that do so.
    report
        Called as pairs, records or shards are finished.

    Raises
    ------
    DatasetError
        if the folder is missing or none of the three.
    """
    kind = kind_of(tree)
    found = _VERIFY[kind](tree, full=full, workers=workers, report=report)
    faults = tuple(sorted(set(found.faults), key=lambda fault: (fault.path, fault.what)))
    return Verification(tree, kind, full, len(found.files), faults, tuple(found.notes))


def kind_of(tree: Path) -> str:
    """Return `raw`, `aligned` or `shards`.

    A tree is told by what is left of it: one whose list is gone is of its kind still.

    Raises
    ------
    DatasetError
        if it is none of them.
    """
    if not tree.is_dir():
        raise DatasetError(f"{tree} is not a folder; give a tree of pairs, alignments or shards")
    names = {path.name for path in tree.iterdir()}
    if names & {DATASET_FILE, INDEX_FILE} or any(map(is_shard_name, names)):
        return "shards"
    if any(next(tree.rglob(name), None) for name in (SIDECAR, *SESSION_FILES)):
        return "raw"
    if any(name.endswith(".json") and not name.startswith(".") for name in names):
        return "aligned"
    try:
        find_pairs(tree)
    except PairError as error:
        raise DatasetError(f"{tree} holds neither pairs, alignments nor shards; give the folder that a stage wrote") from error
    return "raw"
