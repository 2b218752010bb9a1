"""The command line: what a person types, and what they are told."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from deepflash.cli import cli


def deepflash(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deepflash", *arguments], capture_output=True, text=True, cwd=cwd, timeout=120, check=False
    )


def commands(command: click.Command = cli, path: str = "deepflash") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands(child, f"{path} {name}")


@pytest.mark.parametrize(("path", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_and_option_explains_itself(path: str, command: click.Command) -> None:
    assert command.help, f"{path} is missing its help"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.opts} is missing its help"


def test_help_answers_without_loading_a_heavy_library() -> None:
    code = "import sys, deepflash.cli; print([m for m in ('torch','cv2','numpy','SimpleITK','rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_model_room_needs_no_hardware_registration_or_face_library() -> None:
    """Training machines have neither SimpleITK nor gphoto2, pyserial, dlib and scikit-image."""
    code = """
import sys
for name in ("SimpleITK", "gphoto2", "serial", "dlib", "face_recognition", "skimage", "matplotlib"):
    sys.modules[name] = None
import deepflash.model.train, deepflash.model.evaluate, deepflash.model.enhance, deepflash.cli
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("subject", ["../x", "a b", "", "-S001", "x" * 33, "S/1"])
def test_a_subject_id_that_is_no_safe_folder_name_is_refused(subject: str, tmp_path: Path) -> None:
    result = deepflash("capture", "session", f"--subject={subject}", "--emulate", cwd=tmp_path)
    assert result.returncode == 2
    assert "is not a subject id" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_capture_without_rig_and_emulation_explains_both(tmp_path: Path) -> None:
    result = deepflash("capture", "session", "--subject", "S001", cwd=tmp_path)
    assert result.returncode == 2
    assert "--rig" in result.stderr
    assert "--emulate" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("capture", "session", "--subject", "S001", "--rig", "none.toml"), "none.toml"),
        (("align", "batch", "none", "aligned"), "none is not a folder"),
        (("align", "batch", "empty", "aligned"), "empty holds no pairs"),
        (("align", "pair", "a.jpg", "b.jpg"), "does not exist"),
        (("build-dataset", "empty", "shards"), "empty holds no alignments"),
        (("train", "empty", "run"), "empty"),
        (("evaluate", "empty", "empty"), "empty"),
        (("enhance", "photo.jpg", "-o", "out", "--run", "empty"), "empty"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_a_missing_or_empty_input_is_one_sentence_and_exit_code_1(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    result = deepflash(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert sentence in result.stderr
    assert result.stderr.strip().startswith("Error: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_config_file_gives_defaults_that_flags_override(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[capture.session]\nsubject = "../bad"\n')
    assert "'../bad'" in deepflash("--config", "config.toml", "capture", "session", cwd=tmp_path).stderr
    given = deepflash("--config", "config.toml", "capture", "session", "--subject", "../flag", cwd=tmp_path)
    assert "'../flag'" in given.stderr


def test_an_unknown_key_in_the_config_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[train]\nlearning = 3\n")
    result = deepflash("--config", "config.toml", "train", "a", "b", cwd=tmp_path)
    assert result.returncode == 2
    assert "unknown key 'learning'" in result.stderr


def test_json_is_one_object_on_stdout_with_every_item_accounted_for(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "01_flash.jpg").write_bytes(b"not a picture")
    (tmp_path / "pairs" / "01_studio.jpg").write_bytes(b"not a picture")
    (tmp_path / "pairs" / "02_flash.jpg").write_bytes(b"alone")
    result = deepflash("align", "batch", "pairs", "aligned", "--workers", "1", "--json", cwd=tmp_path)
    account = json.loads(result.stdout)
    assert account["in"] == 2
    assert account["done"] == 0
    assert {entry["item"] for entry in account["set_aside"]} == {"01", "02"}
    assert result.returncode == 1
