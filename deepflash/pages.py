"""Pages that need nothing beside them: one HTML file with style, script, data and pictures, and a policy that forbids the rest.

A template has one `<style>` and one `<script>` element, a Content-Security-Policy with `{{style}}` and `{{script}}` in it, and
`<!-- content -->` where the data go. Data are inert JSON, which nothing in them can end, so that whatever a file is called
never becomes markup or script.
"""

import base64
import hashlib
import json
import re
from importlib.resources.abc import Traversable
from typing import Any

MARK = "<!-- content -->"


def page_parts(template: Traversable) -> tuple[str, str]:
    """Return what stands before and after the content, allowed by its own policy to run its script and to fetch nothing."""
    page = template.read_text(encoding="utf-8")
    for element in ("style", "script"):
        content = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content[0].encode()).digest()).decode()
        page = page.replace(f"{{{{{element}}}}}", f"'sha256-{digest}'")
    before, after = page.split(MARK)
    return before, after


def inert_json(value: Any, attribute: str) -> str:
    """Return JSON in an element that is never run.

    >>> print(inert_json({"name": "</b>"}, 'id="about"').count("</b>"))
    0
    """
    text = json.dumps(value, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" {attribute}>{text}</script>\n'


def inert_text(text: str) -> str:
    """Return text, such as pictures in base64, in an element that no browser looks at before the page asks it to."""
    return f'<script type="text/plain">{text.replace("<", "")}</script>\n'
