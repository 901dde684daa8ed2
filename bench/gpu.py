"""Training and mining on a GPU through Ray, beside a bare torch loop and a transformers pipeline.

On a bare machine of Python 3.12 with a GPU and its driver, in a clone of the project:

    python3.12 -m venv .venv
    .venv/bin/pip install -c constraints.txt torch     # for Linux it comes with CUDA
    .venv/bin/pip install -c constraints.txt -e '.[cluster]'
    .venv/bin/python -m bench.gpu --use-gpu --cpus-per-gpu 12

Where that machine has no network, make the wheels on one that has, also of Python 3.12 on Linux,
and carry them over with the clone:

    python3.12 -m pip wheel -c constraints.txt -w wheels torch '.[cluster]'
    .venv/bin/pip install --no-index --find-links wheels 'relabel-service[cluster]'

A BERT of random weights classifies texts of random words; sizes are options. The steps: the peak of
matrix products; the commands jobs.train and jobs.mine, whole; training and inference, where the
product and others take turns on the same rows, start-up told apart by a smaller run of the same.
MFU is useful work (no padding) over the measured peak. Every step is a process with a time limit:
one that hangs is killed with all it started, and the figures of the others stay. The stacks of
all its Python processes, Ray's workers included, go to stderr whenever it is silent for a minute.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from bench import stacks
from bench.gpu_steps import Figure, Setting, prepare
from bench.mining import spread

SILENT_S = 60.0
NOT_MEASURED, TOO_SHORT = "not measured", "run too short"
# Of the time that is left when a step begins, against those of the steps after it.
SHARES = {"peak": 1.0, "jobs.train": 2.0, "jobs.mine": 2.0, "training": 4.0, "inference": 4.0}


def main(
    minutes: Annotated[float, typer.Option(help="for all steps together")] = 11.0,
    use_gpu: Annotated[bool, typer.Option("--use-gpu", help="one GPU")] = False,
    cpus_per_gpu: Annotated[int, typer.Option(help="CPUs that feed the GPU")] = 1,
    on_ray: Annotated[bool, typer.Option(" /--no-ray", help="or in one process each")] = True,
    step: Annotated[list[str] | None, typer.Option(help="again for more; all if left out")] = None,
    train_rows: Annotated[int, typer.Option(help="texts to train on")] = 32_768,
    mine_rows: Annotated[int, typer.Option(help="texts to score")] = 131_072,
    num_tokens: Annotated[int, typer.Option(help="of the longest text")] = 128,
    hidden: Annotated[int, typer.Option(help="width of the network")] = 768,
    layers: Annotated[int, typer.Option(help="depth of the network")] = 12,
    batch_size: Annotated[int, typer.Option(help="texts a training step")] = 128,
    repeats: Annotated[int, typer.Option(help="turns of each side")] = 3,
    matrix_size: Annotated[
        list[int] | None, typer.Option(help="n of [n, n] products; 1,024 to 16,384 if left out")
    ] = None,
) -> None:
    """Print each figure as a JSON line, then a table; exit code 1 where a step failed."""
    if unknown := set(step or ()) - set(SHARES):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: use {', '.join(SHARES)}")
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(
            folder=folder,
            use_gpu=use_gpu,
            cpus_per_gpu=cpus_per_gpu,
            on_ray=on_ray,
            train_rows=train_rows,
            mine_rows=mine_rows,
            num_tokens=num_tokens,
            hidden=hidden,
            layers=layers,
            batch_size=batch_size,
            repeats=repeats,
            matrix_sizes=tuple(matrix_size or (1024, 2048, 4096, 8192, 16384)),
        )
        ends_at = time.monotonic() + 60 * minutes
        prepare(setting)
        report = Report()
        steps = [name for name in SHARES if name in (step or SHARES)]
        for number, name in enumerate(steps):
            share = SHARES[name] / sum(SHARES[later] for later in steps[number:])
            report.run(name, command_of(name, setting), (ends_at - time.monotonic()) * share)
    print("\n".join(table(report.figures)))
    raise typer.Exit(int(report.has_failed))


class Report:
    """Figures as they come, each printed at once."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self.has_failed = False

    def run(self, step: str, command: Sequence[str], limit_s: float) -> None:
        """Run a step and keep its figures, the last of which tells how it ended."""
        outcome = stacks.run(
            command,
            limit_s=limit_s,
            silent_s=SILENT_S,
            on_line=lambda line: self._hear(step, line),
            on_stacks=lambda text: print(f"{step} is silent:\n{text}", file=sys.stderr, flush=True),
        )
        self.has_failed |= outcome.returncode != 0
        ended = "killed at its limit" if outcome.returncode is None else outcome.returncode
        self._add({"step": step, "side": "step", "ended": ended, "wall_s": outcome.wall_s})

    def _hear(self, step: str, line: str) -> None:
        """A figure, or what a job says of itself, which is no figure of ours."""
        if step.startswith("jobs.") or not line.startswith("{"):
            print(line, file=sys.stderr, flush=True)
        else:
            self._add({"step": step, **json.loads(line)})

    def _add(self, figure: Figure) -> None:
        self.figures.append(figure)
        print(json.dumps(figure), flush=True)


