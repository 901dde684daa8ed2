"""The benchmark of audits beside cleanlab: both sides score every row, in the rows' order."""

import pyarrow as pa
import pytest

from bench.audit import OURS, RECIPE, compare, main, row_of
from tests.tasks.test_text_classification import planted


def test_both_sides_find_planted_errors() -> None:
    rows = planted(200, noise=0.15)
    table = pa.table(
        {"id": rows.ids, "text": rows.contents, "label": rows.labels, "gold": rows.gold}
    )
    sides = compare(table, turns=1)
    assert min(sides[OURS].precision, sides[RECIPE].precision) > 0.7
    assert row_of("planted", table, sides).startswith("| planted | 200 | ")


def test_a_set_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nothing"]) == 1
    assert "no set of that name" in capsys.readouterr().err
