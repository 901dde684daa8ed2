"""What bench.gpu measures, each step in a process of its own; figures come as dictionaries.

Rows are texts of random words, of a quarter of `num_tokens` words to all of them, a token each.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    pipeline,
)

from bench import fitting, mining
from cluster.data.rows import Source, latest
from cluster.engine.base import Engine
from cluster.engine.devices import device
from cluster.engine.local import LocalEngine
from cluster.engine.workers import Workers
from cluster.inference.predict import CHUNK_ROWS, InferenceConfig
from jobs.common.session import ray_session

Figure = dict[str, Any]

CLASSES = ("even", "odd")
NUM_WORDS = 8_000
MATMUL_S = 0.5  # of one matrix size, after one product that is not timed
WARM_ROWS = 1_024  # of a run that is not timed: Ray's first workers import torch, GPUs load kernels
PIPELINE_ROWS = 16_384  # at most: its speed does not depend on the number
SAMPLE_S = 0.05  # between two looks at the memory


@dataclass(frozen=True)
class Setting:
    """Sizes and place of all steps.

    folder: local, holds the model and the tables. train_rows, mine_rows: of the tables.
    num_tokens: of the longest text. batch_size: of training. repeats: turns of each side.
    matrix_sizes: n of the [n, n] products.
    """

    folder: str
    use_gpu: bool
    cpus_per_gpu: int
    on_ray: bool
    train_rows: int
    mine_rows: int
    num_tokens: int
    hidden: int
    layers: int
    batch_size: int
    repeats: int
    matrix_sizes: tuple[int, ...]

    @property
    def model(self) -> str:
        return str(Path(self.folder) / "network")

    @property
    def workers(self) -> Workers:
        return Workers(1, self.use_gpu, self.cpus_per_gpu)

    def source(self, num_rows: int) -> Source:
        path = Path(self.folder) / f"texts-{num_rows}.parquet"
        return latest(Source(str(path), "text_classification", ("text",), "label", "id"))

    def engine(self) -> AbstractContextManager[Engine]:
        return ray_session(self.workers) if self.on_ray else nullcontext(LocalEngine())


def prepare(setting: Setting) -> None:
    """Write what the steps read: a network with random weights, its tokenizer, the tables."""
    words = [f"w{number}" for number in range(NUM_WORDS)]
    vocabulary = {word: place for place, word in enumerate(["[UNK]", "[PAD]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        model_max_length=setting.num_tokens,
    ).save_pretrained(setting.model)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=setting.hidden,
        num_hidden_layers=setting.layers,
        num_attention_heads=max(setting.hidden // 64, 1),
        intermediate_size=4 * setting.hidden,
        max_position_embeddings=max(setting.num_tokens, 512),
        pad_token_id=vocabulary["[PAD]"],
    )
    BertForSequenceClassification(config).save_pretrained(setting.model)
    for num_rows in {WARM_ROWS, setting.train_rows, setting.mine_rows, setting.mine_rows // 2}:
        random = np.random.default_rng(0)
        lengths = random.integers(setting.num_tokens // 4, setting.num_tokens + 1, num_rows)
        texts = [
            " ".join([words[place] for place in random.integers(0, NUM_WORDS, length).tolist()])
            for length in lengths.tolist()
        ]
        columns = {
            "id": [f"row-{row}" for row in range(num_rows)],
            "text": texts,
            "label": [CLASSES[row % 2] for row in range(num_rows)],
        }
        pq.write_table(pa.table(columns), Path(setting.folder) / f"texts-{num_rows}.parquet")


def peak(setting: Setting) -> Iterator[Figure]:
    """FLOP/s of matrix products, in the type that models run in: bfloat16 on GPUs."""
    kind = torch.bfloat16 if device().type == "cuda" else torch.float32
    for size in setting.matrix_sizes:
        left, right = (torch.randn(size, size, dtype=kind, device=device()) for _ in range(2))
        _ = (left @ right)[0, 0].item()  # fetched: what was asked of a GPU is over
        count, started = 0, time.perf_counter()
        while (spent_s := time.perf_counter() - started) < MATMUL_S:
            for _ in range(10):
                product = left @ right
            _ = product[0, 0].item()
            count += 10
        yield {"side": f"matmul {size}", "flop_per_s": count * 2 * size**3 / spent_s}


def training(setting: Setting) -> Iterator[Figure]:
    """Rows/s of epochs after the first: the product's and a bare loop's, and of the step alone."""
    source = setting.source(setting.train_rows)
    setup = fitting.Setup(source, setting.model, CLASSES, setting.batch_size, setting.workers)
    flop = 3 * flop_per_row(setting, source)  # twice as much goes back as forth
    with setting.engine() as engine:

        def bare() -> Figure:
            fed, step = fitting.bare(setup)
            return {"rows_per_s": fed, "step_alone_rows_per_s": step}

        def product(turn: int) -> Figure:
            out = Path(setting.folder) / f"training-{turn}"
            rate = fitting.product(setup, engine, out, num_rows=setting.train_rows)
            return {"rows_per_s": rate}

        warm = replace(setup, source=setting.source(WARM_ROWS))
        fitting.product(warm, engine, Path(setting.folder) / "warm", num_rows=WARM_ROWS)
        for turn in range(setting.repeats):
            yield from _turn(turn, flop, {"bare": bare, "product": lambda: product(turn)})  # noqa: B023


def inference(setting: Setting) -> Iterator[Figure]:
    """Rows/s scored: by the product's mining, a bare loop and a pipeline of transformers."""
    whole, half = setting.source(setting.mine_rows), setting.source(setting.mine_rows // 2)
    folder = Path(setting.folder)
    store_uri = mining.finished_training(folder, whole, setting.model, CLASSES)
    config = InferenceConfig(batch_rows=mining.BATCH_ROWS, workers=setting.workers)
    stock = transformers_pipeline(setting)
    warm = setting.source(WARM_ROWS)
    mining.bare_s(store_uri, warm)
    with setting.engine() as engine:

        def bare() -> Figure:
            return {"rows_per_s": setting.mine_rows / mining.bare_s(store_uri, whole)}

        def product(turn: int) -> Figure:
            half_s, whole_s = (
                mining.mine_s(store_uri, source, folder, f"{name}-{turn}", config, engine)
                for name, source in (("half", half), ("whole", whole))
            )
            later_rows = setting.mine_rows - setting.mine_rows // 2
            return {"rows_per_s": later_rows / (whole_s - half_s), "half_s": half_s}

        mining.mine_s(store_uri, warm, folder, "warm", config, engine)
        for turn in range(setting.repeats):
            sides = {"bare": bare, "product": lambda: product(turn), "pipeline": stock}  # noqa: B023
            yield from _turn(turn, flop_per_row(setting, whole), sides)


def transformers_pipeline(setting: Setting) -> Callable[[], Figure]:
    """A pipeline of transformers over the batches that the other sides take."""
    kind = torch.bfloat16 if device().type == "cuda" else torch.float32
    network = AutoModelForSequenceClassification.from_pretrained(setting.model, dtype=kind)
    classify: Any = pipeline(
        "text-classification",
        model=network,
        tokenizer=AutoTokenizer.from_pretrained(setting.model),
        device=device(),
        batch_size=CHUNK_ROWS,
    )
    texts = texts_of(setting.source(setting.mine_rows))[:PIPELINE_ROWS]
    classify(texts[: mining.BATCH_ROWS])

    def run() -> Figure:
        started = time.perf_counter()
        for at in range(0, len(texts), mining.BATCH_ROWS):
            classify(texts[at : at + mining.BATCH_ROWS])
        return {"rows_per_s": len(texts) / (time.perf_counter() - started)}

    return run


def texts_of(source: Source) -> list[str]:
    texts: list[str] = pq.read_table(source.uri)["text"].to_pylist()
    return texts


def flop_per_row(setting: Setting, source: Source) -> float:
    """Of one pass forth, on average over the rows: tokens alone, padding is not useful work."""
    lengths = np.array([len(text.split()) for text in texts_of(source)], np.float64)
    hidden, layers = setting.hidden, setting.layers
    weights = layers * 12 * hidden**2  # query, key, value, output; and the two of 4 * hidden
    attention = 4 * layers * hidden * lengths**2  # queries by keys, and their weights by values
    return float(np.mean(2 * weights * lengths + attention))


def _turn(turn: int, flop: float, sides: dict[str, Callable[[], Figure]]) -> Iterator[Figure]:
    """Each side once; they begin by turns, so that a machine that slows down favours none."""
    first = turn % len(sides)
    names = list(sides)
    for name in names[first:] + names[:first]:
        if device().type == "cuda":
            torch.cuda.empty_cache()
        with peak_memory() as used:
            figure = sides[name]()
        yield {"side": name, "turn": turn, **figure, "flop_per_row": flop, **used}


@contextmanager
def peak_memory() -> Iterator[Figure]:
    """Within it, looks at the memory in use: of the whole GPU, or of this process and its own.

    Puts the largest number of bytes into what it gives, at the end.
    """
    used: Figure = {"peak_memory_bytes": _used_bytes()}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_S):
            used["peak_memory_bytes"] = max(used["peak_memory_bytes"], _used_bytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield used
    finally:
        over.set()
        thread.join()


def _used_bytes() -> int:
    if device().type == "cuda":
        free, total = torch.cuda.mem_get_info()
        return int(total - free)
    own = psutil.Process()
    total = 0
    for process in (own, *own.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:  # it has ended since it was listed
            continue
    return total


STEPS: dict[str, Callable[[Setting], Iterator[Figure]]] = {
    "peak": peak,
    "training": training,
    "inference": inference,
}


def main(name: str, setting: str) -> None:
    """Print the step's figures, a JSON line each. setting: as JSON."""
    values = json.loads(setting)
    values["matrix_sizes"] = tuple(values["matrix_sizes"])
    for figure in STEPS[name](Setting(**values)):
        print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
