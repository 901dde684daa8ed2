"""Scored shards: every row of the table predicted by a model that has not seen it.

Only rows that are in no shard yet are predicted, so a run that was cut off goes on where it was,
and a run may start with the shards of an earlier one (reuse.py).
"""

import uuid
from dataclasses import replace
from functools import partial

import pyarrow as pa

from cluster.data.folds import IdKeys
from cluster.data.rows import Source, rows
from cluster.engine.base import Batches, Engine
from cluster.inference.embeddings import Embedder
from cluster.inference.predict import Predictor, Sampling
from cluster.io.run_folder import run_folder
from cluster.io.shards import NotIn, read_shard
from cluster.mining.config import MineConfig
from cluster.mining.reuse import add_content_keys, reuse_predictions
from cluster.mining.row_features import RowFeatureConfig, RowFeatures
from cluster.mining.scored_shards import FAULT, SCORED, scored_shards
from cluster.mining.scoring import Scoring
from cluster.training.model_store import Manifest
from relabel_service.errors import InvalidInput

TRIED_ROWS = 100  # to find a valid one; if there is none, the encoder fails later


class RowScorer:
    """ROWS -> scored rows, with the row features that an ensemble uses, where there is one."""

    def __init__(
        self, store_uri: str, sampling: Sampling, features: RowFeatureConfig | None
    ) -> None:
        self._predictor = Predictor(store_uri, sampling)
        self._features = features and RowFeatures(store_uri, features)

    def __call__(self, batch: pa.Table) -> pa.Table:
        scored = self._predictor.score(batch)
        return self._features(scored) if self._features else scored


def predict_missing(
    engine: Engine,
    config: MineConfig,
    manifest: Manifest,
    features: RowFeatureConfig | None,
    *,
    repeated: IdKeys,
) -> int:
    """Write the scored rows that are in no shard yet; how many predictions are an earlier run's."""
    run = config.folder
    batches = rows(engine, config.source, classes=manifest.classes, repeated=repeated)
    if config.keep_predictions or config.reuse_run is not None:
        batches = batches.map(add_content_keys)
    num_reused = 0
    if config.reuse_run is not None:
        num_reused = reuse_predictions(
            engine,
            batches,
            reuse_run=run_folder(config.findings_uri, config.reuse_run),
            run=run,
            keep_dynamics=features is not None and features.has_dynamics,
        )
    load = partial(RowScorer, config.store_uri, config.inference.sampling, features)
    scored = config.inference.map(_missing(batches, config), load)
    scored.write_shards(run, SCORED, attempt=uuid.uuid4().hex[:8])
    return num_reused


def row_features(
    engine: Engine, config: MineConfig, manifest: Manifest, scoring: Scoring
) -> RowFeatureConfig | None:
    """What is added to scored rows for the ensemble; None without an ensemble.

    Raises InvalidInput when there is an encoder that nothing would use, or that does not load.
    """
    if scoring.ensemble is None:
        if config.encoder is not None:
            raise InvalidInput.of(
                "encoder",
                f"{config.encoder!r} is given, but {config.source.task} ranked so has no use for "
                "it; leave it out",
            )
        return None
    if config.encoder is not None:
        _try_encoder(engine, config.source, config.encoder)
    # Training dynamics are about the labels that training saw.
    mined, trained = (
        replace(source, weight_column=None) for source in (config.source, manifest.source)
    )
    return RowFeatureConfig(encoder=config.encoder, has_dynamics=mined == trained)


def _missing(batches: Batches, config: MineConfig) -> Batches:
    run = config.folder
    written = [read_shard(run, shard, ["id", FAULT]) for shard in scored_shards(run)]
    if not written:
        return batches
    return batches.map(NotIn(pa.concat_tables(written, promote_options="permissive")))


def _try_encoder(engine: Engine, source: Source, encoder: str) -> None:
    """Raises InvalidInput when it does not load, or is not for contents like these."""
    tried = rows(engine, source).take(TRIED_ROWS)
    contents = tried.filter(tried[FAULT].is_null())["content"].to_pylist()
    for content in contents[:1]:
        Embedder.check(source.task, content, encoder)
        Embedder(source.task, encoder)([content])
