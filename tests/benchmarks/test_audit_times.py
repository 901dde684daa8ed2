"""The benchmark of audits beside cleanlab: both sides score every row, in the rows' order."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score

from bench.audit import OURS, RECIPE, better_by, compare, main, row_of, wrong_in
from tests.tasks.test_text_classification import planted


def test_both_sides_find_planted_errors() -> None:
    rows = planted(200, noise=0.15)
    table = pa.table(
        {"id": rows.ids, "text": rows.contents, "label": rows.labels, "gold": rows.gold}
    )
    sides = compare(table, turns=1)
    wrong = wrong_in(table)
    for side in (OURS, RECIPE):
        assert average_precision_score(wrong, sides[side].scores) > 0.7
    assert row_of("planted", table, sides).startswith(f"| planted | 200 | {wrong.sum()} | ")


def test_the_interval_of_a_difference_holds_0_where_there_is_none() -> None:
    rng = np.random.default_rng(0)
    wrong = np.arange(200) < 20
    good, other, useless = (wrong * lift + rng.normal(size=200) for lift in (2.0, 2.0, 0.0))
    low, high = better_by(wrong, good, other)
    assert low < 0 < high
    assert better_by(wrong, good, useless)[0] > 0


def test_a_set_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nothing"]) == 1
    assert "no set of that name" in capsys.readouterr().err
