"""A copied tree on a machine that has torch, numpy, OpenCV, webdataset and click alone: it trains, resumes and evaluates."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.model.tiny_dataset import TINY_RECIPE

INSTALLED = ("torch", "numpy", "opencv-python-headless", "opencv-python", "webdataset", "click")

# Hides whatever else is installed, then does what the issue asks for.
PROGRAM = """
import signal, sys
from pathlib import Path

class AllBut:
    def __init__(self, finders, names):
        self.finders, self.names = finders, names
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            return None
        found = (finder.find_spec(name, path, target) for finder in self.finders if hasattr(finder, "find_spec"))
        return next((spec for spec in found if spec), None)

shards, run, recipe, *hidden = sys.argv[1:]
sys.meta_path[:] = [AllBut(list(sys.meta_path), set(hidden))]
from deepflash.cli import cli
from deepflash.model.train import train

try:
    stop = lambda done, total, note: signal.raise_signal(signal.SIGINT) if done == 2 else None
    train(Path(shards), Path(run), recipe, device="cpu", report=stop)
except KeyboardInterrupt:
    print("stopped")
cli.main(["train", shards, run, "--recipe", recipe, "--device", "cpu"], standalone_mode=False)
cli.main(["evaluate", run, f"{run}/best.safetensors", shards, "-o", f"{run}/tables", "--device", "cpu"], standalone_mode=False)
assert not set(hidden) & sys.modules.keys()
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed_by(names: tuple[str, ...]) -> set[str]:
    """Return the distributions and all that they require, extras apart."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonical(waiting.pop())
        if name in found:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [re.split(r"[^\w.-]", line)[0] for line in requirements if "extra ==" not in line]
    return found


def test_it_trains_resumes_and_is_evaluated_with_five_packages_alone(shards: Path, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    (tmp_path / "recipe.toml").write_text(TINY_RECIPE + "max_steps = 5\n")
    there = needed_by(INSTALLED)
    hidden = [
        module
        for module, distributions in metadata.packages_distributions().items()
        if module != "deepflash" and not any(canonical(name) in there for name in distributions)
    ]
    assert {"PIL", "safetensors", "tensorboard", "rich", "scipy", "skimage", "matplotlib", "SimpleITK"} <= set(hidden)
    command = [sys.executable, "-c", PROGRAM, str(shards), str(tmp_path / "run"), str(tmp_path / "recipe.toml"), *hidden]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)

    assert done.returncode == 0, done.stderr
    assert "stopped" in done.stdout
    assert "5 steps, 2 of them before" in done.stdout
    assert "run/best" in done.stdout
    assert "tensorboard is not installed, so its events are not written" in done.stderr
    assert not list((tmp_path / "run").glob("events.*"))
    assert list((tmp_path / "run" / "tables" / "worst").glob("*.png"))


def test_what_needs_more_names_it_in_a_sentence(finished: Path, tmp_path: Path) -> None:
    """Photographs are read with the help of Pillow."""
    (tmp_path / "photo.jpg").write_bytes(b"photo")
    program = "import sys; sys.modules['PIL'] = None; from deepflash.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        program,
        "enhance",
        str(tmp_path / "photo.jpg"),
        f"--run={finished}",
        f"-o{tmp_path / 'out'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("Error: the Python module PIL is not installed; install it, or all of deepflash\n")
    assert "Traceback" not in done.stderr
