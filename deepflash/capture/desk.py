"""The desk: owns the rig, holds one sitting at a time in a thread of its own, and always knows how things stand.

What the operator asks for (`Desk.do`) is done one after the other; what comes while something is being done is
refused, not queued, so that a key pressed twice is one shot. Whatever fails becomes a sentence in the state; a
fault of the program itself also closes the devices, which switches the lamps off.
"""

import io
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from PIL import Image, ImageOps

from deepflash.capture.appearance import load_models
from deepflash.capture.journal import Attempt
from deepflash.capture.mirror import Mirror
from deepflash.capture.poses import Pose, usual_pose
from deepflash.capture.sitting import Sitting, Stage, open_sitting
from deepflash.capture.subjects import Subject, find_subjects, read_subject, save_subject
from deepflash.errors import CaptureError, DeepflashError
from deepflash.hardware.cameras import CameraDevice, open_camera, what_camera_waits_for
from deepflash.hardware.lamps import Lamps
from deepflash.hardware.rig import Rig

_log = logging.getLogger(__name__)

LIGHTS = ("studio", "flash")

_PREVIEW_PX = 1400
_PREVIEWS = 200  # kept in memory, about 0.2 MB each
_SILENT_AFTER_S = 1.0  # the lamp guard beats ten times in this
_FRESH = 3  # takes whose photographs are kept whole until somebody has had time to ask for them


class BusyError(CaptureError):
    """Something else is being done; what was asked for was not begun."""


@dataclass(frozen=True)
class Studio:
    """How the desk comes by its rig.

    Attributes
    ----------
    open_rig
        Given a subject's id, returns a context manager that yields the rig.
    is_emulated
        The emulated studio is opened anew for each subject, who sits in it; a real one once, before anybody sits.
    raw, mirror
        Where pairs are stored, and their second copy.
    poses
        What is asked of a subject if nothing else is said.
    retakes
        How often a take is repeated, without asking, whose times were off or in which a device failed.
    """

    open_rig: Callable[[str], AbstractContextManager[Rig]]
    is_emulated: bool
    raw: Path
    poses: tuple[Pose, ...]
    mirror: Path | None = None
    retakes: int = 2


