"""Scored shards: every row of the table predicted by a model that has not seen it.

Only rows that are in no shard yet are predicted, so a run that was cut off goes on where it was,
and a run may start with the shards of an earlier one (reuse.py).
"""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from cluster.data.folds import IdKeys
from cluster.data.rows import Source, rows
from cluster.engine.base import Batches, Engine
from cluster.inference.embeddings import Embedder
from cluster.inference.predict import Predictor, Sampling, score_batch
from cluster.io.run_folder import run_folder
from cluster.io.shards import NotIn, read_shard
from cluster.mining.config import MineConfig
from cluster.mining.reuse import add_content_keys, reuse_predictions
from cluster.mining.row_features import RowFeatureConfig, RowFeatures
from cluster.mining.scored_shards import FAULT, SCORED, scored_shards
from cluster.mining.scoring import Scoring
from cluster.predictions.views import Predict, Views, form_of, prepare_views
from cluster.training.model_store import Manifest
from relabel_service.errors import InvalidInput

TRIED_ROWS = 100  # to find a valid one; if there is none, the encoder fails later


class RowScorer:
    """ROWS -> scored rows, with the row features that an ensemble uses, where there is one.

    views: predictions of others, pooled with the training's or instead of them.
    """

    def __init__(
        self,
        store_uri: str,
        sampling: Sampling,
        features: RowFeatureConfig | None,
        views: Views | None,
    ) -> None:
        self._features = features and RowFeatures(store_uri, features)
        self._views = None if views is None else views.load()
        own = None if views and views.is_alone else Predictor(store_uri, sampling)
        self._predict: Predict
        if self._views is not None and (own is None or features is None):
            self._predict = self._views.predict(None if own is None else own.predict)
        else:
            assert own is not None
            self._predict = own.predict
        self._score = own.score_predictions if own else partial(_score_alone, views)

    def __call__(self, batch: pa.Table) -> pa.Table:
        scored = score_batch(batch, self._predict, self._score)
        if self._features and scored.num_rows:
            scored = self._features(scored)
            if self._views is not None:
                scored = self._views.add_columns(scored)
        return scored


def _score_alone(
    views: Views | None, predictions: Sequence[Any], labels: Sequence[str], contents: Sequence[str]
) -> pa.Table:
    assert views is not None
    return views.form.score(predictions, labels, contents, views.classes)


def predict_missing(
    engine: Engine,
    config: MineConfig,
    manifest: Manifest,
    features: RowFeatureConfig | None,
    views: Views | None = None,
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
    load = partial(RowScorer, config.store_uri, config.inference.sampling, features, views)
    scored = config.inference.map(_missing(batches, config), load)
    scored.write_shards(run, SCORED, attempt=uuid.uuid4().hex[:8])
    return num_reused


def views_of(
    engine: Engine,
    config: MineConfig,
    manifest: Manifest,
    features: RowFeatureConfig | None,
    *,
    repeated: IdKeys,
) -> tuple[Views | None, list[str]]:
    """Predictions of others, ready for workers, and what the user should know of them; None where
    the run has none. Raises as prepare_views."""
    if not config.predictions:
        return None, []
    form_of(config.source.task)
    batches = rows(engine, config.source, classes=manifest.classes, repeated=repeated)
    own = None
    if features is None and not config.predictions_only:
        own = Predictor(config.store_uri, config.inference.sampling).predict
    return prepare_views(
        config.predictions,
        batches.map(_valid_rows).to_table(),
        task=config.source.task,
        classes=manifest.classes,
        id_column=config.source.id_column,
        folder=config.folder,
        is_alone=config.predictions_only,
        learns=features is None,
        predict=own,
    )


def _valid_rows(batch: pa.Table) -> pa.Table:
    return batch.filter(batch[FAULT].is_null()).select(["id", "content", "label"])


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
    has_dynamics = mined == trained and not config.predictions_only
    return RowFeatureConfig(encoder=config.encoder, has_dynamics=has_dynamics)


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
