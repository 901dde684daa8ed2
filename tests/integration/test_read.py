"""Both engines read the same rows of tables that other tools wrote."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cluster.engine.base import BatchFunction, Engine
from cluster.engine.workers import Workers
from cluster.io.folder import Folder
from relabel_service.errors import InvalidInput, NotFound, RelabelError
from tests.support.handmade_delta import write_table

NAMES = ["a", "b", "c"]


def test_parquet_files_of_differing_schemas(engine: Engine, tmp_path: Path) -> None:
    for day, column in enumerate([pa.array(NAMES).dictionary_encode(), pa.array(NAMES)]):
        folder = tmp_path / f"day={day}"
        folder.mkdir()
        late = {"note": ["late"] * len(NAMES)} if day else {}
        pq.write_table(pa.table({"name": column, **late}), folder / "part.parquet")
    (tmp_path / "README.md").write_text("# my data\n")
    rows = engine.read(str(tmp_path), ["name", "day", "note"]).to_table().to_pylist()
    assert sorted(rows, key=lambda row: (row["day"], row["name"])) == [
        {"name": name, "day": day, "note": "late" if day else None}
        for day in (0, 1)
        for name in NAMES
    ]


def test_a_delta_table_of_mapped_columns_and_deletion_vectors(
    engine: Engine, tmp_path: Path
) -> None:
    uri = write_table(
        tmp_path / "table",
        pa.table({"name": NAMES, "old": ["x"] * 3}),
        pa.table({"name": ["d", "e"], "old": ["x"] * 2}),
        features=["columnMapping", "deletionVectors"],
        physical={"name": "old", "old": "col-2"},
        deleted={0: [1]},
    )
    read = engine.read(uri, ["name"], version=0).to_table()
    assert sorted(read["name"].to_pylist()) == ["a", "c", "d", "e"]


def test_a_value_too_wide_for_the_files_common_type(engine: Engine, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [2**62 + 1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [0.5]}), tmp_path / "b.parquet")
    with pytest.raises(InvalidInput, match="write all files with one type"):
        engine.read(str(tmp_path), ["x"]).to_table()


class _Failing:
    """Loads no model, as where one is not what it should be."""

    def __init__(self, error: RelabelError) -> None:
        self._error = error

    def __call__(self) -> BatchFunction:
        raise self._error


def _failing(batch: pa.Table, *, error: RelabelError) -> pa.Table:
    raise error


# One that carries more than its words, and one that does not. Each comes out of a worker that
# loads a model and out of one that maps.
INVALID = InvalidInput.of("encoder", "'x' is no encoder; name another")
MISSING = NotFound("no model; train")


def test_an_error_of_a_worker_comes_out_as_itself(
    engine: Engine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "a.parquet")
    read, few = engine.read(str(tmp_path), ["x"]), engine.from_table(pa.table({"x": [1, 2]}))
    ways: list[tuple[RelabelError, Callable[[], object]]] = [
        (INVALID, lambda: read.map_model(_Failing(INVALID), workers=Workers()).to_table()),
        (MISSING, lambda: read.map_model(_Failing(MISSING), workers=Workers()).cache()),
        (INVALID, lambda: few.map_model(_Failing(INVALID), workers=Workers()).to_table()),
        (MISSING, lambda: read.map(partial(_failing, error=MISSING)).to_table()),
        (
            INVALID,
            lambda: read.map_all(partial(_failing, error=INVALID)).write_shards(
                Folder(str(tmp_path)), "shards", attempt="a"
            ),
        ),
    ]
    for error, way in ways:
        with pytest.raises(type(error)) as raised:
            way()
        assert (type(raised.value), str(raised.value)) == (type(error), str(error))
    assert "Traceback" not in capfd.readouterr().err


class _DyingOnce:
    """Loads a function that tells in which process it ran; the first that runs it ends."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __call__(self) -> BatchFunction:
        return self._run

    def _run(self, batch: pa.Table) -> pa.Table:
        if not self._mark.exists():
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return batch.append_column("process", pa.array([os.getpid()] * batch.num_rows))


def test_few_rows_are_mapped_by_processes_that_are_there_already(
    ray_cluster: Engine, tmp_path: Path
) -> None:
    table = pa.table({"x": range(50)})
    rows = ray_cluster.from_table(table)
    for _ in range(2):
        present = {process.pid for process in psutil.Process().children(recursive=True)}
        load = _DyingOnce(tmp_path / "died")
        mapped = rows.map_model(load, workers=Workers(), batch_rows=10).to_table()
        assert mapped.select(["x"]) == table
    assert set(mapped["process"].to_pylist()) <= present


def _doubled() -> BatchFunction:
    return lambda batch: pa.table({"x": pc.multiply(batch["x"], 2)})


def test_few_rows_are_read_as_workers_take_them(
    ray_cluster: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster.engine.ray import FewBatches

    monkeypatch.setattr("cluster.engine.ray.TASK_ROWS", 20)
    num_read = 0

    def read() -> Iterator[pa.Table]:
        nonlocal num_read
        for start in range(0, 100, 10):
            num_read += 1
            yield pa.table({"x": range(start, start + 10)})

    mapped = iter(FewBatches(read).map_model(_doubled, workers=Workers(2), batch_rows=10))
    first = next(mapped)
    assert num_read == 4  # two workers, and two batches for each
    rest = pa.concat_tables([first, *mapped])
    assert rest["x"].to_pylist() == list(range(0, 200, 2))
