"""Pieces: the samples of one pair, rendered and encoded, in a tar of their own that appears whole or not at all.

A piece is named after all that decides its bytes, so one that is there is done. Workers render pieces; `joining` puts them
together to shards.
"""

import hashlib
import json
import platform
import tarfile
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

from deepflash import __version__
from deepflash.dataset.parameters import Parameters
from deepflash.dataset.statistics import PixelSums
from deepflash.dataset.variants import Photographs, face_portrait, read_photographs, render_variants
from deepflash.errors import DatasetError, PictureError, ShardError
from deepflash.faces import face_embedding
from deepflash.files import durable_file, sha256_of, write_durably
from deepflash.pairs import Alignment
from deepflash.pictures import decode_rgb
from deepflash.shards import (
    encode_sample,
    end_tar,
    is_unaugmented,
    iter_samples,
    members_of,
    pictures_of,
    tar_header,
    write_sample,
)

PORTRAIT_PX = 200
"""Side of the picture from which a face is recognised: the face is 133 px wide in it, and dlib wants 150 px with a margin."""

_PORTRAIT_ENLARGEMENT = 1.5


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece on the disk, in few bytes: a build holds one of each pair.

    Attributes
    ----------
    path
        The tar.
    sample_bytes
        How many bytes of a tar each of its samples takes, in order.
    flash_sums, studio_sums
        Of the un-augmented sample's pixels.
    embedding
        Of the face (see `face_embedding`), of no numbers if there is none; None if it was not asked for.
    """

    path: Path
    sample_bytes: Sequence[int]
    flash_sums: PixelSums
    studio_sums: PixelSums
    embedding: NDArray[np.float32] | None


def render_piece(alignment: Alignment, parameters: Parameters, folder: Path, *, embed: bool = False) -> Piece:
    """Render a pair's variants into a tar of samples, unless that was done before.

    Parameters
    ----------
    alignment
        The registered pair.
    parameters
        Of the data set.
    folder
        Where pieces stand.
    embed
        Whether the face is also described for the leakage check.

    Raises
    ------
    DatasetError, PictureError, ShardError
        if the pair cannot be used.
    """
    path = folder / f"{_digest(alignment, parameters)}.tar"
    beside = path.with_suffix(".face")
    if path.exists() and (beside.exists() or not embed):
        with suppress(PictureError, ShardError):  # damaged on the disk since: it is rendered again
            return _described(path, beside if embed else None)
    check_photographs(alignment)
    photographs = read_photographs(alignment, parameters.size, parameters.variants)
    if embed:
        write_durably(beside, _embedding(alignment, photographs).tobytes())
    _write(alignment, photographs, parameters, path)
    return _described(path, beside if embed else None)


def check_photographs(alignment: Alignment) -> None:
    """Check that both photographs are those that were registered.

    Raises
    ------
    DatasetError
        if one is missing or another one.
    """
    for path, registered in ((alignment.flash, alignment.flash_sha256), (alignment.studio, alignment.studio_sha256)):
        try:
            found = sha256_of(path)
        except OSError as error:
            raise DatasetError(f"{path} cannot be read ({error.strerror}); restore it from a copy") from error
        if found != registered:
            raise DatasetError(f"{path} is not the file that was registered; restore it, or run align batch again")


def essence(alignment: Alignment) -> dict[str, Any]:
    """Return what of an alignment decides the samples; where the photographs stand does not."""
    content = asdict(alignment)
    for name in ("flash", "studio", "quality", "versions", "method"):
        del content[name]
    return content


def canonical(value: Any) -> bytes:
    """Write a value as JSON, always in the same way."""
    return json.dumps(value, sort_keys=True, allow_nan=False).encode()


def versions() -> dict[str, str]:
    """Return the versions of what makes the pixels."""
    return {
        "deepflash": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
    }


def _digest(alignment: Alignment, parameters: Parameters) -> str:
    made_by = (parameters.size, parameters.pictures, asdict(parameters.variants), versions())
    return hashlib.sha256(canonical([made_by, essence(alignment)])).hexdigest()


def _write(alignment: Alignment, photographs: Photographs, parameters: Parameters, path: Path) -> None:
    rendered = render_variants(alignment, parameters.size, variants=parameters.variants, photographs=photographs)
    with durable_file(path) as file:
        for number, variant in enumerate(rendered):
            members = encode_sample(variant.flash, variant.studio, variant.info, pictures=parameters.pictures)
            write_sample(file, f"{alignment.pair_id}+{number:02d}", members)
        end_tar(file)


def _embedding(alignment: Alignment, photographs: Photographs) -> NDArray[np.float32]:
    found = face_portrait(alignment, photographs, PORTRAIT_PX, _PORTRAIT_ENLARGEMENT)
    return face_embedding(*found).astype(np.float32) if found else np.empty(0, np.float32)


def _described(path: Path, beside: Path | None) -> Piece:
    embedding = np.frombuffer(beside.read_bytes(), np.float32) if beside else None
    sample_bytes = []
    for _, members in iter_samples(path):
        sample_bytes.append(sum(len(tar_header(name, 0)) + _padded(len(content)) for name, content in members.items()))
        if is_unaugmented(json.loads(members["json"])):
            flash_sums, studio_sums = _sums(members, path)
    return Piece(path, array("Q", sample_bytes), flash_sums, studio_sums, embedding)


def _padded(size: int) -> int:
    return size + -size % tarfile.BLOCKSIZE


def _sums(members: Mapping[str, bytes], path: Path) -> tuple[PixelSums, PixelSums]:
    """Sum the pictures as they were stored: a lossy format changes them a little."""
    flash, studio, _ = members_of(pictures_of(members))
    return PixelSums.of(decode_rgb(members[flash], str(path))), PixelSums.of(decode_rgb(members[studio], str(path)))
