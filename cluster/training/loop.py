"""What each training worker does: fit one run after the other on its share of the rows.

R rows in the worker's shard, B rows a batch.
"""

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray.train import Checkpoint
from torch import nn

from cluster.engine.devices import autocast, device, to_device
from cluster.interfaces import Tensors, TrainingDefaults
from cluster.training.loader import Batches
from cluster.training.model_store import ALL, Manifest, ModelStore, fold_run
from cluster.training.sample_weights import sample_weights
from relabel_service.errors import InvalidInput

if TYPE_CHECKING:
    from cluster.training.train import TrainConfig

MAX_GRADIENT_NORM = 1.0
MIN_BATCH_WEIGHT = 1e-6  # a batch that weighs less is not divided by its weight
STATE_FILE = "state.pt"


def fit_runs(config: dict[str, Any]) -> None:
    """Fit the runs that are not finished yet. Runs in every worker of a TorchTrainer."""
    store, manifest = ModelStore(config["store"]), config["manifest"]
    settings: TrainConfig = config["settings"]
    torch.manual_seed(settings.seed)
    shard = _Shard(store, manifest, settings.label_confidence_uri)
    for number, run in enumerate(manifest.runs):
        if not store.has_run(run):
            _Run(store, manifest, settings, shard, run=run, number=number).fit()


class _Shard:
    """This worker's rows, read and encoded once for all runs, in the order of their ids."""

    def __init__(
        self, store: ModelStore, manifest: Manifest, label_confidence_uri: str | None
    ) -> None:
        batches = ray.train.get_dataset_shard("train").iter_batches(
            batch_format="pyarrow", batch_size=None
        )
        table = pa.concat_tables(list(batches)).sort_by("id")
        learner = store.start(manifest.source.task, manifest.model, manifest.classes)
        contents, labels = table["content"].to_pylist(), table["label"].to_pylist()
        self.ids = table["id"]
        self.folds = manifest.folds.of(table["id"])
        self.inputs = learner.encode(contents)
        self.targets = learner.encode_labels(labels, contents)
        weights = table["weight"].to_numpy()
        if label_confidence_uri is not None:
            weights = weights * sample_weights(label_confidence_uri, table["id"])
        self.weights = torch.from_numpy(weights.astype(np.float32)).to(device())


