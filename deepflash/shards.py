"""Shards: a data set of portrait pairs as plain tar files that any tool opens, with an index for verified random access.

On disk, in one folder:

- `{train,val,test}-NNNNNN.tar`: deterministic USTAR in the WebDataset naming convention. A sample is three
  consecutive members, `KEY.flash.png`, `KEY.studio.png` and `KEY.json` (or `.webp`, `.jpg`: the data set has one format of
  pictures); keys hold no dots and come sorted;
- `index.jsonl`: a line per sample with its key, split, shard, what it shows, and offset, size and SHA-256 of each member;
- `README.md`: the data set's card, for people, and for Hugging Face;
- `dataset.json`: format version, parameters, split by subject, checksums of the index and of every shard. It is written
  last: a folder without it is no data set, and a shard that it does not list does not count.

The folder may stand on this machine, on a web server or in an object store (see `deepflash.places`).

Every read is verified against the index, because no reader that was tried notices a flipped bit by itself
(reference: ecosystem.md 1.3) and it costs a few hundredths of the decoding (docs/results.md). Needs neither torch nor
the webdataset library.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from deepflash.errors import PictureError, ShardError
from deepflash.files import SEAL, durable_file, sha256_of, write_durably, write_sealed_json
from deepflash.pictures import Picture, decode_rgb, encode
from deepflash.places import CachedPlace, LocalFolder, Place, folders_like, place_at

SHARD_FORMAT = 1
DATASET_FILE = "dataset.json"
INDEX_FILE = "index.jsonl"
CARD_FILE = "README.md"
FORGETTING = ".forgetting"
"""Folder within a data set where it is made anew without a person; its own `dataset.json` says that all of it is there."""
SPLITS = ("train", "val", "test")
PICTURE_FORMATS = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
"""How pictures may be stored, and the end of their names. `png` and `webp` are lossless, `jpeg` is not: quality 95, 4:4:4."""
DEFAULT_PICTURES = "png"
"""Chosen by measurement (docs/results.md): the fastest of the lossless ones to decode, and the only one that checks itself."""
TARGET_BYTES = 128 * 2**20
ESSENTIALS = ("subject", "pair_id", "pose", "variant", "valid_fraction")
"""What the index repeats of a sample's info, so that samples are chosen without opening a tar."""

