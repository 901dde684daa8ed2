"""Accuracy on untouched gold against number of re-labels: python -m bench.loop --data DIR

DIR holds <task>/<name>/{train,test}.parquet with columns id, label, gold and the task's content;
gold of train answers for the labelers, gold of test grades. Each order asks about a share of the
rows a round, trains again, and asks on; rows answered once are not asked about again. In training
they count more, and the others by how likely their labels are right by the answers so far, as in
jobs.loop, whatever the order; of several weights the best on dev.parquet is taken. Trains in
this process (bench/training.py), with the product's learner, folds, views and suspicion.
Replaces the part of --out below its mark by a table for each set.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch

from bench.loop_orders import NUM_FOLDS, ORDERS, TableStats
from bench.training import Rows, cross_fit, evidence, joined, predict, train
from cluster.interfaces import Array, Learner
from cluster.scores.feedback import Evidence, Feedback, learn
from cluster.tasks import MODEL_TASKS, model_task
from jobs.loop.options import REVIEWED_WEIGHT

MARK = "<!-- written by bench.loop from here on -->\n"
CLOSE = 0.01  # within this of the accuracy that all gold labels give

Names = npt.NDArray[np.str_]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Settings:
    """share: of the train rows, asked about in each of num_rounds. error_rates: of labelers, in
    [0, 1). label: the column of labels that are mended. decided_weights: of rows asked about.
    doubts: whether the others count by how likely their labels are right."""

    data: Path
    out: Path
    only: tuple[str, ...]
    label: str
    num_seeds: int
    num_rounds: int
    share: float
    error_rates: tuple[float, ...]
    reviewed_weights: tuple[float, ...]
    label_confidence: bool = True


@dataclass(frozen=True)
class Set:
    """One data set's rows and gold; dev and test are never trained on."""

    title: str
    train: Rows
    gold: Names
    test: Rows
    dev: Rows | None

    @property
    def num_wrong(self) -> int:
        return int((np.array(self.train.labels) != self.gold).sum())


def main(arguments: list[str] | None = None) -> int:
    settings = _settings(arguments)
    torch.set_num_threads(1)
    pages = []
    for one in _sets(settings):
        pages.append(_page(one, settings))
        print("\n".join(pages[-1]), flush=True)
    if not pages:
        print(f"{settings.data}: no set with wrong labels and a test", file=sys.stderr)
        return 1
    command = "python -m bench.loop " + shlex.join(arguments or sys.argv[1:])
    head = ["", f"    {command}", ""]
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    above = settings.out.read_text().partition(MARK)[0] if settings.out.exists() else ""
    text = "\n".join([*head, *(line for page in pages for line in page)])
    settings.out.write_text(above + MARK + text)
    return 0


def run(one: Set, order: str, *, error_rate: float, seed: int, settings: Settings) -> list[float]:
    """Test accuracy before, and after each round."""
    rng = np.random.default_rng((seed, int(1000 * error_rate)))
    labels, asked = np.array(one.train.labels, object), np.zeros(len(one.gold), np.bool_)
    batch = max(int(settings.share * len(labels)), 1)
    p_right = np.ones(len(labels))
    answers: list[tuple[Evidence, Flags]] = []
    feedback = Feedback()
    rows, model = _trained(one, labels, asked, p_right, seed=seed, settings=settings)
    found = [accuracy(model, one.test)]
    for _ in range(settings.num_rounds):
        fitted = cross_fit(rows, num_folds=NUM_FOLDS, seed=seed)
        told = evidence(rows, fitted.scored, num_folds=NUM_FOLDS)
        ranked = ORDERS[order](TableStats(rows, fitted, told, feedback, rng))
        worst = np.argsort(np.where(asked, -np.inf, ranked), kind="stable")[::-1][:batch]
        worst = worst[~asked[worst]]
        said = _answers(one, worst, error_rate, rng)
        answers.append((told.take(worst), labels[worst] != said))
        feedback = _taught(answers)
        labels[worst] = said
        asked[worst] = True
        if settings.label_confidence:
            p_right = np.where(asked, 1.0, 1.0 - feedback.p_wrong(told))
        rows, model = _trained(one, labels, asked, p_right, seed=seed, settings=settings)
        found.append(accuracy(model, one.test))
    return found


def _taught(answers: Sequence[tuple[Evidence, Flags]]) -> Feedback:
    """What answers of all rounds teach."""
    return learn(joined([told for told, _ in answers]), np.concatenate([w for _, w in answers]))


def _trained(
    one: Set,
    labels: npt.NDArray[np.object_],
    asked: npt.NDArray[np.bool_],
    p_right: Array,
    *,
    seed: int,
    settings: Settings,
) -> tuple[Rows, Learner]:
    """The rows as the best of the weights counts those asked about, and the model of them.

    p_right: what rows count by besides, [R].
    """
    weights = settings.reviewed_weights
    found = []
    for weight in weights if asked.any() else weights[:1]:
        counted = tuple(np.where(asked, weight * p_right, p_right).tolist())
        rows = replace(one.train, labels=labels.tolist(), weights=counted)
        found.append((rows, train(rows, seed=seed)))
    if len(found) == 1:
        return found[0]
    dev = one.dev
    assert dev is not None
    return max(found, key=lambda pair: accuracy(pair[1], dev))


