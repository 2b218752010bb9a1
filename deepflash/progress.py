"""Progress of long work: a bar when a person watches, plain lines when not. Always on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Report = Callable[[int, int, str], None]
"""Called by long work as `report(done, total, note)`; the note is a few words, or empty."""

_PLAIN_LINE_EVERY_S = 10.0


def silent(done: int, total: int, note: str = "") -> None:
    """Report nothing."""


@contextmanager
def shown(label: str) -> Iterator[Report]:
    """Yield a `Report` that shows `label` with what is done: a bar on a terminal, else a line every 10 s."""
    if sys.stderr is not None and sys.stderr.isatty():
        with _bar(label) as report:
            yield report
    else:
        yield _plain_lines(label)


@contextmanager
def _bar(label: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield report


def _plain_lines(label: str) -> Report:
    last_s = -_PLAIN_LINE_EVERY_S

    def report(done: int, total: int, note: str = "") -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s >= _PLAIN_LINE_EVERY_S or done == total:
            last_s = now_s
            with suppress(OSError, ValueError):  # a log that cannot be written (pipe gone, disk full) is no reason to stop
                print(f"{label}: {done}/{total} {note}".rstrip(), file=sys.stderr, flush=True)

    return report
