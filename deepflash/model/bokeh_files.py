"""Photographs with a blurred background, by a run that has learned bokeh."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from deepflash.accounts import Account
from deepflash.errors import ModelError
from deepflash.model.bokeh import Bokeh, at_full_size
from deepflash.model.enhancement.enhancer import shape_seen
from deepflash.model.enhancement.files import Results, develop_files
from deepflash.model.runs import load_run, usable_device
from deepflash.photos import Photo
from deepflash.progress import Report, silent


def bokeh_files(
    photos: Sequence[Path], run: Path, results: Results, *, device: str | None = None, report: Report = silent
) -> Account:
    """Blur the background of photographs into a folder, each in the format that it has; see `develop_files`.

    Parameters
    ----------
    photos
        Files; one that cannot be used is set aside with its reason.
    run
        Folder of a run of network `bokeh`, or one of its weights files.
    results
        What is written, and where.
    device
        As torch names it; the CPU if not given.
    report
        Called after every photograph.

    Raises
    ------
    ModelError
        if the run cannot be used, or has learned something else.
    PictureError
        if the folder for the results is a file.
    """
    trained = load_run(run, usable_device(device or "cpu"))
    network, size = trained.network, trained.recipe.size
    if not isinstance(network, Bokeh):
        raise ModelError(f"{run} is a run of network {trained.recipe.network}; give one that was trained with --recipe bokeh")
    return develop_files(photos, results, lambda photo: with_bokeh(network, photo, size), report)


def with_bokeh(network: Bokeh, photo: Photo, size: int) -> Photo:
    """Blur the background of a photograph of any size; 13 megapixels take 1.3 GB by a network of 512 px, 3 GB by one of 1024.

    Parameters
    ----------
    network
        In evaluation mode.
    photo
        From `read_photo`. Its colours are taken as they are: those of a wider space look a little paler to the network.
    size
        What the network was trained at, in pixels: the shorter side of what it sees.

    Returns
    -------
    Photo
        The same size, type and colour space; transparency stays.
    """
    device = next(network.parameters()).device
    pixels = torch.from_numpy(photo.pixels.astype(np.float32)).div_(photo.depth).to(device).permute(2, 0, 1)[None]
    width, height = shape_seen(photo.pixels, size)
    blurred = at_full_size(network, pixels, height, width)
    del pixels
    whole = blurred.clamp_(0, 1).mul_(photo.depth).round_()[0].permute(1, 2, 0).cpu().numpy()
    return replace(photo, pixels=np.ascontiguousarray(whole.astype(photo.pixels.dtype)))
