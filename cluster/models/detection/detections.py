"""What every detector shares: detections, scored rows of labels against them, suggestions.

A batch has B images; a label has L boxes and a prediction N, all in pixels of
the original image. The networks are center_detector.py and pretrained.py beside this file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from relabel_service.tables.schemas import SUGGESTION
from relabel_service.tasks.boxes import Box, read_boxes, write_boxes

LEAST_SCORE = 0.05  # predicted boxes below say nothing
SAME = 0.5  # IoU from which two boxes are about one object
SNAP = 0.75  # IoU from which a suggestion keeps the human box's corners

Corners = npt.NDArray[np.float64]  # [.., 4] as x_min, y_min, x_max, y_max
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Detections:
    """Predicted boxes of one image: corners [N, 4], scores in [0, 1] [N], class indices [N]."""

    corners: Corners
    scores: Vector
    classes: npt.NDArray[np.int64]

    def of_class(self, index: int) -> "Detections":
        return self._where(self.classes == index)

    def above(self, least: float) -> "Detections":
        return self._where(self.scores >= least)

    def _where(self, kept: npt.NDArray[np.bool_]) -> "Detections":
        return Detections(self.corners[kept], self.scores[kept], self.classes[kept])


def named(detections: Detections, classes: Sequence[str]) -> Mapping[str, Any]:
    """Plain predictions: corners, scores and class names."""
    return {
        "corners": detections.corners.tolist(),
        "scores": detections.scores.tolist(),
        "classes": [classes[index] for index in detections.classes],
    }


# Evidence about one image and class: a list over the label's boxes of the class (label_),
# or over the predicted ones (predicted_).
EVIDENCE = {
    "label_score": pa.list_(pa.float64()),  # score of the prediction it is matched with, or 0
    "label_iou": pa.list_(pa.float64()),  # IoU with that, or 0
    "label_other_score": pa.list_(pa.float64()),  # best score of another class there, or 0
    "label_other_class": pa.list_(pa.string()),  # that class, or empty
    "predicted_score": pa.list_(pa.float64()),
    "predicted_iou": pa.list_(pa.float64()),  # with the nearest label box of the class
    # label_score of another class's label box there, or -1
    "predicted_other_support": pa.list_(pa.float64()),
    "predicted_other_class": pa.list_(pa.string()),  # that class, or empty
    "predicted_corners": pa.list_(pa.float64()),  # four for each
}


def score(
    predictions: Sequence[Detections],
    labels: Sequence[str],
    classes: Sequence[str],
    *,
    threshold: float,
) -> pa.Table:
    """Labels against predictions, as Learner.score gives them, with EVIDENCE as more columns.

    threshold: score from which a predicted box is suggested.
    """
    rows = [
        {"row": index, **unit}
        for index, (detections, label) in enumerate(zip(predictions, labels, strict=True))
        for unit in _score_image(detections.above(LEAST_SCORE), label, classes, threshold)
    ]
    schema = pa.schema(
        {
            "row": pa.int64(),
            "unit": pa.string(),
            "label": pa.string(),
            "suggestions": pa.list_(SUGGESTION),
            **EVIDENCE,
        }
    )
    return pa.Table.from_pylist(rows, schema=schema)


def _score_image(
    detections: Detections, label: str, classes: Sequence[str], threshold: float
) -> list[dict[str, Any]]:
    """One scored row for each class."""
    boxes = read_boxes(label)
    class_index = {name: index for index, name in enumerate(classes)}
    corners = _corners(boxes)
    label_classes = np.array([class_index[box.class_name] for box in boxes], np.int64)
    overlaps = iou(corners, detections.corners)
    same_class = label_classes[:, None] == detections.classes[None, :]
    support, matched_iou = _match(np.where(same_class, overlaps, 0.0), detections.scores)
    # Where a label box and a prediction of another class are about one object.
    crossed = np.where(~same_class & (overlaps >= SAME), 1.0, 0.0)
    units = []
    for index, name in enumerate(classes):
        in_label, in_prediction = label_classes == index, detections.classes == index
        predicted_there = _best(crossed[in_label] * detections.scores)
        labelled_there = _best(crossed[:, in_prediction].T * (1 + support))
        own = [box for box in boxes if box.class_name == name]
        nearest = np.where(same_class, overlaps, 0.0)[:, in_prediction].max(axis=0, initial=0.0)
        units.append(
            {
                "unit": name,
                "label": write_boxes(own),
                "suggestions": [_suggest(own, detections.of_class(index), threshold, name)],
                "label_score": support[in_label],
                "label_iou": matched_iou[in_label],
                "label_other_score": predicted_there[1],
                "label_other_class": _named(detections.classes, predicted_there[0], classes),
                "predicted_score": detections.scores[in_prediction],
                "predicted_iou": nearest,
                "predicted_other_support": labelled_there[1] - 1.0,
                "predicted_other_class": _named(label_classes, labelled_there[0], classes),
                "predicted_corners": detections.corners[in_prediction].ravel(),
            }
        )
    return units


def _corners(boxes: Sequence[Box]) -> Corners:
    return np.array([box.corners for box in boxes], np.float64).reshape(-1, 4)


def _match(overlaps: Corners, scores: Vector) -> tuple[Vector, Vector]:
    """Score and IoU of the one prediction that goes with each label box, greedily; each [L]."""
    support, matched_iou = np.zeros(len(overlaps)), np.zeros(len(overlaps))
    worth = overlaps * scores
    while worth.size and worth.max() > 0:
        label, predicted = np.unravel_index(int(worth.argmax()), worth.shape)
        support[label], matched_iou[label] = scores[predicted], overlaps[label, predicted]
        worth[label, :] = worth[:, predicted] = 0.0
    return support, matched_iou


def _best(worth: Corners) -> tuple[npt.NDArray[np.int64], Vector]:
    """Index and value of each row's largest; index -1 where all are 0."""
    if not worth.shape[1]:
        return np.full(len(worth), -1), np.zeros(len(worth))
    value = worth.max(axis=1)
    return np.where(value > 0, worth.argmax(axis=1), -1), value


