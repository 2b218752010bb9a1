"""A comparison as files: tables in the form of the paper's tables 1 to 3, and figures of input, systems and truth.

The paper's tables 2 and 3 set two systems side by side, on 30 random pictures of each set. Here everybody stands in one table,
on those and on the whole sets; then the first run stands beside each other one as in the paper.
"""

import html
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deepflash.files import write_durably, write_json
from deepflash.model.intervals import LEVEL
from deepflash.model.measures import MEASURES, TRUTHS, Evaluation, Measure, Scored, ShownPair, Truth
from deepflash.model.metrics import scales_for
from deepflash.model.sheets import sheet_of, tile
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

COMPARISON_FORMAT = 1
SETS = {"train": "training", "val": "validation", "test": "test"}
"""Splits, and what the paper calls them."""

_MEASURE = {measure.name: measure for measure in MEASURES}
_TABLE_1, _TABLES_2_AND_3 = ("loss", "accuracy"), ("ssim", "psnr")


@dataclass(frozen=True)
class ComparedSet:
    """What was measured on a split.

    Attributes
    ----------
    whole
        On all its pairs.
    sample
        On a random sample of them.
    shown
        Some pairs of the sample, to look at.
    """

    whole: Evaluation
    sample: Evaluation
    shown: tuple[ShownPair, ...] = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        """What the paper calls the set."""
        return SETS[self.whole.split]

    @property
    def is_sampled(self) -> bool:
        """Whether the sample is less than the whole."""
        return len(self.sample.flash.pairs) < len(self.whole.flash.pairs)

    def sample_in_words(self) -> str:
        """Say how many pairs of how many are in the sample."""
        of = f"{len(self.whole.flash.pairs)} pairs"
        return (
            f"{len(self.sample.flash.pairs)} of {of}"
            if self.is_sampled
            else f"all {of}"
            if len(self.whole.flash.pairs) > 1
            else "the only pair"
        )


@dataclass(frozen=True)
class Comparison:
    """Systems measured on every set.

    Attributes
    ----------
    seed
        Of the samples.
    sets
        In the order of `SETS`; the same systems in each.
    notes
        What a reader of the tables has to know, beside the notes of each set.
    """

    seed: int
    sets: tuple[ComparedSet, ...]
    notes: tuple[str, ...] = ()

    @property
    def last(self) -> Evaluation:
        """The whole test set, if there is one."""
        return self.sets[-1].whole

    @property
    def all_notes(self) -> list[str]:
        """All notes, each with the set that it belongs to."""
        return [*self.notes, *(f"{one.name}: {note}" for one in self.sets for note in one.whole.notes)]

    def title(self) -> str:
        """Say in a line what was measured."""
        counted = [f"{one.name}: {one.whole.counted()}" for one in self.sets]
        return f"{'; '.join(counted)}; {self.last.size} px, un-augmented"

    def as_dict(self) -> dict[str, Any]:
        """Return all but the pictures and the single pairs, ready for JSON."""
        return {
            "format": COMPARISON_FORMAT,
            "dataset": self.last.dataset,
            "size": self.last.size,
            "ms_ssim_scales": scales_for(self.last.size),
            "device": self.last.device,
            "seed": self.seed,
            "interval_level": LEVEL,
            "notes": self.all_notes,
            "sets": [_set_as_dict(one) for one in self.sets],
        }


