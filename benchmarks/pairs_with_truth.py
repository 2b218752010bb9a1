"""Pairs of photographs whose true map is known: the cases of the benchmarks of `align`.

Benches:

- `relit`: a portrait rendered twice, in studio-like and in flash-like light, one side warped by a random affine map;
  the truth is exact.
- `hard`: the same with cast shadows and a smooth motion of 3 px that no affine map can undo; the truth is the affine
  map that is left when the affine part of that motion is taken away.
- `real`: real pairs of flash and studio portraits, the studio side warped by a random affine map; the truth is that
  map composed with a consensus of small patches matched on the original pair at full size, good to about 1 px.
  Pairs whose patches disagree (the head turned) are left out, by name.
- `emulated`: flash and studio photograph by the emulated studio; exact. Half of the sitters are the built-in ones,
  half come from `portraits/` where there is such a folder.
- `static`: a fixed camera, direct against bounced flash, one side warped; exact but for the tripod, whose give (0.7 and
  0.4 px) is measured by features and taken into account.
- `infrared`: colour against near infrared with the map that comes with the data; exact.
- `closed`: the pairs of `real` with the eyes closed in the flash photograph: to be registered all the same, and flagged.
- `turned`: the pairs of `real` whose head turns by 5 to 10 degrees, or whose mouth opens, before the flash photograph:
  to be flagged; no affine map is right.
- `motion`: real pairs with real motion, without a truth: only reported.

Random maps: translation to 3 % of the width, rotation to 4 degrees, scale 0.97 to 1.03, shear to 0.02. Lengths are in
pixels of a photograph 3120 px wide.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from disturbances import (
    affine_part,
    displaced,
    head_turn,
    in_flash_light,
    opened_mouth,
    random_affine,
    shadowed,
    warped,
    with_closed_eyes,
    wobble,
)
from truth import REFERENCE_WIDTH, grid, patch_consensus, tripod_shift

from deepflash.affine import Affine, compose, inverse, scaling
from deepflash.faces import find_faces, subject_face
from deepflash.hardware.emulator.scene import Scene, true_moving_from_fixed
from deepflash.hardware.emulator.sitters import SitterChoice, load_sitter
from deepflash.pictures import Picture, read_rgb

BENCHES = ["relit", "hard", "real", "emulated", "static", "infrared", "closed", "turned", "motion"]
EMULATED_SIZE = (1560, 2080)

_MAX_RESIDUAL_PX = 8.0  # of the patches of a real pair: more, and no affine map describes the motion
_MAX_SPREAD_PX = 2.0  # of the panel: more, and the truth is not known


@dataclass(frozen=True)
class Case:
    """A pair of pictures with the true map between their pixels.

    Attributes
    ----------
    bench, name
        Together unlike those of any other case of one seed.
    flash, studio
        (H, W, 3) RGB `uint8`.
    truth
        (2, 3) map from the pixels of `flash` to those of `studio`; None where nobody knows it.
    flaw
        What quality control must notice; empty for a sound pair.
    beyond_px
        Mean motion on the face that no affine map can undo, beside what is unknown of it.
    """

    bench: str
    name: str
    flash: Picture
    studio: Picture
    truth: Affine | None
    flaw: str = ""
    beyond_px: float = 0.0


def cases(data: Path, repeats: int, benches: list[str], *, seed: int = 0) -> Iterator[Case]:
    """Yield the cases of the chosen benches; the same ones for the same seed, which chooses all that is random.

    Parameters
    ----------
    data
        A folder with `pairs/{deepflash,static,known_affine,motion}/` and, if wanted, `portraits/`.
    repeats
        Random maps per picture.
    """
    makers = {
        "relit": relit_cases,
        "hard": hard_cases,
        "real": real_cases,
        "emulated": emulated_cases,
        "static": static_cases,
        "infrared": infrared_cases,
        "closed": closed_cases,
        "turned": turned_cases,
        "motion": motion_cases,
    }
    for bench in benches:
        yield from makers[bench](data, repeats, seed)


def photographs(case: Case, width: int) -> Case:
    """Return a case as photographs of 3:4 and this width: enlarged, rows repeated above and below where they lack.

    What is tall is cut above and below.
    """
    factor = width / case.flash.shape[1]
    height = round(width * 4 / 3)
    rows = (height - round(case.flash.shape[0] * factor)) / 2
    map_ = compose(np.array([[1, 0, 0], [0, 1, float(int(rows))]]), scaling(factor))
    flash, studio = (
        np.asarray(
            cv2.warpAffine(picture, map_, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8
        )
        for picture in (case.flash, case.studio)
    )
    truth = None if case.truth is None else compose(map_, compose(case.truth, inverse(map_)))
    return replace(case, flash=flash, studio=studio, truth=truth)


def relit_cases(data: Path, repeats: int, seed: int) -> Iterator[Case]:
    """Render each real studio portrait in two lights."""
    for path in sorted((data / "pairs/deepflash").glob("*_studio.jpg")):
        portrait = read_rgb(path)
        for repeat in range(repeats):
            rng = np.random.default_rng([int(path.name[:2]), repeat, seed])
            truth = random_affine(rng, portrait.shape[1], portrait.shape[0])
            yield Case("relit", f"{path.name[:2]}.{repeat}", in_flash_light(portrait, rng), warped(portrait, truth), truth)


def hard_cases(data: Path, repeats: int, seed: int) -> Iterator[Case]:
    """Render each real studio portrait in two lights while the face moves."""
    for case in relit_cases(data, repeats, seed):
        rng = np.random.default_rng([*case.name.encode(), seed])
        height, width = case.flash.shape[:2]
        points = grid(subject_face(find_faces(case.flash), width, height), width, height)
        flash = shadowed(case.flash, rng)
        yield _moved("hard", replace(case, flash=flash), wobble((height, width), points, rng), points)


def real_cases(data: Path, repeats: int, seed: int) -> Iterator[Case]:
    """Warp the studio side of each real pair."""
    for path in sorted((data / "pairs/deepflash").glob("*_flash.jpg")):
        consensus = patch_consensus(path, _studio_of(path))
        if consensus.residual_px > _MAX_RESIDUAL_PX or consensus.spread_px > _MAX_SPREAD_PX:
            print(
                f"real     {path.name[:2]} left out: its patches lie {consensus.residual_px:.1f} px from any affine map,"
                f" which is known to {consensus.spread_px:.1f} px",
                file=sys.stderr,
            )
            continue
        yield from _warped_cases("real", path, consensus.moving_from_fixed, repeats, seed)


def emulated_cases(data: Path, repeats: int, seed: int) -> Iterator[Case]:
    """Photograph the built-in sitters, and as many others, in the emulated studio."""
    folder = data / "portraits"
    for number in range(1, 2 * repeats + 1):
        for source in [None, folder] if folder.is_dir() else [None]:
            subject = f"S{number + 100 * seed:03d}"
            scene = Scene(load_sitter(SitterChoice(subject, source)), EMULATED_SIZE, seed=number + 1000 * seed)
            studio, studio_truth = scene.render(0, 1.0, flash=False)
            flash, flash_truth = scene.render(1, 0.02, flash=True)
            truth = np.asarray(true_moving_from_fixed(studio_truth, flash_truth), dtype=np.float64)
            yield Case("emulated", subject if source is None else f"P{subject[1:]}", flash, studio, truth)


def static_cases(data: Path, repeats: int, seed: int) -> Iterator[Case]:
    """Warp one side of scenes taken with a fixed camera."""
    for path in sorted((data / "pairs/static").glob("*_flash.jpg")):
        given = tripod_shift(read_rgb(path), read_rgb(_studio_of(path)))
        yield from _warped_cases("static", path, given, repeats, seed)


def infrared_cases(data: Path, _repeats: int, _seed: int) -> Iterator[Case]:
    """Read the scenes that come with a known map."""
    for path in sorted((data / "pairs/known_affine").glob("*_affine.json")):
        truth = np.array(json.loads(path.read_text())["fixed_to_moving"])
        fixed, moving = (read_rgb(path.with_name(f"{path.name[:2]}_{side}.jpg")) for side in ("fixed", "moving"))
        yield Case("infrared", path.name[:2], fixed, moving, truth)


def closed_cases(data: Path, repeats: int, seed: int) -> Iterator[Case]:
    """Close the eyes in the flash photograph of each real pair."""
    for case in real_cases(data, repeats, seed):
        height, width = case.flash.shape[:2]
        face = subject_face(find_faces(case.flash, landmarks="large"), width, height)
        if face is not None:
            yield replace(case, bench="closed", flash=with_closed_eyes(case.flash, face), flaw="eyes closed")


def turned_cases(data: Path, repeats: int, seed: int) -> Iterator[Case]:
    """Turn the head, or open the mouth, before the flash photograph of each real pair."""
    for case in real_cases(data, repeats, seed):
        height, width = case.flash.shape[:2]
        face = subject_face(find_faces(case.flash, landmarks="large"), width, height)
        if face is None:
            continue
        points = grid(face, width, height)
        rng = np.random.default_rng([*case.name.encode(), seed])
        speaks = case.name.endswith(("1", "3", "5", "7", "9"))
        motion = (opened_mouth if speaks else head_turn)((height, width), face, rng)
        yield replace(_moved("turned", case, motion, points), flaw="mouth opened" if speaks else "head turned")


def motion_cases(data: Path, _repeats: int, _seed: int) -> Iterator[Case]:
    """Read the real pairs with real motion."""
    for path in sorted((data / "pairs/motion").glob("*_flash.jpg")):
        yield Case("motion", path.name[:2], read_rgb(path), read_rgb(_studio_of(path)), None)


def _studio_of(flash: Path) -> Path:
    return flash.with_name(flash.name.replace("flash", "studio"))


def _warped_cases(bench: str, path: Path, base: Affine, repeats: int, seed: int) -> Iterator[Case]:
    name = path.name.partition("_")[0]
    flash, studio = read_rgb(path), read_rgb(_studio_of(path))
    for repeat in range(repeats):
        rng = np.random.default_rng([int(name), repeat, seed])
        motion = random_affine(rng, flash.shape[1], flash.shape[0])
        yield Case(bench, f"{name}.{repeat}", flash, warped(studio, motion), compose(motion, base))


def _moved(bench: str, case: Case, motion: np.ndarray, points: np.ndarray) -> Case:
    """Let the face move before the flash photograph is taken."""
    affine, beyond = affine_part(motion, points)
    width = case.flash.shape[1]
    return replace(
        case,
        bench=bench,
        flash=displaced(case.flash, motion),
        truth=compose(case.truth, affine),
        beyond_px=beyond * REFERENCE_WIDTH / width,
    )
