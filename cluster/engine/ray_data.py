"""What Ray does for large tables: Ray Data, and Ray Train where workers share the rows of a run.

Apart from ray.py because processes that only run a model or a function need none of it, and its
imports take 3 CPU seconds in each (Ray 2.60).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray.data
import ray.train
from deltalake import DeltaTable
from ray.data import ActorPoolStrategy, Dataset, Datasink, Datasource, ReadTask
from ray.data.block import BlockAccessor, BlockMetadata
from ray.train import DataConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from cluster.engine.base import BATCH_ROWS, Batches, BatchFunction, Fit
from cluster.engine.loaded import Loaded
from cluster.engine.ray_errors import own_errors
from cluster.engine.workers import Workers
from cluster.io.folder import Folder
from cluster.io.shards import SHARD_ROWS, write_shard
from cluster.io.tables import count_opened, read_in_shards
from relabel_service.tables import preflight

MIN_BLOCKS = 8  # for each worker that shares rows: few blocks cannot be shared evenly

# Each block of a table costs 12 ms of this process at each pass (Ray 2.60), so blocks are large;
# but many enough for every worker, and small enough to lie in memory side by side.
BLOCKS = 128
BLOCK_BYTES = 8 << 20  # of files


def read(uri: str, columns: Sequence[str], *, table: DeltaTable | None, size: int) -> "RayBatches":
    """Columns of a parquet file or folder, or of a version of a Delta table.

    table: as tables.opened. size: bytes of its files.
    """
    found = (
        ray.data.read_delta(uri, version=table.version(), columns=list(columns))
        if table is not None and not preflight.needs_delta_rs(table)
        else ray.data.read_datasource(_Table(uri, columns, table, size))
    )
    return RayBatches(found.repartition(target_num_rows_per_block=_block_rows(uri, table, size)))


def _block_rows(uri: str, table: DeltaTable | None, size: int) -> int:
    """Ray's own blocks follow bytes (128 MiB): a million short texts would be one, and all
    but one worker would have nothing to do."""
    num_blocks = max(BLOCKS, size // BLOCK_BYTES)
    return max(BATCH_ROWS, count_opened(uri, table) // num_blocks)


def from_table(table: pa.Table) -> "RayBatches":
    """Rows that are in memory already."""
    return RayBatches(ray.data.from_arrow(table))


class RayBatches:
    """A Ray data set."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[pa.Table]:
        is_empty = True
        with own_errors():
            for batch in self.dataset.iter_batches(batch_format="pyarrow", batch_size=None):
                is_empty = False
                yield batch
            if is_empty and (schema := self.dataset.schema()) is not None:
                yield schema.base_schema.empty_table()

    def map(self, function: BatchFunction) -> "RayBatches":
        """The function's result for each batch."""
        return RayBatches(
            self.dataset.map_batches(function, batch_format="pyarrow", batch_size=BATCH_ROWS)
        )

    def map_model(
        self,
        load: Callable[[], BatchFunction],
        *,
        workers: Workers,
        batch_rows: int = BATCH_ROWS,
    ) -> "RayBatches":
        """As map, by actors that each call `load` once."""
        return RayBatches(
            self.dataset.map_batches(
                Loaded,
                fn_constructor_args=(load,),
                batch_format="pyarrow",
                batch_size=batch_rows,
                compute=ActorPoolStrategy(size=workers.num * workers.cpus_per_gpu),
                num_gpus=1 / workers.cpus_per_gpu if workers.use_gpu else None,
            )
        )

    def map_all(self, function: BatchFunction) -> "RayBatches":
        """The function of all rows at once, in one task."""
        return RayBatches(
            self.dataset.repartition(1).map_batches(
                function, batch_format="pyarrow", batch_size=None
            )
        )

    def union(self, *others: Batches) -> "RayBatches":
        """These rows and those of the others."""
        if not others:
            return self  # Ray 2.60 fails at a union of one, and only when it is read
        return RayBatches(self.dataset.union(*map(_dataset, others)))

    def cache(self) -> "RayBatches":
        """The same rows, in the object store."""
        with own_errors():
            return RayBatches(self.dataset.materialize())

    def to_table(self) -> pa.Table:
        """All rows, in this process."""
        return pa.concat_tables(list(self), promote_options="permissive")

    def take(self, num_rows: int) -> pa.Table:
        """The first rows, at most so many."""
        return RayBatches(self.dataset.limit(num_rows)).to_table()

    def write_shards(self, folder: Folder, name: str, *, attempt: str) -> None:
        """Write the rows as files of SHARD_ROWS or more, one a write task."""
        with own_errors():
            self.dataset.write_datasink(_ShardsSink(folder, name, attempt=attempt))


