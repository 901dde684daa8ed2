"""Re-label by data pattern: from a few known bad cases to the training rows that are like them.

A systematic error (a guideline misread, a source mapped wrongly) is in many rows at once,
and a model trained on them has learned it: mining, which trusts the model, passes them
over. Here the person brings bad cases with their right labels, likeness finds the rows,
and the campaign is blind: findings carry no suggestion of any model. The bad case stands in
the reason, and its label is the preferred one.

    table --Ray Data--> similarity to each case --best of each batch--> the most alike, asked

Two passes: ids and similarities first, then the contents of the few that are kept.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.data.profile import TableProfile, profile_table
from cluster.data.rows import Source, rows
from cluster.engine.base import Engine
from cluster.inference.predict import InferenceConfig
from cluster.io.run_folder import require_name, work_folder
from cluster.mining.selection import Selection
from cluster.similar.similarity import Measure, Similarity, measure_of
from relabel_service.errors import InvalidInput
from relabel_service.tables import delta, schemas
from relabel_service.tasks import Task, task_named

DONE = "pattern.json"
TOLD = 60  # characters of a case, or of its label, in a reason
MOST_ALIKE_FIRST = [("similarity", "descending"), ("id", "ascending")]

# A row to ask about, with the place of the case it is most like; and what a batch tells.
_ROW = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("similarity", pa.float64()),
        pa.field("case", pa.int64()),
    ]
)
_ALIKE = pa.schema([*_ROW, pa.field("num_alike", pa.int64()), pa.field("num_agreeing", pa.int64())])


@dataclass(frozen=True)
class ExampleError:
    """An item known to be labelled wrongly, in the task's text forms.

    content: for regular expressions, the expression. label: the right one. name: for reasons.
    """

    content: str
    label: str
    name: str


@dataclass(frozen=True)
class Pattern:
    """One search. selection: how many of the most alike rows people are asked about.

    encoder: Hugging Face id or local path, for embeddings. decided: id and unit not to ask about.
    new_classes: whether a right label may name a class that no row has yet.
    """

    source: Source
    cases: tuple[ExampleError, ...]
    similarity_by: Similarity
    findings_uri: str
    run_id: str
    selection: Selection = field(default_factory=Selection)
    encoder: str | None = None
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    decided: frozenset[tuple[str, str]] = frozenset()
    new_classes: bool = False

    def __post_init__(self) -> None:
        if not self.cases:
            raise InvalidInput.of("cases", "none is given; name at least one bad case")
        require_name(self.run_id)


@dataclass(frozen=True)
class Found:
    """What a search did. num_alike: rows at least as alike as the selection's threshold;
    num_agreeing: those of them that have the right label already, and are not asked about.
    """

    run_id: str
    dataset_version: int | None
    num_rows: int
    num_alike: int
    num_agreeing: int
    num_findings: int
    seconds: float


def find(pattern: Pattern, engine: Engine) -> Found:
    """Commit the rows most like the bad cases as findings. Run again, it tells what it told.

    Raises InvalidInput when a table of other columns lies where the findings are to be, no row is
    fit, the likeness does not suit the content, or a right label is of a class that no row has.
    """
    work = work_folder(pattern.findings_uri, pattern.run_id)
    if work.exists(DONE):
        return Found(**json.loads(work.read(DONE)))
    start = time.monotonic()
    delta.prepare("findings", pattern.findings_uri, schemas.FINDINGS)
    task = task_named(pattern.source.task)
    seen = profile_table(engine, pattern.source)
    classes = _classes(pattern, task, seen)
    alike, num_alike, num_agreeing = _alike(engine, pattern, task, seen)
    findings = _findings(
        pattern, task, classes, alike, _rows_of(engine, pattern, seen, alike["id"])
    )
    delta.append_once(pattern.findings_uri, findings, app_id=pattern.run_id)
    found = Found(
        run_id=pattern.run_id,
        dataset_version=pattern.source.version,
        num_rows=seen.num_rows,
        num_alike=num_alike,
        num_agreeing=num_agreeing,
        num_findings=findings.num_rows,
        seconds=time.monotonic() - start,
    )
    work.write(DONE, json.dumps(asdict(found), indent=2).encode())
    return found


def _classes(pattern: Pattern, task: Task, seen: TableProfile) -> list[str]:
    """The table's and the cases'; a new one may be a slip, unless the user says it is meant."""
    named = {name for case in pattern.cases for name in task.classes_in(case.label)}
    new = sorted(named - seen.classes.keys())
    if new and not pattern.new_classes:
        raise InvalidInput.of(
            "label",
            f"{new[0]!r} is no class of {pattern.source.uri!r}, which has "
            f"{', '.join(sorted(seen.classes))}; mend it, or pass --new-class if it is meant",
        )
    return sorted({*seen.classes, *named})


@dataclass(frozen=True)
class _Wanted:
    """What a worker keeps of a batch. labels: the right one of each case, or None where a case's
    label says nothing of other rows (spans and boxes have places of their own)."""

    labels: tuple[str | None, ...]
    least: float
    limit: int | None
    decided: frozenset[str]  # ids of rows that were decided as a whole


class _Search:
    """A Ray Data actor: ROWS -> the batch's most alike rows, and one row of counts, its id null."""

    def __init__(self, measure: Callable[[], Measure], wanted: _Wanted) -> None:
        self._measure, self._wanted = measure(), wanted

    def __call__(self, batch: pa.Table) -> pa.Table:
        wanted = self._wanted
        fit = batch.filter(batch["fault"].is_null())
        contents = fit["content"].to_pylist()
        similarity = (
            self._measure(contents) if contents else np.empty((0, len(wanted.labels)), np.float64)
        )
        case = similarity.argmax(axis=1)
        best = similarity.max(axis=1)
        is_alike = (best >= wanted.least) & (best > 0)
        right = pa.array([wanted.labels[place] for place in case], pa.string())
        agrees = pc.fill_null(pc.equal(right, fit["label"]), False).to_numpy(zero_copy_only=False)
        known = pc.is_in(fit["id"], value_set=pa.array(sorted(wanted.decided), pa.string()))
        asked = is_alike & ~agrees & ~known.to_numpy()
        found = pa.table({"id": fit["id"], "similarity": best, "case": case}, schema=_ROW)
        found = found.filter(pa.array(asked)).sort_by(MOST_ALIKE_FIRST)
        found = found.slice(0, wanted.limit) if wanted.limit is not None else found
        counts = {"num_alike": int(is_alike.sum()), "num_agreeing": int((is_alike & agrees).sum())}
        told = pa.Table.from_pylist([counts], schema=_ALIKE)
        return pa.concat_tables([found, told], promote_options="default").select(_ALIKE.names)


