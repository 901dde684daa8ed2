"""Re-label by data pattern: from a few example errors to the training rows similar to them.

A systematic error (a guideline misread, a source mapped wrongly) is in many rows at once,
and a model trained on them has learned it: mining, which trusts the model, passes them
over. Here the person brings example errors with their correct labels, similarity finds the rows,
and the campaign is blind: findings carry no suggestion of any model. The example error is named
in the reason, and its label is the preferred one.

    table -> similarity to each example -> the best of each batch -> the most similar rows, asked

Two passes: ids and similarities first, then the contents of the few rows that are kept.
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
from cluster.io.run_folder import require_name, run_folder
from cluster.mining.selection import Selection
from cluster.similar.similarity import Measure, Similarity, measure_of
from relabel_service.errors import InvalidInput
from relabel_service.tables import delta, preflight, schemas
from relabel_service.tables.lineage import Decided
from relabel_service.tasks import task_named
from relabel_service.tasks.base import Task

RESULT = "result.json"
MAX_NAME = 60  # characters of an example, or of its label, in a reason
MOST_SIMILAR_FIRST = [("similarity", "descending"), ("id", "ascending")]

# A row to ask about, with the number of the example it is most similar to.
_ROW = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("similarity", pa.float64()),
        pa.field("example", pa.int64()),
    ]
)
# The rows of a batch, and one row of counts, whose id is null.
_BATCH = pa.schema(
    [
        *_ROW,
        pa.field("num_rows", pa.int64()),
        pa.field("num_similar", pa.int64()),
        pa.field("num_agreeing", pa.int64()),
    ]
)


@dataclass(frozen=True)
class ExampleError:
    """An item known to be labelled wrongly, in the task's text forms.

    content: for regular expressions, the expression. label: the correct one. name: for reasons.
    """

    content: str
    label: str
    name: str


@dataclass(frozen=True)
class FindConfig:
    """One search. selection: how many of the most similar rows people are asked about.

    encoder: Hugging Face id or local path, for embeddings. decided: not to ask about.
    new_classes: whether a correct label may name a class that no row has yet.
    """

    source: Source
    examples: tuple[ExampleError, ...]
    similarity_by: Similarity
    findings_uri: str
    run_id: str
    selection: Selection = field(default_factory=Selection)
    encoder: str | None = None
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    decided: Decided = field(default_factory=Decided)
    new_classes: bool = False

    def __post_init__(self) -> None:
        if not self.examples:
            raise InvalidInput.of("examples", "none is given; name at least one example error")
        require_name(self.run_id)


@dataclass(frozen=True)
class FindResult:
    """What a search did. num_similar: rows at least as similar as the selection's threshold;
    num_agreeing: those of them that have the correct label already, and are not asked about.
    """

    run_id: str
    dataset_version: int | None
    num_rows: int
    num_similar: int
    num_agreeing: int
    num_findings: int
    seconds: float


def find(
    config: FindConfig, engine: Engine, *, on_rows: Callable[[int], None] = lambda num_rows: None
) -> FindResult:
    """Commit the rows most similar to the example errors as findings. Idempotent: a search that is
    finished returns its stored result.

    on_rows: called with each number of rows that were looked at.
    Raises InvalidInput when a table of other columns lies where the findings are to be, no row is
    valid, the similarity does not suit the content, or a correct label is of a class that no row
    has.
    """
    run = run_folder(config.findings_uri, config.run_id)
    if run.exists(RESULT):
        return FindResult(**json.loads(run.read(RESULT)))
    start = time.monotonic()
    delta.prepare("findings", config.findings_uri, schemas.FINDINGS)
    task = task_named(config.source.task)
    profile = profile_table(engine, config.source)
    classes = _classes(config, task, profile)
    similar, num_similar, num_agreeing = _search(config, engine, task, profile, on_rows)
    contents = _rows_of(config, engine, profile, similar["id"])
    findings = _findings(config, task, classes, similar, contents)
    origin = preflight.origin(
        config.run_id, dataset=config.source.uri, label_column=config.source.label_column
    )
    delta.append_once(config.findings_uri, findings, app_id=config.run_id, metadata=origin)
    result = FindResult(
        run_id=config.run_id,
        dataset_version=config.source.version,
        num_rows=profile.num_rows,
        num_similar=num_similar,
        num_agreeing=num_agreeing,
        num_findings=findings.num_rows,
        seconds=time.monotonic() - start,
    )
    run.write(RESULT, json.dumps(asdict(result), indent=2).encode())
    return result


def _classes(config: FindConfig, task: Task, profile: TableProfile) -> list[str]:
    """The table's and the examples'; a new one may be a slip, unless the user says it is meant."""
    named = {name for example in config.examples for name in task.classes_in(example.label)}
    new = sorted(named - profile.classes.keys())
    if new and not config.new_classes:
        raise InvalidInput.of(
            "label",
            f"{new[0]!r} is not a class of {config.source.uri!r}, which has "
            f"{', '.join(sorted(profile.classes))}; fix it, or pass --new-class if it is meant",
        )
    return sorted({*profile.classes, *named})


@dataclass(frozen=True)
class _Wanted:
    """What a worker keeps of a batch. labels: the correct one of each example, or None where an
    example's label says nothing of other rows (spans and boxes have places of their own)."""

    labels: tuple[str | None, ...]
    least: float
    limit: int | None
    decided: Decided