UNAUGMENTED = {"angle_deg": 0, "frame": "wide", "mirrored": False}
"""The variant that shows the photograph as it was taken."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,88}")  # with `.studio.png` it fits the 100 bytes of a USTAR name
_SHARD = re.compile(rf"({'|'.join(SPLITS)})-\d{{6}}\.tar")
_GLOB = re.compile(r"[*\[]")
_MEMBERS = 3
_LARGEST = 8 * 2**30  # what a USTAR header can say of a member's size; no shard is larger, either
_MEMBER_NAMES = {(f"flash{suffix}", f"studio{suffix}", "json") for suffix in PICTURE_FORMATS.values()}  # in their order
_MEND = "restore it from a copy, or remove the folder and run build-dataset again"


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member's content stands in its shard, in bytes, and its SHA-256."""

    offset: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample's line in the index.

    Attributes
    ----------
    key, split, shard
        Its name, `train`, `val` or `test`, and the tar's file name.
    info
        The essentials of the sample's info: subject, pair_id, pose, variant, valid_fraction.
    members
        Where the flash picture, the studio picture and the JSON stand in the shard, in this order, by `members_of`.
    """

    key: str
    split: str
    shard: str
    info: dict[str, Any]
    members: dict[str, Member]

    @property
    def subject(self) -> str:
        """Whom it shows; a `ShardError` if the index does not say it."""
        if "subject" not in self.info:
            raise ShardError(f"sample {self.key} has no subject in {INDEX_FILE}; build the data set with deepflash")
        return str(self.info["subject"])

    @property
    def flash_sha256(self) -> str:
        """The SHA-256 of the flash picture as it is stored."""
        return next(iter(self.members.values())).sha256

    @property
    def extent(self) -> tuple[int, int]:
        """Where in the shard its first member begins and its last one ends, in bytes."""
        ends = [(member.offset, member.offset + member.size) for member in self.members.values()]
        return min(begin for begin, _ in ends), max(end for _, end in ends)


@dataclass(frozen=True)
class Sample:
    """A pair of pictures ready for a network: `flash` and `studio` are (size, size, 3) RGB `uint8`, registered."""

    key: str
    flash: Picture
    studio: Picture
    info: dict[str, Any]


@dataclass(frozen=True)
class ShardSet:
    """A data set, opened for reading. Holds no open files, so it may be pickled and sent to data loaders.

    Attributes
    ----------
    place
        Where it stands.
    manifest
        The content of `dataset.json`.
    """

    place: Place
    manifest: dict[str, Any]
    _entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """The side of every picture, in pixels."""
        return int(self.manifest["size"])

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that hold samples."""
        present = {entry.split for entry in self._entries}
        return tuple(split for split in SPLITS if split in present)

    def entries(self, split: str) -> list[Entry]:
        """Return the samples of a split, sorted by key; an empty list if the data set has none there.

        Raises
        ------
        ShardError
            if `split` is not `train`, `val` or `test`.
        """
        if split not in SPLITS:
            raise ShardError(f"{split!r} is not a split; choose one of {', '.join(SPLITS)}")
        return [entry for entry in self._entries if entry.split == split]

    def only(self, shards: str) -> "ShardSet":
        """Return the part of the data set that stands in the shards of that name; `*`, `?` and `[...]` match as in a shell.

        Raises
        ------
        ShardError
            if no shard has such a name.
        """
        kept = tuple(entry for entry in self._entries if fnmatchcase(entry.shard, shards))
        if not kept:
            raise ShardError(f"{self.place} has no shard {shards}; its shards are listed in {DATASET_FILE}")
        return replace(self, _entries=kept)

    def read(self, entry: Entry) -> Sample:
        """Read, verify and decode one sample.

        Raises
        ------
        ShardError
            if the shard is missing, cut short or altered, or cannot be reached.
        """
        members = self._read_verified(entry)
        where = f"{self.place}/{entry.shard}, sample {entry.key}"
        try:
            flash, studio = (decode_rgb(members[name], f"{where}.{name}") for name in members if name != "json")
            return Sample(entry.key, flash, studio, json.loads(bytes(members["json"])))
        except (PictureError, ValueError) as error:
            raise ShardError(f"{where} was stored damaged ({error}); remove the folder and run build-dataset again") from error

    def read_members(self, entry: Entry) -> dict[str, bytes]:
        """Return the encoded members of one sample, by name, verified; errors as `read`."""
        return {name: bytes(content) for name, content in self._read_verified(entry).items()}

    def _read_verified(self, entry: Entry) -> dict[str, memoryview]:
        """Read a sample in one piece; its members are views of that, because copies would cost as much as their checksums."""
        where = f"{self.place}/{entry.shard}, sample {entry.key},"
        first, last = entry.extent
        try:
            content = memoryview(self.place.read_range(entry.shard, first, last - first))
        except OSError as error:
            raise ShardError(f"{where} cannot be read ({error.strerror}); {_MEND}") from error
        members = {}
        for name, member in entry.members.items():
            begin = member.offset - first
            members[name] = content[begin : begin + member.size]
            if len(members[name]) != member.size:
                raise ShardError(f"{where} is cut short: {name} is incomplete; {_MEND}")
            if hashlib.sha256(members[name]).hexdigest() != member.sha256:
                raise ShardError(f"{where} is altered: {name} does not match its checksum; {_MEND}")
        return members


