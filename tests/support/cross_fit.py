"""Cross-fits a task's learners in this process, as training on Ray does it, for tests in seconds.

R rows; K folds, by the hash of the id.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from scipy.stats import rankdata
from torch import nn

from cluster.data.folds import Folds
from cluster.inference.predict import predict_rows
from cluster.interfaces import Array, Learner
from cluster.tasks import model_task
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
    """Train by the learner's recipe, as cluster/fit.py does."""
    defaults = learner.defaults
    inputs, targets = learner.encode(contents), learner.encode_labels(labels, contents)
    module = cast(nn.Module, learner)
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=defaults.learning_rate, weight_decay=defaults.weight_decay
    )
    steps_an_epoch = -(-len(inputs) // defaults.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, partial(defaults.rate, num_steps=steps_an_epoch * defaults.epochs)
    )
    randomness = np.random.default_rng(seed)
    module.train()
    for _ in range(defaults.epochs):
        order = randomness.permutation(len(inputs))
        for at in range(0, len(order), defaults.batch_size):
            places = order[at : at + defaults.batch_size]
            batch = learner.collate([inputs[p] for p in places], [targets[p] for p in places])
            losses, observed = learner(batch)
            assert losses.shape == (len(places),)
            assert observed.shape == (len(places), len(learner.dynamics))
            optimizer.zero_grad()
            losses.mean().backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            schedule.step()
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
