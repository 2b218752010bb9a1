"""Named tensors in a file that cannot run code: the safetensors format, read and written without the library of that name.

A file is the length of its head (8 bytes, little-endian), the head (JSON: of each tensor its type, shape, and where it begins
and ends; words under `__metadata__`), then the tensors' bytes, without gaps. Specified in the README of
https://github.com/huggingface/safetensors; its library is the oracle of our tests.
"""

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepflash.files import durable_file

_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_NAMES = {kind: name for name, kind in _TYPES.items()}
_METADATA = "__metadata__"
_LENGTH_BYTES = 8
_MOST_HEAD_BYTES = 100_000_000  # as the specification says
_ALIGNED_TO = 8


@dataclass(frozen=True)
class TensorFile:
    """What a file holds.

    Attributes
    ----------
    tensors
        By name, on the CPU.
    metadata
        Words beside them.
    sha256
        Of the tensors' bytes: of all that follows the head.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    sha256: str


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors durably, with the SHA-256 of their bytes as the metadata's `sha256`. The same tensors, the same bytes.

    Raises
    ------
    ValueError
        if a tensor is of a type that the format, or this program, does not know.
    """
    laid_out = {name: tensors[name].detach().cpu().contiguous() for name in _in_order(tensors)}
    places, end = {}, 0
    for name, tensor in laid_out.items():
        begin, end = end, end + tensor.nbytes
        places[name] = {"dtype": _name_of(name, tensor), "shape": list(tensor.shape), "data_offsets": [begin, end]}
    content = [_bytes_of(tensor) for tensor in laid_out.values()]
    checksum = hashlib.sha256()
    for part in content:
        checksum.update(part)
    words = dict(sorted({**metadata, "sha256": checksum.hexdigest()}.items()))
    head = json.dumps({_METADATA: words, **places}, separators=(",", ":")).encode()
    head += b" " * (-len(head) % _ALIGNED_TO)
    with durable_file(path) as file:
        file.write(len(head).to_bytes(_LENGTH_BYTES, "little") + head)
        file.writelines(content)


def read_tensors(path: Path) -> TensorFile:
    """Read a file of tensors.

    Raises
    ------
    OSError
        if it cannot be read.
    ValueError
        if it is no such file, cut short, or its head does not fit its bytes.
    """
    content = memoryview(path.read_bytes())
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if not 2 <= length <= min(_MOST_HEAD_BYTES, len(content) - _LENGTH_BYTES):
        raise ValueError("it is no safetensors file, or cut short")
    head = _parsed(bytes(content[_LENGTH_BYTES : _LENGTH_BYTES + length]))
    data = content[_LENGTH_BYTES + length :]
    metadata = head.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are no words")
    places = {name: _place_of(name, entry) for name, entry in head.items()}
    _refuse_gaps(places, len(data))
    tensors = {name: _tensor(data[begin:end], kind, shape) for name, (kind, shape, begin, end) in places.items()}
    return TensorFile(tensors, metadata, hashlib.sha256(data).hexdigest())


_Place = tuple[torch.dtype, list[int], int, int]


def _in_order(tensors: Mapping[str, Tensor]) -> list[str]:
    """Put wide types first, so that every tensor begins at a multiple of its items' size."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _name_of(name: str, tensor: Tensor) -> str:
    if tensor.dtype not in _NAMES or name == _METADATA:
        raise ValueError(f"{name} is of type {tensor.dtype}, which cannot be written")
    return _NAMES[tensor.dtype]


def _bytes_of(tensor: Tensor) -> bytes:
    if sys.byteorder != "little":
        raise ValueError("files of tensors are little-endian, this processor is not")
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def _parsed(text: bytes) -> dict[str, Any]:
    def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("its head names something twice")
        return dict(pairs)

    try:
        head = json.loads(text, object_pairs_hook=without_doubles)
    except RecursionError:
        raise ValueError("its head is nested too deeply") from None
    if not isinstance(head, dict):
        raise ValueError("its head is no object")
    return head


def _place_of(name: str, entry: Any) -> _Place:
    """Return type, shape, begin and end of a tensor, if they fit each other."""
    try:
        kind, shape, (begin, end) = _TYPES[entry["dtype"]], list(entry["shape"]), entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
    except (TypeError, ValueError, KeyError):
        raise ValueError(f"its head tells nothing that is known of {name}") from None
    if not whole or end - begin != math.prod(shape) * kind.itemsize:
        raise ValueError(f"shape and place of {name} do not fit")
    return kind, shape, begin, end


def _refuse_gaps(places: Mapping[str, _Place], size: int) -> None:
    """Refuse tensors that overlap, that leave bytes out, or that lie beyond the end."""
    reached = 0
    for _, _, begin, end in sorted(places.values(), key=lambda place: place[2:]):
        if begin != reached:
            raise ValueError("its tensors overlap, or leave gaps")
        reached = end
    if reached != size:
        raise ValueError(f"it is cut short, or too long: its tensors take {reached} bytes, there are {size}")


def _tensor(data: memoryview, kind: torch.dtype, shape: list[int]) -> Tensor:
    if not len(data):
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(bytearray(data), dtype=kind).view(shape)  # its own memory, which is aligned
