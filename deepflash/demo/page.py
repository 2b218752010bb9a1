"""The demo's page: one HTML file that holds its pictures, styles and the little script it needs."""

import html
from collections.abc import Sequence
from importlib.resources import files
from string import Template

from deepflash.demo.story import Quality, ShownPair, ShownPortrait, ShownRegistration, Story
from deepflash.pictures import Picture, jpeg_base64

_TEMPLATE = files("deepflash.demo") / "report.html"


def render_page(story: Story, curve_svg: str) -> str:
    """Return the whole page as HTML; `curve_svg` is the training curve as an SVG element."""
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        summary=html.escape(story.summary),
        facts="".join(f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in story.facts),
        portraits="".join(_portrait(portrait) for portrait in story.portraits),
        table=_table(story.means),
        pairs="".join(_pair(shown) for shown in story.pairs),
        registrations="".join(_registration(entry) for entry in story.registrations),
        variants=_image(story.variants, "Twenty variants of one pair's flash photograph"),
        curve=curve_svg,
    )


def _portrait(portrait: ShownPortrait) -> str:
    name = html.escape(portrait.pair_id)
    flash, result, studio = (
        _image(picture, f"{name}: {what}")
        for picture, what in (
            (portrait.flash, "the flash photograph"),
            (portrait.result, "the portrait that the network made"),
            (portrait.studio, "the studio photograph, registered"),
        )
    )
    before, after = portrait.flash_quality, portrait.result_quality
    return f"""
<figure>
<div class="slider">{result}
<div class="over">{flash}</div>
<input type="range" min="0" max="100" value="50" aria-label="{name}: flash photograph to the left, portrait to the right">
<div class="bar"></div></div>
<div class="three">{flash}{result}{studio}</div>
<figcaption><b>{name}</b>: flash, result, studio · SSIM {before.ssim:.3f} → <b>{after.ssim:.3f}</b>,
PSNR {before.psnr_db:.1f} → <b>{after.psnr_db:.1f} dB</b></figcaption>
</figure>"""


def _table(means: Sequence[tuple[str, Quality, Quality]]) -> str:
    names = ("mean, compared with", "SSIM, flash", "SSIM, portrait", "PSNR, flash", "PSNR, portrait")
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(
        f"<tr><td>{truth}</td><td>{flash.ssim:.3f}</td><td><b>{result.ssim:.3f}</b></td>"
        f"<td>{flash.psnr_db:.2f} dB</td><td><b>{result.psnr_db:.2f} dB</b></td></tr>"
        for truth, flash, result in means
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _pair(shown: ShownPair) -> str:
    name = html.escape(shown.pair.id)
    studio, flash = _image(shown.studio, f"{name} under the lamps"), _image(shown.flash, f"{name} under the flash")
    return f"""
<figure>
<div class="two">{studio}{flash}</div>
<figcaption><b>{html.escape(shown.pair.subject)}</b>, {html.escape(shown.pair.pose)}
· spacing {1000 * shown.spacing_s:.1f} ms</figcaption>
</figure>"""


def _registration(entry: ShownRegistration) -> str:
    name = html.escape(entry.alignment.pair_id)
    before, after = _image(entry.before, f"{name} before registration"), _image(entry.after, f"{name} registered")
    return f"""
<figure>
<div class="two">{before}{after}</div>
<figcaption><b>{name}</b> · error on the face {entry.error_before_px:.1f} → <b>{entry.error_after_px:.2f} px</b>
· {html.escape(entry.alignment.verdict)}</figcaption>
</figure>"""


def _image(picture: Picture, description: str) -> str:
    height, width = picture.shape[:2]
    return f'<img src="data:image/jpeg;base64,{jpeg_base64(picture)}" width="{width}" height="{height}" alt="{description}">'