class _Run:
    """One run: a learner, its optimizer, and how far it is."""

    def __init__(
        self,
        store: ModelStore,
        manifest: Manifest,
        settings: "TrainConfig",
        shard: _Shard,
        *,
        run: str,
        number: int,
    ) -> None:
        self._store, self._settings, self._shard = store, settings, shard
        self._run, self._number = run, number
        torch.manual_seed(settings.seed + number)
        self._learner = store.start(
            manifest.source.task, manifest.model, manifest.classes, pretrained=True
        )
        self._training_defaults = _training_defaults(self._learner.defaults, settings)
        self._model = ray.train.torch.prepare_model(cast(nn.Module, self._learner))
        held_out = [fold_run(fold) for fold in range(manifest.num_folds)]
        self._rows = np.flatnonzero(shard.folds != (held_out.index(run) if run != ALL else -1))
        if not len(self._rows):
            raise InvalidInput.of(
                "num_workers", f"{settings.workers.num} leaves a worker without rows; use fewer"
            )
        self._steps = _most(-(-len(self._rows) // self._training_defaults.batch_size))
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(),
            lr=self._training_defaults.learning_rate,
            weight_decay=self._training_defaults.weight_decay,
            fused=True,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer,
            partial(
                self._training_defaults.rate,
                num_steps=max(self._steps * self._training_defaults.epochs, 1),
            ),
        )
        self._rank = ray.train.get_context().get_world_rank()
        self._batches = Batches(
            self._learner,
            shard.inputs,
            shard.targets,
            batch_size=self._training_defaults.batch_size,
            num_loaders=settings.workers.cpus_per_gpu - 1,
            seed=settings.seed + number + self._rank,
        )
        # How often each row was seen, then sums of what was observed. On the device, as losses
        # are: fetching them would hold up each step until the one before it is over.
        self._observed = torch.zeros(
            (len(shard.ids), 1 + len(self._learner.observed)), dtype=torch.float64, device=device()
        )
        self._first_epoch = self._restore()

    def fit(self) -> None:
        saved_at = time.monotonic()
        for epoch in range(self._first_epoch, self._training_defaults.epochs):
            loss = self._epoch(epoch)
            due = time.monotonic() - saved_at > self._settings.checkpoint_interval_s
            if epoch + 1 < self._training_defaults.epochs and _any(due):
                self._checkpoint(epoch + 1, loss)
                saved_at = time.monotonic()
        self._finish()

    def _epoch(self, epoch: int) -> float:
        """One pass over the run's rows; mean loss of this worker's."""
        settings = self._settings
        order = np.random.default_rng((settings.seed, self._number, epoch, self._rank)).permutation(
            self._rows
        )
        # Workers with fewer rows begin anew, so that all take the same number of steps.
        order = np.resize(order, max(self._steps * self._training_defaults.batch_size, len(order)))[
            : max(len(order), (self._steps - 1) * self._training_defaults.batch_size + 1)
        ]
        self._model.train()
        losses = [self._step(places, batch) for places, batch in self._batches.of(order)]
        return float(torch.stack(losses).mean())

    def _step(self, places: torch.Tensor, batch: Tensors) -> torch.Tensor:
        """places: of the batch's rows in the shard, [B]. The loss, on the device."""
        places = places.to(device(), non_blocking=True)
        with autocast():
            losses, observed = self._model(to_device(batch))
        loss = weighted_mean(losses.float(), self._shard.weights[places])
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), MAX_GRADIENT_NORM)
        self._optimizer.step()
        self._schedule.step()
        seen = torch.cat([observed.new_ones(len(places), 1), observed], dim=1)
        self._observed.index_add_(0, places, seen.double())
        return loss.detach()

    def _checkpoint(self, epoch: int, loss: float) -> None:
        """Keep the state for a restart. Every worker reports, though rank 0 alone has a file.

        A report takes about two seconds, however small (Ray 2.60), hence none an epoch.
        """
        told = {"run": self._run, "epoch": epoch, "loss": loss}
        if self._rank != 0:
            ray.train.report(told)
            return
        with tempfile.TemporaryDirectory() as local:
            state = {
                "run": self._run,
                "epoch": epoch,
                "learner": self._learner.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "schedule": self._schedule.state_dict(),
            }
            torch.save(state, Path(local) / STATE_FILE)
            ray.train.report(told, checkpoint=Checkpoint.from_directory(local))

    def _restore(self) -> int:
        """Continue this run from the last checkpoint, if it is of this run: the next epoch.

        What was observed before a restart is forgotten; each row's mean is over
        the epochs that were seen.
        """
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return 0
        with checkpoint.as_directory() as local:
            state = torch.load(Path(local) / STATE_FILE, map_location=device(), weights_only=True)
        if state["run"] != self._run:
            return 0
        self._learner.load_state_dict(state["learner"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        return int(state["epoch"])

    def _finish(self) -> None:
        self._store.folder.write(
            f"observed/{self._run}-{self._rank}.parquet", self._observed_file()
        )
        _most(0)  # the run counts as finished only when every worker's observations are kept
        if self._rank == 0:
            self._store.save_run(self._run, self._learner)

    def _observed_file(self) -> bytes:
        """id, num_epochs, and the mean over epochs of each observed quantity."""
        observed = self._observed.cpu().numpy()[self._rows]
        counts = observed[:, 0]
        means = observed[:, 1:] / np.maximum(counts, 1)[:, None]
        table = pa.table(
            {
                "id": self._shard.ids.take(pa.array(self._rows)),
                "num_epochs": counts.astype(np.int32),
                **dict(zip(self._learner.observed, means.T, strict=True)),
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return bytes(sink.getvalue())


def weighted_mean(losses: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Of [B] losses; 0 for a batch whose rows do not count."""
    return (losses * weights).sum() / weights.sum().clamp(min=MIN_BATCH_WEIGHT)


def _training_defaults(own: TrainingDefaults, settings: "TrainConfig") -> TrainingDefaults:
    asked = {
        name: value
        for name in ("epochs", "batch_size", "learning_rate")
        if (value := getattr(settings, name)) is not None
    }
    return TrainingDefaults(**{**vars(own), **asked})


def _most(number: int) -> int:
    """The largest over all workers."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return number
    shared = torch.tensor([number], device=device())
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return int(shared.item())


def _any(due: bool) -> bool:
    """Whether it is due for any worker: all must report together, or none."""
    return bool(_most(int(due)))
