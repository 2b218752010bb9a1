"""What is measured of a portrait, and what an evaluation holds.

Every measure compares two pictures: a result, and a truth. There are two truths:

- `reconstructed`, equation 8 in encoding C: the photograph with the difference of the filtered pictures added, the best that
  the paper's method can do, because fine detail that moved between the two photographs cannot be predicted. It is the same
  for every system of a table, whatever its own encoding: in A and B equation 8 gives the studio picture itself;
- `studio`, the registered studio picture (reference: models.md 0.6).
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepflash.model.cost import Cost
from deepflash.model.intervals import LEVEL, Interval, intervals_over_subjects, method_for
from deepflash.model.losses import mean_removed_loss
from deepflash.model.metrics import accuracy, delta_e2000, mean_colour_error, ms_ssim, psnr, scales_for, ssim
from deepflash.model.perceptual import Lpips
from deepflash.pictures import Picture

EVALUATION_FORMAT = 2

Truth = Literal["reconstructed", "studio"]
TRUTHS: dict[Truth, str] = {
    "reconstructed": "the reconstructed ground truth (equation 8)",
    "studio": "the studio picture itself",
}
"""In words."""


@dataclass(frozen=True)
class Measures:
    """What is measured between a result and a truth.

    Attributes
    ----------
    psnr
        In dB.
    ssim, ms_ssim
        At most 1; MS-SSIM over as many scales as the size allows, see `scales_for`.
    delta_e
        Mean CIEDE2000.
    mean_colour
        Distance of the mean colours, 0 to 1: what the loss cannot see.
    accuracy
        Equation 7, in per cent.
    loss
        Equation 5 with the paper's weights, whatever the recipe's: so that rows can be compared.
    lpips
        Perceptual distance; None without its weights.
    """

    psnr: float
    ssim: float
    ms_ssim: float
    delta_e: float
    mean_colour: float
    accuracy: float
    loss: float
    lpips: float | None = None


@dataclass(frozen=True)
class Measure:
    """How a measure is shown: its label, unit and digits, whether more is better, and the values that it can have."""

    name: str
    label: str
    unit: str
    digits: int
    more_is_better: bool
    least: float
    most: float

    def text(self, value: float) -> str:
        """Return the value as it is shown, without its unit."""
        return f"{value:.{self.digits}f}"


MEASURES = (
    Measure("psnr", "PSNR", "dB", 2, True, -math.inf, 100),
    Measure("ssim", "SSIM", "", 4, True, -1, 1),
    Measure("ms_ssim", "MS-SSIM", "", 4, True, 0, 1),
    Measure("delta_e", "ΔE2000", "", 2, False, 0, math.inf),
    Measure("mean_colour", "mean colour", "", 4, False, 0, 1),
    Measure("accuracy", "accuracy", "%", 2, True, -math.inf, 100),
    Measure("loss", "loss", "", 5, False, 0, math.inf),
    Measure("lpips", "LPIPS", "", 4, False, 0, math.inf),
)
"""In the order of the fields of `Measures`."""


@dataclass(frozen=True)
class PairMeasures:
    """What is measured of one pair, against both truths."""

    key: str
    subject: str
    reconstructed: Measures
    studio: Measures

    def against(self, truth: Truth) -> Measures:
        """Return what is measured against one truth."""
        return self.reconstructed if truth == "reconstructed" else self.studio


@dataclass(frozen=True)
class Scored:
    """A system and what was measured of it. `kind` is `run` or `baseline`; a baseline has no `cost`.

    Attributes
    ----------
    name, about
        See `systems.System`.
    pairs
        By their keys.
    """

    name: str
    kind: str
    about: str
    cost: Cost | None
    pairs: tuple[PairMeasures, ...]

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What was measured: all of `MEASURES`, or all but LPIPS."""
        measured = self.pairs[0].studio
        return tuple(measure for measure in MEASURES if getattr(measured, measure.name) is not None)

    def mean(self, truth: Truth) -> dict[str, Interval]:
        """Return the mean over subjects of every measure, with its confidence interval, cut where no value can be."""
        intervals = intervals_over_subjects(self._subject_means(truth))
        return {
            measure.name: interval.within(measure.least, measure.most)
            for measure, interval in zip(self.measures, intervals, strict=True)
        }

    def difference(self, other: "Scored", truth: Truth) -> dict[str, Interval]:
        """Return by how much every measure is greater than another system's, subject by subject.

        The interval tells more than two overlapping ones do: who is hard for one system is hard for the other.
        """
        intervals = intervals_over_subjects(self._subject_means(truth) - other._subject_means(truth))
        return {measure.name: interval for measure, interval in zip(self.measures, intervals, strict=True)}

    def _subject_means(self, truth: Truth) -> NDArray[np.float64]:
        """Return (subjects, measures)."""
        of_subject: dict[str, list[list[float]]] = {}
        for pair in self.pairs:
            values = [getattr(pair.against(truth), measure.name) for measure in self.measures]
            of_subject.setdefault(pair.subject, []).append(values)
        return np.array([np.mean(of_subject[subject], axis=0) for subject in sorted(of_subject)])