def accuracy(model: Learner, test: Rows) -> float:
    answers = model.decode(predict(model, test))
    return model_task(test.task).metrics(answers, test.labels)["accuracy"]


def _answers(
    one: Set, places: npt.NDArray[np.int64], error_rate: float, rng: np.random.Generator
) -> list[str]:
    """Gold, or by chance another class."""
    classes = sorted(set(one.gold.tolist()))
    told = []
    for name in one.gold[places].tolist():
        others = [other for other in classes if other != name]
        told.append(str(rng.choice(others)) if rng.random() < error_rate else name)
    return told


def _sets(settings: Settings) -> Iterator[Set]:
    for task in MODEL_TASKS:
        if model_task(task).ensemble is None:
            continue
        for path in sorted((settings.data / task).glob("*/train.parquet")):
            test = path.with_name("test.parquet")
            if (settings.only and path.parent.name not in settings.only) or not test.exists():
                continue
            one = _set(f"{task}/{path.parent.name}", task, path, settings)
            if one is not None and one.num_wrong:
                yield one


def _set(title: str, task: str, path: Path, settings: Settings) -> Set | None:
    rows = pq.read_table(path)
    if settings.label not in rows.column_names:
        return None
    read = Rows.of(task, rows, rows[settings.label].to_pylist())
    gold = Rows.of(task, rows, rows["gold"].to_pylist())
    test = pq.read_table(path.with_name("test.parquet"))
    dev = (
        pq.read_table(path.with_name("dev.parquet")) if len(settings.reviewed_weights) > 1 else None
    )
    return Set(
        title,
        read,
        np.array(gold.labels),
        Rows.of(task, test, test["gold"].to_pylist()),
        None if dev is None else Rows.of(task, dev, dev["gold"].to_pylist()),
    )


def _page(one: Set, settings: Settings) -> list[str]:
    started = time.monotonic()
    seeds = range(settings.num_seeds)
    gold = replace(one.train, labels=one.gold.tolist())
    ceiling = float(np.mean([accuracy(train(gold, seed=seed), one.test) for seed in seeds]))
    batch = max(int(settings.share * len(one.gold)), 1)
    steps = [number * batch for number in range(settings.num_rounds + 1)]
    rows = []
    for error_rate in settings.error_rates:
        for order in ORDERS:
            curve = np.mean(
                [run(one, order, error_rate=error_rate, seed=s, settings=settings) for s in seeds],
                axis=0,
            )
            cells = [f"{value:.3f}" for value in curve]
            rows.append(
                f"| {order} | {error_rate:.0%} | " + " | ".join(cells) + " | "
                f"{needed(curve, steps, ceiling, one.num_wrong)} |"
            )
    return [
        f"## {one.title} ({settings.label})",
        "",
        f"{len(one.gold)} train rows, {one.num_wrong} wrong; {len(one.test.ids)} test rows; "
        f"trained on all gold labels {ceiling:.3f}; {settings.num_seeds} seeds; "
        f"{time.monotonic() - started:.0f} s.",
        "",
        "| order | labelers' errors | " + " | ".join(map(str, steps)) + " | needed |",
        "|---|---|" + "---|" * (len(steps) + 1),
        *rows,
        "",
    ]


def needed(curve: npt.NDArray[np.float64], steps: list[int], ceiling: float, num_wrong: int) -> str:
    """Re-labels until the curve stays CLOSE to the ceiling, and as a share of the wrong rows."""
    below = np.flatnonzero(curve < ceiling - CLOSE)
    first = int(below[-1]) + 1 if len(below) else 0
    if first == len(steps):
        return f"> {steps[-1]} ({steps[-1] / num_wrong:.1f}x)"
    return f"{steps[first]} ({steps[first] / num_wrong:.1f}x)"


def _settings(arguments: list[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m bench.loop", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of <task>/<name>/")
    parser.add_argument("--out", type=Path, default=Path("bench/results/loop.md"))
    parser.add_argument("--only", nargs="*", default=[], help="names of sets")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--share", type=float, default=0.1, help="of the rows, a round")
    parser.add_argument("--error-rates", type=float, nargs="*", default=[0.0, 0.05, 0.15])
    parser.add_argument(
        "--reviewed-weight", type=float, nargs="*", default=[REVIEWED_WEIGHT], help="1: all alike"
    )
    parser.add_argument(
        "--label-confidence",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="count rows by how likely their labels are right",
    )
    given = parser.parse_args(arguments)
    return Settings(
        given.data,
        given.out,
        tuple(given.only),
        given.label_column,
        given.seeds,
        given.rounds,
        given.share,
        tuple(given.error_rates),
        tuple(given.reviewed_weight),
        given.label_confidence,
    )


if __name__ == "__main__":
    sys.exit(main())
