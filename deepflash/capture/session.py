"""Sessions: one subject, a list of poses, takes until each pose has a good pair; journalled and resumed.

`raw/<subject>/<session>/session.json` is the journal: the plan, what became of every take, and how the
session ended. A take folder beside it is the proof that a pair was committed; the journal follows it.
"""

import fcntl
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deepflash import __version__
from deepflash.capture.checks import Verdict, check_take
from deepflash.capture.sequence import Take, photograph_pair
from deepflash.errors import CameraError, CaptureError, HardwareError
from deepflash.files import sweep_temporaries, temporary_folder, write_json
from deepflash.hardware.camera import Camera, CardFile, CardFullError
from deepflash.hardware.lamps import Lamps
from deepflash.hardware.rig import Rig
from deepflash.pairs import SIDECAR, Pair, check_id, commit_pair, read_pair, take_folder
from deepflash.progress import Report, silent

POSES = ("frontal", "left", "right", "up", "down", "smile", "tilt-left", "tilt-right", "eyes-closed", "profile")
JOURNAL = "session.json"
JOURNAL_FORMAT = 1

_RETAKES = 3

Prompt = Callable[[str, int], None]


@dataclass(frozen=True)
class Attempt:
    """A take that was tried: `verdict` is `good`, `rejected` (by the checks) or `failed` (a device)."""

    take: str
    pose: str
    verdict: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class SessionResult:
    """How a session went.

    Attributes
    ----------
    pairs
        The committed pairs, in the order of the poses, those of earlier runs of the session included.
    attempts
        Every take of the session.
    finish
        `complete`, or `incomplete` if poses are `missing`: their retakes were used up.
    orphans
        Photographs of failed attempts that were left on the camera's card.
    """

    subject: str
    session: str
    pairs: tuple[Pair, ...]
    attempts: tuple[Attempt, ...]
    missing: tuple[str, ...]
    finish: str
    orphans: tuple[str, ...] = ()

    @property
    def retakes(self) -> int:
        return sum(attempt.verdict != "good" for attempt in self.attempts)


@dataclass(frozen=True)
class Journal:
    """What `session.json` says."""

    subject: str
    session: str
    poses: tuple[str, ...]
    rig: dict[str, Any]
    attempts: tuple[Attempt, ...] = ()
    finish: str | None = None
    orphans: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)


def first_poses(count: int) -> tuple[str, ...]:
    """Return the first `count` poses of the usual list.

    Raises
    ------
    CaptureError
        if the list is shorter.

    >>> first_poses(3)
    ('frontal', 'left', 'right')
    """
    if not 1 <= count <= len(POSES):
        raise CaptureError(f"{count} poses were asked for; use 1 to {len(POSES)}, or name the poses")
    return POSES[:count]


def check_poses(poses: Sequence[str]) -> tuple[str, ...]:
    """Return the poses if they make a plan: at least one, each a safe id and named once.

    Raises
    ------
    PairError, CaptureError
        otherwise.
    """
    for pose in poses:
        check_id(pose, "pose")
    if not poses or len(set(poses)) != len(poses):
        raise CaptureError(f"the poses {', '.join(poses) or '(none)'} make no plan; name at least one, and each only once")
    return tuple(poses)


