"""What building a data set costs, what one interpolation gains, and how sure the leakage check is.

    python benchmarks/dataset.py --data ../shared/data

Parts (`--only`):

- `pair`: pairs of 13 megapixels from the emulated studio, built into the paper's twenty variants of 512 pixels by two workers;
  CPU seconds of all processes, start of the workers included, once with and once without the leakage check.
- `steps`: one variant made by one interpolation, and made in steps, each stored in 8 bits, against the area integral of the
  photograph over each pixel.
- `many`: many small pairs; time, and peak memory of the process that holds them all, at two numbers of pairs.
- `leakage`: distances of faces between different people (`portraits/`), and between the two photographs of one (`pairs/`).
- `split`: how far shares of train, val and test are from 80 : 10 : 10, over a hundred seeds.
"""

import argparse
import itertools
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from deepflash.affine import compose, inverse
from deepflash.align.batch import align_pair
from deepflash.dataset.build import build_dataset
from deepflash.dataset.leakage import THRESHOLD
from deepflash.dataset.parameters import Parameters
from deepflash.dataset.pieces import PORTRAIT_PX
from deepflash.dataset.resampling import read_pyramid, resample, shrink_of
from deepflash.dataset.split import balanced_split, pose_table, split_by_subject
from deepflash.dataset.variant_set import Variant, paper_variants
from deepflash.dataset.variants import face_portrait, flash_from_sample, read_photographs
from deepflash.faces import face_embedding, find_faces, subject_face
from deepflash.files import sha256_of
from deepflash.hardware.emulator.scene import Scene
from deepflash.hardware.emulator.sitters import SitterChoice, load_sitter
from deepflash.pairs import Alignment, Face, Pair, save_alignment
from deepflash.pictures import Picture, encode, read_header, read_rgb

