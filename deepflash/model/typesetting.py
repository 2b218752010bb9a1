"""How tables, plots and pictures are set: what evaluation and comparison have in common."""

import csv
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from string import Template

from deepflash.model.cost import Cost
from deepflash.model.intervals import Interval
from deepflash.model.measures import Measure, Scored, Truth
from deepflash.model.metrics import scales_for
from deepflash.pictures import Picture, jpeg_base64

COST_LABELS = ("parameters", "GMAC", "ms")

_PLOT_WIDTH, _PLOT_LEFT, _PLOT_RIGHT, _PLOT_TOP, _PLOT_ROW = 410, 150, 350, 34, 26  # in the plot's own units
_PLOT_LETTERS = 20  # of a name, to the left of the plot


def html_page(kind: str, title: str, notes: Iterable[str], **parts: str) -> str:
    """Return an HTML file that needs nothing else: the template `KIND.html`, filled with parts that are HTML, as a page."""
    noted = "".join(f'<p class="note" role="note">{html.escape(note)}.</p>' for note in notes)
    body = Template(_resource(f"{kind}.html")).substitute(parts, notes=noted)
    return Template(_resource("page.html")).substitute(
        kind=kind, heading=kind.capitalize(), style=_resource("tables.css"), title=html.escape(title), body=body
    )


def label(measure: Measure, size: int) -> str:
    """Return a measure's name and unit, and whether more or less is better; `size` decides the scales of MS-SSIM."""
    unit = f" {measure.unit}" if measure.unit else ""
    scales = f" ({scales_for(size)})" if measure.name == "ms_ssim" else ""
    return f"{measure.label}{scales}{unit} {'↑' if measure.more_is_better else '↓'}"


def cost_cells(cost: Cost | None) -> list[str]:
    """Return what stands below `COST_LABELS`."""
    if cost is None:
        return ["", "", ""]
    return [f"{cost.parameters / 1e6:.2f} M", f"{cost.multiply_accumulates / 1e9:.2f}", f"{cost.milliseconds:.1f}"]


def mean_cells(measure: Measure, intervals: Sequence[Interval], systems: Sequence[Scored]) -> list[str]:
    """Return mean and interval of every system; the best mean stands in asterisks. Who has seen the answers competes not."""
    competing = [one.mean for one, system in zip(intervals, systems, strict=True) if system.kind != "bound"]
    best = (max if measure.more_is_better else min)(competing)
    return [
        _cell(measure, one, is_best=one.mean == best and system.kind != "bound")
        for one, system in zip(intervals, systems, strict=True)
    ]


def signed_cell(measure: Measure, interval: Interval) -> str:
    """Return a difference with its interval."""

    def signed(value: float) -> str:
        return f"{value:+.{measure.digits}f}"

    if interval.low is None or interval.high is None:
        return signed(interval.mean)
    return f"{signed(interval.mean)} [{signed(interval.low)}, {signed(interval.high)}]"


