"""The pair of photographs, its registration, and their places on disk.

Three layouts are known:

- `raw/<subject>/<session>/<take>/{studio.jpg,flash.jpg,pair.json}`, written by `capture` and `import`; imported
  photographs keep their format (`studio.png`), or stay where they are and `pair.json` says where;
- a folder of `NN_flash.EXT` and `NN_studio.EXT`, anybody's pairs by file name;
- `aligned/<pair-id>.json`, written by `align`, read by `dataset`.

Convention: points are (x, y) in pixels of the upright photograph at full resolution, (0, 0) being the
centre of the top-left pixel. `moving_from_fixed` is the 2x3 matrix that takes a point of the flash
photograph (fixed, the paper's R) to the same point of the studio photograph (moving, the paper's M).
"""

import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from deepflash.accounts import SetAside
from deepflash.errors import PairError
from deepflash.files import SEAL, durable_folder, sha256_of, write_sealed_json

PAIR_FORMAT = 1
FOREIGN_FORMAT = 2
"""Of a `pair.json` whose photographs have names of their own or lie elsewhere, which older programs would not find."""

ALIGNMENT_FORMAT = 1
SIDECAR = "pair.json"
VERDICTS = ("good", "check", "bad")

_SUBJECT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}\.[A-Za-z0-9]{1,8}")
_STORED_NAME = re.compile(r"(flash|studio)\.(jpg|png|webp|tif)")
_PICTURE_NAME = re.compile(r"(?P<id>.*)_(?P<light>flash|studio)\.(jpe?g|png|webp|tiff?)", re.IGNORECASE | re.DOTALL)
_EXAMPLES = {"subject": "S001", "pose": "frontal"}
_LEAST_AREA = 1e-6  # a transform that shrinks or enlarges areas more than this is no registration
_PAIR_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")  # with a variant's number it fits a sample's key


@dataclass(frozen=True)
class Pair:
    """The two photographs of one take.

    Attributes
    ----------
    id
        Unique in its tree, made of letters, digits, `_` and `-`; safe as a file name.
    subject
        The pseudonymous id of the person; what the data set is split by.
    flash, studio
        The photographs (the paper's *x* and *o*).
    record
        The content of `pair.json`; empty for pairs found by file name.
    """

    id: str
    subject: str
    flash: Path
    studio: Path
    session: str = ""
    take: str = ""
    pose: str = ""
    record: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Original:
    """A photograph from elsewhere, as it was examined: where it lies, its SHA-256, and the suffix of its real format."""

    path: Path
    sha256: str
    suffix: str = ".jpg"


@dataclass(frozen=True)
class Face:
    """A face in a photograph.

    Attributes
    ----------
    box
        (left, top, right, bottom) in pixels.
    landmarks
        Named groups of (x, y) points in pixels, as `face_recognition` names them.
    """

    box: tuple[float, float, float, float]
    landmarks: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Alignment:
    """The registration of one pair: all that later stages need, and no pixels.

    Attributes
    ----------
    flash, studio
        The photographs, absolute in memory, relative to the JSON file on disk.
    size, studio_size
        (width, height) in pixels of the upright flash and studio photographs.
    moving_from_fixed
        The affine map as ((a, b, tx), (c, d, ty)); see the module's convention.
    method, method_asked
        How the map was found, and the method that was asked for: `refined` keeps the coarse map where that is better.
    verdict
        `good`, `check` (usable, look at it) or `bad` (left out of data sets).
    reasons
        Why the verdict is not `good`, one sentence each.
    quality
        Numbers behind the verdict, by name; units in the names.
    flash_face, studio_face, registered_face
        The subject's face in the paper's R, M and M': in pixels of the flash photograph, of the studio photograph, and (the
        studio photograph's face through the map) of the flash photograph again. None where none was found.
    """

    pair_id: str
    subject: str
    flash: Path
    studio: Path
    flash_sha256: str
    studio_sha256: str
    size: tuple[int, int]
    studio_size: tuple[int, int]
    moving_from_fixed: tuple[tuple[float, float, float], tuple[float, float, float]]
    method: str
    verdict: str
    reasons: tuple[str, ...] = ()
    method_asked: str = ""
    quality: dict[str, float] = field(default_factory=dict)
    flash_face: Face | None = None
    studio_face: Face | None = None
    registered_face: Face | None = None
    session: str = ""
    take: str = ""
    pose: str = ""
    versions: dict[str, str] = field(default_factory=dict)


def check_id(value: str, what: str = "subject") -> str:
    """Return `value` if it is a safe id: 1 to 32 letters, digits, `_` and `-`, no leading `-` or `_`.

    Raises
    ------
    PairError
        otherwise; ids become folder names, so nothing like `../x` may pass.

    >>> check_id("S001")
    'S001'
    """
    if not _SUBJECT_ID.fullmatch(value):
        example = _EXAMPLES.get(what, "001")
        raise PairError(f"{value!r} is not a {what} id; use 1 to 32 letters, digits, '_' or '-', such as {example}")
    return value


