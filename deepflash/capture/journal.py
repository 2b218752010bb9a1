"""The journal of a session: its plan, every take, every decision, and how it ended.

`raw/<subject>/<session>/session.json` is written anew, durably, after every step. A take folder beside it
is the proof that a pair was committed; the journal follows it. Takes that the operator took back stand in
`.withdrawn` beside them, where no stage looks for pairs.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deepflash.errors import CaptureError
from deepflash.files import SEAL, locked_folder, sweep_temporaries, sync_folder, write_sealed_json
from deepflash.hardware.rig import Rig
from deepflash.pairs import SIDECAR, Pair, check_id, read_pair

JOURNAL = "session.json"
JOURNAL_FORMAT = 2
WITHDRAWN = ".withdrawn"

_READABLE_FORMATS = (1, JOURNAL_FORMAT)  # format 1 had neither steps nor log


@dataclass(frozen=True)
class Attempt:
    """A take that was tried: `verdict` is `good`, `rejected` (by the checks) or `failed` (a device).

    `apparatus` says that a device or the clock was the cause: nobody needs to be asked before it is repeated.
    """

    take: str
    pose: str
    verdict: str
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    apparatus: bool = False


@dataclass(frozen=True)
class Step:
    """Something that can be undone: a good `take`, which may have `replaced` another one, or a `skip`."""

    kind: str
    pose: str
    take: str = ""
    replaced: str = ""


@dataclass(frozen=True)
class Journal:
    """What `session.json` says.

    Attributes
    ----------
    poses
        The plan: what is asked of the subject, in this order.
    rig
        The rig as it was when the session began.
    attempts
        Every take, also those rejected, failed and withdrawn.
    finish, finish_reason
        `complete` or `incomplete` and why; None while the session can be continued.
    orphans
        Photographs of failed attempts that were left on the camera's card.
    consent
        Where the subject's consent is filed, such as a form's number; never a name.
    steps
        What can be undone, the last one first to go.
    log
        What was done and when (`at_utc`), in order; nothing leaves it.
    """

    subject: str
    session: str
    poses: tuple[str, ...]
    rig: dict[str, Any]
    attempts: tuple[Attempt, ...] = ()
    finish: str | None = None
    orphans: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    finish_reason: str = ""
    consent: str = ""
    steps: tuple[Step, ...] = ()
    log: tuple[dict[str, str], ...] = ()

    def with_event(self, what: str, **details: str) -> "Journal":
        """Return the journal with one more line in its log."""
        at_utc = datetime.now(UTC).isoformat(timespec="milliseconds")
        return replace(self, log=(*self.log, {"at_utc": at_utc, "what": what, **details}))


@contextmanager
def open_journal(raw: Path, subject: str, poses: tuple[str, ...], rig: Rig, consent: str = "") -> Iterator[Journal]:
    """Yield the subject's unfinished session of that plan, or a new one; nobody else has it open meanwhile.

    Raises
    ------
    CaptureError
        if a journal is damaged.
    """
    for path in sorted((raw / subject).glob(f"*/{JOURNAL}"), reverse=True):
        with locked_folder(path.parent) as mine:
            journal = read_journal(path) if mine else None
            if journal is not None and journal.finish is None and journal.poses == poses:
                sweep_temporaries(path.parent)
                yield replace(journal, consent=consent or journal.consent).with_event("resumed")
                return
    folder = _new_session_folder(raw / subject)
    with locked_folder(folder):
        journal = Journal(subject, folder.name, poses, asdict(rig), consent=consent).with_event("started")
        write_journal(folder, journal)
        yield journal


def write_journal(folder: Path, journal: Journal) -> None:
    """Write a session's journal into its folder, durably."""
    write_sealed_json(folder / JOURNAL, {"format": JOURNAL_FORMAT, **asdict(journal)})


def read_journal(path: Path) -> Journal:
    """Read a journal.

    Raises
    ------
    CaptureError
        if it is damaged or of an unknown format version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") not in _READABLE_FORMATS:
            raise CaptureError(f"{path} was written by another version of deepflash; update deepflash or move the session away")
        content.pop(SEAL, None)
        attempts = tuple(_attempt(attempt) for attempt in content.pop("attempts"))
        steps = tuple(Step(**step) for step in content.pop("steps", []))
        for name in ("poses", "orphans", "log"):
            content[name] = tuple(content.get(name, ()))
        return Journal(**content, attempts=attempts, steps=steps)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CaptureError(f"{path} is damaged ({error}); move the session's folder away, its pairs are whole") from error


def committed_pairs(session: Path) -> list[Pair]:
    """Return the pairs in a session's folder, sorted by take, without those that were withdrawn."""
    return [read_pair(sidecar.parent) for sidecar in sorted(session.glob(f"[!.]*/{SIDECAR}"))]


def withdraw(session: Path, take: str) -> None:
    """Put a committed take aside: by one rename, so that it is whole in either place."""
    (session / WITHDRAWN).mkdir(exist_ok=True)
    _move(session / take, session / WITHDRAWN / take)


def restore(session: Path, take: str) -> None:
    """Put a withdrawn take back in its place."""
    _move(session / WITHDRAWN / take, session / take)


def is_withdrawn(session: Path, take: str) -> bool:
    """Say whether a take stands among those put aside."""
    return bool(take) and (session / WITHDRAWN / take).is_dir()


def check_poses(poses: Sequence[str]) -> None:
    """Check that the names make a plan.

    Raises
    ------
    PairError
        if one is not a safe id.
    CaptureError
        if there is none, or one twice.
    """
    for pose in poses:
        check_id(pose, "pose")
    if not poses or len(set(poses)) != len(poses):
        raise CaptureError(f"the poses {', '.join(poses) or '(none)'} make no plan; name at least one, and each only once")


def _move(source: Path, target: Path) -> None:
    source.rename(target)
    sync_folder(target.parent)
    sync_folder(source.parent)


def _attempt(content: dict[str, Any]) -> Attempt:
    lists = {name: tuple(content.get(name, ())) for name in ("reasons", "warnings")}
    return Attempt(**{**content, **lists})


def _new_session_folder(subject: Path) -> Path:
    subject.mkdir(parents=True, exist_ok=True)
    stem = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    for name in (stem, *(f"{stem}-{number}" for number in range(2, 1000))):
        try:
            (subject / name).mkdir()
        except FileExistsError:  # another session began in the same second
            continue
        return subject / name
    raise CaptureError(f"{subject} has a thousand sessions that began in one second; check the clock")
