"""A run's folder: what it was trained with, and the weights that came out.

- `run.json`: format version, the data set's identity, the subjects and pictures that are trained on, and the same of the
  weights that it started from, if it did;
- `recipe.toml`: every hyper-parameter;
- `weights.safetensors`: the network's weights to be used, with the recipe and the step in its metadata;
- `best.safetensors`, `snapshots/step-NNNNNN.safetensors`: the same of other steps;
- `state.pt`: all that is needed to go on training (see train.py);
- `metrics.jsonl`, `events.out.tfevents.*`, `samples/step-NNNNNN.png`: how it went.

A file with weights says enough about itself to be used wherever it stands.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from deepflash.errors import ModelError
from deepflash.files import sha256_of, write_durably, write_json
from deepflash.model.bokeh import Bokeh, kernels_for
from deepflash.model.dense_unet import DenseUNet
from deepflash.model.hdrnet import HdrNet
from deepflash.model.light import Light
from deepflash.model.network import DeepFlash
from deepflash.model.pix2pix import UNet
from deepflash.model.recipe import Recipe, load_recipe, recipe_from
from deepflash.model.tensorfile import read_tensors, write_tensors
from deepflash.shards import ShardSet, is_unaugmented

RUN_FORMAT = 1
RUN_FILE = "run.json"
RECIPE_FILE = "recipe.toml"
WEIGHTS_FILE = "weights.safetensors"
SNAPSHOTS_FOLDER = "snapshots"

_SUFFIX = ".safetensors"
_MEND_RUN = "give deepflash train the same command again, which writes them from the trainer's state"
_MEND_FILE = "copy the file again, or take other weights"

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Origin:
    """What a network has seen.

    Attributes
    ----------
    dataset
        SHA-256 of the data set's index; empty if that is not known.
    subjects
        Ids of those whom it was trained on, in that data set; None if they are not known.
    pictures
        SHA-256 of their un-augmented flash pictures: ids alone do not say that somebody of another data set is the same person.
    sha256
        Of the weights file; empty of weights that are still trained.
    started_from
        The same of the weights that training began with; None if they were random ones, or of an encoder alone.
    """

    dataset: str = ""
    subjects: tuple[str, ...] | None = None
    pictures: tuple[str, ...] = ()
    sha256: str = ""
    started_from: "Origin | None" = None

    def lineage(self) -> Iterator["Origin"]:
        """Yield this, then that of the weights it started from, and so on."""
        yield self
        if self.started_from:
            yield from self.started_from.lineage()

    def as_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        subjects = None if self.subjects is None else list(self.subjects)
        content = {"dataset": self.dataset, "subjects": subjects, "pictures": list(self.pictures)}
        own = {"sha256": self.sha256} if self.sha256 else {}
        return {**own, **content, **({"started_from": self.started_from.as_dict()} if self.started_from else {})}


@dataclass(frozen=True)
class TrainedRun:
    """A run's network, ready for use.

    Attributes
    ----------
    recipe
        What it was trained with.
    network
        In evaluation mode, channels last, on the device that was asked for.
    step
        Training steps behind it.
    origin
        What it has seen.
    """

    recipe: Recipe
    network: nn.Module
    step: int
    origin: Origin = Origin()


def enter_run(run: Path, recipe: Recipe, shards: ShardSet, start: TrainedRun | None = None) -> None:
    """Begin a run's folder, or make sure that the one there was begun with the same recipe, data set and first weights.

    Raises
    ------
    ModelError
        if it was not, or the folder holds something else.
    """
    trained_on = shards.entries("train")
    origin = Origin(
        dataset_identity(shards),
        tuple(sorted({entry.subject for entry in trained_on})),
        tuple(sorted({entry.flash_sha256 for entry in trained_on if is_unaugmented(entry.info)})),
        started_from=start.origin if start else None,
    )
    if not (run / RUN_FILE).exists():
        if run.exists() and not run.is_dir():
            raise ModelError(f"{run} is a file; give a new or empty folder for the run")
        if run.exists() and any(run.iterdir()) and not (run / RECIPE_FILE).exists():
            raise ModelError(f"{run} is not empty and holds no run; give a new or empty folder")
        write_durably(run / RECIPE_FILE, recipe.as_toml())
        write_json(run / RUN_FILE, {"format": RUN_FORMAT, **origin.as_dict()})
        return
    begun = read_origin(run)
    if not load_recipe(run / RECIPE_FILE).trains_as(recipe):
        raise ModelError(f"{run} was begun with another recipe (see {run / RECIPE_FILE}); give a new folder, or that recipe")
    if begun.dataset != origin.dataset:
        raise ModelError(f"{run} was begun on another data set than {shards.place}; give a new folder, or that data set")
    if start and (begun.started_from is None or begun.started_from.sha256 != start.origin.sha256):
        raise ModelError(f"{recipe.start_from} has changed since {run} was begun with it; give a new folder")


def dataset_identity(shards: ShardSet) -> str:
    """Return the SHA-256 of the data set's index, which holds that of every picture."""
    return str(shards.manifest["index"]["sha256"])


