"""Chaos: hundreds of pairs photographed while everything fails, judged by the truth inside the photographs.

    python benchmarks/chaos.py [--pairs 500] [--faulty 0.67] [--size 240x320] [--rigs 2] [--seed 0] [--only KIND ...]

Sessions run as processes of their own on emulated studios. Before most takes a fault is ordered: of the camera, of the
relay board, or of a process or the disk, which are killed, stopped and filled here. A session that ends with an error is
held again, as an operator would. Afterwards every committed pair is compared with the emulator's stamps in its two JPEGs
and with the emulator's own log:

- mispaired: the photographs are not two exposures triggered one after the other, in the right light, or not those that
  pair.json means (an exposure that somebody made with the camera's own button in between does not count);
- corrupt: a photograph does not decode wholly, or its checksum, size or settings are not what they should be;
- lost: a pair was reported as saved, and is not on the disk.

Prints those counts, how long the lamps outlasted their plan for each fault, and the spacing of the exposures. The exit
status is 1 unless all three are 0, no session hung, and the lamps never outlasted a fault by a second.
"""

import argparse
import hashlib
import json
import os
import random
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from deepflash.capture.session import hold_session
from deepflash.errors import DeepflashError
from deepflash.hardware.camera import Camera, Shot
from deepflash.hardware.emulator.faults import Fault, clear_faults, order_fault
from deepflash.hardware.emulator.journal import read_journal
from deepflash.hardware.emulator.sitters import SitterChoice
from deepflash.hardware.emulator.studio import emulated_studio
from deepflash.hardware.rig import Rig
from deepflash.pairs import find_pairs

POSES_IN_SESSION = 20
RETAKES = 12
HUNG_S = 90.0  # a session that says nothing for so long hangs
FAULTS_AT_RETAKES = 0.25
DISK_BYTES = 256 * 2**20
EXPOSURE = "0.0166s"  # what the rig's camera_settings ask for; the dial is turned to another value
DRIFTED = 333  # 1/10000 s
TIMING_S = 0.1  # what the scheduler may put between a stamp of the driver and one of the emulator
LAMPS_LIMIT_S = 1.0

Apply = Callable[["Run", random.Random], None]


def camera(kind: str, **options: Any) -> Apply:
    """Return a fault of the camera, at the studio or the flash shot."""
    return lambda run, rng: order_fault(run.studio, Fault("camera", kind, skip=rng.randint(0, 1), **options))


def relay(kind: str, longest_s: float) -> Apply:
    """Return a fault of the relay board, somewhere within the take."""

    def apply(run: "Run", rng: random.Random) -> None:
        run.later(rng.uniform(0, 0.9), lambda: order_fault(run.studio, Fault("relay", kind, for_s=rng.uniform(0.1, longest_s))))

    return apply


def late(run: "Run", rng: random.Random) -> None:
    """Announce late: a little, so that the order changes, or after everybody has given up."""
    order_fault(run.studio, Fault("camera", "late", skip=rng.randint(0, 1), value=rng.choice([0.04, 0.3, 0.7, 2.0, 4.0])))


def dial_turned(run: "Run", rng: random.Random) -> None:
    """Change the exposure time, before or within the take."""
    order_fault(run.studio, Fault("camera", "drift", skip=rng.randint(0, 8), value=DRIFTED))


def refused(run: "Run", rng: random.Random) -> None:
    """Drop the connection, and refuse the next ones."""
    order_fault(run.studio, Fault("camera", "dropped", skip=rng.randint(0, 1)))
    order_fault(run.studio, Fault("camera", "refuses", times=2))


def twice(run: "Run", rng: random.Random) -> None:
    """Suffer two faults in one take."""
    for kind in rng.sample(["lost", "duplicate", "unannounced", "pressed", "dropped-after", "incomplete"], 2):
        order_fault(run.studio, Fault("camera", kind, skip=rng.randint(0, 1)))


