"""Mining: every row predicted by a model that has not seen it, the worst written as findings.

    table --Ray Data--> judged parts --tasks--> what the whole tells, each part's worst --> findings

Judged parts are small (no probability matrix) and are the units of progress: a
run that is repeated judges only what is missing. Suspicion needs sums over the
whole table, and weights of the models that predict a row, so it looks at the parts again. The
findings appear in one Delta commit, once, however often the run is repeated.
"""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import pyarrow as pa

from cluster.data.profile import profile_table
from cluster.data.rows import Source, rows
from cluster.engine.base import Engine
from cluster.inference.embeddings import Embedder
from cluster.inference.predict import InferenceConfig, Predictor, Sampling
from cluster.io.folder import Folder
from cluster.io.run_folder import require_name, work_folder
from cluster.io.shards import not_in_shards, read_shard, shard_names
from cluster.mining import label_confidence
from cluster.mining.rank import (
    Scoring,
    TableStats,
    compute_stats,
    count,
    rank,
    write_findings,
    write_quarantine,
)
from cluster.mining.reuse import SCORED_BY, add_content_keys, require_same, reuse_predictions
from cluster.mining.row_features import RowFeatureConfig, RowFeatures
from cluster.mining.selection import Selection
from cluster.mining.unasked import rest
from cluster.scores.feedback import Feedback
from cluster.tasks import model_task
from cluster.training import sample_weights
from cluster.training.model_store import Manifest, ModelStore
from relabel_service.errors import InvalidInput, NotFound, RelabelError
from relabel_service.tables import delta, schemas
from relabel_service.tasks import task_named

SCORED, MINED = "judged", "mined.json"
TRIED_ROWS = 100  # among which one is fit, or the encoder's faults show later


class RowsLost(RelabelError):
    """Other than the rows that went in came out; nothing was committed."""


@dataclass(frozen=True)
class MineConfig:
    """One run over a pinned source with a finished training.

    decided: id and unit of what people have decided already; scored, but not asked again.
    units: classes that findings may be about, for tasks that go class by class; all when empty.
    disagreement: the signal to rank by, where the task has several; None for its own suspicion.
    encoder: Hugging Face id or local path of a network whose embeddings give a second
    model of a row, for tasks with an ensemble; None goes without.
    num_audit: random rows of those not asked about, to be written as findings of the table
    `<findings_uri>-audit`: what people find in them tells how many errors are left.
    feedback: what people's answers so far teach about suspicion (answers.learned).
    keep_judgements: leave what was judged for later runs. since: such an earlier run of the same
    training into the same table; only rows that are new or changed since are predicted.
    """

    source: Source
    store_uri: str
    findings_uri: str
    quarantine_uri: str
    run_id: str
    selection: Selection = field(default_factory=Selection)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    decided: frozenset[tuple[str, str]] = frozenset()
    units: tuple[str, ...] = ()
    disagreement: str | None = None
    encoder: str | None = None
    num_audit: int = 0
    feedback: Feedback = field(default_factory=Feedback)
    keep_predictions: bool = False
    reuse_run: str | None = None

    @property
    def audit_uri(self) -> str:
        return delta.audit_of(self.findings_uri)

    def __post_init__(self) -> None:
        if self.num_audit < 0:
            raise InvalidInput.of("audit", f"{self.num_audit} rows; give 0 or more")
        require_name(self.run_id)
        if self.reuse_run == self.run_id:
            raise InvalidInput.of(
                "reuse_run", f"{self.reuse_run!r} is this run; name an earlier one"
            )

    @property
    def outputs(self) -> Mapping[str, tuple[str, pa.Schema]]:
        """Where the run's tables are, and what they hold. Findings come last, for they mean that
        the run is whole."""
        audit = {"audit": (self.audit_uri, schemas.FINDINGS)} if self.num_audit else {}
        return {
            "quarantine": (self.quarantine_uri, schemas.QUARANTINE),
            **audit,
            "findings": (self.findings_uri, schemas.FINDINGS),
        }


@dataclass(frozen=True)
class MineResult:
    """What a run did, in rows of the data set: num_rows = num_scored + num_quarantined.

    num_taken_over: scored rows whose judgement is of the run `since`. rest: rows (and units)
    that were neither found nor decided before, counted by suspicion in bins alike in width
    over [0, 1]. audit_uri: where a sample of num_audit of them is; empty without one.
    num_answers: that feedback had learned from.
    noise_matrix: P(label | true class) by the model, rows sum to 1, where the task tells.
    """

    run_id: str
    dataset_version: int | None
    num_rows: int
    num_scored: int
    num_quarantined: int
    num_repeated_ids: int
    num_findings: int
    num_reused: int = 0
    num_answers: int = 0
    num_audit: int = 0
    audit_uri: str = ""
    rest: Sequence[int] = ()
    noise_matrix: Sequence[Sequence[float]] = ()
    classes: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


