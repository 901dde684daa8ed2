"""The built-in text model: texts encoded and predicted a CPU second, and what else could encode.

    python -m bench.text_model speed
    python -m bench.text_model detect --data DIR    # AP of wrong labels on each set

Speed: one torch thread, short messages in batches as mining has them; sides take turns. "One by
one" counts each n-gram as a Python string, as the model itself did before it counted a batch on
arrays; scikit-learn's HashingVectorizer counts the same n-grams without weights.
"""

import re
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import torch
import typer
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.metrics import average_precision_score

from bench.mining import CLASSES, TEXTS, spread
from cluster.engine.base import BATCH_ROWS
from cluster.inference.predict import predict_rows
from cluster.models.text import ngram
from cluster.models.text.hashed_ngrams import CHARACTERS, NUM_BUCKETS
from tests.support.cross_fit import cross_fit, is_wrong, rows_of

TASK = "text_classification"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command("speed")
def compare_speed(
    texts: Annotated[int, typer.Option(help="texts of a turn")] = 10_240,
    turns: Annotated[int, typer.Option(help="turns of each side")] = 5,
) -> None:
    """Print texts a CPU second of each side, least to greatest, and its ratio to one by one."""
    torch.set_num_threads(1)
    messages = pq.read_table(TEXTS)["text"].to_pylist()
    batches = [
        [messages[row % len(messages)] for row in range(start, start + BATCH_ROWS)]
        for start in range(0, texts, BATCH_ROWS)
    ]
    with tempfile.TemporaryDirectory() as local:
        ngram.prepare(Path(local), messages)
        learner = ngram.load(Path(local), CLASSES).eval()
    words = HashingVectorizer(ngram_range=(1, 2), n_features=NUM_BUCKETS, norm=None)
    runs = HashingVectorizer(
        analyzer="char_wb", ngram_range=(CHARACTERS[0], CHARACTERS[-1]), n_features=NUM_BUCKETS
    )
    sides: dict[str, Callable[[Sequence[str]], object]] = {
        "one by one, count": lambda batch: [_count(text) for text in batch],
        "scikit-learn, count": lambda batch: (words.transform(batch), runs.transform(batch)),
        "encode": learner.encode,
        "encode, predict": lambda batch: predict_rows(learner, batch),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            started = time.process_time()
            for batch in batches:
                side(batch)
            rates[name].append(len(batches) * BATCH_ROWS / (time.process_time() - started))
    for name, own in rates.items():
        ratios = [one / base for one, base in zip(own, rates["one by one, count"], strict=True)]
        print(f"{name:20} {spread(own)} texts a CPU second, {spread(ratios)} times one by one")


@app.command("detect")
def detect(
    data: Annotated[Path, typer.Option(help=f"folder of {TASK}/<name>/train.parquet")],
) -> None:
    """Print the average precision of suspicion on each set, cross-fitted in this process."""
    torch.set_num_threads(1)
    for path in sorted((data / TASK).glob("*/train.parquet")):
        rows = rows_of(TASK, pq.read_table(path), "text")
        fitted = cross_fit(TASK, rows)
        score = average_precision_score(is_wrong(TASK, fitted, rows), fitted.suspicion)
        print(f"{path.parent.name:20} AP {score:.4f}", flush=True)


def _count(text: str) -> tuple[Counter[int], Counter[int]]:
    """Buckets of words and pairs of words, and of runs of characters within words."""
    words = re.findall(r"\w+|[^\w\s]", text.lower())
    pairs = [f"{one} {other}" for one, other in pairwise(words)]
    runs = [
        word[start : start + length]
        for word in (f"<{word}>" for word in words)
        for length in CHARACTERS
        for start in range(len(word) - length + 1)
    ]
    return Counter(map(_bucket, words + pairs)), Counter(map(_bucket, runs))


def _bucket(ngram: str) -> int:
    return zlib.crc32(ngram.encode("utf-8", "surrogatepass")) % NUM_BUCKETS


if __name__ == "__main__":
    app()
