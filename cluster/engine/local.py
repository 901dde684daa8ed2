"""The engine in this process: no start-up, batches stream, all cores are used.

Batches go through models in as many threads as the machine has cores, each batch on one: numpy,
torch, Arrow and image decoders hold no lock while they work. Order is kept, so that the same
table gives the same files each time.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from typing import Any, Self, TypeVar

import pyarrow as pa
import torch

from cluster.engine.base import BATCH_ROWS, Batches, BatchFunction, Fit
from cluster.engine.workers import Workers
from cluster.io.folder import Folder
from cluster.io.shards import SHARD_ROWS, write_shard
from cluster.io.tables import read_table

T = TypeVar("T")

LONG_FIT_S = 20.0  # beyond, what is left to fit is spread over processes


class LocalEngine:
    """Runs everything in this process."""

    name = "local"

    def read(
        self, uri: str, columns: Sequence[str], *, version: int | None = None
    ) -> "LocalBatches":
        """Columns of a parquet file or folder, or of a version of a Delta table."""
        return LocalBatches(partial(_read, uri, list(columns), version))

    def from_table(self, table: pa.Table) -> "LocalBatches":
        """Rows that are in memory already."""
        return LocalBatches(lambda: rebatched([table], BATCH_ROWS))

    def for_each(self, function: Callable[..., T], shards: Sequence[Any], *shared: Any) -> list[T]:
        """function(shard, *shared) of each shard, in the shards' order."""
        return list(_in_threads(lambda shard: function(shard, *shared), shards, _num_cores()))

    def fit(self, fits: Sequence[Fit], *, workers: Workers, max_failures: int) -> None:
        """Fit all runs of all fits: here, or beside here too where that takes long.

        Each run is on one core, as on Ray, so that both engines give the same models.
        """
        del max_failures  # nothing fails here but the whole
        if not any(fit.runs for fit in fits):
            return
        turn = _Turn(num_cores=1 if workers.use_gpu else _num_cores())
        with _one_torch_thread():
            for index, fit in enumerate(fits):
                left = sum(len(other.runs) for other in fits[index + 1 :])
                fit.fit_runs(fit.rows.to_table(), turn.take(fit.runs, num_after=left))
            turn.finish(fits)


class _Turn:
    """Hands runs out in this process while that is quick, and the others to processes of their own.

    A process of its own imports torch and encodes the rows again: seconds that a small fit never
    earns back. The first of a fit's runs encodes the rows too, and so says little of the others.
    """

    def __init__(self, *, num_cores: int) -> None:
        self._num_cores = num_cores
        self._per_run_s: float | None = None  # of the last run: CPU, as others may be busy here
        self._has_encoded = False  # the last run had its fit's rows to encode
        self._left: list[tuple[int, str]] = []
        self._fit = 0

    def take(self, runs: Sequence[str], *, num_after: int) -> Iterator[str]:
        """The next fit's runs, as long as they are to be fitted here."""
        for index, run in enumerate(runs):
            num_left = len(runs) - index + num_after
            if self._left or self._is_long(num_left):
                self._left += [(self._fit, other) for other in runs[index:]]
                break
            started = time.process_time()
            yield run
            self._per_run_s = time.process_time() - started
            self._has_encoded = index == 0 and len(runs) > 1
        self._fit += 1

    def finish(self, fits: Sequence[Fit]) -> None:
        """Fit what was not handed out, on all cores."""
        if not self._left:
            return
        import joblib  # only where fits are long

        tables = {index: fits[index].rows.to_table() for index in {i for i, _ in self._left}}
        # loky's processes do not run the user's script again, as those of multiprocessing do.
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            joblib.Parallel(n_jobs=min(self._num_cores, len(self._left)))(
                joblib.delayed(fits[index].fit_runs)(tables[index], [run])
                for index, run in self._left
            )

    def _is_long(self, num_left: int) -> bool:
        if self._per_run_s is None or self._num_cores == 1 or num_left == 1:
            return False
        return self._per_run_s * (1 if self._has_encoded else num_left) > LONG_FIT_S


