"""Mining: every row is predicted by a model that has not seen it; the worst become findings.

`mine` reads top to bottom as a row's way: table -> scored shards -> statistics of the table ->
suspicion of every row -> findings, unasked rows, audit -> one commit a table. Shards are
small (no probability matrix) and are the units of progress: a repeated run predicts only the rows
that are in none. The findings appear in one commit, once, however often the run is repeated.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import pyarrow as pa

from cluster.data.profile import TableProfile, profile_table
from cluster.engine.base import Engine
from cluster.interfaces import VIEW
from cluster.io.run_folder import run_folder
from cluster.mining.config import MineConfig, MineResult
from cluster.mining.findings import ShardRows, write_tables
from cluster.mining.predict import predict_missing, row_features, views_of
from cluster.mining.rank import rank, score_shards
from cluster.mining.reuse import require_same, scored_by, write_scored_by
from cluster.mining.row_features import RowFeatureConfig
from cluster.mining.scored_shards import ENSEMBLE, SCORED, ScoredTable, scored_shards
from cluster.mining.scoring import Scoring
from cluster.mining.table_stats import (
    STATS,
    ShardSummary,
    TableStats,
    compute_stats,
    summarize_shards,
)
from cluster.mining.unasked import draw_audit, unasked_histogram, unasked_rows
from cluster.predictions.views import in_sample_warnings
from cluster.tasks import model_task
from cluster.training.model_store import Manifest, ModelStore
from relabel_service.errors import RelabelError
from relabel_service.tables import delta
from relabel_service.tasks import task_named

RESULT = "result.json"


class RowsLost(RelabelError):
    """Fewer or more rows came out than went in; nothing was committed."""


@dataclass(frozen=True)
class Models:
    """What a run predicts and scores with, known before any row is read."""

    manifest: Manifest
    scoring: Scoring
    units: frozenset[str]
    features: RowFeatureConfig | None


@dataclass(frozen=True)
class Predicted:
    """The scored rows of the whole table. num_reused: of them, an earlier run's. notes: what the
    user should know of others' predictions."""

    table: ScoredTable
    num_reused: int
    notes: Sequence[str]


@dataclass(frozen=True)
class Counted:
    """The scored shards' rows, each accounted for. num_scored, num_faults: rows of the table."""

    summaries: Sequence[ShardSummary]
    num_scored: int
    num_faults: int


@dataclass(frozen=True)
class Chosen:
    """The rows that people are asked about, and what is known of the others.

    shards: of each shard, the rows that go into tables.
    """

    stats: TableStats
    shards: Sequence[ShardRows]
    num_findings: int
    num_audit: int
    unasked_histogram: list[int]


def mine(config: MineConfig, engine: Engine) -> MineResult:
    """Score every row and commit the worst as findings. Idempotent: a run that is finished returns
    its stored result.

    Raises RowsLost when rows in are not rows out, Conflict when the findings table keeps changing,
    NotFound when the training or the predictions to reuse are not there, InvalidInput when those
    were made otherwise, or a table of other columns lies where an output is to be.
    """
    if config.folder.exists(RESULT):
        return MineResult(**json.loads(config.folder.read(RESULT)))
    models = _prepare(config, engine)  # whatever can be said to be wrong is said here
    seconds: dict[str, float] = {}
    with _timed(seconds, "profile"):
        profile = profile_table(engine, config.source)
    with _timed(seconds, "predict"):
        predicted = _predict(config, engine, models, profile)
    with _timed(seconds, "rank"):
        counted = _count(config, models, profile, predicted.table)
        chosen = _choose(config, models, predicted.table, counted)
        write_tables(predicted.table, chosen.shards, config, chosen.stats)
    result = _result(config, models, profile, predicted, counted, chosen, seconds)
    _finish(config, chosen.stats, result)
    return result


def delete_predictions(findings_uri: str, run_id: str) -> None:
    """Delete the scored rows that a run kept, and what was computed from them; its findings and
    its result stay."""
    run = run_folder(findings_uri, run_id)
    for name in (SCORED, ENSEMBLE, STATS.partition("/")[0]):
        run.delete(name)


def _prepare(config: MineConfig, engine: Engine) -> Models:
    """The models; the outputs' tables are made."""
    manifest = ModelStore(config.store_uri).manifest()
    scoring, units = config.scoring(manifest), config.asked_units(manifest)
    features = row_features(engine, config, manifest, scoring)
    _prepare_outputs(config, manifest)
    return Models(manifest, scoring, units, features)


def _predict(
    config: MineConfig, engine: Engine, models: Models, profile: TableProfile
) -> Predicted:
    """Predict the rows that are in no shard yet."""
    manifest, features, repeated = models.manifest, models.features, profile.repeated
    views, notes = views_of(engine, config, manifest, features, repeated=repeated)
    num_reused = predict_missing(engine, config, manifest, features, views, repeated=repeated)
    run = config.folder
    return Predicted(
        ScoredTable(engine, run, scored_shards(run), models.scoring), num_reused, notes
    )


