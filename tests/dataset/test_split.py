"""No person is in two splits; proportions hold as well as whole subjects allow; newcomers move hardly anybody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepflash.dataset.split import notes_on, split_by_subject
from deepflash.errors import DatasetError

USUAL = (0.8, 0.1, 0.1)
subjects = st.dictionaries(st.from_regex(r"S[0-9]{1,4}", fullmatch=True), st.integers(1, 12), max_size=40)


@given(pairs=subjects, seed=st.integers(0, 99))
def test_every_subject_is_in_exactly_one_split(pairs: dict[str, int], seed: int) -> None:
    split = split_by_subject(pairs, USUAL, seed=seed)
    assert sorted(subject for members in split.values() for subject in members) == sorted(pairs)
    assert list(split) == ["train", "val", "test"]


@given(pairs=subjects, seed=st.integers(0, 99))
def test_train_is_served_first_then_test_then_val(pairs: dict[str, int], seed: int) -> None:
    split = split_by_subject(pairs, USUAL, seed=seed)
    filled = {name for name, members in split.items() if members}
    assert filled == set(("train", "test", "val")[: min(len(pairs), 3)])


@given(pairs=subjects.filter(lambda pairs: len(pairs) >= 3), seed=st.integers(0, 99))
def test_no_split_misses_its_share_by_more_than_its_two_nearest_subjects(pairs: dict[str, int], seed: int) -> None:
    split = split_by_subject(pairs, USUAL, seed=seed)
    for name, share in (("val", 0.1), ("test", 0.1)):
        got = sum(pairs[subject] for subject in split[name])
        assert len(split[name]) == 1 or abs(got - share * sum(pairs.values())) <= max(pairs.values()) / 2 + 1e-9


@pytest.mark.parametrize("count", [10, 50, 101, 1000])
def test_equal_subjects_are_split_in_the_proportions_asked_for(count: int) -> None:
    split = split_by_subject({f"S{number:03d}": 5 for number in range(count)}, USUAL)
    assert abs(len(split["val"]) - count / 10) <= 1
    assert abs(len(split["test"]) - count / 10) <= 1


def test_the_split_does_not_depend_on_the_order_of_the_subjects_but_on_the_seed() -> None:
    pairs = {f"S{number:03d}": 1 + number % 4 for number in range(40)}
    again = dict(reversed(pairs.items()))
    assert split_by_subject(pairs, USUAL) == split_by_subject(again, USUAL)
    assert split_by_subject(pairs, USUAL, seed=1) != split_by_subject(pairs, USUAL)


def test_a_newcomer_moves_at_most_one_subject_across_each_cut() -> None:
    pairs = {f"S{number:03d}": 5 for number in range(101)}
    before = place(split_by_subject(pairs, USUAL))
    for newcomer in ("S900", "S901", "S902", "S903"):
        after = place(split_by_subject({**pairs, newcomer: 5}, USUAL))
        assert sum(before[subject] != after[subject] for subject in pairs) <= 2


def test_a_split_with_no_share_stays_empty_without_a_note() -> None:
    split = split_by_subject({"A": 1, "B": 1}, (0.5, 0.0, 0.5))
    assert split["val"] == []
    assert len(split["train"]) == len(split["test"]) == 1
    assert notes_on(split, (0.5, 0.0, 0.5)) == []


def test_too_few_subjects_are_said_in_a_sentence() -> None:
    one, two = (split_by_subject(pairs, USUAL) for pairs in ({"A": 4}, {"A": 4, "B": 2}))
    assert one["train"] == ["A"]
    assert notes_on(one, USUAL) == [
        "the data set has no val and no test part, because there is only one subject; photograph more people to have all three"
    ]
    assert "no val part, because there are only 2 subjects" in notes_on(two, USUAL)[0]


@pytest.mark.parametrize("proportions", [(0.8, 0.1), (0.8, 0.3, 0.1), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_proportions_that_are_no_split_are_refused(proportions: tuple[float, ...]) -> None:
    with pytest.raises(DatasetError, match="give three for train, val, test that sum to 1, train above 0"):
        split_by_subject({"A": 1}, proportions)


def place(split: dict[str, list[str]]) -> dict[str, str]:
    return {subject: name for name, members in split.items() for subject in members}
