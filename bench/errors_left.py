"""Whether intervals of errors left hold the truth: python -m bench.errors_left --data DIR …

Each DIR holds <task>/<name>/train.parquet with columns id, label, gold and the task's content.
Every set is cross-fitted once (bench/training.py), and the suspicion of its rows kept in --cache.
Then many rounds are simulated on it: a sample of the rows, with all of its errors or fewer, is
ranked, a share of it asked about, worst first, and the interval compared with the errors among
the others. Writes --out.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bench.training import Rows, cross_fit, suspicion
from cluster.data.rows import Source, check
from cluster.interfaces import Array
from cluster.mining.unasked import histogram
from cluster.scores.errors_left import MIN_ANSWERS, interval
from cluster.tasks import MODEL_TASKS
from relabel_service.tasks import task_named

NUM_FOLDS = 5
FOLDERS = {"token_classification": "ner"}  # of the data sets, where not named as the task
SHARES = (0.02, 0.05, 0.1, 0.2, 0.35)  # of the rows, asked about
KEPT_ERRORS = (1.0, 0.5, 0.2)  # share of a set's errors that stay in
KEPT_ROWS = 0.8
INJECTED = 0.05  # share of labels that are changed in sets that have no errors of their own
HEAD = (
    "# Errors left, by answers about other rows",
    "",
    "How often the interval of errors left (without an audit) held the truth, on sets with gold",
    "labels. `errors kept`: share of the set's errors that stayed in; `asked about`: share of the",
    "rows, worst first; `has one`: rounds whose answers supported an interval.",
    "",
)
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Set:
    """The suspicion of R labels (or parts of labels), and whether each is wrong, [R]."""

    name: str
    suspicion: Array
    wrong: Flags


def take_evidence(
    path: Path, task_name: str, label_column: str, *, num_rows: int | None
) -> tuple[Array, Flags] | None:
    """Cross-fit a set, or its first rows; None where it has no such column."""
    table = pq.read_table(path).slice(0, num_rows)
    if label_column not in table.column_names:
        return None
    rng = np.random.default_rng(0)
    table = _valid(table, path, task_name, label_column)
    gold = Rows.of(task_name, table, table["gold"].to_pylist())
    rows = Rows.of(task_name, table, table[label_column].to_pylist())
    if rows.labels == gold.labels:
        rows = _with_errors(rows, rng)
    scored = cross_fit(rows, num_folds=NUM_FOLDS).scored
    suspicions = suspicion(rows, scored, num_folds=NUM_FOLDS)
    task, by_id = task_named(task_name), dict(zip(gold.ids, gold.labels, strict=True))
    wrong = [
        task.unit_label(by_id[row["id"]], row["unit"]) != row["label"]
        for row in scored.select(["id", "unit", "label"]).to_pylist()
    ]
    return suspicions, np.array(wrong)


def _valid(table: pa.Table, path: Path, task_name: str, label_column: str) -> pa.Table:
    """The rows that jobs take; they put others (a box without area) into quarantine."""
    contents = tuple(task_named(task_name).content_columns)
    for column in (label_column, "gold"):
        source = Source(str(path), task_name, contents, column)
        table = table.filter(check(table, source=source)["fault"].is_null())
    return table


def _with_errors(rows: Rows, rng: np.random.Generator) -> Rows:
    """A share of the labels is another class, by chance."""
    classes = rows.classes
    labels = [
        str(rng.choice([name for name in classes if name != label]))
        if rng.random() < INJECTED
        else label
        for label in rows.labels
    ]
    return Rows(rows.task, rows.ids, rows.contents, labels)


def sets(
    data: list[Path], cache: Path, only: list[str], *, num_rows: int | None = None
) -> Iterator[Set]:
    cache.mkdir(parents=True, exist_ok=True)
    for folder in data:
        for task in MODEL_TASKS:
            if not task_named(task).content_columns:  # clicks, about which nobody is asked
                continue
            for path in sorted(folder.glob(f"{FOLDERS.get(task, task)}/*/train.parquet")):
                for column in ("label", "label_worst"):
                    name = f"{path.parent.name}-{column}"
                    if only and name not in only:
                        continue
                    if num_rows is not None:
                        name = f"{name}, first {num_rows}"
                    kept = cache / f"{name}.npz"
                    if not kept.exists():
                        found = take_evidence(path, task, column, num_rows=num_rows)
                        if found is None:
                            continue
                        np.savez(kept, suspicion=found[0], wrong=found[1])
                    read = np.load(kept)
                    yield Set(name, read["suspicion"], read["wrong"])


@dataclass(frozen=True)
class Tally:
    """Of the rounds of one kind. held: of those with an interval, how many held the truth."""

    num_rounds: int
    num_intervals: int
    held: int
    truth: float
    low: float
    high: float


def simulate(one: Set, *, share: float, kept: float, num_rounds: int) -> Tally | None:
    """None where too few rows would be asked about for any interval."""
    rng = np.random.default_rng(0)
    found: list[tuple[float, float, float]] = []
    for _ in range(num_rounds):
        draw = rng.random(len(one.wrong))
        stays = (draw < KEPT_ROWS) & (~one.wrong | (rng.random(len(one.wrong)) < kept))
        told, wrong = one.suspicion[stays], one.wrong[stays]
        order = np.argsort(-told, kind="stable")
        num_asked = int(share * len(order))
        if num_asked < MIN_ANSWERS:
            return None
        asked, others = order[:num_asked], order[num_asked:]
        between = interval(
            histogram(told[asked]),
            histogram(told[asked[wrong[asked]]]),
            histogram(told[others]),
        )
        if between is not None:
            found.append((float(wrong[others].sum()), *between))
    if not found:
        return Tally(num_rounds, 0, 0, 0.0, 0.0, 0.0)
    truth, low, high = np.array(found).T
    held = int(((low <= truth) & (truth <= high)).sum())
    return Tally(num_rounds, len(found), held, truth.mean(), low.mean(), high.mean())


def page(data: Sequence[Set], *, num_rounds: int) -> list[str]:
    lines, held, num_intervals = [], 0, 0
    for one in data:
        for share in SHARES:
            for kept in KEPT_ERRORS:
                tally = simulate(one, share=share, kept=kept, num_rounds=num_rounds)
                if tally is None:
                    continue
                held, num_intervals = held + tally.held, num_intervals + tally.num_intervals
                if tally.num_intervals:
                    lines.append(
                        f"| {one.name} | {kept:.0%} | {share:.0%} | {tally.truth:.0f} | "
                        f"{tally.low:.0f} to {tally.high:.0f} | "
                        f"{tally.num_intervals} of {tally.num_rounds} | "
                        f"{tally.held / tally.num_intervals:.0%} |"
                    )
                else:
                    lines.append(f"| {one.name} | {kept:.0%} | {share:.0%} | | | 0 | |")
    return [
        f"{held} of {num_intervals} intervals ({held / max(num_intervals, 1):.1%}) held the truth.",
        "",
        "| set | errors kept | asked about | errors left | mean interval | has one | held |",
        "|---|---|---|---|---|---|---|",
        *lines,
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.errors_left", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], help="<name>-<label column>")
    parser.add_argument("--rows", type=int, help="of each set, the first")
    parser.add_argument("--rounds", type=int, default=20, help="simulated of each kind")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = sets(given.data, given.cache, given.only, num_rows=given.rows)
    lines = page([*found], num_rounds=given.rounds)
    if given.out is None:
        print("\n".join(lines))
        return 0
    command = f"python -m bench.errors_left --data tests/data DATA --rounds {given.rounds}"
    given.out.write_text("\n".join([*HEAD, f"    {command}", "", *lines, ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
