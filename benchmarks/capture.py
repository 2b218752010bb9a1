"""The pair's clock, the lamps' dead-man and the calibration on the emulated studio, judged by what the emulator knows.

    python benchmarks/capture.py [--pairs 40] [--kills 5] [--size 780x1040]

Prints the error of the spacing of the exposures (what the camera did, not what the driver believes), how far the settle
time and the shutter's lag that `capture calibrate` finds are from the emulator's, and how long the lamps stayed on after
a SIGKILL of the session, the lamp guard or the camera worker while they were on.
"""

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from deepflash.capture.calibration import calibrate
from deepflash.capture.session import POSES, hold_session
from deepflash.hardware.emulator.camera_body import Inertia
from deepflash.hardware.emulator.sitters import SitterChoice
from deepflash.hardware.emulator.studio import emulated_studio, emulator_folder

VICTIMS = {
    "session": "capture session",
    "lamp guard": "deepflash.hardware.lamp_guard",
    "camera worker": "hardware.camera_worker",
}
INERTIAS = [Inertia(0.05, *times_s) for times_s in ((0.02, 0.03), (0.05, 0.06), (0.09, 0.1), (0.15, 0.04), (0.25, 0.08))]
FRACTION = 0.01
DEADLINE_S = 120.0  # a session that lost its camera first waits for the photographs that it owes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--size", default="780x1040")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        measure_spacing(Path(folder), options.pairs, (width, height))
        for number, inertia in enumerate(INERTIAS):
            measure_calibration(Path(folder) / f"glow-{number}", inertia, (width, height))
        for name, pattern in VICTIMS.items():
            times_s = [
                lamps_on_after_kill_s(Path(folder), f"{name}-{n}".replace(" ", "-"), pattern) for n in range(options.kills)
            ]
            print(f"lamps off after SIGKILL of the {name:<14} median {1000 * statistics.median(times_s):6.1f} ms, ", end="")
            print(f"max {1000 * max(times_s):6.1f} ms, {len(times_s)} kills")


def measure_spacing(folder: Path, pairs: int, size: tuple[int, int]) -> None:
    """Photograph pairs in sessions of up to ten and print how far the exposures' spacing is from the plan."""
    errors_s: list[float] = []
    studio_folder = emulator_folder(folder / "raw") / "S001"
    with emulated_studio(studio_folder, SitterChoice("S001"), size=size) as rig:
        while len(errors_s) < pairs:
            hold_session(rig, folder / "raw", "S001", POSES[: min(len(POSES), pairs - len(errors_s))])
            exposures = [line["exposure_s"] for line in _lines(studio_folder / "truth.jsonl")]
            errors_s = [b - a - rig.spacing_s for a, b in zip(exposures[::2], exposures[1::2], strict=True)]
    absolute_ms = sorted(1000 * abs(error) for error in errors_s)
    print(f"spacing of {len(errors_s)} pairs against the plan of {1000 * rig.spacing_s:.0f} ms: ", end="")
    print(
        f"median error {1000 * statistics.median(errors_s):+.2f} ms, median |error| {statistics.median(absolute_ms):.2f} ms, ",
        end="",
    )
    print(f"95 % {absolute_ms[int(0.95 * (len(absolute_ms) - 1))]:.2f} ms, max {absolute_ms[-1]:.2f} ms")


def measure_calibration(folder: Path, inertia: Inertia, size: tuple[int, int]) -> None:
    """Calibrate a studio whose lamps and shutter are as slow as told, and print by how much the result is off."""
    with emulated_studio(folder, SitterChoice("S001"), size=size, inertia=inertia) as rig:
        found = calibrate(rig, fraction=FRACTION)
    settle_s = -inertia.lamp_decay_s * math.log(FRACTION)
    print(f"calibration with a decay of {1000 * inertia.lamp_decay_s:3.0f} ms: settle {1000 * settle_s:6.1f} ms, ", end="")
    print(f"off by {found.settle_s / settle_s - 1:+.1%}; lag off by {1000 * (found.lag_s - inertia.shutter_lag_s):+.1f} ms")


def lamps_on_after_kill_s(folder: Path, subject: str, pattern: str) -> float:
    """Kill a process while the lamps are on; return how long they stayed on, in seconds."""
    log = emulator_folder(folder / "raw") / subject / "lamps.jsonl"
    command = [sys.executable, "-m", "deepflash", "capture", "session", f"--subject={subject}", "--emulate", "--size=390x520"]
    session = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until(lambda: bool(_lines(log)) and _lines(log)[-1]["on"])
        victim = session.pid if "session" in pattern else _child_matching(session.pid, pattern)
        killed_s = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        _wait_until(lambda: any(not line["on"] and line["at_s"] > killed_s for line in _lines(log)))
        return float(next(line["at_s"] for line in _lines(log) if not line["on"] and line["at_s"] > killed_s)) - killed_s
    finally:
        session.wait(DEADLINE_S)


def _child_matching(parent: int, pattern: str) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                owner = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if pattern in words and owner == parent:
                return int(entry.name)
    raise LookupError(f"no child of {parent} matches {pattern}")


def _wait_until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the emulated studio did not get there")
        time.sleep(0.002)


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


if __name__ == "__main__":
    main()
