"""Batched inference: each row by a model that has not seen it, and what its label is against that.

Runs in an engine's workers. Rows that break the schema pass through with their fault.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import nn

from cluster.engine.base import BATCH_ROWS, Batches, BatchFunction
from cluster.engine.devices import autocast, device, to_device
from cluster.engine.workers import Workers
from cluster.interfaces import Learner
from cluster.training.model_store import ALL, ModelStore, fold_run
from relabel_service.errors import InvalidInput

CHUNK_ROWS = 256  # rows of like size predicted together


class Sampling(StrEnum):
    """Whose prediction a row gets."""

    OUT_OF_SAMPLE = "out-of-sample"  # of the model whose folds did not hold it
    IN_SAMPLE = "in-sample"  # of the model trained on every row, this one included


@dataclass(frozen=True)
class InferenceConfig:
    """How to predict. batch_rows: rows that a worker sorts by size at once."""

    sampling: Sampling = Sampling.OUT_OF_SAMPLE
    batch_rows: int = BATCH_ROWS
    workers: Workers = field(default_factory=Workers)

    def map(self, batches: Batches, load: Callable[[], BatchFunction]) -> Batches:
        """The batches through what `load` returns in each worker."""
        return batches.map_model(load, workers=self.workers, batch_rows=self.batch_rows)


class Predictor:
    """Holds the models of one training. Several threads may call it at once."""

    def __init__(self, store_uri: str, sampling: Sampling) -> None:
        store = ModelStore(store_uri)
        self.manifest = store.manifest()
        if sampling is Sampling.OUT_OF_SAMPLE and not self.manifest.num_folds:
            raise InvalidInput.of(
                "predictions", f"{store_uri!r} was trained without folds; train with folds"
            )
        runs = (
            [ALL]
            if sampling is Sampling.IN_SAMPLE
            else [fold_run(fold) for fold in range(self.manifest.num_folds)]
        )
        self._learners = list(store.load_runs(self.manifest, runs).values())
        for learner in self._learners:
            cast(nn.Module, learner).to(device()).eval()

    def predict(
        self, ids: Sequence[str], contents: Sequence[str], labels: Sequence[str] | None = None
    ) -> list[Any]:
        """The learner's prediction of each row, in order; labels: those to be scored."""
        runs = self._runs_of(ids)
        found: list[Any] = [None] * len(ids)
        for number, learner in enumerate(self._learners):
            mine: list[int] = np.flatnonzero(runs == number).tolist()
            some = predict_rows(
                learner,
                [contents[place] for place in mine],
                None if labels is None else [labels[place] for place in mine],
            )
            for place, one in zip(mine, some, strict=True):
                found[place] = one
        return found

    def score(self, batch: pa.Table) -> pa.Table:
        """ROWS -> one row for each row and unit; as score_batch."""
        return score_batch(batch, self.predict, self.score_predictions)

    def score_predictions(
        self, predictions: Sequence[Any], labels: Sequence[str], contents: Sequence[str]
    ) -> pa.Table:
        """Labels against predictions of their rows, as Learner.score."""
        return self._learners[0].score(predictions, labels, contents)

    def predict_labels(self, batch: pa.Table) -> list[Any]:
        """ROWS, all valid -> plain predictions for ModelTask.metrics."""
        predictions = self.predict(batch["id"].to_pylist(), batch["content"].to_pylist())
        return self._learners[0].decode(predictions)

    def _runs_of(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        if len(self._learners) == 1:
            return np.zeros(len(ids), np.int64)
        return self.manifest.folds.of(ids)


def score_batch(
    batch: pa.Table,
    predict: Callable[[list[str], list[str], list[str]], list[Any]],
    score: Callable[[Sequence[Any], Sequence[str], Sequence[str]], pa.Table],
) -> pa.Table:
    """ROWS -> one row for each row and unit, as Learner.score gives it, with its columns.

    All columns of the batch but label and weight come along. Invalid rows follow with the
    score's columns null. predict: of ids, contents and labels. score: as Learner.score.
    """
    valid = batch.filter(batch["fault"].is_null())
    kept = batch.drop_columns(["label", "weight"])
    invalid = kept.filter(kept["fault"].is_valid())
    ids, contents = valid["id"].to_pylist(), valid["content"].to_pylist()
    labels = valid["label"].to_pylist()
    predictions = predict(ids, contents, labels)
    if not predictions:
        return invalid
    scored = score(predictions, labels, contents)
    own = kept.filter(kept["fault"].is_null()).take(scored["row"])
    for name in scored.column_names:
        if name != "row":
            own = own.append_column(name, scored[name])
    return pa.concat_tables([own, invalid], promote_options="default")


def predict_rows(
    learner: Learner, contents: Sequence[str], labels: Sequence[str] | None = None
) -> list[Any]:
    """One learner's prediction of each row, in order; rows of like size go together.

    labels: those to be scored, for learners that need them.
    """
    inputs = learner.encode(contents)
    targets = None
    if labels is not None and learner.needs_labels_to_score:
        targets = learner.encode_labels(labels, contents)
    by_size = np.argsort([-learner.size(one) for one in inputs], kind="stable")
    found: list[Any] = [None] * len(inputs)
    for at in range(0, len(by_size), CHUNK_ROWS):
        chunk = by_size[at : at + CHUNK_ROWS]
        some = _predict(
            learner,
            [inputs[place] for place in chunk],
            None if targets is None else [targets[place] for place in chunk],
        )
        for place, one in zip(chunk, some, strict=True):
            found[place] = one
    return found


@torch.inference_mode()
def _predict(learner: Learner, inputs: list[Any], targets: list[Any] | None) -> list[Any]:
    batch = to_device(learner.collate(inputs, targets))
    with autocast():
        return learner.predict(batch)