def signalled(number: int, who: str, resume_s: float = 0.0) -> Apply:
    """Return a signal to a process, somewhere within the take; one that stops is resumed."""

    def apply(run: "Run", rng: random.Random) -> None:
        def strike() -> None:
            pid = run.process_id(who)
            if pid is None:
                return
            with suppress(ProcessLookupError):
                run.note_strike(who if number == signal.SIGKILL else f"{who} stopped")
                os.kill(pid, number)
                if number == signal.SIGSTOP:
                    time.sleep(resume_s)
                    os.kill(pid, signal.SIGCONT)

        run.later(rng.uniform(0, 1.2), strike)

    return apply


def disk_full(run: "Run", _rng: random.Random) -> None:
    """Leave no room on the disk that the pairs go to, until the session has said so."""
    run.fill_disk()


FAULTS: dict[str, Apply] = {
    "camera busy": camera("busy"),
    "camera busy for long": camera("busy", for_s=1.5),
    "connection dropped": camera("dropped"),
    "connection dropped after the exposure": camera("dropped-after"),
    "connection dropped, then refused": refused,
    "trigger unanswered": camera("unanswered"),
    "camera silent": camera("silent", for_s=0.4),
    "transfer stalled": camera("stalled", value=3.0),
    "transfer cut": camera("cut"),
    "photograph truncated in transfer": camera("truncated"),
    "photograph garbled in transfer": camera("garbled"),
    "photograph half stored": camera("half-stored"),
    "card full": camera("card-full"),
    "card full by event": camera("card-full-event"),
    "photograph lost": camera("lost"),
    "photograph not announced": camera("unannounced"),
    "events late": late,
    "event twice": camera("duplicate"),
    "end of capture not announced": camera("incomplete"),
    "button pressed": camera("pressed"),
    "dial turned": dial_turned,
    "flash did not fire": lambda run, _rng: order_fault(run.studio, Fault("camera", "flash-off")),
    "two faults of the camera": twice,
    "relay board unplugged": relay("unplugged", 1.5),
    "relay board deaf": relay("deaf", 0.8),
    "relay board mute": relay("mute", 0.8),
    "session killed": signalled(signal.SIGKILL, "session"),
    "session stopped": signalled(signal.SIGSTOP, "session", 1.5),
    "camera worker killed": signalled(signal.SIGKILL, "camera_worker"),
    "camera worker stopped": signalled(signal.SIGSTOP, "camera_worker", 1.0),
    "lamp guard killed": signalled(signal.SIGKILL, "lamp_guard"),
    "lamp guard stopped": signalled(signal.SIGSTOP, "lamp_guard", 1.0),
    "disk full": disk_full,
}


@dataclass
class Told:
    """What happened, as the sessions told it and as it was done to them."""

    saved: set[str] = field(default_factory=set)
    applied: Counter[str] = field(default_factory=Counter)
    takes: int = 0
    faulty_takes: int = 0
    ended_early: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    hung: int = 0
    given_up: list[str] = field(default_factory=list)
    windows: list[tuple[float, float, str]] = field(default_factory=list)  # of a take: from, to, fault
    strikes: list[tuple[float, str]] = field(default_factory=list)