def open_shards(location: str | Path, *, cache: Path | None = None) -> ShardSet:
    """Open a data set, checking the index's checksum and, on this machine, that every shard is there with its full size.

    Contents of shards are verified when they are read.

    Parameters
    ----------
    location
        A folder, or its URL: `https://...`, or `s3://...` and whatever else fsspec has a package for.
    cache
        A local folder that takes copies of whole shards as they are needed. Without one, each sample is fetched by itself.

    Raises
    ------
    ShardError
        if there is no data set, its version is unknown, or a shard is missing or cut short.
    """
    place = _place(location)
    manifest = _manifest_at(place)
    check_manifest(place, manifest)
    for name, facts in manifest["shards"].items():
        _check_size(place, name, int(facts["size_bytes"]))
    entries = _read_index(place, manifest)
    identity = manifest["index"]["sha256"][:16]
    return ShardSet(place if cache is None else CachedPlace(place, cache / identity), manifest, entries)


def open_shard_sets(
    source: str | Path | ShardSet | Sequence[str | Path | ShardSet], *, cache: Path | None = None
) -> tuple[ShardSet, ...]:
    """Open all data sets that are meant.

    Parameters
    ----------
    source
        One or several of: an open data set; a folder or its URL; a glob of folders (`sets/*`, where folders can be listed: on
        this machine and in object stores); a shard or a glob of shards in a folder (`shards/train-00000[0-3].tar`).
    cache
        As for `open_shards`.

    Raises
    ------
    ShardError
        if one of them is no data set, or a glob matches nothing.
    """
    if isinstance(source, ShardSet):
        return (source,)
    if not isinstance(source, str | Path):
        return tuple(opened for one in source for opened in open_shard_sets(one, cache=cache))
    folders, name = _parted(str(source))
    try:
        matching = folders_like(folders) if _GLOB.search(folders) else [folders]
    except OSError as error:
        raise ShardError(f"{source} cannot be read: {error.strerror}") from error
    if not matching:
        raise ShardError(f"{source} matches no folder; give a folder that build-dataset made")
    opened = (open_shards(folder, cache=cache) for folder in matching)
    return tuple(shards.only(name) if name else shards for shards in opened)


def _parted(source: str) -> tuple[str, str]:
    """Part the name of a shard, or a glob of them, from the folder before it; a URL's query stays with the folder."""
    path, mark, query = source.partition("?") if source.startswith(("http://", "https://")) else (source, "", "")
    folder, _, name = path.rpartition("/")
    return (f"{folder or '.'}{mark}{query}", name) if name.endswith(".tar") else (source, "")