PARTS = ("pair", "steps", "many", "leakage", "split")
FULL_SIZE = (3120, 4160)
PAPERS_PAIRS = 495
BICUBIC = {"flags": cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with portraits/ and pairs/")
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part")
    parser.add_argument("--pairs", type=int, default=8, help="pairs of the part `pair`")
    parser.add_argument("--many", type=int, nargs=2, default=(250, 1000), help="numbers of pairs of the part `many`")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    parts = {
        "pair": lambda: measure_pair(options.pairs),
        "steps": lambda: measure_steps(options.data),
        "many": lambda: measure_many(options.many),
        "leakage": lambda: measure_leakage(options.data),
        "split": measure_split,
    }
    for name in options.only or PARTS:
        parts[name]()


def measure_pair(count: int) -> None:
    """Build a data set of full-size pairs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(1, count + 1):
            save_alignment(folder / "aligned", emulated_pair(folder / "raw", number))
        for leakage_check in (False, True):
            began, cpu_began = time.perf_counter(), children_cpu_s()
            parameters = Parameters(leakage_check=leakage_check)
            build_dataset(folder / "aligned", folder / f"shards-{leakage_check}", parameters, workers=2)
            wall_s, cpu_s = time.perf_counter() - began, children_cpu_s() - cpu_began
            shards = sum(path.stat().st_size for path in (folder / f"shards-{leakage_check}").glob("*.tar"))
            print(
                f"pair: leakage check {leakage_check!s:5}  {cpu_s / count:.2f} CPU s a pair, {wall_s:.1f} s for {count} with"
                f" two workers, {shards / count / 1e6:.1f} MB a pair; {PAPERS_PAIRS} pairs:"
                f" {PAPERS_PAIRS * cpu_s / count / 120:.1f} minutes on two cores that do nothing else",
                flush=True,
            )


def emulated_pair(raw: Path, number: int) -> Alignment:
    """Photograph a built-in sitter with 13 megapixels and register the pair."""
    subject = f"S{number:03d}"
    scene = Scene(load_sitter(SitterChoice(subject)), FULL_SIZE, seed=number)
    raw.mkdir(parents=True, exist_ok=True)
    paths = {light: raw / f"{subject}_{light}.jpg" for light in ("studio", "flash")}
    for shot, (light, lamp_light) in enumerate((("studio", 1.0), ("flash", 0.02))):
        picture, _ = scene.render(shot, lamp_light, flash=light == "flash")
        paths[light].write_bytes(encode(picture, ".jpg"))
    return align_pair(Pair(subject, subject, paths["flash"], paths["studio"]))


def measure_steps(data: Path) -> None:
    """Compare one interpolation with several, on real studio photographs; PSNR in the middle of the picture."""
    for path in sorted((data / "pairs" / "deepflash").glob("0[127]_studio.jpg")):
        photograph = read_rgb(path)
        height, width = photograph.shape[:2]
        face = subject_face(find_faces(photograph), width, height)
        for frame in ("wide", "face") if face else ():
            upright, turned = (
                flash_from_sample(Variant(angle, frame, False), face, (width, height), 512, 1.5) for angle in (0, 10)
            )
            compare_ways(path, photograph, upright, turned)


def compare_ways(path: Path, photograph: Picture, upright: np.ndarray, turned: np.ndarray, size: int = 512) -> None:
    """Make a turned variant of a registered photograph in three ways, and print how near they come."""
    moving_from_fixed = np.array([[1.004, 0.021, -13.3], [-0.021, 1.004, 9.6]])
    shrink = shrink_of(turned)
    truth = area_integral(photograph, compose(moving_from_fixed, turned), size)

    def once() -> Picture:
        return resample(read_pyramid(path, shrink, shrink), compose(moving_from_fixed, turned), size, shrink)

    def turn_then_reduce() -> Picture:
        return reduced(warped(photograph, moving_from_fixed), turned, size)

    def reduce_then_turn() -> Picture:
        return warped(reduced(warped(photograph, moving_from_fixed), upright, size), compose(inverse(upright), turned))

    for way in (once, turn_then_reduce, reduce_then_turn):
        began = time.process_time()
        picture = way()
        cpu_ms = 1000 * (time.process_time() - began)
        name = way.__name__.replace("_", " ")
        print(
            f"steps: {path.name}, {shrink:.2f} pixels to one, {name}: {psnr(picture, truth):.1f} dB, {cpu_ms:.0f} CPU ms",
            flush=True,
        )


def area_integral(photograph: Picture, source_from_output: np.ndarray, size: int, points: int = 16) -> np.ndarray:
    """Average 16 x 16 bicubic points in each pixel of the output, in floating point."""
    total = np.zeros((size, size, 3))
    offsets = (np.arange(points) + 0.5) / points - 0.5
    source = photograph.astype(np.float32)
    for dx, dy in itertools.product(offsets, offsets):
        shift = np.array([[1, 0, dx], [0, 1, dy]])
        total += cv2.warpAffine(source, compose(source_from_output, shift), (size, size), **BICUBIC)
    return total / points**2


def warped(picture: Picture, source_from_output: np.ndarray) -> Picture:
    """Interpolate a picture bicubically at its own size, stored in 8 bits."""
    height, width = picture.shape[:2]
    return np.asarray(cv2.warpAffine(picture, source_from_output, (width, height), **BICUBIC), dtype=np.uint8)


def reduced(picture: Picture, from_sample: np.ndarray, size: int) -> Picture:
    """Cut a frame out, rotated, at full size and in 8 bits, then reduce it by area."""
    side = round(size * shrink_of(from_sample))
    factor = size / side
    sample_from_large = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2]])
    large = cv2.warpAffine(picture, compose(from_sample, sample_from_large), (side, side), **BICUBIC)
    return np.asarray(cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def psnr(picture: np.ndarray, truth: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in the middle half, in dB."""
    quarter = len(truth) // 4
    inner = slice(quarter, -quarter)
    error = picture[inner, inner].astype(np.float64) - truth[inner, inner]
    return float(10 * np.log10(255**2 / (error**2).mean()))


MANY = """
import resource, sys, time
from pathlib import Path
from deepflash.dataset.build import build_dataset
from deepflash.dataset.parameters import Parameters

def watch(done, total, note=""):
    if note and not began:
        began.append((time.perf_counter(), time.process_time()))

if __name__ == "__main__":
    folder, began, start = Path(sys.argv[1]), [], time.perf_counter()
    parameters = Parameters(size=32, leakage_check=False)
    account = build_dataset(folder / "aligned", folder / "shards", parameters, workers=2, report=watch)
    ended, cpu_s = time.perf_counter(), time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    memory = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]  # ru_maxrss knows that of the caller
    print(account.done, ended - start, ended - began[0][0], cpu_s - began[0][1], children.ru_utime + children.ru_stime,
          int(memory) / 1024)
"""
"""A process of its own, so that its peak memory is that of the build."""


def measure_many(counts: tuple[int, int]) -> None:
    """Build data sets of many small pairs, five to a subject, and print what it takes."""
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            photographs = small_photographs(folder)
            for number in range(count):
                save_alignment(folder / "aligned", small_pair(photographs, number))
            (folder / "many.py").write_text(MANY)
            output = subprocess.run([sys.executable, folder / "many.py", folder], check=True, capture_output=True, text=True)
        done, wall_s, joining_s, joining_cpu_s, rendering_cpu_s, memory_mib = (float(word) for word in output.stdout.split())
        assert done == count
        print(
            f"many: {count} pairs, {20 * count} samples: {wall_s:.1f} s, of them {joining_s:.1f} s for split and shards;"
            f" CPU a pair: {1000 * rendering_cpu_s / count:.0f} ms for rendering, {1000 * joining_cpu_s / count:.1f} ms for"
            f" split and shards; peak memory without the workers {memory_mib:.0f} MiB",
            flush=True,
        )


def small_photographs(folder: Path) -> dict[str, Path]:
    """Write one small pair, which all share."""
    picture, _ = Scene(load_sitter(SitterChoice("S001")), (240, 320), seed=0).render(0, 1.0, flash=False)
    paths = {light: folder / f"{light}.jpg" for light in ("flash", "studio")}
    for path in paths.values():
        path.write_bytes(encode(picture, ".jpg"))
    return paths


def small_pair(photographs: dict[str, Path], number: int) -> Alignment:
    """Return the alignment of a pair that differs from others in its subject and by a small shift."""
    subject = f"S{number // 5 + 1:05d}"
    digests = {light: sha256_of(path) for light, path in photographs.items()}
    return Alignment(
        f"{subject}-{number % 5}",
        subject,
        photographs["flash"],
        photographs["studio"],
        digests["flash"],
        digests["studio"],
        (240, 320),
        (240, 320),
        ((1.0, 0.0, number / 1e5), (0.0, 1.0, 0.0)),
        "identity",
        "good",
        flash_face=Face((70.0, 90.0, 170.0, 190.0), {"left_eye": [(95.0, 125.0)], "right_eye": [(145.0, 125.0)]}),
        pose=("frontal", "left", "right", "smile", "up")[number % 5],
    )


def measure_leakage(data: Path) -> None:
    """Print how near different people and one person come to each other."""
    people = [embedding for path in sorted((data / "portraits").glob("*.jpg")) if (embedding := embed(path)) is not None]
    faces = np.array(people)
    squared = (faces**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squared[:, None] + squared[None, :] - 2 * faces @ faces.T, 0))
    others = np.sort(distances[np.triu_indices(len(faces), 1)])
    same = []
    for flash in sorted((data / "pairs").glob("*/*_flash.jpg")):
        both = [embed(path) for path in (flash, flash.with_name(flash.name.replace("flash", "studio")))]
        if all(embedding is not None for embedding in both):
            same.append(float(np.linalg.norm(both[0] - both[1])))
    print(f"leakage: {len(faces)} different people, {len(others)} pairs of them: nearest {others[:5].round(3).tolist()}")
    print(f"leakage: {len(same)} people in two lights: {sorted(round(distance, 3) for distance in same)}")
    for threshold in (0.35, 0.4, THRESHOLD, 0.5, 0.6):
        alarms, hits = int((others < threshold).sum()), sum(distance < threshold for distance in same)
        print(f"leakage: below {threshold}: {alarms} false alarms, {hits} of {len(same)} found")
    began = time.process_time()
    embed(sorted((data / "portraits").glob("*.jpg"))[0])
    print(f"leakage: {time.process_time() - began:.2f} CPU s a face, detection included")