def hold_session(
    rig: Rig,
    raw: Path,
    subject: str,
    poses: Sequence[str],
    *,
    report: Report = silent,
    prompt: Prompt | None = None,
    retakes: int = _RETAKES,
) -> SessionResult:
    """Photograph a subject in every pose; go on with the subject's unfinished session if there is one.

    Every good pair is committed before the next take begins. After a SIGKILL at any moment the same
    call resumes: what was reported as saved is whole, and only what is missing is photographed.

    Parameters
    ----------
    rig
        Where the relay board and the camera are, and the times of the plan.
    raw
        Root of the raw tree.
    subject
        Pseudonymous id, see `pairs.check_id`.
    poses
        What to ask of the subject, in this order; each name once.
    report
        Called with the poses done, all poses, and a few words, after every take.
    prompt
        Called with the pose and the number of the attempt, from 1, before each take; may wait for a person.
    retakes
        How often a rejected or failed take of a pose is repeated before the pose is given up.

    Raises
    ------
    PairError
        if the subject or a pose is not a safe id.
    RelayError, CameraError
        if a device cannot be found, or is lost and does not come back. The session can be resumed.
    CaptureError
        if the poses make no plan, a journal is damaged, or `raw` cannot be written.
    """
    check_id(subject)
    check_poses(poses)
    try:
        with (
            Lamps(rig) as lamps,
            Camera(rig.camera_port, rig.camera_model, quiet_s=rig.quiet_s) as camera,
            _open_journal(raw, subject, tuple(poses), rig) as journal,
        ):
            keeper = _Keeper(rig, raw, lamps, camera, journal)
            keeper.hold(report, prompt, retakes)
            return keeper.result()
    except OSError as error:
        raise CaptureError(f"{raw} cannot be written ({error}); mend that and run the same command again") from error


class _Keeper:
    """Keeps journal, take folders and card in step while a session is held."""

    def __init__(self, rig: Rig, raw: Path, lamps: Lamps, camera: Camera, journal: Journal) -> None:
        self._rig = rig
        self._raw = raw
        self._lamps = lamps
        self._camera = camera
        self._journal = journal
        self._folder = raw / journal.subject / journal.session
        self._pairs = {pair.pose: pair for pair in _committed_pairs(self._folder)}
        self._enter_unjournalled_pairs()

    def hold(self, report: Report, prompt: Prompt | None, retakes: int) -> None:
        poses = self._journal.poses
        report(len(self._pairs), len(poses), "")
        for pose in poses:
            if pose not in self._pairs:
                self._photograph(pose, prompt, retakes, lambda note: report(len(self._pairs), len(poses), note))
        self._update(finish="incomplete" if self._missing() else "complete")

    def result(self) -> SessionResult:
        journal = self._journal
        pairs = tuple(self._pairs[pose] for pose in journal.poses if pose in self._pairs)
        return SessionResult(
            journal.subject, journal.session, pairs, journal.attempts, self._missing(), str(journal.finish), journal.orphans
        )

    def _enter_unjournalled_pairs(self) -> None:
        """Enter pairs that were committed just before the program was killed."""
        known = {attempt.take for attempt in self._journal.attempts}
        new = tuple(Attempt(pair.take, pair.pose, "good") for pair in self._pairs.values() if pair.take not in known)
        if new:
            self._update(attempts=(*self._journal.attempts, *new))

    def _missing(self) -> tuple[str, ...]:
        return tuple(pose for pose in self._journal.poses if pose not in self._pairs)

    def _photograph(self, pose: str, prompt: Prompt | None, retakes: int, note: Callable[[str], None]) -> None:
        rejected: list[CardFile] = []  # stay on the card until the pose has its pair
        for number in range(1, retakes + 2):
            if prompt is not None:
                prompt(pose, number)
            attempt, files = self._attempt(pose)
            rejected += files
            self._update(attempts=(*self._journal.attempts, attempt))
            if attempt.verdict == "good":
                note(f"{pose}: saved")
                self._clear_card(rejected)
                return
            note(f"{pose}: {attempt.reasons[0]}")
            if attempt.verdict == "failed":
                self._recover()

    def _attempt(self, pose: str) -> tuple[Attempt, list[CardFile]]:
        take_id = self._next_take()
        with temporary_folder(self._folder) as folder:
            try:
                take = photograph_pair(self._rig, self._lamps, self._camera, folder)
            except CardFullError:
                raise  # every further take would fail as well
            except HardwareError as error:
                return Attempt(take_id, pose, "failed", (str(error),)), []
            verdict = check_take(take, self._rig)
            if verdict.good:
                self._commit(take_id, pose, take, verdict)
        outcome = "good" if verdict.good else "rejected"
        return Attempt(take_id, pose, outcome, verdict.reasons), [take.studio, take.flash]

    def _recover(self) -> None:
        """Get both devices back, or raise: the session then rests until it is held again."""
        self._lamps.wait_until_ready()
        self._camera.reconnect()

    def _commit(self, take_id: str, pose: str, take: Take, verdict: Verdict) -> None:
        folder = take_folder(self._raw, self._journal.subject, self._journal.session, take_id)
        record = self._record(take_id, pose, take, verdict)
        self._pairs[pose] = commit_pair(folder, take.flash.path, take.studio.path, record)

    def _record(self, take_id: str, pose: str, take: Take, verdict: Verdict) -> dict[str, Any]:
        return {
            "subject": self._journal.subject,
            "session": self._journal.session,
            "take": take_id,
            "pose": pose,
            "verdict": "good",
            "reasons": list(verdict.reasons),
            "taken_utc": _utc(time.time() - (time.monotonic() - take.times.t0_monotonic_s)),
            "times": take.times.rounded(),
            "relay_log": [asdict(switching) for switching in take.relay_log],
            "quality": verdict.numbers,
            "camera": self._camera.facts.settings,
            "flash_set_by_program": self._camera.facts.flash_settable,
            "card": {name: f"{file.folder}/{file.name}" for name, file in (("studio", take.studio), ("flash", take.flash))},
            "rig": asdict(self._rig),
            "versions": self._versions(),
        }

    def _versions(self) -> dict[str, str]:
        return {"deepflash": __version__, "python": platform.python_version(), **self._camera.facts.versions}

    def _clear_card(self, files: Sequence[CardFile]) -> None:
        """Delete from the card what has been committed and what it replaces."""
        try:
            self._camera.delete(files)
        except CameraError:
            self._camera.reconnect()  # the photographs stay on the card, and known: no shot is mistaken for them

    def _next_take(self) -> str:
        on_disk = [path.name for path in self._folder.iterdir() if path.name.isdigit()]
        taken = [*on_disk, *(attempt.take for attempt in self._journal.attempts)]
        return f"{max((int(take) for take in taken), default=0) + 1:03d}"

    def _update(self, **changes: Any) -> None:
        orphans = tuple(f"{folder}/{name}" for folder, name in self._camera.orphans)
        self._journal = replace(self._journal, orphans=orphans, versions=self._versions(), **changes)
        _write_journal(self._folder, self._journal)


