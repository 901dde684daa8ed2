"""How fast scores come from a probability matrix: python -m bench.scoring

200,000 x 1,000 and 1,000,000 x 100 float32 probabilities. Contestants take turns, each
in its own process forked off the matrix, so that one's memory is not another's.
The bare pass is what no scorer can do without: the most probable class and
p(label) of each row. Memory is the peak above what was there before.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt
from cleanlab.experimental.label_issues_batched import find_label_issues_batched
from cleanlab.filter import find_label_issues

from bench.scores import confident
from bench.scores.confident import ClassSums
from cluster.scores.compact import compact
from cluster.scores.noise import noise_model
from cluster.scores.suspicion import FLAG, suspicion

SIZES = ((200_000, 1_000), (1_000_000, 100))
NOISE = 0.1  # share of labels that are wrong
MEBIBYTE = 1 << 20

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Contestant = Callable[[Matrix, Labels], object]


def bare(probabilities: Matrix, given: Labels) -> object:
    return probabilities.argmax(axis=1), probabilities[np.arange(len(given)), given]


def ours(probabilities: Matrix, given: Labels) -> object:
    """Suspicion and flags of every row."""
    rows = compact(probabilities, given)
    found = suspicion(rows, noise_model(rows, probabilities.shape[1]))
    return found, found > FLAG


def ours_confident(probabilities: Matrix, given: Labels) -> object:
    """Confident learning's flags, as cleanlab's filter_by="confident_learning" has them."""
    rows = compact(probabilities, given)
    return confident.flags(rows, ClassSums.of(rows, probabilities.shape[1]).thresholds())


def cleanlab_in_memory(probabilities: Matrix, given: Labels) -> object:
    return find_label_issues(given, probabilities, return_indices_ranked_by="self_confidence")


def cleanlab_batched(probabilities: Matrix, given: Labels) -> object:
    return find_label_issues_batched(labels=given, pred_probs=probabilities, verbose=False)


CONTESTANTS: dict[str, Contestant] = {
    "bare numpy pass": bare,
    "ours: suspicion": ours,
    "ours: confident learning": ours_confident,
    "cleanlab find_label_issues": cleanlab_in_memory,
    "cleanlab find_label_issues_batched": cleanlab_batched,
}


@dataclass(frozen=True)
class Run:
    seconds: float
    peak_bytes: int


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scoring", description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--shrink", type=int, default=1, help="use 1/N of the rows")
    asked = parser.parse_args(arguments)
    for num_rows, num_classes in SIZES:
        probabilities, given = made(num_rows // asked.shrink, num_classes)
        runs: dict[str, list[Run]] = {name: [] for name in CONTESTANTS}
        for _ in range(asked.turns):
            for name, contestant in CONTESTANTS.items():
                runs[name].append(_forked(contestant, probabilities, given))
        print("\n".join(_table(runs, probabilities)), flush=True)
    return 0


def made(num_rows: int, num_classes: int, seed: int = 0) -> tuple[Matrix, Labels]:
    """A model of some skill on labels of which NOISE are wrong, [R, C] and [R]."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(num_classes, size=num_rows)
    given = np.where(rng.random(num_rows) < NOISE, rng.integers(num_classes, size=num_rows), truth)
    probabilities = rng.random((num_rows, num_classes), np.float32)
    np.power(probabilities, 8, out=probabilities)
    every = np.arange(num_rows)
    skill = rng.random(num_rows).astype(np.float32) * 3
    probabilities[every, truth] += probabilities.sum(axis=1) * skill
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities, given


def _forked(contestant: Contestant, probabilities: Matrix, given: Labels) -> Run:
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(contestant, probabilities, given, theirs))
    child.start()
    theirs.close()
    try:
        run: Run = mine.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f"{contestant.__name__} ended with {child.exitcode}") from None
    child.join()
    return run


def _run(contestant: Contestant, probabilities: Matrix, given: Labels, answer: Connection) -> None:
    float(probabilities.sum())  # the forked pages are in this process's memory from here on
    before, started = _peak(), time.perf_counter()
    contestant(probabilities, given)
    answer.send(Run(time.perf_counter() - started, _peak() - before))


def _peak() -> int:
    """Most memory this process has held so far, in bytes; helpers it starts are not counted."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _table(runs: dict[str, list[Run]], probabilities: Matrix) -> list[str]:
    middle = {name: statistics.median(run.seconds for run in found) for name, found in runs.items()}
    num_rows, num_classes = probabilities.shape
    lines = [
        f"## {num_rows:,} x {num_classes:,} ({probabilities.nbytes / MEBIBYTE:,.0f} MiB)",
        "",
        "| contestant | median s | lowest to highest s | times the bare pass | peak MiB |",
        "|---|---|---|---|---|",
    ]
    for name, found in runs.items():
        seconds = [run.seconds for run in found]
        peak = max(run.peak_bytes for run in found) / MEBIBYTE
        lines.append(
            f"| {name} | {middle[name]:.3f} | {min(seconds):.3f} to {max(seconds):.3f} "
            f"| {middle[name] / middle['bare numpy pass']:.2f} | {peak:,.0f} |"
        )
    return [*lines, ""]


if __name__ == "__main__":
    sys.exit(main())
