"""CPU seconds and wall time of the engines: mining beside a bare loop, fits on one and two workers.

    python -m bench.engines mine --rows 40000     # bare loop, local, ray: CPU s of all processes
    python -m bench.engines fit                   # ray, one worker and two: wall seconds
    python -m bench.engines demo                  # jobs.loop --demo on local and on ray: wall s

Each side is a process of its own, and sides take turns. The bare loop reads the table and has the
built-in text model encode and predict every row, with imports and loading, as the jobs' processes
have them. CPU seconds are those of the process and of all it started, looked at every 0.2 s.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from bench.mining import TEXTS, spread

SAMPLE_S = 0.2
IMAGES = TEXTS.parents[2] / "image_classification/digits/train.parquet"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, order=True)
class Cost:
    """Of a process and all it started."""

    wall_s: float
    cpu_s: float


Side = Callable[[int], Cost]
"""Runs one side, given the turn."""


@app.command("mine")
def compare_mining(
    rows: Annotated[int, typer.Option(help="rows of the table")] = 40_000,
    turns: Annotated[int, typer.Option(help="turns of each side")] = 3,
) -> None:
    """Mining on both engines beside a bare loop of the same model."""
    with tempfile.TemporaryDirectory() as local:
        folder = Path(local)
        table, training = folder / "table.parquet", folder / "training"
        pq.write_table(distinct_texts(rows), table)
        pq.write_table(distinct_texts(2_000), folder / "few.parquet")
        columns = ("--id-column", "id", "--folds", "3")
        _run("jobs.train", "--dataset", folder / "few.parquet", *columns, "--out", training)

        def mine_on(engine: str) -> Side:
            options = ("--dataset", table, "--training", training, "--top", "100")
            outputs = ("--findings", folder / engine, "--engine", engine, "--no-show")
            return lambda turn: _run("jobs.mine", *options, *outputs, "--run-id", f"run-{turn}")

        sides: dict[str, Side] = {"bare": lambda _: _run("bench.engines", "bare", table, training)}
        sides |= {engine: mine_on(engine) for engine in ("local", "ray")}
        _report(sides, turns, "bare", rows)


@app.command("fit")
def compare_workers(
    epochs: Annotated[int, typer.Option(help="of the image model")] = 30,
    turns: Annotated[int, typer.Option(help="turns of each side")] = 3,
) -> None:
    """Five folds and the whole table, spread over one worker or two; and how much longer than
    alone two processes that have nothing to do with each other take at once, which no engine
    can mend."""
    with tempfile.TemporaryDirectory() as local:

        def fit(name: str, *how: object) -> Cost:
            options = ("--task", "image_classification", "--dataset", IMAGES, "--id-column", "id")
            out = Path(local) / name
            return _run("jobs.train", *options, "--epochs", epochs, *how, "--out", out)

        def fit_on(num: int) -> Side:
            how = ("--engine", "ray", "--num-workers", num)
            return lambda turn: fit(f"{num}-{turn}", *how)

        def alone(turn: int) -> Cost:
            return fit(f"alone-{turn}", "--engine", "local")

        def at_once(turn: int) -> Cost:
            with ThreadPoolExecutor(2) as threads:
                names = (f"first-{turn}", f"second-{turn}")
                return max(threads.map(lambda name: fit(name, "--engine", "local"), names))

        _report({f"{num} workers": fit_on(num) for num in (1, 2)}, turns, "1 workers", 1)
        _report({"alone": alone, "at once": at_once}, turns, "alone", 1)


@app.command("demo")
def compare_demo(turns: Annotated[int, typer.Option(help="turns of each side")] = 3) -> None:
    """The demo on both engines."""
    with tempfile.TemporaryDirectory() as local:

        def demo_on(engine: str) -> Side:
            options = ("--demo", "--engine", engine)
            out = Path(local) / engine
            return lambda turn: _run("jobs.loop", *options, "--out", f"{out}-{turn}")

        sides = {engine: demo_on(engine) for engine in ("local", "ray")}
        _report(sides, turns, "ray", 1)


@app.command("bare", hidden=True)
def bare(table: Path, training: str) -> None:
    """Encode and predict every row, out of sample."""
    import torch

    from cluster.inference.predict import Predictor, Sampling

    torch.set_num_threads(1)  # more spin for nothing: the batches of this model are small
    predictor = Predictor(training, Sampling.OUT_OF_SAMPLE)
    for batch in pq.ParquetFile(table).iter_batches(batch_size=1024):
        predictor.predict(batch["id"].to_pylist(), batch["text"].to_pylist())


def distinct_texts(num_rows: int) -> pa.Table:
    """Two halves of messages together, so that no text comes twice."""
    messages = pq.read_table(TEXTS, columns=["text", "label"])
    texts, labels = messages["text"].to_pylist(), messages["label"].to_pylist()
    halves = [text[: len(text) // 2] for text in texts]
    return pa.table(
        {
            "id": [f"row-{row}" for row in range(num_rows)],
            "text": [
                f"{halves[row % len(texts)]} {halves[(row * 7 + row // len(texts)) % len(texts)]} "
                f"{row}"
                for row in range(num_rows)
            ],
            "label": [labels[row % len(texts)] for row in range(num_rows)],
        }
    )


def _run(module: str, *arguments: object) -> Cost:
    """Run a module to its end. Raises CalledProcessError with what it said where it fails."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = psutil.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        spent: dict[int, float] = {}
        while process.poll() is None:
            _look(process, spent)
            time.sleep(SAMPLE_S)
        if process.returncode:
            output.seek(0)
            raise subprocess.CalledProcessError(process.returncode, command, output.read())
    return Cost(time.monotonic() - started, sum(spent.values()))


def _look(process: psutil.Popen, spent: dict[int, float]) -> None:
    """Note the CPU seconds of a process and its descendants, by pid."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return
    for member in family:
        try:
            times = member.cpu_times()
        except psutil.Error:  # it ended meanwhile; what was last seen of it counts
            continue
        spent[member.pid] = times.user + times.system


def _report(sides: dict[str, Callable[[int], Cost]], turns: int, base: str, num_rows: int) -> None:
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for turn in range(turns):
        for name, side in sides.items():
            costs[name].append(side(turn))
    for name, own in costs.items():
        wall, cpu = [one.wall_s for one in own], [one.cpu_s for one in own]
        print(f"{name:10} wall {spread(wall)} s   CPU {spread(cpu)} s", end="")
        if num_rows > 1:
            print(f"   {spread([1000 * value / num_rows for value in cpu])} ms CPU a row", end="")
        if name != base:
            print(f"   wall / {base} {_ratio(own, costs[base], 'wall_s')}", end="")
            print(f"   CPU / {base} {_ratio(own, costs[base], 'cpu_s')}", end="")
        print()


def _ratio(own: Sequence[Cost], base: Sequence[Cost], name: str) -> str:
    pairs = zip(own, base, strict=True)
    return spread([getattr(one, name) / getattr(other, name) for one, other in pairs])


if __name__ == "__main__":
    app()
