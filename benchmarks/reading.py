"""Reading shards beside decoding the same pictures from memory, plain files, and the bare webdataset library; picture formats.

    python benchmarks/reading.py [--only formats|readers] [--pictures FORMAT] [--pairs N] [--rounds N] [--photographs FOLDER]

The rate of decoding from memory is what a reader can reach at most; a reader's share of it is given, each measured in the
same rounds, alternating, with the files in the page cache. Workers are threads, or processes of a torch `DataLoader`, on both
sides of the comparison. CPU ms are user and system time of this process and its children.
"""

import argparse
import io
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch
import webdataset
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from deepflash.model.reader import ShardReader
from deepflash.pictures import Picture, decode_rgb, read_rgb
from deepflash.shards import PICTURE_FORMATS, ShardWriter, encode_sample, open_shards

SIZE = 512
BATCH = 8

Encoded = tuple[bytes, bytes]
Pair = tuple[Picture, Picture]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["formats", "readers"])
    parser.add_argument("--pictures", choices=list(PICTURE_FORMATS), help="Read shards of that format only.")
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photographs", type=Path, help="Folder of JPEG portraits. Default: scikit-image's astronaut.")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    sources = photographs(options.photographs)
    if options.only in {None, "formats"}:
        measure_formats(sources)
    if options.only in {None, "readers"}:
        with tempfile.TemporaryDirectory() as folder:
            for pictures in [options.pictures] if options.pictures else PICTURE_FORMATS:
                measure_readers(sources, Path(folder) / pictures, pictures, options.pairs, options.rounds)


def photographs(folder: Path | None) -> list[Picture]:
    """Return photographs to make samples from; without a folder, one with the noise of a sensor."""
    if folder is not None:
        return [read_rgb(path) for path in sorted(folder.glob("*.jpg"))]
    astronaut = skimage.data.astronaut().astype(np.float32)
    noisy = astronaut + np.random.default_rng(0).normal(0, 2, astronaut.shape)
    return [np.clip(noisy, 0, 255).astype(np.uint8)]


