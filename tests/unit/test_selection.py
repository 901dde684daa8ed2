"""How many findings a run keeps."""

import pytest

from cluster.mining.selection import DEFAULT_THRESHOLD, Selection, parse_budget
from relabel_service.errors import InvalidInput


def test_a_share_is_read_from_percent_or_number() -> None:
    assert parse_budget("5%") == parse_budget("0.05") == 0.05


def test_a_limit_is_the_top_or_the_share_rounded_up() -> None:
    assert Selection(top=7).limit(1000) == 7
    assert Selection(budget=0.05).limit(101) == 6
    assert Selection(threshold=0.9).limit(1000) is None


def test_without_a_limit_only_likely_errors_are_kept() -> None:
    assert Selection().least == DEFAULT_THRESHOLD
    assert Selection(top=3).least == 0
    assert Selection(top=3, threshold=0.4).least == 0.4


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"top": 0}, "top: 0"),
        ({"top": 1, "budget": 0.1}, "give one"),
        ({"budget": 1.5}, "150%"),
        ({"budget": 0.0}, "0%"),
        ({"threshold": -0.1}, "-0.1"),
    ],
)
def test_impossible_selections_are_refused(settings: dict[str, float], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        Selection(**settings)  # type: ignore[arg-type]


def test_a_share_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'many'"):
        parse_budget("many")
