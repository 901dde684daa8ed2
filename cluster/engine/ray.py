"""The engine on Ray: Ray Data for tables, Ray tasks for shards and runs, Ray Train to share rows.

Ray must be connected (jobs/common/session.py does it). An error of ours that a worker raises comes
out as itself, without Ray's traceback around it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import pyarrow as pa
import ray

from cluster.engine.base import BATCH_ROWS, Batches, BatchFunction, Fit
from cluster.engine.devices import release_memory
from cluster.engine.local import LocalBatches, LocalEngine, rebatched
from cluster.engine.ray_errors import own_errors
from cluster.engine.workers import Workers
from cluster.io.tables import num_bytes, opened, read_opened

if TYPE_CHECKING:
    from cluster.engine.ray_data import RayBatches

T = TypeVar("T")

MIN_REMOTE_SHARDS = 256  # about a million scored rows
MAX_BYTES_HERE = 64 << 20  # of files; about a million short texts
TASK_ROWS = 128 * BATCH_ROWS  # that a worker predicts in one task: what is lost when it dies
MAX_WORKER_FAILURES = 3


class RayEngine:
    """Runs the four verbs on the cluster that Ray is connected to."""

    name = "ray"
    _here = LocalEngine()

    def __init__(self, max_bytes_here: int = MAX_BYTES_HERE) -> None:
        """max_bytes_here: of the files of a table that is read in this process, not by Ray Data."""
        self._max_bytes_here = max_bytes_here

    def start_workers(self, num: int) -> None:
        """Have processes start and import torch while this one reads the table; does not wait."""
        for _ in range(num):
            _import_torch.remote()

    def read(self, uri: str, columns: Sequence[str], *, version: int | None = None) -> Batches:
        """Columns of a parquet file or folder, or of a version of a Delta table.

        Few bytes are read, and mapped without a model, here: Ray Data's workers would start first.
        """
        table = opened(uri, version)
        size = num_bytes(uri, table)
        if size <= self._max_bytes_here:
            return FewBatches(lambda: rebatched(read_opened(uri, table, columns), BATCH_ROWS))
        from cluster.engine.ray_data import read

        return read(uri, columns, table=table, size=size)

    def from_table(self, table: pa.Table) -> "FewBatches":
        """Rows that are in memory already."""
        return FewBatches(self._here.from_table(table).__iter__)

    def for_each(self, function: Callable[..., T], shards: Sequence[Any], *shared: Any) -> list[T]:
        """function(shard, *shared) of each shard, in the shards' order.

        Few shards are done here: workers would import torch first, which takes longer.
        """
        if len(shards) < MIN_REMOTE_SHARDS:
            return self._here.for_each(function, shards, *shared)
        references = [ray.put(value) for value in (function, *shared)]
        with own_errors():
            return ray.get([_call.remote(shard, *references) for shard in shards])

    def fit(self, fits: Sequence[Fit], *, workers: Workers, max_failures: int) -> None:
        """Fit all runs of all fits: spread over the workers, or each by all of them.

        Spread runs are plain tasks: the start-up of Ray Train costs 25 CPU seconds (Ray 2.60).
        """
        fits = [fit for fit in fits if fit.runs]
        if not fits:
            return
        with own_errors():
            if workers.num > sum(len(fit.runs) for fit in fits):
                from cluster.engine.ray_data import fit_together

                fit_together(fits, workers, max_failures)
            else:
                _fit_apart(fits, workers, max_failures)


class FewBatches(LocalBatches):
    """Batches that are mapped in this process, and by models in tasks."""

    def map_model(
        self,
        load: Callable[[], BatchFunction],
        *,
        workers: Workers,
        batch_rows: int = BATCH_ROWS,
    ) -> "FewBatches":
        """As map, by tasks that each call `load` once.

        Not by actors: for each of them a process would start and import torch, and a task has one
        that did so before.
        """
        mapped = _mapped.options(
            num_cpus=1,
            num_gpus=1 / workers.cpus_per_gpu if workers.use_gpu else None,
            num_returns="streaming",
            max_retries=MAX_WORKER_FAILURES,  # functions are pure
        )

        num_workers = workers.num * workers.cpus_per_gpu
        # On a GPU one task takes all: the next would load its models, which are large there, anew.
        num_at_once = None if workers.use_gpu else num_workers * max(1, TASK_ROWS // batch_rows)

        def run() -> Iterator[pa.Table]:
            rest = rebatched(self, batch_rows)
            while batches := list(islice(rest, num_at_once)):
                num_tasks = min(num_workers, len(batches))
                shares: list[Any] = [
                    mapped.remote(load, batches[first::num_tasks]) for first in range(num_tasks)
                ]
                with own_errors():
                    for share, _ in zip(cycle(shares), batches, strict=False):
                        yield ray.get(next(share))

        return FewBatches(run)

    def union(self, *others: Batches) -> Batches:
        """These rows, then those of the others."""
        if all(isinstance(other, FewBatches) for other in others):
            return super().union(*others)
        from cluster.engine.ray_data import from_table

        return from_table(self.to_table()).union(*others)


@ray.remote
def _import_torch() -> None:
    import torch  # noqa: F401


@ray.remote
def _call(shard: Any, function: Callable[..., T], *shared: Any) -> T:
    return function(shard, *shared)


@ray.remote
def _mapped(load: Callable[[], BatchFunction], batches: Sequence[pa.Table]) -> Iterator[pa.Table]:
    function = load()
    for batch in batches:
        yield function(batch)
    del function
    release_memory()


def _fit_apart(fits: Sequence[Fit], workers: Workers, max_failures: int) -> None:
    """Each worker fits some of the runs on all rows. What it finished is kept when it dies."""
    blocks = [_blocks(fit.rows) for fit in fits]
    every = [(index, run) for index, fit in enumerate(fits) for run in fit.runs]
    tasks = []
    for mine in np.array_split(np.arange(len(every)), workers.num):
        share: dict[int, list[str]] = {}
        for place in mine:
            index, run = every[place]
            share.setdefault(index, []).append(run)
        task = _fit_share.options(
            num_cpus=workers.cpus_per_gpu,
            num_gpus=int(workers.use_gpu),
            max_retries=max_failures,
        )
        tasks.append(
            task.remote([(fits[i].fit_runs, runs, blocks[i]) for i, runs in share.items()])
        )
    ray.get(tasks)


@ray.remote
def _fit_share(share: Sequence[tuple[Any, list[str], list[Any]]]) -> None:
    for fit_runs, runs, blocks in share:
        fit_runs(pa.concat_tables(ray.get(blocks), promote_options="permissive"), runs)
    release_memory()


def _blocks(rows: Batches) -> list[Any]:
    """References to the rows in the object store."""
    if isinstance(rows, FewBatches):
        return [ray.put(rows.to_table())]
    return list(cast("RayBatches", rows).dataset.to_arrow_refs())