def pairs(sources: list[Picture], count: int) -> Iterator[Pair]:
    """Yield pairs as build-dataset makes them: rotated, interpolated once, 512 x 512."""
    random = np.random.default_rng(1)
    for number in range(count):
        source = sources[number % len(sources)]
        height, width = source.shape[:2]
        scale = SIZE / min(height, width)
        source = cv2.resize(source, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else source
        centre = (source.shape[1] / 2, source.shape[0] / 2)
        matrix = cv2.getRotationMatrix2D(centre, random.uniform(-20, 20), random.uniform(1, 1.2) * max(scale, 1))
        matrix[:, 2] += SIZE / 2 - np.array(centre)
        studio = cv2.warpAffine(source, matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        yield np.asarray(studio * 0.8, np.uint8), np.asarray(studio, np.uint8)


def measure_formats(sources: list[Picture]) -> None:
    """Encode and decode a dozen pictures with every candidate for the shards."""
    pictures = [studio for _, studio in pairs(sources, 12)]
    print(f"picture formats, {SIZE} x {SIZE} RGB, one thread: KiB, ms to encode and to decode, and what is lost")
    for name, (encode, decode) in candidates().items():
        best = [float("inf")] * 2
        for _ in range(3):
            began_s = time.process_time()
            encoded = [encode(picture) for picture in pictures]
            between_s = time.process_time()
            decoded = [decode(content) for content in encoded]
            ended_s = time.process_time()
            best = [min(best[0], between_s - began_s), min(best[1], ended_s - between_s)]
        error = np.mean([np.square(a.astype(float) - b).mean() for a, b in zip(pictures, decoded, strict=True)])
        kib = sum(map(len, encoded)) / len(encoded) / 1024
        lost = f"{10 * np.log10(255**2 / error):.1f} dB" if error else "nothing"
        print(f"  {name:34} {kib:6.0f} {1000 * best[0] / len(pictures):7.2f} {1000 * best[1] / len(pictures):6.2f}  {lost}")


def candidates() -> dict[str, tuple[Callable[[Picture], bytes], Callable[[bytes], Picture]]]:
    """Return encoders and decoders by name."""
    png = {
        "PNG, level 1": (),
        "PNG, level 6": (cv2.IMWRITE_PNG_COMPRESSION, 6),
        "PNG, level 0": (cv2.IMWRITE_PNG_COMPRESSION, 0),
        "PNG, level 1, filter Up": (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
        "PNG, level 1, filter Paeth": (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH),
        "PNG, level 1, run lengths": (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        "PNG, run lengths, filter Average": (
            *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG),
            *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        ),
        "PNG, run lengths, filter Up (png)": (
            *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP),
            *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        ),
    }
    full_chroma = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    found = {name: (_opencv(".png", cv2.IMWRITE_PNG_COMPRESSION, 1, *options), _decode) for name, options in png.items()}
    for method, quality in ((0, 0), (1, 0), (4, 80)):
        name = f"WebP lossless, method {method}" + (" (webp)" if method == 0 else "")
        found[name] = (_pillow("WEBP", lossless=True, method=method, quality=quality, exact=True), _decode)
    found["PPM"] = (_opencv(".ppm"), _decode)
    found["QOI"] = (_pillow("QOI"), _decode_with_pillow)
    found["JPEG 95, 4:2:0"] = (_opencv(".jpg", cv2.IMWRITE_JPEG_QUALITY, 95), _decode)
    found["JPEG 95, 4:4:4 (jpeg)"] = (_opencv(".jpg", cv2.IMWRITE_JPEG_QUALITY, 95, *full_chroma), _decode)
    return found


def _opencv(suffix: str, *options: int) -> Callable[[Picture], bytes]:
    return lambda picture: cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def _pillow(kind: str, **options: Any) -> Callable[[Picture], bytes]:
    def encode(picture: Picture) -> bytes:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, kind, **options)
        return file.getvalue()

    return encode


def _decode(content: bytes) -> Picture:
    return decode_rgb(content, "a picture")


def _decode_with_pillow(content: bytes) -> Picture:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def measure_readers(sources: list[Picture], folder: Path, pictures: str, count: int, rounds: int) -> None:
    """Read a data set in every way, alternating; print the best round's rate and its share."""
    _write(folder / "shards", pairs(sources, count), pictures)
    readers = _readers(folder / "shards", _in_memory(folder / "shards"), _as_files(folder / "shards", folder / "files"))
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name, read in readers.items():
            cpu_s, began_s = _cpu_s(), time.perf_counter()
            seen = sum(len(batch) for batch in read())
            rate, cpu_ms = seen / (time.perf_counter() - began_s), 1000 * (_cpu_s() - cpu_s) / seen
            if seen != count:
                raise SystemExit(f"{name} read {seen} pairs of {count}")
            kept = best.get(name, (0.0, float("inf")))
            best[name] = (max(kept[0], rate), min(kept[1], cpu_ms))
    print(f"{pictures}, {count} pairs of {SIZE} px in batches of {BATCH}, warm: pairs/s, CPU ms/pair, shares of memory's")
    for name, (rate, cpu_ms) in best.items():
        base = best[f"memory,{name.partition(',')[2]}"]
        print(f"  {name:24} {rate:7.1f} {cpu_ms:7.2f}  {rate / base[0]:6.1%} of the rate, {base[1] / cpu_ms:6.1%} by CPU time")


def _readers(shards: Path, memory: list[Encoded], files: list[tuple[Path, Path]]) -> dict[str, Callable[[], Iterable[Any]]]:
    tars = [str(path) for path in sorted(shards.glob("train-*.tar"))]
    found: dict[str, Callable[[], Iterable[Any]]] = {}
    for threads in (1, 2):
        label = f"{threads} thread{'s' if threads > 1 else ''}"
        found[f"memory, {label}"] = lambda threads=threads: _threaded(_decode_pair, memory, threads)
        found[f"files, {label}"] = lambda threads=threads: _threaded(_read_pair, files, threads)
        reader = ShardReader(shards, batch=BATCH, threads=threads)
        found[f"shards, {label}"] = lambda reader=reader: _lengths(reader)
    for workers in (1, 2):
        label = f"{workers} process{'es' if workers > 1 else ''}"
        found[f"memory, {label}"] = lambda workers=workers: _loaded(_Mapped(memory, _decode_pair), workers)
        found[f"files, {label}"] = lambda workers=workers: _loaded(_Mapped(files, _read_pair), workers)
        found[f"webdataset, {label}"] = lambda workers=workers: _bare(tars, workers)
        reader = ShardReader(shards, batch=BATCH)
        found[f"shards, {label}"] = lambda reader=reader, workers=workers: _lengths(reader.loader(workers))
    return found


class _Mapped(Dataset[tuple[Any, Any]]):
    """Pairs from memory or plain files, for torch's own loader."""

    def __init__(self, sources: list[Any], read: Callable[[Any], Pair]) -> None:
        self._sources = sources
        self._read = read

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: int) -> Pair:
        return self._read(self._sources[index])


