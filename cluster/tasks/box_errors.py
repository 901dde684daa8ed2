"""How likely the boxes of an image and class are wrong, fault by fault.

The faults are ObjectLab's (Tkachenko, Thyagarajan and Mueller 2023: overlooked, badly
placed, swapped) and spurious boxes. ObjectLab takes a prediction at its word from a fixed
confidence on; detectors differ in what a confidence of 0.5 means, so here a box is held
against the whole table: what share t of the label boxes of its class look at least
as bad? With a prior share PRIOR of faulty boxes, which would all look bad,
p(fault) = PRIOR / (PRIOR + t). Neither gold nor calibrated confidence is needed.

R rows (image and class), n boxes of all rows, K classes; the shares come from
histograms of BINS steps over [0, 1], which add up over the parts of a table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.interfaces import Array
from cluster.models.detection.detections import SAME

PRIOR = 0.1  # share of faulty boxes of a kind before the model is asked; 0.05 to 0.2 rank alike
TOUCH = 0.1  # IoU from which a label box and a prediction may be about one object
BINS = 100
WINDOW = 10  # bins to both sides over which the precision of a score is taken
OVERLOOKED, SPURIOUS, BADLY_PLACED, SWAPPED = range(4)
FAULTS = ("overlooked", "spurious", "badly_placed", "swapped")

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Suspects:
    """Boxes that may be faulty; each array [n].

    row: of the judged table. place: among the row's label boxes, or among its predictions
    where the fault is overlooked or a swap seen from the other class (is_found).
    fault: place in FAULTS. probability: of the fault, in [0, 1].
    """

    row: Places
    place: Places
    is_found: npt.NDArray[np.bool_]
    fault: Places
    probability: Array


def sums(scored: pa.Table, classes: Sequence[str]) -> dict[str, Array]:
    """Histograms [K, BINS]: of label boxes by support and by IoU, of predictions by score."""
    given, found = _flat(scored, "given_score"), _flat(scored, "found_score")
    given_class, found_class = (_class_of(scored, classes)[one.row] for one in (given, found))
    placed = _values(scored, "given_iou")
    support = _support(given.values, placed)
    matched = _values(scored, "found_iou") >= SAME
    return {
        "support": _histogram(given_class, support, len(classes)),
        "placed": _histogram(given_class, placed, len(classes)),
        "found": _histogram(found_class, found.values, len(classes)),
        "matched": _histogram(found_class[matched], found.values[matched], len(classes)),
    }


def suspects(
    scored: pa.Table, totals: Mapping[str, Array], classes: Sequence[str]
) -> tuple[Suspects, Suspects]:
    """Every label box, and every prediction that no label box of its class answers to."""
    table = _Shares(totals)
    return _given(scored, table, classes), _found(scored, table, classes)


def _given(scored: pa.Table, table: "_Shares", classes: Sequence[str]) -> Suspects:
    boxes = _flat(scored, "given_score")
    kind = _class_of(scored, classes)[boxes.row]
    placed = _values(scored, "given_iou")
    support = _support(boxes.values, placed)
    other = _places(pc.list_flatten(scored["given_other_class"]), classes)
    alone = (1 - support) * table.rarity("support", kind, support)
    moved = np.minimum((1 - placed) / SAME, 1.0) * table.rarity("placed", kind, placed)
    renamed = (1 - support) * np.where(
        other >= 0, table.precision(other, _values(scored, "given_other_score")), 0.0
    )
    off = (placed >= TOUCH) & ((placed < SAME) | (moved > alone))
    fault = np.where(off, BADLY_PLACED, SPURIOUS)
    fault = np.where((renamed > 0) & (placed < SAME), SWAPPED, fault)
    return Suspects(
        row=boxes.row,
        place=boxes.place,
        is_found=np.zeros(len(boxes.row), np.bool_),
        fault=fault,
        probability=1 - (1 - np.maximum(alone, moved)) * (1 - renamed),
    )


def _found(scored: pa.Table, table: "_Shares", classes: Sequence[str]) -> Suspects:
    boxes = _flat(scored, "found_score")
    kind = _class_of(scored, classes)[boxes.row]
    alone = _values(scored, "found_iou") < SAME
    other_support = _values(scored, "found_other_support")
    sure = table.precision(kind, boxes.values)
    overlooked = sure * table.rarity_alone(kind, boxes.values)
    renamed = np.where(other_support >= 0, sure * (1 - np.clip(other_support, 0.0, 1.0)), 0.0)
    return Suspects(
        row=boxes.row[alone],
        place=boxes.place[alone],
        is_found=np.ones(int(alone.sum()), np.bool_),
        fault=np.where(other_support >= 0, SWAPPED, OVERLOOKED)[alone],
        probability=(1 - (1 - overlooked) * (1 - renamed))[alone],
    )


class _Shares:
    """Looks shares up in the histograms of a whole table."""

    def __init__(self, totals: Mapping[str, Array]) -> None:
        self._num_given = np.maximum(totals["support"].sum(axis=1), 1.0)
        self._at_most = {
            name: totals[name].cumsum(axis=1) / self._num_given[:, None]
            for name in ("support", "placed")
        }
        alone = totals["found"] - totals["matched"]
        self._alone_at_least = alone[:, ::-1].cumsum(axis=1)[:, ::-1] / self._num_given[:, None]
        near = np.ones(2 * WINDOW + 1)
        matched, found = (
            np.stack([np.convolve(row, near, "same") for row in totals[name]])
            for name in ("matched", "found")
        )
        self._precision = (matched + 1) / (found + 2)

    def rarity(self, name: str, kind: Places, value: Array) -> Array:
        """p(fault) of label boxes by how few look as bad: [n]."""
        return _posterior(self._at_most[name][kind, _bin(value)])

    def rarity_alone(self, kind: Places, score: Array) -> Array:
        """p(fault) of a lone prediction by how few are as sure: [n]."""
        return _posterior(self._alone_at_least[kind, _bin(score)])

    def precision(self, kind: Places, score: Array) -> Array:
        """Share of predictions of about this score that a label box answers to: [n]."""
        return np.asarray(self._precision[kind, _bin(score)])


@dataclass(frozen=True)
class _Flat:
    """A list column: values [n], the row of each, and its place within the row."""

    values: Array
    row: Places
    place: Places


def _flat(scored: pa.Table, name: str) -> _Flat:
    lengths = pc.list_value_length(scored[name]).to_numpy().astype(np.int64)
    row = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    return _Flat(_values(scored, name), row, np.arange(len(row)) - starts[row])


def _values(scored: pa.Table, name: str) -> Array:
    return np.asarray(pc.list_flatten(scored[name]).to_numpy(), np.float64)


def _support(score: Array, placed: Array) -> Array:
    """Score of the prediction that agrees with each label box; 0 where none does."""
    return np.where(placed >= SAME, score, 0.0)


def _class_of(scored: pa.Table, classes: Sequence[str]) -> Places:
    return _places(scored["unit"], classes)


def _places(names: pa.ChunkedArray, classes: Sequence[str]) -> Places:
    """Places of class names, -1 for none: [n]."""
    found = pc.fill_null(pc.index_in(names, pa.array(classes, pa.string())), -1)
    return np.asarray(found.to_numpy(), np.int64)


def _posterior(share: Array) -> Array:
    return PRIOR / (PRIOR + share)


def _bin(value: Array) -> Places:
    return np.clip((value * BINS).astype(np.int64), 0, BINS - 1)


def _histogram(kind: Places, value: Array, num_classes: int) -> Array:
    flat = np.bincount(kind * BINS + _bin(value), minlength=num_classes * BINS)
    return flat.reshape(num_classes, BINS).astype(np.float64)
