"""`deepflash enhance` as people type it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from skimage import data

from deepflash.cli import cli
from deepflash.errors import ExitCode
from deepflash.pictures import read_rgb


def test_one_bad_file_does_not_stop_the_rest(finished: Path, tmp_path: Path) -> None:
    Image.fromarray(data.astronaut()).save(tmp_path / "astronaut.png")
    (tmp_path / "text.jpg").write_text("no picture")
    out = tmp_path / "out"
    arguments = ["enhance", str(tmp_path / "text.jpg"), str(tmp_path / "astronaut.png"), "-o", str(out), "--run", str(finished)]
    outcome = CliRunner().invoke(
        cli, [*arguments, "--background", "#102030", "--compare", "side", "--json"], standalone_mode=False
    )
    assert outcome.return_value == ExitCode.SET_ASIDE
    account = json.loads(outcome.stdout)
    assert (account["in"], account["done"], len(account["set_aside"])) == (2, 1, 1)
    assert (read_rgb(out / "astronaut.png")[:20, -20:] == (16, 32, 48)).all()
    assert (out / "astronaut.png.compare.jpg").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--background", "plaid"], "give keep, enhance, or a colour such as white or #406080"),
        (["--strength", "1.5"], "0<=x<=1"),
        (["--mask", "mask.png", "second.jpg"], "a mask belongs to one photograph"),
        (["--compare", "overlay"], "'none', 'side', 'split'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: list[str], sentence: str) -> None:
    outcome = CliRunner().invoke(cli, ["enhance", "first.jpg", "-o", "out", "--run", "run", *options])
    assert outcome.exit_code == ExitCode.USAGE
    assert sentence in " ".join(outcome.output.replace("│", " ").split())
