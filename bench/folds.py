"""What fewer or more folds cost and bring: python -m bench.folds --data DIR

DIR holds <task>/<name>/train.parquet as bench.detection has it; texts alone. Prints, for each
number of folds, the cost in trainings on every row (K models on (K - 1)/K of the rows, and the
one on all that a version needs anyway) and how well jobs.mine finds the wrong labels.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from bench.detection_metrics import Quality
from bench.training import Rows, cross_fit, sets, suspicion
from cluster.scores.suspicion import FLAG

TASK = "text_classification"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.folds", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of <task>/<name>/")
    parser.add_argument("--only", nargs="*", default=[], help="names of sets")
    parser.add_argument("--folds", type=int, nargs="*", default=[2, 3, 5, 10])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print("| set | folds | trainings | AP | AUROC | P@100 |\n|---|---|---|---|---|---|")
    lines = 0
    for line in _lines(given.data, tuple(given.only), given.folds, given.seed):
        print(line, flush=True)
        lines += 1
    return 0 if lines else 1


def quality(rows: Rows, gold: list[str], *, num_folds: int, seed: int) -> Quality:
    """How well the product's ranking finds labels that are not gold's."""
    scored = cross_fit(rows, num_folds=num_folds, seed=seed).scored
    found = suspicion(rows, scored, num_folds=num_folds)
    wrong = [label != truth for label, truth in zip(rows.labels, gold, strict=True)]
    return Quality.of(found, found > FLAG, np.array(wrong))


def _lines(data: Path, only: tuple[str, ...], folds: list[int], seed: int) -> Iterator[str]:
    for name, rows, gold in sets(data, TASK, only):
        for num_folds in folds:
            found = quality(rows, gold, num_folds=num_folds, seed=seed)
            ap, auroc, first, _ = found.values()
            yield f"| {name} | {num_folds} | {num_folds} | {ap:.3f} | {auroc:.3f} | {first:.2f} |"


if __name__ == "__main__":
    sys.exit(main())