def take_folder(raw: Path, subject: str, session: str, take: str) -> Path:
    """Return the folder of a take in the raw layout."""
    return raw / check_id(subject) / check_id(session, "session") / check_id(take, "take")


def commit_pair(
    folder: Path, flash: Path, studio: Path, record: dict[str, Any], *, beside: Mapping[str, Path] | None = None
) -> Pair:
    """Store a take: both photographs and `pair.json` appear in `folder` together, or not at all.

    Parameters
    ----------
    folder
        From `take_folder`; must not exist yet.
    flash, studio
        JPEG files to copy; they are left where they are.
    record
        What `pair.json` shall say beside the format version, sizes and checksums. Must hold
        `subject`, `session`, `take` and `pose`.
    beside
        Further files of the take by the names that they get, such as `{"studio.cr2": path}` for RAW files.
        Sizes and checksums are entered as `beside`.

    Raises
    ------
    PairError
        if the take exists already.
    """

    def fill(draft: Path) -> dict[str, Any]:
        files = {name: _copied(source, draft / f"{name}.jpg") for name, source in (("flash", flash), ("studio", studio))}
        others = {name: _copied(source, draft / check_file_name(name)) for name, source in (beside or {}).items()}
        content = {"format": PAIR_FORMAT, **record, "files": files}
        return content | {"beside": others} if others else content

    return _commit(folder, fill)


def commit_originals(
    folder: Path, flash: Original, studio: Original, record: dict[str, Any], *, by_reference: bool = False
) -> Pair:
    """Store a take whose photographs come from elsewhere; it appears whole or not at all, as with `commit_pair`.

    Parameters
    ----------
    folder, record
        As in `commit_pair`.
    flash, studio
        The photographs; they are left where they are, and keep their format.
    by_reference
        Copy no photograph: `pair.json` says where they lie and holds their checksums.

    Raises
    ------
    PairError
        if the take exists already, or a photograph is no longer what was examined.
    """

    def fill(draft: Path) -> dict[str, Any]:
        enter = _referred if by_reference else _kept
        files = {
            name: enter(original, draft / f"{name}{original.suffix}")
            for name, original in (("flash", flash), ("studio", studio))
        }
        return {"format": FOREIGN_FORMAT, **record, "files": files}

    return _commit(folder, fill)


def _commit(folder: Path, fill: Callable[[Path], dict[str, Any]]) -> Pair:
    try:
        with durable_folder(folder) as draft:
            write_sealed_json(draft / SIDECAR, fill(draft))
    except FileExistsError as error:
        raise PairError(f"{folder} exists already; a take is never overwritten, take a new one") from error
    return read_pair(folder)


def _kept(original: Original, copy: Path) -> dict[str, Any]:
    facts = _copied(original.path, copy)
    if facts["sha256"] != original.sha256:
        raise PairError(f"{original.path} changed while it was imported; import it again when nothing writes to it")
    return {"name": copy.name, **facts}


def _referred(original: Original, _copy: Path) -> dict[str, Any]:
    path = original.path.absolute()
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise PairError(f"the name of {path} is not UTF-8 and cannot stand in {SIDECAR}; rename it, or import a copy") from None
    return {"path": str(path), "sha256": original.sha256, "size_bytes": path.stat().st_size}


def check_file_name(name: str) -> str:
    """Return `name` if it may stand beside a pair's photographs; it may come from a camera.

    Raises
    ------
    PairError
        if it is not a plain name, or is taken.

    >>> check_file_name("studio.cr2")
    'studio.cr2'
    """
    if not _FILE_NAME.fullmatch(name) or name in {SIDECAR, "flash.jpg", "studio.jpg"}:
        raise PairError(f"{name!r} cannot stand beside a pair; use a name such as studio.cr2")
    return name


def _copied(source: Path, copy: Path) -> dict[str, Any]:
    """Copy a file; return what the sidecar says of it: the copy's size, and the checksum of what was to be copied.

    The two are compared: what is not what was fetched is never entered.
    """
    shutil.copyfile(source, copy)
    sha256 = sha256_of(source)
    if sha256_of(copy) != sha256:
        raise PairError(f"{copy} is not what was copied to it; check that disk")
    return {"sha256": sha256, "size_bytes": copy.stat().st_size}


