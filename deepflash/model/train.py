"""The trainer: plain PyTorch, one loop, one file.

A run is a folder. What the next step does is known from `state.pt` alone: weights, Adam's moments, averaged weights,
the step, the random state, and the losses not yet logged; the order of the pictures is a pure function of seed and step
(data.py). So the same command run again goes on where the last one stopped, and on a CPU it ends with the same bits.
Everything that resuming needs is in that one file because two files cannot be replaced in one instant.

    torchrun --nproc-per-node 8 -m deepflash train SHARDS RUN --recipe paper

trains with several processes, each on its share of every batch (ranks.py).
"""

import math
import pickle
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from deepflash.errors import ModelError
from deepflash.files import durable_file, sweep_temporaries, write_durably
from deepflash.model.adversarial import Game, game_of
from deepflash.model.augment import by_other_cameras, chance_of, varied
from deepflash.model.bokeh import Bokeh
from deepflash.model.data import Batch, TrainingPictures, portraits, samples_at, to_picture, unaugmented
from deepflash.model.encodings import Encoding, encoding_named
from deepflash.model.journal import METRICS_FILE, Journal, read_metrics
from deepflash.model.losses import picture_loss
from deepflash.model.network import DeepFlash
from deepflash.model.ranks import Ranks, device_of_rank, joined
from deepflash.model.recipe import Recipe, load_recipe
from deepflash.model.runs import (
    SNAPSHOTS_FOLDER,
    WEIGHTS_FILE,
    Origin,
    TrainedRun,
    answer,
    build_network,
    enter_run,
    load_run,
    read_origin,
    save_weights,
    to_device,
    usable_device,
)
from deepflash.model.validation import Compared, Scores, compare, mean_scores
from deepflash.model.vgg_features import VggFeatures, load_vgg19
from deepflash.pictures import Picture, encode
from deepflash.progress import Report, silent
from deepflash.shards import Entry, ShardSet, open_shards

STATE_FILE = "state.pt"
SAMPLES_FOLDER = "samples"
BEST_FILE = "best.safetensors"

_STATE_FORMAT = 3
_STATE_FORMATS = (2, 3)  # before 3 there was no judge, and one loss
_LOG_EVERY_STEPS = 10
_LEAST_STEPS_BETWEEN_VALIDATIONS = 50
_SHOWN_PORTRAITS = 4