@dataclass(frozen=True)
class _Table:
    title: str
    about: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write a comparison into a folder; what an earlier one left there is replaced.

    - `comparison.md`, `comparison.html`: the tables; the page shows the figures, too;
    - `comparison.csv`: a line for every set, sample, system, truth and measure;
    - `comparison.json`: the same for programs, with the keys of the sampled pairs;
    - `figure-SPLIT.png`: input, each system and the truth, side by side.
    """
    for split in SETS:
        figure = folder / f"figure-{split}.png"
        of_split = [one for one in comparison.sets if one.whole.split == split and one.shown]
        if of_split:
            write_durably(figure, encode(_figure(of_split[0]), ".png"))
        else:
            figure.unlink(missing_ok=True)
    tables = list(_tables(comparison))
    write_durably(folder / "comparison.md", _markdown(comparison, tables))
    write_durably(folder / "comparison.html", _page(comparison, tables))
    write_durably(folder / "comparison.csv", _means_csv(comparison))
    write_json(folder / "comparison.json", comparison.as_dict())


def text(comparison: Comparison) -> str:
    """Return SSIM and PSNR of every set as plain text for a terminal."""
    blocks = [f"{comparison.title()}; ± is the longer half of a 95 % interval over subjects"]
    for truth, words in TRUTHS.items():
        columns = [(one, _MEASURE[name]) for name in _TABLES_2_AND_3 for one in comparison.sets]
        head = ["", *(f"{measure.label} {one.name}" for one, measure in columns)]
        rows = [
            [system.name, *(plus_minus(measure, _mean(one.whole, number, truth, measure)) for one, measure in columns)]
            for number, system in enumerate(comparison.last.systems)
        ]
        blocks.append(aligned([[f"against {words}, whole sets"], head, *rows]))
    return "\n\n".join([*blocks, *(f"note: {note}" for note in comparison.all_notes)])


def _tables(comparison: Comparison) -> Iterator[_Table]:
    sampled = ", ".join(f"{one.name} {one.sample_in_words()}" for one in comparison.sets)
    truth = f"Against {TRUTHS['reconstructed']}"
    yield _Table(
        "Table 1: loss and accuracy",
        f"{truth}, whole sets. The loss is the paper's (equation 5), measured of every system's portraits alike, whatever it"
        " was trained with; accuracy is equation 7.",
        *_by_system(comparison, _TABLE_1, "reconstructed", sampled=False),
    )
    yield _Table(
        "Tables 2 and 3: SSIM and PSNR of a random sample",
        f"{truth}; {sampled}, drawn with seed {comparison.seed}.",
        *_by_system(comparison, _TABLES_2_AND_3, "reconstructed", sampled=True),
    )
    yield _Table(
        "SSIM and PSNR of the whole sets", f"{truth}.", *_by_system(comparison, _TABLES_2_AND_3, "reconstructed", sampled=False)
    )
    yield _Table(
        "The same against the studio picture itself",
        "Whole sets. Hair, eyes and lips move between the two photographs, so nothing can reach it entirely.",
        *_by_system(comparison, _TABLES_2_AND_3, "studio", sampled=False),
    )
    for number, system in enumerate(comparison.last.systems):
        first = comparison.last.runs[0]
        if system.kind == "run" and system is not first:
            yield _Table(
                f"{first.name} and {system.name}",
                f"In the form of the paper's tables 2 and 3, with the difference subject by subject. {truth}.",
                *_in_pairs(comparison, number),
            )


def _by_system(
    comparison: Comparison, names: Sequence[str], truth: Truth, *, sampled: bool
) -> tuple[list[str], list[list[str]]]:
    """Return head and rows: a row for each system, and of each measure a column for each set."""
    head, columns = ["system"], []
    for measure in (_MEASURE[name] for name in names):
        for one in comparison.sets:
            evaluation = one.sample if sampled else one.whole
            head.append(f"{one.name} {label(measure, evaluation.size)}")
            means = [_mean(evaluation, number, truth, measure) for number in range(len(evaluation.systems))]
            columns.append(mean_cells(measure, means, evaluation.systems))
    return head, [[system.name, *cells] for system, *cells in zip(comparison.last.systems, *columns, strict=True)]


def _in_pairs(comparison: Comparison, other: int) -> tuple[list[str], list[list[str]]]:
    """Return head and rows: sets one below the other, the first run beside another system, and what that gains."""
    measures = [_MEASURE[name] for name in _TABLES_2_AND_3]
    first = comparison.last.runs[0].name
    names = (first, comparison.last.systems[other].name)
    head = ["set", *(f"{name} {measure.label}" for measure in measures for name in names)]
    head += [f"difference in {measure.label}" for measure in measures]
    rows = []
    for one in comparison.sets:
        both = ((one.sample, one.sample_in_words()), (one.whole, "whole"))
        for evaluation, words in both if one.is_sampled else both[:1]:
            pair = evaluation.runs[0], evaluation.systems[other]
            means = [system.mean("reconstructed") for system in pair]
            gain = pair[0].difference(pair[1], "reconstructed")
            cells = [measure.text(mean[measure.name].mean) for measure in measures for mean in means]
            rows.append([f"{one.name}, {words}", *cells, *(signed_cell(measure, gain[measure.name]) for measure in measures)])
    return head, rows


def _mean(evaluation: Evaluation, system: int, truth: Truth, measure: Measure) -> Any:
    return evaluation.systems[system].mean(truth)[measure.name]


def _markdown(comparison: Comparison, tables: Sequence[_Table]) -> str:
    lines = ["# Comparison", "", f"{comparison.title()}.", "", f"{_HOW_TO_READ} {_methods(comparison)}", ""]
    lines += [f"> **Note:** {note}.\n>" for note in comparison.all_notes] + [""]
    for table in tables:
        lines += [f"## {table.title}", "", table.about, "", *markdown_table(table.head, table.rows), ""]
    lines += ["## The systems", "", *markdown_table(_ABOUT_HEAD, _about_rows(comparison), words=2), ""]
    for one in comparison.sets:
        if one.shown:
            lines += [f"## Figure: {one.name}", "", f"![Input, each system, truth](figure-{one.whole.split}.png)", ""]
    return "\n".join(lines).rstrip() + "\n"


def _page(comparison: Comparison, tables: Sequence[_Table]) -> str:
    plots = "".join(
        plot(one.whole.systems, _MEASURE[name], f"{one.name}: {label(_MEASURE[name], one.whole.size)}")
        for name in reversed(_TABLES_2_AND_3)
        for one in comparison.sets
    )
    shown = "".join(
        f"<h2>{html.escape(table.title)}</h2><p>{html.escape(table.about)}</p>{html_table(table.head, table.rows)}"
        for table in tables
    )
    figures = "".join(
        f"<h2>Figure: {one.name}</h2><p>{_HOW_CHOSEN}</p>{''.join(_tiles(one, pair) for pair in one.shown)}"
        for one in reversed(comparison.sets)
        if one.shown
    )
    return html_page(
        "comparison",
        comparison.title(),
        comparison.all_notes,
        how_to_read=html.escape(f"{_HOW_TO_READ} {_methods(comparison)}"),
        plots=plots,
        figures=figures,
        tables=shown,
        systems=html_table(_ABOUT_HEAD, _about_rows(comparison), words=2),
        size=str(comparison.last.size),
        device=html.escape(comparison.last.device),
    )


_HOW_TO_READ = (
    "Means are over subjects, each person counting once; in brackets the 95 % confidence interval. An arrow says whether more"
    " or less is better; the best of a column stands out, but for a system that has seen the answer. The people of the training"
    " set are those whom runs of this data set have seen."
)
_HOW_CHOSEN = (
    "The first pairs of the random sample, everybody's first before anybody's second; nobody chose them by their looks."
)
_ABOUT_HEAD = ["system", "what it is", *COST_LABELS]


def _methods(comparison: Comparison) -> str:
    sets: dict[str, list[str]] = {}
    for one in comparison.sets:
        sets.setdefault(one.whole.interval_method(), []).append(one.name)
    return "Intervals: " + "; ".join(f"{method} ({', '.join(names)})" for method, names in sets.items()) + "."


def _about_rows(comparison: Comparison) -> list[list[str]]:
    return [[system.name, system.about, *cost_cells(system.cost)] for system in comparison.last.systems]


def _figure(one: ComparedSet) -> Picture:
    """Put input, each system and both truths beside each other, pair below pair."""
    groups = [
        [tile(picture, [name, _scores(one, pair, name)]) for name, picture in pair.pictures.items()] for pair in one.shown
    ]
    return sheet_of(groups, [f"{one.name}: {pair.key}" for pair in one.shown])


def _tiles(one: ComparedSet, pair: ShownPair) -> str:
    captions = {name: f"{name}, {_scores(one, pair, name)}".rstrip(", ") for name in pair.pictures}
    return tiles({name: (picture, captions[name]) for name, picture in pair.pictures.items()}, pair.key)


def _scores(one: ComparedSet, pair: ShownPair, name: str) -> str:
    """Return how near a system's portrait is to the reconstructed truth; nothing of a truth."""
    for system in one.whole.systems:
        if system.name == name:
            measured = next(measured for measured in system.pairs if measured.key == pair.key).reconstructed
            return f"{measured.psnr:.1f} dB, SSIM {measured.ssim:.3f}"
    return ""


