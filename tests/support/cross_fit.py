"""Cross-fits a task's learners in this process, as training on Ray does it, for tests in seconds.

R rows; K folds, by the hash of the id.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from scipy.stats import rankdata
from torch import nn

from cluster.data.folds import Folds
from cluster.engine.devices import to_device
from cluster.inference.predict import predict_rows
from cluster.interfaces import Array, Learner
from cluster.tasks import model_task
from cluster.training import loop as training_loop
from cluster.training.loop import EncodedRows
from relabel_service.tasks import task_named


@dataclass(frozen=True)
class Rows:
    """Text forms of a data set. ids, contents, labels, gold: [R]."""

    ids: list[str]
    contents: list[str]
    labels: list[str]
    gold: list[str]


@dataclass(frozen=True)
class CrossFitted:
    """What mining would see: rows and units judged out of sample, and their suspicion."""

    scored: pa.Table
    suspicion: Array
    signals: dict[str, Array]
    classes: tuple[str, ...]


def rows_of(
    task_name: str, table: pa.Table, *content_columns: str, label_column: str = "label"
) -> Rows:
    """A table's rows in the task's text forms."""
    task = task_named(task_name)
    contents = [task.read_content(row) for row in table.select(content_columns).to_pylist()]
    labels, gold = (
        [task.read_label(v, c) for v, c in zip(table[name].to_pylist(), contents, strict=True)]
        for name in (label_column, "gold")
    )
    return Rows([str(v) for v in table["id"].to_pylist()], contents, labels, gold)


def classes_of(task_name: str, labels: Sequence[str]) -> tuple[str, ...]:
    task = task_named(task_name)
    return tuple(sorted({name for label in labels for name in task.classes_in(label)}))


def fit(
    learner: Learner, contents: Sequence[str], labels: Sequence[str], *, seed: int = 0
) -> Learner:
    """Train on all rows as the product does, with the learner's defaults."""
    module, num_rows = cast(nn.Module, learner), min(len(contents), learner.defaults.batch_size)
    rows = EncodedRows.of(learner, contents, labels)
    training_loop.fit(learner, rows, np.arange(len(contents)), defaults=learner.defaults, seed=seed)
    # What the loop relies on: it would average losses of another shape without a complaint.
    with torch.no_grad():
        batch = learner.collate(rows.inputs[:num_rows], rows.targets[:num_rows])
        losses, observed = module(to_device(batch))
    assert losses.shape == (num_rows,)
    assert observed.shape == (num_rows, len(learner.dynamics))
    return learner


def predict(
    learner: Learner, contents: Sequence[str], labels: Sequence[str] | None = None
) -> list[Any]:
    """labels: those to be judged, for learners that weigh them."""
    cast(nn.Module, learner).eval()
    return predict_rows(learner, contents, labels)


def cross_fit(
    task_name: str,
    rows: Rows,
    *,
    model: str | None = None,
    num_folds: int = 3,
    defaults: dict[str, Any] | None = None,
) -> CrossFitted:
    """Judge each row by a learner that has not seen it. recipe: what to change in the learner's."""
    task, classes = model_task(task_name), classes_of(task_name, rows.labels)
    folds = Folds(num_folds).of(rows.ids)
    predictions: list[Any] = [None] * len(rows.ids)
    with tempfile.TemporaryDirectory() as local:
        folder = Path(local)
        task.prepare(folder, model=model, contents=rows.contents, labels=rows.labels)
        for fold in range(num_folds):
            torch.manual_seed(fold)
            learner = task.load(folder, model=model, classes=classes, pretrained=True)
            learner.defaults = replace(learner.defaults, **(defaults or {}))
            rest, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            fit(learner, [rows.contents[r] for r in rest], [rows.labels[r] for r in rest])
            found = predict(
                learner,
                [rows.contents[r] for r in held_out],
                [rows.labels[r] for r in held_out],
            )
            for place, one in zip(held_out, found, strict=True):
                predictions[place] = one
        scored = learner.score(predictions, rows.labels, rows.contents)
    sums = task.sums(scored, classes)
    return CrossFitted(
        scored=scored,
        suspicion=task.suspicion(scored, sums, classes),
        signals=task.signals(scored, sums, classes),
        classes=classes,
    )


def metrics_on(
    task_name: str,
    train: Rows,
    test: Rows,
    *,
    labels: Sequence[str],
    defaults: dict[str, Any] | None = None,
) -> dict[str, float]:
    """Metrics on the test rows' gold of the built-in trained on all rows with these labels."""
    task, classes = model_task(task_name), classes_of(task_name, labels)
    with tempfile.TemporaryDirectory() as local:
        task.prepare(Path(local), model=None, contents=train.contents, labels=labels)
        torch.manual_seed(0)
        learner = task.load(Path(local), model=None, classes=classes, pretrained=True)
    learner.defaults = replace(learner.defaults, **(defaults or {}))
    fit(learner, train.contents, labels)
    return task.metrics(learner.decode(predict(learner, test.contents)), test.gold)


def is_wrong(task_name: str, fitted: CrossFitted, rows: Rows) -> npt.NDArray[np.bool_]:
    """Whether each judged part of a label differs from gold's part."""
    task = task_named(task_name)
    return np.array(
        [
            task.unit_label(rows.gold[row], unit) != label
            for row, unit, label in zip(
                fitted.scored["row"].to_pylist(),
                fitted.scored["unit"].to_pylist(),
                fitted.scored["label"].to_pylist(),
                strict=True,
            )
        ]
    )


def auroc(suspicion: Array, wrong: npt.NDArray[np.bool_]) -> float:
    """Chance that a wrong label is more suspicious than a right one; ties count half."""
    num_wrong, num_right = int(wrong.sum()), int((~wrong).sum())
    ranks = rankdata(suspicion)[wrong].sum()
    return float((ranks - num_wrong * (num_wrong + 1) / 2) / (num_wrong * num_right))
