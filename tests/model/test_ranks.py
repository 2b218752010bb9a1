"""Processes that train together: what they share out, and what cannot be shared. Their training is tested in test_train."""

import pytest
import torch

from deepflash.errors import ModelError
from deepflash.model.ranks import Ranks, joined


def test_shares_are_disjoint_and_make_up_the_batch() -> None:
    shares = [Ranks(rank, 3).share(list(range(12))) for rank in range(3)]
    assert sorted(index for share in shares for index in share) == list(range(12))
    assert {len(share) for share in shares} == {4}


@pytest.mark.parametrize(
    ("batch", "parts", "sentence"), [(3, 1, "by 2 processes; change"), (4, 4, "2 processes, in 4 parts each")]
)
def test_what_cannot_be_shared_evenly_is_refused(
    batch: int, parts: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share of two pictures in four parts would leave gradients that nobody averages."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ModelError, match=sentence), joined(torch.device("cpu"), batch, parts):
        pass


def test_alone_one_is_the_first_of_one() -> None:
    with joined(torch.device("cpu"), 3, 1) as ranks:
        assert (ranks.is_first, ranks.count, ranks.mean(2.5, torch.device("cpu"))) == (True, 1, 2.5)