def members_of(pictures: str) -> tuple[str, str, str]:
    """Return the names of a sample's members, in their order in the tar.

    >>> members_of("png")
    ('flash.png', 'studio.png', 'json')

    Raises
    ------
    ShardError
        if there is no such format of pictures.
    """
    if pictures not in PICTURE_FORMATS:
        raise ShardError(f"{pictures!r} is no format of pictures; choose one of {', '.join(PICTURE_FORMATS)}")
    return f"flash{PICTURE_FORMATS[pictures]}", f"studio{PICTURE_FORMATS[pictures]}", "json"


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Return the content of a data set's `dataset.json`.

    Raises
    ------
    ShardError
        if the folder holds no data set, or one of an unknown format version.
    """
    return _manifest_at(_place(folder))


def check_manifest(place: object, manifest: Any) -> None:
    """Check that the content of a `dataset.json` has the parts that reading needs; `place` stands in the error's sentence.

    Raises
    ------
    ShardError
        if one is missing or is none, or the format version is unknown.
    """
    path = f"{place}/{DATASET_FILE}"
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != SHARD_FORMAT:
        raise ShardError(f"{path} has format {found}, this program reads {SHARD_FORMAT}; update deepflash")
    try:
        for name, facts in manifest["shards"].items():
            if not is_shard_name(name):
                raise ShardError(f"{path} lists {name!r}, which is no shard; {_MEND}")
            if not all(type(facts[number]) is int for number in ("size_bytes", "samples")):
                raise TypeError(f"{name} has no size")
        counts = manifest["counts"]
        numbers = [manifest["size"], *(number for of_split in counts.values() for number in of_split.values())]
        if not (all(type(number) is int for number in numbers) and counts.keys() == set(SPLITS)):
            raise ValueError("its size or counts are none")
        with_checksums = [manifest["index"], *manifest["shards"].values(), *([manifest["card"]] if "card" in manifest else [])]
        if not all(isinstance(facts["sha256"], str) for facts in with_checksums):
            raise TypeError("a checksum is missing")
        members_of(manifest.get("pictures", DEFAULT_PICTURES))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ShardError(f"{path} is damaged ({error!r}); {_MEND}") from error


def parse_index(content: bytes) -> Iterator[Entry]:
    """Yield the entries of an `index.jsonl`.

    Raises
    ------
    KeyError, TypeError, AttributeError, ValueError
        if a line is none of an index.
    """
    for number, line in enumerate(content.splitlines(), start=1):
        fields = json.loads(line)
        members = {name: Member(**place) for name, place in fields.pop("members").items()}
        entry = Entry(**fields, members=members)
        if not (_is_sound(entry) and all(map(_is_place, members.values()))):
            raise ValueError(f"line {number} is no sample")
        yield entry


def _is_sound(entry: Entry) -> bool:
    """Tell whether a sample of the index is one: names in it become names of files, and data sets come from anywhere."""
    info = entry.info
    return (
        isinstance(entry.key, str)
        and isinstance(entry.shard, str)
        and bool(_KEY.fullmatch(entry.key) and _SHARD.fullmatch(entry.shard))
        and entry.split in SPLITS
        and tuple(entry.members) in _MEMBER_NAMES
        and isinstance(info, dict)
        and all(isinstance(info.get(name, ""), str) for name in ("subject", "pair_id", "pose"))
        and isinstance(info.get("variant", {}), dict)
    )


def _is_place(member: Member) -> bool:
    numbers = (member.offset, member.size)
    return all(type(number) is int and 0 <= number < _LARGEST for number in numbers) and isinstance(member.sha256, str)


def is_shard_name(name: str) -> bool:
    """Tell whether a file's name is that of a shard.

    >>> is_shard_name("train-000012.tar")
    True
    """
    return bool(_SHARD.fullmatch(name))


def is_unaugmented(info: Mapping[str, Any]) -> bool:
    """Tell whether a sample shows the photograph as taken: not rotated, wide frame, not mirrored.

    `info` is that of an `Entry` or of a `Sample`. Only such samples are used for evaluation.

    >>> is_unaugmented({"variant": {"angle_deg": 0, "frame": "wide", "mirrored": True}})
    False
    """
    return bool(info.get("variant") == UNAUGMENTED)


def encode_sample(
    flash: Picture, studio: Picture, info: Mapping[str, Any], *, pictures: str = DEFAULT_PICTURES
) -> dict[str, bytes]:
    """Encode a sample's members: two pictures without metadata, and canonical JSON (the same info, the same bytes).

    Raises
    ------
    ShardError
        if `pictures` is none of `PICTURE_FORMATS`.
    """
    names = members_of(pictures)
    suffix = PICTURE_FORMATS[pictures]
    text = json.dumps(info, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    encoded = (encode(picture, suffix, full_chroma=True) for picture in (flash, studio))
    return dict(zip(names, (*encoded, text.encode()), strict=True))


def write_sample(file: IO[bytes], key: str, members: Mapping[str, bytes]) -> dict[str, Member]:
    """Append a sample to a tar that is being written at the end of `file`; return where its members stand.

    The same members give the same bytes on every machine: no times, owners or modes of this one are kept.

    Raises
    ------
    ShardError
        if `key` holds anything but letters, digits, `_`, `+` and `-`, or is longer than 89, or `members` are not those
        of one sample.
    """
    if not _KEY.fullmatch(key):
        raise ShardError(f"{key!r} cannot name a sample; use at most 89 letters, digits, '_', '+' or '-'")
    places = {}
    for name in members_of(pictures_of(members)):
        content = members[name]
        file.write(tar_header(f"{key}.{name}", len(content)))
        places[name] = Member(file.tell(), len(content), hashlib.sha256(content).hexdigest())
        file.write(content + bytes(-len(content) % tarfile.BLOCKSIZE))
    return places


def pictures_of(members: Mapping[str, Any]) -> str:
    """Return the format of the pictures among a sample's members.

    Raises
    ------
    ShardError
        if they are not the members of a sample.
    """
    for pictures in PICTURE_FORMATS:
        if members.keys() == set(members_of(pictures)):
            return pictures
    raise ShardError(f"{', '.join(members)} are not the members of a sample, such as {', '.join(members_of(DEFAULT_PICTURES))}")


def tar_header(name: str, size: int) -> bytes:
    """Return the block that stands before a member of that name and size, in bytes."""
    header = tarfile.TarInfo(name)
    header.size = size
    return header.tobuf(tarfile.USTAR_FORMAT)


def end_tar(file: IO[bytes]) -> None:
    """Write the two empty blocks that end a tar."""
    file.write(bytes(2 * tarfile.BLOCKSIZE))


def iter_samples(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield key and members of every sample of a tar, in order.

    Raises
    ------
    ShardError
        if the file is not a whole tar of samples.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            members: dict[str, bytes] = {}
            for header in tar:
                key, _, name = header.name.partition(".")
                content = tar.extractfile(header)
                if content is None or not _continues([*members, name]):
                    raise ShardError(f"{path} holds {header.name}, which is no member of a sample")
                members[name] = content.read()
                if len(members) == _MEMBERS:
                    yield key, members
                    members = {}
    except (OSError, tarfile.TarError) as error:
        raise ShardError(f"{path} is not a whole tar file ({error}); {_MEND}") from error
    if members:
        raise ShardError(f"{path} ends in the middle of sample {key}; {_MEND}")


def write_shard(
    path: Path, split: str, samples: Iterable[tuple[str, Mapping[str, bytes]]]
) -> tuple[dict[str, Any], list[Entry]]:
    """Write one shard, which appears at `path` when it is whole, from samples sorted by key.

    For builders that write many at a time; `commit_shards` then makes them a data set.

    Returns
    -------
    facts
        What `dataset.json` says of the shard: samples, size_bytes, sha256.
    entries
        Its samples' entries of the index.
    """
    shard = _OpenShard(path)
    entries = []
    try:
        for key, members in samples:
            places = shard.add(key, members)
            entries.append(_entry(key, split, path, json.loads(members["json"]), places))
        return shard.close(), entries
    except BaseException:
        shard.discard()
        raise


def commit_shards(
    folder: Path,
    manifest: Mapping[str, Any],
    *,
    shards: Mapping[str, Mapping[str, Any]],
    index: Iterable[str],
    counts: Mapping[str, Mapping[str, int]],
    card: Callable[[Mapping[str, Any]], str] | None = None,
) -> dict[str, Any]:
    """Make the shards in a folder a data set: write the index, the card and, last, `dataset.json`; remove other shards.

    Parameters
    ----------
    folder
        Where the shards stand.
    manifest
        What `dataset.json` shall say beside the format version, counts and checksums; must hold `size` and `pictures`.
    shards
        The facts of each shard, by name, from `write_shard`.
    index
        The lines of the index (`index_line`), sorted by split and key; they are written as they come.
    counts
        Samples, pairs and subjects of each split.
    card
        Makes the text of the data set's card, `README.md`, from the content of `dataset.json`.

    Returns
    -------
    dict
        The content of `dataset.json`.
    """
    digest = hashlib.sha256()
    samples = 0
    with durable_file(folder / INDEX_FILE) as file:
        for line in index:
            file.write(line.encode())
            digest.update(line.encode())
            samples += 1
    for path in folder.glob("*.tar"):
        if _SHARD.fullmatch(path.name) and path.name not in shards:
            path.unlink()
    content = {
        "format": SHARD_FORMAT,
        **manifest,
        "counts": dict(counts),
        "index": {"sha256": digest.hexdigest(), "samples": samples},
        "shards": dict(sorted(shards.items())),
    }
    if card is not None:
        text = card(content).encode()
        write_durably(folder / CARD_FILE, text)
        content["card"] = {"sha256": hashlib.sha256(text).hexdigest(), "size_bytes": len(text)}
    write_sealed_json(folder / DATASET_FILE, content)
    return content


def index_line(entry: Entry) -> str:
    """Return a sample's line of the index."""
    return json.dumps(asdict(entry), separators=(",", ":"), allow_nan=False, ensure_ascii=False) + "\n"


