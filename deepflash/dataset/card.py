"""The card of a data set: a `README.md` that a person reads, and that Hugging Face shows and loads by.

It is a pure function of `dataset.json`: the same data set, the same card, and nothing of the machine that made it.
Front matter: https://huggingface.co/docs/hub/datasets-cards and .../datasets-manual-configuration.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from deepflash.shards import DEFAULT_PICTURES, SPLITS, members_of

_THEIR_NAMES = {"train": "train", "val": "validation", "test": "test"}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST = "1M<n<10M"
_LOSS = {"png": "lossless", "webp": "lossless", "jpeg": "lossy: quality 95, 4:4:4"}


def card(manifest: Mapping[str, Any]) -> str:
    """Return the card of a data set as Markdown with a YAML front matter.

    Parameters
    ----------
    manifest
        The content of `dataset.json`. `split`, `notes`, `parameters`, `statistics`, `set_aside` and `versions` are told if
        they are there.
    """
    sections = (
        _front_matter(manifest),
        _what_it_is(manifest),
        _counts(manifest),
        _subjects(manifest.get("split", {})),
        _statistics(manifest.get("statistics", {})),
        _parameters(manifest),
        _how_to_read(manifest),
        _licence(),
    )
    return "\n".join(section for section in sections if section)


def _front_matter(manifest: Mapping[str, Any]) -> str:
    samples = sum(counts["samples"] for counts in manifest["counts"].values())
    size = next((name for limit, name in _SIZES if samples < limit), _LARGEST)
    files = "".join(
        f"      - split: {_THEIR_NAMES[split]}\n        path: {split}-*.tar\n"
        for split in SPLITS
        if manifest["counts"][split]["samples"]
    )
    return (
        "---\n"
        "pretty_name: Portrait pairs, flash and studio\n"
        "license: unknown\n"
        "task_categories:\n  - image-to-image\n"
        "tags:\n  - webdataset\n  - portrait\n  - relighting\n  - flash photography\n"
        f"size_categories:\n  - {size}\n"
        f"configs:\n  - config_name: default\n    data_files:\n{files}"
        "---\n"
    )


def _what_it_is(manifest: Mapping[str, Any]) -> str:
    size, pictures = manifest["size"], manifest.get("pictures", DEFAULT_PICTURES)
    flash, studio, text = members_of(pictures)
    return f"""# Portrait pairs, flash and studio

Pairs of portraits of the same moment, one lit by the flash of a phone, one by the lamps of a studio, registered to the pixel.
Made by [deepflash](https://pypi.org/project/deepflash/) to train networks that turn the one into the other, after Capece et
al., *DeepFlash: Turning a flash selfie into a studio portrait* (2019).

A sample has three files:

- `KEY.{flash}`: the flash photograph, {size} x {size} pixels, 8-bit RGB, {pictures} ({_LOSS[pictures]});
- `KEY.{studio}`: the studio photograph, laid over it;
- `KEY.{text}`: pseudonym of the subject, pair, pose, variant (rotation in degrees, frame, mirrored or not), the share of the
  picture that lies within the photograph, and the face's box and landmarks in pixels of the sample.
"""


def _counts(manifest: Mapping[str, Any]) -> str:
    counts = manifest["counts"]
    shards = Counter(name.partition("-")[0] for name in manifest["shards"])
    size_bytes = Counter[str]()
    for name, facts in manifest["shards"].items():
        size_bytes[name.partition("-")[0]] += facts["size_bytes"]
    rows = [
        (split, *(counts[split][what] for what in ("subjects", "pairs", "samples")), shards[split], f"{size_bytes[split]:,}")
        for split in SPLITS
    ]
    notes = "".join(f"- {note}\n" for note in manifest.get("notes", ()))
    aside = len(manifest.get("set_aside", ()))
    left_out = f"{aside} of the pairs offered were left out; `dataset.json` says why.\n" if aside else ""
    return "## Size\n\n" + _table(("split", "subjects", "pairs", "samples", "shards", "bytes"), rows) + "\n" + left_out + notes


def _subjects(split: Mapping[str, Any]) -> str:
    if not split:
        return ""
    rows = [(name, len(split.get(name, ())), ", ".join(f"`{subject}`" for subject in split.get(name, ()))) for name in SPLITS]
    return (
        "## Split by subject\n\n"
        "No person is in two splits. Subjects are pseudonyms; who they are is not in this data set.\n\n"
        + _table(("split", "subjects", "who"), rows)
    )


def _statistics(statistics: Mapping[str, Any]) -> str:
    if not statistics:
        return ""
    rows = [
        (light, *(f"{statistics[light][what][channel]:.4f}" for what in ("mean", "std") for channel in range(3)))
        for light in ("flash", "studio")
    ]
    names = ("picture", "mean R", "mean G", "mean B", "std R", "std G", "std B")
    return "## Statistics\n\nOf the un-augmented training samples, in [0, 1].\n\n" + _table(names, rows)


def _parameters(manifest: Mapping[str, Any]) -> str:
    parameters, versions = manifest.get("parameters", {}), manifest.get("versions", {})
    if not (parameters or versions):
        return ""
    rows = [(f"`{name}`", _shortly(value)) for name, value in sorted(parameters.items())]
    made_by = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return (
        "## How it was made\n\n"
        + (_table(("parameter", "value"), rows) + "\n" if rows else "")
        + (f"With {made_by}.\n" if made_by else "")
        + "The same photographs, parameters and versions give the same bytes.\n"
    )


def _how_to_read(manifest: Mapping[str, Any]) -> str:
    flash, studio, text = members_of(manifest.get("pictures", DEFAULT_PICTURES))
    first = next(iter(sorted(manifest["shards"])), "train-000000.tar")
    split = next((name for name in SPLITS if manifest["counts"][name]["samples"]), "train")
    return f"""## How to read it

The shards are plain tar files in the WebDataset convention.

```python
from datasets import load_dataset

pairs = load_dataset("FOLDER", split="{_THEIR_NAMES[split]}")  # the folder, or this data set's name on the hub
pairs[0]["{flash}"], pairs[0]["{studio}"], pairs[0]["{text}"]
```

```python
import webdataset

for sample in webdataset.WebDataset("FOLDER/{first}", shardshuffle=False).decode("rgb8"):
    sample["{flash}"], sample["{studio}"], sample["{text}"]
```

```python
from deepflash.model.reader import ShardReader  # verified, shuffled, resumable

for batch in ShardReader("FOLDER", "{split}", batch=8):
    batch.flash, batch.studio, batch.keys
```

`index.jsonl` has the SHA-256 and the place of every picture; `deepflash verify FOLDER --full` checks all of them.
"""


def _licence() -> str:
    return """## Licence and consent

**Nobody has stated a licence for this data set yet**, so none is granted. It shows faces, which are personal data: share it
only as far as the persons shown have agreed. Whoever publishes it replaces this section, and `license: unknown` above.
"""


def _shortly(value: Any) -> str:
    """Return a parameter for a table: a long list by its length, since `dataset.json` has it whole."""
    if isinstance(value, Mapping) and len(value) > 3:
        return f"{len(value)} entries, see `dataset.json`"
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) > 5:
            return f"{len(value)} of them, see `dataset.json`"
        return ", ".join(map(str, value)) or "none"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)
