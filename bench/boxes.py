"""Suspicion of (image, class) against ObjectLab's scores on the same out-of-sample predictions.

    python -m bench.boxes --data tests/data/object_detection/digit_scenes --folds 3
    python -m bench.boxes --data path/with/train.parquet/and/test.parquet --epochs 25

Tables as in tests/data: `image`, `label`, `gold`. An (image, class) is wrong when its boxes and
gold's do not pair off at IoU 0.5 and more. ObjectLab (cleanlab.object_detection) scores whole
images; here its box scores are pooled class by class with its own softmin and weights, at
several settings of the confidence from which it believes a prediction. Also printed: average
precision on the test rows of the built-in trained on `label` and on `gold`.
"""

import time
from pathlib import Path
from typing import Annotated

import cleanlab.object_detection.rank as objectlab
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
import typer
from cleanlab.internal.constants import (
    CUSTOM_SCORE_WEIGHT_BADLOC,
    CUSTOM_SCORE_WEIGHT_OVERLOOKED,
    CUSTOM_SCORE_WEIGHT_SWAP,
    TEMPERATURE,
)
from cleanlab.internal.object_detection_utils import softmin1d
from sklearn.metrics import average_precision_score, roc_auc_score

from cluster.interfaces import Array
from cluster.models.detection.detections import SAME
from relabel_service.errors import InvalidInput
from relabel_service.tasks import task_named
from relabel_service.tasks.boxes import match, read_boxes
from tests.support.cross_fit import CrossFitted, Rows, cross_fit, metrics_on

TASK = "object_detection"
CONFIDENCES = (0.95, 0.5, 0.35, 0.2)  # 0.95 is cleanlab's own
LOW_CONFIDENCE = 0.5  # cleanlab's own; lowered with the other where that is lower

app = typer.Typer(add_completion=False)


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="folder of train.parquet and test.parquet")],
    folds: Annotated[int, typer.Option(help="of cross-fitting")] = 3,
    epochs: Annotated[int, typer.Option(help="of each model")] = 25,
    threads: Annotated[int, typer.Option(help="of torch")] = 1,
) -> None:
    """Prints one line for each score and each model."""
    torch.set_num_threads(threads)
    train, test = (_rows(data / f"{split}.parquet") for split in ("train", "test"))
    defaults = {"epochs": epochs}
    start = time.monotonic()
    fitted = cross_fit(TASK, train, num_folds=folds, defaults=defaults)
    print(f"{len(train.ids)} images, {folds} folds in {time.monotonic() - start:.0f} s")
    wrong = is_wrong(fitted, train)
    print(f"{int(wrong.sum())} of {len(wrong)} (image, class) wrong")
    _tell("suspicion", fitted.suspicion, wrong)
    for confidence in CONFIDENCES:
        _tell(f"ObjectLab from {confidence}", 1 - objectlab_quality(fitted, confidence), wrong)
    for name, labels in (("label", train.labels), ("gold", train.gold)):
        found = metrics_on(TASK, train, test, labels=labels, defaults=defaults)
        print(f"trained on {name}:", ", ".join(f"{k} {v:.3f}" for k, v in found.items()))


def is_wrong(fitted: CrossFitted, rows: Rows) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether the boxes of each scored (image, class) fail to pair off with gold's."""
    task = task_named(TASK)
    told = []
    for row in fitted.scored.select(["row", "unit", "label"]).to_pylist():
        label = read_boxes(row["label"])
        gold = read_boxes(task.unit_label(rows.gold[row["row"]], row["unit"]))
        pairs = sum(overlap >= SAME for _, _, overlap in match(label, gold))
        told.append(pairs < max(len(label), len(gold)))
    return np.array(told, np.bool_)


def objectlab_quality(fitted: CrossFitted, confidence: float) -> Array:
    """Quality of each scored (image, class), [rows], higher is better."""
    num_classes = len(fitted.classes)
    rows = fitted.scored.to_pylist()
    images = [rows[at : at + num_classes] for at in range(0, len(rows), num_classes)]
    labels, predictions = zip(*map(_for_cleanlab, images), strict=True)
    inputs = {"labels": list(labels), "predictions": list(predictions)}
    low = min(LOW_CONFIDENCE, confidence)
    high = {"high_probability_threshold": confidence}
    overlooked = objectlab.compute_overlooked_box_scores(**inputs, **high)
    badly_placed = objectlab.compute_badloc_box_scores(**inputs, low_probability_threshold=low)
    swapped = objectlab.compute_swap_box_scores(**inputs, **high)
    found = (
        (CUSTOM_SCORE_WEIGHT_OVERLOOKED, overlooked, False),
        (CUSTOM_SCORE_WEIGHT_BADLOC, badly_placed, True),
        (CUSTOM_SCORE_WEIGHT_SWAP, swapped, True),
    )
    quality = np.ones((len(images), num_classes))
    for weight, scores, is_labelled in found:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            kinds = label["labels"] if is_labelled else _predicted_kinds(image)
            for kind in range(num_classes):
                quality[number, kind] *= _softmin(scores[number][kinds == kind]) ** weight
    return quality.ravel()


def _for_cleanlab(image: list[dict[str, Array]]) -> tuple[dict[str, Array], Array]:
    """One image's label and predictions as cleanlab takes them."""
    boxes = [
        (kind, box) for kind, unit in enumerate(image) for box in read_boxes(str(unit["label"]))
    ]
    predictions = np.empty(len(image), object)
    for kind, unit in enumerate(image):
        corners = np.array(unit["predicted_corners"], np.float64).reshape(-1, 4)
        predictions[kind] = np.column_stack([corners, np.array(unit["predicted_score"])])
    label = {
        "bboxes": np.array([box.corners for _, box in boxes]).reshape(-1, 4),
        "labels": np.array([kind for kind, _ in boxes], int),
    }
    return label, predictions


def _predicted_kinds(image: list[dict[str, Array]]) -> Array:
    return np.concatenate(
        [np.full(len(unit["predicted_score"]), kind) for kind, unit in enumerate(image)]
    )


def _softmin(scores: Array) -> float:
    """cleanlab's softmin over boxes; 1 where none has a score."""
    known = scores[~np.isnan(scores)]
    return float(softmin1d(known, temperature=TEMPERATURE)) if len(known) else 1.0


def _rows(path: Path) -> Rows:
    """Rows whose label and gold are fit; the others are told."""
    task, kept = task_named(TASK), []
    table = pq.read_table(path)
    for row in table.to_pylist():
        content = task.read_content({"image": row["image"]})
        try:
            texts = [task.read_label(row[name], content) for name in ("label", "gold")]
        except InvalidInput as fault:
            print(f"left out {row['id']}: {fault}")
            continue
        kept.append((str(row["id"]), content, *texts))
    return Rows(*(list(column) for column in zip(*kept, strict=True)))


def _tell(name: str, score: Array, wrong: npt.NDArray[np.bool_]) -> None:
    auroc, precision = roc_auc_score(wrong, score), average_precision_score(wrong, score)
    print(f"{name:20s} AUROC {auroc:.3f}  AP {precision:.3f}")


if __name__ == "__main__":
    app()
