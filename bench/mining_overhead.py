"""What mining adds to a row beyond encoding and predicting it, step by step, in CPU ms a row.

    python -m bench.mining_overhead --rows 200000

Short texts with ids and the built-in text model, on the local engine in this process. A step's
figure is its CPU time less that of the step it contains; what mining adds is its whole less
encoding and predicting the same rows, which take turns with it.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer

from bench.engines import distinct_texts
from bench.mining import CLASSES, finished_training, mine_s, spread
from cluster.data.profile import profile_table
from cluster.data.rows import Source, latest, read, rows
from cluster.engine.base import BATCH_ROWS, Batches
from cluster.engine.local import LocalEngine
from cluster.inference.predict import InferenceConfig, Predictor, Sampling

SAMPLE = 5_000  # texts that tell the model which n-grams there are


def main(
    rows_: Annotated[int, typer.Option("--rows", help="rows of the table")] = 200_000,
    turns: Annotated[int, typer.Option(help="turns of each step")] = 3,
) -> None:
    """Print CPU ms a row of reading, checking, profiling, and all that mining adds."""
    torch.set_num_threads(1)
    engine, inference = LocalEngine(), InferenceConfig()
    with tempfile.TemporaryDirectory() as local:
        folder = Path(local)
        table = distinct_texts(rows_)
        source = _written(table, folder)
        texts = table["text"].slice(0, SAMPLE).to_pylist()
        store_uri = finished_training(folder, source, None, CLASSES, texts)
        predictor = Predictor(store_uri, Sampling.OUT_OF_SAMPLE)

        def mine_all(turn: int) -> None:
            mine_s(store_uri, source, folder, f"run-{turn}", inference, engine)

        steps: dict[str, Callable[[int], object]] = {
            "read": lambda _: _drain(read(engine, source)),
            "read, check": lambda _: _drain(rows(engine, source)),
            "read, check, profile": lambda _: profile_table(engine, source),
            "encode, predict": lambda _: _predict(predictor, table),
            "mine": mine_all,
        }
        spent: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(turns):
            for name, step in steps.items():
                started = time.process_time()
                step(turn)
                spent[name].append(1_000 * (time.process_time() - started) / rows_)
    _report(spent)


def _written(table: pa.Table, folder: Path) -> Source:
    uri = folder / "table.parquet"
    pq.write_table(table, uri)
    return latest(Source(str(uri), "text_classification", ("text",), "label", "id"))


def _drain(batches: Batches) -> None:
    for _ in batches:
        pass


def _predict(predictor: Predictor, table: pa.Table) -> None:
    for batch in table.to_batches(BATCH_ROWS):
        predictor.predict(batch["id"].to_pylist(), batch["text"].to_pylist())


def _report(spent: dict[str, list[float]]) -> None:
    def less(name: str, other: str) -> list[float]:
        return [one - two for one, two in zip(spent[name], spent[other], strict=True)]

    lines = {
        "read": spent["read"],
        "check": less("read, check", "read"),
        "profile": less("read, check, profile", "read, check"),
        "encode, predict": spent["encode, predict"],
        "mine": spent["mine"],
        "mine adds": less("mine", "encode, predict"),
    }
    for name, values in lines.items():
        print(f"{name:16} {spread(values)} ms CPU a row")


if __name__ == "__main__":
    typer.run(main)
