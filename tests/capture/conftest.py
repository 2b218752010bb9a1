"""An emulated studio with a fast scene, for the tests of capture."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from deepflash.hardware.emulator.studio import studio_with_camera
from deepflash.hardware.rig import Rig

Studio = Callable[..., tuple[Rig, Path]]


@pytest.fixture
def open_studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """Return what opens a studio; it returns the rig and the folder with the emulator's logs."""
    monkeypatch.setenv("HOME", str(tmp_path))  # libgphoto2 keeps its settings there
    monkeypatch.delenv("VCAMERADIR", raising=False)
    camera = str(Path(__file__).with_name("lit_camera.py"))
    with ExitStack() as stack:

        def open_studio(
            name: str = "studio", render_s: float = 0.0, card_bytes: int = 10**9, raw: bool = False
        ) -> tuple[Rig, Path]:
            folder = tmp_path / name
            command = [
                sys.executable,
                camera,
                str(folder),
                "390",
                "520",
                str(render_s),
                str(card_bytes),
                *(["raw"] if raw else []),
            ]
            rig = stack.enter_context(studio_with_camera(folder, command))
            return replace(rig, quiet_s=0.3 + 2 * render_s), folder

        yield open_studio