class Desk:
    """See the module. A context manager; leaving it ends the sitting, which can be continued, and frees the rig."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self._mirror = None if studio.mirror is None else Mirror(studio.raw, studio.mirror)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="desk")
        self._busy = threading.Lock()
        self._devices = ExitStack()
        self._opened_for: str | None = None
        self._rig: Rig | None = None
        self._lamps: Lamps | None = None
        self._camera: CameraDevice | None = None
        self._sitting_open = ExitStack()
        self._sitting: Sitting | None = None
        self._session: dict[str, Any] | None = None
        self._pictures = _Pictures()
        self._phase = "closed"
        self._message = {"kind": "info", "text": "Choose who sits."}
        self._revision = 0
        self._changed = threading.Lock()

    def __enter__(self) -> Self:
        if not self.studio.is_emulated:
            self._busy.acquire()
            self._worker.submit(self._perform, self._connect, {})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._worker.submit(self._close).result()
        self._worker.shutdown()

    @property
    def revision(self) -> int:
        """Grows with every change of the state, except that of the lamps."""
        return self._revision

    def do(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Do what was asked for, and return the state after it.

        Parameters
        ----------
        command
            `connect`, `start`, `shoot`, `retake`, `go`, `skip`, `undo`, `pause`, `resume` or `finish`.
        arguments
            Of the command; see the methods of the same names.

        Raises
        ------
        BusyError
            if something is being done.
        DeepflashError, OSError
            if it failed or makes no sense now; the state says so too.
        """
        actions: dict[str, Callable[..., None]] = {
            "connect": self._connect,
            "start": self._start,
            "shoot": self._shoot,
            "retake": self._retake,
            "go": self._go,
            "skip": self._skip,
            "undo": self._undo,
            "pause": self._pause,
            "resume": self._resume,
            "finish": self._finish,
        }
        if not self._busy.acquire(blocking=False):
            raise BusyError("something else is being done; wait until it is over")
        error = self._worker.submit(self._perform, actions[command], arguments).result()
        if error is not None:
            raise error
        return self.state()

    def state(self) -> dict[str, Any]:
        """Return how things stand, as JSON holds it; `openapi.STATE` says what each part means."""
        with self._changed:
            return {
                "revision": self._revision,
                "phase": self._phase,
                "busy": self._busy.locked(),
                "message": dict(self._message),
                "emulated": self.studio.is_emulated,
                "lamps": self._lamps_state(),
                "camera": self._camera_state(),
                "plan": [{"name": pose.name, "prompt": pose.prompt} for pose in self.studio.poses],
                "mirror": None if self._mirror is None else {"root": str(self._mirror.root), "fault": self._mirror.fault},
                "session": self._session,
            }

    def subjects(self) -> list[dict[str, Any]]:
        """Return the subjects of the raw tree."""
        return [
            {
                **asdict(standing.subject),
                "sessions": standing.sessions,
                "pairs": standing.pairs,
                "unfinished": standing.unfinished,
            }
            for standing in find_subjects(self.studio.raw)
        ]

    def add_subject(self, subject_id: str, consent: str) -> None:
        """Add a subject, or change the reference of its consent; errors as `save_subject`."""
        save_subject(self.studio.raw, Subject(subject_id, consent))

    def picture(self, take: str, light: str) -> bytes | None:
        """Return a photograph of a take of this session, as a small JPEG; None if there is none."""
        committed = {} if self._session is None else {pair["take"]: Path(pair["folder"]) for pair in self._session["pairs"]}
        if light not in LIGHTS:
            return None
        return self._pictures.get(take, light, committed.get(take))

    def pictogram(self, name: str) -> Pose | None:
        """Return the pose of that name, if it is in the plan and has a pictogram."""
        return next((pose for pose in self.studio.poses if pose.name == name and pose.pictogram), None)

    # What follows runs in the desk's thread.

    def _perform(self, action: Callable[..., None], arguments: dict[str, Any]) -> Exception | None:
        """Run an action; whatever it raises becomes a sentence, and is returned."""
        fault: Exception | None = None
        try:
            action(**arguments)
        except DeepflashError as error:
            fault = error
            self._say("fault", f"{_sentence(error)}")
        except OSError as error:
            where = error.filename or self.studio.raw
            fault = CaptureError(f"{where} cannot be written or read: {error.strerror or error}; mend that and go on")
            self._say("fault", _sentence(fault))
        except Exception as error:  # noqa: BLE001 - the failsafe: whatever it was, the lamps go off and the daemon lives
            _log.exception("the desk failed")
            fault = CaptureError(
                f"the program failed ({type(error).__name__}: {error}); the lamps are off, start the session again"
            )
            self._fail_safe(str(fault))
        finally:
            self._settle()
        return fault

    def _fail_safe(self, sentence: str) -> None:
        """Let go of everything after a fault of the program, so that the guard switches the lamps off."""
        try:
            self._close()
        except Exception:  # noqa: BLE001 - as above
            _log.exception("the desk could not close its devices in good order")
        self._session = None
        self._say("fault", _sentence(sentence))

    def _settle(self) -> None:
        with self._changed:
            try:
                if self._sitting is None:
                    self._phase = "finished" if self._session and self._session["finish"] else "closed"
                else:
                    self._phase = "paused" if self._sitting.paused else "ready"
                    self._session = self._session_state(self._sitting)
            finally:
                self._revision += 1
                self._busy.release()

    def _close(self) -> None:
        self._sitting = None
        with ExitStack() as closing:
            closing.callback(self._close_devices)
            closing.callback(self._sitting_open.close)

    def _close_devices(self) -> None:
        self._opened_for = None
        with self._changed:
            self._rig = self._lamps = self._camera = None
        self._devices.close()

    def _connect(self, subject: str = "") -> None:
        """Open the rig; or, if it is open, get both devices back."""
        wanted = (subject or self._opened_for or "") if self.studio.is_emulated else ""
        if self.studio.is_emulated and not wanted:
            raise CaptureError("the emulated studio opens for somebody; choose who sits")
        self._enter("opening", "Opening the rig.")
        if self._lamps is not None and self._camera is not None and self._opened_for == wanted:
            self._lamps.wait_until_ready()
            self._camera.reconnect()
        else:
            self._close_devices()
            try:
                self._open_devices(wanted)
            except BaseException:
                self._close_devices()
                raise
            self._opened_for = wanted
        if self._camera is not None:
            self._camera.make_ready()  # so that the first shot need not wait for it
        if self._rig is not None and self._rig.check_faces:
            load_models(eyes=self._rig.check_eyes)  # nor its verdict
        self._say("info", "The rig is ready.")

    def _open_devices(self, subject: str) -> None:
        rig = self._devices.enter_context(self.studio.open_rig(subject))
        lamps = self._devices.enter_context(Lamps(rig))
        with self._changed:
            self._rig, self._lamps = rig, lamps  # shown already while the camera is waited for
        if wanted := what_camera_waits_for(rig):
            self._enter("opening", wanted)
        camera = self._devices.enter_context(open_camera(rig))
        with self._changed:
            self._camera = camera

    def _start(self, subject: str, poses: Sequence[str] | None = None) -> None:
        """Open a subject's sitting: the unfinished one of that plan, or a new one."""
        if self._sitting is not None:
            raise CaptureError(f"the session of {self._sitting.journal.subject} is not finished; finish it first")
        read_subject(self.studio.raw, subject)
        known = {pose.name: pose for pose in self.studio.poses}
        plan = [known.get(name) or usual_pose(name) for name in poses or known]
        self._connect(subject)
        if self._rig is None or self._lamps is None or self._camera is None:
            raise CaptureError("the rig is not open")
        context = open_sitting(
            self._rig, self.studio.raw, self._lamps, self._camera, subject, plan, mirror=self._mirror, watch=self._note_stage
        )
        self._sitting = self._sitting_open.enter_context(context)
        self._pictures.clear()
        done = len(self._sitting.pairs)
        self._say(
            "info", f"Session of {subject} goes on: {done} of {len(plan)} poses done." if done else f"Session of {subject}."
        )

    def _shoot(self, pose: str | None = None) -> None:
        sitting = self._require_sitting()
        self._check_pose(pose)
        self._until_apparatus_is_well(sitting.shoot)

    def _retake(self) -> None:
        self._until_apparatus_is_well(self._require_sitting().retake)

    def _until_apparatus_is_well(self, shoot: Callable[[], Attempt]) -> None:
        """Shoot, and again where device or clock were the cause, up to the limit."""
        sitting = self._require_sitting()
        again = 0
        attempt = shoot()
        while attempt.verdict != "good" and attempt.apparatus and again < self.studio.retakes:
            again += 1
            self._say("warning", f"Take {attempt.take} is repeated: {_sentence(attempt.reasons[0])}")
            sitting.go_to(attempt.pose)
            attempt = sitting.shoot()
        repeated = f" It was repeated {again} time{'s' if again > 1 else ''}." if again else ""
        if attempt.verdict == "good":
            rest = " Every pose is done." if sitting.pose is None else ""
            self._say("good", f"Take {attempt.take} of {attempt.pose} is good and saved.{repeated}{rest}")
        else:
            self._say("bad", f"Take {attempt.take} of {attempt.pose} was not kept: {_sentence(attempt.reasons[0])}{repeated}")
        if sitting.mirror_fault:
            self._say("warning", f"{self._message['text']} But {sitting.mirror_fault}.")

    def _go(self, pose: str) -> None:
        self._require_sitting().go_to(pose)
        self._say("info", f"Next is {pose}.")

    def _skip(self, pose: str | None = None) -> None:
        self._check_pose(pose)
        self._say("info", f"{self._require_sitting().skip()} was skipped; U takes that back.")

    def _undo(self) -> None:
        step = self._require_sitting().undo()
        was = f"Take {step.take} of {step.pose} was put aside" if step.take else f"{step.pose} is asked for after all"
        self._say("info", f"{was}{f'; take {step.replaced} counts again' if step.replaced else ''}.")

    def _pause(self) -> None:
        self._require_sitting().pause()
        self._say("info", "Paused. The lamps stay off until you go on.")

    def _resume(self) -> None:
        self._require_sitting().resume()
        self._say("info", "Going on.")

    def _finish(self, reason: str = "") -> None:
        sitting = self._require_sitting()
        sitting.finish(reason)
        with self._changed:
            self._session = self._session_state(sitting)
        self._sitting = None
        self._sitting_open.close()
        missing = f"; missing: {', '.join(sitting.missing)}" if sitting.missing else ""
        self._say("good", f"The session of {sitting.journal.subject} is finished: {len(sitting.pairs)} pairs saved{missing}.")

    def _require_sitting(self) -> Sitting:
        if self._sitting is None:
            raise CaptureError("no session is open; choose a subject first")
        return self._sitting

    def _check_pose(self, pose: str | None) -> None:
        """Refuse what was meant for another pose: two consoles may be open."""
        now = self._require_sitting().pose
        if pose is not None and pose != now:
            raise CaptureError(f"{pose!r} was asked for, but the session is at {now!r}; look again")

    def _note_stage(self, stage: Stage) -> None:
        if stage.studio is not None and stage.flash is not None:
            self._pictures.put(stage.take, stage.studio.read_bytes(), stage.flash.read_bytes())
        words = {
            "photographing": "Hold still.",
            "checking": "Looking at the two photographs.",
            "saving": "Saving.",
            "recovering": "A device failed; getting it back.",
        }
        self._enter(stage.name, words[stage.name], stage.take)

    def _enter(self, phase: str, text: str, take: str = "") -> None:
        with self._changed:
            self._phase = phase
            self._message = {"kind": "busy", "text": text}
            if self._sitting is not None:
                self._session = {**self._session_state(self._sitting), "current_take": take}
            self._revision += 1

    def _say(self, kind: str, text: str) -> None:
        with self._changed:
            self._message = {"kind": kind, "text": text[0].upper() + text[1:]}
            self._revision += 1

    def _session_state(self, sitting: Sitting) -> dict[str, Any]:
        journal = sitting.journal
        pairs = sitting.pairs
        kept = {pair.take for pair in pairs.values()}
        prompts = {pose.name: pose.prompt for pose in self.studio.poses}
        return {
            "subject": journal.subject,
            "session": journal.session,
            "consent": journal.consent,
            "pose": sitting.pose,
            "poses": [
                {
                    "name": pose,
                    "prompt": prompts.get(pose, pose),
                    "pictogram": self.pictogram(pose) is not None,
                    "status": "done" if pose in pairs else "skipped" if pose in sitting.skipped else "open",
                }
                for pose in journal.poses
            ],
            "takes": [
                {
                    **asdict(attempt),
                    "kept": attempt.take in kept,
                    "pictures": attempt.take in kept or self._pictures.has(attempt.take),
                }
                for attempt in journal.attempts
            ],
            "pairs": [
                {"id": pair.id, "pose": pair.pose, "take": pair.take, "folder": str(pair.flash.parent)}
                for pair in pairs.values()
            ],
            "missing": list(sitting.missing),
            "orphans": list(journal.orphans),
            "mirror_fault": sitting.mirror_fault,
            "can_undo": bool(journal.steps),
            "paused": sitting.paused,
            "current_take": "",
            "finish": journal.finish,
            "finish_reason": journal.finish_reason,
        }

    def _lamps_state(self) -> dict[str, Any]:
        """Return what is known of the lamps; `openapi.STATE` says what each part means."""
        lamps = self._lamps
        if lamps is None:
            return {"connected": False, "heartbeat": False, "on": None, "seen_on": None, "fault": ""}
        known = lamps.state()
        heartbeat = lamps.guard_pid is not None and time.monotonic() - known.heard_s < _SILENT_AFTER_S
        is_known = heartbeat and not known.fault
        return {
            "connected": True,
            "heartbeat": heartbeat,
            "on": known.on if is_known else None,
            "seen_on": known.seen_on if is_known else None,
            "fault": known.fault,
        }

    def _camera_state(self) -> dict[str, Any]:
        camera = self._camera
        if camera is None:
            return {"connected": False, "name": "", "battery": ""}
        settings = camera.facts.settings
        return {"connected": True, "name": settings.get("cameramodel", ""), "battery": settings.get("batterylevel", "")}


