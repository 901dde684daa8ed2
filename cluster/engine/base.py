"""What the rest of cluster asks of whatever runs its work: four verbs over Arrow tables.

    read        a table in batches, lazily
    map         a function over the batches, with or without a model in hand
    for_each    a function over shards
    fit         runs of a training on their rows

Two engines answer: local.py in this process, ray.py on a Ray cluster. The same calls with the same
seed give the same results on both. Functions and what they are given must pickle, and functions
are pure: an engine may call them again after a failure, in any process, on batches of any size.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from cluster.engine.workers import Workers
from cluster.io.folder import Folder

# Rows that one process handles at a time, blocks and batches alike.
BATCH_ROWS = 1_024

T = TypeVar("T")
BatchFunction = Callable[[pa.Table], pa.Table]


class Batches(Protocol):
    """A table that is read, and its functions called, anew each time it is iterated.

    At least one batch comes, an empty one where there are no rows, so that the columns are known.
    The local engine keeps the table's order; Ray may not.
    """

    def __iter__(self) -> Iterator[pa.Table]: ...

    def map(self, function: BatchFunction) -> "Batches":
        """The function's result for each batch, of about BATCH_ROWS rows."""

    def map_model(
        self,
        load: Callable[[], BatchFunction],
        *,
        workers: Workers,
        batch_rows: int = BATCH_ROWS,
    ) -> "Batches":
        """As map, by a function that `load` returns once in each worker: it may hold models."""

    def map_all(self, function: BatchFunction) -> "Batches":
        """The function of all rows at once, in one process: for tables known to be small."""

    def union(self, *others: "Batches") -> "Batches":
        """These rows and those of the others, which have the same columns."""

    def cache(self) -> "Batches":
        """The same rows, read once now and held in the engine's memory."""

    def to_table(self) -> pa.Table:
        """All rows, in this process."""

    def take(self, num_rows: int) -> pa.Table:
        """The first rows, at most so many."""

    def write_shards(self, folder: Folder, name: str, *, attempt: str) -> None:
        """Write the rows as files of SHARD_ROWS or so, `<name>/<attempt>-<number>.parquet`.

        A file appears whole or not at all; `attempt` sets the files apart from earlier attempts'.
        """


@dataclass(frozen=True)
class Fit:
    """Some runs of one training, and the rows they are fitted on.

    fit_runs: called with a worker's rows and the names of the runs to fit there, of which it asks
    for the next when it has fitted one. Where several workers share the rows of a run,
    torch.distributed is set up, and each gets its own part.
    num_rows: of the rows. work_uri: folder for files of the engine's own; whoever asks deletes it.
    """

    rows: Batches
    runs: tuple[str, ...]
    fit_runs: Callable[[pa.Table, Iterable[str]], None]
    num_rows: int
    work_uri: str


class Engine(Protocol):
    """Runs the four verbs."""

    name: str

    def read(self, uri: str, columns: Sequence[str], *, version: int | None = None) -> Batches:
        """Columns of a parquet file or folder, or of a version of a Delta table."""

    def from_table(self, table: pa.Table) -> Batches:
        """Rows that are in memory already."""

    def for_each(self, function: Callable[..., T], shards: Sequence[Any], *shared: Any) -> list[T]:
        """function(shard, *shared) of each shard, in the shards' order; `shared` is sent once."""

    def fit(self, fits: Sequence[Fit], *, workers: Workers, max_failures: int) -> None:
        """Fit all runs of all fits, which do not depend on each other.

        Runs are spread over the workers; where workers are more than runs, they share each run's
        rows. A worker that dies is replaced at most `max_failures` times.
        """
