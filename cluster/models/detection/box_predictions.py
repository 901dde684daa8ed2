"""Boxes that others predicted: the PredictionForm of object detection.

A table has one column of lists of boxes: label (its class), score in [0, 1], and x0, y0, x1, y1
in pixels of the upright picture. Boxes of several models that are about one object become one (as
in weighted boxes fusion, Solovyev et al. 2021), whose score is how likely people would have drawn
it: a logistic regression on the models' scores, learned from the labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import logit

from cluster.interfaces import Array
from cluster.models.detection.detections import SAME, Detections, iou, score
from cluster.models.other_predictions import average_of, counted, learn_weights, pooled
from relabel_service.errors import InvalidInput
from relabel_service.tasks.boxes import CLASS, CORNERS, read_boxes

SCORE = "score"
THRESHOLD = 0.5  # from which a box is suggested
LEAST = 1e-3  # score of a box that a model does not have


class BoxPredictions:
    """Of object detection."""

    def layout(self, table: pa.Table, classes: Sequence[str]) -> tuple[str, list[str]]:
        needed = {CLASS, SCORE, *CORNERS}
        columns = [field.name for field in table.schema if needed <= _fields(field.type)]
        if len(columns) != 1:
            raise InvalidInput.of(
                "predictions",
                f"{len(columns)} columns of {', '.join(table.column_names) or 'none'} hold lists "
                f"of boxes; give one, whose boxes have {', '.join((CLASS, SCORE, *CORNERS))}",
            )
        boxes = [box for row in table[columns[0]].to_pylist() for box in row or ()]
        strange = sum(not _is_box(box) for box in boxes)
        if strange:
            raise InvalidInput.of(
                "predictions",
                f"{strange:,} of {len(boxes):,} boxes have no score in [0, 1] or no area; give "
                "probabilities, and pixels with x1 beyond x0 and y1 beyond y0",
            )
        return columns[0], _match({box[CLASS] for box in boxes}, classes)

    def read(self, table: pa.Table, layout: str, classes: Sequence[str]) -> list[Detections]:
        index = {name: number for number, name in enumerate(classes)}
        found = []
        for row in table[layout].to_pylist():
            kept = [box for box in row or () if box[CLASS] in index]
            corners = np.array([[box[side] for side in CORNERS] for box in kept], np.float64)
            scores = np.array([box[SCORE] for box in kept], np.float64)
            numbers = np.array([index[box[CLASS]] for box in kept], np.int64)
            found.append(Detections(corners.reshape(-1, 4), scores, numbers))
        return found

    def require_suits(self, predictions: Sequence[Any], contents: Sequence[str]) -> None:
        """Any boxes suit any picture."""

    def score(
        self,
        predictions: Sequence[Detections],
        labels: Sequence[str],
        contents: Sequence[str],
        classes: Sequence[str],
    ) -> pa.Table:
        return score(predictions, labels, classes, threshold=THRESHOLD)

    def columns(self, views: Sequence[Sequence[Any]]) -> dict[str, pa.Array]:
        """None: there is no Ensemble."""
        return {}

    def learn(
        self,
        views: Sequence[Sequence[Detections | None]],
        labels: Sequence[str],
        contents: Sequence[str],
        classes: Sequence[str],
    ) -> tuple[dict[str, Array], list[float]]:
        """By the boxes of rows that all models have predicted."""
        features, is_drawn = [np.empty((0, len(views)))], [np.empty(0, np.int64)]
        for row, label in zip(zip(*views, strict=True), labels, strict=True):
            if any(one is None for one in row):
                continue
            fused, logits = _fused(row)
            features.append(logits)
            is_drawn.append(_is_drawn(fused, label, classes))
        columns = _base_scores(np.concatenate(features))
        drawn = np.concatenate(is_drawn)
        return learn_weights(columns, drawn)

    def pool(
        self, views: Sequence[Detections | None], weights: Mapping[str, Array]
    ) -> Detections | None:
        """Fused boxes."""

        def fuse(every: Sequence[Detections]) -> Detections:
            fused, logits = _fused(every)
            scores = average_of(weights).probabilities(_base_scores(logits))[:, 1]
            return Detections(fused.corners, scores, fused.classes)

        return pooled(views, fuse)


def _fused(views: Sequence[Any]) -> tuple[Detections, Array]:
    """One box for each object, its corners averaged by score; and its logit by each model,
    [N, models], that of LEAST where a model has no box there."""
    corners, weights, numbers = np.empty((0, 4)), np.empty(0), np.empty(0, np.int64)
    scores = np.empty((0, len(views)))
    for view, own in enumerate(views):
        taken = np.zeros(len(corners), np.bool_)
        for box in np.argsort(-own.scores, kind="stable").tolist():
            overlaps = iou(own.corners[box][None], corners)[0]
            overlaps[(numbers != own.classes[box]) | taken] = 0.0
            best = int(overlaps.argmax()) if len(overlaps) else -1
            if best >= 0 and overlaps[best] >= SAME:
                total = weights[best] + own.scores[box]
                share = own.scores[box] / max(total, LEAST)
                corners[best] += share * (own.corners[box] - corners[best])
                weights[best], scores[best, view] = total, own.scores[box]
                taken[best] = True
                continue
            corners = np.concatenate([corners, own.corners[box][None]])
            weights = np.append(weights, own.scores[box])
            numbers = np.append(numbers, own.classes[box])
            scores = np.concatenate([scores, np.zeros((1, len(views)))])
            scores[-1, view] = own.scores[box]
            taken = np.append(taken, True)
    logits: Array = logit(np.clip(scores, LEAST, 1 - LEAST))
    return Detections(corners, weights, numbers), logits


def _base_scores(logits: Array) -> list[Array]:
    """Of each model, [N, 2]: that people did not draw the box, and that they did."""
    return [np.stack([np.zeros(len(logits)), column], axis=1) for column in logits.T]


def _is_drawn(boxes: Detections, label: str, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Whether a label box of its class is where each box is, [N]."""
    drawn = read_boxes(label)
    corners = np.array([box.corners for box in drawn], np.float64).reshape(-1, 4)
    numbers = np.array([classes.index(box.class_name) for box in drawn], np.int64)
    overlaps = iou(boxes.corners, corners)
    overlaps[boxes.classes[:, None] != numbers[None, :]] = 0.0
    found: npt.NDArray[np.int64] = (overlaps.max(axis=1, initial=0.0) >= SAME).astype(np.int64)
    return found


def _match(predicted: set[str], classes: Sequence[str]) -> list[str]:
    """A note of classes that do not match. Raises InvalidInput where none does."""
    missing = [name for name in classes if name not in predicted]
    others = sorted(predicted - set(classes))
    if not missing and not others:
        return []
    differ = (
        f"{counted(missing, classes, 'classes of the labels are never predicted')}, and "
        f"{counted(others, sorted(predicted), 'predicted classes are in no label')}"
    )
    if len(missing) == len(classes):
        raise InvalidInput.of("predictions", f"{differ}; name classes as the labels do")
    return [f"predictions: {differ}"]


def _is_box(box: Mapping[str, Any]) -> bool:
    values = [box[name] for name in (SCORE, *CORNERS)]
    if any(value is None or not np.isfinite(value) for value in values):
        return False
    has_area = box[CORNERS[2]] > box[CORNERS[0]] and box[CORNERS[3]] > box[CORNERS[1]]
    return bool(0 <= box[SCORE] <= 1 and has_area)


def _fields(kind: pa.DataType) -> set[str]:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list or not pa.types.is_struct(kind.value_type):
        return set()
    return {kind.value_type.field(number).name for number in range(kind.value_type.num_fields)}
