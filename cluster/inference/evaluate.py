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


class _TestPredictor:
    """Rows -> answers and true labels of each test, pickled for the driver."""

    def __init__(self, store_uri: str) -> None:
        self._predictor = Predictor(store_uri, Sampling.IN_SAMPLE)

    def __call__(self, batch: pa.Table) -> pa.Table:
        fit = batch.filter(batch["fault"].is_null())
        told = (
            fit["test"].to_pylist(),
            fit["id"].to_pylist(),
            self._predictor.answer(fit),
            fit["label"].to_pylist(),
        )
        return pa.table({"told": pa.array([pickle.dumps(told)], pa.large_binary())})


@dataclass(frozen=True)
class PredictedRows:
    """One test's fit rows: ids, plain predictions and true labels, [rows] each."""

    ids: list[str] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    def take(self, places: Iterable[int]) -> "PredictedRows":
        rows = list(places)
        return PredictedRows(
            *([column[row] for row in rows] for column in (self.ids, self.answers, self.labels))
        )


def evaluate(
    store_uri: str, tests: Mapping[str, Source], config: InferenceConfig, engine: Engine
) -> dict[str, dict[str, float]]:
    """Test name -> metrics over the whole of that pinned source, the task's headline first.

    Raises InvalidInput when a test has no fit row.
    """
    task = model_task(ModelStore(store_uri).manifest().source.task)
    return {
        name: task.metrics(told.answers, told.labels)
        for name, told in answer(store_uri, tests, config, engine).items()
    }


def answer(
    store_uri: str, tests: Mapping[str, Source], config: InferenceConfig, engine: Engine
) -> dict[str, PredictedRows]:
    """Test name -> what the model says of each row, in the order of the ids.

    Raises InvalidInput when a test has no fit row.
    """
    if not tests:
        return {}
    manifest = ModelStore(store_uri).manifest()
    first, *others = [
        rows(engine, source, classes=manifest.classes).map(partial(_named, test=name))
        for name, source in tests.items()
    ]
    found = config.map(first.union(*others), partial(_TestPredictor, store_uri))
    told = {name: PredictedRows() for name in tests}
    for batch in found:
        for part in batch["told"].to_pylist():
            for name, row_id, said, label in zip(*pickle.loads(part), strict=True):
                told[name].ids.append(row_id)
                told[name].answers.append(said)
                told[name].labels.append(label)
    for name, one in told.items():
        if not one.ids:
            raise InvalidInput.of(
                name, f"{tests[name].uri!r} has no fit row to evaluate on; see its labels"
            )
    return {
        name: one.take(sorted(range(len(one.ids)), key=one.ids.__getitem__))
        for name, one in told.items()
    }


def _named(batch: pa.Table, *, test: str) -> pa.Table:
    return batch.append_column("test", pa.array([test] * batch.num_rows, pa.string()))
