"""Who finds wrong labels best: python -m bench.detection --data DIR

DIR holds <task>/<name>/train.parquet with columns id, label (and more columns whose
names begin with label), gold and the task's content. Only train rows are used, gold
only to grade. Replaces the part of --out below its mark by a table for each set.
--plant exchanges labels of gold instead of using the set's own errors.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bench.detection_features import Features, of_images, of_texts
from bench.detection_methods import contest
from bench.detection_metrics import Quality
from bench.detection_plant import Plant, planted
from bench.detection_product import mined
from bench.training import Rows

FEATURES: dict[str, Callable[[pa.Table, Path], Features]] = {
    "text_classification": of_texts,
    "image_classification": of_images,
}
Names = npt.NDArray[np.str_]

COLUMNS = ("AP", "AUROC", "P@100", "F1 of flags")
MARK = "<!-- written by bench.detection from here on -->\n"


@dataclass(frozen=True)
class Settings:
    """data: folder of sets. only: names of sets, all if empty. num_seeds: repetitions.

    plant: how errors are planted, in what share `rate` of gold; None to take those
    of the label columns.
    """

    data: Path
    out: Path
    cache: Path
    num_seeds: int
    only: tuple[str, ...]
    plant: Plant | None = None
    rate: float = 0.1


@dataclass(frozen=True)
class Graded:
    """One set and label column. values: contestant -> [seeds, metrics]."""

    title: str
    num_rows: int
    num_wrong: int
    seconds: float
    values: dict[str, npt.NDArray[np.float64]]


def main(arguments: list[str] | None = None) -> int:
    settings = _settings(arguments)
    torch.set_num_threads(1)
    graded = []
    for one in grade(settings):
        print("\n".join(_table(one)), flush=True)
        graded.append(one)
    if not graded:
        print(f"{settings.data}: no set with wrong labels for {sorted(FEATURES)}", file=sys.stderr)
        return 1
    command = "python -m bench.detection " + shlex.join(arguments or sys.argv[1:])
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    above = settings.out.read_text().partition(MARK)[0] if settings.out.exists() else ""
    settings.out.write_text(above + MARK + _page(graded, command, settings.num_seeds))
    return 0


def grade(settings: Settings) -> Iterator[Graded]:
    """Every set, and every label column of it that has wrong labels."""
    for task, features_of in FEATURES.items():
        for path in sorted((settings.data / task).glob("*/train.parquet")):
            name = path.parent.name
            if settings.only and name not in settings.only:
                continue
            table = pq.read_table(path)
            labels = _labels(table, settings)
            gold = np.array(table["gold"].to_pylist())
            if all((given == gold).all() for column in labels.values() for given in column):
                print(f"{task}/{name}: every label equals gold; use --plant", file=sys.stderr)
                continue
            features = features_of(table, settings.cache)
            for column, by_seed in labels.items():
                title = f"{task}/{name}" + (f" ({column})" if column != "label" else "")
                rows = [Rows.of(task, table, names.tolist()) for names in by_seed]
                yield _grade(title, by_seed, gold, features, rows)


def _labels(table: pa.Table, settings: Settings) -> dict[str, list[Names]]:
    """For each label column, or way of planting, the labels that each seed sees."""
    if settings.plant is None:
        columns = [one for one in table.column_names if one.startswith("label")]
        return {one: [np.array(table[one].to_pylist())] * settings.num_seeds for one in columns}
    classes, truth = np.unique(np.array(table["gold"].to_pylist()), return_inverse=True)
    planted_labels = [
        classes[planted(truth.astype(np.int64), settings.plant, rate=settings.rate, seed=seed)]
        for seed in range(settings.num_seeds)
    ]
    return {f"{settings.plant}, {settings.rate:.0%} chosen": planted_labels}


def _grade(
    title: str, labels: list[Names], gold: Names, features: Features, rows: list[Rows]
) -> Graded:
    started = time.monotonic()
    values: dict[str, list[list[float]]] = {}
    for seed, names in enumerate(labels):
        classes, given = np.unique(names, return_inverse=True)
        verdicts = contest(features, given.astype(np.int64), num_classes=len(classes), seed=seed)
        encoded = features.dense if features.sparse is not None else None  # of texts alone
        wrong = names != gold
        verdicts = mined(rows[seed], encoded=encoded, wrong=wrong, seed=seed) | verdicts
        for name, verdict in verdicts.items():
            quality = Quality.of(verdict.suspicion, verdict.flags, wrong)
            values.setdefault(name, []).append(quality.values())
    return Graded(
        title,
        len(gold),
        int((labels[0] != gold).sum()),
        time.monotonic() - started,
        {name: np.array(found) for name, found in values.items()},
    )


def _table(graded: Graded) -> list[str]:
    share = graded.num_wrong / graded.num_rows
    lines = [
        f"## {graded.title}",
        "",
        f"{graded.num_rows} rows, {graded.num_wrong} wrong ({share:.1%}); "
        f"{graded.seconds:.0f} s for all contestants and seeds, features aside.",
        "",
        "| contestant | " + " | ".join(COLUMNS) + " |",
        "|---|" + "---|" * len(COLUMNS),
    ]
    for name, values in graded.values.items():
        cells = [
            f"{mean:.3f} ± {spread:.3f}"
            for mean, spread in zip(values.mean(axis=0), values.std(axis=0), strict=True)
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _page(graded: list[Graded], command: str, num_seeds: int) -> str:
    head = [
        "",
        f"    {command}",
        "",
        f"Mean ± standard deviation over {num_seeds} seeds (folds, network, chance, planting).",
        "",
    ]
    return "\n".join(head + [line for one in graded for line in _table(one)])


def _settings(arguments: list[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m bench.detection", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of <task>/<name>/")
    parser.add_argument("--out", type=Path, default=Path("bench/results/detection.md"))
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="names of sets")
    parser.add_argument("--plant", type=Plant, choices=list(Plant))
    parser.add_argument("--rate", type=float, default=0.1)
    given = parser.parse_args(arguments)
    return Settings(
        given.data,
        given.out,
        given.cache,
        given.seeds,
        tuple(given.only),
        given.plant,
        given.rate,
    )


if __name__ == "__main__":
    sys.exit(main())
