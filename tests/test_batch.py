"""Batch work: one outcome for each unit, whatever dies."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepflash.batch import in_part, run_all
from deepflash.errors import PairError


def work(unit: int | str) -> int:
    """The unit of work of these tests: squares numbers, and misbehaves when asked to."""
    if unit == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if unit == "refuse":
        raise PairError("refuse.jpg is no good; replace the file")
    if unit == "bug":
        raise KeyError("a programmer's error")
    if isinstance(unit, str) and unit.startswith("once "):
        marker = Path(unit.removeprefix("once "))
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 1
    return int(unit) ** 2


def test_nothing_vanishes_when_a_unit_kills_its_worker_and_another_refuses() -> None:
    units = [1, 2, "die", 3, "refuse", *range(4, 12)]

    outcomes = list(run_all(work, units, workers=2))

    assert [outcome.unit for outcome in outcomes] == units
    errors = {outcome.unit: outcome.error for outcome in outcomes if outcome.error}
    assert errors.keys() == {"die", "refuse"}
    assert "died 3 times" in (errors["die"] or "")
    assert errors["refuse"] == "refuse.jpg is no good; replace the file"
    assert [outcome.value for outcome in outcomes if outcome.error is None] == [
        unit**2 for unit in units if isinstance(unit, int)
    ]


def test_a_worker_that_dies_once_costs_no_unit(tmp_path: Path) -> None:
    units = [1, f"once {tmp_path / 'marker'}", 2]

    assert [outcome.value for outcome in run_all(work, units, workers=1)] == [1, 1, 4]


def test_the_number_of_workers_changes_nothing() -> None:
    units = [*range(7), "refuse"]

    assert list(run_all(work, units, workers=1)) == list(run_all(work, units, workers=3))


def test_a_programmers_error_ends_the_run_and_names_the_unit() -> None:
    with pytest.raises(KeyError) as caught:
        list(run_all(work, ["bug"], workers=1))
    assert caught.value.__notes__ == ["while working on bug"]


def test_every_finished_unit_is_reported() -> None:
    seen: list[tuple[int, int]] = []

    list(run_all(work, [1, 2, 3], workers=2, report=lambda done, total, note: seen.append((done, total))))

    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_no_units_are_no_work() -> None:
    assert list(run_all(work, [], workers=2)) == []


def test_what_was_set_aside_is_told_while_the_work_goes_on() -> None:
    notes: list[str] = []

    list(run_all(work, [1, "refuse", 2], workers=1, report=lambda done, total, note: notes.append(note)))

    assert (notes[0], notes[-1]) == ("", "1 set aside")
    assert notes == sorted(notes), "once told it stays; units that end together may be told in any order"


@given(names=st.sets(st.text(max_size=8)), parts=st.integers(1, 70))
def test_every_name_is_in_exactly_one_part(names: set[str], parts: int) -> None:
    for name in names:
        assert sum(in_part(name, (k, parts)) for k in range(1, parts + 1)) == 1


def test_parts_are_of_about_equal_size() -> None:
    """By the central limit: 1000 names of 8000 in each of 8 parts, with a standard deviation of 30."""
    sizes = [sum(in_part(f"S{number:04d}-a-1", (k, 8)) for number in range(8000)) for k in range(1, 9)]
    assert sum(sizes) == 8000
    assert all(abs(size - 1000) < 120 for size in sizes)


@pytest.mark.parametrize("part", [(0, 3), (4, 3), (-1, 3), (1, 0)])
def test_a_part_that_does_not_exist_is_refused(part: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        in_part("01", part)


def test_less_than_one_worker_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        list(run_all(work, [1], workers=0))


SLEEPER = """
import os, sys, time
from pathlib import Path
from deepflash.batch import run_all

def sleep(folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    list(run_all(sleep, [sys.argv[1]] * 8, workers=2))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_caller(tmp_path: Path, how: signal.Signals) -> None:
    """An interrupt ends the run without waiting for running units; not even SIGKILL leaves a worker behind."""
    script = tmp_path / "sleeper.py"
    script.write_text(SLEEPER)
    started = tmp_path / "started"
    started.mkdir()
    caller = subprocess.Popen([sys.executable, str(script), str(started)], stderr=subprocess.DEVNULL)
    _until(lambda: len(list(started.iterdir())) == 2)

    caller.send_signal(how)

    assert caller.wait(timeout=30) != 0
    workers = [int(path.name) for path in started.iterdir()]
    _until(lambda: not any(_is_running(pid) for pid in workers))
    assert Counter(path.parent for path in started.iterdir())[started] == 2, "no further unit was begun"


def _until(condition, timeout_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
