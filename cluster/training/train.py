"""Cross-fitted training on Ray Train: one model a fold, and one on every row.

One TorchTrainer fits the runs one after the other, its workers sharing each
run's gradient steps (gloo on CPUs, nccl on GPUs). Start-up, the read of the
table and the encoding of its rows are thus paid once for all runs. A finished
run is a file and is never fitted again; a killed worker brings all workers back
to the last checkpoint within the run (FailureConfig).
"""

import math
import tempfile
import uuid
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.data
import ray.train
from ray.train import CheckpointConfig, DataConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from cluster.data.folds import Folds
from cluster.data.profile import TableProfile, profile_table
from cluster.data.rows import BATCH_ROWS, Source, rows
from cluster.engine.devices import Workers
from cluster.tasks import model_task
from cluster.training.loop import fit_runs
from cluster.training.model_store import Manifest, ModelStore
from cluster.training.sample_weights import require_written
from relabel_service.errors import InvalidInput
from relabel_service.tables.lineage import decided_keys
from relabel_service.tasks import task_named

MAX_SAMPLE_ROWS = 50_000  # rows that prepare sees (vocabulary, rarity of words)
MIN_CLASSES = 2
MIN_BLOCKS = 8  # for each worker


@dataclass(frozen=True)
class TrainConfig:
    """How to train. What is None follows the learner's own recipe.

    model: Hugging Face id or local path; None for the task's built-in.
    num_folds: 0 fits the one model on every row alone, for when nothing will be mined with it.
    batch_size: rows a worker and step.
    lineage_uri: lineage table of the data set (tables.LINEAGE), to learn from what people decided.
    decided_weight: how many times what other rows count a row counts that people have decided;
    1 forgets who decided. Labels that people looked at again are right far oftener than others.
    doubts_uri: how likely each label is right (doubts.py), by which rows count; all alike if None.
    max_failures: how often dead workers are replaced before giving up.
    checkpoint_interval_s: seconds of a run that may be lost with a worker.
    """

    model: str | None = None
    num_folds: int = 5
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    workers: Workers = field(default_factory=Workers)
    lineage_uri: str | None = None
    reviewed_weight: float = 1.0
    label_confidence_uri: str | None = None
    max_failures: int = 2
    checkpoint_interval_s: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidInput.of(name, f"{value} is too small; use 1 or more")
        if not 1 <= self.reviewed_weight < math.inf:
            raise InvalidInput.of(
                "reviewed_weight", f"{self.reviewed_weight} is no weight; use 1 or more"
            )
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise InvalidInput.of("learning_rate", f"{self.learning_rate} is no rate; use above 0")
        Folds(self.num_folds)

    def told(self) -> dict[str, Any]:
        """What a model depends on: how many workers, and not what feeds them."""
        return {**asdict(self), "workers": self.workers.num}


class _WholeShards(DataConfig):
    """Every row to exactly one worker; the stock configuration drops rows to even out shards."""

    def configure(
        self, datasets: Any, world_size: int, worker_handles: Any, worker_node_ids: Any, **_: Any
    ) -> list[dict[str, Any]]:
        split = {
            name: data.streaming_split(world_size, equal=False, locality_hints=worker_node_ids)
            for name, data in datasets.items()
        }
        return [{name: parts[rank] for name, parts in split.items()} for rank in range(world_size)]


