"""Object detection: any transformers detector, or a built-in that needs no download.

A finding is an image and a class; suspicion is the probability that at least one
of the class's boxes is wrong, or one is missing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.interfaces import Array, Ensemble, Learner, PredictionForm
from cluster.models.detection import center_detector
from cluster.models.detection.box_predictions import BoxPredictions
from cluster.tasks.box_errors import ERRORS, SWAPPED, Suspects, sums, suspects
from cluster.tasks.box_metrics import mean_precision
from cluster.tasks.defaults import LabelsAreNoTexts, ShownAsScored
from relabel_service.tasks.boxes import read_boxes

LEAST_NAMED = 0.1  # probability from which a reason names an error
NUM_NAMED = 3  # errors that a reason names, the likeliest


class ObjectDetectionModels(LabelsAreNoTexts, ShownAsScored):
    name = "object_detection"
    ranking_signals: tuple[str, ...] = ERRORS  # to rank by one kind of error alone
    ensemble: Ensemble | None = None
    predictions: PredictionForm | None = BoxPredictions()

    def prepare(
        self, folder: Path, *, model: str | None, contents: Sequence[str], labels: Sequence[str]
    ) -> None:
        if model is None:
            center_detector.prepare(folder, contents, labels)
        else:
            from cluster.models.detection import (
                pretrained as pretrained_detector,  # transformers, only where asked for
            )

            pretrained_detector.prepare(folder, model)

    def load(
        self, folder: Path, *, model: str | None, classes: Sequence[str], pretrained: bool
    ) -> Learner:
        if model is None:
            return center_detector.load(folder, classes)
        from cluster.models.detection import (
            pretrained as pretrained_detector,  # transformers, only where asked for
        )

        return pretrained_detector.load(folder, model, classes=classes, pretrained=pretrained)

    def sums(self, scored: pa.Table, classes: Sequence[str]) -> dict[str, Array]:
        return sums(scored, classes)

    def suspicion(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> Array:
        """Probability that some box is wrong, errors taken as independent."""
        log_right = np.zeros(scored.num_rows)
        for boxes in suspects(scored, sums, classes):
            np.add.at(log_right, boxes.row, np.log1p(-np.clip(boxes.probability, 0.0, 1 - 1e-9)))
        return -np.expm1(log_right)

    def signals(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> dict[str, Array]:
        """The likeliest of each error; the least IoU of a label box with its prediction."""
        worst = {name: np.zeros(scored.num_rows) for name in ERRORS}
        for boxes in suspects(scored, sums, classes):
            for index, name in enumerate(ERRORS):
                mine = boxes.error == index
                np.maximum.at(worst[name], boxes.row[mine], boxes.probability[mine])
        overlaps = scored["label_iou"].to_pylist()
        return {**worst, "least_iou": np.array([min(row, default=1.0) for row in overlaps])}

    def noise_matrix(self, sums: Mapping[str, Array]) -> None:
        """None: a label is boxes."""

    def reasons(self, scored: pa.Table) -> list[str]:
        """The likeliest errors, each with its box, IoU and score."""
        # Shares within these rows alone order the errors of a row well enough for words.
        others = {name for row in scored["label_other_class"].to_pylist() for name in row}
        classes = sorted((others | set(scored["unit"].to_pylist())) - {""})
        errors: list[list[tuple[float, str]]] = [[] for _ in range(scored.num_rows)]
        rows = scored.drop_columns(["suggestions"]).to_pylist()
        for boxes in suspects(scored, sums(scored, classes), classes):
            for number, row in enumerate(boxes.row.tolist()):
                words = _in_words(rows[row], boxes, number)
                errors[row].append((float(boxes.probability[number]), words))
        return [_joined(of_row) for of_row in errors]

    def metrics(
        self, predicted: Sequence[Any], labels: Sequence[str], *, tokenize: str = ""
    ) -> dict[str, float]:
        return mean_precision(predicted, labels)


def _in_words(row: Mapping[str, Any], boxes: Suspects, number: int) -> str:
    """One box's error. row: the scored row that it is of."""
    box, error = int(boxes.box[number]), ERRORS[boxes.error[number]].replace("_", " ")
    if boxes.is_predicted[number]:
        corners = ", ".join(f"{value:.0f}" for value in row["predicted_corners"][4 * box :][:4])
        words = f"{error}: {row['unit']} ({corners}), score {row['predicted_score'][box]:.2f}"
        if other := row["predicted_other_class"][box]:
            return f"{words}, labelled {other}"
        return f"{words}, IoU {row['predicted_iou'][box]:.2f} with the nearest label box"
    words = f"{error}: {read_boxes(row['label'])[box]}, "
    if boxes.error[number] == SWAPPED:
        other, score = row["label_other_class"][box], row["label_other_score"][box]
        return f"{words}{other} to the model, score {score:.2f}"
    if not row["label_iou"][box]:
        return f"{words}none found there"
    return f"{words}IoU {row['label_iou'][box]:.2f} with one of score {row['label_score'][box]:.2f}"


def _joined(errors: list[tuple[float, str]]) -> str:
    worst = sorted(errors, key=lambda error: -error[0])[:NUM_NAMED]
    kept = [words for probability, words in worst if probability >= LEAST_NAMED]
    return "; ".join(kept) or "no box stands out"
