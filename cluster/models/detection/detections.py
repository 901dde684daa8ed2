"""What every detector shares: predictions, their judgement against labels, suggestions.

A batch has B images; a label has L boxes and a prediction N, all in pixels of
the original image. The networks are cluster/models/{center,pretrained}_detector.py.
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
    """What a detector says of one image: corners [N, 4], scores [N], places of classes [N]."""

    corners: Corners
    scores: Vector
    classes: npt.NDArray[np.int64]

    def of_class(self, place: int) -> "Detections":
        mine = self.classes == place
        return Detections(self.corners[mine], self.scores[mine], self.classes[mine])

    def above(self, least: float) -> "Detections":
        mine = self.scores >= least
        return Detections(self.corners[mine], self.scores[mine], self.classes[mine])


def named(found: Detections, classes: Sequence[str]) -> Mapping[str, Any]:
    """Plain predictions: corners, scores and class names."""
    return {
        "corners": found.corners.tolist(),
        "scores": found.scores.tolist(),
        "classes": [classes[place] for place in found.classes],
    }


# Evidence about one image and class: a list over the label's boxes of the class (given_),
# or over the predicted ones (found_).
EVIDENCE = {
    "given_score": pa.list_(pa.float64()),  # score of the prediction it is matched with, or 0
    "given_iou": pa.list_(pa.float64()),  # IoU with that, or 0
    "given_other_score": pa.list_(pa.float64()),  # best score of another class at the place
    "given_other_class": pa.list_(pa.string()),  # that class, or empty
    "found_score": pa.list_(pa.float64()),
    "found_iou": pa.list_(pa.float64()),  # with the nearest label box of the class
    "found_other_support": pa.list_(
        pa.float64()
    ),  # given_score of another class's box there, or -1
    "found_other_class": pa.list_(pa.string()),  # that class, or empty
    "found_corners": pa.list_(pa.float64()),  # four for each
}


def score(
    predictions: Sequence[Detections],
    labels: Sequence[str],
    classes: Sequence[str],
    *,
    threshold: float,
) -> pa.Table:
    """Labels against predictions, as Learner.judge gives them, with EVIDENCE beside.

    threshold: score from which a predicted box is suggested.
    """
    rows = [
        {"row": place, **unit}
        for place, (found, label) in enumerate(zip(predictions, labels, strict=True))
        for unit in _judge_image(found.above(LEAST_SCORE), label, classes, threshold)
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


def _judge_image(
    found: Detections, label: str, classes: Sequence[str], threshold: float
) -> list[dict[str, Any]]:
    boxes = read_boxes(label)
    place_of = {name: place for place, name in enumerate(classes)}
    given = np.array([box.corners for box in boxes], np.float64).reshape(-1, 4)
    given_class = np.array([place_of[box.class_name] for box in boxes], np.int64)
    overlaps = iou(given, found.corners)
    same = given_class[:, None] == found.classes[None, :]
    support, placed = _match(np.where(same, overlaps, 0.0), found.scores)
    there = np.where(~same & (overlaps >= SAME), 1.0, 0.0)
    units = []
    for place, name in enumerate(classes):
        mine, theirs = given_class == place, found.classes == place
        other_found = _best(there[mine] * found.scores)
        other_given = _best(there[:, theirs].T * (1 + support))
        own = [box for box in boxes if box.class_name == name]
        units.append(
            {
                "unit": name,
                "label": write_boxes(own),
                "suggestions": [_suggest(own, found.of_class(place), threshold, name)],
                "given_score": support[mine],
                "given_iou": placed[mine],
                "given_other_score": other_found[1],
                "given_other_class": _named(found.classes, other_found[0], classes),
                "found_score": found.scores[theirs],
                "found_iou": np.where(same, overlaps, 0.0)[:, theirs].max(axis=0, initial=0.0),
                "found_other_support": other_given[1] - 1.0,
                "found_other_class": _named(given_class, other_given[0], classes),
                "found_corners": found.corners[theirs].ravel(),
            }
        )
    return units


def _match(overlaps: Corners, scores: Vector) -> tuple[Vector, Vector]:
    """Score and IoU of the one prediction that goes with each label box, greedily; each [L]."""
    support, placed = np.zeros(len(overlaps)), np.zeros(len(overlaps))
    worth = overlaps * scores
    while worth.size and worth.max() > 0:
        given, found = np.unravel_index(int(worth.argmax()), worth.shape)
        support[given], placed[given] = scores[found], overlaps[given, found]
        worth[given, :] = worth[:, found] = 0.0
    return support, placed


def _best(worth: Corners) -> tuple[npt.NDArray[np.int64], Vector]:
    """Place and value of each row's largest; place -1 where all are 0."""
    if not worth.shape[1]:
        return np.full(len(worth), -1), np.zeros(len(worth))
    value = worth.max(axis=1)
    return np.where(value > 0, worth.argmax(axis=1), -1), value


def _named(
    kinds: npt.NDArray[np.int64], places: npt.NDArray[np.int64], classes: Sequence[str]
) -> list[str]:
    return ["" if place < 0 else classes[kinds[place]] for place in places]


def _suggest(
    own: Sequence[Box], found: Detections, threshold: float, name: str
) -> Mapping[str, Any]:
    """The predicted boxes of a class; those that agree with a human box keep its corners."""
    sure = found.above(threshold)
    given = np.array([box.corners for box in own], np.float64).reshape(-1, 4)
    overlaps = iou(sure.corners, given)
    boxes = []
    for place, corners in enumerate(sure.corners):
        nearest = int(overlaps[place].argmax()) if len(own) else -1
        if nearest >= 0 and overlaps[place, nearest] >= SNAP:
            boxes.append(own[nearest])
            overlaps[:, nearest] = 0.0
        else:
            boxes.append(Box(name, *(round(float(value), 1) for value in corners)))
    unsure = found.scores[found.scores < threshold].max(initial=0.0)
    probability = sure.scores.mean() if len(sure.scores) else 1.0 - unsure
    return {"label": write_boxes(boxes), "probability": float(probability)}


def iou(one: Corners, other: Corners) -> Corners:
    """Intersection over union of each pair: [L, 4] and [N, 4] -> [L, N]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = np.clip(high - low, 0.0, None).prod(axis=2)
    either = _area(one)[:, None] + _area(other)[None, :] - both
    return np.asarray(both / np.maximum(either, 1e-9))


def suppress(found: Detections, *, overlap: float, limit: int) -> Detections:
    """Non-maximum suppression class by class: drops what overlaps a better-scored box more."""
    order = np.argsort(-found.scores, kind="stable")
    found = Detections(found.corners[order], found.scores[order], found.classes[order])
    same = found.classes[:, None] == found.classes[None, :]
    clash = (iou(found.corners, found.corners) > overlap) & same
    kept: list[int] = []
    for place in range(len(found.scores)):
        if len(kept) == limit:
            break
        if not clash[place, kept].any():
            kept.append(place)
    return Detections(found.corners[kept], found.scores[kept], found.classes[kept])


def _area(corners: Corners) -> Vector:
    return np.asarray(np.clip(corners[:, 2:] - corners[:, :2], 0.0, None).prod(axis=1))
