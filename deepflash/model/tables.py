"""An evaluation as files: Markdown for a paper or an issue, CSV for a spreadsheet, JSON for programs, HTML to look at."""

import csv
import html
import io
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from string import Template

import cv2
import numpy as np

from deepflash.files import write_durably, write_json
from deepflash.model.cost import Cost
from deepflash.model.intervals import Interval
from deepflash.model.measures import TRUTHS, Evaluation, Measure, Truth, WorstPair
from deepflash.model.metrics import scales_for
from deepflash.pictures import Picture, encode, jpeg_base64

_TEMPLATE = files("deepflash.model") / "evaluation.html"
_LISTED_PAIRS = 8
_LEAST_TILE_PX = 256
_LABEL_PX = 40
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5
_PLOTTED = ("psnr", "ssim", "delta_e")
_PLOT_WIDTH, _PLOT_LEFT, _PLOT_RIGHT, _PLOT_TOP, _PLOT_ROW = 460, 170, 400, 34, 26  # in the plot's own units
_PLOT_LETTERS = 22  # of a name, to the left of the plot


def write_tables(evaluation: Evaluation, folder: Path) -> None:
    """Write an evaluation into a folder; what an earlier one left there is replaced.

    - `evaluation.md`, `evaluation.html`: tables of the means with their intervals, differences, costs, the worst pairs;
    - `evaluation.csv`: a line for every system, truth and measure;
    - `pairs.csv`: a line for every system, truth and pair;
    - `evaluation.json`: all of it;
    - `worst/NN-KEY.png`: what each system made of the worst pairs, beside both truths.
    """
    strips = {f"{number:02d}-{pair.key}.png": _strip(pair) for number, pair in enumerate(evaluation.worst, start=1)}
    for name, strip in strips.items():
        write_durably(folder / "worst" / name, encode(strip, ".png"))
    for stale in (folder / "worst").glob("[0-9][0-9]-*.png"):
        if stale.name not in strips:
            stale.unlink()
    write_durably(folder / "pairs.csv", _pairs_csv(evaluation))
    write_durably(folder / "evaluation.csv", _means_csv(evaluation))
    write_durably(folder / "evaluation.md", markdown(evaluation))
    write_durably(folder / "evaluation.html", page(evaluation))
    write_json(folder / "evaluation.json", evaluation.as_dict())


def text(evaluation: Evaluation) -> str:
    """Return the means, costs and worst pairs as plain text for a terminal."""
    method = evaluation.interval_method()
    with_intervals = evaluation.subjects > 1
    blocks = [f"{evaluation.title()}; {f'± is the longer half of a 95 % interval, {method}' if with_intervals else method}"]
    for truth, words in TRUTHS.items():
        head = [f"against {words}", *(_label(measure, evaluation) for measure in evaluation.measures)]
        rows = [
            [system.name, *(_plus_minus(measure, system.mean(truth)[measure.name]) for measure in evaluation.measures)]
            for system in evaluation.systems
        ]
        blocks.append(_aligned([head[:1], ["", *head[1:]], *rows]))
    costs = [[run.name, *_cost_cells(run.cost)] for run in evaluation.runs if run.cost]
    blocks.append(_aligned([["a picture costs", *_COST_LABELS], *costs]) + f"\non {evaluation.device}")
    worst = _by_psnr(evaluation)[:_LISTED_PAIRS]
    head = ["PSNR of the worst pairs, dB", *(system.name for system in evaluation.systems)]
    blocks.append(_aligned([head, *([key, *(f"{value:.2f}" for value in values)] for key, _, values in worst)]))
    blocks += [f"note: {note}" for note in evaluation.notes]
    return "\n\n".join(blocks)