class _Table(Datasource):
    """What Ray's own readers read otherwise than the local engine, or not at all (2.60): parquet
    files of differing schemas, Delta tables with deletion vectors or mapped columns."""

    def __init__(
        self, uri: str, columns: Sequence[str], table: DeltaTable | None, size: int
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._uri, self._columns = uri, list(columns)
        self._version = None if table is None else table.version()
        self._size = size

    def estimate_inmemory_data_size(self) -> int | None:
        return self._size

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        shards = read_in_shards(
            self._uri, self._columns, version=self._version, num_shards=parallelism
        )
        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(shard, unknown, per_task_row_limit=per_task_row_limit) for shard in shards]


class _ShardsSink(Datasink[str]):
    """Writes blocks, SHARD_ROWS or more together; a task that Ray repeats writes the same name."""

    def __init__(self, folder: Folder, name: str, *, attempt: str) -> None:
        self._folder, self._name, self._attempt = folder, name, attempt

    @property
    def min_rows_per_write(self) -> int:
        return SHARD_ROWS

    def write(self, blocks: Iterable[Any], ctx: Any) -> str:
        tables = [BlockAccessor.for_block(block).to_arrow() for block in blocks]
        name = f"{self._name}/{self._attempt}-{ctx.task_idx:06d}.parquet"
        filled = [table for table in tables if table.num_rows]
        if filled:
            write_shard(self._folder, name, pa.concat_tables(filled, promote_options="permissive"))
        return name


def fit_together(fits: Sequence[Fit], workers: Workers, max_failures: int) -> None:
    """All workers fit one run after the other, each on its part of the rows (gloo or nccl)."""
    TorchTrainer(
        _fit_shards,
        train_loop_config={"fits": [(fit.fit_runs, fit.runs) for fit in fits]},
        datasets={str(index): _cut(fit, workers.num) for index, fit in enumerate(fits)},
        dataset_config=_WholeShards(),
        scaling_config=ScalingConfig(
            num_workers=workers.num,
            use_gpu=workers.use_gpu,
            resources_per_worker={"CPU": workers.cpus_per_gpu, "GPU": int(workers.use_gpu)},
        ),
        run_config=RunConfig(
            name="fit",
            storage_path=fits[0].work_uri,
            failure_config=FailureConfig(max_failures=max_failures),
        ),
    ).fit()


def _fit_shards(config: dict[str, Any]) -> None:
    """In every worker of a TorchTrainer."""
    for index, (fit_runs, runs) in enumerate(config["fits"]):
        batches = ray.train.get_dataset_shard(str(index)).iter_batches(
            batch_format="pyarrow", batch_size=None
        )
        fit_runs(pa.concat_tables(list(batches), promote_options="permissive"), runs)


def _cut(fit: Fit, num_workers: int) -> Dataset:
    """Rows in blocks that can be shared evenly.

    Many blocks are as they come: to cut them anew holds the whole table at once.
    """
    if fit.num_rows >= MIN_BLOCKS * num_workers * BATCH_ROWS:
        return _dataset(fit.rows)
    return _dataset(fit.rows).repartition(MIN_BLOCKS * num_workers)


def _dataset(batches: Batches) -> Dataset:
    return (
        batches.dataset
        if isinstance(batches, RayBatches)
        else from_table(batches.to_table()).dataset
    )


class _WholeShards(DataConfig):
    """Every row to exactly one worker; the stock configuration drops rows to even out shards."""

    def configure(
        self, datasets: Any, world_size: int, worker_handles: Any, worker_node_ids: Any, **_: Any
    ) -> list[dict[str, Any]]:
        split = {
            name: data.streaming_split(world_size, equal=False, locality_hints=worker_node_ids)
            for name, data in datasets.items()
        }
        return [{name: parts[rank] for name, parts in split.items()} for rank in range(world_size)]
