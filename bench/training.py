"""A task's built-in learner trained by folds in this process, as cluster/training/ does it.

The same Learner, training loop, folds and scores, so that benchmarks of many trainings
take seconds each and still measure what the product does. R rows, K folds.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from cluster.data.folds import Folds, id_keys
from cluster.data.near_duplicates import band_keys, groups
from cluster.inference.predict import predict_rows
from cluster.interfaces import DYNAMICS, FOLD, Array, Learner
from cluster.mining.feedback_data import evidence_from, groups_of
from cluster.mining.scoring import Scoring
from cluster.mining.table_stats import stats_of_rows
from cluster.scores.feedback import Evidence
from cluster.tasks import model_task
from cluster.training.loop import EncodedRows, fit
from cluster.training.model_store import ALL, fold_run
from relabel_service.tasks import task_named

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Text forms of a data set; [R] each.

    weights: how much each row counts in training; all alike when empty.
    """

    task: str
    ids: list[str]
    contents: list[str]
    labels: list[str]
    weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, task_name: str, table: pa.Table, labels: Sequence[object]) -> "Rows":
        """labels: of the table's rows, as the user has them."""
        task = task_named(task_name)
        contents = [
            task.read_content(row) for row in table.select(list(task.content_columns)).to_pylist()
        ]
        read = [
            task.read_label(one, content) for one, content in zip(labels, contents, strict=True)
        ]
        return cls(task_name, [str(one) for one in table["id"].to_pylist()], contents, read)

    @property
    def classes(self) -> tuple[str, ...]:
        task = task_named(self.task)
        return tuple(sorted({name for label in self.labels for name in task.classes_in(label)}))

    def take(self, places: Ints) -> "Rows":
        def taken(column: Sequence[Any]) -> list[Any]:
            return [column[place] for place in places] if column else []

        return replace(
            self,
            ids=taken(self.ids),
            contents=taken(self.contents),
            labels=taken(self.labels),
            weights=tuple(taken(self.weights)),
        )


def sets(data: Path, task: str, only: Sequence[str]) -> Iterator[tuple[str, Rows, list[str]]]:
    """Name, train rows and gold labels of each data/<task>/<name>/train.parquet.

    only: names of those wanted; all when empty.
    """
    for path in sorted((data / task).glob("*/train.parquet")):
        if only and path.parent.name not in only:
            continue
        table = pq.read_table(path)
        gold = Rows.of(task, table, table["gold"].to_pylist()).labels
        yield path.parent.name, Rows.of(task, table, table["label"].to_pylist()), gold


def folds_of(rows: Rows, num_folds: int) -> Ints:
    """As training has them, near-duplicates together: [R]."""
    texts = [task_named(rows.task).compared_text(content) for content in rows.contents]
    if any(text is None for text in texts):
        return Folds(num_folds).of(rows.ids)
    alike = groups(id_keys(rows.ids), band_keys([text for text in texts if text is not None]))
    return Folds(num_folds, alike).of(rows.ids)


@dataclass(frozen=True)
class CrossFitted:
    """judged: as mining's parts, with `id`, the fold and what training watched.

    in_sample: what a model on all rows says of them, judged likewise.
    """

    scored: pa.Table
    in_sample: pa.Table


def cross_fit(
    rows: Rows, *, num_folds: int = 5, seed: int = 0, fold: Ints | None = None
) -> CrossFitted:
    """A model a fold and one on every row, by the built-in's own recipe.

    fold: of each row, by default folds_of.
    """
    fold = folds_of(rows, num_folds) if fold is None else fold
    predictions: list[Any] = [None] * len(rows.ids)
    with _prepared(rows) as start:
        encoded = _encoded(start(seed), rows)
        watched = np.zeros((len(rows.ids), 1))
        for number, run in enumerate([*map(fold_run, range(num_folds)), ALL]):
            run_number = 0 if run == ALL else 1 + number  # as train has it
            learner = start(seed + run_number)
            watched = watched + fit(
                learner,
                encoded,
                np.flatnonzero(fold != number),
                defaults=learner.defaults,
                seed=seed,
                run_number=run_number,
            )
            held_out = np.flatnonzero(fold == number) if run != ALL else np.arange(len(fold))
            said = predict(learner, rows.take(held_out))
            if run == ALL:
                break
            for place, one in zip(held_out, said, strict=True):
                predictions[place] = one
    scored = _judged(learner, predictions, rows)
    row = scored["row"].to_numpy()  # a row may have several scored parts
    return CrossFitted(
        scored.append_column(FOLD, pa.array(fold[row])).append_column(
            f"{DYNAMICS}{learner.dynamics[0]}", pa.array((watched[:, 1] / watched[:, 0])[row])
        ),
        _judged(learner, said, rows),
    )


def evidence(rows: Rows, scored: pa.Table, *, num_folds: int) -> Evidence:
    """What jobs.mine says of cross-fitted rows. num_folds: 0 has the model's view alone."""
    scoring = Scoring(rows.task, rows.classes, num_folds=num_folds)
    stats, seen = stats_of_rows(scoring, scored)
    group = groups_of(rows.task, seen["label"].to_pylist(), seen["unit"].to_pylist())
    return evidence_from(scoring.signals(seen, stats.sums), group)


def suspicion(rows: Rows, scored: pa.Table, *, num_folds: int) -> Array:
    """As jobs.mine ranks while nobody has answered, [R]; see evidence."""
    return np.asarray(evidence(rows, scored, num_folds=num_folds).suspicion, np.float64)


def joined(some: Sequence[Evidence]) -> Evidence:
    """Rows of several trainings alike, one after the other."""
    return Evidence(
        np.concatenate([one.suspicion for one in some]),
        [group for one in some for group in one.group],
        {
            name: np.concatenate([one.base_scores[name] for one in some])
            for name in some[0].base_scores
        },
    )


def train(rows: Rows, *, seed: int = 0) -> Learner:
    """One model on every row."""
    with _prepared(rows) as start:
        learner: Learner = start(seed)
        encoded = _encoded(learner, rows)
        fit(learner, encoded, np.arange(len(rows.ids)), defaults=learner.defaults, seed=seed)
    return learner


def predict(learner: Learner, rows: Rows) -> list[Any]:
    cast(nn.Module, learner).eval()
    return predict_rows(learner, rows.contents, rows.labels)


def _encoded(learner: Learner, rows: Rows) -> EncodedRows:
    weights = np.array(rows.weights) if rows.weights else None
    return EncodedRows.of(learner, rows.contents, rows.labels, weights)


@contextmanager
def _prepared(rows: Rows) -> Iterator[Any]:
    """Gives a function: seed -> an untrained learner."""
    task = model_task(rows.task)
    with tempfile.TemporaryDirectory() as local:
        task.prepare(Path(local), model=None, contents=rows.contents, labels=rows.labels)

        def start(seed: int) -> Learner:
            torch.manual_seed(seed)
            return task.load(Path(local), model=None, classes=rows.classes, pretrained=True)

        yield start


def _judged(learner: Learner, predictions: list[Any], rows: Rows) -> pa.Table:
    scored = learner.score(predictions, rows.labels, rows.contents)
    ids = pa.array(rows.ids).take(scored["row"].combine_chunks())
    return scored.append_column("id", ids)
