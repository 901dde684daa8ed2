"""Which labels are wrong, from labels and predicted probabilities alone: the model-free front door.

The numbers are those that mining ranks by, without files, ids or training. R rows, C classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.scores import stacking
from cluster.scores.compact import Floats, Ints, checked, compact
from cluster.scores.compact_table import NUM_OTHERS
from cluster.scores.noise import noise_model
from cluster.scores.suspicion import FLAG, average_with_base, suspicion
from relabel_service.errors import InvalidInput

TINY = 1e-12
MATRIX = 2  # dimensions
ROUNDING = 1e-2  # by which a row's probabilities may miss 1: float16, or rounded to two digits

Doubles = npt.NDArray[np.float64]


def noise_scores(
    labels: npt.ArrayLike,
    pred_probs: npt.ArrayLike | Sequence[npt.ArrayLike],
    *,
    classes: Sequence[object] | None = None,
) -> Doubles:
    """How likely each label is wrong: float64 [R], in [0, 1]; higher is worse.

    labels: [R]; integers that are columns of pred_probs, or, with `classes`, the classes' names.
    pred_probs: floats [R, C], each row sums to 1, or a list of such matrices, one a model; float32
    and float64 alike. They must be out of sample: a model that saw the row's label finds it likely.
    classes: name of each column, [C].

    Each model gets a temperature and a bias a class that fit the labels best, and several models
    are averaged with weights learned alike (Genest and Zidek 1986; Wolpert 1992). A label is wrong
    by chance, where its one rival is the most probable other class, or by classes taken for one
    another (Dawid and Skene 1979); the score is in the middle of both, as log-odds. One minus it
    is a label quality score. docs/explanation/scores.md has the sources and what was measured.

    Raises InvalidInput where shapes differ, values are not probabilities, or a label has no column.
    """
    matrices = _matrices(pred_probs)
    given = _indices(labels, classes, num_classes=matrices[0].shape[1])
    for matrix in matrices:
        checked(matrix, given)
    if not len(given):
        return np.empty(0)
    base_scores = [np.log(np.maximum(matrix, TINY)).astype(np.float64) for matrix in matrices]
    by_average = _suspicion(base_scores, given)
    if len(matrices) == 1:
        return by_average
    return average_with_base(by_average, [_suspicion([scores], given) for scores in base_scores])


def find_label_issues(
    labels: npt.ArrayLike,
    pred_probs: npt.ArrayLike | Sequence[npt.ArrayLike],
    *,
    classes: Sequence[object] | None = None,
    threshold: float = FLAG,
) -> Ints:
    """Numbers of the rows whose labels are likelier wrong than `threshold`, the worst first: int64.

    threshold: least noise score, in [0, 1]; 0 ranks all rows. Else as noise_scores.
    """
    if not 0 <= threshold <= 1:
        raise InvalidInput.of("threshold", f"{threshold} is out of range; use 0 to 1")
    scores = noise_scores(labels, pred_probs, classes=classes)
    worst_first = np.argsort(-scores, kind="stable")
    found: Ints = worst_first[scores[worst_first] >= threshold]
    return found


def _suspicion(base_scores: Sequence[Floats], labels: Ints) -> Doubles:
    """By one model, or by the average of several."""
    average = stacking.fit(base_scores, labels).probabilities(base_scores)
    rows = compact(average, labels, num_others=NUM_OTHERS)
    return suspicion(rows, noise_model(rows, average.shape[1]))


def _matrices(pred_probs: npt.ArrayLike | Sequence[npt.ArrayLike]) -> list[Floats]:
    """One matrix of probabilities a model, all of one shape."""
    given: list[Any] = [pred_probs]
    if isinstance(pred_probs, list | tuple) and pred_probs and np.ndim(pred_probs[0]) == MATRIX:
        given = list(pred_probs)
    matrices = [np.asarray(one) for one in given]
    for matrix in matrices:
        if matrix.ndim != MATRIX or matrix.shape != matrices[0].shape:
            shapes = ", ".join(str(one.shape) for one in matrices)
            raise InvalidInput.of(
                "pred_probs", f"shapes {shapes}; give one row an item and one column a class"
            )
        if not np.issubdtype(matrix.dtype, np.floating):
            raise InvalidInput.of("pred_probs", f"{matrix.dtype} values; give floats")
        if not (np.isfinite(matrix).all() and (matrix >= 0).all()):
            raise InvalidInput.of(
                "pred_probs", "holds a value that is negative or not finite; give probabilities"
            )
        sums = matrix.sum(axis=1, dtype=np.float64)
        if (off := np.flatnonzero(np.abs(sums - 1) > ROUNDING)).size:
            raise InvalidInput.of(
                "pred_probs",
                f"row {off[0]} sums to {sums[off[0]]:g}; give probabilities, which sum to 1 "
                "(scipy.special.softmax makes them of logits)",
            )
    return matrices


def _indices(labels: npt.ArrayLike, classes: Sequence[object] | None, *, num_classes: int) -> Ints:
    """Each label's column: int64 [R]."""
    given = np.asarray(labels)
    if classes is None:
        if not np.issubdtype(given.dtype, np.integer):
            raise InvalidInput.of(
                "labels",
                f"are {given.dtype}; give integers, columns of pred_probs, or name the columns "
                "by classes=",
            )
        return given.astype(np.int64)
    names = list(classes)
    if len(names) != num_classes or len(set(names)) != num_classes:
        raise InvalidInput.of(
            "classes",
            f"are {len(names)} ({len(set(names))} distinct) for {num_classes} columns of "
            "pred_probs; name each column once",
        )
    column = {name: number for number, name in enumerate(names)}
    values = given.tolist()
    if unknown := sorted({str(value) for value in values if value not in column}):
        raise InvalidInput.of(
            "labels",
            f"hold {len(unknown)} that are not among the classes ({', '.join(unknown[:3])}); "
            "name every class of the labels in classes=",
        )
    return np.array([column[value] for value in values], np.int64)