@dataclass(frozen=True)
class WorstPair:
    """A pair on which the runs do badly: each system's PSNR, and the pictures, (size, size, 3) RGB `uint8`, by label."""

    key: str
    psnr: dict[str, float]
    pictures: dict[str, Picture]


@dataclass(frozen=True)
class Evaluation:
    """Several systems, measured on the same pairs.

    Attributes
    ----------
    split, dataset
        Which pairs: the split's name, and the SHA-256 of the data set's index.
    size
        Side of the pictures in pixels.
    device
        Where the costs were measured, in words.
    notes
        What a reader of the table has to know.
    systems
        The baselines, then the runs in their order.
    worst
        The pairs with the lowest mean PSNR of the runs, worst first.
    """

    split: str
    dataset: str
    size: int
    device: str
    notes: tuple[str, ...]
    systems: tuple[Scored, ...]
    worst: tuple[WorstPair, ...] = field(compare=False, repr=False)

    @property
    def flash(self) -> Scored:
        """The flash picture, had nothing been done to it."""
        return self.systems[0]

    @property
    def runs(self) -> tuple[Scored, ...]:
        """The trained runs."""
        return tuple(system for system in self.systems if system.kind == "run")

    @property
    def measures(self) -> tuple[Measure, ...]:
        """What was measured."""
        return self.flash.measures

    @property
    def subjects(self) -> int:
        """How many people there are in the pairs."""
        return len({pair.subject for pair in self.flash.pairs})

    def title(self) -> str:
        """Say in a line what was measured."""
        pairs, subjects = len(self.flash.pairs), self.subjects
        counted = f"{pairs} pair{'s' if pairs > 1 else ''} of {subjects} subject{'s' if subjects > 1 else ''}"
        return f"split {self.split}: {counted}, {self.size} px, un-augmented"

    def interval_method(self) -> str:
        """Say how the confidence intervals come about."""
        return method_for(self.subjects)

    def as_dict(self) -> dict[str, Any]:
        """Return all but the pictures, ready for JSON."""
        return {
            "format": EVALUATION_FORMAT,
            "split": self.split,
            "dataset": self.dataset,
            "size": self.size,
            "ms_ssim_scales": scales_for(self.size),
            "device": self.device,
            "notes": list(self.notes),
            "interval": {"level": LEVEL, "method": self.interval_method()},
            "systems": [self._system_as_dict(system) for system in self.systems],
        }

    def _system_as_dict(self, system: Scored) -> dict[str, Any]:
        first = self.runs[0]
        return {
            **asdict(system),
            "mean": {truth: _plain(system.mean(truth)) for truth in TRUTHS},
            "difference_from": first.name,
            "difference": {truth: _plain(system.difference(first, truth)) for truth in TRUTHS},
        }


def measure(result: Tensor, truth: Tensor, lpips: Lpips | None = None) -> Measures:
    """Measure how near a result is to a truth, both (1, 3, H, W); with LPIPS if it is given.

    Loss and accuracy see the values as they are, for in encoding C their difference is that of y_d and t_d in equations 4 to 7;
    the others see pictures, clipped to [0, 1].
    """
    shown, wanted = result.clamp(0, 1), truth.clamp(0, 1)
    return Measures(
        psnr=float(psnr(shown, wanted)),
        ssim=float(ssim(shown, wanted)),
        ms_ssim=float(ms_ssim(shown, wanted, scales=scales_for(min(shown.shape[-2:])))),
        delta_e=float(delta_e2000(shown, wanted)),
        mean_colour=float(mean_colour_error(shown, wanted)),
        accuracy=float(accuracy(result, truth)),
        loss=float(mean_removed_loss(result, truth)),
        lpips=float(lpips(shown, wanted)) if lpips else None,
    )


def _plain(intervals: dict[str, Interval]) -> dict[str, dict[str, float | None]]:
    return {name: asdict(interval) for name, interval in intervals.items()}