class LocalBatches:
    """Batches made anew by `read` each time they are iterated."""

    def __init__(self, read: Callable[[], Iterable[pa.Table]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[pa.Table]:
        return iter(self._read())

    def map(self, function: BatchFunction) -> Self:
        """The function's result for each batch."""
        return type(self)(lambda: map(function, self))

    def map_model(
        self,
        load: Callable[[], BatchFunction],
        *,
        workers: Workers,
        batch_rows: int = BATCH_ROWS,
    ) -> Self:
        """As map, by a function that `load` returns once; several threads call it at once."""
        num_threads = workers.cpus_per_gpu if workers.use_gpu else _num_cores()

        def run() -> Iterator[pa.Table]:
            return _in_threads(load(), rebatched(self, batch_rows), num_threads)

        return type(self)(run)

    def map_all(self, function: BatchFunction) -> Self:
        """The function of all rows at once."""
        return type(self)(lambda: rebatched([function(self.to_table())], BATCH_ROWS))

    def union(self, *others: Batches) -> Batches:
        """These rows, then those of the others."""
        return type(self)(lambda: chain(self, *others))

    def cache(self) -> Self:
        """The same rows, read once now and held in memory."""
        batches = list(self)
        return type(self)(lambda: batches)

    def to_table(self) -> pa.Table:
        """All rows."""
        return pa.concat_tables(list(self), promote_options="permissive")

    def take(self, num_rows: int) -> pa.Table:
        """The first rows, at most so many; reads no further than it must."""
        batches: list[pa.Table] = []
        for batch in self:
            batches.append(batch)
            if sum(one.num_rows for one in batches) >= num_rows:
                break
        return pa.concat_tables(batches, promote_options="permissive").slice(0, num_rows)

    def write_shards(self, folder: Folder, name: str, *, attempt: str) -> None:
        """Write the rows as files of SHARD_ROWS or more, each whole or not at all."""
        for number, shard in enumerate(_grouped(self, SHARD_ROWS)):
            write_shard(folder, f"{name}/{attempt}-{number:06d}.parquet", shard)


def rebatched(batches: Iterable[pa.Table], num_rows: int) -> Iterator[pa.Table]:
    """The same rows in batches of num_rows, the last one of what is left; at least one."""
    held: deque[pa.Table] = deque()
    num_held, is_first, empty = 0, True, None
    for batch in batches:
        empty = batch.schema.empty_table() if empty is None else empty
        held.append(batch)
        num_held += batch.num_rows
        while num_held >= num_rows:
            yield _taken(held, num_rows)
            num_held, is_first = num_held - num_rows, False
    if num_held:
        yield _taken(held, num_held)
    elif is_first and empty is not None:
        yield empty


def _taken(held: deque[pa.Table], num_rows: int) -> pa.Table:
    """The first num_rows of the held tables, which they lose."""
    tables, wanted = [], num_rows
    while wanted:
        table = held.popleft()
        if table.num_rows > wanted:
            held.appendleft(table.slice(wanted))
            table = table.slice(0, wanted)
        tables.append(table)
        wanted -= table.num_rows
    if len(tables) == 1:
        return tables[0]
    return pa.concat_tables(tables, promote_options="permissive").combine_chunks()


def _grouped(batches: Iterable[pa.Table], num_rows: int) -> Iterator[pa.Table]:
    """Whole batches together until they are num_rows or more; none of no rows."""
    held: list[pa.Table] = []
    for batch in batches:
        held += [batch] if batch.num_rows else []
        if sum(one.num_rows for one in held) >= num_rows:
            yield pa.concat_tables(held, promote_options="permissive")
            held = []
    if held:
        yield pa.concat_tables(held, promote_options="permissive")


def _read(uri: str, columns: list[str], version: int | None) -> Iterator[pa.Table]:
    return rebatched(read_table(uri, columns, version=version), BATCH_ROWS)


def _in_threads(
    function: Callable[[Any], T], items: Iterable[Any], num_threads: int
) -> Iterator[T]:
    """The function of each item, in order; a few items ahead of whoever takes the results."""
    with _one_torch_thread(), ThreadPoolExecutor(num_threads) as pool:
        rest = iter(items)
        ahead: deque[Future[T]] = deque()
        try:
            for item in islice(rest, 2 * num_threads):
                ahead.append(pool.submit(function, item))
            while ahead:
                result = ahead.popleft().result()
                for item in islice(rest, 1):
                    ahead.append(pool.submit(function, item))
                yield result
        finally:
            for future in ahead:
                future.cancel()


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Within it, torch computes on the thread that calls it, whichever that is."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
