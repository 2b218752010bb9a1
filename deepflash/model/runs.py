"""A run's folder: what it was trained with, and the weights that came out.

- `run.json`: format version, the data set's identity, and the subjects that are trained on;
- `recipe.toml`: every hyper-parameter;
- `weights.safetensors`: the network's weights to be used, with the recipe and the step in its metadata;
- `state.pt`: all that is needed to go on training (see train.py);
- `metrics.jsonl`, `events.out.tfevents.*`, `samples/step-NNNNNN.png`: how it went.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from deepflash.errors import ModelError
from deepflash.files import write_durably, write_json
from deepflash.model.light import Light
from deepflash.model.network import DeepFlash
from deepflash.model.recipe import Recipe, load_recipe
from deepflash.shards import ShardSet

RUN_FORMAT = 1
RUN_FILE = "run.json"
RECIPE_FILE = "recipe.toml"
WEIGHTS_FILE = "weights.safetensors"

_MEND_WEIGHTS = "give deepflash train the same command again, which writes them from the trainer's state"


N = TypeVar("N", bound=nn.Module)


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
    """

    recipe: Recipe
    network: nn.Module
    step: int


def enter_run(run: Path, recipe: Recipe, shards: ShardSet) -> None:
    """Begin a run's folder, or make sure that the one there was begun with the same recipe and data set.

    Raises
    ------
    ModelError
        if it was not, or the folder holds something else.
    """
    trained_on = sorted({str(entry.info["subject"]) for entry in shards.entries("train")})
    identity = {"format": RUN_FORMAT, "dataset": dataset_identity(shards), "subjects": trained_on}
    if not (run / RUN_FILE).exists():
        if run.exists() and not run.is_dir():
            raise ModelError(f"{run} is a file; give a new or empty folder for the run")
        if run.exists() and any(run.iterdir()) and not (run / RECIPE_FILE).exists():
            raise ModelError(f"{run} is not empty and holds no run; give a new or empty folder")
        write_durably(run / RECIPE_FILE, recipe.as_toml())
        write_json(run / RUN_FILE, identity)
        return
    begun = read_identity(run)
    if load_recipe(run / RECIPE_FILE) != recipe:
        raise ModelError(f"{run} was begun with another recipe (see {run / RECIPE_FILE}); give a new folder, or that recipe")
    if begun.get("dataset") != identity["dataset"]:
        raise ModelError(f"{run} was begun on another data set than {shards.place}; give a new folder, or that data set")


def dataset_identity(shards: ShardSet) -> str:
    """Return the SHA-256 of the data set's index, which holds that of every picture."""
    return str(shards.manifest["index"]["sha256"])


def read_identity(run: Path) -> dict[str, object]:
    """Return the content of `run.json`.

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
    return dict(identity)


def save_weights(path: Path, weights: dict[str, Tensor], recipe: Recipe, step: int) -> None:
    """Write weights, durably, with what is needed to use them."""
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in weights.items()}
    metadata = {"format": str(RUN_FORMAT), "network": recipe.network, "recipe": recipe.as_toml(), "step": str(step)}
    write_durably(path, _sealed(save(tensors, metadata)))


def _sealed(file: bytes) -> bytes:
    """Put the checksum of a safetensors file's tensors into its metadata.

    Also sort the metadata, whose order the library leaves to chance: the same run, the same bytes.
    """
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    metadata = {**header["__metadata__"], "sha256": hashlib.sha256(file[end:]).hexdigest()}
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors stay aligned
    return len(text).to_bytes(8, "little") + text + file[end:]


def load_run(run: Path, device: torch.device | None = None) -> TrainedRun:
    """Load a run's network for use.

    Raises
    ------
    ModelError
        if there is no run, it has no weights yet, or they are damaged.
    """
    read_identity(run)
    recipe = load_recipe(run / RECIPE_FILE)
    path = run / WEIGHTS_FILE
    if not path.exists():
        raise ModelError(f"{run} has no weights yet ({WEIGHTS_FILE} is missing); {_MEND_WEIGHTS}")
    network = build_network(recipe)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            step = int(metadata["step"])
            if metadata["sha256"] != _checksum_of_tensors(path):
                raise ModelError(f"{path} is altered: its tensors do not match their checksum; {_MEND_WEIGHTS}")
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path} is damaged or of another network ({reason}); {_MEND_WEIGHTS}") from error
    return TrainedRun(recipe, to_device(network, device).eval(), step)


def _checksum_of_tensors(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        return hashlib.file_digest(file, "sha256").hexdigest()


def build_network(recipe: Recipe) -> nn.Module:
    """Build the recipe's network with its first weights."""
    if recipe.network == "light":
        return Light(recipe.width, seed=recipe.seed)
    return DeepFlash(
        recipe.width,
        decoder_std=recipe.decoder_std or None,
        decoder_kernels=recipe.decoder_kernels,
        head=recipe.head,
        seed=recipe.seed,
    )


def usable_device(name: str) -> torch.device:
    """Return the device that torch knows by that name.

    Raises
    ------
    ModelError
        if this machine has none such.
    """
    try:
        return torch.empty(0, device=name).device
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
