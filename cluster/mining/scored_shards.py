"""The intermediate files of a mine run: scored rows, and the ensemble's columns of the same rows.

    scored/<shard>     a row for each row and unit of the table, and those with a fault
    ensemble/<shard>   columns more of the rows without a fault, in the same order

A row's number is its index among the rows of its shard that have no fault.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from cluster.engine.base import Engine
from cluster.interfaces import EMBEDDING
from cluster.io.folder import Folder
from cluster.io.shards import num_shard_rows, read_shard, shard_names, write_shard
from cluster.mining.scoring import Scoring

SCORED, ENSEMBLE = "scored", "ensemble"
CONTENT_KEY = "key"  # uint64: of a row's id, label and content
FAULT = "fault"

T = TypeVar("T")


@dataclass(frozen=True)
class ScoredTable:
    """All scored rows of a run, and how they are scored."""

    engine: Engine
    run: Folder
    shards: Sequence[str]
    scoring: Scoring

    def for_each(self, function: Callable[..., T], *shared: Any) -> list[T]:
        """function(shard, run, scoring, *shared) of each shard, in the shards' order."""
        return self.engine.for_each(function, self.shards, self.run, self.scoring, *shared)


class ScoredRows:
    """Counts the rows in a run's shards while they are written: each shard's footer is read once.

    num_units: scored rows of each row of the table.
    """

    def __init__(self, run: Folder, num_units: int) -> None:
        self._run, self._num_units = run, num_units
        self._counts: dict[str, int] = {}

    def __call__(self) -> int:
        """Rows of the table that are scored."""
        for name in scored_shards(self._run):
            if name not in self._counts:
                self._counts[name] = num_shard_rows(self._run, name)
        return sum(self._counts.values()) // self._num_units


def scored_shards(run: Folder) -> list[str]:
    """Names of a run's shards, sorted."""
    return shard_names(run, SCORED)


def read_scored(run: Folder, shard: str) -> tuple[pa.Table, int]:
    """A shard's scored rows without their contents; and how many rows have a fault."""
    table = read_shard(run, shard, leave_out=("content", "row", CONTENT_KEY))
    scored = _without_faults(table)
    return scored, table.num_rows - scored.num_rows


def read_with_ensemble(
    run: Folder, shard: str, *, has_ensemble: bool, with_content: bool = False
) -> pa.Table:
    """A shard's scored rows with all columns that suspicion and signals need."""
    leave_out = ["row", CONTENT_KEY, EMBEDDING, *([] if with_content else ["content"])]
    scored = _without_faults(read_shard(run, shard, leave_out=leave_out))
    if not has_ensemble or not scored.num_rows:
        return scored
    by_models = read_shard(run, _ensemble_name(shard))
    for name in by_models.column_names:
        scored = scored.append_column(name, by_models[name])
    return scored


def read_names(run: Folder, shard: str) -> pa.Table:
    """`id` and `unit` of a shard's scored rows."""
    return _without_faults(read_shard(run, shard, ["id", "unit", FAULT])).select(["id", "unit"])


def write_ensemble(run: Folder, shard: str, columns: pa.Table) -> None:
    write_shard(run, _ensemble_name(shard), columns)


def _ensemble_name(shard: str) -> str:
    return f"{ENSEMBLE}/{shard.rpartition('/')[2]}"


def _without_faults(table: pa.Table) -> pa.Table:
    if table[FAULT].null_count == table.num_rows:
        return table
    return table.filter(pc.is_null(table[FAULT]))