Losses = dict[str, float]
"""Of a step: `loss`, the network's, and `judge_loss`, if there is a judge."""


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes
    ----------
    run
        Its folder.
    steps
        Training steps behind it, in all.
    resumed_from
        The step this call began with; equal to `steps` if there was nothing left to do.
    seconds
        What this call took.
    loss
        Mean training loss of the last logged steps.
    validation
        Mean scores of the un-augmented validation pairs, or None if the data set has none.
    rank
        Which of several processes that trained together this is; the first, 0, speaks for all.
    """

    run: Path
    steps: int
    resumed_from: int
    seconds: float
    loss: float
    validation: Scores | None
    rank: int = 0


@dataclass(frozen=True)
class _Task:
    """What stays the same from step to step."""

    recipe: Recipe
    encoding: Encoding
    dataset: ShardSet
    entries: list[Entry]
    run: Path
    device: torch.device
    ranks: Ranks
    last_step: int
    validate_every: int
    origin: Origin
    start: TrainedRun | None  # of a run that begins with another's weights
    features: VggFeatures | None  # that the loss compares


@dataclass
class _State:
    """What changes from step to step: all of it but `called` is in the state file."""

    network: nn.Module
    optimizer: torch.optim.AdamW
    game: Game | None
    averaged: dict[str, Tensor]
    step: int
    unlogged: list[Losses]
    best_psnr: float
    called: nn.Module  # the network, as it is called: shared among ranks, compiled


def train(
    shards: Path,
    run: Path,
    recipe: str | Path | Recipe,
    *,
    device: str | None = None,
    workers: int = 2,
    cache_gb: float = 1.0,
    save_every_s: float = 60.0,
    report: Report = silent,
) -> TrainResult:
    """Train a network, or go on with a run that was interrupted. A finished run is left as it is.

    SIGTERM and Ctrl-C save the state and then raise KeyboardInterrupt. The whole state is also saved at every validation
    and every `save_every_s`, so a killed run loses at most that.

    Parameters
    ----------
    shards
        Folder of a data set.
    run
        Folder of the run, new or begun before with the same recipe and data set.
    recipe
        A recipe, or the name or path of one, see `load_recipe`.
    device
        As torch names it; the GPU if there is one, else the CPU.
    workers
        Threads that read and decode pictures ahead. Changes nothing but the speed.
    cache_gb
        Memory for prepared pictures, in 10^9 bytes; the others are prepared again each time. Changes nothing but the speed.
    save_every_s
        Longest time between two saves of the state, in seconds.
    report
        Called after every step, with the loss.

    Raises
    ------
    ModelError
        if the recipe is wrong, the data set does not fit it, the run's folder is another's, or the loss is not finite.
    ShardError
        if the data set cannot be read.
    """
    began_s = time.monotonic()
    plan = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    place = usable_device(device_of_rank(device))
    with joined(place, plan.batch, plan.accumulate) as ranks, _deterministic(place), torch.random.fork_rng(devices=[]):
        report = report if ranks.is_first else silent
        task = _plan(shards, run, plan, place, ranks)
        state = _begin(task, report)
        if (run / STATE_FILE).exists():
            _restore(task, state)
        ranks.wait()  # until all have read the state that the first will replace
        resumed_from = state.step
        if state.step < task.last_step:
            pictures = TrainingPictures(
                task.dataset, task.entries, size=task.recipe.size, encoding=task.encoding, device=task.device,
                workers=workers, cache_bytes=int(cache_gb * 10**9),
            )  # fmt: skip
            with _stop_requests() as stop_requested, _journal_of(task, state.step) as journal:
                try:
                    _go_on(task, state, pictures, journal, stop_requested, save_every_s, report)
                except torch.OutOfMemoryError as error:
                    raise ModelError(
                        f"{task.device} has no memory for batches of {task.recipe.batch} at {task.recipe.size} px; end other"
                        " programs and run the same command again, or begin a new run with accumulate or a smaller batch"
                    ) from error
        elif ranks.is_first:
            report(state.step, task.last_step, "finished before")
            _mend_weights(task, state)
        ranks.wait()
    loss, validation = _last_figures(run)
    return TrainResult(
        run=run,
        steps=state.step,
        resumed_from=resumed_from,
        seconds=time.monotonic() - began_s,
        loss=loss,
        validation=validation,
        rank=ranks.rank,
    )


def _last_figures(run: Path) -> tuple[float, Scores | None]:
    """Return the last training loss and validation scores of a run's curve."""
    losses = [line for line in read_metrics(run) if line["split"] == "train"]
    validations = [line for line in read_metrics(run) if line["split"] == "val"]
    try:
        scores = Scores(**{name: validations[-1][name] for name in Scores.__annotations__}) if validations else None
        return float(losses[-1]["loss"]), scores
    except (LookupError, TypeError, ValueError) as error:
        raise ModelError(f"{run / METRICS_FILE} lacks its last figures ({error!r}); train again in a new folder") from error


def _mend_weights(task: _Task, state: _State) -> None:
    """Write a finished run's weights from its state if they are missing or damaged."""
    try:
        load_run(task.run)
    except ModelError:
        _write_weights(task, state)


def _plan(shards: Path, run: Path, plan: Recipe, device: torch.device, ranks: Ranks) -> _Task:
    plan.refuse_single_values(ranks.count)
    dataset = open_shards(shards)
    entries = dataset.entries("train")
    if not entries:
        raise ModelError(f"{shards} has no pictures in its split train; build the data set from more subjects")
    if dataset.size < plan.size:
        raise ModelError(
            f"the recipe wants pictures of {plan.size} px, but {shards} holds {dataset.size} px;"
            f" build the data set with --size {plan.size}, or choose another recipe"
        )
    start = _start(run, plan)
    features = load_vgg19(Path(plan.vgg19_weights), device=device) if plan.vgg19_weights else None
    if plan.compile:
        _refuse_without_compiler(device)
    if ranks.is_first:
        enter_run(run, plan, dataset, start)
        sweep_temporaries(run)
    ranks.wait()
    last_step = math.ceil(plan.epochs * len(entries) / plan.batch)
    return _Task(
        recipe=plan,
        encoding=encoding_named(plan.encoding),
        dataset=dataset,
        entries=entries,
        run=run,
        device=device,
        ranks=ranks,
        last_step=min(last_step, plan.max_steps) if plan.max_steps else last_step,
        validate_every=max(math.ceil(len(entries) / plan.batch), _LEAST_STEPS_BETWEEN_VALIDATIONS),
        origin=read_origin(run),
        start=start,
        features=features,
    )


