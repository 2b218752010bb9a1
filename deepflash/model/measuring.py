"""Measuring systems side by side on pair after pair; what is measured against what stands in `measures`."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch
from torch import Tensor

from deepflash.model.cost import Cost
from deepflash.model.data import Portrait, to_picture
from deepflash.model.encodings import encoding_named
from deepflash.model.measures import TRUTH_LABELS, PairMeasures, Scored, ShownPair, measure
from deepflash.model.perceptual import Lpips
from deepflash.model.systems import System
from deepflash.progress import Report

_WORST_SHOWN = 4
_PAPERS_ENCODING = "C"  # whose equation 8 is the common truth


@dataclass
class Measuring:
    """What is measured of several systems, pair by pair; keeps the pictures of the worst pairs and of those asked for.

    Attributes
    ----------
    systems, device, lpips
        Who is measured, and where; LPIPS if it is measured, too.
    wanted
        Keys of pairs whose pictures are kept.
    """

    systems: Sequence[System]
    device: torch.device
    lpips: Lpips | None = None
    wanted: Collection[str] = ()
    measured: dict[str, list[PairMeasures]] = field(default_factory=dict)
    worst: list[ShownPair] = field(default_factory=list)
    shown: dict[str, ShownPair] = field(default_factory=dict)

    def add(self, pair: Portrait) -> None:
        """Measure every system on a pair."""
        flash, studio = pair.flash.to(self.device), pair.studio.to(self.device)
        reconstructed = _reconstructed(flash, studio)
        results = {system.name: system.portrait(flash) for system in self.systems}
        values: dict[str, float] = {}
        for name, result in results.items():
            against = (measure(result, truth, self.lpips) for truth in (reconstructed, studio))
            measured = PairMeasures(pair.key, pair.subject, *against)
            self.measured.setdefault(name, []).append(measured)
            values[name] = measured.reconstructed.psnr
        self._keep(pair.key, values, {**results, **dict(zip(TRUTH_LABELS, (reconstructed, studio), strict=True))})

    def scored(self, costs: Mapping[str, Cost]) -> tuple[Scored, ...]:
        """Return what was measured, system by system."""
        return tuple(
            Scored(system.name, system.kind, system.about, costs.get(system.name), tuple(self.measured[system.name]))
            for system in self.systems
        )

    def _keep(self, key: str, values: dict[str, float], pictures: dict[str, Tensor]) -> None:
        """Keep the pictures if they are wanted, or bad."""
        is_bad = len(self.worst) < _WORST_SHOWN or self._rank(key, values) < self._rank(self.worst[-1].key, self.worst[-1].psnr)
        if not (is_bad or key in self.wanted):
            return
        shown = ShownPair(key, values, {label: to_picture(picture[0]) for label, picture in pictures.items()})
        if key in self.wanted:
            self.shown[key] = shown
        if is_bad:
            self.worst = sorted([*self.worst, shown], key=lambda one: self._rank(one.key, one.psnr))[:_WORST_SHOWN]

    def _rank(self, key: str, values: Mapping[str, float]) -> tuple[float, str]:
        return fmean(values[system.name] for system in self.systems if system.kind == "run"), key


@dataclass
class Passing:
    """Counts pairs as they pass, over several passes."""

    total: int
    report: Report
    done: int = 0

    def through(self, pairs: Iterator[Portrait], note: str) -> Iterator[Portrait]:
        """Yield the pairs, and report each that is done with."""
        for pair in pairs:
            yield pair
            self.done += 1
            self.report(self.done, self.total, note)


def _reconstructed(flash: Tensor, studio: Tensor) -> Tensor:
    """Return equation 8 in encoding C."""
    encoding = encoding_named(_PAPERS_ENCODING)
    return encoding.decode(flash, encoding.target(encoding.prepare(flash), encoding.prepare(studio)))