def embed(path: Path) -> np.ndarray | None:
    """Describe the face of a photograph as a build does."""
    header = read_header(path)
    face = subject_face(find_faces(read_rgb(path)), header.width, header.height)
    if face is None:
        return None
    size, identity = (header.width, header.height), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    alone = Alignment("x", "x", path, path, "", "", size, size, identity, "identity", "good", flash_face=face)
    photographs = read_photographs(alone, PORTRAIT_PX, replace(paper_variants(), face_enlargement=1.5))
    return face_embedding(*face_portrait(alone, photographs, PORTRAIT_PX, 1.5))


def measure_split() -> None:
    """Print the spread of the parts' shares over a hundred seeds, for numbered ids, other ids and balanced splits."""
    poses = ("frontal", "left", "right", "smile", "up")
    for count in (12, 50, 101, 1000):
        counts = {f"S{n:04d}": dict.fromkeys(poses[: 1 + n % 5], 1) for n in range(1, count + 1)}
        words = {f"{n * 2654435761 % 2**32:08x}x": own for n, own in enumerate(counts.values())}
        rows = {
            "numbered": [(split_by_subject(counts, (0.8, 0.1, 0.1), seed=seed), counts) for seed in range(100)],
            "other": [(split_by_subject(words, (0.8, 0.1, 0.1), seed=seed), words) for seed in range(100)],
            "balanced": [
                (balanced_split(words, (0.8, 0.1, 0.1), seed=seed), words) for seed in range(100 if count < 1000 else 5)
            ],
        }
        for name, splits in rows.items():
            people = [100 * len(split.subjects["test"]) / count for split, _ in splits]
            tables = [pose_table(split, own) for split, own in splits]
            smiles = [100 * t["test"]["smile"] / max(1, sum(part["smile"] for part in t.values())) for t in tables]
            stand_ins = sum(bool(split.stand_ins) for split, _ in splits)
            print(
                f"split: {count:5} subjects, {name:9} test has {np.mean(people):.1f} % of the people"
                f" (sd {np.std(people):.1f}), {np.mean(smiles):.1f} % of the pose smile (sd {np.std(smiles):.1f});"
                f" stand-ins in {stand_ins} of {len(splits)}"
            )


def children_cpu_s() -> float:
    """Return the CPU seconds of all ended child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