def _start(run: Path, plan: Recipe) -> TrainedRun | None:
    """Return the run that a new one begins with, if its recipe names one."""
    if not plan.start_from or (run / STATE_FILE).exists():
        return None
    start = load_run(Path(plan.start_from))
    differences = start.recipe.differences_of_network(plan)
    if differences:
        listed = ", ".join(f"{name} {theirs}, not {ours}" for name, (theirs, ours) in differences.items())
        raise ModelError(f"{plan.start_from} cannot be started from: it has {listed}; change the recipe, or start from another")
    return start


def _refuse_without_compiler(device: torch.device) -> None:
    """Compile something small: what is missing shall be said before training begins, and in a sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.compile(lambda values: values.sin().relu() + 1)(torch.ones(8, device=device))
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"the recipe wants compile, but torch cannot compile here ({reason}); install a C++ compiler and Python's headers,"
            " or --set compile=false"
        ) from error


def _go_on(
    task: _Task,
    state: _State,
    pictures: TrainingPictures,
    journal: Journal | None,
    stop_requested: threading.Event,
    save_every_s: float,
    report: Report,
) -> None:
    """Take the steps that are left, then validate, save and return; or save and raise KeyboardInterrupt."""
    if not unaugmented(task.dataset, "val"):
        report(state.step, task.last_step, "no validation pairs, so no validation")
    if state.step == 0 and journal:
        _validate(task, state, journal)
    began_s = saved_s = time.monotonic()
    first_step = state.step
    recipe, ranks = task.recipe, task.ranks
    for batch in pictures.batches(recipe.batch, recipe.seed, range(state.step, task.last_step), ranks.share):
        losses = {name: ranks.mean(value, task.device) for name, value in _take_step(task, state, batch).items()}
        milestone = state.step % task.validate_every == 0 or state.step == task.last_step
        if journal:
            _log_losses(task, state, journal, losses)
            rate = (state.step - first_step) * recipe.batch / (time.monotonic() - began_s)
            speed = f"{rate:.{0 if rate >= 10 else 1}f} pictures/s"
            listed = ", ".join(f"{_in_words(name)} {value:.5f}" for name, value in losses.items())
            report(state.step, task.last_step, f"{listed}, {speed}, {_memory_gb(task.device):.1f} GB")
            if milestone:
                _validate(task, state, journal)
        stopping = ranks.any(stop_requested.is_set(), task.device)
        if journal and (milestone or stopping or time.monotonic() - saved_s >= save_every_s):
            journal.sync()
            _save(task, state)
            saved_s = time.monotonic()
        if stopping and state.step < task.last_step:
            raise KeyboardInterrupt


def _journal_of(task: _Task, step: int) -> AbstractContextManager[Journal | None]:
    """Return the run's journal, which only the first of several processes writes."""
    return Journal(task.run, step) if task.ranks.is_first else nullcontext()


def _memory_gb(device: torch.device) -> float:
    """Return the most memory that was in use: the GPU's, or this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 10**9
    unit_bytes = 1 if sys.platform == "darwin" else 1024  # getrusage(2) counts in kilobytes, but for Apple's
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 10**9


def _take_step(task: _Task, state: _State, batch: Batch) -> Losses:
    """Train on one batch, the judge first if there is one; return the losses."""
    rate = task.recipe.learning_rate_at(state.step, task.last_step)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad(set_to_none=True)
    count = task.recipe.accumulate
    losses = {"loss": 0.0}
    parts = zip(*(side.chunk(count) for side in _varied(task, state.step, batch)), strict=True)
    for number, (prepared, target) in enumerate(parts, start=1):
        with _gradients_averaged(state.called, number == count):
            answers = answer(state.called, prepared, task.recipe.precision)
            if state.game:
                losses["judge_loss"] = state.game.let_judge_learn(prepared, target, answers, rate, task.ranks)
            loss = _loss(task, state.game, prepared, target, answers) / count
            losses["loss"] += loss.item()
            loss.backward()  # type: ignore[no-untyped-call]
    if not all(map(math.isfinite, losses.values())):
        raise ModelError(_explain_divergence(task, state.step, losses))
    if task.recipe.clip:
        nn.utils.clip_grad_norm_(state.network.parameters(), task.recipe.clip)
    state.optimizer.step()
    state.step += 1
    if task.recipe.ema:
        _average(state, min(task.recipe.ema, state.step / (state.step + 9)))
    return losses


def _varied(task: _Task, step: int, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return what the network shall see, by other cameras, and answer, with the recipe's chance applied to both alike."""
    recipe, prepared, target = task.recipe, batch.prepared, batch.target
    chance = chance_of(recipe.seed, step, task.ranks.rank)
    if recipe.other_cameras:
        studio = task.encoding.decode(prepared, target)
        prepared = by_other_cameras(prepared, chance)
        target = task.encoding.target(prepared, studio)
    if recipe.chance != "none" or recipe.patch:
        prepared, target = varied(torch.cat([prepared, target], dim=1), recipe.chance, recipe.patch, chance).chunk(2, dim=1)
    return prepared, target


