"""An evaluation as files: Markdown for a paper or an issue, CSV for a spreadsheet, JSON for programs, HTML to look at."""

import html
from pathlib import Path
from statistics import fmean

from deepflash.files import write_durably, write_json
from deepflash.model.measures import TRUTHS, Evaluation, ShownPair, Truth
from deepflash.model.sheets import beside, tile
from deepflash.model.typesetting import (
    COST_LABELS,
    aligned,
    cost_cells,
    csv_text,
    html_page,
    html_table,
    label,
    markdown_table,
    mean_cells,
    plot,
    plus_minus,
    signed_cell,
    tiles,
)
from deepflash.pictures import Picture, encode

_LISTED_PAIRS = 8
_PLOTTED = ("psnr", "ssim", "delta_e")


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


def remove_tables(folder: Path) -> None:
    """Remove what `write_tables` wrote into a folder, and the folder if it held nothing else."""
    for name in ("pairs.csv", "evaluation.csv", "evaluation.md", "evaluation.html", "evaluation.json"):
        (folder / name).unlink(missing_ok=True)
    for strip in (folder / "worst").glob("[0-9][0-9]-*.png"):
        strip.unlink()
    for emptied in (folder / "worst", folder):
        if emptied.is_dir() and not any(emptied.iterdir()):
            emptied.rmdir()


def text(evaluation: Evaluation) -> str:
    """Return the means, costs and worst pairs as plain text for a terminal."""
    method = evaluation.interval_method()
    with_intervals = evaluation.subjects > 1
    blocks = [f"{evaluation.title()}; {f'± is the longer half of a 95 % interval, {method}' if with_intervals else method}"]
    for truth, words in TRUTHS.items():
        head = [f"against {words}", *(label(measure, evaluation.size) for measure in evaluation.measures)]
        rows = [
            [system.name, *(plus_minus(measure, system.mean(truth)[measure.name]) for measure in evaluation.measures)]
            for system in evaluation.systems
        ]
        blocks.append(aligned([head[:1], ["", *head[1:]], *rows]))
    costs = [[run.name, *cost_cells(run.cost)] for run in evaluation.runs if run.cost]
    blocks.append(aligned([["a picture costs", *COST_LABELS], *costs]) + f"\non {evaluation.device}")
    worst = _by_psnr(evaluation)[:_LISTED_PAIRS]
    head = ["PSNR of the worst pairs, dB", *(system.name for system in evaluation.systems)]
    blocks.append(aligned([head, *([key, *(f"{value:.2f}" for value in values)] for key, _, values in worst)]))
    blocks += [f"note: {note}" for note in evaluation.notes]
    return "\n\n".join(blocks)


def markdown(evaluation: Evaluation) -> str:
    """Return the tables in Markdown; the best value of a column is bold."""
    lines = ["# Evaluation", "", f"{evaluation.title()}. 95 % confidence intervals: {evaluation.interval_method()}.", ""]
    lines += [f"> **Note:** {note}." for note in evaluation.notes] + [""] * bool(evaluation.notes)
    for truth, words in TRUTHS.items():
        lines += [f"## Against {words}", "", *markdown_table(_head(evaluation), _mean_rows(evaluation, truth)), ""]
    if len(evaluation.systems) > 1:
        first = evaluation.runs[0].name
        lines += [f"## Difference from {first}, against {TRUTHS['reconstructed']}", ""]
        lines += [*markdown_table(_head(evaluation), _difference_rows(evaluation)), ""]
    lines += [f"## Cost of a picture of {evaluation.size} px", "", f"Filter included, on {evaluation.device}.", ""]
    costs = [[run.name, run.about, *cost_cells(run.cost)] for run in evaluation.runs if run.cost]
    lines += [*markdown_table(["run", "what it is", *COST_LABELS], costs, words=2), ""]
    lines += [
        "## Every pair, worst first",
        "",
        f"PSNR in dB against {TRUTHS['reconstructed']}; `pairs.csv` has all measures.",
        "",
    ]
    pairs = [[key, subject, *(f"{value:.2f}" for value in values)] for key, subject, values in _by_psnr(evaluation)]
    lines += markdown_table(["pair", "subject", *(system.name for system in evaluation.systems)], pairs, words=2)
    return "\n".join(lines) + "\n"


