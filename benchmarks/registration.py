"""Accuracy and cost of the registration beside other people's, on the same pairs, whose true map is known.

    python benchmarks/registration.py --data ../shared/data --work /tmp/registration

The benches are those of `pairs_with_truth`. Every case is stored as two JPEGs in the work folder; every method then
registers all of them in a child process of its own, whose CPU seconds and peak of memory are thereby its own. What is
done is kept in the work folder, so that the same command goes on where it was interrupted; results of our methods count
as done for as long as the package's sources stay the same.

Errors are mean distances over a grid on the face (the middle of the picture where there is no face), in pixels of a
photograph 3120 px wide. CPU seconds are those of the registration alone, without decoding and face detection; those of
`align_pair` are all that `deepflash align batch` does with a pair, from the files to the verdict.

`--width 3120` enlarges all pairs to photographs of 13 megapixels. elastix is optional:
`pip install --target FOLDER itk-elastix` and `PYTHONPATH=FOLDER`.
"""

import argparse
import functools
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from contestant import LIMIT_S, OURS, WHOLE
from pairs_with_truth import BENCHES, Case, cases, photographs
from peers import PEERS
from truth import grid, mean_distance

import deepflash
from deepflash.affine import IDENTITY
from deepflash.align.subjects import find_pair_faces
from deepflash.pairs import Face
from deepflash.pictures import encode, read_rgb

METHODS = [*PEERS, *OURS, WHOLE]
FAILED_PX = 5.0
WRONG_PX = 12.0
TILE_PX = 480  # side of one view in a strip of `--worst`


@dataclass(frozen=True)
class Stored:
    """A case on disk: `flash.jpg`, `studio.jpg` and `case.json` in a folder."""

    folder: Path
    bench: str
    width: int
    height: int
    truth: np.ndarray | None
    flaw: str
    beyond_px: float
    face: Face | None

    @property
    def id(self) -> str:
        return self.folder.name

    def error_px(self, affine: Any) -> float:
        """Return the error of a map, infinite for None, NaN where the truth is unknown."""
        if self.truth is None:
            return float("nan")
        if affine is None:
            return float("inf")
        points = grid(self.face, self.width, self.height)
        return mean_distance(np.array(affine, dtype=np.float64), self.truth, points, self.width)


