"""What the forms of others' predictions share: names that do not match, numbers, pooling.

class_predictions.py, tagging/tag_predictions.py and detection/box_predictions.py say what a table
of their tasks holds; nothing here knows a task. N rows (or tokens, boxes), C classes.
"""

from collections.abc import Callable, Mapping, Sequence, Sized
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.interfaces import Array
from cluster.scores import stacking
from cluster.scores.stacking import Stacking
from relabel_service.errors import InvalidInput

ROUNDING = 2e-2  # by which the probabilities of a row may miss 1
MAX_NAMED = 3

T = TypeVar("T")


def counted(some: Sequence[str], every: Sized, what: str) -> str:
    """How many names of all these are what `what` says, and the first few of them."""
    more = ", …" if len(some) > MAX_NAMED else ""
    named = f" ({', '.join(map(str, some[:MAX_NAMED]))}{more})" if some else ""
    return f"{len(some):,} of {len(every):,} {what}{named}"


def are_probabilities(values: Array, *, row: str, column: str) -> tuple[bool, list[str]]:
    """Whether numbers are probabilities rather than scores, and a note where they are not.

    values: [N, C]. row, column: what they are of, in words. Raises InvalidInput, with how many,
    where rows hold a null, a NaN or an infinity.
    """
    if (num_strange := int((~np.isfinite(values).all(axis=1)).sum())) > 0:
        raise InvalidInput.of(
            "predictions",
            f"{num_strange:,} of {len(values):,} {row}s hold a value that is not a number; give "
            f"one a {column}, or leave the row out",
        )
    sums = values.sum(axis=1)
    if (values >= 0).all() and (np.abs(sums - 1) <= ROUNDING).all():
        return True, []
    return False, [
        f"predictions are not probabilities ({row}s sum to {sums.min():.3g} to {sums.max():.3g}): "
        "they are taken for scores, larger is likelier"
    ]


def learn_weights(
    base_scores: Sequence[Array], labels: npt.NDArray[np.int64]
) -> tuple[dict[str, Array], list[float]]:
    """Weights for average_of, and the log-loss of each model alone, calibrated on the same rows.

    base_scores: of each model, [N, C]; labels: [N]. All models count alike, and no log-loss is
    known, where there are no rows.
    """
    num_models = len(base_scores)
    if not len(labels):
        equal = {"weights": np.full(num_models, 1 / num_models)}
        return equal | {"bias": np.zeros(base_scores[0].shape[1])}, [np.nan] * num_models
    fitted = stacking.fit(base_scores, labels)
    losses = [stacking.fit([alone], labels).log_loss for alone in base_scores]
    return {"weights": fitted.weights, "bias": fitted.bias}, losses


def average_of(weights: Mapping[str, Array]) -> Stacking:
    """The average that learn_weights has learned."""
    return Stacking(weights["weights"], weights["bias"], np.nan)


def pooled(views: Sequence[T | None], pool: Callable[[Sequence[T]], T]) -> T | None:
    """A row's predictions as one; the first model's that has any where another has none."""
    present = [view for view in views if view is not None]
    if len(present) < len(views):
        return present[0] if present else None
    return pool(present)


def is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
