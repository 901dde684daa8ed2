"""Mining: every row is predicted by a model that has not seen it; the worst become findings.

`mine` reads top to bottom as a row's way: table -> scored shards -> statistics of the table ->
suspicion of every row -> findings, unasked rows, audit -> one commit a table. Shards are
small (no probability matrix) and are the units of progress: a repeated run predicts only the rows
that are in none. The findings appear in one commit, once, however often the run is repeated.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict

import pyarrow as pa

from cluster.data.profile import TableProfile, profile_table
from cluster.engine.base import Engine
from cluster.interfaces import VIEW
from cluster.io.folder import Folder
from cluster.io.run_folder import run_folder
from cluster.mining.config import MineConfig, MineResult
from cluster.mining.findings import ShardRows, write_tables
from cluster.mining.predict import predict_missing, row_features, views_of
from cluster.mining.rank import rank, score_shards
from cluster.mining.reuse import require_same, scored_by, write_scored_by
from cluster.mining.scored_shards import ENSEMBLE, SCORED, ScoredTable, scored_shards
from cluster.mining.table_stats import (
    STATS,
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


def mine(config: MineConfig, engine: Engine) -> MineResult:
    """Score every row and commit the worst as findings. Idempotent: a run that is finished returns
    its stored result.

    Raises RowsLost when rows in are not rows out, Conflict when the findings table keeps changing,
    NotFound when the training or the predictions to reuse are not there, InvalidInput when those
    were made otherwise, or a table of other columns lies where an output is to be.
    """
    run = config.folder
    if run.exists(RESULT):
        return MineResult(**json.loads(run.read(RESULT)))

    # Whatever can be said to be wrong is said before any row is read.
    manifest = ModelStore(config.store_uri).manifest()
    scoring, units = config.scoring(manifest), config.asked_units(manifest)
    features = row_features(engine, config, manifest, scoring)
    _prepare_outputs(config, manifest)

    times = [time.monotonic()]
    profile = profile_table(engine, config.source)
    times.append(time.monotonic())

    views, notes = views_of(engine, config, manifest, features, repeated=profile.repeated)
    num_reused = predict_missing(
        engine, config, manifest, features, views, repeated=profile.repeated
    )
    table = ScoredTable(engine, run, scored_shards(run), scoring)
    times.append(time.monotonic())

    num_units = len(task_named(config.source.task).units(manifest.classes))
    num_valid = profile.num_rows - profile.num_faults
    summaries = summarize_shards(table, num_scored=num_valid * num_units)
    num_scored = sum(summary.num_scored for summary in summaries) // num_units
    num_faults = sum(summary.num_faults for summary in summaries)
    _require_every_row(config, profile, num_scored=num_scored, num_faults=num_faults)
    stats = compute_stats(table, summaries)
    draw_seed = config.run_id if config.num_audit else None
    scores = score_shards(
        table,
        stats,
        units=units,
        decided=config.decided,
        draw_seed=draw_seed,
        each_copy=config.each_copy,
    )
    limit, least = config.selection.limit(num_scored), config.selection.least
    ranked = rank(table, scores, limit=limit, least=least)
    findings, unasked = ranked.findings, unasked_rows(scores, ranked.covered)
    audit = draw_audit(unasked, config.num_audit)
    rows = [
        ShardRows(shard, summary.num_faults > 0, {"findings": worst, "audit": drawn})
        for shard, summary, worst, drawn in zip(
            table.shards, summaries, findings, audit, strict=True
        )
    ]
    write_tables(table, rows, config, stats)
    times.append(time.monotonic())

    num_audit = _num_rows(audit)
    result = MineResult(
        run_id=config.run_id,
        dataset_version=config.source.version,
        num_rows=profile.num_rows,
        num_scored=num_scored,
        num_quarantined=num_faults,
        num_repeated_ids=len(profile.repeated),
        num_findings=_num_rows(findings),
        num_reused=num_reused,
        num_feedback=config.feedback.num_answers,
        num_audit=num_audit,
        audit_uri=config.audit_uri if num_audit else "",
        unasked_histogram=unasked_histogram(unasked),
        noise_matrix=_noise_matrix(config.source.task, stats),
        classes=list(manifest.classes),
        warnings=[*profile.warnings, *notes, *_in_sample(config, stats)],
        label_counts=dict(profile.classes),
        source=json.loads(json.dumps(asdict(config.source))),  # as a repeated run reads it
        training=config.store_uri,
        seconds={
            name: end - start
            for name, start, end in zip(
                ("profile", "predict", "rank"), times[:-1], times[1:], strict=True
            )
        },
    )
    _finish(config, run, stats, result)
    return result


def delete_predictions(findings_uri: str, run_id: str) -> None:
    """Delete the scored rows that a run kept, and what was computed from them; its findings and
    its result stay."""
    run = run_folder(findings_uri, run_id)
    for name in (SCORED, ENSEMBLE, STATS.partition("/")[0]):
        run.delete(name)


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


def _finish(config: MineConfig, run: Folder, stats: TableStats, result: MineResult) -> None:
    """Keep the result, and what later runs ask for; delete the other intermediate files."""
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