def train(source: Source, settings: TrainConfig, out: str) -> Manifest:
    """Fit every run of a pinned source into the folder `out`; run again, it continues.

    Raises AlreadyExists when the folder holds another training, InvalidInput when
    the data cannot be trained on, NotFound when there are no doubts where they should be.
    """
    store = ModelStore(out)
    store.claim({"source": asdict(source), **settings.told()})
    if store.is_finished():
        return store.manifest()
    if settings.label_confidence_uri is not None:
        require_written(settings.label_confidence_uri)
    seen = profile_table(source)
    _require(source, seen)
    manifest = Manifest(
        source=source,
        model=settings.model,
        classes=tuple(seen.classes),
        num_folds=settings.num_folds,
        num_rows=seen.num_rows - seen.num_faults,
        settings=settings.told(),
        near_duplicates=tuple((int(one), int(group)) for one, group in seen.near_duplicates),
        training_id=uuid.uuid4().hex,
    )
    fit_rows = _fit_rows(source, seen, settings)
    if manifest.num_rows <= MAX_SAMPLE_ROWS:
        fit_rows = fit_rows.materialize()  # prepare sees them all, and they are looked at again
    _prepare(store, manifest, fit_rows)
    _fit(store, manifest, settings, fit_rows)
    store.finish(manifest)
    store.folder.delete("ray")
    return manifest


def _require(source: Source, seen: TableProfile) -> None:
    units = task_named(source.task).units(tuple(seen.classes))
    if not units:
        raise InvalidInput.of(
            source.label_column, "names no class in any row; give labels that name some"
        )
    by_row = list(units) == [""]
    if by_row and seen.classes and len(seen.classes) < MIN_CLASSES:
        raise InvalidInput.of(
            source.label_column,
            f"holds the one class {next(iter(seen.classes))!r}; give two or more",
        )


def _fit_rows(source: Source, seen: TableProfile, settings: TrainConfig) -> "ray.data.Dataset":
    def keep(batch: pa.Table) -> pa.Table:
        return batch.filter(batch["fault"].is_null()).select(["id", "content", "label", "weight"])

    fit = rows(source, repeated=seen.repeated).map_batches(keep, batch_format="pyarrow")
    if settings.reviewed_weight == 1:
        return fit
    decided = pa.array(sorted({row_id for row_id, _ in decided_keys(settings.lineage_uri)}))
    return fit.map_batches(
        partial(_weigh_decided, ids=decided, factor=settings.reviewed_weight),
        batch_format="pyarrow",
    )


def _weigh_decided(batch: pa.Table, *, ids: pa.Array, factor: float) -> pa.Table:
    is_decided = pc.is_in(batch["id"], value_set=ids.cast(pa.string()))
    weight = pc.if_else(is_decided, pc.multiply(batch["weight"], factor), batch["weight"])
    return batch.set_column(batch.schema.get_field_index("weight"), "weight", weight)


def _prepare(store: ModelStore, manifest: Manifest, fit_rows: "ray.data.Dataset") -> None:
    share = min(1.0, MAX_SAMPLE_ROWS / manifest.num_rows)
    drawn = fit_rows if share == 1.0 else fit_rows.random_sample(share, seed=0)
    sample = sorted(drawn.take_all(), key=lambda row: row["id"])
    with tempfile.TemporaryDirectory() as local:
        model_task(manifest.source.task).prepare(
            Path(local),
            model=manifest.model,
            contents=[row["content"] for row in sample],
            labels=[row["label"] for row in sample],
        )
        store.folder.upload(Path(local), "prepared")


def _fit(
    store: ModelStore, manifest: Manifest, settings: TrainConfig, fit_rows: "ray.data.Dataset"
) -> None:
    workers = settings.workers
    if workers.num > 1 and manifest.num_rows < MIN_BLOCKS * workers.num * BATCH_ROWS:
        # Few blocks cannot be shared evenly. More are as they come: to cut them anew holds the
        # whole table at once.
        fit_rows = fit_rows.repartition(MIN_BLOCKS * workers.num)
    trainer = TorchTrainer(
        fit_runs,
        train_loop_config={
            "store": store.folder.address(""),
            "manifest": manifest,
            "settings": settings,
        },
        datasets={"train": fit_rows},
        dataset_config=_WholeShards(),
        scaling_config=ScalingConfig(
            num_workers=workers.num,
            use_gpu=workers.use_gpu,
            resources_per_worker={"CPU": workers.cpus_per_gpu, "GPU": int(workers.use_gpu)},
        ),
        run_config=RunConfig(
            name="fit",
            storage_path=store.folder.address("ray"),
            failure_config=FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    trainer.fit()
