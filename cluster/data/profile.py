"""One pass over a table before training: counts, classes, repeated ids, near-duplicates.

Owns what must be known of the whole table before any row is used; what it keeps
on the driver is 8 bytes a row, and 64 more where the task can find near-duplicates.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.data.folds import IdKeys, id_keys
from cluster.data.label_warnings import fractions, near_identical
from cluster.data.rows import Source, rows
from cluster.engine.base import Engine
from relabel_service.errors import InvalidInput
from relabel_service.tasks import task_named

MAX_NAMED = 3  # kinds of faults that the error names
REPEATED = "the id is that of another row; give each row an id of its own"
VALUE = re.compile(r"'[^']*'|\"[^\"]*\"|-?\d[\d.e+-]*|\bnan\b|\binf\b")

_PART = pa.schema(
    [
        pa.field("num_rows", pa.int64()),
        pa.field("num_faults", pa.int64()),
        pa.field("faults", pa.string()),  # JSON [[fault, rows with it or with one like it]]
        pa.field("classes", pa.string()),  # JSON {class: rows}
        pa.field("num_coordinates", pa.int64()),
        pa.field("largest_coordinate", pa.float64()),
        pa.field("keys", pa.large_binary()),  # uint64 [rows]
        pa.field("bands", pa.large_binary()),  # uint64 [rows that can be compared, NUM_BANDS]
        pa.field("band_keys", pa.large_binary()),  # uint64 [rows that can be compared]
    ]
)


@dataclass(frozen=True)
class TableProfile:
    """The whole table in numbers.

    num_faults: invalid rows, the second and later rows of a repeated id included.
    faults: a sentence of each kind, and its rows, the commonest first.
    classes: rows that name each class. repeated: keys of ids that several rows
    use. Two ids share a key by chance in one of 30 million tables of a million rows.
    near_duplicates: uint64 [grouped rows, 2]; the id key of a row that has
    near-duplicates, and the key its whole group goes by.
    warnings: what looks odd in the labels, in sentences (label_warnings.py).
    """

    num_rows: int
    num_faults: int
    classes: Mapping[str, int]
    repeated: IdKeys
    near_duplicates: npt.NDArray[np.uint64]
    warnings: Sequence[str] = ()
    faults: Sequence[tuple[str, int]] = ()

    @property
    def left_out(self) -> list[str]:
        """A sentence: how many rows no model is trained on, and why; none where all are."""
        if not self.num_faults:
            return []
        return [f"{self.num_faults:,} of {self.num_rows:,} rows are left out: {told(self.faults)}"]


def told(faults: Sequence[tuple[str, int]]) -> str:
    """The commonest kinds of faults, each with its rows."""
    return "; ".join(f"{count:,} rows: {fault}" for fault, count in faults[:MAX_NAMED])


def profile_table(engine: Engine, source: Source, *, near_duplicates: bool = False) -> TableProfile:
    """Look at every row of a pinned source once. Raises InvalidInput when none is valid.

    near_duplicates: whether to find them, which costs more than all the rest.
    """
    parts = (
        rows(engine, source)
        .map(partial(profile_batch, task=source.task, near_duplicates=near_duplicates))
        .to_table()
        .to_pylist()
    )
    num_rows = sum(part["num_rows"] for part in parts)
    num_faults = sum(part["num_faults"] for part in parts)
    faults = _by_kind(pair for part in parts for pair in json.loads(part["faults"]))
    if num_faults == num_rows:
        raise InvalidInput.of(
            "dataset",
            f"{source.uri!r}: none of {num_rows} rows is valid for {source.task}: {told(faults)}",
        )
    classes: Counter[str] = Counter()
    for part in parts:
        classes.update(json.loads(part["classes"]))
    num_coordinates = sum(part["num_coordinates"] for part in parts)
    largest = max(part["largest_coordinate"] for part in parts)
    keys, counts = np.unique(_joined(parts, "keys"), return_counts=True)
    if num_repeated := num_rows - len(keys):
        faults = sorted([*faults, (REPEATED, num_repeated)], key=lambda pair: -pair[1])
    bands = _joined(parts, "bands")
    return TableProfile(
        num_rows=num_rows,
        num_faults=num_faults + num_repeated,
        classes=dict(sorted(classes.items())),
        repeated=keys[counts > 1],
        near_duplicates=_groups(_joined(parts, "band_keys"), bands)
        if len(bands)
        else np.empty((0, 2), np.uint64),
        warnings=[*near_identical(classes), *fractions(num_coordinates, largest)],
        faults=faults,
    )


def profile_batch(batch: pa.Table, *, task: str, near_duplicates: bool) -> pa.Table:
    """ROWS -> one row of _PART."""
    is_valid = batch["fault"].is_null()
    valid = batch.filter(is_valid)
    light = task_named(task)
    classes: Counter[str] = Counter()
    num_coordinates, largest = 0, -math.inf
    for counted in valid["label"].value_counts().to_pylist():
        for name in light.classes_in(counted["values"]):
            classes[name] += counted["counts"]
        coordinates = light.coordinates(counted["values"])
        num_coordinates += len(coordinates)
        largest = max([largest, *coordinates])
    keys = id_keys(batch["id"])
    contents = valid["content"].to_pylist() if near_duplicates else []
    has_text, bands = _bands(task, contents)
    valid_keys = keys[is_valid.to_numpy()][: len(contents)]
    part = {
        "num_rows": batch.num_rows,
        "num_faults": batch.num_rows - valid.num_rows,
        "faults": json.dumps(
            _by_kind((fault, 1) for fault in batch["fault"].drop_null().to_pylist())
        ),
        "classes": json.dumps(classes),
        "num_coordinates": num_coordinates,
        "largest_coordinate": largest,
        "keys": keys.tobytes(),
        "bands": b"".join(row.tobytes() for row in bands),
        "band_keys": valid_keys[has_text].tobytes(),
    }
    return pa.Table.from_pylist([part], schema=_PART)


def _by_kind(faults: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """The first fault of each kind and the rows of the kind, the commonest first.

    Faults are of one kind that differ in quoted values and numbers alone.
    """
    kinds: dict[str, tuple[str, int]] = {}
    for fault, count in faults:
        kind = VALUE.sub("", fault)
        first, before = kinds.get(kind, (fault, 0))
        kinds[kind] = first, before + count
    return sorted(kinds.values(), key=lambda pair: -pair[1])


def _bands(
    task: str, contents: Sequence[str]
) -> tuple[npt.NDArray[np.bool_], list[npt.NDArray[np.uint64]]]:
    """Which contents can be compared, and their bands."""
    if not contents:
        return np.zeros(0, np.bool_), []
    from cluster.data.near_duplicates import band_keys

    texts = [task_named(task).compared_text(content) for content in contents]
    has_text = np.array([text is not None for text in texts], np.bool_)
    return has_text, list(band_keys([text for text in texts if text is not None]))


def _groups(keys: npt.NDArray[np.uint64], bands: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    from cluster.data.near_duplicates import NUM_BANDS, groups

    return groups(keys, bands.reshape(-1, NUM_BANDS))


def _joined(parts: list[dict[str, bytes]], name: str) -> npt.NDArray[np.uint64]:
    return np.concatenate([np.frombuffer(part[name], np.uint64) for part in parts])