class _BatchSearch:
    """ROWS -> _BATCH: the batch's most similar rows, and its counts."""

    def __init__(self, load_measure: Callable[[], Measure], wanted: _Wanted) -> None:
        self._measure, self._wanted = load_measure(), wanted

    def __call__(self, batch: pa.Table) -> pa.Table:
        wanted = self._wanted
        valid = batch.filter(batch["fault"].is_null())
        contents = valid["content"].to_pylist()
        similarity = (
            self._measure(contents) if contents else np.empty((0, len(wanted.labels)), np.float64)
        )
        example = similarity.argmax(axis=1)
        best = similarity.max(axis=1)
        is_similar = (best >= wanted.least) & (best > 0)
        correct = pa.array([wanted.labels[number] for number in example], pa.string())
        agrees = pc.fill_null(pc.equal(correct, valid["label"]), False).to_numpy(
            zero_copy_only=False
        )
        ids = valid["id"].to_pylist()
        decided = wanted.decided.mask(ids, [""] * len(ids), lambda: contents)  # as a whole
        asked = is_similar & ~agrees & ~decided
        table = pa.table({"id": valid["id"], "similarity": best, "example": example}, schema=_ROW)
        table = table.filter(pa.array(asked)).sort_by(MOST_SIMILAR_FIRST)
        table = table.slice(0, wanted.limit) if wanted.limit is not None else table
        counts = {
            "num_rows": batch.num_rows,
            "num_similar": int(is_similar.sum()),
            "num_agreeing": int((is_similar & agrees).sum()),
        }
        of_batch = pa.Table.from_pylist([counts], schema=_BATCH)
        return pa.concat_tables([table, of_batch], promote_options="default").select(_BATCH.names)


def _search(
    config: FindConfig,
    engine: Engine,
    task: Task,
    profile: TableProfile,
    on_rows: Callable[[int], None],
) -> tuple[pa.Table, int, int]:
    """The rows to ask about, most similar first; how many are similar, and agree already."""
    batches = rows(engine, config.source, repeated=profile.repeated)
    limit = config.selection.limit(profile.num_rows - profile.num_faults)
    carries_over = not task.per_class
    wanted = _Wanted(
        labels=tuple(example.label if carries_over else None for example in config.examples),
        least=config.selection.least,
        limit=limit,
        decided=config.decided,
    )
    load_measure = measure_of(
        config.similarity_by,
        [example.content for example in config.examples],
        batches,
        task=task.name,
        model=config.encoder,
    )
    searched = config.inference.map(batches, partial(_BatchSearch, load_measure, wanted))
    found = [_BATCH.empty_table()]
    for batch in searched:
        found.append(batch.cast(_BATCH))
        on_rows(pc.sum(batch["num_rows"]).as_py() or 0)
    table = pa.concat_tables(found)
    similar = table.filter(table["id"].is_valid()).sort_by(MOST_SIMILAR_FIRST)
    similar = similar.slice(0, limit) if limit is not None else similar
    return (
        similar,
        pc.sum(table["num_similar"]).as_py() or 0,
        pc.sum(table["num_agreeing"]).as_py() or 0,
    )


def _rows_of(
    config: FindConfig, engine: Engine, profile: TableProfile, ids: pa.ChunkedArray
) -> dict[str, Mapping[str, Any]]:
    """id -> ROWS of those that are asked about."""
    wanted = pa.array(sorted(ids.to_pylist()), pa.string())
    batches = rows(engine, config.source, repeated=profile.repeated)
    chosen = batches.map(partial(_with_ids, ids=wanted)).to_table()
    return {row["id"]: row for row in chosen.to_pylist()}


def _with_ids(batch: pa.Table, *, ids: pa.Array) -> pa.Table:
    """The rows without a fault that have one of the ids."""
    return batch.filter(pc.and_(batch["fault"].is_null(), pc.is_in(batch["id"], value_set=ids)))


def _findings(
    config: FindConfig,
    task: Task,
    classes: Sequence[str],
    similar: pa.Table,
    contents: Mapping[str, Mapping[str, Any]],
) -> pa.Table:
    """FINDINGS without suggestions; of each row, those units that its example's label names."""
    findings: list[dict[str, Any]] = []
    for match in similar.to_pylist():
        row, example = contents[match["id"]], config.examples[match["example"]]
        for unit in task.classes_in(example.label) if task.per_class else [""]:
            if config.decided.covers((match["id"], unit), row["content"]):
                continue
            signals = [(name, float(match[name])) for name in ("similarity", "example")]
            findings.append(
                {
                    "run_id": config.run_id,
                    "rank": len(findings),
                    "id": match["id"],
                    "unit": unit,
                    "content": row["content"],
                    "human_label": task.unit_label(row["label"], unit),
                    "suggestions": [],
                    "suspicion": match["similarity"],
                    "signals": signals,
                    "reason": _reason(config.similarity_by, example, match["similarity"]),
                    "task": task.name,
                    "classes": classes,
                    "preferred_label": None if task.per_class else example.label,
                }
            )
    return pa.Table.from_pylist(findings, schema=schemas.FINDINGS)


def _reason(similarity_by: Similarity, example: ExampleError, similarity: float) -> str:
    relation = "matches" if similarity_by is Similarity.REGEX else f"{similarity:.0%} similar to"
    return (
        f"{relation} example error {_short(example.name)!r}, "
        f"whose correct label is {_short(example.label)}"
    )


def _short(text: str) -> str:
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 1]}…"