def run_folder(run: Path) -> Path | None:
    """Return the folder of the run that is meant by it, or by a weights file within it; None of a file that stands alone."""
    if not is_weights_file(run):
        return run
    folder = run.parent.parent if run.parent.name == SNAPSHOTS_FOLDER else run.parent
    return folder if (folder / RUN_FILE).exists() else None


def is_weights_file(run: Path) -> bool:
    """Say whether a path means a file with weights, and not a run's folder."""
    return run.is_file() or (run.suffix == _SUFFIX and not run.is_dir())


def read_origin(run: Path) -> Origin:
    """Return what a run's `run.json` says of whom it was trained on.

    Raises
    ------
    ModelError
        if the folder holds no run, or one of an unknown format.
    """
    path = run / RUN_FILE
    try:
        identity = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{run} holds no run ({RUN_FILE} is missing); give the folder that deepflash train wrote") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged ({error}); train again in a new folder") from error
    found = identity.get("format") if isinstance(identity, dict) else None
    if found != RUN_FORMAT:
        raise ModelError(f"{path} has format {found}, this program reads {RUN_FORMAT}; update deepflash")
    return _origin_in(identity)


def save_weights(path: Path, weights: Mapping[str, Tensor], recipe: Recipe, step: int, origin: Origin = Origin()) -> None:
    """Write weights, durably, with what is needed to use them. Subjects are not named: files with weights are passed on."""
    metadata = {
        "format": str(RUN_FORMAT),
        "network": recipe.network,
        "recipe": recipe.as_toml(),
        "step": str(step),
        "dataset": origin.dataset,
        **({"started_from": origin.started_from.sha256} if origin.started_from else {}),
    }
    write_tensors(path, weights, metadata)


def load_run(run: Path, device: torch.device | None = None) -> TrainedRun:
    """Load a run's network for use.

    Parameters
    ----------
    run
        Folder of a run, of which the last weights are taken; or a file with weights, in a run (`best.safetensors`) or anywhere.
    device
        Where the network shall work.

    Raises
    ------
    ModelError
        if there is no run, it has no weights yet, or they are damaged.
    """
    if is_weights_file(run):
        return _load(run, None, device)
    read_origin(run)
    path = run / WEIGHTS_FILE
    if not path.exists():
        raise ModelError(f"{run} has no weights yet ({WEIGHTS_FILE} is missing); {_MEND_RUN}")
    return _load(path, load_recipe(run / RECIPE_FILE), device)


def _load(path: Path, recipe: Recipe | None, device: torch.device | None) -> TrainedRun:
    """Load weights into the recipe's network, or into that of the recipe that comes with them."""
    mend = _MEND_RUN if path.name == WEIGHTS_FILE and run_folder(path) else _MEND_FILE
    if not path.exists():
        raise ModelError(f"{path} does not exist; give a run's folder, or a file with weights")
    try:
        file = read_tensors(path)
        if not {"recipe", "step", "sha256"} <= file.metadata.keys():
            raise ModelError(f"{path} does not say how it was trained; give weights that deepflash train wrote")
        if file.metadata["sha256"] != file.sha256:
            raise ModelError(f"{path} is altered: its tensors do not match their checksum; {mend}")
        recipe = recipe or recipe_from(file.metadata["recipe"], f"the recipe in {path}")
        network = build_network(recipe)
        network.load_state_dict(file.tensors)
        step = int(file.metadata["step"])
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path} is damaged or of another network ({reason}); {mend}") from error
    return TrainedRun(recipe, to_device(network, device).eval(), step, _origin_of(path, file.metadata))


