"""One person under two ids in two parts is found; the same person twice in one part is no leak."""

import itertools

import numpy as np
from numpy.typing import NDArray

from deepflash.dataset.leakage import THRESHOLD, find_leaks


def face(seed: int, *, off: float = 0.0) -> NDArray[np.float32]:
    """A point at about the distance that embeddings of two people have; `off` moves it by that much."""
    rng = np.random.default_rng(seed)
    direction = np.random.default_rng(seed + 10**6).standard_normal(128)
    return (rng.standard_normal(128) * 0.06 + off * direction / np.linalg.norm(direction)).astype(np.float32)


def test_the_two_ids_of_one_person_are_named_with_their_parts_and_distance() -> None:
    embeddings = {"S001": [face(1)], "S002": [face(2)], "S003": [face(1, off=0.3)]}
    suspects = find_leaks(embeddings, {"S001": "train", "S002": "train", "S003": "test"})
    assert [(suspect.subjects, suspect.parts, suspect.distance) for suspect in suspects] == [
        (("S001", "S003"), ("train", "test"), 0.3)
    ]
    assert suspects[0].sentence() == (
        "S001 (train) and S003 (test) look like one person (distance 0.30); if they are, give them one subject id, or one part"
        " with --split"
    )


def test_within_one_part_nothing_leaks() -> None:
    assert find_leaks({"S001": [face(1)], "S002": [face(1)]}, {"S001": "val", "S002": "val"}) == []


def test_the_mean_of_a_subjects_faces_is_compared() -> None:
    """Two photographs that lie off to either side cancel: no single one would have been near enough."""
    apart = [face(1, off=0.6), face(1, off=-0.6)]
    assert len(find_leaks({"A": apart, "B": [face(1)]}, {"A": "train", "B": "test"})) == 1
    assert find_leaks({"A": apart[:1], "B": [face(1)]}, {"A": "train", "B": "test"}) == []


def test_a_subject_without_a_face_is_passed_over() -> None:
    assert find_leaks({"A": [], "B": [face(1)]}, {"A": "train", "B": "test"}) == []
    assert find_leaks({}, {}) == []


def test_thousands_of_subjects_are_compared_as_each_pair_would_be() -> None:
    """3000 subjects, a tenth of them twice: the matrix in strips must find what comparing pair by pair finds."""
    embeddings = {f"S{number:04d}": [face(number % 2700, off=0.2 * (number >= 2700))] for number in range(3000)}
    part_of = {subject: ("train", "val", "test")[number % 3] for number, subject in enumerate(embeddings)}
    found = {suspect.subjects for suspect in find_leaks(embeddings, part_of)}
    twins = {(f"S{n:04d}", f"S{n + 2700:04d}") for n in range(300)}
    expected = {pair for pair in twins if part_of[pair[0]] != part_of[pair[1]]}
    assert found == expected


def test_strips_agree_with_plain_distances() -> None:
    embeddings = {f"S{number:03d}": [face(number) * np.float32(0.5)] for number in range(60)}
    part_of = {subject: ("train", "test")[number % 2] for number, subject in enumerate(embeddings)}
    expected = {
        (one, other)
        for one, other in itertools.combinations(sorted(embeddings), 2)
        if part_of[one] != part_of[other] and np.linalg.norm(embeddings[one][0] - embeddings[other][0]) < THRESHOLD
    }
    assert {suspect.subjects for suspect in find_leaks(embeddings, part_of)} == expected
    assert expected
