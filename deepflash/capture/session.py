"""Sessions held from beginning to end: one subject, a list of poses, takes until each pose has a good pair."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepflash.capture.journal import Attempt, check_poses
from deepflash.capture.mirror import Mirror
from deepflash.capture.poses import POSES
from deepflash.capture.sitting import Sitting, open_sitting
from deepflash.errors import CaptureError
from deepflash.hardware.cameras import open_camera
from deepflash.hardware.lamps import Lamps
from deepflash.hardware.rig import Rig
from deepflash.pairs import Pair, check_id
from deepflash.progress import Report, silent

__all__ = ["POSES", "Attempt", "SessionResult", "first_poses", "hold_session"]

_RETAKES = 3

Prompt = Callable[[str, int], None]


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
        `complete`, or `incomplete` if poses are `missing`: their retakes were used up, or they were skipped.
    orphans
        Photographs of failed attempts that were found on the camera's card; see `orphans` for where they go.
    mirror_fault
        One sentence if the second copy is behind; empty if it is not, or there is none.
    """

    subject: str
    session: str
    pairs: tuple[Pair, ...]
    attempts: tuple[Attempt, ...]
    missing: tuple[str, ...]
    finish: str
    orphans: tuple[str, ...] = ()
    mirror_fault: str = ""

    @property
    def retakes(self) -> int:
        return sum(attempt.verdict != "good" for attempt in self.attempts)


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


def hold_session(
    rig: Rig,
    raw: Path,
    subject: str,
    poses: Sequence[str],
    *,
    report: Report = silent,
    prompt: Prompt | None = None,
    retakes: int = _RETAKES,
    mirror: Path | None = None,
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
        Pseudonymous id, see `pairs.check_id`; see `subjects` for the reference of its consent.
    poses
        What to ask of the subject, in this order; each name once.
    report
        Called with the poses done, all poses, and a few words, after every take.
    prompt
        Called with the pose and the number of the attempt, from 1, before each take; may wait for a person.
    retakes
        How often a rejected or failed take of a pose is repeated before the pose is given up.
    mirror
        Root of a second tree that receives a verified copy of every pair.

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
    second = None if mirror is None else Mirror(raw, mirror)
    try:
        with (
            Lamps(rig) as lamps,
            open_camera(rig) as camera,
            open_sitting(rig, raw, lamps, camera, subject, poses, mirror=second) as sitting,
        ):
            _photograph_all(sitting, report, prompt, retakes)
            sitting.finish()
            return result_of(sitting)
    except OSError as error:
        raise CaptureError(f"{raw} cannot be written ({error}); mend that and run the same command again") from error


def result_of(sitting: Sitting) -> SessionResult:
    """Sum up a sitting."""
    journal = sitting.journal
    return SessionResult(
        journal.subject,
        journal.session,
        tuple(sitting.pairs.values()),
        journal.attempts,
        sitting.missing,
        str(journal.finish),
        journal.orphans,
        sitting.mirror_fault,
    )


def _photograph_all(sitting: Sitting, report: Report, prompt: Prompt | None, retakes: int) -> None:
    total = len(sitting.journal.poses)
    report(len(sitting.pairs), total, "")
    for pose in sitting.open_poses:
        for number in range(1, retakes + 2):
            if prompt is not None:
                prompt(pose, number)
            sitting.go_to(pose)
            attempt = sitting.shoot()
            good = attempt.verdict == "good"
            report(len(sitting.pairs), total, f"{pose}: {'saved' if good else attempt.reasons[0]}")
            if good:
                break