class ShardWriter(AbstractContextManager["ShardWriter"]):
    """Writes a data set; nothing counts before `commit`.

    Samples of a split are added in the order of their keys; splits may alternate. Shards appear whole, one by one,
    under their final names; `commit` removes what an earlier, unfinished attempt left beside them.

    Parameters
    ----------
    folder
        Where the data set shall stand.
    target_bytes
        A shard is closed before the sample that would make it larger than this.

    Raises
    ------
    ShardError
        if `folder` holds a finished data set: it is never changed in place.
    """

    def __init__(self, folder: Path, *, target_bytes: int = TARGET_BYTES) -> None:
        if (folder / DATASET_FILE).exists():
            raise ShardError(f"{folder} holds a data set already; give an empty folder, or remove it first")
        self._folder = folder
        self._target_bytes = target_bytes
        self._open: dict[str, _OpenShard] = {}
        self._last_key: dict[str, str] = {}
        self._entries: dict[str, list[Entry]] = {split: [] for split in SPLITS}
        self._shards: dict[str, dict[str, Any]] = {}
        self._pictures = ""

    def add(self, split: str, key: str, members: Mapping[str, bytes]) -> None:
        """Append a sample, as `encode_sample` made it, to a split.

        Raises
        ------
        ShardError
            if there is no such split, the key is not a key (see `write_sample`), or not greater than the last one of its split;
            or if the pictures are not of one format.
        """
        if split not in SPLITS:
            raise ShardError(f"{split!r} is not a split; choose one of {', '.join(SPLITS)}")
        if key <= self._last_key.get(split, ""):
            raise ShardError(f"sample {key} comes after {self._last_key[split]}; add the samples of a split sorted by key")
        pictures = pictures_of(members)
        if pictures != (self._pictures or pictures):
            raise ShardError(
                f"sample {key} has {pictures} pictures, those before it {self._pictures}; encode all of them alike"
            )
        self._pictures = pictures
        info = json.loads(members["json"])
        needed = sum(2 * tarfile.BLOCKSIZE + len(content) for content in members.values())
        if split in self._open and self._open[split].size + needed > self._target_bytes:
            self._close_shard(split)
        if split not in self._open:
            number = sum(name.startswith(f"{split}-") for name in self._shards)
            self._open[split] = _OpenShard(self._folder / f"{split}-{number:06d}.tar")
        shard = self._open[split]
        places = shard.add(key, members)
        self._entries[split].append(_entry(key, split, shard.path, info, places))
        self._last_key[split] = key

    def commit(self, manifest: Mapping[str, Any], *, card: Callable[[Mapping[str, Any]], str] | None = None) -> dict[str, Any]:
        """Close the shards and make them a data set.

        Parameters
        ----------
        manifest
            What `dataset.json` shall say beside the format version, counts and checksums; must hold `size`.
        card
            Makes the text of the data set's card, `README.md`, from the content of `dataset.json`.

        Returns
        -------
        dict
            The content of `dataset.json`.
        """
        for split in list(self._open):
            self._close_shard(split)
        lines = (index_line(entry) for split in SPLITS for entry in self._entries[split])
        return commit_shards(
            self._folder,
            {**manifest, "pictures": self._pictures or DEFAULT_PICTURES},
            shards=self._shards,
            index=lines,
            counts={split: _count(self._entries[split]) for split in SPLITS},
            card=card,
        )

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for shard in self._open.values():
            shard.discard()
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def _close_shard(self, split: str) -> None:
        shard = self._open.pop(split)
        self._shards[shard.path.name] = shard.close()


