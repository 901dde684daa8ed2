"""How likely the boxes of an image and class are wrong, error by error.

The errors are ObjectLab's (Tkachenko, Thyagarajan and Mueller 2023: overlooked, badly
placed, swapped) and spurious boxes. ObjectLab takes a prediction at its word from a fixed
confidence on; detectors differ in what a confidence of 0.5 means, so here a box is compared
with the whole table: what share t of the label boxes of its class look at least
as bad? With a prior share PRIOR of wrong boxes, which would all look bad,
p(error) = PRIOR / (PRIOR + t). Neither gold nor calibrated confidence is needed.

R scored rows (image and class), n boxes of all rows, K classes; the shares come from
histograms of BINS steps over [0, 1], which add up over the shards of a table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.interfaces import Array
from cluster.models.detection.detections import SAME

PRIOR = 0.1  # share of wrong boxes of a kind before the model is asked; 0.05 to 0.2 rank alike
TOUCH = 0.1  # IoU from which a label box and a prediction may be about one object
BINS = 100
WINDOW = 10  # bins to both sides over which the precision of a score is taken
OVERLOOKED, SPURIOUS, BADLY_PLACED, SWAPPED = range(4)
ERRORS = ("overlooked", "spurious", "badly_placed", "swapped")

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Suspects:
    """Boxes that may be wrong; each array [n].

    row: of the scored table. box: index among the row's label boxes, or among its predictions
    (is_predicted) where the error is overlooked or a swap seen from the other class.
    error: index in ERRORS. probability: of the error, in [0, 1]; higher is worse.
    """

    row: Indices
    box: Indices
    is_predicted: npt.NDArray[np.bool_]
    error: Indices
    probability: Array


def sums(scored: pa.Table, classes: Sequence[str]) -> dict[str, Array]:
    """Histograms [K, BINS]: of label boxes by support and by IoU, of predictions by score.

    support: score of the prediction that agrees with a label box.
    """
    labelled, predicted = _flat(scored, "label_score"), _flat(scored, "predicted_score")
    row_class = _class_of(scored, classes)
    label_class, predicted_class = row_class[labelled.row], row_class[predicted.row]
    label_iou = _values(scored, "label_iou")
    support = _support(labelled.values, label_iou)
    matched = _values(scored, "predicted_iou") >= SAME
    num_classes = len(classes)
    return {
        "support": _histogram(label_class, support, num_classes),
        "placed": _histogram(label_class, label_iou, num_classes),
        "predicted": _histogram(predicted_class, predicted.values, num_classes),
        "matched": _histogram(predicted_class[matched], predicted.values[matched], num_classes),
    }


def suspects(
    scored: pa.Table, totals: Mapping[str, Array], classes: Sequence[str]
) -> tuple[Suspects, Suspects]:
    """Every label box, and every prediction that no label box of its class matches.

    totals: sums of the whole table.
    """
    table = _Shares(totals)
    return _label_boxes(scored, table, classes), _lone_predictions(scored, table, classes)


def _label_boxes(scored: pa.Table, table: "_Shares", classes: Sequence[str]) -> Suspects:
    boxes = _flat(scored, "label_score")
    box_class = _class_of(scored, classes)[boxes.row]
    label_iou = _values(scored, "label_iou")
    support = _support(boxes.values, label_iou)
    other = _index_in(pc.list_flatten(scored["label_other_class"]), classes)
    spurious = (1 - support) * table.rarity("support", box_class, support)
    moved = np.minimum((1 - label_iou) / SAME, 1.0) * table.rarity("placed", box_class, label_iou)
    swapped = (1 - support) * np.where(
        other >= 0, table.precision(other, _values(scored, "label_other_score")), 0.0
    )
    off = (label_iou >= TOUCH) & ((label_iou < SAME) | (moved > spurious))
    error = np.where(off, BADLY_PLACED, SPURIOUS)
    error = np.where((swapped > 0) & (label_iou < SAME), SWAPPED, error)
    return Suspects(
        row=boxes.row,
        box=boxes.index,
        is_predicted=np.zeros(len(boxes.row), np.bool_),
        error=error,
        probability=1 - (1 - np.maximum(spurious, moved)) * (1 - swapped),
    )


def _lone_predictions(scored: pa.Table, table: "_Shares", classes: Sequence[str]) -> Suspects:
    boxes = _flat(scored, "predicted_score")
    box_class = _class_of(scored, classes)[boxes.row]
    alone = _values(scored, "predicted_iou") < SAME
    other_support = _values(scored, "predicted_other_support")
    precision = table.precision(box_class, boxes.values)
    overlooked = precision * table.rarity_alone(box_class, boxes.values)
    swapped = np.where(other_support >= 0, precision * (1 - np.clip(other_support, 0.0, 1.0)), 0.0)
    return Suspects(
        row=boxes.row[alone],
        box=boxes.index[alone],
        is_predicted=np.ones(int(alone.sum()), np.bool_),
        error=np.where(other_support >= 0, SWAPPED, OVERLOOKED)[alone],
        probability=(1 - (1 - overlooked) * (1 - swapped))[alone],
    )


class _Shares:
    """Looks shares up in the histograms of a whole table."""

    def __init__(self, totals: Mapping[str, Array]) -> None:
        num_labelled = np.maximum(totals["support"].sum(axis=1), 1.0)
        self._at_most = {
            name: totals[name].cumsum(axis=1) / num_labelled[:, None]
            for name in ("support", "placed")
        }
        alone = totals["predicted"] - totals["matched"]
        self._alone_at_least = alone[:, ::-1].cumsum(axis=1)[:, ::-1] / num_labelled[:, None]
        near = np.ones(2 * WINDOW + 1)
        matched, predicted = (
            np.stack([np.convolve(row, near, "same") for row in totals[name]])
            for name in ("matched", "predicted")
        )
        self._precision = (matched + 1) / (predicted + 2)

    def rarity(self, name: str, box_class: Indices, value: Array) -> Array:
        """p(error) of label boxes by how few look as bad: [n]."""
        return _posterior(self._at_most[name][box_class, _bin(value)])

    def rarity_alone(self, box_class: Indices, score: Array) -> Array:
        """p(error) of a lone prediction by how few are as sure: [n]."""
        return _posterior(self._alone_at_least[box_class, _bin(score)])

    def precision(self, box_class: Indices, score: Array) -> Array:
        """Share of predictions of about this score that a label box matches: [n]."""
        return np.asarray(self._precision[box_class, _bin(score)])


@dataclass(frozen=True)
class _Flat:
    """A list column: values [n], the row of each, and its index within the row."""

    values: Array
    row: Indices
    index: Indices


def _flat(scored: pa.Table, name: str) -> _Flat:
    lengths = pc.list_value_length(scored[name]).to_numpy().astype(np.int64)
    row = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    return _Flat(_values(scored, name), row, np.arange(len(row)) - starts[row])


def _values(scored: pa.Table, name: str) -> Array:
    return np.asarray(pc.list_flatten(scored[name]).to_numpy(), np.float64)


def _support(score: Array, label_iou: Array) -> Array:
    """Score of the prediction that agrees with each label box; 0 where none does."""
    return np.where(label_iou >= SAME, score, 0.0)


def _class_of(scored: pa.Table, classes: Sequence[str]) -> Indices:
    return _index_in(scored["unit"], classes)


def _index_in(names: pa.ChunkedArray, classes: Sequence[str]) -> Indices:
    """Index of each class name, -1 for other names: [n]."""
    indices = pc.fill_null(pc.index_in(names, pa.array(classes, pa.string())), -1)
    return np.asarray(indices.to_numpy(), np.int64)


def _posterior(share: Array) -> Array:
    return PRIOR / (PRIOR + share)


def _bin(value: Array) -> Indices:
    return np.clip((value * BINS).astype(np.int64), 0, BINS - 1)


def _histogram(box_class: Indices, value: Array, num_classes: int) -> Array:
    flat = np.bincount(box_class * BINS + _bin(value), minlength=num_classes * BINS)
    return flat.reshape(num_classes, BINS).astype(np.float64)