def _alike(
    engine: Engine, pattern: Pattern, task: Task, seen: TableProfile
) -> tuple[pa.Table, int, int]:
    """The rows to ask about, most alike first; how many are alike, and agree already."""
    found = rows(engine, pattern.source, repeated=seen.repeated)
    contents = [case.content for case in pattern.cases]
    limit = pattern.selection.limit(seen.num_rows - seen.num_faults)
    carries_over = tuple(task.units(())) == ("",)
    wanted = _Wanted(
        labels=tuple(case.label if carries_over else None for case in pattern.cases),
        least=pattern.selection.least,
        limit=limit,
        decided=frozenset(name for name, unit in pattern.decided if not unit),
    )
    measure = measure_of(
        pattern.similarity_by, contents, found, task=task.name, model=pattern.encoder
    )
    table = pattern.inference.map(found, partial(_Search, measure, wanted)).to_table().cast(_ALIKE)
    alike = table.filter(table["id"].is_valid()).sort_by(MOST_ALIKE_FIRST)
    alike = alike.slice(0, limit) if limit is not None else alike
    return (
        alike,
        pc.sum(table["num_alike"]).as_py() or 0,
        pc.sum(table["num_agreeing"]).as_py() or 0,
    )


def _rows_of(
    engine: Engine, pattern: Pattern, seen: TableProfile, ids: pa.ChunkedArray
) -> dict[str, Mapping[str, Any]]:
    """id -> ROWS of those that are asked about."""
    wanted = pa.array(sorted(ids.to_pylist()), pa.string())

    def keep(batch: pa.Table) -> pa.Table:
        fit = batch["fault"].is_null()
        return batch.filter(pc.and_(fit, pc.is_in(batch["id"], value_set=wanted)))

    found = rows(engine, pattern.source, repeated=seen.repeated).map(keep)
    return {row["id"]: row for row in found.to_table().to_pylist()}


def _findings(
    pattern: Pattern,
    task: Task,
    classes: Sequence[str],
    alike: pa.Table,
    present: Mapping[str, Mapping[str, Any]],
) -> pa.Table:
    """FINDINGS without suggestions; of each row, those units that its case's label names."""
    found: list[dict[str, Any]] = []
    for one in alike.to_pylist():
        row, case = present[one["id"]], pattern.cases[one["case"]]
        by_row = tuple(task.units(classes)) == ("",)
        for unit in [""] if by_row else task.classes_in(case.label):
            if (one["id"], unit) in pattern.decided:
                continue
            found.append(
                {
                    "run_id": pattern.run_id,
                    "rank": len(found),
                    "id": one["id"],
                    "unit": unit,
                    "content": row["content"],
                    "human_label": task.unit_label(row["label"], unit),
                    "suggestions": [],
                    "suspicion": one["similarity"],
                    "signals": [("similarity", one["similarity"]), ("case", float(one["case"]))],
                    "reason": _reason(pattern.similarity_by, case, one["similarity"]),
                    "task": task.name,
                    "classes": classes,
                    "preferred_label": case.label if by_row else None,
                }
            )
    return pa.Table.from_pylist(found, schema=schemas.FINDINGS)


def _reason(similarity_by: Similarity, case: ExampleError, similarity: float) -> str:
    alike = "matches" if similarity_by is Similarity.REGEX else f"{similarity:.0%} like"
    return f"{alike} bad case {_short(case.name)!r}, whose right label is {_short(case.label)}"


def _short(text: str) -> str:
    return text if len(text) <= TOLD else f"{text[: TOLD - 1]}…"