def markdown(evaluation: Evaluation) -> str:
    """Return the tables in Markdown; the best value of a column is bold."""
    lines = ["# Evaluation", "", f"{evaluation.title()}. 95 % confidence intervals: {evaluation.interval_method()}.", ""]
    lines += [f"> **Note:** {note}." for note in evaluation.notes] + [""] * bool(evaluation.notes)
    for truth, words in TRUTHS.items():
        lines += [f"## Against {words}", "", *_markdown_table(_head(evaluation), _mean_rows(evaluation, truth)), ""]
    if len(evaluation.systems) > 1:
        first = evaluation.runs[0].name
        lines += [f"## Difference from {first}, against {TRUTHS['reconstructed']}", ""]
        lines += [*_markdown_table(_head(evaluation), _difference_rows(evaluation)), ""]
    lines += [f"## Cost of a picture of {evaluation.size} px", "", f"Filter included, on {evaluation.device}.", ""]
    costs = [[run.name, run.about, *_cost_cells(run.cost)] for run in evaluation.runs if run.cost]
    lines += [*_markdown_table(["run", "what it is", *_COST_LABELS], costs, words=2), ""]
    lines += [
        "## Every pair, worst first",
        "",
        f"PSNR in dB against {TRUTHS['reconstructed']}; `pairs.csv` has all measures.",
        "",
    ]
    pairs = [[key, subject, *(f"{value:.2f}" for value in values)] for key, subject, values in _by_psnr(evaluation)]
    lines += _markdown_table(["pair", "subject", *(system.name for system in evaluation.systems)], pairs, words=2)
    return "\n".join(lines) + "\n"


def page(evaluation: Evaluation) -> str:
    """Return the tables, a plot and the worst pairs as one HTML file that needs nothing else."""
    first = evaluation.runs[0]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(evaluation.title()),
        method=html.escape(evaluation.interval_method()),
        notes="".join(f'<p class="note" role="note">{html.escape(note)}.</p>' for note in evaluation.notes),
        plots="".join(_plot(evaluation, measure) for measure in evaluation.measures if measure.name in _PLOTTED),
        reconstructed=_html_table(_head(evaluation), _mean_rows(evaluation, "reconstructed")),
        studio=_html_table(_head(evaluation), _mean_rows(evaluation, "studio")),
        first=html.escape(first.name),
        difference=_html_table(_head(evaluation), _difference_rows(evaluation)),
        costs=_html_table(
            ["run", "what it is", *_COST_LABELS],
            [[run.name, run.about, *_cost_cells(run.cost)] for run in evaluation.runs if run.cost],
            words=2,
        ),
        device=html.escape(evaluation.device),
        size=evaluation.size,
        worst="".join(_worst_figure(pair) for pair in evaluation.worst),
        pairs=_html_table(
            ["pair", "subject", *(system.name for system in evaluation.systems)],
            [[key, subject, *(f"{value:.2f}" for value in values)] for key, subject, values in _by_psnr(evaluation)],
            words=2,
            sortable=True,
        ),
    )


_COST_LABELS = ("parameters", "GMAC", "ms")


def _cost_cells(cost: Cost | None) -> list[str]:
    if cost is None:
        return ["", "", ""]
    return [f"{cost.parameters / 1e6:.2f} M", f"{cost.multiply_accumulates / 1e9:.2f}", f"{cost.milliseconds:.1f}"]


def _label(measure: Measure, evaluation: Evaluation) -> str:
    unit = f" {measure.unit}" if measure.unit else ""
    scales = f" ({scales_for(evaluation.size)})" if measure.name == "ms_ssim" else ""
    return f"{measure.label}{scales}{unit} {'↑' if measure.more_is_better else '↓'}"


def _head(evaluation: Evaluation) -> list[str]:
    return ["system", *(_label(measure, evaluation) for measure in evaluation.measures)]


def _mean_rows(evaluation: Evaluation, truth: Truth) -> list[list[str]]:
    """Return name, then mean and interval of every measure; the best mean of all systems stands in asterisks."""
    means = [system.mean(truth) for system in evaluation.systems]
    rows = []
    for system, mean in zip(evaluation.systems, means, strict=True):
        cells = []
        for measure in evaluation.measures:
            best = (max if measure.more_is_better else min)(other[measure.name].mean for other in means)
            cells.append(_cell(measure, mean[measure.name], is_best=mean[measure.name].mean == best))
        rows.append([system.name, *cells])
    return rows


def _difference_rows(evaluation: Evaluation) -> list[list[str]]:
    first = evaluation.runs[0]
    rows = []
    for system in evaluation.systems:
        if system is not first:
            differences = system.difference(first, "reconstructed")
            rows.append([system.name, *(_signed_cell(measure, differences[measure.name]) for measure in evaluation.measures)])
    return rows