def _named(
    box_classes: npt.NDArray[np.int64], boxes: npt.NDArray[np.int64], classes: Sequence[str]
) -> list[str]:
    """Class name of each box, by its index; empty for -1."""
    return ["" if box < 0 else classes[box_classes[box]] for box in boxes]


def _suggest(
    own: Sequence[Box], detections: Detections, threshold: float, name: str
) -> Mapping[str, Any]:
    """The predicted boxes of a class; those that agree with a human box keep its corners."""
    sure = detections.above(threshold)
    overlaps = iou(sure.corners, _corners(own))
    boxes = []
    for index, corners in enumerate(sure.corners):
        nearest = int(overlaps[index].argmax()) if len(own) else -1
        if nearest >= 0 and overlaps[index, nearest] >= SNAP:
            boxes.append(own[nearest])
            overlaps[:, nearest] = 0.0
        else:
            boxes.append(Box(name, *(round(float(value), 1) for value in corners)))
    unsure = detections.scores[detections.scores < threshold].max(initial=0.0)
    probability = sure.scores.mean() if len(sure.scores) else 1.0 - unsure
    return {"label": write_boxes(boxes), "probability": float(probability)}


def iou(one: Corners, other: Corners) -> Corners:
    """Intersection over union of each pair: [L, 4] and [N, 4] -> [L, N]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = np.clip(high - low, 0.0, None).prod(axis=2)
    either = _area(one)[:, None] + _area(other)[None, :] - both
    return np.asarray(both / np.maximum(either, 1e-9))


def suppress(detections: Detections, *, overlap: float, limit: int) -> Detections:
    """Non-maximum suppression class by class: drops what overlaps a better-scored box more.

    At most `limit` boxes stay, best first.
    """
    order = np.argsort(-detections.scores, kind="stable")
    corners, classes = detections.corners[order], detections.classes[order]
    same_class = classes[:, None] == classes[None, :]
    clash = (iou(corners, corners) > overlap) & same_class
    kept: list[int] = []
    for index in range(len(order)):
        if len(kept) == limit:
            break
        if not clash[index, kept].any():
            kept.append(index)
    return Detections(corners[kept], detections.scores[order][kept], classes[kept])


def _area(corners: Corners) -> Vector:
    return np.asarray(np.clip(corners[:, 2:] - corners[:, :2], 0.0, None).prod(axis=1))
