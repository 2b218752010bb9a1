"""Accuracy and cost of the registration, on pairs whose true map is known.

    python benchmarks/registration.py --data ../shared/data --repeats 2

The benches are those of `pairs_with_truth`. Errors are mean distances over a grid on the face (the middle of the picture
where there is no face), in pixels of a 3120 pixels wide photograph. CPU seconds are those of `register` alone, without
decoding and face detection.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pairs_with_truth import BENCHES, Case, cases
from truth import grid, mean_distance

from deepflash.affine import IDENTITY
from deepflash.align.quality import judge
from deepflash.align.registration import register
from deepflash.faces import find_faces, subject_face


@dataclass(frozen=True)
class Result:
    """What the registration made of a case; errors in pixels of a 3120 pixels wide photograph."""

    case: str
    bench: str
    before: float
    error: float
    method: str
    verdict: str
    reasons: tuple[str, ...]
    cpu_s: float


def main() -> None:
    """Run the benches and print one line per case and one per bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with portraits/ and pairs/")
    parser.add_argument("--repeats", type=int, default=2, help="random maps per picture")
    parser.add_argument("--seed", type=int, default=0, help="chooses other random maps")
    parser.add_argument("--bench", choices=BENCHES, action="append", help="only this one")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    results = []
    for case in cases(options.data, options.repeats, options.bench or BENCHES, seed=options.seed):
        result = run(case)
        results.append(result)
        print(
            f"{result.bench:9}{result.case:8} before {result.before:6.1f}  after {result.error:6.2f} px"
            f"  {result.method:15}{result.cpu_s:.2f} s"
            f"  {result.verdict}{': ' if result.reasons else ''}{'; '.join(result.reasons)}",
            flush=True,
        )
    print_table(results)


def run(case: Case) -> Result:
    """Register one case and measure."""
    height, width = case.flash.shape[:2]
    faces = [subject_face(find_faces(picture), width, height) for picture in (case.flash, case.studio)]
    start_s = time.process_time()
    registration = register(case.flash, case.studio, fixed_face=faces[0], moving_face=faces[1])
    cpu_s = time.process_time() - start_s
    judgement = judge(registration, faces[0], faces[1], (width, height))
    points = grid(faces[0] or faces[1], width, height)
    return Result(
        case=case.name,
        bench=case.bench,
        before=mean_distance(IDENTITY, case.truth, points, width),
        error=mean_distance(registration.moving_from_fixed, case.truth, points, width),
        method=registration.method,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
        cpu_s=cpu_s,
    )


def print_table(results: list[Result]) -> None:
    """Print medians, 95th percentiles and what quality control made of large errors."""
    print("\n| bench | pairs | before, median | error, median | p95 | largest | > 6 px called good | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for bench in dict.fromkeys(result.bench for result in results):
        chosen = [result for result in results if result.bench == bench]
        errors = np.array([result.error for result in chosen])
        unnoticed = sum(result.error > 6 and result.verdict == "good" for result in chosen)
        print(
            f"| {bench} | {len(chosen)} | {np.median([result.before for result in chosen]):.1f} | {np.median(errors):.2f} |"
            f" {np.percentile(errors, 95):.2f} | {errors.max():.2f} | {unnoticed} |"
            f" {np.mean([result.cpu_s for result in chosen]):.2f} |"
        )


if __name__ == "__main__":
    main()