def command_of(step: str, setting: Setting) -> list[str]:
    """What runs a step."""
    if not step.startswith("jobs."):
        return [sys.executable, "-m", "bench.gpu_steps", step, json.dumps(asdict(setting))]
    engine = ["--engine", "ray" if setting.on_ray else "local"]
    if setting.use_gpu:
        engine += ["--use-gpu", "--cpus-per-gpu", str(setting.cpus_per_gpu)]
    training, dataset = f"{setting.folder}/jobs-training", setting.source(setting.train_rows).uri
    options = {
        "jobs.train": {
            "--id-column": "id",
            "--model": setting.model,
            "--out": training,
            "--folds": "2",
            "--epochs": "1",
            "--batch-size": str(setting.batch_size),
        },
        "jobs.mine": {
            "--training": training,
            "--findings": f"{setting.folder}/jobs-findings",
            "--run-id": "gpu",
            "--top": "100",
        },
    }[step] | {"--dataset": dataset}
    flags = [part for option in options.items() for part in option]
    return [sys.executable, "-m", step, *engine, *flags]


@dataclass(frozen=True)
class Row:
    """One side of a step over its turns; ratio: of the product to it, turn by turn."""

    step: str
    side: str
    rows_per_s: list[float]
    ratio: list[float]
    flop_per_row: float
    peak_memory_bytes: int


def compare(figures: Sequence[Figure]) -> Iterator[Row]:
    """The sides of steps that take turns, as far as they came."""
    timed = [one for one in figures if "rows_per_s" in one]
    rates = {(one["step"], one["side"], one["turn"]): one["rows_per_s"] for one in timed}
    for step, side in dict.fromkeys((one["step"], one["side"]) for one in timed):
        own = [one for one in timed if (one["step"], one["side"]) == (step, side)]
        yield Row(
            step,
            side,
            [one["rows_per_s"] for one in own],
            [
                rates[step, "product", one["turn"]] / one["rows_per_s"]
                for one in own
                if (step, "product", one["turn"]) in rates
            ],
            own[0]["flop_per_row"],
            max(one["peak_memory_bytes"] for one in own),
        )


def table(figures: Sequence[Figure]) -> list[str]:
    """Lines of Markdown: medians, least to greatest."""
    peaks = [one["flop_per_s"] for one in figures if "flop_per_s" in one]
    lines = [f"\nPeak: {max(peaks) / 1e12:.4g} TFLOP/s.\n"] if peaks else [""]
    lines += ["| step | side | rows/s | MFU | product / side | peak memory, GiB |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in compare(figures):
        rate, ratio = _spread(row.rows_per_s), _spread(row.ratio)
        median = statistics.median(row.rows_per_s)
        mfu = f"{median * row.flop_per_row / max(peaks):.1%}" if peaks else NOT_MEASURED
        if min(row.rows_per_s) <= 0:
            mfu = TOO_SHORT
        lines.append(
            f"| {row.step} | {row.side} | {rate} | {mfu} | {ratio} | "
            f"{row.peak_memory_bytes / 2**30:.2f} |"
        )
    lines += ["", "| step | ended | seconds |", "|---|---|---|"]
    lines += [
        f"| {one['step']} | {one['ended']} | {one['wall_s']:.0f} |"
        for one in figures
        if "ended" in one
    ]
    return lines


def _spread(values: Sequence[float]) -> str:
    """A rate of the product is a difference of two runs, negative where noise is larger."""
    if not values:
        return NOT_MEASURED
    return spread(list(values)) if min(values) > 0 else TOO_SHORT


if __name__ == "__main__":
    typer.run(main)
