"""How similar rows are to a few example errors: by tokens, by regular expression, by embedding.

Every measure gives a similarity in [0, 1], higher is more similar, of each row to each example,
and measures a row on its own, so that rows can be spread over workers in any batches. The
queries are few, so an exact search is one pass over the rows; no index is built.

R rows, Q examples, T distinct tokens of the examples.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np
import pyarrow as pa

from cluster.engine.base import Batches
from cluster.inference.embeddings import Embedder
from cluster.interfaces import Array
from relabel_service.errors import InvalidInput
from relabel_service.tasks import task_named
from relabel_service.tasks.scripts import UNSPACED
from relabel_service.v1 import items_pb2

Measure = Callable[[Sequence[str]], Array]
"""Contents -> similarity to each example, [R, Q]."""

K1, B = 1.5, 0.75
# A letter of a script that sets no spaces is a token; other letters and digits run together.
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


class Similarity(StrEnum):
    """What makes rows similar."""

    TOKENS = "tokens"  # words they share, rare words more (BM25)
    REGEX = "regex"  # a match of the example's regular expression
    EMBEDDING = "embedding"  # the angle between their embeddings


def measure_of(
    similarity_by: Similarity,
    examples: Sequence[str],
    rows: Batches | None,
    *,
    task: str,
    model: str | None,
) -> Callable[[], Measure]:
    """What workers call to load a measure. Raises InvalidInput when it does not suit the examples.

    rows: data.rows.ROWS that tokens are counted in; the other measures need none.
    """
    match similarity_by:
        case Similarity.TOKENS:
            queries = [tokens(words(example, task)) for example in examples]
            assert rows is not None
            return partial(_by_tokens, queries, count(rows, queries, task=task), task)
        case Similarity.REGEX:
            return partial(_by_expressions, [_compiled(example) for example in examples], task)
        case Similarity.EMBEDDING:
            Embedder.check(task, examples[0], model)
            return partial(_by_embedding, list(examples), task, model)


def words(content: str, task: str) -> str:
    """A content's words. Raises InvalidInput when it has none."""
    wire = task_named(task).content_to_wire(content)
    payload = wire.WhichOneof("payload")
    if payload not in _WORDS:
        raise InvalidInput.of(
            "similarity_by", f"{payload} has no words; compare by {Similarity.EMBEDDING.value}"
        )
    return _WORDS[payload](wire)


_WORDS: dict[str, Callable[[items_pb2.Content], str]] = {
    "text": lambda wire: wire.text.text,
    "tokens": lambda wire: " ".join(wire.tokens.tokens),
    "fields": lambda wire: " ".join(
        f"{name}={value}" for name, value in sorted(wire.fields.fields.items())
    ),
}


def tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


@dataclass(frozen=True)
class Counts:
    """Of a whole table: rows that hold each token of the examples, rows, and mean tokens a row."""

    rows_with: dict[str, int]
    num_rows: int
    mean_length: float


def count(rows: Batches, queries: Sequence[Sequence[str]], *, task: str) -> Counts:
    """One pass over the rows; only the examples' own tokens are counted."""
    wanted = frozenset(token for query in queries for token in query)
    of_batches = rows.map(partial(_count, wanted=wanted, task=task)).to_table().to_pylist()
    rows_with: Counter[str] = Counter()
    for batch in of_batches:
        rows_with.update(dict(batch["rows_with"]))
    num_rows = sum(batch["num_rows"] for batch in of_batches)
    num_tokens = sum(batch["num_tokens"] for batch in of_batches)
    return Counts(dict(rows_with), num_rows, num_tokens / max(num_rows, 1))


def bm25(query: Sequence[str], texts: Sequence[Sequence[str]], counts: Counts) -> Array:
    """Score of each text, [R] (Robertson et al. 1995, idf as Lucene has it, never negative).

    Libraries score against an index of their own, whose counts would be one worker's rows;
    these counts are the whole table's.
    """
    weight = {
        token: number * math.log(1 + (counts.num_rows - with_ + 0.5) / (with_ + 0.5))
        for token, number in Counter(query).items()
        if (with_ := counts.rows_with.get(token, 0))
    }
    return np.array(
        [_score(Counter(text), len(text), weight, counts.mean_length) for text in texts]
    )


def _score(
    counts: Counter[str], length: int, weight: dict[str, float], mean_length: float
) -> float:
    norm = K1 * (1 - B + B * length / max(mean_length, 1e-9))
    return sum(
        value * counts[token] / (counts[token] + norm)
        for token, value in weight.items()
        if token in counts
    )


def _by_tokens(queries: Sequence[Sequence[str]], counts: Counts, task: str) -> Measure:
    """BM25 over the score an example has with itself, at most 1."""
    own = [max(float(bm25(query, [query], counts)[0]), 1e-9) for query in queries]

    def measure(contents: Sequence[str]) -> Array:
        texts = [tokens(words(content, task)) for content in contents]
        scores = [
            bm25(query, texts, counts) / most for query, most in zip(queries, own, strict=True)
        ]
        return np.minimum(np.stack(scores, axis=1), 1.0)

    return measure


def _by_expressions(expressions: Sequence[re.Pattern[str]], task: str) -> Measure:
    def measure(contents: Sequence[str]) -> Array:
        return np.array(
            [
                [float(pattern.search(text) is not None) for pattern in expressions]
                for text in (words(content, task) for content in contents)
            ]
        ).reshape(len(contents), len(expressions))

    return measure


def _by_embedding(examples: Sequence[str], task: str, model: str | None) -> Measure:
    """Cosine, negative ones as 0."""
    embedder = Embedder(task, model)
    vectors = embedder(examples)

    def measure(contents: Sequence[str]) -> Array:
        return np.clip(embedder(contents) @ vectors.T, 0.0, 1.0)

    return measure


def _compiled(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except re.error as error:
        raise InvalidInput.of(
            "examples", f"{expression!r} is not a regular expression: {error}; fix it"
        ) from None


def _count(batch: pa.Table, *, wanted: frozenset[str], task: str) -> pa.Table:
    valid = batch.filter(batch["fault"].is_null())
    rows_with: Counter[str] = Counter()
    num_tokens = 0
    for content in valid["content"].to_pylist():
        of_row = tokens(words(content, task))
        num_tokens += len(of_row)
        rows_with.update(wanted.intersection(of_row))
    return pa.table(
        {
            "rows_with": pa.array([list(rows_with.items())], pa.map_(pa.string(), pa.int64())),
            "num_rows": [valid.num_rows],
            "num_tokens": [num_tokens],
        }
    )
