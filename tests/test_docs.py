"""The documents: every command in them, and in the examples of --help, exists and takes what they give it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from deepflash.cli import cli

ROOT = Path(__file__).parents[1]
COMMAND = re.compile(r"^ +(deepflash [^`\n]+)$", re.MULTILINE)


def documented_commands() -> list[str]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts = [*(page.read_text(encoding="utf-8") for page in pages), *examples(cli)]
    return sorted({match for text in texts for match in COMMAND.findall(text)})


def examples(command: click.Command) -> list[str]:
    """What the help of a command, and of those below it, gives to copy."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return [command.epilog or "", *(text for child in below for text in examples(child))]


@pytest.mark.parametrize("line", documented_commands())
def test_documented_commands_parse(line: str) -> None:
    """Options, arguments and sub-commands in README and docs are those of the program."""
    arguments = shlex.split(line.partition("#")[0])[1:]
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group):
        name = arguments.pop(0)
        assert name in command.commands, f"{line}: no command {name!r}"
        command = command.commands[name]
    parser_options, rest, _ = command.make_parser(context).parse_args(list(arguments))
    known = {parameter.name for parameter in command.params}
    assert set(parser_options) <= known
    assert len(rest) == 0 or any(isinstance(parameter, click.Argument) for parameter in command.params)


def test_links_between_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8")):
            there = page.parent / target if target else page
            assert there.exists(), f"{page.name} links to {target}, which does not exist"
            assert not heading or heading in headings(there), f"{page.name} links to {target}#{heading}, which is no heading"


def headings(page: Path) -> list[str]:
    """Return a page's headings as the anchors that GitHub makes of them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found]


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, next_pages = set(), [ROOT / "README.md"]
    while next_pages:
        page = next_pages.pop().resolve()
        if page not in reached:
            reached.add(page)
            links = re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
            next_pages += [page.parent / link for link in links]
    assert set((ROOT / "docs").rglob("*.md")) <= reached


def test_decisions_are_numbered_without_gaps_and_listed_by_their_titles() -> None:
    folder = ROOT / "docs" / "decisions"
    records = sorted(folder.glob("0*.md"))
    listed = re.findall(r"^\d+\. \[.+\]\(.+\)$", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    titles = [record.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for record in records]
    assert [record.name[:4] for record in records] == [f"{number:04d}" for number in range(1, len(records) + 1)]
    for number, (record, title, entry) in enumerate(zip(records, titles, listed, strict=True), start=1):
        assert entry == f"{number}. [{title.removeprefix(f'{number}. ')}]({record.name})"


@pytest.mark.slow
def test_the_tour_in_the_readme_runs_as_written(tmp_path: Path) -> None:
    """From the emulated studio to an enhanced portrait, with the very lines that a reader copies."""
    tour = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The road")[2].partition("[The guide]")[0]
    lines = [line[4:] for line in tour.splitlines() if line.startswith("    ") and "activate" not in line]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-eu", "-c", "\n".join(lines)], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "run" / "evaluation-test" / "evaluation.html").exists()
    assert (tmp_path / "portraits" / "flash.jpg").exists()
