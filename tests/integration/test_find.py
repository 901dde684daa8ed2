"""A search for rows that are similar to example errors finds the same on both engines."""

from dataclasses import replace
from pathlib import Path

from deltalake import write_deltalake

from cluster.data.rows import latest
from cluster.engine.base import Engine
from cluster.engine.local import LocalEngine
from cluster.similar.find import find
from tests.integration.test_pattern import Setting


def test_the_order_does_not_depend_on_the_engine_or_on_how_the_table_is_stored(
    tmp_path: Path, engine: Engine
) -> None:
    setting = Setting(tmp_path)
    looked_at: list[int] = []
    find(setting.config(), LocalEngine(), on_rows=looked_at.append)
    assert sum(looked_at) == 421  # what progress is told
    whole = str(tmp_path / "whole")
    write_deltalake(whole, setting.table.sort_by([("id", "descending")]))
    again = setting.config(source=latest(replace(setting.source, uri=whole, version=None)))
    find(replace(again, run_id="whole"), engine)
    kept = [
        [(row["id"], round(row["suspicion"], 9)) for row in setting.findings_of(name)]
        for name in ("transfers", "whole")
    ]
    assert kept[0] == kept[1]
