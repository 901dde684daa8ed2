"""An audit: guess the columns, train out of sample, score every row, keep the worst.

One process, no Ray and no service. What it needs on disk lies in a temporary folder that lasts as
long as the Audit; findings may be kept in a table of their own, from which a campaign is created.
"""

import math
import shlex
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from cluster.auditing.columns import Columns
from cluster.auditing.pred_probs import written
from cluster.auditing.table import source_of
from cluster.data.rows import Source
from cluster.engine.local import LocalEngine
from cluster.mining.config import MineConfig, MineResult
from cluster.mining.mine import mine
from cluster.mining.selection import Selection
from cluster.report import TableRows, write
from cluster.report.terminal import worst
from cluster.training.config import TrainConfig
from cluster.training.model_store import Manifest
from cluster.training.train import train, without_models
from relabel_service.errors import AlreadyExists, InvalidInput
from relabel_service.tables import delta
from relabel_service.tasks import task_named

if TYPE_CHECKING:
    import pandas as pd

MODELS, FINDINGS, QUARANTINE = "models", "findings", "findings-quarantine"
NUM_SHOWN = 10
CUT = 80  # characters of a content in a notebook


@dataclass(frozen=True)
class AuditConfig:
    """How to audit.

    budget: share of the rows that become findings, in (0, 1].
    classes: what findings may be about: in tasks that go class by class these classes, in others
    rows whose label or best suggestion is one of them; all when empty.
    model: network to train, a Hugging Face id or local path; None for the task's built-in.
    encoder: network whose embeddings give a second model of a row; None goes without.
    predictions: paths of tables of predictions that others made of the rows, pooled with our
    models'. predictions_only: use those instead, and train nothing.
    num_folds: models, each of which leaves out one part of the rows and predicts that.
    format: of the file, as `relabel import` names it; guessed when empty. media: folder that the
    names of pictures and sounds are relative to.
    findings_uri: Delta table to keep the findings in, as the run `run_id`; not kept when None.
    """

    budget: float = 0.05
    classes: tuple[str, ...] = ()
    model: str | None = None
    encoder: str | None = None
    predictions: tuple[str, ...] = ()
    predictions_only: bool = False
    num_folds: int = 5
    seed: int = 0
    format: str = ""
    media: str | None = None
    findings_uri: str | None = None
    run_id: str = "audit"

    @property
    def selection(self) -> Selection:
        return Selection(budget=self.budget)


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    table: the findings, schemas.FINDINGS, the worst first. result: of the mine run.
    source, columns: what was read, and what its columns were taken for.
    quarantine: rows that cannot be scored, schemas.QUARANTINE.
    findings_uri: where the findings are kept; None where they are not.
    """

    table: pa.Table
    quarantine: pa.Table
    result: MineResult
    source: Source
    columns: Columns
    findings_uri: str | None
    manifest: Manifest = field(repr=False)

    @property
    def findings(self) -> "pd.DataFrame":
        """A row a finding, the worst first: id, unit, human_label, suggestion, probability (of the
        suggestion), suspicion, reason, content and copies (ids of rows that are the same)."""
        suggestions = self.table["suggestions"].to_pylist()
        best = [of_row[0] if of_row else {} for of_row in suggestions]
        frame = self.table.select(["id", "unit", "human_label"]).to_pandas()
        frame["suggestion"] = [suggestion.get("label") for suggestion in best]
        frame["probability"] = [suggestion.get("probability") for suggestion in best]
        for name in ("suspicion", "reason", "content", "copies"):
            frame[name] = self.table[name].to_pandas()
        return frame

    @property
    def warnings(self) -> list[str]:
        """What the user should know: odd labels, and rows that cannot be scored."""
        sentences = list(self.result.warnings)
        if self.result.num_quarantined:
            reason = self.quarantine["reason"][0].as_py()
            sentences.append(
                f"{self.result.num_quarantined:,} of {self.result.num_rows:,} rows cannot be "
                f"scored; the first: {reason}"
            )
        return sentences

    @property
    def rows(self) -> TableRows:
        """What reports read besides the findings."""
        return TableRows(self.source, self.result, self.manifest.folds.near_duplicates)

    def report(self, path: str | Path, *, title: str = "", command: str = "") -> int:
        """Write one HTML page that needs no network, and return its size in bytes.

        command: the next step that the page shows; the Python call of one when empty.
        """
        return write(
            self.table,
            self.rows,
            Path(path),
            title=title or f"Audit of {self.summary}",
            command=command or "cluster.audit(data, config=cluster.AuditConfig(findings_uri=…))",
        )

    def worst(self, *, num_items: int = NUM_SHOWN, width: int = 80) -> str:
        """The worst findings as a terminal shows them, each line at most `width` columns."""
        return worst(self.table, self.rows, num_items=num_items, width=width)

    @property
    def summary(self) -> str:
        return (
            f"{self.result.num_scored:,} rows ({self.columns.task}): "
            f"{self.table.num_rows:,} findings"
        )

    def _repr_html_(self) -> str:
        """The worst findings, as a notebook shows a table."""
        shown = self.findings.head(NUM_SHOWN)
        is_media = shown["content"].str.startswith("data:")
        shown["content"] = shown["content"].where(~is_media, "").str.slice(0, CUT)
        for name in ("human_label", "suggestion", "reason"):
            shown[name] = shown[name].str.slice(0, 2 * CUT)
        table = shown.drop(columns=["copies"]).to_html(index=False, float_format="{:.2f}".format)
        return f"<p>{escape(self.summary)}</p>{table}"

    def to_dict(self) -> Mapping[str, Any]:
        """The audit in plain values, the worst findings without their contents."""
        shown = ["rank", "id", "unit", "human_label", "suggestions", "suspicion", "reason"]
        return {
            "task": self.columns.task,
            "content_columns": list(self.columns.content),
            "label_column": self.columns.label,
            "id_column": self.columns.id,
            "classes": list(self.result.classes),
            "num_rows": self.result.num_rows,
            "num_scored": self.result.num_scored,
            "num_quarantined": self.result.num_quarantined,
            "num_findings": self.table.num_rows,
            "findings": self.findings_uri,
            "worst": self.table.slice(0, NUM_SHOWN).select(shown).to_pylist(),
            "warnings": self.warnings,
        }


def audit(
    data: Any,
    label: str | None = None,
    *,
    content: str | Sequence[str] = (),
    task: str | None = None,
    id: str | None = None,  # noqa: A002
    pred_probs: Any = None,
    config: AuditConfig | None = None,
) -> Audit:
    """The most suspicious labels of a table, by models that have not seen them.

    data: a pandas DataFrame, an Arrow table, a data set of the datasets library, or the path or
    address of anything that `relabel import` reads. label, content, id: names of its columns.
    What is not named is guessed (Audit.columns).
    pred_probs: class probabilities, floats [R, C], or a list of such, one a model: out of sample,
    rows in the order of data, columns in the order of the classes (by number where all are whole
    numbers, else by name). Or a frame of them with a column a class, by its name. They are pooled
    with our models, or stand instead of them (AuditConfig.predictions_only).

    Raises InvalidInput or NotFound in a sentence: a column that is not there, a guess that could
    go either way, a table of one class, no row that is valid for the task.
    """
    config = config or AuditConfig()
    Selection(budget=config.budget)  # whatever is wrong with it is said before anything is read
    if config.findings_uri is not None and delta.is_committed(config.findings_uri, config.run_id):
        raise AlreadyExists(
            f"{config.findings_uri!r} holds findings of {config.run_id!r} already; name another "
            "run by --run-id"
        )
    given = Columns(task, (content,) if isinstance(content, str) else tuple(content), label, id)
    folder = Path(tempfile.mkdtemp(prefix="relabel-audit-"))
    try:
        found = _audited(data, given, config, folder, pred_probs)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return found


def _audited(
    data: Any, given: Columns, config: AuditConfig, folder: Path, pred_probs: Any
) -> Audit:
    """The audit, its files in a folder of its own."""
    engine = LocalEngine()
    source, columns = source_of(data, folder, given, format_name=config.format, media=config.media)
    training = TrainConfig(
        model=config.model, num_folds=config.num_folds, seed=config.seed, fits_all=False
    )
    if config.findings_uri is not None and source.uri != str(data):
        raise InvalidInput.of(
            "findings",
            "can be kept of a Delta table, or of parquet with an id a row, which corrections can "
            "be merged into; bring yours in by relabel import, and audit the table that it writes",
        )
    predictions = (*config.predictions, *written(pred_probs, source, folder))
    fit = without_models if config.predictions_only else train
    manifest = fit(source, training, str(folder / MODELS), engine)
    per_class = task_named(source.task).per_class
    picks_rows = bool(config.classes) and not per_class
    _require_classes(config.classes, manifest.classes)
    findings = config.findings_uri or str(folder / FINDINGS)
    mining = MineConfig(
        source=source,
        store_uri=str(folder / MODELS),
        findings_uri=findings,
        quarantine_uri=f"{findings}-quarantine",
        run_id=config.run_id,
        selection=Selection(budget=1.0) if picks_rows else config.selection,
        units=config.classes if per_class else (),
        encoder=config.encoder,
        predictions=predictions,
        predictions_only=config.predictions_only,
    )
    result = mine(mining, engine)
    table = delta.read_run(findings, config.run_id)
    if picks_rows:
        table = _about(table, config.classes)
        table = table.slice(0, math.ceil(config.budget * table.num_rows))
    return Audit(
        table=table,
        quarantine=delta.read_where(mining.quarantine_uri, {"run_id": config.run_id}),
        result=result,
        source=source,
        columns=columns,
        findings_uri=config.findings_uri,
        manifest=manifest,
    )


def next_step(found: Audit, data: str) -> str:
    """The command that takes an audit of a path further."""
    if found.source.uri != data:
        return f"relabel import {shlex.quote(data)} data/train"
    if found.findings_uri is None:
        return f"relabel audit {shlex.quote(data)} --findings data/findings"
    kept = shlex.quote(found.findings_uri)
    return f"relabel create {found.result.run_id} --findings {kept} --run-id {found.result.run_id}"


def _require_classes(asked: Sequence[str], classes: Sequence[str]) -> None:
    if unknown := [name for name in asked if name not in classes]:
        allowed = f"the labels name {', '.join(classes)}" if classes else "labels name none"
        raise InvalidInput.of("classes", f"{unknown[0]!r} is not a class; {allowed}")


def _about(findings: pa.Table, classes: Sequence[str]) -> pa.Table:
    """The findings whose label or best suggestion is one of the classes."""
    suggestions = findings["suggestions"].to_pylist()
    best = [of_row[0]["label"] if of_row else None for of_row in suggestions]
    asked = pa.array(list(classes))
    is_asked = pc.or_(
        pc.is_in(findings["human_label"].combine_chunks(), value_set=asked),
        pc.is_in(pa.array(best, pa.string()), value_set=asked),
    )
    return findings.filter(is_asked)
