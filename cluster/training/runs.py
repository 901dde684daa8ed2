"""Fits runs of one training on the rows of a worker, and keeps what each leaves behind.

Rows are encoded once for all runs. A finished run is a file and is never fitted again; a run that
was cut off continues from its checkpoint.
"""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from cluster.engine.devices import device
from cluster.io.folder import Folder
from cluster.io.shards import write_shard
from cluster.training import dynamics
from cluster.training.config import TrainConfig
from cluster.training.loop import EncodedRows, fit, rank, wait_for_all
from cluster.training.model_store import ALL, Manifest, ModelStore, fold_run
from cluster.training.sample_weights import sample_weights
from relabel_service.errors import InvalidInput

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class RunFitter:
    """Fits runs of the training in the folder store_uri: an engine calls it in each worker."""

    store_uri: str
    manifest: Manifest
    config: TrainConfig

    def __call__(self, table: pa.Table, runs: Iterable[str]) -> None:
        """table: id, content, label and weight of this worker's rows, all valid."""
        store, manifest = ModelStore(self.store_uri), self.manifest
        table = table.sort_by("id")
        rows: EncodedRows | None = None
        for run in runs:
            if store.has_run(run):
                continue
            if rows is None:
                rows, folds = self._encoded(store, table), manifest.folds.of(table["id"])
            self._fit(store, run, rows, table["id"], _indices(run, folds, manifest.num_folds))

    def _encoded(self, store: ModelStore, table: pa.Table) -> EncodedRows:
        torch.manual_seed(self.config.seed)
        learner = store.load_learner(
            self.manifest.source.task, self.manifest.model, self.manifest.classes
        )
        contents, labels = table["content"].to_pylist(), table["label"].to_pylist()
        weights = table["weight"].to_numpy()
        if self.config.label_confidence_uri is not None:
            weights = weights * sample_weights(self.config.label_confidence_uri, table["id"])
        return EncodedRows.of(learner, contents, labels, weights)

    def _fit(
        self,
        store: ModelStore,
        run: str,
        rows: EncodedRows,
        ids: pa.ChunkedArray,
        indices: npt.NDArray[np.int64],
    ) -> None:
        config, manifest, number = self.config, self.manifest, self.manifest.runs.index(run)
        if not len(indices):
            if config.workers.num > 1:
                raise InvalidInput.of(
                    "num_workers", f"{config.workers.num} leaves a worker without rows; use fewer"
                )
            raise InvalidInput.of(
                "dataset",
                f"has {manifest.num_rows} valid rows, all of them in one fold, as near-identical "
                "texts are, and so none to train the fold's model on; give more rows, or --folds 0",
            )
        torch.manual_seed(config.seed + number)
        learner = store.load_learner(
            manifest.source.task, manifest.model, manifest.classes, pretrained=True
        )
        watched = fit(
            learner,
            rows,
            indices,
            defaults=config.over(learner.defaults),
            seed=config.seed,
            run_number=number,
            num_loaders=config.workers.cpus_per_gpu - 1,
            checkpoint=FileCheckpoint(store.folder, run, config.checkpoint_interval_s),
        )
        table = dynamics.means(ids.take(pa.array(indices)), watched[indices], learner.dynamics)
        write_shard(store.folder, f"{dynamics.FOLDER}/{run}-{rank()}.parquet", table)
        wait_for_all()  # a run is finished only when what every worker watched is kept
        if rank() == 0:
            store.save_run(run, learner)


@dataclass(frozen=True)
class FileCheckpoint:
    """The last state of one run, as a file of the training's folder."""

    folder: Folder
    run: str
    interval_s: float

    def load(self) -> Mapping[str, Any] | None:
        """What was saved last; None for a run that begins."""
        if not self.folder.exists(self._name):
            return None
        data = io.BytesIO(self.folder.read(self._name))
        state: Mapping[str, Any] = torch.load(data, map_location=device(), weights_only=True)
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep this state instead of the last."""
        data = io.BytesIO()
        torch.save(dict(state), data)
        self.folder.write(self._name, data.getvalue())

    @property
    def _name(self) -> str:
        return f"{CHECKPOINTS}/{self.run}.pt"


def _indices(run: str, folds: npt.NDArray[np.int64], num_folds: int) -> npt.NDArray[np.int64]:
    """Rows that the run is trained on: all but its own fold's."""
    held_out = -1 if run == ALL else [fold_run(fold) for fold in range(num_folds)].index(run)
    return np.flatnonzero(folds != held_out)
