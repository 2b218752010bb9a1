"""Published data sets of pairs, known by the names of their folders and files.

None of them says who is who. Each picture is therefore a subject of its own, under the name that it has in the data set; the
same person may be in several.

Sources
-------
DeepFlash Portrait Dataset: `inputs_origin` (flash) and `target` (studio), each portrait rotated by several angles
(S. S. Maralan et al., Computational Flash Photography through Intrinsics, CVPR 2023, notes on data preparation).
FAID: Y. Aksoy et al., A Dataset of Flash and Ambient Illumination Pairs from the Crowd, ECCV 2018.
EBB!: A. Ignatov et al., Rendering Natural Camera Bokeh Effect with Deep Learning, CVPRW 2020.
DPED: A. Ignatov et al., DSLR-Quality Photos on Mobile Devices with Deep Convolutional Networks, ICCV 2017.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deepflash.dataset.sources import Found, Placed, find_pairs_by, safe_id
from deepflash.errors import DatasetError

_FAID_NAME = re.compile(r"(?P<name>.+)_(?P<light>flash|ambient)\.png", re.IGNORECASE)
_PHONES = ("iphone", "blackberry", "sony")


@dataclass(frozen=True)
class Layout:
    """A published data set.

    Attributes
    ----------
    title
        Its name in full.
    expected
        How its files are named, for a sentence.
    note
        What a person who imports it should know.
    rotated_copies
        Whether it holds each picture at several angles.
    apart
        Whether its flash pictures show the flash's light alone, so that the ambient light is to be added.
    """

    title: str
    expected: str
    note: str
    rotated_copies: bool = False
    apart: bool = False


LAYOUTS: Mapping[str, Layout] = {
    "deepflash": Layout(
        "DeepFlash Portrait Dataset",
        "inputs_origin/NAME.* and target/NAME.*",
        "it does not say who is photographed, so each picture is a subject of its own, and one person may come into two splits;"
        " give a list with a subject column if you know better",
        rotated_copies=True,
    ),
    "faid": Layout(
        "Flash and Ambient Illuminations Dataset",
        "NAME_flash.png and NAME_ambient.png",
        "its flash pictures show the flash alone; the ambient light was added, and both were brought to sRGB",
        apart=True,
    ),
    "ebb": Layout(
        "Everything is Better with Bokeh (EBB!)",
        "original/N.jpg and bokeh/N.jpg",
        "its pairs are of one light: the sharp picture stands as flash, the one with bokeh as studio",
    ),
    "dped": Layout(
        "DSLR Photo Enhancement Dataset (DPED)",
        "PHONE/training_data/{PHONE,canon}/N.jpg or PHONE/test_data/patches/{PHONE,canon}/N.jpg",
        "its pairs are of one light: the phone's picture stands as flash, the camera's as studio",
    ),
}


def find_layout(folder: Path, name: str) -> Found:
    """Put together the pairs of a published data set.

    Parameters
    ----------
    folder
        The data set as it was unpacked, or a part of it.
    name
        One of `LAYOUTS`.

    Raises
    ------
    DatasetError
        if the layout is not known, or `folder` holds nothing of it.
    """
    if name not in LAYOUTS:
        raise DatasetError(f"no layout is called {name!r}; known are {', '.join(LAYOUTS)}")
    base = folder.resolve().name  # so that a folder within the data set is understood as well
    found = find_pairs_by(lambda path: _SORTERS[name](f"{base}/{path}"), folder, name, LAYOUTS[name].expected)
    found.notes.insert(0, f"{LAYOUTS[name].title}: {LAYOUTS[name].note}")
    return found


def _sort_deepflash(path: str) -> Placed | None:
    return _in_two_folders(path, {"inputs_origin": "flash", "target": "studio"}, "DPD")


def _sort_ebb(path: str) -> Placed | None:
    return _in_two_folders(path, {"original": "flash", "bokeh": "studio"}, "EBB")


def _sort_faid(path: str) -> Placed | None:
    match = _FAID_NAME.fullmatch(PurePosixPath(path).name)
    if match is None:
        return None
    return Placed("flash" if match["light"].lower() == "flash" else "studio", safe_id(f"FAID-{match['name']}"))


def _sort_dped(path: str) -> Placed | None:
    *above, light, _ = PurePosixPath(path).parts
    patches = above[-2:] == ["test_data", "patches"]
    if not (patches or above[-1:] == ["training_data"]):
        return None
    phone = (above[: -2 if patches else -1] or [""])[-1]
    if phone not in _PHONES or light not in {phone, "canon"}:
        return None
    part = "test" if patches else "training"
    name = PurePosixPath(path).stem
    return Placed("flash" if light == phone else "studio", safe_id(f"DPED-{phone}-{part}-{name}"), session=part)


def _in_two_folders(path: str, lights: Mapping[str, str], prefix: str) -> Placed | None:
    """Sort a file by the folder it lies in; further folders tell pictures of one name apart."""
    *above, folder, _ = PurePosixPath(path).parts
    if folder.lower() not in lights:
        return None
    part = "-".join(above[1:])  # the first is the source's own folder, which may be called anything
    name = "-".join(filter(None, (prefix, part, PurePosixPath(path).stem)))
    return Placed(lights[folder.lower()], safe_id(name), session=safe_id(part))


_SORTERS = {"deepflash": _sort_deepflash, "faid": _sort_faid, "ebb": _sort_ebb, "dped": _sort_dped}
