"""Child processes: what they say, how they end, and that nothing waits for ever."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deepflash.hardware.child import Child, ChildGoneError, ChildSilentError

ECHO = """
import sys
for line in sys.stdin:
    print(line, end="", flush=True)
"""

Start = Callable[[str], Child]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return what starts a child that runs the given program."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with ExitStack() as stack:

        def start(program: str) -> Child:
            (tmp_path / "a_child.py").write_text(program)
            child = Child("a_child", [])
            stack.callback(child.close, 0.0)
            return child

        yield start


def soon() -> float:
    return time.monotonic() + 20


def test_messages_arrive_whole_and_in_order_whatever_their_size(start: Start) -> None:
    child = start(ECHO)
    messages: list[dict[str, Any]] = [{"number": 1}, {"long": "é" * 20_000}, {"number": 3}]

    for message in messages:
        child.send(message)

    assert [child.receive(soon()) for _ in messages] == messages


def test_a_child_that_says_nothing_is_given_up_at_the_deadline(start: Start) -> None:
    child = start(ECHO)

    with pytest.raises(ChildSilentError, match="a_child did not answer in time"):
        child.receive(time.monotonic() + 0.05)


def test_what_a_child_said_before_it_ended_is_received_and_then_its_last_words_are_told(start: Start) -> None:
    child = start('print("{}", flush=True); raise RuntimeError("the film tore")')

    assert child.receive(soon()) == {}
    with pytest.raises(ChildGoneError, match="a_child has ended: RuntimeError: the film tore"):
        child.receive(soon())


def test_telling_a_child_that_has_ended_is_an_error(start: Start) -> None:
    child = start("")
    until_s = soon()

    with pytest.raises(ChildGoneError, match="a_child has ended"):  # noqa: PT012 - it ends a moment after its start
        while time.monotonic() < until_s:
            child.send({})
            time.sleep(0.01)


def test_a_child_that_does_not_end_when_asked_to_is_killed(start: Start) -> None:
    child = start('import time; print("{}", flush=True); time.sleep(600)')
    child.receive(soon())

    child.close(grace_s=0.05)

    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_a_child_is_out_of_reach_of_the_terminals_ctrl_c(start: Start) -> None:
    child = start(ECHO)

    assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
