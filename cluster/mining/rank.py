"""From judged parts to findings: what the whole tells, each part's worst, one order, the rows.

Each step is a Ray task a part; the driver holds sums, and a few bytes for each finding.
Equally suspicious rows go by id, so that the order does not depend on the parts.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from deltalake.transaction import AddAction

from cluster.data.folds import id_keys
from cluster.interfaces import Array, Ensemble
from cluster.io.folder import Folder
from cluster.io.shards import read_shard, write_shard
from cluster.mining.feedback_data import BY_MODELS, evidence_from, groups_of
from cluster.mining.reuse import KEY
from cluster.scores.feedback import Feedback
from cluster.tasks import model_task
from relabel_service.errors import InvalidInput
from relabel_service.tables import delta, schemas

WORST_FIRST = [("suspicion", "descending"), ("id", "ascending"), ("unit", "ascending")]

SAMPLE_ROWS, SAMPLE_CELLS = 20_000, 4_000_000  # to learn from: rows, and rows x classes

Sums = dict[str, Array]

_PLACES = pa.schema(
    [
        pa.field("suspicion", pa.float64()),
        pa.field("id", pa.string()),
        pa.field("unit", pa.string()),
        pa.field("part", pa.string()),
        pa.field("place", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Scoring:
    """What every task needs: where the parts are, and whose suspicion.

    disagreement: the signal to rank by; None for the task's own suspicion.
    num_folds: of the training; 0 ranks by the trained model alone.
    feedback: what answers have taught about suspicion; a disagreement is ranked by as it is.
    """

    work: str
    task: str
    classes: tuple[str, ...]
    run_id: str
    disagreement: str | None = None
    num_folds: int = 0
    feedback: Feedback = field(default_factory=Feedback)

    def __post_init__(self) -> None:
        if self.disagreement is None:
            return
        known = model_task(self.task).ranking_signals
        if self.disagreement not in known:
            told = f"use one of {', '.join(known)}" if known else "leave it out"
            raise InvalidInput.of(
                "disagreement", f"{self.disagreement!r} is none of {self.task}; {told}"
            )

    @property
    def ensemble(self) -> Ensemble | None:
        """The task's, where this run ranks by it."""
        asked = self.num_folds and self.disagreement is None
        return model_task(self.task).ensemble if asked else None

    def suspicion(self, scored: pa.Table, sums: Sums) -> Array:
        """What rows are ranked by, [R]."""
        if self.disagreement is not None or not self.feedback.num_answers:
            return self._by_models(scored, sums)
        group = groups_of(self.task, scored["label"].to_pylist(), scored["unit"].to_pylist())
        return self.feedback.p_wrong(evidence_from(self.signals(scored, sums), group))

    def signals(self, scored: pa.Table, sums: Sums) -> dict[str, Array]:
        """The task's, and its suspicion before answers had a say; [R] each."""
        signals = model_task(self.task).signals(scored, sums, self.classes)
        if self.disagreement is not None:
            return signals
        return signals | {BY_MODELS: self._by_models(scored, sums)}

    def _by_models(self, scored: pa.Table, sums: Sums) -> Array:
        task = model_task(self.task)
        if self.disagreement is not None:
            return task.signals(scored, sums, self.classes)[self.disagreement]
        return task.suspicion(scored, sums, self.classes)


@dataclass(frozen=True)
class TableStats:
    """What the whole table tells of a row. learned: the ensemble's weights, if there is one."""

    sums: Sums
    learned: Sums = field(default_factory=dict)