class _Pictures:
    """Previews of the session's takes by take id; made when they are first asked for, kept in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._photographs: OrderedDict[str, dict[str, bytes]] = OrderedDict()
        self._previews: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def clear(self) -> None:
        with self._lock:
            self._photographs.clear()
            self._previews.clear()

    def put(self, take: str, studio: bytes, flash: bytes) -> None:
        """Keep a take's photographs, whose files may soon be gone."""
        with self._lock:
            self._photographs[take] = {"studio": studio, "flash": flash}
            while len(self._photographs) > _FRESH:
                old, lights = self._photographs.popitem(last=False)
                self._previews.update({(old, light): _preview_of(jpeg) for light, jpeg in lights.items()})
            while len(self._previews) > _PREVIEWS:
                self._previews.popitem(last=False)

    def has(self, take: str) -> bool:
        with self._lock:
            return take in self._photographs or (take, "flash") in self._previews

    def get(self, take: str, light: str, committed: Path | None) -> bytes | None:
        """Return a preview, if need be of the committed take in that folder; None if there is no picture to show."""
        with self._lock:
            preview = self._previews.get((take, light))
            jpeg = self._photographs.get(take, {}).get(light)
        if preview is None and jpeg is None and committed is not None:
            try:
                jpeg = (committed / f"{light}.jpg").read_bytes()
            except OSError:
                return None
        if preview is None and jpeg is not None:
            preview = _preview_of(jpeg)
            with self._lock:
                self._previews[take, light] = preview
        return preview or None


def _preview_of(jpeg: bytes) -> bytes:
    """Return the photograph upright and small, without its EXIF data; nothing if it does not decode."""
    try:
        return _decode_small(jpeg)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return b""  # the checks say what is wrong with it


def _decode_small(jpeg: bytes) -> bytes:
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        image.draft("RGB", (_PREVIEW_PX, _PREVIEW_PX))
        small = ImageOps.exif_transpose(image).convert("RGB")
    small.thumbnail((_PREVIEW_PX, _PREVIEW_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _sentence(error: object) -> str:
    text = str(error).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."