def read_pair(folder: Path) -> Pair:
    """Read a take of the raw layout from its folder.

    Raises
    ------
    PairError
        if the sidecar or a photograph is missing, damaged or of an unknown format version.
    """
    record = _read_json(folder / SIDECAR, PAIR_FORMAT, FOREIGN_FORMAT)
    try:
        subject, session, take, pose = (str(record[key]) for key in ("subject", "session", "take", "pose"))
        flash, studio = (_photograph(folder, name, record["files"][name]) for name in ("flash", "studio"))
    except (KeyError, TypeError, AttributeError) as error:
        raise PairError(f"{folder / SIDECAR} lacks {error}; restore it from a copy") from error
    pair_id = f"{check_id(subject)}-{check_id(session, 'session')}-{check_id(take, 'take')}"
    return Pair(pair_id, subject, flash, studio, session, take, pose, record)


def _photograph(folder: Path, light: str, facts: dict[str, Any]) -> Path:
    """Return where a photograph of a take lies, if it is as long as its sidecar says."""
    name = facts.get("path") or facts.get("name", f"{light}.jpg")
    if not (_STORED_NAME.fullmatch(name) or ("path" in facts and Path(name).is_absolute())):
        raise PairError(f"{folder / SIDECAR} names {name} as its {light} photograph, which cannot be; restore it from a copy")
    path = folder / str(name)
    size_bytes, stored_bytes = _size_of(path), facts["size_bytes"]
    if size_bytes != stored_bytes:
        raise PairError(f"{path} has {size_bytes} bytes, {SIDECAR} says {stored_bytes}; restore it from a copy")
    return path


def find_pairs(root: Path) -> tuple[list[Pair], list[SetAside]]:
    """Find all pairs below `root`, in the raw layout or by file name, sorted by id.

    Returns
    -------
    pairs
        Those whose two files are there. Pictures are not opened.
    set_aside
        What is not a pair, and why: a photograph without its partner, a damaged sidecar.

    Raises
    ------
    PairError
        if `root` is not a folder or holds nothing that looks like a pair.
    """
    if not root.is_dir():
        raise PairError(f"{root} is not a folder; give the folder that holds the pairs")
    pairs: list[Pair] = []
    set_aside: list[SetAside] = []
    for sidecar in sorted(root.rglob(SIDECAR)):
        if any(part.startswith(".") for part in sidecar.relative_to(root).parts):
            continue  # an uncommitted temporary
        try:
            pairs.append(read_pair(sidecar.parent))
        except PairError as error:
            set_aside.append(SetAside(str(sidecar.parent.relative_to(root)), str(error)))
    named, alone = _named_pairs(root)
    pairs += named
    set_aside += alone
    if not pairs and not set_aside:
        raise PairError(
            f"{root} holds no pairs; expected <subject>/<session>/<take>/{SIDECAR} or files NN_flash.jpg and NN_studio.jpg"
        )
    pairs, twins = _unique(sorted(pairs, key=lambda pair: pair.id))
    return pairs, set_aside + twins


def save_alignment(folder: Path, alignment: Alignment) -> Path:
    """Write `<folder>/<pair-id>.json`, durably, and return its path."""
    path = alignment_path(folder, alignment.pair_id)
    content = asdict(alignment)
    for name in ("flash", "studio"):
        content[name] = os.path.relpath(content[name], folder)
    write_sealed_json(path, {"format": ALIGNMENT_FORMAT, **content})
    return path


def alignment_path(folder: Path, pair_id: str) -> Path:
    """Return where the alignment of a pair stands in `folder`."""
    return folder / f"{pair_id}.json"


def load_alignment(path: Path) -> Alignment:
    """Read an alignment written by `save_alignment`.

    Raises
    ------
    PairError
        if the file is missing, damaged or of an unknown format version.
    """
    content = _read_json(path, ALIGNMENT_FORMAT)
    del content["format"]
    try:
        _check_texts(content)
        for name in ("flash", "studio"):
            content[name] = Path(os.path.normpath(path.parent.absolute() / content[name]))
            content[f"{name}_face"] = _face_from_json(content[f"{name}_face"])
        content["registered_face"] = _face_from_json(content.get("registered_face"))
        content["size"] = _size_from_json(content["size"])
        content["studio_size"] = _size_from_json(content["studio_size"])
        content["moving_from_fixed"] = _affine_from_json(content["moving_from_fixed"])
        content["reasons"] = tuple(str(reason) for reason in content["reasons"])
        content["quality"] = {name: float(value) for name, value in content["quality"].items()}
        content["versions"] = dict(content["versions"])
        alignment = Alignment(**content)
    except (KeyError, TypeError, ValueError, AttributeError, PairError) as error:
        raise PairError(f"{path} is not an alignment ({error}); run align batch again") from error
    if alignment.pair_id != path.stem:  # a copy would put the same pair into a data set twice
        raise PairError(f"{path} is the alignment of {alignment.pair_id!r}; name it {alignment.pair_id}.json, or remove it")
    return alignment