def compute_stats(scoring: Scoring, parts: Sequence[str], *, num_rows: int) -> TableStats:
    """Up to three looks at the parts: moments, a sample of rows, sums. num_rows: judged ones."""
    learned: Sums = {}
    if (ensemble := scoring.ensemble) is not None and num_rows:
        moments = _added(ray.get([_moments.remote(scoring, part) for part in parts]))
        most = min(SAMPLE_ROWS, SAMPLE_CELLS // max(len(scoring.classes), 1))
        some = ray.get([_sample.remote(scoring, part, most / num_rows) for part in parts])
        sample = pa.concat_tables([one for one in some if one.num_rows])
        # By id, so that what is learned does not depend on how the rows fell into parts.
        learned = ensemble.learn(sample.sort_by("id"), moments, scoring.classes)
    shared = ray.put(learned)
    return TableStats(
        _added(ray.get([_sums.remote(scoring, part, shared) for part in parts])), learned
    )


def stats_of_rows(scoring: Scoring, scored: pa.Table) -> tuple[TableStats, pa.Table]:
    """look, of rows that are all at hand; and these rows with the ensemble's predictions."""
    learned: Sums = {}
    if (ensemble := scoring.ensemble) is not None:
        moments = ensemble.moments(scored, scoring.classes, scoring.num_folds)
        learned = ensemble.learn(scored, moments, scoring.classes)
    scored = _with_predictions(scoring, scored, learned)
    return TableStats(model_task(scoring.task).sums(scored, scoring.classes), learned), scored


def _added(sums: Sequence[Sums]) -> Sums:
    total: Sums = {}
    for part in sums:
        for name, value in part.items():
            total[name] = total[name] + value if name in total else value
    return total


def rank(
    scoring: Scoring,
    parts: Sequence[str],
    *,
    known: TableStats,
    limit: int | None,
    least: float,
    units: frozenset[str],
    decided: frozenset[tuple[str, str]],
) -> dict[str, pa.Table]:
    """The findings' places: part -> table of `place` (row in the part), `rank`, `suspicion`.

    units: those that findings may be about. decided: id and unit of what is not asked again.
    """
    shared = ray.put((known, units, decided))
    worst = [_worst.remote(scoring, part, shared, limit, least) for part in parts]
    found = pa.concat_tables(ray.get(worst)).sort_by(WORST_FIRST)
    return by_part(found.slice(0, limit) if limit is not None else found, parts)


def by_part(chosen: pa.Table, parts: Iterable[str]) -> dict[str, pa.Table]:
    """Rows with `part`, `place` and `suspicion`, in the order of their ranks, part by part."""
    ranked = chosen.append_column("rank", pa.array(np.arange(chosen.num_rows)))
    return {
        part: ranked.filter(pc.equal(ranked["part"], part)).select(["place", "rank", "suspicion"])
        for part in parts
    }


def write_findings(
    scoring: Scoring, places: Mapping[str, pa.Table], findings_uri: str, *, known: TableStats
) -> list[AddAction]:
    """Write each part's findings as a file of the findings table, not yet committed."""
    shared = ray.put(known)
    written = [
        _write_findings.remote(scoring, part, chosen, shared, findings_uri)
        for part, chosen in places.items()
        if chosen.num_rows
    ]
    return [_action(*file) for file in ray.get(written)]


def write_quarantine(scoring: Scoring, parts: Sequence[str], uri: str) -> list[AddAction]:
    """Write each part's unfit rows as a file of the quarantine table, not yet committed."""
    written = ray.get([_write_quarantine.remote(scoring, part, uri) for part in parts])
    return [_action(*file) for file in written if file is not None]


def count(scoring: Scoring, parts: Sequence[str]) -> Counter[str]:
    """`judged` rows (a row and unit each) and `unfit` rows of all parts."""
    total: Counter[str] = Counter()
    for one in ray.get([_count.remote(scoring, part) for part in parts]):
        total.update(one)
    return total


@ray.remote
def _count(scoring: Scoring, part: str) -> dict[str, int]:
    fault = read_shard(Folder(scoring.work), part, ["fault"])["fault"]
    return {"judged": fault.null_count, "unfit": len(fault) - fault.null_count}


@ray.remote
def _moments(scoring: Scoring, part: str) -> Sums:
    scored, _ = scored_rows(scoring, part)
    if scoring.ensemble is None or not scored.num_rows:
        return {}
    return scoring.ensemble.moments(scored, scoring.classes, scoring.num_folds)


@ray.remote
def _sample(scoring: Scoring, part: str, share: float) -> pa.Table:
    """About this share of a part's judged rows, told by their ids."""
    scored, _ = scored_rows(scoring, part)
    if share >= 1:
        return scored
    return scored.filter(pa.array(id_keys(scored["id"]) < share * 2.0**64))


@ray.remote
def _sums(scoring: Scoring, part: str, learned: Sums) -> Sums:
    scored, _ = scored_rows(scoring, part, learned)
    if not scored.num_rows:
        return {}
    return model_task(scoring.task).sums(scored, scoring.classes)


@ray.remote
def _worst(
    scoring: Scoring,
    part: str,
    shared: tuple[TableStats, frozenset[str], frozenset[tuple[str, str]]],
    limit: int | None,
    least: float,
) -> pa.Table:
    known, units, decided = shared
    scored, places = scored_rows(scoring, part, known.learned)
    if not scored.num_rows:
        return _PLACES.empty_table()
    suspicion = scoring.suspicion(scored, known.sums)
    found = pa.table(
        {
            "suspicion": suspicion,
            "id": scored["id"],
            "unit": scored["unit"],
            "part": pa.array([part] * len(places), pa.string()),
            "place": places,
        },
        schema=_PLACES,
    )
    asked = [
        unit in units and (name, unit) not in decided
        for name, unit in zip(found["id"].to_pylist(), found["unit"].to_pylist(), strict=True)
    ]
    found = found.filter(pc.and_(pa.array(asked), pc.greater_equal(found["suspicion"], least)))
    found = found.sort_by(WORST_FIRST)
    return found.slice(0, limit) if limit is not None else found


@ray.remote
def _write_findings(
    scoring: Scoring, part: str, chosen: pa.Table, known: TableStats, findings_uri: str
) -> tuple[str, int, int]:
    table = read_shard(Folder(scoring.work), part).take(chosen["place"])
    table = _with_predictions(scoring, table, known.learned)
    task = model_task(scoring.task)
    signals = scoring.signals(table, known.sums)
    num_rows = table.num_rows
    rows = pa.table(
        {
            "run_id": pa.array([scoring.run_id] * num_rows),
            "rank": chosen["rank"],
            "id": table["id"],
            "unit": table["unit"],
            "content": table["content"],
            "human_label": table["label"],
            "suggestions": table["suggestions"],
            "suspicion": chosen["suspicion"],
            "signals": _map(signals, num_rows),
            "reason": task.reasons(table),
            "task": pa.array([scoring.task] * num_rows),
            "classes": pa.array([list(scoring.classes)] * num_rows, pa.list_(pa.string())),
            "preferred_label": pa.nulls(num_rows),
        }
    ).cast(schemas.FINDINGS)
    return _file(scoring, part, rows, findings_uri)


@ray.remote
def _write_quarantine(scoring: Scoring, part: str, uri: str) -> tuple[str, int, int] | None:
    table = read_shard(Folder(scoring.work), part, ["id", "fault", "row"])
    unfit = table.filter(table["fault"].is_valid())
    if not unfit.num_rows:
        return None
    rows = pa.table(
        {
            "run_id": pa.array([scoring.run_id] * unfit.num_rows),
            "id": unfit["id"],
            "row": unfit["row"],
            "reason": unfit["fault"],
        }
    ).cast(schemas.QUARANTINE)
    return _file(scoring, part, rows, uri)


def scored_rows(
    scoring: Scoring, part: str, learned: Sums | None = None
) -> tuple[pa.Table, pa.Array]:
    """A part's judged rows without their contents, and their places in the part.

    learned: the ensemble's weights, for rows with its predictions.
    """
    folder = Folder(scoring.work)
    table = read_shard(folder, part, leave_out=("content", "row", KEY))
    places = pa.array(np.flatnonzero(table["fault"].is_null()))
    return _with_predictions(scoring, table.take(places), learned or {}), places


def _with_predictions(scoring: Scoring, scored: pa.Table, learned: Sums) -> pa.Table:
    if scoring.ensemble is None or not learned or not scored.num_rows:
        return scored
    return scoring.ensemble.add_predictions(scored, learned, scoring.classes)


def _map(signals: Mapping[str, Array], num_rows: int) -> pa.MapArray:
    names = list(signals)
    values = np.stack(list(signals.values()), axis=1).ravel() if names else np.empty(0)
    offsets = pa.array(np.arange(num_rows + 1) * len(names), pa.int32())
    return pa.MapArray.from_arrays(offsets, pa.array(names * num_rows, pa.string()), values)


def _file(scoring: Scoring, part: str, rows: pa.Table, uri: str) -> tuple[str, int, int]:
    """Name, size in bytes and rows of a file whose name a repetition gives again."""
    name = f"{scoring.run_id}-{part.rpartition('/')[2]}"
    return name, write_shard(Folder(uri), name, rows), rows.num_rows


def _action(name: str, size_bytes: int, num_rows: int) -> AddAction:
    return delta.add_file(name, size_bytes=size_bytes, num_rows=num_rows)
