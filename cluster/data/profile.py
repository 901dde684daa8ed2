"""One pass over a table before training: counts, classes, repeated ids, near-duplicates.

Owns what must be known of the whole table before any row is used; what it keeps
on the driver is 8 bytes a row, and 64 more where the task can tell near-duplicates.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.data.folds import id_keys
from cluster.data.rows import Source, rows
from cluster.engine.base import Engine
from relabel_service.errors import InvalidInput
from relabel_service.tasks import task_named

_PART = pa.schema(
    [
        pa.field("num_rows", pa.int64()),
        pa.field("num_faults", pa.int64()),
        pa.field("fault", pa.string()),
        pa.field("classes", pa.string()),  # JSON {class: rows}
        pa.field("keys", pa.large_binary()),  # uint64 [rows]
        pa.field("bands", pa.large_binary()),  # uint64 [fit rows, NUM_BANDS]
        pa.field("fit_keys", pa.large_binary()),  # uint64 [fit rows]
    ]
)


@dataclass(frozen=True)
class TableProfile:
    """What one pass tells.

    num_faults: unfit rows, the second and later rows of a repeated id included.
    classes: rows that name each class. repeated: ids that several rows use.
    near_duplicates: uint64 [grouped rows, 2]; the id key of a row that has
    near-duplicates, and the key its whole group goes by.
    """

    num_rows: int
    num_faults: int
    classes: Mapping[str, int]
    repeated: frozenset[str]
    near_duplicates: npt.NDArray[np.uint64]


def profile_table(engine: Engine, source: Source, *, near_duplicates: bool = False) -> TableProfile:
    """Look at every row of a pinned source once. Raises InvalidInput when none is fit.

    near_duplicates: whether to find them, which costs more than all the rest.
    """
    parts = (
        rows(engine, source)
        .map(partial(_part, task=source.task, near_duplicates=near_duplicates))
        .to_table()
        .to_pylist()
    )
    num_rows = sum(part["num_rows"] for part in parts)
    num_faults = sum(part["num_faults"] for part in parts)
    if num_faults == num_rows:
        faults = "; ".join(sorted({part["fault"] for part in parts if part["fault"]})[:3])
        raise InvalidInput.of(
            "dataset", f"{source.uri!r}: none of {num_rows} rows is fit for {source.task}: {faults}"
        )
    classes: Counter[str] = Counter()
    for part in parts:
        classes.update(json.loads(part["classes"]))
    repeated = _repeated(engine, source, _joined(parts, "keys"))
    bands = _joined(parts, "bands")
    return TableProfile(
        num_rows=num_rows,
        num_faults=num_faults + sum(number - 1 for number in repeated.values()),
        classes=dict(sorted(classes.items())),
        repeated=frozenset(repeated),
        near_duplicates=_groups(_joined(parts, "fit_keys"), bands)
        if len(bands)
        else np.empty((0, 2), np.uint64),
    )


def _part(batch: pa.Table, *, task: str, near_duplicates: bool) -> pa.Table:
    fit = batch.filter(batch["fault"].is_null())
    light = task_named(task)
    classes = Counter(
        name for label in fit["label"].to_pylist() for name in light.classes_in(label)
    )
    bands = _bands(task, fit["content"].to_pylist()) if near_duplicates else []
    part = {
        "num_rows": batch.num_rows,
        "num_faults": batch.num_rows - fit.num_rows,
        "fault": next((fault for fault in batch["fault"].to_pylist() if fault), None),
        "classes": json.dumps(classes),
        "keys": id_keys(batch["id"]).tobytes(),
        "bands": b"".join(row.tobytes() for row in bands),
        "fit_keys": id_keys(fit["id"]).tobytes(),
    }
    return pa.Table.from_pylist([part], schema=_PART)


def _bands(task: str, contents: Sequence[str]) -> list[npt.NDArray[np.uint64]]:
    """Of contents that have shingles. Only training asks, which loads torch anyway."""
    from cluster.data.near_duplicates import band_keys
    from cluster.tasks import model_task

    features = map(model_task(task).shingles, contents)
    return [band_keys(shingles) for shingles in features if shingles is not None]


def _groups(keys: npt.NDArray[np.uint64], bands: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    from cluster.data.near_duplicates import NUM_BANDS, groups

    return groups(keys, bands.reshape(-1, NUM_BANDS))


def _joined(parts: list[dict[str, bytes]], name: str) -> npt.NDArray[np.uint64]:
    return np.concatenate([np.frombuffer(part[name], np.uint64) for part in parts])


def _repeated(engine: Engine, source: Source, keys: npt.NDArray[np.uint64]) -> dict[str, int]:
    """Ids used more than once and how often: by hash, then asking the table for those few."""
    values, counts = np.unique(keys, return_counts=True)
    suspects = values[counts > 1]
    if not suspects.size:
        return {}
    found = rows(engine, source).map(partial(_ids_of, keys=suspects)).to_table()
    counted = Counter(found["id"].to_pylist())
    return {name: number for name, number in counted.items() if number > 1}


def _ids_of(batch: pa.Table, *, keys: npt.NDArray[np.uint64]) -> pa.Table:
    inside = np.isin(id_keys(batch["id"]), keys)
    return batch.select(["id"]).filter(pa.array(inside))
