"""A sitting, step by step: shoot, retake, skip, undo, pause, finish. The engine under session, daemon and console.

Nothing here waits for a person or runs by itself. Each step is whole when its method returns, and journalled;
a step that raises has changed nothing but the journal's list of attempts, and can be tried again.
"""

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deepflash import __version__
from deepflash.capture.checks import Verdict, check_take
from deepflash.capture.journal import (
    Attempt,
    Journal,
    Step,
    check_poses,
    committed_pairs,
    is_withdrawn,
    open_journal,
    restore,
    withdraw,
    write_journal,
)
from deepflash.capture.mirror import Mirror
from deepflash.capture.orphans import CardPaths, clear_orphans, note_card
from deepflash.capture.poses import Pose, usual_pose
from deepflash.capture.sequence import Take, photograph_pair
from deepflash.capture.subjects import read_subject
from deepflash.errors import CameraError, CaptureError, HardwareError
from deepflash.files import temporary_folder
from deepflash.hardware.camera import Camera, CardFile, CardFullError, SettingsError
from deepflash.hardware.cameras import CameraDevice
from deepflash.hardware.lamps import Lamps
from deepflash.hardware.rig import Rig
from deepflash.pairs import Pair, commit_pair, take_folder

_RECONNECTIONS = 3  # a camera that has just failed may need a moment, or a second failure


@dataclass(frozen=True)
class Stage:
    """What is being done to a take: `photographing`, `checking`, `saving`, or `recovering` a device.

    `studio` and `flash` are the fetched photographs while they are checked; read them within the call.
    """

    name: str
    take: str
    pose: str
    studio: Path | None = None
    flash: Path | None = None


Watch = Callable[[Stage], None]


def unwatched(stage: Stage) -> None:
    """Watch nothing."""


@contextmanager
def open_sitting(
    rig: Rig,
    raw: Path,
    lamps: Lamps,
    camera: CameraDevice,
    subject: str,
    poses: Sequence[str | Pose],
    *,
    mirror: Mirror | None = None,
    watch: Watch = unwatched,
) -> Iterator["Sitting"]:
    """Yield the subject's sitting: the unfinished one of that plan, or a new one. It stays unfinished until `finish`.

    Parameters
    ----------
    rig, lamps, camera
        Opened devices and how they are used.
    raw
        Root of the raw tree.
    subject
        Pseudonymous id, see `pairs.check_id`. The reference of its consent goes into journal and sidecars.
    poses
        What to ask of the subject, in this order; each name once. What a pose does not show is not checked.
    mirror
        Receives a verified second copy of every pair.
    watch
        Called, in this thread, when a stage of a take begins.

    Raises
    ------
    PairError
        if the subject or a pose is not a safe id.
    CaptureError
        if the poses make no plan or a file is damaged.
    """
    plan = tuple(pose if isinstance(pose, Pose) else usual_pose(pose) for pose in poses)
    names = tuple(pose.name for pose in plan)
    check_poses(names)
    consent = read_subject(raw, subject).consent
    with open_journal(raw, subject, names, rig, consent) as journal:
        yield Sitting(_Studio(rig, lamps, camera, plan), raw, journal, mirror, watch)


@dataclass(frozen=True)
class _Studio:
    """The devices of a sitting, and what is asked before them."""

    rig: Rig
    lamps: Lamps
    camera: CameraDevice
    plan: tuple[Pose, ...]

    def rig_for(self, name: str) -> Rig:
        """Return the rig as the checks of that pose are to see it."""
        pose = next(pose for pose in self.plan if pose.name == name)
        return replace(self.rig, check_faces=self.rig.check_faces and pose.face, check_eyes=self.rig.check_eyes and pose.eyes)