@contextmanager
def _open_journal(raw: Path, subject: str, poses: tuple[str, ...], rig: Rig) -> Iterator[Journal]:
    """Yield the subject's unfinished session of that plan, or a new one; nobody else has it open meanwhile."""
    for path in sorted((raw / subject).glob(f"*/{JOURNAL}"), reverse=True):
        with _locked(path.parent) as mine:
            journal = _read_journal(path) if mine else None
            if journal is not None and journal.finish is None and journal.poses == poses:
                sweep_temporaries(path.parent)
                yield journal
                return
    folder = _new_session_folder(raw / subject)
    with _locked(folder):
        journal = Journal(subject, folder.name, poses, asdict(rig))
        _write_journal(folder, journal)
        yield journal


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder, which the death of its holder releases; yield whether it was to be had."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = True
    except BlockingIOError:
        mine = False
    try:
        yield mine
    finally:
        os.close(descriptor)


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


def _write_journal(folder: Path, journal: Journal) -> None:
    write_json(folder / JOURNAL, {"format": JOURNAL_FORMAT, **asdict(journal)})


def _read_journal(path: Path) -> Journal:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != JOURNAL_FORMAT:
            raise CaptureError(f"{path} was written by another version of deepflash; update deepflash or move the session away")
        attempts = tuple(Attempt(**{**attempt, "reasons": tuple(attempt["reasons"])}) for attempt in content.pop("attempts"))
        poses, orphans = tuple(content.pop("poses")), tuple(content.pop("orphans"))
        return Journal(**content, poses=poses, orphans=orphans, attempts=attempts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CaptureError(f"{path} is damaged ({error}); move the session's folder away, its pairs are whole") from error


def _committed_pairs(folder: Path) -> list[Pair]:
    return [read_pair(sidecar.parent) for sidecar in sorted(folder.glob(f"[!.]*/{SIDECAR}"))]


def _utc(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