def page(evaluation: Evaluation) -> str:
    """Return the tables, a plot and the worst pairs as one HTML file that needs nothing else."""
    first = evaluation.runs[0]
    return html_page(
        "evaluation",
        evaluation.title(),
        evaluation.notes,
        method=html.escape(evaluation.interval_method()),
        but=", but for what has seen the answer" if any(system.kind == "bound" for system in evaluation.systems) else "",
        plots="".join(
            plot(evaluation.systems, measure, label(measure, evaluation.size))
            for measure in evaluation.measures
            if measure.name in _PLOTTED
        ),
        reconstructed=html_table(_head(evaluation), _mean_rows(evaluation, "reconstructed")),
        studio=html_table(_head(evaluation), _mean_rows(evaluation, "studio")),
        first=html.escape(first.name),
        difference=html_table(_head(evaluation), _difference_rows(evaluation)),
        costs=html_table(
            ["run", "what it is", *COST_LABELS],
            [[run.name, run.about, *cost_cells(run.cost)] for run in evaluation.runs if run.cost],
            words=2,
        ),
        device=html.escape(evaluation.device),
        size=str(evaluation.size),
        worst="".join(_worst_tiles(pair) for pair in evaluation.worst),
        pairs=html_table(
            ["pair", "subject", *(system.name for system in evaluation.systems)],
            [[key, subject, *(f"{value:.2f}" for value in values)] for key, subject, values in _by_psnr(evaluation)],
            words=2,
            sortable=True,
        ),
    )


def _head(evaluation: Evaluation) -> list[str]:
    return ["system", *(label(measure, evaluation.size) for measure in evaluation.measures)]


def _mean_rows(evaluation: Evaluation, truth: Truth) -> list[list[str]]:
    """Return name, then mean and interval of every measure; the best mean of all systems stands in asterisks."""
    means = [system.mean(truth) for system in evaluation.systems]
    columns = [
        mean_cells(measure, [mean[measure.name] for mean in means], evaluation.systems) for measure in evaluation.measures
    ]
    return [[system.name, *cells] for system, *cells in zip(evaluation.systems, *columns, strict=True)]


def _difference_rows(evaluation: Evaluation) -> list[list[str]]:
    first = evaluation.runs[0]
    rows = []
    for system in evaluation.systems:
        if system is not first:
            differences = system.difference(first, "reconstructed")
            rows.append([system.name, *(signed_cell(measure, differences[measure.name]) for measure in evaluation.measures)])
    return rows


def _by_psnr(evaluation: Evaluation) -> list[tuple[str, str, list[float]]]:
    """Return key, subject and every system's PSNR of each pair, the lowest mean of the runs first."""
    rows = []
    for number, pair in enumerate(evaluation.flash.pairs):
        values = [system.pairs[number].reconstructed.psnr for system in evaluation.systems]
        of_runs = fmean(run.pairs[number].reconstructed.psnr for run in evaluation.runs)
        rows.append((of_runs, pair.key, pair.subject, values))
    return [(key, subject, values) for _, key, subject, values in sorted(rows)]


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
    return csv_text(lines)


def _pairs_csv(evaluation: Evaluation) -> str:
    names = [measure.name for measure in evaluation.measures]
    lines: list[list[object]] = [["system", "kind", "key", "subject", "truth", *names]]
    for system in evaluation.systems:
        for pair in system.pairs:
            for truth in TRUTHS:
                values = [getattr(pair.against(truth), name) for name in names]
                lines.append([system.name, system.kind, pair.key, pair.subject, truth, *values])
    return csv_text(lines)


def _worst_tiles(pair: ShownPair) -> str:
    return tiles({label: (picture, _caption(pair, label)) for label, picture in pair.pictures.items()}, pair.key)


def _caption(pair: ShownPair, label: str) -> str:
    return f"{label}, {pair.psnr[label]:.2f} dB" if label in pair.psnr else label


def _strip(pair: ShownPair) -> Picture:
    """Put the pictures side by side, each with its label above."""
    labelled = [tile(picture, [_caption(pair, label)]) for label, picture in pair.pictures.items()]
    return beside(labelled, columns=len(labelled))
