"""Class probabilities or scores that others predicted: the PredictionForm of classification tasks.

A table has a number column for each class, by its name; or one column of lists, in the order of
class_order; or one column of structs (objects in JSON), whose fields are classes. Rows of numbers
that are 0 or more and sum to 1 are probabilities; others are scores, larger is likelier.
A prediction is base scores of a row, float64 [C]: logarithms of its probabilities, or its scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import log_softmax, softmax

from cluster.interfaces import VIEW, Array
from cluster.models.class_learner import score
from cluster.models.other_predictions import (
    MAX_NAMED,
    are_probabilities,
    counted,
    is_list,
    is_number,
)
from relabel_service.errors import InvalidInput

LEAST = 1e-6  # probability whose logarithm is still taken: others' are often rounded


@dataclass(frozen=True)
class Layout:
    """columns: of the classes in their order, or the one of lists or structs.
    is_probability: whether logarithms are to be taken."""

    columns: tuple[str, ...]
    is_probability: bool


def class_order(classes: Sequence[str]) -> list[int]:
    """Numbers of the classes in the order of lists: by number where all are whole numbers (as
    scikit-learn's and the datasets library's classes), else by name."""
    numbers = range(len(classes))
    if all(name.lstrip("-").isdecimal() for name in classes):
        return sorted(numbers, key=lambda number: int(classes[number]))
    return sorted(numbers, key=lambda number: classes[number])


class ClassPredictions:
    """Of text, image and audio classification."""

    def layout(self, table: pa.Table, classes: Sequence[str]) -> tuple[Layout, list[str]]:
        columns, notes = _columns(table, classes)
        values = _matrix(table, columns, classes)
        is_probability, of_numbers = are_probabilities(values, row="row", column="class")
        return Layout(columns, is_probability), [*notes, *of_numbers]

    def read(self, table: pa.Table, layout: Layout, classes: Sequence[str]) -> list[Array]:
        values = _matrix(table, layout.columns, classes)
        if layout.is_probability:
            values = np.log(np.maximum(values, LEAST))
        return list(log_softmax(values, axis=1))

    def require_suits(self, predictions: Sequence[Any], contents: Sequence[str]) -> None:
        """Any class suits any content."""

    def score(
        self,
        predictions: Sequence[Array],
        labels: Sequence[str],
        contents: Sequence[str],
        classes: Sequence[str],
    ) -> pa.Table:
        probabilities = softmax(np.stack(predictions), axis=1).astype(np.float32)
        return score(probabilities, _indices(labels, classes), classes)

    def columns(self, views: Sequence[Sequence[Array | None]]) -> dict[str, pa.Array]:
        return {
            f"{VIEW}{number}": pa.array(view, pa.list_(pa.float64()))
            for number, view in enumerate(views)
        }

    def learn(
        self,
        views: Sequence[Sequence[Array | None]],
        labels: Sequence[str],
        contents: Sequence[str],
        classes: Sequence[str],
    ) -> tuple[dict[str, Array], list[float]]:
        """None: the Ensemble learns them."""
        return {}, []

    def pool(self, views: Sequence[Array | None], weights: Mapping[str, Array]) -> Array | None:
        """The first model's; the Ensemble pools."""
        return views[0]


def _columns(table: pa.Table, classes: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The columns of predictions, and a note of those that are of no class."""
    numbers = [field.name for field in table.schema if is_number(field.type)]
    named = [name for name in classes if name in numbers]
    if not named:
        nested = [
            field.name
            for field in table.schema
            if (is_list(field.type) and is_number(field.type.value_type))
            or pa.types.is_struct(field.type)
        ]
        if len(nested) == 1:
            return _nested(table, nested[0], classes), []
    return tuple(classes), _match(classes, numbers, "number columns")


def _nested(table: pa.Table, name: str, classes: Sequence[str]) -> tuple[str, ...]:
    """The column of lists or structs. Raises InvalidInput where it is not of the classes."""
    kind = table.schema.field(name).type
    if pa.types.is_struct(kind):
        _match(classes, [kind.field(index).name for index in range(kind.num_fields)], "fields")
        return (name,)
    lengths = pc.unique(pc.list_value_length(table[name])).to_pylist()
    if lengths != [len(classes)]:
        order = ", ".join(classes[number] for number in class_order(classes))
        shown = ", ".join(str(length) for length in lengths[:MAX_NAMED])
        raise InvalidInput.of(
            "predictions",
            f"column {name!r} holds {shown} values a row, and the labels have {len(classes)} "
            f"classes; give one value a class, in the order {order}",
        )
    return (name,)


def _match(classes: Sequence[str], names: Sequence[str], what: str) -> list[str]:
    """A note of names that are of no class. Raises InvalidInput where a class has none."""
    missing = [name for name in classes if name not in names]
    others = [name for name in names if name not in classes]
    left = counted(others, names, f"{what} are of no class")
    if missing:
        raise InvalidInput.of(
            "predictions",
            f"{counted(missing, classes, 'classes have no column')}, and {left}; name each column "
            "by its class",
        )
    return [f"predictions: {left}; they are left out"] if others else []


def _matrix(
    table: pa.Table, columns: tuple[str, ...], classes: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Values by row and class, [R, C]; a field that a struct lacks is 0, a null elsewhere NaN."""
    kind = table.schema.field(columns[0]).type
    if is_list(kind):
        flat = table[columns[0]].combine_chunks().flatten().cast(pa.float64())
        values = flat.to_numpy(zero_copy_only=False).reshape(-1, len(classes))
        ordered = np.empty((len(values), len(classes)))
        ordered[:, class_order(classes)] = values
        return ordered
    if pa.types.is_struct(kind):
        structs = table[columns[0]].combine_chunks()
        fields = [pc.fill_null(pc.struct_field(structs, name), 0) for name in classes]
        return np.stack([one.cast(pa.float64()).to_numpy() for one in fields], axis=1)
    arrays = [table[name].cast(pa.float64()).to_numpy() for name in columns]
    return np.stack(arrays, axis=1)


def _indices(labels: Sequence[str], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[label] for label in labels], np.int64)
