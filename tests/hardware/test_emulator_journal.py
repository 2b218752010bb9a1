"""The journals: whole lines, one writer, and no trouble from a writer that was killed."""

from pathlib import Path

import pytest

from deepflash.errors import HardwareError
from deepflash.hardware.emulator.journal import Journal, read_journal


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new" / "lamps.jsonl")
    journal.append({"at_s": 1.5, "on": True})
    journal.append({"at_s": 2.0, "name": "Zoë\n"})
    assert read_journal(journal.path) == [{"at_s": 1.5, "on": True}, {"at_s": 2.0, "name": "Zoë\n"}]
    journal.close()


def test_a_journal_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "none.jsonl") == []


def test_a_line_torn_by_a_kill_is_left_out_and_the_next_writer_begins_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "lamps.jsonl"
    path.write_text('{"shot": 1}\n{"shot": 2, "obj')
    journal = Journal(path)
    journal.append({"shot": 3})
    assert read_journal(path) == [{"shot": 1}, {"shot": 3}]
    journal.close()


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    first = Journal(tmp_path / "lamps.jsonl")
    with pytest.raises(HardwareError, match="another emulated studio"):
        Journal(tmp_path / "lamps.jsonl", patience_s=0)
    first.close()
    Journal(tmp_path / "lamps.jsonl", patience_s=0).close()
