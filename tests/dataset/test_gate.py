"""Pairs pass the gate or are left out with the reason, and what was misspelt is noticed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deepflash.dataset.gate import Gate, read_limits, read_pair_ids
from deepflash.errors import DatasetError
from deepflash.pairs import Alignment

MakeAlignment = Callable[..., Alignment]


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        (Gate(), ""),
        (Gate(verdicts=("good",)), "its registration is check: the head turned"),
        (Gate(at_most={"tile_residual": 0.01}), "its tile_residual is 0.012, and at most 0.01 was asked for"),
        (Gate(at_most={"tile_residual": 0.012}), ""),
        (Gate(at_least={"confidence": 0.95}), "its confidence is 0.9, and at least 0.95 was asked for"),
        (Gate(at_least={"confidence": 0.9}), ""),
        (Gate(at_most={"landmark_residual": 1}), "its landmark_residual was not measured, and at most 1 was asked for"),
        (Gate(verdicts=("good",), at_most={"tile_residual": 0}, allow=("S001-a-01",)), ""),
        (Gate(leave_out=("S001-a-01",)), "it is on the list of pairs to leave out"),
    ],
)
def test_a_pair_passes_or_the_reason_is_said(make_alignment: MakeAlignment, gate: Gate, reason: str) -> None:
    quality = {"tile_residual": 0.012, "confidence": 0.9}
    assert gate.reason_against(make_alignment(verdict="check", reasons=("the head turned",), quality=quality)) == reason


def test_a_bad_pair_is_left_out_unless_it_is_asked_for(make_alignment: MakeAlignment) -> None:
    bad = make_alignment(verdict="bad")
    assert Gate().reason_against(bad) == "its registration is bad: no reason was given"
    assert Gate(verdicts=("good", "check", "bad")).reason_against(bad) == ""
    assert Gate(allow=(bad.pair_id,)).reason_against(bad) == ""


def test_a_limit_of_something_unknown_is_refused_with_what_is_known() -> None:
    with pytest.raises(DatasetError, match="no alignment has a number 'tile_residul'; known are agreement, tile_residual"):
        Gate(at_most={"tile_residul": 1}).check_names({"tile_residual", "agreement"})


def test_a_listed_pair_that_does_not_exist_is_noted() -> None:
    gate = Gate(allow=("S001-a-01", "S0O1-a-01"), leave_out=("S009-a-01",))
    assert gate.notes_on({"S001-a-01"}) == [
        "pair S0O1-a-01 is listed to allow, but there is no such alignment; look at its spelling",
        "pair S009-a-01 is listed to leave out, but there is no such alignment; look at its spelling",
    ]


def test_contradictions_and_unknown_verdicts_are_refused() -> None:
    with pytest.raises(DatasetError, match="pair a is to be allowed and left out"):
        Gate(allow=("a",), leave_out=("a", "b"))
    with pytest.raises(DatasetError, match="'fine' is no verdict; choose from good, check, bad"):
        Gate(verdicts=("good", "fine"))


def test_a_list_of_pairs_is_read_with_its_comments(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("# looked at on Monday\nS002-a-01\n\n  S001-a-01  # fine\nS002-a-01\n")
    assert read_pair_ids(tmp_path / "pairs.txt") == ("S001-a-01", "S002-a-01")


def test_what_is_no_list_of_pairs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("S001-a-01\nS002-a-01 S003-a-01\n")
    with pytest.raises(DatasetError, match=r"pairs.txt, line 2, holds more than one word; give one pair id on each line"):
        read_pair_ids(tmp_path / "pairs.txt")
    with pytest.raises(DatasetError, match=r"none.txt cannot be read"):
        read_pair_ids(tmp_path / "none.txt")


@pytest.mark.parametrize("text", ["tile_residual", "tile_residual=", "tile_residual=low", "shift=nan", "shift=inf"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(DatasetError, match=r"is no limit; write it as NAME=VALUE, such as tile_residual=0.01"):
        read_limits([text])