def main() -> None:
    """Make the cases, let every method answer them, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with portraits/ and pairs/")
    parser.add_argument("--work", type=Path, required=True, help="folder for cases and results; the same one to go on")
    parser.add_argument("--repeats", type=int, default=1, help="random maps per picture")
    parser.add_argument("--seed", type=int, default=0, help="chooses other random maps")
    parser.add_argument("--width", type=int, help="enlarge the pairs to 3:4 photographs of this width in pixels")
    parser.add_argument("--bench", choices=BENCHES, action="append", help="only this one; may be repeated")
    parser.add_argument("--method", choices=METHODS, action="append", help="only this one; may be repeated")
    parser.add_argument("--worst", type=Path, metavar="DIR", help="write pictures of the worst cases; they show real people")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    benches, methods = options.bench or BENCHES, options.method or METHODS
    place = options.work / f"seed{options.seed}-repeats{options.repeats}-width{options.width or 'as-is'}"
    stored = [
        case
        for bench in benches
        for case in stored_cases(place, options.data, bench, options.repeats, options.seed, options.width)
    ]
    results = {method: answers(method, stored, place / "results") for method in methods}
    print_accuracy(results, stored)
    if WHOLE in results:
        print_verdicts(results[WHOLE], stored)
    if options.worst:
        write_worst(options.worst, results, stored)


def stored_cases(place: Path, data: Path, bench: str, repeats: int, seed: int, width: int | None) -> list[Stored]:
    """Return the cases of a bench, made now unless they are in the folder already."""
    listing = place / f"{bench}.json"
    made_by = _checksum(Path(__file__).parent.glob("*truth.py"), Path(__file__).parent.glob("disturbances.py"))
    if not listing.exists() or json.loads(listing.read_text())["made_by"] != made_by:
        print(f"making the cases of {bench}", file=sys.stderr, flush=True)
        made = [_store(place, case, width) for case in cases(data, repeats, [bench], seed=seed)]
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text(json.dumps({"made_by": made_by, "cases": made}))
    return [_load(place / name) for name in json.loads(listing.read_text())["cases"]]


def _store(place: Path, case: Case, width: int | None) -> str:
    if width is not None:
        case = photographs(case, width)
    folder = place / f"{case.bench}-{case.name}"
    folder.mkdir(parents=True, exist_ok=True)
    faces = find_pair_faces(case.flash, case.studio)
    for side, picture in (("flash", case.flash), ("studio", case.studio)):
        (folder / f"{side}.jpg").write_bytes(encode(picture, ".jpg"))
    facts = {
        "bench": case.bench,
        "size": case.flash.shape[1::-1],
        "truth": None if case.truth is None else case.truth.tolist(),
        "flaw": case.flaw,
        "beyond_px": case.beyond_px,
        "faces": {
            "flash": None if faces.flash is None else asdict(faces.flash),
            "studio": None if faces.studio is None else asdict(faces.studio),
        },
    }
    (folder / "case.json").write_text(json.dumps(facts))
    return folder.name


def _load(folder: Path) -> Stored:
    facts = json.loads((folder / "case.json").read_text())
    face = facts["faces"]["flash"] or facts["faces"]["studio"]
    return Stored(
        folder,
        facts["bench"],
        *facts["size"],
        truth=None if facts["truth"] is None else np.array(facts["truth"]),
        flaw=facts["flaw"],
        beyond_px=facts["beyond_px"],
        face=None if face is None else Face(tuple(face["box"]), face["landmarks"]),
    )


def answers(method: str, stored: list[Stored], results: Path) -> dict[str, dict[str, Any]]:
    """Return what a method makes of every case, by the case's id; done now unless it was done before."""
    results.mkdir(parents=True, exist_ok=True)
    file = results / f"{METHODS.index(method):02d}.jsonl"
    package = Path(deepflash.__file__).parent
    sources = [(package / "align").glob("*.py"), package.glob("[afp]*.py")] if method in (*OURS, WHOLE) else []
    here = Path(__file__).parent
    version = _checksum([here / "peers.py", here / "contestant.py"], *sources)
    done: dict[str, dict[str, Any]] = {}
    for line in file.read_text().splitlines() if file.exists() else []:
        result = json.loads(line)
        if result["version"] == version and result["method"] == method and result["failure"] != "not installed":
            done[result["case"]] = result
    todo = [case for case in stored if _key(case) not in done]
    if todo:
        print(f"{method}: {len(todo)} cases", file=sys.stderr, flush=True)
    with file.open("a") as record:
        for case, result in _asked(method, todo):
            done[_key(case)] = {**result, "case": _key(case), "method": method, "version": version}
            record.write(json.dumps(done[_key(case)]) + "\n")
            record.flush()
    return {case.id: done[_key(case)] for case in stored}


def _key(case: Stored) -> str:
    """Return what changes with the case's content."""
    return f"{case.id} {_content(case.folder)}"


@functools.cache
def _content(folder: Path) -> str:
    return _checksum(folder.iterdir())


def _asked(method: str, todo: list[Stored]) -> Iterator[tuple[Stored, dict[str, Any]]]:
    """Ask a child process for each case; one that dies is recorded as no answer, and another one goes on behind it."""
    while todo:
        command = [sys.executable, str(Path(__file__).with_name("contestant.py")), method]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            print(*(case.folder.absolute() for case in todo), sep="\n", file=child.stdin)
            child.stdin.close()
            for line in child.stdout:
                if line.startswith("{"):  # libraries print, too
                    yield todo.pop(0), json.loads(line)
        if child.returncode > 0:
            raise SystemExit(f"{method}: its process failed at {todo[0].folder}; see above")
        if todo:
            reason = f"no answer in {LIMIT_S} s" if child.returncode == -14 else f"died ({child.returncode})"
            yield todo.pop(0), {"affine": None, "failure": reason, "cpu_s": float(LIMIT_S), "peak_mb": 0.0}


