"""Predictions of others as views of the rows: beside our models, or instead of them.

Prepared once by the driver: tables are read and checked against the rows, and kept in the run's
folder. Workers look each row's predictions up. Tasks with an Ensemble get them as columns, and
learn their weights there; for others, the weights are learned from a sample of the rows here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.interfaces import Array, PredictionForm
from cluster.io.folder import Folder
from cluster.io.shards import read_shard, write_shard
from cluster.predictions.table import ID, ById, match, read_predictions
from cluster.tasks import model_task
from relabel_service.errors import InvalidInput

FOLDER = "predictions"
MAX_SAMPLE_ROWS = 2_000  # that weights are learned from
# Of predictions made out of sample, the log-loss cannot be far below that of another good model.
FAR_BELOW = 0.5

Predict = Callable[[list[str], list[str], list[str]], list[Any]]


@dataclass(frozen=True)
class Views:
    """What workers need of the predictions; views: how many tables.

    layouts: of each table. is_alone: whether they stand instead of our models. weights: of pool.
    """

    task: str
    classes: tuple[str, ...]
    folder: Folder
    layouts: tuple[Any, ...]
    is_alone: bool
    weights: Mapping[str, Array] = field(default_factory=dict)

    @property
    def form(self) -> PredictionForm:
        return form_of(self.task)

    def load(self) -> "LoadedViews":
        tables = [
            ById(read_shard(self.folder, f"{FOLDER}/{number}.parquet"))
            for number in range(len(self.layouts))
        ]
        return LoadedViews(self, tables)


class LoadedViews:
    """The predictions in memory: one a worker."""

    def __init__(self, views: Views, tables: Sequence[ById]) -> None:
        self._views, self._tables = views, tables

    def of(self, ids: list[str]) -> list[list[Any]]:
        """Of each table, a prediction or None for each row."""
        of_tables = []
        for layout, table in zip(self._views.layouts, self._tables, strict=True):
            rows, has_row = table.rows_of(ids)
            read = iter(self._views.form.read(rows, layout, self._views.classes))
            of_tables.append([next(read) if has else None for has in has_row])
        return of_tables

    def predict(self, own: Predict | None) -> Predict:
        """What predicts rows: `own` pooled with the views, or, without it, the views alone."""

        def predict(ids: list[str], contents: list[str], labels: list[str]) -> list[Any]:
            views = ([] if own is None else [own(ids, contents, labels)]) + self.of(ids)
            form, weights = self._views.form, self._views.weights
            return [form.pool(row, weights) for row in zip(*views, strict=True)]

        return predict

    def add_columns(self, scored: pa.Table) -> pa.Table:
        """Scored rows with the columns that an Ensemble reads."""
        views = self.of(scored["id"].to_pylist())
        others = views[1:] if self._views.is_alone else views  # the first was scored itself
        for name, values in self._views.form.columns(others).items():
            scored = scored.append_column(name, values)
        return scored


def form_of(task: str) -> PredictionForm:
    """How the task's predictions are read. Raises InvalidInput where they have no use."""
    form = model_task(task).predictions
    if form is None:
        raise InvalidInput.of("predictions", f"have no use in {task}; leave them out")
    return form


def prepare_views(
    uris: Sequence[str],
    rows: pa.Table,
    *,
    task: str,
    classes: tuple[str, ...],
    id_column: str | None,
    folder: Folder,
    is_alone: bool,
    learns: bool,
    predict: Predict | None,
) -> tuple[Views, list[str]]:
    """The views of a run, kept in its folder; and what the user should know of them.

    rows: id, content and label of the valid rows. is_alone: instead of our models.
    learns: whether weights are learned here, with `predict`, our models' where they take part.
    Raises InvalidInput where ids or classes do not match, with counts both ways.
    """
    form, layouts, notes = form_of(task), [], list[str]()
    for number, uri in enumerate(uris):
        table = read_predictions(uri, id_column=id_column)
        matched = match(table, rows["id"], uri)
        if matched.has_none or (is_alone and number == 0 and matched.num_lacking):
            alone = "; predict every row, or mine with our models too" if is_alone else ""
            raise InvalidInput.of(
                "predictions", f"{matched.in_words}; give the ids of the rows{alone}"
            )
        layout, remarks = form.layout(table.drop_columns([ID]), classes)
        notes += [f"{uri!r}: {remark}" for remark in remarks]
        if matched.num_lacking or matched.num_unknown:
            notes.append(f"predictions: {matched.in_words}")
        write_shard(folder, f"{FOLDER}/{number}.parquet", table)
        layouts.append(layout)
    views = Views(task, classes, folder, tuple(layouts), is_alone)
    sample = rows.take(pa.array(_sample(rows.num_rows)))
    ids, contents, labels = (sample[name].to_pylist() for name in ("id", "content", "label"))
    others = views.load().of(ids)
    for view in others:
        form.require_suits(view, contents)
    if not learns:
        return views, notes
    own = [] if predict is None else [predict(ids, contents, labels)]
    weights, losses = form.learn(own + others, labels, contents, classes)
    if own:
        notes += in_sample_warnings(losses[0], losses[1:], uris)
    return replace(views, weights=weights), notes


def in_sample_warnings(own: float, others: Sequence[float], uris: Sequence[str]) -> list[str]:
    """What to say of predictions whose log-loss is far below ours."""
    return [
        f"predictions of {uri!r} fit the labels suspiciously well (log-loss {loss:.3g}, ours "
        f"{own:.3g}): where their model has seen these labels, wrong ones look right; predict "
        "each row by a model that has not (cross_val_predict)"
        for uri, loss in zip(uris, others, strict=True)
        if loss < FAR_BELOW * own
    ]


def _sample(num_rows: int) -> npt.NDArray[np.integer]:
    """Numbers of rows spread evenly over the table."""
    if num_rows <= MAX_SAMPLE_ROWS:
        return np.arange(num_rows)
    return np.linspace(0, num_rows - 1, MAX_SAMPLE_ROWS).astype(np.int64)
