"""A run's curve has each step once, whoever else would like to write it."""

from pathlib import Path

import pytest

from deepflash.errors import ModelError
from deepflash.model.journal import Journal, read_metrics


def test_a_run_that_is_being_trained_is_not_trained_by_another_process(tmp_path: Path) -> None:
    """The second one would take back what the first has written, and both would write the weights."""
    with Journal(tmp_path, 0) as first:
        first.write(10, "train", {"loss": 0.5})
        with pytest.raises(ModelError, match="is being trained by another process; wait until that has ended"):
            Journal(tmp_path, 0)
        assert [line["step"] for line in read_metrics(tmp_path)] == [10]
    with Journal(tmp_path, 10) as later:
        later.write(20, "train", {"loss": 0.4})
    assert [line["step"] for line in read_metrics(tmp_path)] == [10, 20]
