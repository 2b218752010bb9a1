"""Pages are allowed to run their own script and nothing else, and data in them stay data."""

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from deepflash.pages import inert_json, inert_text, page_parts

TEMPLATE = (
    "<meta content=\"default-src 'none'; style-src {{style}}; script-src {{script}}\"><style>p { color: red }</style>"
    "<!-- content --><script>alert('1')</script>"
)


def test_a_page_allows_its_own_style_and_script_by_checksum(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(TEMPLATE)
    before, after = page_parts(tmp_path / "page.html")
    for content, name in ((b"p { color: red }", "style-src"), (b"alert('1')", "script-src")):
        assert f"{name} 'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'" in before
    assert after == "<script>alert('1')</script>"


@pytest.mark.parametrize("text", ["</script>", "<!--", "<script>", "]]>", "\u2028 'quoted' \"twice\"", "<SCRIPT/x>"])
def test_nothing_in_data_ends_its_element(text: str) -> None:
    element = inert_json({text: [text]}, 'id="about"')
    inside = re.fullmatch(r'<script type="application/json" id="about">(.*)</script>\n', element)
    assert inside is not None
    assert "<" not in inside[1]
    assert json.loads(inside[1]) == {text: [text]}
    assert inert_text(text).count("<") == 2


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        inert_json(float("nan"), "data-x")
