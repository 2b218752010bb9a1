"""Files of tensors: what the safetensors library writes and reads, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file

from deepflash.model.tensorfile import read_tensors, write_tensors

TYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
         torch.uint8, torch.bool]  # fmt: skip


def some_tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    tensors = {str(kind): (torch.rand(3, 5) * 2).to(kind) for kind in TYPES}
    tensors |= {"scalar": torch.tensor(3), "empty": torch.zeros(0, 4), "bytes": torch.zeros(3, dtype=torch.uint8)}
    return {**tensors, "turned": torch.rand(4, 6, 2, 2).to(memory_format=torch.channels_last)}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "ours.safetensors"
    write_tensors(path, some_tensors(), {"step": "3", "name": "ä"})
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        read = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    assert same(read, some_tensors())
    assert metadata == {"name": "ä", "step": "3", "sha256": read_tensors(path).sha256}


def test_we_read_what_the_library_writes(tmp_path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in some_tensors().items()}, tmp_path / "a", {"by": "library"})
    read = read_tensors(tmp_path / "a")
    assert same(read.tensors, some_tensors())
    assert read.metadata == {"by": "library"}


def test_the_same_tensors_make_the_same_bytes_in_whatever_order_they_come(tmp_path: Path) -> None:
    tensors = some_tensors()
    write_tensors(tmp_path / "a", tensors, {"x": "1", "y": "2"})
    write_tensors(tmp_path / "b", dict(reversed(tensors.items())), {"y": "2", "x": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_tensor_is_aligned(tmp_path: Path) -> None:
    """So that other programs can map the file into memory."""
    write_tensors(tmp_path / "a", some_tensors(), {})
    content = (tmp_path / "a").read_bytes()
    length = int.from_bytes(content[:8], "little")
    head = json.loads(content[8 : 8 + length])
    assert (8 + length) % 8 == 0
    sizes = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
    entries = [entry for name, entry in head.items() if name != "__metadata__"]
    assert all(entry["data_offsets"][0] % sizes.get(entry["dtype"], 1) == 0 for entry in entries)


def test_a_type_that_the_format_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"w is of type torch.complex64, which cannot be written"):
        write_tensors(tmp_path / "a", {"w": torch.zeros(2, dtype=torch.complex64)}, {})
    assert list(tmp_path.iterdir()) == []


def file_with(head: Any, data: bytes = bytes(8)) -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}


WHOLE = {"a": entry()}
BAD = {
    "empty file": b"",
    "length alone": (9).to_bytes(8, "little"),
    "head longer than the file": (1 << 40).to_bytes(8, "little") + b"{}",
    "no JSON": file_with(b"{'a': 1}"),
    "not UTF-8": file_with(b'{"\xff": 1}'),
    "a list": file_with([1]),
    "a tensor twice": file_with(b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2)),
    "metadata that are no words": file_with({"__metadata__": {"step": 3}, **WHOLE}),
    "metadata in a list": file_with({"__metadata__": ["step"], **WHOLE}),
    "unknown type": file_with({"a": entry(dtype="F31")}),
    "type in a list": file_with({"a": entry(dtype=["F32"])}),
    "no shape": file_with({"a": {"dtype": "F32", "data_offsets": [0, 8]}}),
    "entry is no object": file_with({"a": 3}),
    "negative shape": file_with({"a": entry(shape=[-2])}),
    "fractional shape": file_with({"a": entry(shape=[2.0])}),
    "shape and place differ": file_with({"a": entry(shape=[3])}),
    "three offsets": file_with({"a": entry(data_offsets=[0, 4, 8])}),
    "backwards": file_with({"a": entry(data_offsets=[8, 0])}),
    "beyond the end": file_with(WHOLE, bytes(7)),
    "bytes left over": file_with(WHOLE, bytes(9)),
    "a gap": file_with({"a": entry(shape=[1], data_offsets=[4, 8])}),
    "overlap": file_with({"a": entry(), "b": entry(shape=[1], data_offsets=[4, 8])}),
}


@pytest.mark.parametrize("name", list(BAD))
def test_what_the_library_refuses_we_refuse(name: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BAD[name])
    with pytest.raises(ValueError, match=r"\w"):
        read_tensors(tmp_path / "a")
    if name != "a tensor twice":  # of which the library takes the last
        with pytest.raises(SafetensorError):
            load(BAD[name])


def test_a_deeply_nested_head_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(file_with(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"))
    with pytest.raises(ValueError, match="nested too deeply"):
        read_tensors(tmp_path / "a")


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damage_is_a_value_error_or_a_whole_file(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Nothing else can come out of a file with some bytes changed or missing."""
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    content = bytearray(file_with({"__metadata__": {"k": "v"}, "a": entry(), "b": entry(data_offsets=[8, 16])}, bytes(16)))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        read = read_tensors(path)
    except ValueError:
        return
    assert all(isinstance(tensor, torch.Tensor) for tensor in read.tensors.values())