class _OpenShard:
    """A tar being written; it appears at `path` when it is closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.samples = 0
        self._stack = ExitStack()
        self._file = self._stack.enter_context(durable_file(path))

    def add(self, key: str, members: Mapping[str, bytes]) -> dict[str, Member]:
        places = write_sample(self._file, key, members)
        self.size = self._file.tell()
        self.samples += 1
        return places

    def close(self) -> dict[str, Any]:
        end_tar(self._file)
        self._stack.close()
        return {"samples": self.samples, "size_bytes": self.path.stat().st_size, "sha256": sha256_of(self.path)}

    def discard(self) -> None:
        abandoned = InterruptedError(f"{self.path} was abandoned")
        self._stack.__exit__(type(abandoned), abandoned, None)


def _place(location: str | Path) -> Place:
    try:
        return place_at(location)
    except OSError as error:
        raise ShardError(f"{location} cannot be opened: {error.strerror}") from error


def _manifest_at(place: Place) -> dict[str, Any]:
    if isinstance(place, LocalFolder) and (place.root / FORGETTING / DATASET_FILE).exists():
        raise ShardError(f"{place.root} is half rewritten: forgetting a person was interrupted; run deepflash forget again")
    try:
        manifest = json.loads(place.read(DATASET_FILE))
    except (FileNotFoundError, NotADirectoryError):
        raise ShardError(f"{place} holds no finished data set ({DATASET_FILE} is missing); run build-dataset") from None
    except OSError as error:
        raise ShardError(f"{place}/{DATASET_FILE} cannot be read ({error.strerror}); mend that and try again") from error
    except ValueError as error:
        raise ShardError(f"{place}/{DATASET_FILE} is damaged ({error}); {_MEND}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != SHARD_FORMAT:
        raise ShardError(f"{place}/{DATASET_FILE} has format {found}, this program reads {SHARD_FORMAT}; update deepflash")
    manifest.pop(SEAL, None)
    return dict(manifest)


def _check_size(place: Place, name: str, size_bytes: int) -> None:
    if not isinstance(place, LocalFolder):
        return  # a question for each of a thousand shards would take a minute, and every read is verified
    path = place.root / name
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        raise ShardError(f"{path} is missing; {_MEND}") from None
    if found != size_bytes:
        state = "cut short" if found < size_bytes else "altered"
        raise ShardError(f"{path} is {state}: it has {found} bytes, {DATASET_FILE} says {size_bytes}; {_MEND}")


def _read_index(place: Place, manifest: dict[str, Any]) -> tuple[Entry, ...]:
    path = f"{place}/{INDEX_FILE}"
    try:
        content = place.read(INDEX_FILE)
    except OSError as error:
        raise ShardError(f"{path} cannot be read ({error.strerror}); {_MEND}") from error
    if hashlib.sha256(content).hexdigest() != manifest["index"]["sha256"]:
        raise ShardError(f"{path} is altered: it does not match the checksum in {DATASET_FILE}; {_MEND}")
    sizes = {name: int(facts["size_bytes"]) for name, facts in manifest["shards"].items()}
    try:
        entries = tuple(parse_index(content))
        if misplaced := next((entry for entry in entries if entry.extent[1] > sizes.get(entry.shard, 0)), None):
            raise ValueError(f"sample {misplaced.key} does not stand in {misplaced.shard}")
        return entries
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ShardError(f"{path} is damaged ({error!r}); {_MEND}") from error


def _continues(names: list[str]) -> bool:
    return any(names == [*members_of(pictures)[: len(names)]] for pictures in PICTURE_FORMATS)


def _entry(key: str, split: str, shard: Path, info: Mapping[str, Any], places: dict[str, Member]) -> Entry:
    return Entry(key, split, shard.name, {name: info[name] for name in ESSENTIALS if name in info}, places)


def _count(entries: list[Entry]) -> dict[str, int]:
    named = {name: {entry.info[name] for entry in entries if name in entry.info} for name in ("pair_id", "subject")}
    return {"samples": len(entries), "pairs": len(named["pair_id"]), "subjects": len(named["subject"])}
