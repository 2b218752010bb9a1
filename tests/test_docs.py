"""The documents: every command in them exists and takes what they give it."""

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
    return sorted({match for page in pages for match in COMMAND.findall(page.read_text(encoding="utf-8"))})


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
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which does not exist"


@pytest.mark.slow
def test_the_tour_in_the_readme_runs_as_written(tmp_path: Path) -> None:
    """From the emulated studio to an enhanced portrait, with the very lines that a reader copies."""
    tour = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The road")[2].partition("[The guide]")[0]
    lines = [line[4:] for line in tour.splitlines() if line.startswith("    ") and "activate" not in line]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-eu", "-c", "\n".join(lines)], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "run" / "evaluation-test" / "evaluation.html").exists()
    assert (tmp_path / "portraits" / "flash.jpg").exists()
