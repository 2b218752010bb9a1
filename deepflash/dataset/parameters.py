"""All that decides, with the alignments, which bytes a data set has."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from deepflash.dataset.gate import Gate
from deepflash.dataset.split import split_by_subject
from deepflash.dataset.variant_set import VariantSet, paper_variants
from deepflash.errors import DatasetError
from deepflash.shards import DEFAULT_PICTURES, members_of

MIN_SIZE_PX = 16
MAX_SIZE_PX = 4096


@dataclass(frozen=True)
class Parameters:
    """What a data set is built with.

    Attributes
    ----------
    size
        Side of the samples in pixels, 16 to 4096.
    proportions
        Shares of train, val and test in the pairs.
    seed
        Of the split.
    balance
        Whether newcomers to the split are placed by who is there (`balanced_split`) instead of by their ids alone.
    fixed
        Subjects whose part is given, see `deepflash.dataset.split.read_split`.
    variants
        The geometric variants of every pair.
    gate
        Which pairs enter.
    pictures
        How pictures are stored: a key of `deepflash.shards.PICTURE_FORMATS`.
    leakage_check
        Whether faces are compared between the parts of the split.
    """

    size: int = 512
    proportions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0
    balance: bool = False
    fixed: dict[str, str] = field(default_factory=dict)
    variants: VariantSet = field(default_factory=paper_variants)
    gate: Gate = field(default_factory=Gate)
    pictures: str = DEFAULT_PICTURES
    leakage_check: bool = True

    def __post_init__(self) -> None:
        if not MIN_SIZE_PX <= self.size <= MAX_SIZE_PX:
            raise DatasetError(f"samples of {self.size} pixels are refused; give a size from {MIN_SIZE_PX} to {MAX_SIZE_PX}")
        members_of(self.pictures)
        split_by_subject((), self.proportions)

    def as_dict(self) -> dict[str, Any]:
        """Return them as `dataset.json` holds them."""
        content = {**asdict(self), **asdict(self.variants)}
        return dict(json.loads(json.dumps(content, sort_keys=True)))
