"""No person is in two splits, nobody moves when others come, and proportions hold as well as that allows."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deepflash.dataset.split import Split, balanced_split, notes_on, pose_table, read_split, split_by_subject
from deepflash.errors import DatasetError

USUAL = (0.8, 0.1, 0.1)
ids = st.one_of(st.from_regex(r"S[0-9]{1,4}", fullmatch=True), st.from_regex(r"[0-9a-f]{6}x", fullmatch=True))
subjects = st.sets(ids, max_size=40)


def numbered(count: int) -> list[str]:
    return [f"S{number:03d}" for number in range(1, count + 1)]


def hexadecimal(count: int) -> list[str]:
    return [f"{number * 2654435761 % 2**32:08x}x" for number in range(1, count + 1)]


def sizes(split: Split) -> list[int]:
    return [len(split.subjects[part]) for part in ("train", "val", "test")]


@given(people=subjects, seed=st.integers(0, 99))
def test_every_subject_is_in_exactly_one_split(people: set[str], seed: int) -> None:
    split = split_by_subject(people, USUAL, seed=seed)
    assert sorted(subject for members in split.subjects.values() for subject in members) == sorted(people)
    assert list(split.subjects) == ["train", "val", "test"]


@given(people=subjects, newcomers=subjects, seed=st.integers(0, 99))
def test_once_every_part_has_its_own_people_newcomers_move_nobody(people: set[str], newcomers: set[str], seed: int) -> None:
    before = split_by_subject(people, USUAL, seed=seed)
    after = split_by_subject(people | newcomers, USUAL, seed=seed)
    if all(sizes(before)) and not before.stand_ins:
        assert {subject: after.part_of()[subject] for subject in people} == before.part_of()
        assert not after.stand_ins


@given(people=subjects, newcomers=subjects, seed=st.integers(0, 99))
@example(people={"S050", "S50", "S1"}, newcomers={"S0"}, seed=15)  # two of val, one of train: then two of both
def test_once_no_part_is_empty_newcomers_move_only_stand_ins(people: set[str], newcomers: set[str], seed: int) -> None:
    """Above all, what a network was trained on is not what it is tested on later."""
    before = split_by_subject(people, USUAL, seed=seed)
    after = split_by_subject(people | newcomers, USUAL, seed=seed).part_of()
    if all(sizes(before)):
        assert {s for s, part in before.part_of().items() if after[s] != part} <= set(before.stand_ins)


@given(people=subjects, newcomers=subjects, seed=st.integers(0, 9), balance=st.booleans())
def test_with_the_earlier_split_given_nobody_moves_at_all(
    people: set[str], newcomers: set[str], seed: int, balance: bool
) -> None:
    everybody = people | newcomers
    if balance:
        before = balanced_split({subject: {"frontal": 1} for subject in people}, USUAL, seed=seed).part_of()
        poses = {subject: {"frontal": 1} for subject in everybody}
        after = balanced_split(poses, USUAL, seed=seed, fixed=before).part_of()
    else:
        before = split_by_subject(people, USUAL, seed=seed).part_of()
        after = split_by_subject(everybody, USUAL, seed=seed, fixed=before).part_of()
    assert {subject: after[subject] for subject in people} == before


@given(people=subjects, seed=st.integers(0, 99))
def test_train_is_served_first_then_test_then_val(people: set[str], seed: int) -> None:
    split = split_by_subject(people, USUAL, seed=seed)
    filled = {name for name, members in split.subjects.items() if members}
    assert filled == set(("train", "test", "val")[: min(len(people), 3)])


@pytest.mark.parametrize("count", range(3, 40))
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_subjects_numbered_from_one_need_no_stand_in_so_that_nobody_ever_moves(count: int, seed: int) -> None:
    split = split_by_subject(numbered(count), USUAL, seed=seed)
    assert all(sizes(split))
    assert not split.stand_ins


@pytest.mark.parametrize("count", [10, 50, 100, 1000])
def test_numbered_subjects_are_split_exactly_in_the_proportions_asked_for(count: int) -> None:
    assert sizes(split_by_subject(numbered(count), USUAL)) == [count * 8 // 10, count // 10, count // 10]


@pytest.mark.parametrize("proportions", [(0.7, 0.2, 0.1), (0.85, 0.05, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.96, 0.01, 0.03)])
def test_other_proportions_are_met_to_one_subject_in_ten_blocks(proportions: tuple[float, float, float]) -> None:
    got = sizes(split_by_subject(numbered(1000), proportions, seed=3))
    np.testing.assert_allclose(got, np.array(proportions) * 1000, atol=15)


def test_other_ids_are_split_as_chance_has_it() -> None:
    """Binomial: with 2000 subjects a tenth is 200, give or take 13; four deviations are allowed."""
    got = sizes(split_by_subject(hexadecimal(2000), USUAL))
    np.testing.assert_allclose(got[1:], 200, atol=54)


def test_the_split_does_not_depend_on_the_order_of_the_subjects_but_on_the_seed() -> None:
    people = numbered(40)
    assert split_by_subject(people, USUAL) == split_by_subject(people[::-1], USUAL)
    assert split_by_subject(people, USUAL, seed=1) != split_by_subject(people, USUAL)


def test_fixed_lists_are_obeyed_and_the_others_stay_where_their_ids_put_them() -> None:
    free = split_by_subject(numbered(20), USUAL).part_of()
    fixed = {"S001": "test", "S002": "train", "S003": "train"}
    split = split_by_subject(numbered(20), USUAL, fixed=fixed).part_of()
    assert {subject: split[subject] for subject in fixed} == fixed
    assert {s: part for s, part in split.items() if s not in fixed} == {s: p for s, p in free.items() if s not in fixed}


@given(
    poses=st.dictionaries(
        st.from_regex(r"S[0-9]{1,3}", fullmatch=True),
        st.dictionaries(st.sampled_from(["frontal", "left", "smile"]), st.integers(1, 5), min_size=1),
        min_size=30,
        max_size=60,
    )
)
def test_a_balanced_split_meets_the_shares_of_every_pose_to_a_few_pairs(poses: dict[str, dict[str, int]]) -> None:
    split = balanced_split(poses, USUAL)
    total = sum((Counter(counts) for counts in poses.values()), Counter[str]())
    for part, share in (("val", 0.1), ("test", 0.1)):
        for pose, count in pose_table(split, poses)[part].items():
            assert abs(count - share * total[pose]) <= 6  # one subject has up to 5


def test_balancing_does_better_than_ids_where_subjects_differ() -> None:
    """Every fifth subject smiles: the share of smiles in test is met to one subject, by ids it is a matter of luck."""
    poses = {
        subject: {"frontal": 2, **({"smile": 4} if number % 5 == 0 else {})} for number, subject in enumerate(numbered(100))
    }
    table = pose_table(balanced_split(poses, USUAL), poses)
    assert [table[part] for part in ("train", "val", "test")] == [
        {"frontal": 160, "smile": 64},
        {"frontal": 20, "smile": 8},
        {"frontal": 20, "smile": 8},
    ]


def test_a_split_with_no_share_stays_empty_without_a_note() -> None:
    split = split_by_subject({"A1", "A2"}, (0.5, 0.0, 0.5))
    assert sizes(split) == [1, 0, 1]
    assert notes_on(split, (0.5, 0.0, 0.5)) == []


def test_too_few_subjects_are_said_in_a_sentence() -> None:
    one, two = (split_by_subject(people, USUAL) for people in (["S001"], ["S001", "S002"]))
    assert one.subjects["train"] == ["S001"]
    assert notes_on(one, USUAL) == [
        "the data set has no val and no test part, because there is only one subject; photograph more people to have all three"
    ]
    assert "no val part, because there are only 2 subjects" in notes_on(two, USUAL)[0]


def test_stand_ins_are_named_with_what_keeps_them_in_their_place() -> None:
    split = split_by_subject(["S004", "S005", "S006"], USUAL)  # none of them is one of the first three numbers
    assert sizes(split) == [1, 1, 1]
    assert len(split.stand_ins) == 2
    note = notes_on(split, USUAL)[0]
    assert f"{split.stand_ins[0]} stands in for {split.part_of()[split.stand_ins[0]]}" in note
    assert "build with --split and this data set's dataset.json" in note


def test_a_pose_that_a_part_lacks_is_named() -> None:
    poses = {"S001": {"frontal": 2, "left": 1}, "S002": {"frontal": 1}, "S003": {"left": 1}}
    split = Split({"train": ["S001"], "val": ["S002"], "test": ["S003"]})
    note = notes_on(split, USUAL, table=pose_table(split, poses))[0]
    assert (
        note
        == "val has no pair of pose 'left', test has no pair of pose 'frontal'; to even the poses out, build with --balance"
    )


def test_a_listed_subject_without_pairs_is_named() -> None:
    split = split_by_subject(numbered(3), USUAL)
    assert notes_on(split, USUAL, fixed={"S0O1": "test"}) == ["the fixed split lists subjects without a usable pair: S0O1"]


def test_lists_are_read_from_toml_and_from_an_earlier_data_set(tmp_path: Path) -> None:
    (tmp_path / "split.toml").write_text('train = ["S001", "S002"]\ntest = ["S003"]\n')
    (tmp_path / "dataset.json").write_text('{"format": 1, "split": {"train": ["S001", "S002"], "val": [], "test": ["S003"]}}')
    expected = {"S001": "train", "S002": "train", "S003": "test"}
    assert read_split(tmp_path / "split.toml") == read_split(tmp_path / "dataset.json") == expected


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.toml", "train = 3", r"a.toml is no split: 'train' is not a list of subjects called train, val, test; correct it"),
        ("a.toml", 'training = ["A"]', "'training' is not a list"),
        ("a.toml", "train = [", "a.toml is no split .*; give TOML with lists train, val and test, or a dataset.json"),
        ("a.json", '{"format": 1}', "a.json is no split"),
        ("a.json", "[]", "a.json is no split"),
        ("a.toml", 'train = ["A"]\ntest = ["A"]', "lists subject A twice; a person belongs in one part"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=sentence):
        read_split(tmp_path / name)


def test_lists_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none.toml does not exist; give a TOML file"):
        read_split(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "proportions", [(0.8, 0.1), (0.8, 0.3, 0.1), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1), (0.8, float("nan"), 0.1)]
)
def test_proportions_that_are_no_split_are_refused(proportions: tuple[float, ...]) -> None:
    with pytest.raises(DatasetError, match="give three for train, val, test that sum to 1, train above 0"):
        split_by_subject({"A": 1}, proportions)
