"""The leakage check: one person under two ids in two parts of the split, found by the likeness of faces.

Embeddings are personal data: they exist while a data set is built and are not stored in it; only the suspects are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.45
"""Two ids whose faces are nearer than this are suspected to be one person.

Measured (benchmarks/dataset.py --only leakage): of 84,255 pairs of different people in 411 portraits none is nearer (the
nearest 0.470); of 10 people photographed once by flash and once by studio lamps, which is harder than a data set's two
studio photographs, 7 are."""

FACES_PER_SUBJECT = 2
"""How many pairs of a subject are looked at; their mean is compared."""

_ROWS_AT_A_TIME = 512  # of the matrix of distances: 10,000 subjects need 40 MB


@dataclass(frozen=True)
class Suspect:
    """Two ids in different parts that look like one person, with the distance of their faces."""

    subjects: tuple[str, str]
    parts: tuple[str, str]
    distance: float

    def sentence(self) -> str:
        (one, other), (part, other_part) = self.subjects, self.parts
        return (
            f"{one} ({part}) and {other} ({other_part}) look like one person (distance {self.distance:.2f}); if they are,"
            " give them one subject id, or one part with --split"
        )


def find_leaks(
    embeddings: Mapping[str, Sequence[NDArray[np.float32]]], part_of: Mapping[str, str], *, threshold: float = THRESHOLD
) -> list[Suspect]:
    """Find pairs of subjects in different parts of the split whose faces are alike.

    Parameters
    ----------
    embeddings
        For each subject, those of its faces, (128,) each, from `deepflash.faces.face_embedding`.
    part_of
        For each of them its part of the split.
    threshold
        Euclidean distance below which two are suspected.

    Returns
    -------
    list of Suspect
        The likest first.
    """
    subjects = sorted(subject for subject, faces in embeddings.items() if len(faces))
    if not subjects:
        return []
    faces = np.array([np.mean(embeddings[subject], axis=0, dtype=np.float64) for subject in subjects])
    parts = np.array([part_of[subject] for subject in subjects])
    suspects = []
    for begin in range(0, len(subjects), _ROWS_AT_A_TIME):
        rows = slice(begin, begin + _ROWS_AT_A_TIME)
        distances = _distances(faces[rows], faces)
        near = (distances < threshold) & (parts[rows, None] != parts[None, :])
        for row, column in np.argwhere(near).tolist():
            one, other = begin + row, column
            if one < other:
                names = (subjects[one], subjects[other])
                where = (part_of[names[0]], part_of[names[1]])
                suspects.append(Suspect(names, where, round(float(distances[row, column]), 3)))
    return sorted(suspects, key=lambda suspect: (suspect.distance, suspect.subjects))


def _distances(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None, :] - 2 * some @ others.T
    return np.asarray(np.sqrt(np.maximum(squared, 0)))
