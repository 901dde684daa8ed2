"""Delta commits that happen once, whoever repeats them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from cluster.engine.ray import RayEngine
from relabel_service.errors import NotFound
from relabel_service.tables import delta, schemas

ROWS = pa.table({"value": [1, 2]})


def test_an_application_appends_once(tmp_path: Path) -> None:
    uri = str(tmp_path)
    assert delta.append_once(uri, ROWS, app_id="a")
    assert not delta.append_once(uri, ROWS, app_id="a")
    assert delta.append_once(uri, ROWS, app_id="b")
    assert delta.read_where(uri, {}).num_rows == 4


def test_writers_at_the_same_time_lose_and_double_nothing(tmp_path: Path) -> None:
    uri = str(tmp_path)
    names = [f"app-{number % 6}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda name: delta.append_once(uri, ROWS, app_id=name), names))
    assert delta.read_where(uri, {}).num_rows == 2 * 6
    assert sum(written) >= 6


def test_files_appear_together_and_once(tmp_path: Path) -> None:
    uri = str(tmp_path)
    for name in ("one", "two"):
        pq.write_table(ROWS, tmp_path / f"{name}.parquet")
    files = [
        delta.add_file(
            f"{name}.parquet",
            size_bytes=(tmp_path / f"{name}.parquet").stat().st_size,
            num_rows=2,
        )
        for name in ("one", "two")
    ]
    assert delta.commit_files_once(uri, files, schema=ROWS.schema, app_id="run")
    assert not delta.commit_files_once(uri, files, schema=ROWS.schema, app_id="run")
    assert delta.read_where(uri, {}).num_rows == 4


def test_a_run_without_files_is_committed_too(tmp_path: Path) -> None:
    uri = str(tmp_path)
    assert delta.commit_files_once(uri, [], schema=schemas.FINDINGS, app_id="empty")
    assert delta.is_committed(uri, "empty")
    assert delta.read_run(uri, "empty").num_rows == 0
    with pytest.raises(NotFound, match="'other'"):
        delta.read_run(uri, "other")


def test_a_plain_file_or_nothing_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not delta.is_delta(str(tmp_path / "file"))
    assert not delta.is_delta(str(tmp_path / "nothing"))
    with pytest.raises(NotFound, match="nothing"):
        delta.open_table(str(tmp_path / "nothing"))


def test_a_log_is_read_once_for_size_and_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "table")
    write_deltalake(uri, pa.table({"a": [1, 2, 3]}))
    opened: list[str] = []
    open_table = delta.open_table

    def counted(uri: str, version: int | None = None) -> DeltaTable:
        opened.append(uri)
        return open_table(uri, version)

    monkeypatch.setattr(delta, "open_table", counted)
    assert RayEngine().read(uri, ["a"], version=0).to_table()["a"].to_pylist() == [1, 2, 3]
    assert opened == [uri]