def _decode_pair(encoded: Encoded) -> Pair:
    flash, studio = encoded
    return _decode(flash), _decode(studio)


def _read_pair(paths: tuple[Path, Path]) -> Pair:
    flash, studio = paths
    return _decode(flash.read_bytes()), _decode(studio.read_bytes())


def _threaded(read: Callable[[Any], Pair], sources: list[Any], threads: int) -> Iterator[range]:
    """Read with threads, two batches ahead, and stack batches, as the reader of shards does."""
    chunks = [sources[first : first + BATCH] for first in range(0, len(sources), BATCH)]
    with ThreadPoolExecutor(threads) as pool:
        ahead = [[pool.submit(read, source) for source in chunk] for chunk in chunks[:2]]
        for number in range(len(chunks)):
            batch = [future.result() for future in ahead.pop(0)]
            stacked = [torch.from_numpy(np.stack(pictures)) for pictures in zip(*batch, strict=True)]
            if number + 2 < len(chunks):
                ahead.append([pool.submit(read, source) for source in chunks[number + 2]])
            yield range(len(stacked[0]))


def _loaded(dataset: _Mapped, workers: int) -> Iterator[range]:
    return (range(len(flash)) for flash, _ in DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=workers))


def _bare(tars: list[str], workers: int) -> Iterator[range]:
    def decoded(sample: dict[str, Any]) -> Pair:
        flash, studio = (sample[name] for name in sorted(sample) if name.startswith(("flash.", "studio.")))
        return _decode(flash), _decode(studio)

    dataset = webdataset.WebDataset(tars, shardshuffle=False, workersplitter=webdataset.split_by_worker, empty_check=False)
    batches = dataset.map(decoded).batched(BATCH)
    return (range(len(flash)) for flash, _ in DataLoader(batches, batch_size=None, num_workers=workers))


def _lengths(batches: Iterable[Any]) -> Iterator[range]:
    return (range(len(batch.keys)) for batch in batches)


def _write(folder: Path, samples: Iterator[Pair], pictures: str) -> None:
    with ShardWriter(folder, target_bytes=32 * 2**20) as writer:
        for number, (flash, studio) in enumerate(samples):
            writer.add("train", f"k{number:06d}", encode_sample(flash, studio, {"number": number}, pictures=pictures))
        writer.commit({"size": SIZE})


def _in_memory(shards: Path) -> list[Encoded]:
    dataset = open_shards(shards)
    return [tuple(dataset.read_members(entry).values())[:2] for entry in dataset.entries("train")]  # type: ignore[misc]


def _as_files(shards: Path, folder: Path) -> list[tuple[Path, Path]]:
    folder.mkdir()
    dataset = open_shards(shards)
    paths = []
    for entry in dataset.entries("train"):
        for name, content in dataset.read_members(entry).items():
            (folder / f"{entry.key}.{name}").write_bytes(content)
        flash, studio, _ = entry.members
        paths.append((folder / f"{entry.key}.{flash}", folder / f"{entry.key}.{studio}"))
    return paths


def _cpu_s() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