def _checksum(*groups: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for group in groups:
        for path in sorted(group):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def print_accuracy(results: dict[str, dict[str, dict[str, Any]]], stored: list[Stored]) -> None:
    """Print a row per method: median / 95th percentile / largest error and failures on each bench, time and memory."""
    sound = [case for case in stored if case.truth is not None and case.bench != "turned"]
    groups = {bench: [case for case in sound if case.bench == bench] for bench in dict.fromkeys(case.bench for case in sound)}
    print("\nmedian / p95 / largest error in px of 3120 (failures: no answer, or more than 5 px)\n")
    print(f"| method | {' | '.join(f'{bench}, {len(group)}' for bench, group in groups.items())} | CPU s | MB |")
    print("| --- |" + " --- |" * (len(groups) + 2))
    for method, answered in results.items():
        if any(answer["failure"] == "not installed" for answer in answered.values()):
            print(f"| {method} | {'not installed |' * (len(groups) + 2)}")
            continue
        cells = [_summary([case.error_px(answered[case.id]["affine"]) for case in group]) for group in groups.values()]
        cpu_s = np.median([answer["cpu_s"] for answer in answered.values()])
        peak_mb = max(answer["peak_mb"] for answer in answered.values())
        print(f"| {method} | {' | '.join(cells)} | {cpu_s:.2f} | {peak_mb:.0f} |")


def _summary(errors: list[float]) -> str:
    most = float(np.percentile(errors, 95, method="inverted_cdf"))  # one of the errors: no answer counts as infinite
    failures = sum(error > FAILED_PX for error in errors)
    return " / ".join(_rounded(error) for error in (float(np.median(errors)), most, max(errors))) + f" ({failures})"


def _rounded(error: float) -> str:
    return f"{error:.2f}" if error < 10 else f"{error:.0f}" if error < 1000 else "lost"


def print_verdicts(answered: dict[str, dict[str, Any]], stored: list[Stored]) -> None:
    """Print what quality control says of each bench, and the cases in which it is silent though it should not be."""
    print("\n| bench | pairs | good | check | bad | > 6 px called good | > 12 px called good | flaw unnoticed |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    silent = []
    for bench in dict.fromkeys(case.bench for case in stored):
        group = [case for case in stored if case.bench == bench]
        verdicts = [answered[case.id].get("verdict", "bad") for case in group]
        good = [case for case, verdict in zip(group, verdicts, strict=True) if verdict == "good"]
        counted = [case for case in good if case.bench != "turned"]
        errors = [case.error_px(answered[case.id]["affine"]) for case in counted]
        unnoticed = [case.id for case in good if case.flaw]
        silent += [f"{case.id} ({case.flaw}, {case.beyond_px:.0f} px beyond any affine map)" for case in good if case.flaw]
        counts = [verdicts.count(verdict) for verdict in ("good", "check", "bad")]
        print(
            f"| {bench} | {len(group)} | {' | '.join(map(str, counts))} | {sum(error > 6 for error in errors)} |"
            f" {sum(error > WRONG_PX for error in errors)} | {len(unnoticed)} |"
        )
    print("\n".join(["", *(f"unnoticed: {line}" for line in silent)]))
    for case in stored:
        if case.bench == "motion":
            answer = answered[case.id]
            print(f"{case.id}: {answer.get('verdict', answer['failure'])}: {'; '.join(answer.get('reasons', ()))}")


def write_worst(target: Path, results: dict[str, dict[str, dict[str, Any]]], stored: list[Stored]) -> None:
    """Write strips of each method's three worst cases: flash, checkerboards with studio as given, by truth, as found.

    The strips show real people; they are for your eyes.
    """
    target.mkdir(parents=True, exist_ok=True)
    for method, answered in results.items():
        known = [case for case in stored if case.truth is not None and answered[case.id]["affine"] is not None]
        known.sort(key=lambda case: case.error_px(answered[case.id]["affine"]), reverse=True)
        for rank, case in enumerate(known[:3], 1):
            error = case.error_px(answered[case.id]["affine"])
            name = "".join(letter if letter.isalnum() else "-" for letter in method)
            strip = _strip(case, np.array(answered[case.id]["affine"], dtype=np.float64))
            (target / f"{name}.{rank}.{case.id}.{error:.1f}px.png").write_bytes(encode(strip, ".png"))


def _strip(case: Stored, found: np.ndarray) -> np.ndarray:
    flash, studio = (read_rgb(case.folder / f"{side}.jpg") for side in ("flash", "studio"))
    points = grid(case.face, case.width, case.height)
    left, top = np.clip(points.min(axis=0) - 40, 0, None).astype(int)
    right, bottom = (points.max(axis=0) + 40).astype(int)
    views = [flash]
    for affine in (IDENTITY, case.truth, found):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        views.append(_checkered(flash, cv2.warpAffine(studio, affine, (case.width, case.height), flags=flags)))
    faces = [view[top:bottom, left:right] for view in views]
    return np.hstack([cv2.resize(face, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA) for face in faces])


def _checkered(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return fields of one picture and of the other in turn, 24 to the height."""
    field = max(1, first.shape[0] // 24)
    rows, columns = np.indices(first.shape[:2]) // field
    return np.where(((rows + columns) % 2 == 0)[..., None], first, second)


if __name__ == "__main__":
    main()
