"""How good the model trained on every row is on labels that training never touched."""

import pickle
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa

from cluster.data.rows import Source, rows
from cluster.engine.base import Engine
from cluster.inference.predict import InferenceConfig, Predictor, Sampling
from cluster.interfaces import ModelTask
from cluster.tasks import model_task
from cluster.training.model_store import ModelStore
from relabel_service.errors import InvalidInput
from relabel_service.tables.fingerprint import content_fingerprint

PICKLED = "pickled"  # column: one pickle a batch

RowKey = tuple[str, str]  # id, and fingerprint of the content


class _TestPredictor:
    """Rows of tests -> what the model predicts for them, and how often each fault of the others
    occurs; pickled: predictions are any objects."""

    def __init__(self, store_uri: str) -> None:
        self._predictor = Predictor(store_uri, Sampling.IN_SAMPLE)

    def __call__(self, batch: pa.Table) -> pa.Table:
        valid = batch.filter(batch["fault"].is_null())
        columns = (
            valid["test"].to_pylist(),
            valid["id"].to_pylist(),
            self._predictor.predict_labels(valid),
            valid["label"].to_pylist(),
            [content_fingerprint(content) for content in valid["content"].to_pylist()],
        )
        others = batch.filter(batch["fault"].is_valid())
        faults = Counter(zip(others["test"].to_pylist(), others["fault"].to_pylist(), strict=True))
        pickled = pickle.dumps((columns, faults))
        return pa.table({PICKLED: pa.array([pickled], pa.large_binary())})


@dataclass(frozen=True)
class Coverage:
    """How many rows of a test its metrics are of.

    left_out_because: the commonest fault of the rows left out; empty where none was.
    """

    num_evaluated: int
    num_left_out: int = 0
    left_out_because: str = ""

    def note(self) -> str:
        """What stands beside a figure: empty where it is of every row."""
        num_rows = self.num_evaluated + self.num_left_out
        return f" ({self.num_left_out} of {num_rows} left out)" if self.num_left_out else ""


@dataclass(frozen=True)
class Evaluation:
    """A model on one test. metrics: the task's headline first."""

    metrics: Mapping[str, float]
    coverage: Coverage

    def to_dict(self) -> dict[str, float | str]:
        """The metrics, and beside them how many rows they are of."""
        return {**self.metrics, **asdict(self.coverage)}


@dataclass(frozen=True)
class PredictedRows:
    """One test's valid rows: ids, predictions as ModelTask.metrics takes them, true labels; [R].

    faults: how many of the other rows have each fault. tokenize: as in the training's Manifest.
    fingerprints: content_fingerprint of each row, which tells rows of one id apart; [R].
    """

    ids: list[str] = field(default_factory=list)
    predicted: list[Any] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    tokenize: str = ""
    fingerprints: list[str] = field(default_factory=list)

    @property
    def keys(self) -> list[RowKey]:
        return list(zip(self.ids, self.fingerprints, strict=True))

    def take(self, indices: Iterable[int]) -> "PredictedRows":
        """These rows, in this order; a row may come more than once."""
        rows = list(indices)
        ids, predicted, labels, fingerprints = (
            [column[row] for row in rows]
            for column in (self.ids, self.predicted, self.labels, self.fingerprints)
        )
        return replace(self, ids=ids, predicted=predicted, labels=labels, fingerprints=fingerprints)

    def evaluation(self, task: ModelTask) -> Evaluation:
        [(commonest, _)] = self.faults.most_common(1) or [("", 0)]
        coverage = Coverage(len(self.ids), self.faults.total(), commonest)
        return Evaluation(self.metrics(task), coverage)

    def metrics(self, task: ModelTask) -> dict[str, float]:
        """The task's headline first."""
        return task.metrics(self.predicted, self.labels, tokenize=self.tokenize)


def evaluate(
    store_uri: str, tests: Mapping[str, Source], config: InferenceConfig, engine: Engine
) -> dict[str, Evaluation]:
    """Test name -> how good the model is on that pinned source.

    A row that breaks the task's schema, or whose label is of a class that the model was not
    trained on, is left out and counted. Raises InvalidInput when a test has no valid row.
    """
    task = model_task(ModelStore(store_uri).manifest().source.task)
    return {
        name: rows.evaluation(task)
        for name, rows in predict_tests(store_uri, tests, config, engine).items()
    }


def predict_tests(
    store_uri: str, tests: Mapping[str, Source], config: InferenceConfig, engine: Engine
) -> dict[str, PredictedRows]:
    """Test name -> the prediction of each row by the model of all rows, in the order of the ids.

    Raises InvalidInput when a test has no valid row.
    """
    if not tests:
        return {}
    manifest = ModelStore(store_uri).manifest()
    first, *others = [
        rows(engine, source, classes=manifest.classes).map(partial(_named, test=name))
        for name, source in tests.items()
    ]
    predicted = {name: PredictedRows(tokenize=manifest.tokenize) for name in tests}
    for batch in config.map(first.union(*others), partial(_TestPredictor, store_uri)):
        for pickled in batch[PICKLED].to_pylist():
            columns, faults = pickle.loads(pickled)
            for (name, fault), num_rows in faults.items():
                predicted[name].faults[fault] += num_rows
            for name, row_id, prediction, label, fingerprint in zip(*columns, strict=True):
                predicted[name].ids.append(row_id)
                predicted[name].predicted.append(prediction)
                predicted[name].labels.append(label)
                predicted[name].fingerprints.append(fingerprint)
    for name, test in predicted.items():
        if not test.ids:
            [(fault, _)] = test.faults.most_common(1) or [("it has no rows; give some", 0)]
            raise InvalidInput.of(
                name, f"{tests[name].uri!r} has no valid row to evaluate on: {fault}"
            )
    return {
        name: test.take(sorted(range(len(test.ids)), key=_labelled(test).__getitem__))
        for name, test in predicted.items()
    }


def on_same_rows(one: PredictedRows, other: PredictedRows) -> tuple[PredictedRows, PredictedRows]:
    """Those rows of a test that both models were evaluated on: they may know different classes."""

    def also_in(rows: PredictedRows, others: PredictedRows) -> PredictedRows:
        keys = set(_labelled(others))
        return rows.take(index for index, key in enumerate(_labelled(rows)) if key in keys)

    return also_in(one, other), also_in(other, one)


def _labelled(rows: PredictedRows) -> list[tuple[RowKey, str]]:
    return list(zip(rows.keys, rows.labels, strict=True))


def _named(batch: pa.Table, *, test: str) -> pa.Table:
    return batch.append_column("test", pa.array([test] * batch.num_rows, pa.string()))
