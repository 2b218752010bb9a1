"""Who has sat or will sit: pseudonymous ids, and where each one's consent is filed. Never names."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from deepflash.capture.journal import JOURNAL, read_journal
from deepflash.errors import CaptureError, PairError
from deepflash.files import write_sealed_json
from deepflash.pairs import SIDECAR, check_id

SUBJECT_FILE = "subject.json"
SUBJECT_FORMAT = 1

_LONGEST_CONSENT = 100


@dataclass(frozen=True)
class Subject:
    """A person: `consent` says where the signed form is filed, such as its number; empty if that was not said."""

    id: str
    consent: str = ""


@dataclass(frozen=True)
class Standing:
    """What a raw tree holds of a subject: finished sessions, pairs, and the plan of an unfinished session, or nothing."""

    subject: Subject
    sessions: int
    pairs: int
    unfinished: tuple[str, ...] = ()


def read_subject(raw: Path, subject_id: str) -> Subject:
    """Read what is known of a subject; one that is not known yet has only an id.

    Raises
    ------
    PairError
        if the id is not safe.
    CaptureError
        if the subject's file is damaged.
    """
    path = raw / check_id(subject_id) / SUBJECT_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != SUBJECT_FORMAT:
            raise CaptureError(f"{path} was written by another version of deepflash; update deepflash")
        return Subject(subject_id, str(content["consent"]))
    except FileNotFoundError:
        return Subject(subject_id)
    except (ValueError, KeyError, TypeError) as error:
        raise CaptureError(f"{path} is damaged ({error}); write the subject's consent reference again") from error


def save_subject(raw: Path, subject: Subject) -> None:
    """Write a subject's file into the raw tree.

    Raises
    ------
    PairError
        if the id is not safe.
    CaptureError
        if the consent reference is too long or not one line of text.
    """
    check_id(subject.id)
    if len(subject.consent) > _LONGEST_CONSENT or not subject.consent.isprintable():
        raise CaptureError(f"a consent reference is one line of at most {_LONGEST_CONSENT} characters; give a form's number")
    write_sealed_json(raw / subject.id / SUBJECT_FILE, {"format": SUBJECT_FORMAT, **asdict(subject)})


def find_subjects(raw: Path) -> list[Standing]:
    """Return all subjects of a raw tree, sorted by id; folders that are none, and damaged journals, are passed over."""
    folders = sorted(raw.iterdir()) if raw.is_dir() else []
    return [standing for folder in folders if folder.is_dir() and (standing := _standing(raw, folder)) is not None]


def _standing(raw: Path, folder: Path) -> Standing | None:
    try:
        subject = read_subject(raw, folder.name)
    except PairError:
        return None
    except (CaptureError, OSError):
        subject = Subject(folder.name)
    finished = 0
    unfinished: tuple[str, ...] = ()
    for path in sorted(folder.glob(f"*/{JOURNAL}")):
        try:
            journal = read_journal(path)
        except CaptureError:
            continue
        finished += journal.finish is not None
        unfinished = journal.poses if journal.finish is None else unfinished
    return Standing(subject, finished, sum(1 for _ in folder.glob(f"*/[!.]*/{SIDECAR}")), unfinished)
