"""Progress goes to stderr: lines that a log can hold when nobody watches, a bar on a terminal."""

import io
import re
import sys

import pytest

from deepflash import progress
from deepflash.progress import shown, silent


def test_nobody_watching_gets_the_first_and_the_last_line_and_nothing_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with shown("align") as report:
        for done in range(101):
            report(done, 100, "S001" if done == 100 else "")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[0] == "align: 0/100"
    assert captured.err.splitlines()[-1] == "align: 100/100 S001"


def test_lines_come_no_more_often_than_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = iter([0.0, 4.0, 9.9, 10.0, 19.9, 20.1])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now_s))
    with shown("train") as report:
        for done in range(1, 7):
            report(done, 100, "")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["train: 1/100", "train: 4/100", "train: 6/100"]


def test_lines_say_how_long_the_rest_takes_at_the_speed_of_late(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine thousand pairs are skipped in ten seconds; then one takes a second. The last line has nothing left."""
    done_at_s = {0: 0.0, 9000: 10.0, **{9000 + second: 10.0 + second for second in (60, 120, 180, 240, 1000)}}
    now_s = iter(done_at_s.values())
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now_s))
    with shown("align") as report:
        for done in done_at_s:
            report(done, 10000, "1 set aside" if done > 9000 else "")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "align: 0/10000"
    assert lines[1] == "align: 9000/10000, about 1 s left"
    assert lines[-2] == "align: 9240/10000 1 set aside, about 13 min left"
    assert lines[-1] == "align: 10000/10000 1 set aside"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watched(monkeypatch: pytest.MonkeyPatch, columns: int = 120) -> Terminal:
    """Let stderr be a terminal for the rest of the test."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    return terminal


def test_a_terminal_gets_a_bar_with_the_note(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    with shown("align") as report:
        report(3, 8, "S001-a-03")
    assert "align" in terminal.getvalue()
    assert "3/8" in terminal.getvalue()
    assert "S001-a-03" in terminal.getvalue()


@pytest.mark.parametrize("columns", [60, 80])
def test_on_a_narrow_terminal_the_note_gives_way_to_the_numbers(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch, columns)
    with shown("train") as report:
        report(3, 500, "loss 0.02341, 14.3 pictures/s, 1.1 GB, and more words than there is room for")
    seen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue()).replace("\n", "\r").split("\r")
    assert max(map(len, seen)) <= columns
    assert re.search(r" 3/500 \d:\d\d:\d\d \S+ loss 0.02.*…", seen[-2])


@pytest.mark.parametrize("lacking", ["rich", "a cursor that moves"])
def test_a_terminal_that_can_show_no_bar_gets_lines(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch)
    if lacking == "rich":
        monkeypatch.setattr(progress, "find_spec", lambda name: None)
    else:
        monkeypatch.setenv("TERM", "dumb")
    with shown("train") as report:
        report(3, 8, "loss 0.1")
    assert terminal.getvalue() == "train: 3/8 loss 0.1\n"


def test_silence_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    silent(1, 2, "note")
    assert capsys.readouterr() == ("", "")
