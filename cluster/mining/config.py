"""The settings and the result of one mine run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from cluster.data.rows import Source
from cluster.inference.predict import InferenceConfig, Sampling
from cluster.io.folder import Folder
from cluster.io.run_folder import require_name, run_folder
from cluster.mining.scoring import Scoring
from cluster.mining.selection import Selection
from cluster.scores.feedback import Feedback
from cluster.training.model_store import Manifest
from relabel_service.errors import InvalidInput
from relabel_service.tables import delta, schemas
from relabel_service.tables.lineage import Decided
from relabel_service.tasks import task_named


@dataclass(frozen=True)
class MineConfig:
    """One run over a pinned source with a finished training.

    decided: what people have decided on; scored, but not asked about again.
    units: classes that findings may be about, for tasks that go class by class; all when empty.
    disagreement: the signal to rank by, where the task has several; None for its own suspicion.
    encoder: Hugging Face id or local path of a network whose embeddings give a second model of
    a row, for tasks with an ensemble; None goes without.
    num_audit: rows drawn at random from the unasked ones, to be written as findings of the table
    `<findings_uri>-audit`: what people find in them shows how many errors are left.
    feedback: what people's decisions so far teach about suspicion (feedback_data.py).
    keep_predictions: leave the scored rows for later runs. reuse_run: an earlier run of the same
    training into the same table that left them; only rows that are new or changed since then are
    predicted.
    predictions: addresses of tables of predictions that others made, pooled with our models'.
    predictions_only: use those instead of our models, of which the training then needs none.
    each_copy: ask about each of several rows that are the same in content and label, rather than
    once about all of them.
    """

    source: Source
    store_uri: str
    findings_uri: str
    quarantine_uri: str
    run_id: str
    selection: Selection = field(default_factory=Selection)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    decided: Decided = field(default_factory=Decided)
    units: tuple[str, ...] = ()
    disagreement: str | None = None
    encoder: str | None = None
    num_audit: int = 0
    feedback: Feedback = field(default_factory=Feedback)
    keep_predictions: bool = False
    reuse_run: str | None = None
    each_copy: bool = False
    predictions: tuple[str, ...] = ()
    predictions_only: bool = False

    def __post_init__(self) -> None:
        if self.num_audit < 0:
            raise InvalidInput.of("audit", f"{self.num_audit} rows; give 0 or more")
        require_name(self.run_id)
        if self.predictions_only and not self.predictions:
            raise InvalidInput.of(
                "predictions_only", "is given without predictions; name a table by --predictions"
            )
        if self.predictions and self.reuse_run is not None:
            raise InvalidInput.of(
                "reuse_run",
                f"{self.reuse_run!r} is given with predictions of others, which are read anew; "
                "leave one out",
            )
        if self.reuse_run == self.run_id:
            raise InvalidInput.of(
                "reuse_run", f"{self.reuse_run!r} is this run; name an earlier one"
            )

    @property
    def audit_uri(self) -> str:
        return delta.audit_of(self.findings_uri)

    @property
    def folder(self) -> Folder:
        """Of the run's intermediate files and its result."""
        return run_folder(self.findings_uri, self.run_id)

    @property
    def outputs(self) -> Mapping[str, tuple[str, pa.Schema]]:
        """Where the run's tables are, and their columns. Findings come last: once they are
        committed, the run is whole."""
        audit = {"audit": (self.audit_uri, schemas.FINDINGS)} if self.num_audit else {}
        return {
            "quarantine": (self.quarantine_uri, schemas.QUARANTINE),
            **audit,
            "findings": (self.findings_uri, schemas.FINDINGS),
        }

    def scoring(self, manifest: Manifest) -> Scoring:
        """How rows are scored. Raises InvalidInput when the task lacks the disagreement."""
        num_folds = manifest.num_folds
        if self.inference.sampling is Sampling.IN_SAMPLE:
            num_folds = 0
        return Scoring(
            task=self.source.task,
            classes=manifest.classes,
            disagreement=self.disagreement,
            num_folds=max(num_folds, 1) if self.predictions else num_folds,
            feedback=self.feedback,
        )

    def asked_units(self, manifest: Manifest) -> frozenset[str]:
        """The units that findings may be about. Raises InvalidInput when one is not the task's."""
        task_units = task_named(self.source.task).units(manifest.classes)
        unknown = [unit for unit in self.units if unit not in task_units]
        if unknown:
            allowed = ", ".join(task_units) if any(task_units) else "none: it goes row by row"
            raise InvalidInput.of(
                "unit", f"{unknown[0]!r} is not a unit of {self.source.task}; it has {allowed}"
            )
        return frozenset(self.units or task_units)


@dataclass(frozen=True)
class MineResult:
    """What a run did, in rows of the data set: num_rows = num_scored + num_quarantined.

    num_reused: scored rows whose predictions are those of the run `reuse_run`.
    num_feedback: decisions of people that the ranking has learned from.
    audit_uri: where num_audit of the unasked rows are; empty without an audit.
    unasked_histogram: rows (and units) that are neither findings nor decided on, counted by
    suspicion in bins of equal width over [0, 1].
    noise_matrix: P(label | true class) by the model, rows sum to 1, for tasks that have one.
    warnings: what looks odd in the table's labels (TableProfile).
    label_counts: rows that name each class. source, training: what was mined, and by which models.
    """

    run_id: str
    dataset_version: int | None
    num_rows: int
    num_scored: int
    num_quarantined: int
    num_repeated_ids: int
    num_findings: int
    num_reused: int = 0
    num_feedback: int = 0
    num_audit: int = 0
    audit_uri: str = ""
    unasked_histogram: Sequence[int] = ()
    noise_matrix: Sequence[Sequence[float]] = ()
    classes: Sequence[str] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    label_counts: Mapping[str, int] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    training: str = ""