def _set_as_dict(one: ComparedSet) -> dict[str, Any]:
    return {
        "split": one.whole.split,
        "pairs": len(one.whole.flash.pairs),
        "subjects": one.whole.subjects,
        "sample": [pair.key for pair in one.sample.flash.pairs],
        "systems": [
            {
                "name": system.name,
                "kind": system.kind,
                "about": system.about,
                "cost": asdict(system.cost) if system.cost else None,
                "whole": _means(system, one.whole),
                "sample": _means(sampled, one.sample),
            }
            for system, sampled in zip(one.whole.systems, one.sample.systems, strict=True)
        ],
    }


def _means(system: Scored, evaluation: Evaluation) -> dict[str, Any]:
    first = evaluation.runs[0]
    return {
        truth: {
            "mean": {name: asdict(interval) for name, interval in system.mean(truth).items()},
            f"difference_from {first.name}": {
                name: asdict(interval) for name, interval in system.difference(first, truth).items()
            },
        }
        for truth in TRUTHS
    }


def _means_csv(comparison: Comparison) -> str:
    lines: list[list[object]] = [
        ["set", "pairs", "count", "subjects", "system", "kind", "truth", "measure", "unit", "mean", "low", "high"]
    ]
    for one in comparison.sets:
        for which, evaluation in (("whole", one.whole), ("sample", one.sample)):
            for system in evaluation.systems:
                about = [one.whole.split, which, len(system.pairs), evaluation.subjects, system.name, system.kind]
                for truth in TRUTHS:
                    for name, interval in system.mean(truth).items():
                        values = (interval.mean, interval.low, interval.high)
                        lines.append([*about, truth, name, _MEASURE[name].unit, *values])
    return csv_text(lines)
