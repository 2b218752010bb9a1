"""Time and memory of enhancing a photograph, all included, by stages and by its size.

    python benchmarks/enhance.py [--recipe quick] [--set NAME=VALUE] [--megapixels 3 13 50] [--background keep] [--threads 2]

The photograph is skimage's astronaut, enlarged to 4:3 and stored as JPEG of quality 95; the network is untrained, which costs
what a trained one does. Every size is measured in a process of its own: the second of two photographs for the times, so that
models are loaded, and the peak of the resident memory of the whole process. CPU seconds are user and system time.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import cv2
import skimage.data
import torch

from deepflash.model.enhancement import enhancer as enhancing
from deepflash.model.enhancement.look import Look, parse_background
from deepflash.model.recipe import load_recipe
from deepflash.model.runs import TrainedRun, build_network, to_device
from deepflash.photos import encode_photo, read_photo

_STAGES = {"_faces_of": "faces", "_subject_of": "matte", "correct_red_eyes": "red eyes", "render": "full resolution"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="NAME=VALUE", help="change the recipe")
    parser.add_argument("--megapixels", type=int, nargs="+", default=[3, 13, 50])
    parser.add_argument("--background", default="keep")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for megapixels in chosen.megapixels:
        process = context.Process(target=measure, args=(chosen, megapixels))
        process.start()
        process.join()


def measure(chosen: argparse.Namespace, megapixels: int) -> None:
    """Enhance two photographs of that size and print how the second went."""
    torch.set_num_threads(chosen.threads)
    cv2.setNumThreads(chosen.threads)
    recipe = load_recipe(chosen.recipe, chosen.changes)
    enhancer = enhancing.Enhancer(TrainedRun(recipe, to_device(build_network(recipe).eval(), None), 0))
    look = Look(background=parse_background(chosen.background))
    spent: dict[str, tuple[float, float]] = {}
    for name, stage in _STAGES.items():
        setattr(enhancing, name, _timed(stage, getattr(enhancing, name), spent))
    layers = _timed("network", enhancing.Enhancer._layers, spent)
    enhancing.Enhancer._layers = layers  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photograph.jpg"
        path.write_bytes(_photograph(megapixels))
        for _ in range(2):
            spent.clear()
            _timed("all", lambda: _once(path, enhancer, look, spent), spent)()
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu_s, wall_s = spent.pop("all")
    print(f"{megapixels} MP, {recipe.network} at {recipe.size} px, width {recipe.width}, background {chosen.background}: "
          f"{cpu_s:.2f} CPU s, {wall_s:.2f} s on {chosen.threads} threads, peak {memory_mb:.0f} MB")  # fmt: skip
    for stage, (stage_cpu_s, stage_wall_s) in spent.items():
        print(f"  {stage:<16} {stage_cpu_s:5.2f} CPU s  {stage_wall_s:5.2f} s  {stage_cpu_s / cpu_s:4.0%}")


def _once(path: Path, enhancer: enhancing.Enhancer, look: Look, spent: dict[str, tuple[float, float]]) -> None:
    photo = _timed("read", read_photo, spent)(path)
    portrait = enhancer.enhance(photo, look)
    _timed("write", encode_photo, spent)(portrait, ".jpg")


def _timed(stage: str, call: Callable[..., Any], spent: dict[str, tuple[float, float]]) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        result = call(*arguments)
        spent[stage] = time.process_time() - cpu_s, time.perf_counter() - wall_s
        return result

    return timed


def _photograph(megapixels: int) -> bytes:
    width = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    picture = cv2.resize(skimage.data.astronaut()[:, :384], (width, width * 4 // 3), interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())


if __name__ == "__main__":
    main()