def _loss(task: _Task, game: Game | None, prepared: Tensor, target: Tensor, answers: Tensor) -> Tensor:
    recipe, decode = task.recipe, task.encoding.decode
    decoded, wanted = decode(prepared, answers), decode(prepared, target)
    loss = picture_loss(
        decoded,
        wanted,
        kind=recipe.loss,
        mean_weight=recipe.mean_weight,
        pixel_weight=recipe.pixel_weight,
        ssim_weight=recipe.ssim_weight,
        ms_ssim_weight=recipe.ms_ssim_weight,
        ms_ssim_scales=recipe.ms_ssim_scales,
    )
    if task.features:
        loss = loss + task.features.loss(decoded, wanted)
    return loss + recipe.gan_weight * game.deception(prepared, answers) if game else loss


def _gradients_averaged(called: nn.Module, now: bool) -> AbstractContextManager[None]:
    """Let ranks exchange gradients only with the last part of a batch."""
    if isinstance(called, nn.parallel.DistributedDataParallel) and not now:
        return called.no_sync()
    return nullcontext()


def _explain_divergence(task: _Task, step: int, losses: Losses) -> str:
    batch = task.recipe.batch
    chosen = task.ranks.share(samples_at(range(step * batch, (step + 1) * batch), len(task.entries), task.recipe.seed))
    keys = ", ".join(task.entries[index].key for index in chosen)
    values = " and ".join(f"the {_in_words(name)} became {value}" for name, value in losses.items())
    return (
        f"{values} in step {step + 1} of {task.run} (pictures {keys});"
        " look at these pictures, or begin a new run with a lower learning_rate"
    )


def _in_words(loss: str) -> str:
    return loss.replace("_", "'s ")


@torch.no_grad()
def _average(state: _State, decay: float) -> None:
    """Move the averaged weights, and the statistics of batch normalisation that belong to them, towards the last ones."""
    for name, tensor in state.network.state_dict().items():
        if tensor.is_floating_point():
            state.averaged[name].lerp_(tensor, 1 - decay)
        else:
            state.averaged[name].copy_(tensor)


def _log_losses(task: _Task, state: _State, journal: Journal, losses: Losses) -> None:
    state.unlogged.append(losses)
    if state.step % _LOG_EVERY_STEPS == 0 or state.step == task.last_step:
        rate = task.recipe.learning_rate_at(state.step - 1, task.last_step)
        means = {name: sum(one[name] for one in state.unlogged) / len(state.unlogged) for name in losses}
        journal.write(state.step, "train", {**means, "learning_rate": rate})
        state.unlogged.clear()


def _validate(task: _Task, state: _State, journal: Journal) -> None:
    """Score the weights to be used on the validation pairs, and draw the first few of them."""
    network = to_device(build_network(task.recipe), task.device)
    network.load_state_dict(_weights_to_use(task, state))
    network.eval()
    split = "val" if unaugmented(task.dataset, "val") else "train"
    limit = None if split == "val" else _SHOWN_PORTRAITS
    shown: list[Picture] = []
    scores: list[Scores] = []
    for compared in compare(network, task.recipe, portraits(task.dataset, split, task.recipe.size, limit=limit)):
        scores.append(compared.scores)
        if len(shown) < _SHOWN_PORTRAITS:
            shown.append(_row(compared))
    if shown:
        sheet = np.concatenate(shown)
        write_durably(task.run / SAMPLES_FOLDER / f"step-{state.step:06d}.png", encode(sheet, ".png"))
        journal.show(state.step, sheet)
    if split == "val":
        mean = mean_scores(scores)
        journal.write(state.step, "val", asdict(mean))
        _keep(task, state, mean.psnr)


