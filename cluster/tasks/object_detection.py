"""Object detection: any transformers detector, or a built-in that needs no download.

A finding is an image and a class; suspicion is the probability that at least one
of the class's boxes is faulty, or one is missing.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.interfaces import Array, Ensemble, Learner
from cluster.models.detection import center_detector
from cluster.tasks.box_errors import FAULTS, SWAPPED, Suspects, sums, suspects
from cluster.tasks.box_metrics import mean_precision
from relabel_service.tasks.boxes import read_boxes

LEAST_TOLD = 0.1  # probability from which a fault is told
NUM_REASONS = 3  # faults that a reason names, the likeliest


class ObjectDetectionModels:
    name = "object_detection"
    ranking_signals: tuple[str, ...] = FAULTS  # to rank by one kind of fault alone
    ensemble: Ensemble | None = None

    def shingles(self, content: str) -> Iterable[bytes]:
        """The image as one feature: copies share a fold."""
        return {hashlib.sha256(content.encode()).digest()}

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
        """Probability that some box is faulty, faults taken as independent."""
        log_sound = np.zeros(scored.num_rows)
        for some in suspects(scored, sums, classes):
            np.add.at(log_sound, some.row, np.log1p(-np.clip(some.probability, 0.0, 1 - 1e-9)))
        return -np.expm1(log_sound)

    def signals(
        self, scored: pa.Table, sums: Mapping[str, Array], classes: Sequence[str]
    ) -> dict[str, Array]:
        """The likeliest of each fault; the least IoU of a label box with its prediction."""
        worst = {name: np.zeros(scored.num_rows) for name in FAULTS}
        for some in suspects(scored, sums, classes):
            for place, name in enumerate(FAULTS):
                mine = some.fault == place
                np.maximum.at(worst[name], some.row[mine], some.probability[mine])
        overlaps = scored["given_iou"].to_pylist()
        return {**worst, "least_iou": np.array([min(row, default=1.0) for row in overlaps])}

    def noise_matrix(self, sums: Mapping[str, Array]) -> None:
        """None: a label is boxes."""

    def reasons(self, scored: pa.Table) -> list[str]:
        """The likeliest faults, each with its box, IoU and score."""
        # Shares within these rows alone order the faults of a row well enough for words.
        others = {name for row in scored["given_other_class"].to_pylist() for name in row}
        classes = sorted((others | set(scored["unit"].to_pylist())) - {""})
        told: list[list[tuple[float, str]]] = [[] for _ in range(scored.num_rows)]
        rows = scored.drop_columns(["suggestions"]).to_pylist()
        for some in suspects(scored, sums(scored, classes), classes):
            for one in range(len(some.row)):
                row = int(some.row[one])
                told[row].append((float(some.probability[one]), _tell(rows[row], some, one)))
        return [_joined(faults) for faults in told]

    def metrics(self, predicted: Sequence[Any], labels: Sequence[str]) -> dict[str, float]:
        return mean_precision(predicted, labels)


def _tell(row: Mapping[str, Any], some: Suspects, one: int) -> str:
    """One fault in words."""
    place, fault = int(some.place[one]), FAULTS[some.fault[one]].replace("_", " ")
    if some.is_found[one]:
        corners = ", ".join(f"{value:.0f}" for value in row["found_corners"][4 * place :][:4])
        told = f"{fault}: {row['unit']} ({corners}), score {row['found_score'][place]:.2f}"
        if other := row["found_other_class"][place]:
            return f"{told}, labelled {other}"
        return f"{told}, IoU {row['found_iou'][place]:.2f} with the nearest label box"
    told = f"{fault}: {read_boxes(row['label'])[place]}, "
    if some.fault[one] == SWAPPED:
        other, score = row["given_other_class"][place], row["given_other_score"][place]
        return f"{told}{other} to the model, score {score:.2f}"
    if not row["given_iou"][place]:
        return f"{told}none found there"
    return (
        f"{told}IoU {row['given_iou'][place]:.2f} with one of score {row['given_score'][place]:.2f}"
    )


def _joined(faults: list[tuple[float, str]]) -> str:
    worst = sorted(faults, key=lambda fault: -fault[0])[:NUM_REASONS]
    kept = [words for probability, words in worst if probability >= LEAST_TOLD]
    return "; ".join(kept) or "no box stands out"
