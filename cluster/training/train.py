"""Cross-fitted training: one model a fold, and one on every row.

Start-up, the read of the table and the encoding of its rows are paid once for all runs of a
training, and trainings that do not depend on each other are fitted together (train_all).
"""

import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cluster.data.folds import id_keys
from cluster.data.profile import TableProfile, profile_table
from cluster.data.rows import Source, rows
from cluster.engine.base import Batches, Engine, Fit
from cluster.tasks import model_task
from cluster.training.config import TrainConfig
from cluster.training.model_store import Manifest, ModelStore
from cluster.training.runs import CHECKPOINTS, RunFitter
from cluster.training.sample_weights import require_written
from relabel_service.errors import InvalidInput
from relabel_service.tables.lineage import Decided, decided_by_people
from relabel_service.tasks import task_named

MAX_SAMPLE_ROWS = 50_000  # rows that prepare sees (vocabulary, rarity of words)
MIN_CLASSES = 2
ENGINE_FILES = "engine"


@dataclass(frozen=True)
class TrainRequest:
    """A pinned source, how to train on it, and the folder of the training."""

    source: Source
    config: TrainConfig
    out: str


def train(source: Source, config: TrainConfig, out: str, engine: Engine) -> Manifest:
    """Fit every run of a pinned source into the folder `out`; run again, it continues.

    Raises AlreadyExists when the folder holds another training, InvalidInput when
    the data cannot be trained on, NotFound when there is no label confidence where it should be.
    """
    return train_all([TrainRequest(source, config, out)], engine)[0]


def without_models(source: Source, config: TrainConfig, out: str, engine: Engine) -> Manifest:
    """A training of no models: what mining needs to know of the table where all predictions are
    others' (MineConfig.predictions_only).

    Raises AlreadyExists and InvalidInput as train.
    """
    store = ModelStore(out)
    store.claim({"source": asdict(source), "models": None})
    if not store.is_finished():
        store.finish(_manifest(source, config, profile_table(engine, source)))
    return store.manifest()


def train_all(requests: Sequence[TrainRequest], engine: Engine) -> list[Manifest]:
    """Trainings that do not depend on each other, fitted together; as train, for each."""
    prepared = [_prepared(request, engine) for request in requests]
    fits = [fit for _, fit in prepared if fit is not None]
    if fits:
        workers = requests[0].config.workers
        max_failures = requests[0].config.max_failures
        engine.fit(fits, workers=workers, max_failures=max_failures)
    for request, (manifest, fit) in zip(requests, prepared, strict=True):
        if fit is not None:
            store = ModelStore(request.out)
            store.finish(manifest)
            store.folder.delete(ENGINE_FILES)
            store.folder.delete(CHECKPOINTS)
    return [manifest for manifest, _ in prepared]


def _prepared(request: TrainRequest, engine: Engine) -> tuple[Manifest, Fit | None]:
    """What the training will be, and what is left to fit; None where it is finished."""
    source, config, store = request.source, request.config, ModelStore(request.out)
    store.claim({"source": asdict(source), **config.to_dict()})
    if store.is_finished():
        return store.manifest(), None
    if config.label_confidence_uri is not None:
        require_written(config.label_confidence_uri)
    profile = profile_table(engine, source, near_duplicates=config.num_folds > 0)
    manifest = _manifest(source, config, profile)
    valid = _valid_rows(engine, source, profile, config)
    if manifest.num_rows <= MAX_SAMPLE_ROWS:
        valid = valid.cache()  # prepare sees them all, and they are looked at again
    manifest = _prepare_models(store, manifest, valid)
    fitter = RunFitter(store.folder.address(""), manifest, config)
    work_uri = store.folder.address(ENGINE_FILES)
    return manifest, Fit(valid, tuple(manifest.runs), fitter, manifest.num_rows, work_uri)


def _manifest(source: Source, config: TrainConfig, profile: TableProfile) -> Manifest:
    """What a training of the table will be. Raises InvalidInput where labels name too little."""
    _require_classes(source, profile)
    return Manifest(
        source=source,
        model=config.model,
        classes=tuple(profile.classes),
        num_folds=config.num_folds,
        num_rows=profile.num_rows - profile.num_faults,
        settings=config.to_dict(),
        near_duplicates=tuple((int(row), int(group)) for row, group in profile.near_duplicates),
        training_id=uuid.uuid4().hex,
        warnings=(*profile.warnings, *profile.left_out),
    )


def _require_classes(source: Source, profile: TableProfile) -> None:
    task = task_named(source.task)
    left_out = "".join(f" ({sentence})" for sentence in profile.left_out)
    if task.per_class and not profile.classes:
        raise InvalidInput.of(
            source.label_column, f"names no class in any row; give labels that name some{left_out}"
        )
    if not task.per_class and profile.classes and len(profile.classes) < MIN_CLASSES:
        raise InvalidInput.of(
            source.label_column,
            f"holds the one class {next(iter(profile.classes))!r}; give two or more{left_out}",
        )


def _valid_rows(
    engine: Engine, source: Source, profile: TableProfile, config: TrainConfig
) -> Batches:
    """id, content, label and weight of the rows that are trained on."""
    valid = rows(engine, source, repeated=profile.repeated).map(_valid)
    if config.reviewed_weight == 1:
        return valid
    decided = decided_by_people(config.lineage_uri).of_rows()
    return valid.map(partial(_weigh_reviewed, decided=decided, factor=config.reviewed_weight))


def _valid(batch: pa.Table) -> pa.Table:
    return batch.filter(batch["fault"].is_null()).select(["id", "content", "label", "weight"])


def _weigh_reviewed(batch: pa.Table, *, decided: Decided, factor: float) -> pa.Table:
    ids, contents = batch["id"].to_pylist(), batch["content"]
    is_decided = pa.array(decided.mask(ids, [""] * len(ids), contents.to_pylist))
    weight = pc.if_else(is_decided, pc.multiply(batch["weight"], factor), batch["weight"])
    return batch.set_column(batch.schema.get_field_index("weight"), "weight", weight)


def _prepare_models(store: ModelStore, manifest: Manifest, valid: Batches) -> Manifest:
    """Have the task learn what models need besides weights, from a sample of the rows; returns the
    manifest with what it has chosen."""
    share = min(1.0, MAX_SAMPLE_ROWS / manifest.num_rows)
    sample = valid.map(partial(_sample, share=share)).to_table().sort_by("id")
    with tempfile.TemporaryDirectory() as local:
        task, labels = model_task(manifest.source.task), sample["label"].to_pylist()
        tokenize = task.prepare_tokenizer(Path(local), manifest.settings["tokenize"], labels)
        task.prepare(
            Path(local),
            model=manifest.model,
            contents=sample["content"].to_pylist(),
            labels=labels,
        )
        store.folder.upload(Path(local), "prepared")
    return replace(manifest, tokenize=tokenize)


def _sample(batch: pa.Table, *, share: float) -> pa.Table:
    """About this share of the rows, chosen by their ids: the same on any engine."""
    if share >= 1:
        return batch
    return batch.filter(pa.array(id_keys(batch["id"]) < share * 2.0**64))
