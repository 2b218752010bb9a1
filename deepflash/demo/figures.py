"""The demo's figures: the training curve, and the contact sheet that tells the story in one picture."""

import io
import re
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase

from deepflash.demo.story import ShownPair, ShownPortrait, ShownRegistration, Story
from deepflash.pictures import Picture

INK, QUIET, ACCENT = "#20242b", "#626a76", "#b4501a"
_STAGES_SHOWN = 4
_PORTRAITS_SHOWN = 4
_PORTRAITS_A_ROW = 2


def training_curve_svg(story: Story) -> str:
    """Return the training curve as an SVG element."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    _draw_curve(figure.add_subplot(), story)
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    svg = text[text.index("<svg") :]
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)


def contact_sheet_png(story: Story) -> bytes:
    """Return the contact sheet as PNG: pairs, registration, training curve and results with figures."""
    portraits = story.portraits[:_PORTRAITS_SHOWN]
    rows = [portraits[start : start + _PORTRAITS_A_ROW] for start in range(0, len(portraits), _PORTRAITS_A_ROW)]
    heights = [2.6, 2.9, 2.4] + [3.6] * len(rows)
    figure = Figure(figsize=(15, sum(heights) + 0.4), dpi=100, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(f"deepflash: {story.summary}", fontsize=13, color=INK, x=0.01, ha="left")
    pairs, registration, curve, *results = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_pairs(pairs, story.pairs[:_STAGES_SHOWN])
    _draw_registration(registration, story.registrations[:_STAGES_SHOWN])
    _title(curve, "Training")
    _draw_curve(curve.subplots(), story)
    for part, row in zip(results, rows, strict=True):
        _draw_portraits(part, row)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _draw_pairs(figure: FigureBase, shown: Sequence[ShownPair]) -> None:
    _title(figure, "Pairs, as photographed: studio lamps, then the flash alone")
    axes = figure.subplots(1, 2 * _STAGES_SHOWN).flat
    for entry in shown:
        _show(next(axes), entry.studio, f"{entry.pair.subject} studio")
        _show(next(axes), entry.flash, f"flash, {1000 * entry.spacing_s:.1f} ms later")
    _hide(axes)


def _draw_registration(figure: FigureBase, entries: Sequence[ShownRegistration]) -> None:
    _title(figure, "Registration: edges of the flash photograph in red, of the studio photograph in cyan, before and after")
    axes = figure.subplots(1, 2 * _STAGES_SHOWN).flat
    for entry in entries:
        _show(next(axes), entry.before, f"before: {entry.error_before_px:.1f} px")
        _show(next(axes), entry.after, f"after: {entry.error_after_px:.2f} px")
    _hide(axes)


def _draw_curve(axes: Axes, story: Story) -> None:
    steps, losses = zip(*story.losses, strict=True)
    axes.plot(steps, losses, color=QUIET, linewidth=1, label="training loss (eq. 5)")
    axes.set(yscale="log", xlabel="step", ylabel="loss")
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    if story.validation:
        quality = axes.twinx()
        quality.plot(*zip(*story.validation, strict=True), color=ACCENT, marker="o", markersize=4, label="validation PSNR")
        quality.set_ylabel("PSNR, dB", color=ACCENT)
        quality.spines[["top"]].set_visible(False)
        more_handles, more_labels = quality.get_legend_handles_labels()
        handles, labels = handles + more_handles, labels + more_labels
    axes.legend(handles, labels, frameon=False, loc="center right")


def _draw_portraits(figure: FigureBase, portraits: Sequence[ShownPortrait]) -> None:
    subjects = " and ".join(sorted({portrait.pair_id.partition("-")[0] for portrait in portraits}))
    _title(figure, f"{subjects}, not trained on: flash photograph, portrait made of it, studio photograph")
    axes = figure.subplots(1, 3 * _PORTRAITS_A_ROW).flat
    for portrait in portraits:
        before, after = portrait.flash_quality, portrait.result_quality
        _show(next(axes), portrait.flash, f"flash: SSIM {before.ssim:.3f}, {before.psnr_db:.1f} dB")
        _show(next(axes), portrait.result, f"portrait: SSIM {after.ssim:.3f}, {after.psnr_db:.1f} dB", ACCENT)
        _show(next(axes), portrait.studio, "studio")
    _hide(axes)


def _title(figure: FigureBase, text: str) -> None:
    figure.suptitle(text, fontsize=11, color=INK, x=0.01, ha="left", fontweight="bold")


def _show(axes: Axes, picture: Picture, caption: str, color: str = QUIET) -> None:
    axes.imshow(picture)
    axes.set_axis_off()
    axes.set_title(caption, fontsize=9, color=color)


def _hide(rest: Iterator[Axes]) -> None:
    for axes in rest:
        axes.set_axis_off()