def _cell(measure: Measure, interval: Interval, *, is_best: bool) -> str:
    mean = f"**{measure.text(interval.mean)}**" if is_best else measure.text(interval.mean)
    if interval.low is None or interval.high is None:
        return mean
    return f"{mean} [{measure.text(interval.low)}, {measure.text(interval.high)}]"


def _signed_cell(measure: Measure, interval: Interval) -> str:
    def signed(value: float) -> str:
        return f"{value:+.{measure.digits}f}"

    if interval.low is None or interval.high is None:
        return signed(interval.mean)
    return f"{signed(interval.mean)} [{signed(interval.low)}, {signed(interval.high)}]"


def _plus_minus(measure: Measure, interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return measure.text(interval.mean)
    return f"{measure.text(interval.mean)} ±{measure.text(max(interval.high - interval.mean, interval.mean - interval.low))}"


def _by_psnr(evaluation: Evaluation) -> list[tuple[str, str, list[float]]]:
    """Return key, subject and every system's PSNR of each pair, the lowest mean of the runs first."""
    rows = []
    for number, pair in enumerate(evaluation.flash.pairs):
        values = [system.pairs[number].reconstructed.psnr for system in evaluation.systems]
        of_runs = fmean(run.pairs[number].reconstructed.psnr for run in evaluation.runs)
        rows.append((of_runs, pair.key, pair.subject, values))
    return [(key, subject, values) for _, key, subject, values in sorted(rows)]


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right. A row of one cell may be wider than its column."""
    whole = [row for row in rows if len(row) > 1]
    widths = [max(len(row[column]) for row in whole) for column in range(len(whole[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> list[str]:
    """Return a table's lines; the first columns hold words, the others numbers, to the right."""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in (head, rule, *rows)]


def _means_csv(evaluation: Evaluation) -> str:
    lines: list[list[object]] = [["system", "kind", "truth", "measure", "unit", "mean", "low", "high"]]
    for system in evaluation.systems:
        for truth in TRUTHS:
            means = system.mean(truth)
            for measure in evaluation.measures:
                interval = means[measure.name]
                values = (interval.mean, interval.low, interval.high)
                lines.append([system.name, system.kind, truth, measure.name, measure.unit, *values])
        if system.cost:
            cost = system.cost
            for name, unit, value in (
                ("parameters", "", cost.parameters),
                ("multiply_accumulates", "", cost.multiply_accumulates),
                ("time", "ms", cost.milliseconds),
            ):
                lines.append([system.name, system.kind, "", name, unit, value, None, None])
    return _csv(lines)


def _pairs_csv(evaluation: Evaluation) -> str:
    names = [measure.name for measure in evaluation.measures]
    lines: list[list[object]] = [["system", "kind", "key", "subject", "truth", *names]]
    for system in evaluation.systems:
        for pair in system.pairs:
            for truth in TRUTHS:
                values = [getattr(pair.against(truth), name) for name in names]
                lines.append([system.name, system.kind, pair.key, pair.subject, truth, *values])
    return _csv(lines)


def _csv(lines: Iterable[Iterable[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()


def _html_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1, sortable: bool = False) -> str:
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


def _html_cell(cell: str) -> str:
    value, bracket, interval = cell.partition(" [")
    shown = f"<b>{html.escape(value.strip('*'))}</b>" if value.startswith("**") else html.escape(value)
    return f"{shown} <small>[{html.escape(interval)}</small>" if bracket else shown


def _plot(evaluation: Evaluation, measure: Measure) -> str:
    """Draw the means as dots and their intervals as lines, a row for each system; an end that is not shown has no cap."""
    intervals = [system.mean("reconstructed")[measure.name] for system in evaluation.systems]
    low, high = _shown_range(measure, intervals)

    def x(value: float) -> float:
        return _PLOT_LEFT + (_PLOT_RIGHT - _PLOT_LEFT) * (value - low) / (high - low)

    drawn = []
    for number, (system, one) in enumerate(zip(evaluation.systems, intervals, strict=True)):
        y = _PLOT_TOP + _PLOT_ROW * number
        name = system.name if len(system.name) <= _PLOT_LETTERS else f"{system.name[: _PLOT_LETTERS - 1]}…"
        drawn.append(f'<text x="{_PLOT_LEFT - 12}" y="{y + 4}" class="name">{html.escape(name)}</text>')
        if one.low is not None and one.high is not None:
            ends = [x(max(low, one.low)), x(min(high, one.high))]
            path = f"M{ends[0]:.1f} {y}H{ends[1]:.1f}"
            path += "".join(f"M{x(end):.1f} {y - 5}v10" for end in (one.low, one.high) if low <= end <= high)
            drawn.append(f'<path d="{path}" class="{system.kind}"/>')
        drawn.append(f'<circle cx="{x(one.mean):.1f}" cy="{y}" r="5" class="{system.kind}"/>')
        drawn.append(f'<text x="{_PLOT_RIGHT + 12}" y="{y + 4}">{measure.text(one.mean)}</text>')
    height = _PLOT_TOP + _PLOT_ROW * len(intervals)
    label = html.escape(_label(measure, evaluation))
    return (
        f'<svg viewBox="0 0 {_PLOT_WIDTH} {height}" role="img" aria-label="{label}: means and intervals, as in the table">'
        f'<text x="0" y="12" class="label">{label}</text>{"".join(drawn)}</svg>'
    )


def _shown_range(measure: Measure, intervals: Sequence[Interval]) -> tuple[float, float]:
    """Return the range of the axis: all the intervals, but not far beyond the means, where those of two subjects reach."""
    means = [one.mean for one in intervals]
    spread = (max(means) - min(means)) or 10.0**-measure.digits
    ends = [end for one in intervals for end in (one.mean, one.low, one.high) if end is not None]
    return max(min(ends), min(means) - spread / 2), min(max(ends), max(means) + spread / 2) + 1e-9


def _worst_figure(pair: WorstPair) -> str:
    captions = {label: html.escape(_caption(pair, label)) for label in pair.pictures}
    tiles = "".join(
        f"<figure>{_image(picture, f'{pair.key}: {label}')}<figcaption>{captions[label]}</figcaption></figure>"
        for label, picture in pair.pictures.items()
    )
    return f'<h3>{html.escape(pair.key)}</h3><div class="tiles">{tiles}</div>'


def _caption(pair: WorstPair, label: str) -> str:
    return f"{label}, {pair.psnr[label]:.2f} dB" if label in pair.psnr else label


def _image(picture: Picture, description: str) -> str:
    height, width = picture.shape[:2]
    source = f"data:image/jpeg;base64,{jpeg_base64(picture, quality=90)}"
    return f'<img src="{source}" width="{width}" height="{height}" loading="lazy" alt="{html.escape(description)}">'


def _strip(pair: WorstPair) -> Picture:
    """Put the pictures side by side, each with its label above."""
    return np.concatenate([_labelled(picture, _caption(pair, label)) for label, picture in pair.pictures.items()], axis=1)


def _labelled(picture: Picture, label: str) -> Picture:
    side = max(_LEAST_TILE_PX, len(picture))
    enlarged = cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC) if side > len(picture) else picture
    tile = np.full((side + _LABEL_PX, side, 3), 255, dtype=np.uint8)
    tile[_LABEL_PX:] = enlarged
    shown = _shortened(label, side - 12)
    width, height = _size_of(shown)
    place = ((side - width) // 2, (_LABEL_PX + height) // 2)  # where the letters' base line begins
    return np.asarray(cv2.putText(tile, shown, place, _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA), dtype=np.uint8)


def _shortened(label: str, width: int) -> str:
    """Cut a label's middle out until it fits."""
    shown, kept = label, len(label)
    while _size_of(shown)[0] > width and kept > 8:
        kept -= 1
        shown = f"{label[: kept // 2]}...{label[-(kept - kept // 2) :]}"
    return shown


def _size_of(label: str) -> tuple[int, int]:
    """Return a label's width and height in pixels."""
    (width, height), _ = cv2.getTextSize(label, _FONT, _FONT_SCALE, 1)
    return width, height