class _Scorer:
    """A Ray Data actor: ROWS -> judged rows, and what an ensemble needs where there is one."""

    def __init__(self, store_uri: str, sampling: Sampling, beside: RowFeatureConfig | None) -> None:
        self._predictor = Predictor(store_uri, sampling)
        self._beside = beside and RowFeatures(store_uri, beside)

    def __call__(self, batch: pa.Table) -> pa.Table:
        scored = self._predictor.score(batch)
        return self._beside(scored) if self._beside else scored


def mine(mining: MineConfig, engine: Engine) -> MineResult:
    """Score every row and commit the worst as findings. Run again, it tells what it told.

    Raises RowsLost when rows in are not rows out, Conflict when the findings
    table keeps changing, NotFound when the training or what `since` judged is not there,
    InvalidInput when that was judged otherwise, or a table of other columns lies where the
    findings, the quarantine or the audit are to be.
    """
    work = work_folder(mining.findings_uri, mining.run_id)
    if work.exists(MINED):
        return MineResult(**json.loads(work.read(MINED)))
    manifest = ModelStore(mining.store_uri).manifest()
    scoring = _scoring(mining, manifest, work)
    beside = _beside(engine, mining, manifest, scoring)
    for name, (uri, schema) in mining.outputs.items():
        delta.prepare(name, uri, schema)
    score = _scored_by(mining, manifest)
    if mining.reuse_run is not None:
        require_same(work_folder(mining.findings_uri, mining.reuse_run), SCORED, score)
    # Parts that are there already may be of a try that gave rows no keys.
    if mining.keep_predictions and not shard_names(work, SCORED):
        work.write(SCORED_BY, json.dumps(score, indent=2).encode())
    times = [time.monotonic()]

    seen = profile_table(engine, mining.source)
    times.append(time.monotonic())
    num_reused = _score(engine, mining, manifest, work, seen.repeated, beside)
    times.append(time.monotonic())

    parts = shard_names(work, SCORED)
    counted = count(scoring, parts)
    num_scored = counted["judged"] // len(task_named(mining.source.task).units(manifest.classes))
    if num_scored + counted["unfit"] != seen.num_rows:
        raise RowsLost(
            f"run {mining.run_id!r}: {seen.num_rows} rows in, but {num_scored} scored and "
            f"{counted['unfit']} quarantined; remove {work.uri!r} and run again"
        )
    units = _units(mining, manifest)
    known = compute_stats(scoring, parts, num_rows=counted["judged"])
    places = rank(
        scoring,
        parts,
        known=known,
        limit=mining.selection.limit(num_scored),
        least=mining.selection.least,
        units=units,
        decided=mining.decided,
    )
    left = rest(
        scoring,
        places,
        known=known,
        num_audit=mining.num_audit,
        units=units,
        decided=mining.decided,
    )
    _commit(mining, scoring, parts, places, left.audit, known)
    times.append(time.monotonic())
    mined = MineResult(
        run_id=mining.run_id,
        dataset_version=mining.source.version,
        num_rows=seen.num_rows,
        num_scored=num_scored,
        num_quarantined=counted["unfit"],
        num_repeated_ids=len(seen.repeated),
        num_findings=_num_rows(places),
        num_reused=num_reused,
        num_answers=scoring.feedback.num_answers,
        num_audit=_num_rows(left.audit),
        audit_uri=mining.audit_uri if _num_rows(left.audit) else "",
        rest=left.counts.tolist(),
        noise_matrix=_noise_matrix(scoring, known),
        classes=list(manifest.classes),
        seconds={
            name: end - start
            for name, start, end in zip(
                ("survey", "judge", "rank"), times[:-1], times[1:], strict=True
            )
        },
    )
    work.write(MINED, json.dumps(asdict(mined), indent=2).encode())
    if not mining.keep_predictions:
        work.delete(SCORED)
    return mined


def write_label_confidence(mining: MineConfig, uri: str) -> list[int]:
    """Write how likely each row's label is right, for training, from what a run judged and kept.

    By mining.feedback and mining.decided, which may tell more than when the run was made. What is
    not decided is counted by P(label is wrong), as Mined.rest counts. Done again, it tells what it
    told. Raises NotFound when the run kept no judgements.
    """
    if sample_weights.is_written(uri):
        return sample_weights.unasked_histogram(uri)
    work = work_folder(mining.findings_uri, mining.run_id)
    manifest = ModelStore(mining.store_uri).manifest()
    scoring = _scoring(mining, manifest, work)
    parts = shard_names(work, SCORED)
    if not parts:
        raise NotFound(
            f"run {mining.run_id!r} kept no judgements; mine under another run id with "
            "--keep-predictions (a loop: with another --out)"
        )
    num_judged = count(scoring, parts)["judged"]
    known = compute_stats(scoring, parts, num_rows=num_judged)
    units = _units(mining, manifest)
    label_confidence.write(
        scoring, parts, known=known, units=units, decided=mining.decided, uri=uri
    )
    return sample_weights.unasked_histogram(uri)


