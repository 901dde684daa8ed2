"""The local engine: rows and their order are kept, whatever the batches; errors come out whole."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from cluster.engine.base import BATCH_ROWS, BatchFunction, Fit
from cluster.engine.local import LocalEngine, rebatched
from cluster.engine.workers import Workers
from cluster.io.folder import Folder
from cluster.io.shards import read_shard, shard_names
from relabel_service.errors import InvalidInput

LOCAL = LocalEngine()


def numbers(start: int, count: int) -> pa.Table:
    return pa.table({"number": pa.array(range(start, start + count), pa.int64())})


def doubled(batch: pa.Table) -> pa.Table:
    return pa.table({"number": pa.compute.multiply(batch["number"], 2)})


@given(st.lists(st.integers(0, 40), min_size=1), st.integers(1, 30))
def test_batches_are_cut_anew_without_losing_or_moving_a_row(
    sizes: list[int], num_rows: int
) -> None:
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    batches = [numbers(start, size) for start, size in zip(starts, sizes, strict=True)]
    cut = list(rebatched(batches, num_rows))
    assert pa.concat_tables(cut)["number"].to_pylist() == list(range(sum(sizes)))
    assert all(batch.num_rows == num_rows for batch in cut[:-1])
    assert 0 < cut[-1].num_rows <= num_rows or (sum(sizes) == 0 and len(cut) == 1)


@pytest.mark.parametrize("kind", ["file", "folder", "delta"])
def test_a_table_is_read_in_batches_and_in_order(kind: str, tmp_path: Path) -> None:
    table = numbers(0, 2 * BATCH_ROWS + 5).append_column(
        "other", pa.array(["x"] * (2 * BATCH_ROWS + 5))
    )
    uri = str(tmp_path / "table")
    if kind == "delta":
        write_deltalake(uri, table)
    elif kind == "folder":
        Path(uri).mkdir()
        pq.write_table(table.slice(0, 700), f"{uri}/a.parquet")
        pq.write_table(table.slice(700), f"{uri}/b.parquet")
    else:
        pq.write_table(table, uri)
    batches = LOCAL.read(uri, ["number"])
    for _ in range(2):  # as often as it is asked for
        read = list(batches)
        assert [batch.num_rows for batch in read] == [BATCH_ROWS, BATCH_ROWS, 5]
        assert pa.concat_tables(read)["number"].to_pylist() == list(range(table.num_rows))
        assert read[0].column_names == ["number"]


def test_files_of_a_folder_may_have_other_columns_and_narrower_types(tmp_path: Path) -> None:
    first = {"id": pa.array([1], pa.int32())}
    second = {"id": pa.array([2**40], pa.int64()), "note": ["late"]}
    pq.write_table(pa.table(first), tmp_path / "a.parquet")
    pq.write_table(pa.table(second), tmp_path / "b.parquet")
    read = LOCAL.read(str(tmp_path), ["id", "note"]).to_table()
    assert read.to_pylist() == [{"id": 1, "note": None}, {"id": 2**40, "note": "late"}]


def test_an_empty_table_still_has_its_columns(tmp_path: Path) -> None:
    pq.write_table(numbers(0, 0), tmp_path / "empty.parquet")
    read = LOCAL.read(str(tmp_path / "empty.parquet"), ["number"]).map(doubled)
    assert read.to_table().schema.names == ["number"]
    assert [batch.num_rows for batch in read] == [0]


def test_models_are_loaded_once_and_results_keep_the_order_of_rows() -> None:
    num_loaded = 0

    def load() -> BatchFunction:
        nonlocal num_loaded
        num_loaded += 1
        return doubled

    batches = LOCAL.from_table(numbers(0, 5_000)).map_model(load, workers=Workers(), batch_rows=64)
    assert num_loaded == 0
    assert batches.to_table()["number"].to_pylist() == list(range(0, 10_000, 2))
    assert num_loaded == 1
    assert batches.take(70)["number"].to_pylist() == list(range(0, 140, 2))


def test_several_tables_are_one_and_a_function_may_have_all_rows() -> None:
    first, second = LOCAL.from_table(numbers(0, 3)), LOCAL.from_table(numbers(10, 2))
    both = first.union(second)
    assert both.to_table()["number"].to_pylist() == [0, 1, 2, 10, 11]
    reversed_rows = both.map_all(lambda table: table.sort_by([("number", "descending")]))
    assert reversed_rows.to_table()["number"].to_pylist() == [11, 10, 2, 1, 0]


def test_rows_that_are_held_are_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(numbers(0, 10), path)
    held = LOCAL.read(str(path), ["number"]).cache()
    path.unlink()
    assert held.to_table()["number"].to_pylist() == list(range(10))


def test_shards_hold_every_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.engine.local.SHARD_ROWS", 1_500)
    folder = Folder(str(tmp_path))
    LOCAL.from_table(numbers(0, 5_000)).write_shards(folder, "shards", attempt="first")
    names = shard_names(folder, "shards")
    shards = [read_shard(folder, name) for name in names]
    assert [shard.num_rows for shard in shards] == [2 * BATCH_ROWS, 2 * BATCH_ROWS, 904]
    assert pa.concat_tables(shards)["number"].to_pylist() == list(range(5_000))


def test_each_shard_has_its_result_in_its_place() -> None:
    assert LOCAL.for_each(lambda shard, factor: shard * factor, range(50), 3) == [
        3 * shard for shard in range(50)
    ]


def refuse(*_: object) -> pa.Table:
    raise InvalidInput.of("content", "is none; give some")


@pytest.mark.parametrize(
    "work",
    [
        lambda: LOCAL.for_each(refuse, ["shard"]),
        lambda: LOCAL.from_table(numbers(0, 3)).map(refuse).to_table(),
        lambda: (
            LOCAL.from_table(numbers(0, 3)).map_model(lambda: refuse, workers=Workers()).to_table()
        ),
        lambda: LOCAL.fit(
            [Fit(LOCAL.from_table(numbers(0, 3)), ("all",), refuse, 3, "")],
            workers=Workers(),
            max_failures=0,
        ),
    ],
    ids=["for_each", "map", "map_model", "fit"],
)
def test_errors_come_out_as_they_were_raised(work: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput, match="content: is none; give some"):
        work()


def test_the_encoding_of_the_rows_is_not_taken_for_a_long_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process of its own would encode them again: the other runs are quick, and stay here."""
    seconds, fitted = [0.0], list[str]()

    def fit_runs(table: pa.Table, runs: Iterable[str]) -> None:
        for run in runs:
            seconds[0] += 1.0 if fitted else 15.0  # the first encodes the rows
            fitted.append(run)

    monkeypatch.setattr("cluster.engine.local.time.process_time", lambda: seconds[0])
    names = ("fold-0", "fold-1", "fold-2", "fold-3", "fold-4")
    LOCAL.fit(
        [Fit(LOCAL.from_table(numbers(0, 1)), names, fit_runs, 1, "")],
        workers=Workers(),
        max_failures=0,
    )
    assert fitted == list(names)