class Sitting:
    """Keeps journal, take folders, mirror and card in step while a session is held. Made by `open_sitting`."""

    def __init__(self, studio: _Studio, raw: Path, journal: Journal, mirror: Mirror | None, watch: Watch) -> None:
        camera = studio.camera
        self._rig = studio.rig
        self._rig_for = studio.rig_for
        self._raw = raw
        self._lamps = studio.lamps
        self._camera = camera
        self._journal = journal
        self._mirror = mirror
        self._watch = watch
        self._folder = raw / journal.subject / journal.session
        self._chosen: str | None = None
        self._paused = False
        self._suspect = False  # a device failed and has not been got back
        self._orphans_before = (journal.orphans, len(camera.orphans))
        self._rejected: dict[str, list[CardFile]] = {}  # stay on the card until the pose has its pair
        self._deletable: list[CardFile] = []  # committed, and waiting for their second copy
        self._pairs: dict[str, Pair] = {}
        self._card_before: CardPaths = frozenset()
        self._reconcile()
        if isinstance(camera, Camera):  # a phone has no card
            self._card_before = note_card(camera, self._folder)
            self._clear_orphans()

    @property
    def journal(self) -> Journal:
        return self._journal

    @property
    def pairs(self) -> dict[str, Pair]:
        """The committed pairs by pose, in the order of the plan."""
        return {pose: self._pairs[pose] for pose in self._journal.poses if pose in self._pairs}

    @property
    def skipped(self) -> tuple[str, ...]:
        skips = {step.pose for step in self._journal.steps if step.kind == "skip"}
        return tuple(pose for pose in self._journal.poses if pose in skips and pose not in self._pairs)

    @property
    def open_poses(self) -> tuple[str, ...]:
        """The poses that have no pair and were not skipped."""
        return tuple(pose for pose in self._journal.poses if pose not in self._pairs and pose not in self.skipped)

    @property
    def missing(self) -> tuple[str, ...]:
        """The poses that have no pair."""
        return tuple(pose for pose in self._journal.poses if pose not in self._pairs)

    @property
    def pose(self) -> str | None:
        """What the next shot will be of: the pose gone to, else the first open one; None when all is done."""
        return self._chosen or next(iter(self.open_poses), None)

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def mirror_fault(self) -> str:
        return "" if self._mirror is None else self._mirror.fault

    def shoot(self) -> Attempt:
        """Photograph the pose, check the take, and commit it if it is good. A good take replaces an earlier one.

        Raises
        ------
        RelayError, CameraError
            if a device is lost and does not come back, the card is full, or a setting is wrong and stays so.
        CaptureError
            if there is nothing to photograph: paused, finished, or every pose has its pair.
        OSError
            if the take cannot be written; its photographs stay on the camera's card.
        """
        pose = self._pose_to_shoot()
        if self._suspect:
            self._recover()
        self._suspect = True
        attempt, files = self._attempt(pose)
        self._rejected.setdefault(pose, []).extend(files)
        self._enter(attempt)
        if attempt.verdict == "failed":
            self._recover()
        self._suspect = False
        if attempt.verdict == "good":
            self._chosen = None
            self._catch_up()
            self._deletable += self._rejected.pop(pose, [])
            self._clear_card()
        return attempt

    def retake(self) -> Attempt:
        """Photograph the pose of the last take again. The pair that it had stays until there is a better one."""
        if not self._journal.attempts:
            raise CaptureError("there is no take yet to repeat; shoot one first")
        self.go_to(self._journal.attempts[-1].pose)
        return self.shoot()

    def go_to(self, pose: str) -> None:
        """Choose what the next shot will be of, also a pose that has its pair or was skipped."""
        self._check_unfinished()
        if pose not in self._journal.poses:
            raise CaptureError(f"{pose!r} is not in this session; its poses are {', '.join(self._journal.poses)}")
        self._chosen = pose

    def skip(self) -> str:
        """Leave the pose out; return its name. A pose that has its pair keeps it."""
        self._check_unfinished()
        pose = self.pose
        if pose is None:
            raise CaptureError("every pose is done; there is nothing to skip")
        self._chosen = None
        if pose in self.open_poses:
            self._update(self._journal.with_event("skip", pose=pose), steps=(*self._journal.steps, Step("skip", pose)))
            self._catch_up()
        return pose

    def undo(self) -> Step:
        """Take back the last good take or skip, and go to its pose; return what was taken back.

        The take's folder is put aside, not erased; the one that it replaced comes back.
        """
        self._check_unfinished()
        if not self._journal.steps:
            raise CaptureError("there is nothing to undo")
        step = self._journal.steps[-1]
        if step.take:
            withdraw(self._folder, step.take)
        if is_withdrawn(self._folder, step.replaced):
            restore(self._folder, step.replaced)
        self._update(self._journal.with_event("undo", **_told(step)), steps=self._journal.steps[:-1])
        self._chosen = step.pose
        self._read_pairs()
        self._catch_up()
        return step

    def pause(self) -> None:
        """Refuse shots until `resume`."""
        self._check_unfinished()
        if not self._paused:
            self._paused = True
            self._update(self._journal.with_event("pause"))

    def resume(self) -> None:
        """Go on after `pause`."""
        self._check_unfinished()
        if self._paused:
            self._paused = False
            self._update(self._journal.with_event("resume"))

    def finish(self, reason: str = "") -> None:
        """End the session for good: `complete` if every pose has its pair, else `incomplete`.

        Parameters
        ----------
        reason
            Why it ends, for the journal.
        """
        self._check_unfinished()
        finish = "incomplete" if self.missing else "complete"
        self._update(self._journal.with_event("finish", finish=finish, reason=reason), finish=finish, finish_reason=reason)
        self._catch_up()
        if self._deletable:
            self._clear_card()
        self._clear_orphans()
        if self._mirror is not None:
            self._mirror.catch_up_others()

    def _check_unfinished(self) -> None:
        if self._journal.finish is not None:
            raise CaptureError(f"session {self._journal.session} is finished; start another one")

    def _pose_to_shoot(self) -> str:
        self._check_unfinished()
        if self._paused:
            raise CaptureError("the session is paused; resume it first")
        if self.pose is None:
            raise CaptureError("every pose is done; finish the session, or choose a pose to photograph it again")
        return self.pose

    def _attempt(self, pose: str) -> tuple[Attempt, list[CardFile]]:
        take_id = self._next_take()
        self._watch(Stage("photographing", take_id, pose))
        with temporary_folder(self._folder) as folder:
            try:
                take = photograph_pair(self._rig, self._lamps, self._camera, folder)
            except (CardFullError, SettingsError):
                raise  # every further take would fail as well
            except HardwareError as error:
                return Attempt(take_id, pose, "failed", (str(error),), apparatus=True), []
            self._watch(Stage("checking", take_id, pose, take.studio.path, take.flash.path))
            verdict = check_take(take, self._rig_for(pose))
            if verdict.good:
                self._watch(Stage("saving", take_id, pose))
                self._commit(take_id, pose, take, verdict)
        outcome = "good" if verdict.good else "rejected"
        drifts, self._camera.drifts = self._camera.drifts, []
        warnings = (*getattr(verdict, "warnings", ()), *drifts)
        attempt = Attempt(take_id, pose, outcome, verdict.reasons, warnings, self._is_off_time(take))
        return attempt, [take.studio, take.flash]

    def _is_off_time(self, take: Take) -> bool:
        times, rig = take.times, self._rig
        off_s = max(abs(times.spacing_s - rig.spacing_s), abs(times.settle_s - rig.settle_s))
        return max(off_s, abs(times.spacing_of_returns_s - rig.spacing_s)) > rig.tolerance_s

    def _enter(self, attempt: Attempt) -> None:
        """Journal an attempt; a good one is the pose's pair from now on, the one before it is put aside."""
        journal = self._journal.with_event("take", take=attempt.take, pose=attempt.pose, verdict=attempt.verdict)
        steps = journal.steps
        if attempt.verdict == "good":
            before = self._pairs.get(attempt.pose)
            if before is not None:
                withdraw(self._folder, before.take)
            steps = (*steps, Step("take", attempt.pose, attempt.take, before.take if before else ""))
        self._update(journal, attempts=(*journal.attempts, attempt), steps=steps)
        self._read_pairs()

    def _recover(self) -> None:
        """Get both devices back, or raise: the session then rests until it is held again."""
        last = self._journal.attempts[-1] if self._journal.attempts else Attempt("", "", "")
        self._watch(Stage("recovering", last.take, last.pose))
        self._lamps.wait_until_ready()
        for number in reversed(range(_RECONNECTIONS)):
            try:
                self._camera.reconnect()
                return
            except SettingsError:
                raise
            except CameraError:
                if number == 0:
                    raise

    def _commit(self, take_id: str, pose: str, take: Take, verdict: Verdict) -> None:
        folder = take_folder(self._raw, self._journal.subject, self._journal.session, take_id)
        beside = {
            f"{name}{other.path.suffix}": other.path
            for name, file in (("studio", take.studio), ("flash", take.flash))
            for other in file.beside
        }
        commit_pair(folder, take.flash.path, take.studio.path, self._record(take_id, pose, take, verdict), beside=beside)

    def _record(self, take_id: str, pose: str, take: Take, verdict: Verdict) -> dict[str, Any]:
        return {
            "subject": self._journal.subject,
            "session": self._journal.session,
            "take": take_id,
            "pose": pose,
            "consent": self._journal.consent,
            "verdict": "good",
            "reasons": list(verdict.reasons),
            "warnings": [*getattr(verdict, "warnings", ()), *self._camera.drifts],
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

    def _catch_up(self) -> None:
        if self._mirror is not None:
            self._mirror.catch_up(self._folder)

    def _clear_card(self) -> None:
        """Delete from the card what has been committed and what it replaces, once the second copy is there too."""
        if self.mirror_fault:
            return
        files, self._deletable = self._deletable, []
        try:
            self._camera.delete(files)
        except CameraError:
            self._camera.reconnect()  # the photographs stay on the card, and known: no shot is mistaken for them

    def _clear_orphans(self) -> None:
        """Clear the card of what this session left there, unless a second copy is still to come from it."""
        if not isinstance(self._camera, Camera) or self.mirror_fault:
            return
        kept = clear_orphans(self._camera, self._folder, self._card_before, committed_pairs(self._folder))
        if kept:
            self._update(self._journal.with_event("orphans", kept=" ".join(kept)))

    def _next_take(self) -> str:
        on_disk = [path.name for path in self._folder.iterdir() if path.name.isdigit()]
        taken = [*on_disk, *(attempt.take for attempt in self._journal.attempts)]
        return f"{max((int(take) for take in taken), default=0) + 1:03d}"

    def _read_pairs(self) -> None:
        self._pairs = {pair.pose: pair for pair in committed_pairs(self._folder)}

    def _reconcile(self) -> None:
        """Bring the journal in step with the take folders, after a kill between the two, and end a step begun."""
        known = {attempt.take for attempt in self._journal.attempts}
        for pair in committed_pairs(self._folder):
            if pair.take not in known:
                self._enter(Attempt(pair.take, pair.pose, "good"))
            self._pairs[pair.pose] = pair
        steps = self._journal.steps
        while steps and steps[-1].take and not (self._folder / steps[-1].take).is_dir():  # an undo was not journalled
            if is_withdrawn(self._folder, steps[-1].replaced):
                restore(self._folder, steps[-1].replaced)
            steps = steps[:-1]
        self._update(self._journal, steps=steps)
        self._read_pairs()
        if self._mirror is not None:
            self._update(self._journal.with_event("mirror", root=str(self._mirror.root)))
        self._catch_up()

    def _update(self, journal: Journal, **changes: Any) -> None:
        old, seen = self._orphans_before
        orphans = (*old, *(f"{folder}/{name}" for folder, name in self._camera.orphans[seen:]))
        self._journal = replace(journal, orphans=orphans, versions=self._versions(), **changes)
        write_journal(self._folder, self._journal)


def _told(step: Step) -> dict[str, str]:
    return {name: value for name, value in asdict(step).items() if value}


def _utc(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
