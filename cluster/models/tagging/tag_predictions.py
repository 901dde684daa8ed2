"""Tag probabilities that others predicted: the PredictionForm of token classification.

A table has one column of lists, a list of G numbers for each token in the order of tags.names
(O, then B- and I- of each class by name); or a column for each tag, by its name, of lists of a
number a token. A prediction is probabilities, float32 [T, G].
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import log_softmax, softmax

from cluster.interfaces import Array
from cluster.models.other_predictions import (
    are_probabilities,
    average_of,
    counted,
    is_number,
    learn_weights,
    pooled,
)
from cluster.models.tagging import tags
from cluster.models.tagging.tag_learner import SCORED, score_row
from relabel_service.errors import InvalidInput
from relabel_service.tasks import spans

MATRIX = 2  # dimensions of a row's numbers: token, tag
MAX_TOKENS = 50_000  # that weights are learned from


@dataclass(frozen=True)
class Layout:
    """columns: of the tags in their order, or the one of lists of lists."""

    columns: tuple[str, ...]
    is_probability: bool


class TagPredictions:
    """Of token classification."""

    def layout(self, table: pa.Table, classes: Sequence[str]) -> tuple[Layout, list[str]]:
        names = tags.names(classes)
        nested = [field.name for field in table.schema if _depth(field.type) == 2]
        lists = [field.name for field in table.schema if _depth(field.type) == 1]
        if len(nested) == 1 and not set(names) & set(lists):
            columns: tuple[str, ...] = (nested[0],)
        else:
            missing = [name for name in names if name not in lists]
            others = [name for name in lists if name not in names]
            if missing:
                raise InvalidInput.of(
                    "predictions",
                    f"{counted(missing, names, 'tags have no column')}, and "
                    f"{counted(others, lists, 'columns of lists are of no tag')}; name each column "
                    "by its tag, or give one column of lists of lists, a number a tag in the order "
                    f"{', '.join(names)}",
                )
            columns = tuple(names)
        values = [_matrix(row, columns) for row in table.to_pylist()]
        wrong = sum(one.ndim != MATRIX or one.shape[1] != len(names) for one in values)
        if wrong:
            raise InvalidInput.of(
                "predictions",
                f"{wrong:,} of {len(values):,} rows have tokens without {len(names)} numbers; give "
                f"one a tag, in the order {', '.join(names)}",
            )
        tokens = np.concatenate([np.empty((0, len(names))), *values])
        is_probability, notes = are_probabilities(tokens, row="token", column="tag")
        return Layout(columns, is_probability), notes

    def read(
        self, table: pa.Table, layout: Layout, classes: Sequence[str]
    ) -> list[tags.Probabilities]:
        found = []
        for row in table.to_pylist():
            values = _matrix(row, layout.columns)
            if layout.is_probability:
                values = values / values.sum(axis=1, keepdims=True)
            else:
                values = softmax(values, axis=1)
            found.append(values.astype(np.float32))
        return found

    def require_suits(
        self, predictions: Sequence[tags.Probabilities | None], contents: Sequence[str]
    ) -> None:
        wrong = [
            (len(one), num_tokens)
            for one, content in zip(predictions, contents, strict=True)
            if one is not None and len(one) != (num_tokens := len(json.loads(content)))
        ]
        if wrong:
            raise InvalidInput.of(
                "predictions",
                f"{len(wrong):,} of {len(predictions):,} rows have another number of tokens "
                f"({wrong[0][0]} predicted, {wrong[0][1]} there); predict each token once",
            )

    def score(
        self,
        predictions: Sequence[tags.Probabilities],
        labels: Sequence[str],
        contents: Sequence[str],
        classes: Sequence[str],
    ) -> pa.Table:
        rows = [
            row
            for number, (one, label, content) in enumerate(
                zip(predictions, labels, contents, strict=True)
            )
            for row in score_row(number, one, spans.from_text(label), json.loads(content), classes)
        ]
        return pa.Table.from_pylist(rows, schema=SCORED)

    def columns(self, views: Sequence[Sequence[Any]]) -> dict[str, pa.Array]:
        """None: there is no Ensemble."""
        return {}

    def learn(
        self,
        views: Sequence[Sequence[tags.Probabilities | None]],
        labels: Sequence[str],
        contents: Sequence[str],
        classes: Sequence[str],
    ) -> tuple[dict[str, Array], list[float]]:
        """By the tokens of rows that all models have predicted."""
        stacked: list[list[Array]] = [[] for _ in views]
        true: list[tags.Tags] = []
        none = np.empty((0, len(tags.names(classes))))
        num_tokens = 0
        for row, label in zip(zip(*views, strict=True), labels, strict=True):
            if num_tokens >= MAX_TOKENS or any(one is None for one in row):
                continue
            true.append(tags.of_spans(spans.from_text(label), len(row[0]), classes))
            num_tokens += len(row[0])
            for own, one in zip(stacked, row, strict=True):
                own.append(_logs(one))
        base_scores = [np.concatenate([none, *own]) for own in stacked]
        return learn_weights(base_scores, np.concatenate([np.empty(0, np.int64), *true]))

    def pool(
        self, views: Sequence[tags.Probabilities | None], weights: Mapping[str, Array]
    ) -> tags.Probabilities | None:
        """The weighted average."""

        def average(every: Sequence[tags.Probabilities]) -> tags.Probabilities:
            logs = [_logs(probabilities) for probabilities in every]
            return average_of(weights).probabilities(logs).astype(np.float32)

        return pooled(views, average)


def _logs(probabilities: Any) -> Array:
    logs: Array = log_softmax(np.log(np.maximum(probabilities, tags.LEAST)), axis=1)
    return logs.astype(np.float64)


def _matrix(row: Mapping[str, Any], columns: Sequence[str]) -> Array:
    """A row's numbers by token and tag; of another shape where they are not so many."""
    try:
        if len(columns) == 1:
            return np.array(row[columns[0]], np.float64)
        return np.array([row[name] for name in columns], np.float64).T
    except (TypeError, ValueError):  # lists of several lengths, or null
        return np.empty(0)


def _depth(kind: pa.DataType) -> int:
    """How many lists are around numbers; 0 for anything else."""
    depth = 0
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        depth, kind = depth + 1, kind.value_type
    return depth if is_number(kind) else 0