def plus_minus(measure: Measure, interval: Interval) -> str:
    """Return a mean with the longer half of its interval."""
    if interval.low is None or interval.high is None:
        return measure.text(interval.mean)
    return f"{measure.text(interval.mean)} ±{measure.text(max(interval.high - interval.mean, interval.mean - interval.low))}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right. A row of one cell may be wider than its column."""
    whole = [row for row in rows if len(row) > 1]
    widths = [max(len(row[column]) for row in whole) for column in range(len(whole[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> list[str]:
    """Return a table's lines; the first columns hold words, the others numbers, to the right."""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in (head, rule, *rows)]


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1, sortable: bool = False) -> str:
    """Return a table; the first columns hold words, the others numbers, to the right."""
    kinds = ["words"] * words + ["number"] * (len(head) - words)
    labels = [f"<button>{html.escape(label)}</button>" if sortable else html.escape(label) for label in head]
    cells = "".join(f'<th scope="col" class="{kind}">{label}</th>' for kind, label in zip(kinds, labels, strict=True))
    body = ""
    for name, *rest in rows:
        values = "".join(f'<td class="{kind}">{_html_cell(cell)}</td>' for kind, cell in zip(kinds[1:], rest, strict=True))
        body += f'<tr><th scope="row" class="words">{html.escape(name)}</th>{values}</tr>'
    kind = ' class="sortable"' if sortable else ""
    return f'<div class="scroll" tabindex="0"><table{kind}><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def csv_text(lines: Iterable[Iterable[object]]) -> str:
    """Return lines as CSV."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()


def plot(systems: Sequence[Scored], measure: Measure, title: str, truth: Truth = "reconstructed") -> str:
    """Draw the means as dots and their intervals as lines, a row for each system; an end that is not shown has no cap."""
    intervals = [system.mean(truth)[measure.name] for system in systems]
    low, high = _shown_range(measure, intervals)

    def x(value: float) -> float:
        return _PLOT_LEFT + (_PLOT_RIGHT - _PLOT_LEFT) * (value - low) / (high - low)

    drawn = []
    for number, (system, one) in enumerate(zip(systems, intervals, strict=True)):
        y = _PLOT_TOP + _PLOT_ROW * number
        drawn.append(f'<text x="{_PLOT_LEFT - 12}" y="{y + 4}" class="name">{html.escape(_shortened(system.name))}</text>')
        if one.low is not None and one.high is not None:
            ends = [x(max(low, one.low)), x(min(high, one.high))]
            path = f"M{ends[0]:.1f} {y}H{ends[1]:.1f}"
            path += "".join(f"M{x(end):.1f} {y - 5}v10" for end in (one.low, one.high) if low <= end <= high)
            drawn.append(f'<path d="{path}" class="{system.kind}"/>')
        drawn.append(f'<circle cx="{x(one.mean):.1f}" cy="{y}" r="5" class="{system.kind}"/>')
        drawn.append(f'<text x="{_PLOT_RIGHT + 12}" y="{y + 4}">{measure.text(one.mean)}</text>')
    height = _PLOT_TOP + _PLOT_ROW * len(intervals)
    shown = html.escape(title)
    return (
        f'<svg viewBox="0 0 {_PLOT_WIDTH} {height}" role="img" aria-label="{shown}: means and intervals, as in the table">'
        f'<text x="0" y="12" class="label">{shown}</text>{"".join(drawn)}</svg>'
    )


def tiles(pictures: Mapping[str, tuple[Picture, str]], of: str) -> str:
    """Return pictures side by side, each by its label with its caption."""
    figures = "".join(
        f"<figure>{_image(picture, f'{of}: {label}')}<figcaption>{html.escape(caption)}</figcaption></figure>"
        for label, (picture, caption) in pictures.items()
    )
    return f'<h3>{html.escape(of)}</h3><div class="tiles">{figures}</div>'


def _resource(name: str) -> str:
    return (files("deepflash.model") / name).read_text(encoding="utf-8")


def _image(picture: Picture, description: str) -> str:
    height, width = picture.shape[:2]
    source = f"data:image/jpeg;base64,{jpeg_base64(picture, quality=90)}"
    return f'<img src="{source}" width="{width}" height="{height}" loading="lazy" alt="{html.escape(description)}">'


def _cell(measure: Measure, interval: Interval, *, is_best: bool) -> str:
    mean = f"**{measure.text(interval.mean)}**" if is_best else measure.text(interval.mean)
    if interval.low is None or interval.high is None:
        return mean
    return f"{mean} [{measure.text(interval.low)}, {measure.text(interval.high)}]"


def _html_cell(cell: str) -> str:
    value, bracket, interval = cell.partition(" [")
    shown = f"<b>{html.escape(value.strip('*'))}</b>" if value.startswith("**") else html.escape(value)
    return f"{shown} <small>[{html.escape(interval)}</small>" if bracket else shown


def _shortened(name: str) -> str:
    """Cut a name's middle out if it is too long for a plot: names differ at their ends, paths at the last."""
    kept = _PLOT_LETTERS - 1
    return name if len(name) <= _PLOT_LETTERS else f"{name[: kept // 3]}…{name[-(kept - kept // 3) :]}"


def _shown_range(measure: Measure, intervals: Sequence[Interval]) -> tuple[float, float]:
    """Return the range of the axis: all the intervals, but not far beyond the means, where those of two subjects reach."""
    means = [one.mean for one in intervals]
    spread = (max(means) - min(means)) or 10.0**-measure.digits
    ends = [end for one in intervals for end in (one.mean, one.low, one.high) if end is not None]
    return max(min(ends), min(means) - spread / 2), min(max(ends), max(means) + spread / 2) + 1e-9