def _keep(task: _Task, state: _State, psnr: float) -> None:
    """Keep the weights that were validated if they are the best so far, and the last few if the recipe says so."""
    if psnr > state.best_psnr:
        state.best_psnr = psnr
        _write_weights(task, state, BEST_FILE)
    if task.recipe.keep and state.step:
        _write_weights(task, state, f"{SNAPSHOTS_FOLDER}/step-{state.step:06d}.safetensors")
        snapshots = sorted((task.run / SNAPSHOTS_FOLDER).glob("step-*.safetensors"))
        for old in snapshots[: -task.recipe.keep]:
            old.unlink()


def _row(compared: Compared) -> Picture:
    """Put flash, result and reconstructed ground truth side by side."""
    pictures = (compared.portrait.flash, compared.result, compared.reconstructed)
    return np.concatenate([to_picture(picture[0]) for picture in pictures], axis=1)


def _begin(task: _Task, report: Report) -> _State:
    torch.manual_seed(task.recipe.seed)
    network = to_device(_first_weights(task, report), task.device).train()
    betas = (task.recipe.beta1, task.recipe.beta2)
    optimizer = torch.optim.AdamW(
        network.parameters(), task.recipe.learning_rate, betas, task.recipe.epsilon, weight_decay=task.recipe.weight_decay
    )
    averaged = {name: tensor.clone() for name, tensor in network.state_dict().items()} if task.recipe.ema else {}
    called = task.ranks.together(cast(nn.Module, torch.compile(network)) if task.recipe.compile else network)
    game = game_of(task.recipe, task.device)
    return _State(network, optimizer, game, averaged, step=0, unlogged=[], best_psnr=-math.inf, called=called)


def _first_weights(task: _Task, report: Report) -> nn.Module:
    """Build the network, with others' weights if the recipe names them; a run that goes on has its own."""
    recipe, network = task.recipe, build_network(task.recipe)
    if (task.run / STATE_FILE).exists():
        return network
    if task.start:
        network.load_state_dict(task.start.network.state_dict())
    if isinstance(network, DeepFlash) and recipe.encoder_weights:
        matched = network.load_encoder(Path(recipe.encoder_weights), recipe.encoder_order)
        report(0, task.last_step, f"the encoder begins with {matched}")
    if isinstance(network, Bokeh) and recipe.encoder_weights:
        network.load_megadepth(Path(recipe.encoder_weights))
        report(0, task.last_step, f"the hourglass begins with {recipe.encoder_weights}")
    if recipe.network == "dense-unet" and not recipe.vgg19_weights:
        report(0, task.last_step, "no vgg19_weights, so the loss is without the features that its paper compares")
    return network


def _save(task: _Task, state: _State) -> None:
    _write_weights(task, state)
    content = {
        "format": _STATE_FORMAT,
        "step": state.step,
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "judge": state.game.state_dict() if state.game else None,
        "averaged": state.averaged,
        "random": torch.get_rng_state(),
        "unlogged": state.unlogged,
        "best_psnr": state.best_psnr,
    }
    with durable_file(task.run / STATE_FILE) as file:
        torch.save(content, file)


def _restore(task: _Task, state: _State) -> None:
    path = task.run / STATE_FILE
    try:
        content = torch.load(path, map_location=task.device, weights_only=True)
        if content["format"] not in _STATE_FORMATS:
            raise ModelError(f"{path} has format {content['format']}, this program reads {_STATE_FORMAT}; update deepflash")
        state.network.load_state_dict(content["network"])
        state.optimizer.load_state_dict(content["optimizer"])
        if state.game:
            state.game.load_state_dict(content["judge"])
        state.averaged = content["averaged"]
        state.step = content["step"]
        state.unlogged = [one if isinstance(one, dict) else {"loss": one} for one in content["unlogged"]]
        state.best_psnr = content["best_psnr"]
        torch.set_rng_state(content["random"].cpu())
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]  # torch goes on to recommend what is not safe
        raise ModelError(f"{path} is damaged ({reason}); remove it to begin again, or train in a new folder") from error


def _write_weights(task: _Task, state: _State, name: str = WEIGHTS_FILE) -> None:
    save_weights(task.run / name, _weights_to_use(task, state), task.recipe, state.step, task.origin)


def _weights_to_use(task: _Task, state: _State) -> dict[str, Tensor]:
    return state.averaged if task.recipe.ema else state.network.state_dict()


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """On a CPU, refuse operations whose result may differ from run to run."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(before or device.type == "cpu")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """Turn SIGTERM and Ctrl-C into an event that is looked at between steps; a second one interrupts at once."""
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested  # signals are the main thread's
        return

    def request(_number: int, _frame: FrameType | None) -> None:
        if requested.is_set():
            raise KeyboardInterrupt
        requested.set()

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
