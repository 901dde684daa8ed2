"""How good the model trained on every row is on labels that training never touched."""

import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa

from cluster.data.rows import Source, rows
from cluster.engine.base import Engine
from cluster.inference.predict import InferenceConfig, Predictor, Sampling
from cluster.tasks import model_task
from cluster.training.model_store import ModelStore
from relabel_service.errors import InvalidInput

PICKLED = "pickled"  # column: one pickle a batch


class _TestPredictor:
    """Rows of tests -> what the model predicts for them, pickled: predictions are any objects."""

    def __init__(self, store_uri: str) -> None:
        self._predictor = Predictor(store_uri, Sampling.IN_SAMPLE)

    def __call__(self, batch: pa.Table) -> pa.Table:
        valid = batch.filter(batch["fault"].is_null())
        columns = (
            valid["test"].to_pylist(),
            valid["id"].to_pylist(),
            self._predictor.predict_labels(valid),
            valid["label"].to_pylist(),
        )
        return pa.table({PICKLED: pa.array([pickle.dumps(columns)], pa.large_binary())})


@dataclass(frozen=True)
class PredictedRows:
    """One test's valid rows: ids, predictions as ModelTask.metrics takes them, true labels; [R]."""

    ids: list[str] = field(default_factory=list)
    predicted: list[Any] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    def take(self, indices: Iterable[int]) -> "PredictedRows":
        """These rows, in this order; a row may come more than once."""
        rows = list(indices)
        columns = (self.ids, self.predicted, self.labels)
        return PredictedRows(*([column[row] for row in rows] for column in columns))


def evaluate(
    store_uri: str, tests: Mapping[str, Source], config: InferenceConfig, engine: Engine
) -> dict[str, dict[str, float]]:
    """Test name -> metrics over the whole of that pinned source, the task's headline first.

    Raises InvalidInput when a test has no valid row.
    """
    task = model_task(ModelStore(store_uri).manifest().source.task)
    return {
        name: task.metrics(rows.predicted, rows.labels)
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
    predicted = {name: PredictedRows() for name in tests}
    for batch in config.map(first.union(*others), partial(_TestPredictor, store_uri)):
        for pickled in batch[PICKLED].to_pylist():
            for name, row_id, prediction, label in zip(*pickle.loads(pickled), strict=True):
                predicted[name].ids.append(row_id)
                predicted[name].predicted.append(prediction)
                predicted[name].labels.append(label)
    for name, test in predicted.items():
        if not test.ids:
            raise InvalidInput.of(
                name, f"{tests[name].uri!r} has no valid row to evaluate on; see its labels"
            )
    return {
        name: test.take(sorted(range(len(test.ids)), key=test.ids.__getitem__))
        for name, test in predicted.items()
    }


def _named(batch: pa.Table, *, test: str) -> pa.Table:
    return batch.append_column("test", pa.array([test] * batch.num_rows, pa.string()))
