"""The demo's figures: the training curve, and the contact sheet that tells the story in one picture."""

import io
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase

from deepflash.demo.story import ShownPair, ShownPortrait, ShownRegistration, Story
from deepflash.pictures import Picture

INK, QUIET, ACCENT = "#20242b", "#626a76", "#b4501a"
_STAGES_SHOWN = 4


def training_curve_svg(story: Story) -> str:
    """Return the training curve as an SVG element."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    _draw_curve(figure.add_subplot(), story)
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def contact_sheet_png(story: Story) -> bytes:
    """Return the contact sheet as PNG: pairs, registration, training curve and results with figures."""
    rows = len(story.portraits)
    figure = Figure(figsize=(15, 12.2 + 4.6 * (rows - 1)), dpi=100, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(f"deepflash: {story.summary}", fontsize=13, color=INK, x=0.01, ha="left")
    parts = figure.subfigures(3 + rows, 1, height_ratios=[3, 3.4, 2.6] + [4.6] * rows, squeeze=False)[:, 0]
    pairs, registration, curve, *results = parts
    _draw_pairs(pairs, story.pairs[:_STAGES_SHOWN])
    _draw_registration(registration, story.registrations[:_STAGES_SHOWN])
    _title(curve, "Training")
    _draw_curve(curve.subplots(), story)
    for row, portrait in zip(results, story.portraits, strict=True):
        _draw_portrait(row, portrait)
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


def _draw_portrait(figure: FigureBase, portrait: ShownPortrait) -> None:
    _title(figure, f"{portrait.pair_id}, a subject who was not trained on")
    before, after = portrait.flash_quality, portrait.result_quality
    axes = figure.subplots(1, 3)
    _show(axes[0], portrait.flash, f"flash photograph: SSIM {before.ssim:.3f}, PSNR {before.psnr_db:.1f} dB")
    _show(axes[1], portrait.result, f"portrait: SSIM {after.ssim:.3f}, PSNR {after.psnr_db:.1f} dB", ACCENT)
    _show(axes[2], portrait.studio, "studio photograph, registered")


def _title(figure: FigureBase, text: str) -> None:
    figure.suptitle(text, fontsize=11, color=INK, x=0.01, ha="left", fontweight="bold")


def _show(axes: Axes, picture: Picture, caption: str, color: str = QUIET) -> None:
    axes.imshow(picture)
    axes.set_axis_off()
    axes.set_title(caption, fontsize=9, color=color)


def _hide(rest: Iterator[Axes]) -> None:
    for axes in rest:
        axes.set_axis_off()
