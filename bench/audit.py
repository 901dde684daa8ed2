"""Seconds and average precision of `cluster.audit` beside cleanlab's documented recipe.

    python -m bench.audit --data DIR --out bench/results/audit.md

DIR holds text_classification/<name>/train.parquet with columns id, text, label and gold; the sets
of tests/data come first. The recipe is TF-IDF and logistic regression, 5 folds, find_label_issues,
as cleanlab's text tutorial has it, ranked by self-confidence. Both sides run in this process and
take turns on the same rows; imports are not counted, nor is each side's first turn on a few rows.
CPU seconds, of child processes too, say what a side costs on a busy machine; with
OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 no time is spent on threads that wait for each other.
Where few labels are wrong, average precision is mostly luck: its difference comes with a bootstrap
interval, and --draw takes other rows.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from cluster import AuditConfig, audit

OURS, RECIPE = "relabel audit", "cleanlab's recipe"
TASK, FOLDS = "text_classification", 5
OWN = Path(__file__).parents[1] / "tests/data"
WARM_UP_ROWS = 200
NUM_DRAWS = 300  # of the bootstrap

Scores = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass
class Side:
    """What one side needs of each turn. scores: of the last turn, [rows]."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    scores: Scores = field(default_factory=lambda: np.empty(0))


def by_audit(table: pa.Table) -> Scores:
    """Suspicion of each row, in the table's order."""
    found = audit(table, "label", config=AuditConfig(budget=1.0))
    by_id: dict[str, float] = {}
    for row in found.table.select(["id", "copies", "suspicion"]).to_pylist():
        by_id |= dict.fromkeys([row["id"], *(row["copies"] or ())], row["suspicion"])
    return np.array([by_id[str(name)] for name in table["id"].to_pylist()])


def by_recipe(table: pa.Table) -> Scores:
    """One minus the label quality score of each row; issues are found as well."""
    _, labels = np.unique(table["label"].to_pylist(), return_inverse=True)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=400))
    predicted = cross_val_predict(
        model, table["text"].to_pylist(), labels, cv=FOLDS, method="predict_proba"
    )
    find_label_issues(labels, predicted, return_indices_ranked_by="self_confidence")
    return 1 - np.asarray(get_label_quality_scores(labels, predicted))


SIDES: dict[str, Callable[[pa.Table], Scores]] = {OURS: by_audit, RECIPE: by_recipe}


def compare(table: pa.Table, *, turns: int) -> dict[str, Side]:
    """Both sides on the same rows, taking turns."""
    seen = table.drop_columns(["gold"])
    sides = {name: Side() for name in SIDES}
    for _ in range(turns):
        for name, score in SIDES.items():
            started, cpu_started = time.perf_counter(), _cpu_seconds()
            sides[name].scores = score(seen)
            sides[name].seconds.append(time.perf_counter() - started)
            sides[name].cpu_seconds.append(_cpu_seconds() - cpu_started)
    return sides


def wrong_in(table: pa.Table) -> Flags:
    """Whether each label is another than gold."""
    differs: Flags = np.array(table["label"].to_pylist()) != np.array(table["gold"].to_pylist())
    return differs


def better_by(
    wrong: Flags, ours: Scores, other: Scores, *, num_draws: int = NUM_DRAWS
) -> tuple[float, float]:
    """95 % bootstrap interval of how much higher the average precision of `ours` is."""
    rng, found = np.random.default_rng(0), []
    for _ in range(num_draws):
        drawn = rng.integers(len(wrong), size=len(wrong))
        if wrong[drawn].any():
            one, two = (average_precision_score(wrong[drawn], s[drawn]) for s in (ours, other))
            found.append(one - two)
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def row_of(name: str, table: pa.Table, sides: dict[str, Side]) -> str:
    """A line of the page: medians of the seconds, and their ratio turn by turn."""
    ours, recipe, wrong = sides[OURS], sides[RECIPE], wrong_in(table)
    low, high = better_by(wrong, ours.scores, recipe.scores)
    ratios = [own / other for own, other in zip(ours.seconds, recipe.seconds, strict=True)]
    return (
        f"| {name} | {table.num_rows:,} | {wrong.sum():,} | {np.median(ours.seconds):.1f} s "
        f"({np.median(ours.cpu_seconds):.1f}) | {np.median(recipe.seconds):.1f} s "
        f"({np.median(recipe.cpu_seconds):.1f}) | {np.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}) | "
        f"{average_precision_score(wrong, ours.scores):.3f} | "
        f"{average_precision_score(wrong, recipe.scores):.3f} | {low:+.3f} to {high:+.3f} |"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.audit")
    parser.add_argument("--data", type=Path, help=f"folder of {TASK}/<name>/train.parquet")
    parser.add_argument("--out", type=Path, help="page to write")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--rows", type=int, default=13_000, help="of a set at most")
    parser.add_argument("--draw", type=int, default=0, help="which rows, where not all")
    parser.add_argument("--only", nargs="*", default=[], help="names of sets")
    given = parser.parse_args(arguments)
    paths = [
        path
        for folder in (OWN, given.data)
        if folder
        for path in sorted((folder / TASK).glob("*/train.parquet"))
        if not given.only or path.parent.name in given.only
    ]
    if not paths:
        print("no set of that name", file=sys.stderr)
        return 1
    compare(_drawn(_read(paths[0]), WARM_UP_ROWS), turns=1)
    lines = [
        f"| set | rows | wrong | {OURS} (CPU) | {RECIPE} (CPU) | ratio of times | AP "
        "| AP of the recipe | AP higher by (95 %) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for path in paths:
        table = _drawn(_read(path), given.rows, draw=given.draw)
        lines.append(row_of(path.parent.name, table, compare(table, turns=given.turns)))
        print(lines[-1], flush=True)
    if given.out:
        given.out.write_text("\n".join([*_head(given.turns), *lines, ""]))
    return 0


def _drawn(table: pa.Table, num_rows: int, *, draw: int = 0) -> pa.Table:
    """At most so many rows, drawn, as sets may be sorted by label."""
    drawn = np.random.default_rng(draw).permutation(table.num_rows)[:num_rows]
    return table.take(pa.array(np.sort(drawn)))


def _cpu_seconds() -> float:
    """Of this process, and of those it has waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _read(path: Path) -> pa.Table:
    return pq.read_table(path, columns=["id", "text", "label", "gold"])


def _head(turns: int) -> list[str]:
    return [
        "# Audit",
        "",
        f"    python -m bench.audit --data DIR --turns {turns}",
        "",
        f"Written by bench/audit.py: median wall and CPU seconds of {turns} turns in one process,",
        "imports aside, with the least and the greatest ratio; average precision (AP) of wrong",
        "labels over all rows, and how much higher ours is, with a bootstrap interval.",
        "",
    ]


if __name__ == "__main__":
    sys.exit(main())