def delete_predictions(findings_uri: str, run_id: str) -> None:
    """Delete the judgements that a run kept; its findings stay."""
    work_folder(findings_uri, run_id).delete(SCORED)


def _scoring(mining: MineConfig, manifest: Manifest, work: Folder) -> Scoring:
    return Scoring(
        work.address(""),
        mining.source.task,
        manifest.classes,
        mining.run_id,
        mining.disagreement,
        manifest.num_folds if mining.inference.sampling is Sampling.OUT_OF_SAMPLE else 0,
        mining.feedback,
    )


def _num_rows(places: Mapping[str, pa.Table]) -> int:
    return sum(chosen.num_rows for chosen in places.values())


def _noise_matrix(scoring: Scoring, known: TableStats) -> list[list[float]]:
    matrix = model_task(scoring.task).noise_matrix(known.sums) if known.sums else None
    rows: list[list[float]] = [] if matrix is None else matrix.tolist()
    return rows


def _units(mining: MineConfig, manifest: Manifest) -> frozenset[str]:
    """The units asked about. Raises InvalidInput when one is not the task's."""
    known = task_named(mining.source.task).units(manifest.classes)
    unknown = [unit for unit in mining.units if unit not in known]
    if unknown:
        named = ", ".join(known) if any(known) else "none: it goes row by row"
        raise InvalidInput.of(
            "unit", f"{unknown[0]!r} is no unit of {mining.source.task}; it has {named}"
        )
    return frozenset(mining.units or known)


def _beside(
    engine: Engine, mining: MineConfig, manifest: Manifest, scoring: Scoring
) -> RowFeatureConfig | None:
    """Raises InvalidInput when there is an encoder and nothing that would use it."""
    if scoring.ensemble is None:
        if mining.encoder is not None:
            raise InvalidInput.of(
                "encoder",
                f"{mining.encoder!r} is given, but {mining.source.task} ranked so has no use for "
                "it; leave it out",
            )
        return None
    if mining.encoder is not None:
        _try_encoder(engine, mining.source, mining.encoder)
    # What training watched is about the labels that it saw.
    mined, trained = (
        replace(source, weight_column=None) for source in (mining.source, manifest.source)
    )
    return RowFeatureConfig(encoder=mining.encoder, observed=mined == trained)


def _try_encoder(engine: Engine, source: Source, encoder: str) -> None:
    """Raises InvalidInput when it is none, or not for contents like these."""
    some = rows(engine, source).take(TRIED_ROWS).to_pylist()
    for content in [row["content"] for row in some if row["fault"] is None][:1]:
        Embedder.check(source.task, content, encoder)
        Embedder(source.task, encoder)([content])


def _score(
    engine: Engine,
    mining: MineConfig,
    manifest: Manifest,
    work: Folder,
    repeated: frozenset[str],
    beside: RowFeatureConfig | None,
) -> int:
    """Write the judged parts that are missing; of how many rows an earlier run had judged."""
    found = rows(engine, mining.source, classes=manifest.classes, repeated=repeated)
    if mining.keep_predictions or mining.reuse_run is not None:
        found = found.map(add_content_keys)
    num_reused = (
        reuse_predictions(
            found,
            reuse_run=work_folder(mining.findings_uri, mining.reuse_run),
            into=work,
            parts=SCORED,
            observed=beside is not None and beside.observed,
        )
        if mining.reuse_run is not None
        else 0
    )
    done = [read_shard(work, part, ["id", "fault"]) for part in shard_names(work, SCORED)]
    if done:
        held = pa.concat_tables(done, promote_options="permissive")
        found = found.map(not_in_shards(held))
    sampling = mining.inference.sampling
    scored = mining.inference.map(found, partial(_Scorer, mining.store_uri, sampling, beside))
    scored.write_shards(work, SCORED, attempt=uuid.uuid4().hex[:8])
    return num_reused


def _scored_by(mining: MineConfig, manifest: Manifest) -> dict[str, str]:
    """All that a row's judgement follows from but the row."""
    return {
        "training": f"{mining.store_uri} {manifest.training_id}",
        "predictions": mining.inference.sampling.value,
        "encoder": mining.encoder or "",
    }


def _commit(
    mining: MineConfig,
    scoring: Scoring,
    parts: list[str],
    places: Mapping[str, pa.Table],
    audit: Mapping[str, pa.Table],
    known: TableStats,
) -> None:
    files = {
        "quarantine": write_quarantine(scoring, parts, mining.quarantine_uri),
        "audit": write_findings(scoring, audit, mining.audit_uri, known=known),
        "findings": write_findings(scoring, places, mining.findings_uri, known=known),
    }
    for name, (uri, schema) in mining.outputs.items():
        delta.commit_files_once(uri, files[name], schema=schema, app_id=mining.run_id)