class Run:
    """One rig and the sessions held on it, one after the other."""

    def __init__(self, number: int, folder: Path, options: argparse.Namespace) -> None:
        self.number = number
        self.studio = folder / f"studio-{number}"
        self.raw = folder / f"disk-{number}" / "raw"
        self.told = Told()
        self.pairs = options.pairs // options.rigs + (number < options.pairs % options.rigs)
        self._size = tuple(int(side) for side in options.size.split("x"))
        self._rng = random.Random(f"{options.seed}/{number}")
        self._faulty = options.faulty
        self._kinds = options.only or list(FAULTS)
        self._cycle: list[str] = []
        self._home = folder / "home"
        self._session: subprocess.Popen[bytes] | None = None
        self._timers: list[threading.Thread] = []
        self._mounted = False
        self._keep = options.keep is not None

    def hold_all(self) -> None:
        """Hold sessions until there are as many pairs as wanted."""
        self._home.mkdir(exist_ok=True)
        with (
            _small_disk(self.raw.parent) as self._mounted,
            emulated_studio(self.studio, SitterChoice("S001"), size=self._size, seed=self.number) as emulated,
        ):
            rig = replace(
                emulated,
                warm_up_s=0.25,
                quiet_s=0.3,
                camera_settings={"shutterspeed": EXPOSURE},
                check_faces=False,
                check_eyes=False,
            )
            self._wait_for_scene(rig)
            for first in range(0, self.pairs, POSES_IN_SESSION):
                poses = [f"p{pose:04d}" for pose in range(first, min(self.pairs, first + POSES_IN_SESSION))]
                while not self._hold_once(rig, f"S{self.number:03d}", poses) and not self._is_finished(poses):
                    pass
            self.judge = judge(self.raw, self.studio, self.told, rig)
            if self._keep:
                shutil.copytree(self.raw, self.raw.parent.with_name(f"raw-{self.number}"))

    def _wait_for_scene(self, rig: Rig) -> None:
        """Take one photograph: until its scene stands, the emulated camera stores nothing, which no real one does."""
        with (
            tempfile.TemporaryDirectory() as folder,
            Camera(rig.camera_port, rig.camera_model, quiet_s=2.0) as first,
        ):
            first.delete(first.shoot([Shot(0.0, flash=False)], at_s=0.0, folder=Path(folder), on_trigger=lambda *_: None))

    def later(self, delay_s: float, strike: Callable[[], None]) -> None:
        """Do something within the take that is about to begin."""

        def wait() -> None:
            time.sleep(delay_s)
            strike()

        timer = threading.Thread(target=wait, daemon=True)
        self._timers.append(timer)
        timer.start()

    def process_id(self, who: str) -> int | None:
        """Return the id of the session's process, or of its child that runs a module of that name."""
        session = self._session
        if session is None or session.poll() is not None:
            return None
        return session.pid if who == "session" else _child_of(session.pid, who)

    def note_strike(self, what: str) -> None:
        self.told.strikes.append((time.monotonic(), what))

    def fill_disk(self) -> None:
        """Leave no room on the raw tree's disk; without a disk of our own, forbid the session to write."""
        self.note_strike("disk full")
        if not self._mounted:
            session = self.process_id("session")
            if session is not None:
                subprocess.run(["prlimit", f"--pid={session}", "--fsize=1:"], check=True)
            return
        with suppress(OSError), (self.raw.parent / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(2**20))
        with suppress(OSError), (self.raw.parent / "ballast").open("ab", buffering=0) as ballast:
            while True:
                ballast.write(bytes(512))

    def free_disk(self) -> None:
        (self.raw.parent / "ballast").unlink(missing_ok=True)

    def _hold_once(self, rig: Rig, subject: str, poses: list[str]) -> bool:
        """Hold a session until it ends; tell whether it said that it was over."""
        order = json.dumps([asdict(rig), str(self.raw), subject, poses])
        session = subprocess.Popen(
            [sys.executable, __file__, "--hold", order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(self._home)},
        )
        self._session = session
        finished = False
        try:
            for message in _messages(session):
                finished |= self._hear(message, session)
        except TimeoutError:
            self.told.hung += 1
            print(f"rig {self.number}: a session hung", flush=True)
        finally:
            session.kill()
            session.wait()
            self._close_window()
            for pipe in (session.stdin, session.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
            for timer in self._timers:
                timer.join()
            self._timers.clear()
            self.free_disk()
        return finished

    def _is_finished(self, poses: list[str]) -> bool:
        """Tell whether a session was killed after its end, and before it could say so."""
        journals = (json.loads(path.read_text()) for path in self.raw.glob("*/*/session.json"))
        return any(journal["poses"] == poses and journal["finish"] for journal in journals)

    def _hear(self, message: dict[str, Any], session: subprocess.Popen[bytes]) -> bool:
        if "prompt" in message:
            self._begin_take(message["number"])
            if session.stdin is not None:
                with suppress(BrokenPipeError):
                    session.stdin.write(b"go\n")
                    session.stdin.flush()
        elif "note" in message:
            pose, _, note = message["note"].partition(": ")
            if note == "saved":
                self.told.saved.add(pose)
                if len(self.told.saved) % 25 == 0:
                    print(f"rig {self.number}: {len(self.told.saved)} pairs, {self.told.takes} takes", flush=True)
            elif note:
                self.told.failures[_short(note)] += 1
        elif "error" in message:
            self.told.ended_early[_short(message["error"])] += 1
        elif "missing" in message:
            self.told.given_up += message["missing"]
            return True
        return False

    def _begin_take(self, number: int) -> None:
        for timer in self._timers:
            timer.join()
        self._timers.clear()
        self._close_window()
        self.free_disk()
        clear_faults(self.studio)
        kind = "none"
        if self._rng.random() < (self._faulty if number == 1 else FAULTS_AT_RETAKES):
            kind = self._next_kind()
            FAULTS[kind](self, self._rng)
            self.told.applied[kind] += 1
            self.told.faulty_takes += 1
        self.told.takes += 1
        self.told.windows.append((time.monotonic(), float("inf"), kind))

    def _close_window(self) -> None:
        if self.told.windows and self.told.windows[-1][1] == float("inf"):
            self.told.windows[-1] = (self.told.windows[-1][0], time.monotonic(), self.told.windows[-1][2])

    def _next_kind(self) -> str:
        if not self._cycle:
            self._cycle = self._rng.sample(self._kinds, len(self._kinds))
        return self._cycle.pop()


@dataclass
class Judgement:
    """What the stamps say."""

    pairs: int = 0
    mispaired: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    spacing_errors_s: list[float] = field(default_factory=list)
    overtime_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    struck: Counter[str] = field(default_factory=Counter)


def judge(raw: Path, studio: Path, told: Told, rig: Rig) -> Judgement:
    """Compare what was committed with the truth."""
    found = Judgement()
    truth = {line["exposure_id"]: line for line in read_journal(studio / "truth.jsonl")}
    strikes = [line for device in ("camera", "relay") for line in read_journal(studio / f"strikes-{device}.jsonl")]
    presses_s = [line["at_s"] for line in strikes if line["kind"] == "pressed"]
    used: set[str] = set()
    pairs, set_aside = find_pairs(raw)
    found.pairs = len(pairs)
    found.corrupt += [f"{item.name}: {item.reason}" for item in set_aside]
    for pair in pairs:
        try:
            stamps = {name: _stamp(getattr(pair, name), pair.record["files"][name]) for name in ("studio", "flash")}
        except (OSError, ValueError, KeyError, SyntaxError) as error:
            found.corrupt.append(f"{pair.id}: {error}")
            continue
        found.mispaired += [f"{pair.id}: {reason}" for reason in _mispaired(pair.record, stamps, truth, used, presses_s)]
        used |= {stamp["exposure_id"] for stamp in stamps.values()}
        found.spacing_errors_s.append(stamps["flash"]["exposure_s"] - stamps["studio"]["exposure_s"] - rig.spacing_s)
    on_disk = Counter(pair.pose for pair in pairs)
    found.lost += [pose for pose in sorted(told.saved) if not on_disk[pose]]
    found.mispaired += [f"{pose} has {count} pairs" for pose, count in on_disk.items() if count > 1]
    found.struck = Counter(line["kind"] for line in strikes)
    _time_lamps(found, studio, told, rig)
    return found


def _stamp(path: Path, said: dict[str, Any]) -> dict[str, Any]:
    """Return the emulator's stamp in a photograph; ValueError or OSError if the photograph is not whole and right."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != said["sha256"] or len(content) != said["size_bytes"]:
        raise ValueError(f"{path.name} is not what pair.json says")
    with Image.open(path) as image:
        image.load()
        tags = image.getexif().get_ifd(ExifTags.IFD.Exif)
    stamp: dict[str, Any] = json.loads(tags[ExifTags.Base.UserComment].removeprefix(b"ASCII\0\0\0"))
    if tags[ExifTags.Base.ImageUniqueID] != stamp["exposure_id"]:
        raise ValueError(f"{path.name} has two stamps")
    if abs(float(tags[ExifTags.Base.ExposureTime]) - float(EXPOSURE[:-1])) > 1e-4:
        raise ValueError(f"{path.name} was taken with another exposure time than the rig file's")
    return stamp


def _mispaired(
    record: dict[str, Any],
    stamps: dict[str, dict[str, Any]],
    truth: dict[str, dict[str, Any]],
    used: set[str],
    presses_s: list[float],
) -> Iterator[str]:
    studio, flash = stamps["studio"], stamps["flash"]
    began_s, ended_s = (stamp["exposure_s"] - TIMING_S for stamp in (studio, flash))  # a press follows a trigger at once
    if flash["shot"] != studio["shot"] + 1 + sum(began_s < at_s < ended_s for at_s in presses_s):
        yield f"shots {studio['shot']} and {flash['shot']}"
    if studio["flash"] or studio["lamp_light"] < 0.5:
        yield f"the studio photograph has the light {studio}"
    if not flash["flash"] or flash["lamp_light"] > 0.1:
        yield f"the flash photograph has the light {flash}"
    for name, stamp in stamps.items():
        exposed = truth.get(stamp["exposure_id"])
        if exposed is None or exposed["object"] != Path(record["card"][name]).name:
            yield f"{name} is not {record['card'][name]}"
        if stamp["exposure_id"] in used:
            yield f"{name} is in another pair as well"
        measured_s = record["times"]["t0_monotonic_s"] + record["times"][f"{name}_exposure_s"]
        if abs(measured_s - stamp["exposure_s"]) > TIMING_S:
            yield f"{name} was exposed {stamp['exposure_s'] - measured_s:+.3f} s from the time in pair.json"


def _time_lamps(found: Judgement, studio: Path, told: Told, rig: Rig) -> None:
    """Measure by how much each lighting of the lamps outlasted its plan, or the end of the board's deafness."""
    planned_s = max(0.1, rig.warm_up_s - rig.camera_lag_s) + rig.camera_lag_s + rig.lamps_hold_s
    deaf = [
        (order["at_s"], order["at_s"] + order["for_s"])
        for order in read_journal(studio / "faults.jsonl")
        if order.get("kind") == "deaf"
    ]
    on_s: float | None = None
    for line in read_journal(studio / "lamps.jsonl"):
        if line["on"]:
            on_s = line["at_s"]
        elif on_s is not None:
            due_s = on_s + planned_s
            due_s = max([due_s, *(end_s for start_s, end_s in deaf if start_s < line["at_s"] and end_s > on_s)])
            kind = next((kind for start_s, end_s, kind in told.windows if start_s <= on_s < end_s), "none")
            found.overtime_s[kind].append(max(0.0, line["at_s"] - due_s))
            on_s = None
    if on_s is not None:
        found.overtime_s["at the end"].append(float("inf"))


def hold(order: str) -> int:
    """Hold one session for the benchmark: say what happens on standard output, wait for `go` before each take."""
    rig, raw, subject, poses = json.loads(order)

    def say(**message: Any) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    def prompt(pose: str, number: int) -> None:
        say(prompt=pose, number=number)
        sys.stdin.readline()

    try:
        result = hold_session(
            Rig(**rig),
            Path(raw),
            subject,
            poses,
            report=lambda _done, _total, note: say(note=note),
            prompt=prompt,
            retakes=RETAKES,
        )
    except DeepflashError as error:
        say(error=str(error))
        return 1
    say(missing=result.missing)
    return 0


def report(runs: list[Run], took_s: float) -> bool:
    """Print everything; tell whether all is well."""
    kinds: Counter[str] = sum((run.told.applied for run in runs), Counter())
    takes, faulty = sum(run.told.takes for run in runs), sum(run.told.faulty_takes for run in runs)
    bad = {name: [item for run in runs for item in getattr(run.judge, name)] for name in ("mispaired", "corrupt", "lost")}
    hung = sum(run.told.hung for run in runs)
    given_up = [pose for run in runs for pose in run.told.given_up]
    overtime_s: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for kind, values in run.judge.overtime_s.items():
            overtime_s[kind] += values
    print(f"\n{sum(run.judge.pairs for run in runs)} pairs committed in {took_s / 60:.1f} min: {takes} takes, {faulty} of them")
    print(f"with a fault, {len(kinds)} kinds of faults; poses given up: {len(given_up)}; sessions that hung: {hung}")
    print("mispaired {}, corrupt {}, lost {}".format(*(len(bad[name]) for name in ("mispaired", "corrupt", "lost"))))
    for name, items in bad.items():
        print("".join(f"  {name}: {item}\n" for item in items), end="")
    longest_s = max(max(values) for values in overtime_s.values())
    print(f"lamps on longer than planned, at most {1000 * longest_s:.0f} ms; by fault (times it struck, median and max in ms):")
    for kind in sorted(overtime_s):
        values = overtime_s[kind]
        print(f"  {kind:<40} {kinds[kind]:4d} {1000 * statistics.median(values):8.0f} {1000 * max(values):8.0f}")
    _print_spacing([error for run in runs for error in run.judge.spacing_errors_s])
    for title, counted in (
        ("strikes of the emulated devices", sum((run.judge.struck for run in runs), Counter())),
        ("sessions that ended early and were held again", sum((run.told.ended_early for run in runs), Counter())),
        ("takes that were repeated", sum((run.told.failures for run in runs), Counter())),
    ):
        print(f"{title}:")
        print("".join(f"  {count:4d} {what}\n" for what, count in counted.most_common()), end="")
    return not (any(bad.values()) or hung or longest_s > LAMPS_LIMIT_S)


def _print_spacing(errors_s: list[float]) -> None:
    absolute_ms = sorted(1000 * abs(error) for error in errors_s)
    print(
        f"spacing of the exposures against the plan: median error {1000 * statistics.median(errors_s):+.2f} ms, median |error| "
        f"{statistics.median(absolute_ms):.2f} ms, 95 % {absolute_ms[int(0.95 * (len(absolute_ms) - 1))]:.2f} ms, max "
        f"{absolute_ms[-1]:.2f} ms"
    )


def _messages(session: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """Yield what a session says until it ends; TimeoutError if it says nothing for too long."""
    if session.stdout is None:
        return
    descriptor, held = session.stdout.fileno(), b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], HUNG_S)
        if not ready:
            raise TimeoutError
        some = os.read(descriptor, 65536)
        if not some:
            return
        *lines, held = (held + some).split(b"\n")
        yield from map(json.loads, lines)


@contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """Make a folder that is a disk of its own, if this process may mount; yield whether it is."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(folder)], check=False, capture_output=True
    )
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


def _child_of(parent: int, module: str) -> int | None:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            owner = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if owner == parent and f"hardware.{module}".encode() in (entry / "cmdline").read_bytes():
                return int(entry.name)
    return None


def _short(sentence: str) -> str:
    """Return a sentence without what differs from case to case, for counting."""
    words = ["N" if any(letter.isdigit() for letter in word) else word for word in sentence.split()]
    return " ".join(words)[:150]


def main() -> int:
    """Run and judge; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=500, help="how many pairs to commit (default 500)")
    parser.add_argument("--faulty", type=float, default=0.67, help="share of first takes with a fault (default 0.67)")
    parser.add_argument("--size", default="240x320", help="WIDTHxHEIGHT of the pictures in pixels (default 240x320)")
    parser.add_argument("--rigs", type=int, default=2, help="how many rigs to run at once (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="decides which fault comes when")
    parser.add_argument("--only", nargs="*", choices=list(FAULTS), help="these kinds of faults (default all)")
    parser.add_argument("--keep", type=Path, help="a new folder for studios and pairs, kept afterwards (default: temporary)")
    parser.add_argument("--hold", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        return hold(options.hold)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        runs = [Run(number, folder, options) for number in range(options.rigs)]
        began_s = time.monotonic()
        threads = [threading.Thread(target=run.hold_all) for run in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return 0 if report(runs, time.monotonic() - began_s) else 1


if __name__ == "__main__":
    sys.exit(main())