def load_alignments(folder: Path) -> tuple[list[Alignment], list[SetAside]]:
    """Read every alignment in `folder`, sorted by pair id; damaged ones are set aside.

    Raises
    ------
    PairError
        if `folder` is missing or holds no alignment.
    """
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not paths:
        raise PairError(f"{folder} holds no alignments; run align batch RAW {folder} first")
    alignments: list[Alignment] = []
    set_aside: list[SetAside] = []
    for path in paths:
        try:
            alignments.append(load_alignment(path))
        except PairError as error:
            set_aside.append(SetAside(path.stem, str(error)))
    return sorted(alignments, key=lambda alignment: alignment.pair_id), set_aside


def _unique(pairs: list[Pair]) -> tuple[list[Pair], list[SetAside]]:
    """Part the pairs with an id of their own from the later ones of the same id (a take's folder was copied)."""
    first: dict[str, Pair] = {}
    twins = []
    for pair in pairs:
        if pair.id in first:
            other = first[pair.id].flash.parent
            twins.append(SetAside(pair.id, f"{pair.flash.parent} holds the same take as {other}; remove one of them"))
        else:
            first[pair.id] = pair
    return list(first.values()), twins


def _named_pairs(root: Path) -> tuple[list[Pair], list[SetAside]]:
    found: dict[str, dict[str, list[Path]]] = {}
    for path in _visible_files(root):
        match = _PICTURE_NAME.fullmatch(path.name)
        if match:
            lights = found.setdefault(match["id"], {"flash": [], "studio": []})
            lights[match["light"].lower()].append(path)
    pairs = []
    set_aside = []
    for name, lights in found.items():
        reason = _reason_against_name(root, name) or "; ".join(
            _reason_against(root / f"{name}_{light}", files) for light, files in lights.items() if len(files) != 1
        )
        if reason:
            set_aside.append(SetAside(name, reason))
        else:
            pairs.append(Pair(name, name, lights["flash"][0], lights["studio"][0]))
    return pairs, set_aside


def _reason_against_name(root: Path, name: str) -> str:
    if _PAIR_ID.fullmatch(name):
        return ""
    return f"{root / name}_* cannot name a pair; rename it with 1 to 80 letters, digits, '_' or '-' before _flash and _studio"


def _reason_against(stem: Path, files: list[Path]) -> str:
    if not files:
        return f"{stem}.* is missing; a pair needs both photographs"
    return f"{stem} stands for {' and '.join(file.name for file in files)}; keep one of them"


def _visible_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith("."))


def _read_json(path: Path, *versions: int) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PairError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise PairError(f"{path} is damaged ({error}); restore it from a copy") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found not in versions:
        known = " and ".join(map(str, versions))
        raise PairError(f"{path} has format {found}, this program reads {known}; update deepflash")
    content.pop(SEAL, None)  # what it is good for, `verify` sees to
    return content  # type: ignore[no-any-return]


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise PairError(f"{path} is missing; restore it from a copy") from None


def _check_texts(content: dict[str, Any]) -> None:
    for field_ in fields(Alignment):
        value = content.get(field_.name, "")
        if field_.type in (str, Path) and not (isinstance(value, str) and "\0" not in value):
            raise TypeError(f"its {field_.name} is {value!r}, no text")
    if content["verdict"] not in VERDICTS:
        raise ValueError(f"its verdict is {content['verdict']!r}, none of {', '.join(VERDICTS)}")
    if not _SUBJECT_ID.fullmatch(content["subject"]) and content["subject"] != content["pair_id"]:
        raise ValueError(f"its subject is {content['subject']!r}, no id")


def _size_from_json(value: list[int]) -> tuple[int, int]:
    width, height = value
    if not (type(width) is int and type(height) is int and min(width, height) > 0):
        raise ValueError(f"{width!r} x {height!r} is no size of a photograph")
    return width, height


def _affine_from_json(value: list[list[float]]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    (a, b, tx), (c, d, ty) = ((float(number) for number in row) for row in value)
    if not all(map(math.isfinite, (a, b, tx, c, d, ty))):
        raise ValueError("its transform is not finite")
    if not _LEAST_AREA < abs(a * d - b * c) < 1 / _LEAST_AREA:
        raise ValueError("its transform leaves nothing of the picture")
    return (a, b, tx), (c, d, ty)


def _face_from_json(value: dict[str, Any] | None) -> Face | None:
    if value is None:
        return None
    left, top, right, bottom = (float(edge) for edge in value["box"])
    if not (math.isfinite(left + top + right + bottom) and left < right and top < bottom):
        raise ValueError("the box of a face has no area")
    landmarks = {name: [(float(x), float(y)) for x, y in points] for name, points in value["landmarks"].items()}
    return Face((left, top, right, bottom), landmarks)