def _origin_of(path: Path, metadata: Mapping[str, str]) -> Origin:
    """Return what weights have seen: what their run says if they stand in it, else what they say themselves."""
    sha256, dataset, start = sha256_of(path), metadata.get("dataset", ""), metadata.get("started_from")
    folder = run_folder(path)
    if folder:
        origin = read_origin(folder)
        if dataset in ("", origin.dataset):  # not a file that was copied there from another run
            return replace(origin, sha256=sha256)
    return Origin(dataset, sha256=sha256, started_from=Origin(sha256=start) if start else None)


def _origin_in(content: Mapping[str, Any]) -> Origin:
    subjects, pictures, start = (content.get(name) for name in ("subjects", "pictures", "started_from"))
    return Origin(
        str(content.get("dataset", "")),
        tuple(map(str, subjects)) if isinstance(subjects, list) else None,
        tuple(map(str, pictures)) if isinstance(pictures, list) else (),  # not kept by older runs
        str(content.get("sha256", "")),
        _origin_in(start) if isinstance(start, dict) else None,
    )


def build_network(recipe: Recipe) -> nn.Module:
    """Build the recipe's network with its first weights."""
    return _BUILDERS[recipe.network](recipe)


def _deepflash(recipe: Recipe) -> nn.Module:
    return DeepFlash(
        recipe.width,
        encoder=recipe.encoder,
        batch_norm=recipe.batch_norm,
        image_skip=recipe.image_skip,
        decoder_std=recipe.decoder_std or None,
        decoder_kernels=recipe.decoder_kernels,
        head=recipe.head,
        seed=recipe.seed,
    )


def _hdrnet(recipe: Recipe) -> nn.Module:
    first = _unchanged(recipe) if recipe.head == "zero" else "random"
    return HdrNet(recipe.width, guide=recipe.guide, first=first, seed=recipe.seed)


def _unchanged(recipe: Recipe) -> Literal["picture", "half"]:
    """Say which answer leaves the photograph as it is: itself, or a difference of nothing."""
    return "picture" if recipe.encoding == "A" else "half"


_BUILDERS: dict[str, Callable[[Recipe], nn.Module]] = {
    "deepflash": _deepflash,
    "light": lambda recipe: Light(recipe.width, seed=recipe.seed),
    "hdrnet": _hdrnet,
    "unet": lambda recipe: UNet(recipe.width, downs=recipe.unet_downs, seed=recipe.seed),
    "dense-unet": lambda recipe: DenseUNet(recipe.width, adds_to=_unchanged(recipe), seed=recipe.seed),
    "bokeh": lambda recipe: Bokeh(recipe.width, kernels_px=kernels_for(recipe.size), seed=recipe.seed),
}


def usable_device(name: str) -> torch.device:
    """Return the device that torch knows by that name.

    Raises
    ------
    ModelError
        if this machine has none such.
    """
    try:
        probe = torch.zeros(1, device=name)
        probe.item()  # `meta` has no numbers
        return probe.device
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); try cpu") from error


def to_device(network: N, device: torch.device | None) -> N:
    """Move a network, channels last: half the time of a step on a CPU (3.0 against 1.1 s, measured), and the GPU's layout."""
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def answer(network: nn.Module, prepared: Tensor, precision: str) -> Tensor:
    """Ask the network, in the recipe's arithmetic; (N, 3, H, W) float32 in and out."""
    with torch.autocast(prepared.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        result: Tensor = network(prepared.contiguous(memory_format=torch.channels_last))
    return result.float()
