"""What near-duplicates that share a wrong label cost: python -m bench.duplicates --data DIR

DIR holds <task>/<name>/train.parquet as bench.detection has it; texts alone. Some rows get another
class than gold, and each of them a near-copy with the same wrong label. With folds by id alone the
model that judges a row has mostly seen its copy say the same; with the product's folds it has
not. Prints, for both, how well the planted rows are found.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bench.detection_metrics import Quality
from bench.training import Rows, cross_fit, folds_of, sets, suspicion
from cluster.data.folds import Folds
from cluster.scores.suspicion import FLAG

TASK, NUM_FOLDS = "text_classification", 5

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Doubled:
    """Rows with planted pairs; planted: of either row of a pair, [R]."""

    rows: Rows
    planted: Flags


def doubled(rows: Rows, gold: list[str], *, rate: float, seed: int) -> Doubled:
    """Plant pairs in a share `rate` of the rows, all others keeping their labels."""
    rng = np.random.default_rng(seed)
    chosen = np.flatnonzero(rng.random(len(gold)) < rate).tolist()
    labels, classes = list(rows.labels), sorted(set(gold))
    for place in chosen:
        labels[place] = str(rng.choice([name for name in classes if name != gold[place]]))
    planted = np.zeros(len(gold) + len(chosen), np.bool_)
    planted[chosen] = True
    planted[len(gold) :] = True
    return Doubled(
        Rows(
            rows.task,
            [*rows.ids, *(f"{rows.ids[place]}-copy" for place in chosen)],
            [*rows.contents, *(near_copy(rows.contents[place]) for place in chosen)],
            [*labels, *(labels[place] for place in chosen)],
        ),
        planted,
    )


def near_copy(text: str) -> str:
    """The text as somebody might have pasted it."""
    return f"{text.upper()} !"


def compare(found: Doubled, *, seed: int) -> dict[str, Quality]:
    """How well planted rows are found, by kind of folds. Labels that were wrong before count as
    right here: what is asked is whether the pair is found."""
    rows = found.rows
    qualities = {}
    for name, fold in {
        "folds by id alone": Folds(NUM_FOLDS).of(rows.ids),
        "near-duplicates in one fold": folds_of(rows, NUM_FOLDS),
    }.items():
        scored = cross_fit(rows, num_folds=NUM_FOLDS, seed=seed, fold=fold).scored
        ranked = suspicion(rows, scored, num_folds=NUM_FOLDS)
        qualities[name] = Quality.of(ranked, ranked > FLAG, found.planted)
    return qualities


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.duplicates", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of <task>/<name>/")
    parser.add_argument("--only", nargs="*", default=[], help="names of sets")
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    lines = list(_lines(given.data, tuple(given.only), given.rate, given.seed))
    print("\n".join(["| set | folds | AP | AUROC | P@100 |", "|---|---|---|---|---|", *lines]))
    return 0 if lines else 1


def _lines(data: Path, only: tuple[str, ...], rate: float, seed: int) -> Iterator[str]:
    for title, rows, gold in sets(data, TASK, only):
        for name, one in compare(doubled(rows, gold, rate=rate, seed=seed), seed=seed).items():
            ap, auroc, first, _ = one.values()
            yield f"| {title} | {name} | {ap:.3f} | {auroc:.3f} | {first:.2f} |"


if __name__ == "__main__":
    sys.exit(main())
