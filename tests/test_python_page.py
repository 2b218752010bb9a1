"""docs/python.md does what it says: its first block is run, then its examples as doctests."""

import doctest
import re
from pathlib import Path

import pytest
from skimage import data

from deepflash.model.recipe import Recipe
from deepflash.pictures import encode
from tests.model.tiny_run import write_run

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def test_every_example_on_the_page_gives_what_is_printed_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", Recipe(width=0.0625, size=64))
    (tmp_path / "selfie.jpg").write_bytes(encode(data.astronaut(), ".jpg"))
    page = PAGE.read_text(encoding="utf-8")
    first, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, object] = {}
    exec(first, names)
    examples = doctest.DocTestParser().get_doctest(page.replace("```", ""), names, PAGE.name, str(PAGE), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    runner.run(examples)
    assert (runner.summarize().failed, len(examples.examples) > 10) == (0, True)
    assert (tmp_path / "portrait.png").exists()