def _count(
    config: MineConfig, models: Models, profile: TableProfile, table: ScoredTable
) -> Counted:
    """Summarize the shards. Raises RowsLost unless they hold as many rows as the table."""
    num_units = len(task_named(config.source.task).units(models.manifest.classes))
    num_valid = profile.num_rows - profile.num_faults
    summaries = summarize_shards(table, num_scored=num_valid * num_units)
    num_scored = sum(summary.num_scored for summary in summaries) // num_units
    num_faults = sum(summary.num_faults for summary in summaries)
    _require_every_row(config, profile, num_scored=num_scored, num_faults=num_faults)
    return Counted(summaries, num_scored, num_faults)


def _choose(config: MineConfig, models: Models, table: ScoredTable, counted: Counted) -> Chosen:
    """Rank the rows of the whole table; the worst are findings, some of the others an audit."""
    stats = compute_stats(table, counted.summaries)
    scores = score_shards(
        table,
        stats,
        units=models.units,
        decided=config.decided,
        draw_seed=config.run_id if config.num_audit else None,
        each_copy=config.each_copy,
    )
    limit = config.selection.limit(counted.num_scored)
    ranked = rank(table, scores, limit=limit, least=config.selection.least)
    unasked = unasked_rows(scores, ranked.covered)
    audit = draw_audit(unasked, config.num_audit)
    shards = [
        ShardRows(shard, summary.num_faults > 0, {"findings": worst, "audit": drawn})
        for shard, summary, worst, drawn in zip(
            table.shards, counted.summaries, ranked.findings, audit, strict=True
        )
    ]
    return Chosen(
        stats, shards, _num_rows(ranked.findings), _num_rows(audit), unasked_histogram(unasked)
    )


def _result(
    config: MineConfig,
    models: Models,
    profile: TableProfile,
    predicted: Predicted,
    counted: Counted,
    chosen: Chosen,
    seconds: dict[str, float],
) -> MineResult:
    """The run's result. seconds: of each step."""
    return MineResult(
        run_id=config.run_id,
        dataset_version=config.source.version,
        num_rows=profile.num_rows,
        num_scored=counted.num_scored,
        num_quarantined=counted.num_faults,
        num_repeated_ids=len(profile.repeated),
        num_findings=chosen.num_findings,
        num_reused=predicted.num_reused,
        num_feedback=config.feedback.num_answers,
        num_audit=chosen.num_audit,
        audit_uri=config.audit_uri if chosen.num_audit else "",
        unasked_histogram=chosen.unasked_histogram,
        noise_matrix=_noise_matrix(config.source.task, chosen.stats),
        classes=list(models.manifest.classes),
        warnings=[*profile.warnings, *predicted.notes, *_in_sample(config, chosen.stats)],
        label_counts=dict(profile.classes),
        source=json.loads(json.dumps(asdict(config.source))),  # as a repeated run reads it
        training=config.store_uri,
        seconds=seconds,
    )


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[step] = time.monotonic() - started


def _prepare_outputs(config: MineConfig, manifest: Manifest) -> None:
    """Make the outputs' tables, and see that the predictions to reuse are the same models'."""
    for name, (uri, schema) in config.outputs.items():
        delta.prepare(name, uri, schema)
    made_by = scored_by(config, manifest)
    if config.reuse_run is not None:
        require_same(run_folder(config.findings_uri, config.reuse_run), made_by)
    if config.keep_predictions:
        write_scored_by(config.folder, made_by)


def _require_every_row(
    config: MineConfig, profile: TableProfile, *, num_scored: int, num_faults: int
) -> None:
    """Raises RowsLost unless the shards hold as many rows as the table."""
    if num_scored + num_faults != profile.num_rows:
        raise RowsLost(
            f"run {config.run_id!r}: {profile.num_rows} rows in, but {num_scored} scored and "
            f"{num_faults} quarantined; remove {config.folder.uri!r} and run again"
        )


def _finish(config: MineConfig, stats: TableStats, result: MineResult) -> None:
    """Keep the result, and what later runs ask for; delete the other intermediate files."""
    run = config.folder
    if config.keep_predictions:
        stats.write(run)
    run.write(RESULT, json.dumps(asdict(result), indent=2).encode())
    if not config.keep_predictions:
        delete_predictions(config.findings_uri, config.run_id)


def _noise_matrix(task_name: str, stats: TableStats) -> list[list[float]]:
    matrix = model_task(task_name).noise_matrix(stats.sums) if stats.sums else None
    rows: list[list[float]] = [] if matrix is None else matrix.tolist()
    return rows


def _in_sample(config: MineConfig, stats: TableStats) -> list[str]:
    """What to say of predictions that fit the labels too well, where an ensemble has weighed
    them."""
    losses = [
        stats.weights.get(f"{VIEW}{number}_log_loss") for number in range(len(config.predictions))
    ]
    others = [float(loss) for loss in losses if loss is not None]
    if config.predictions_only or not others:
        return []
    return in_sample_warnings(float(stats.weights["model_log_loss"]), others, config.predictions)


def _num_rows(of_shards: Sequence[pa.Table]) -> int:
    return sum(chosen.num_rows for chosen in of_shards)
