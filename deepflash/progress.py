"""Progress of long work: a bar when a person watches, plain lines when not. Always on stderr."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec

Report = Callable[[int, int, str], None]
"""Called by long work as `report(done, total, note)`; the note is a few words, or empty."""

_PLAIN_LINE_EVERY_S = 10.0
_BESIDE_THE_NOTE = 45  # columns of a terminal: label 10, bar 4, count 11, two times 7 each, gaps
_LOOK_BACK_S = 120.0  # the time left follows the speed of late: what an earlier run finished flies past


def silent(done: int, total: int, note: str = "") -> None:
    """Report nothing."""


@contextmanager
def shown(label: str) -> Iterator[Report]:
    """Yield a `Report` that shows `label` with what is done: a bar on a terminal (if rich is there), else a line every 10 s."""
    if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and find_spec("rich"):
        with _bar(label) as report:
            yield report
    else:
        yield _plain_lines(label)


@contextmanager
def _bar(label: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.table import Column

    console = Console(stderr=True)
    whole = Column(no_wrap=True)  # what shrinks on a narrow terminal is the bar, and then the note
    note = Column(no_wrap=True, max_width=max(console.width - _BESIDE_THE_NOTE, 1))
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(table_column=whole),
        TimeElapsedColumn(table_column=whole),
        TimeRemainingColumn(table_column=whole),
        TextColumn("{task.fields[note]}", table_column=note),
    )
    with Progress(*columns, console=console, speed_estimate_period=_LOOK_BACK_S) as progress:
        task = progress.add_task(label, total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield report


def _plain_lines(label: str) -> Report:
    lines: deque[tuple[float, int]] = deque()  # when, and what was done

    def report(done: int, total: int, note: str = "") -> None:
        now_s = time.monotonic()
        if lines and now_s - lines[-1][0] < _PLAIN_LINE_EVERY_S and done != total:
            return
        lines.append((now_s, done))
        while lines[0][0] < now_s - _LOOK_BACK_S and len(lines) > 2:
            lines.popleft()
        parts = (f"{label}: {done}/{total} {note}".rstrip(), _time_left(lines, total))
        with suppress(OSError, ValueError):  # a log that cannot be written (pipe gone, disk full) is no reason to stop
            print(", ".join(part for part in parts if part), file=sys.stderr, flush=True)

    return report


def _time_left(lines: Sequence[tuple[float, int]], total: int) -> str:
    """Say how long the rest takes at the speed of late; nothing where that is not known, or nothing is left."""
    (first_s, first), (last_s, last) = lines[0], lines[-1]
    if last <= first or last >= total:
        return ""
    left_s = (last_s - first_s) / (last - first) * (total - last)
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if left_s >= 1.5 * unit_s:
            return f"about {left_s / unit_s:.0f} {unit} left"
    return f"about {left_s:.0f} s left"
