"""What answers teach: nothing when there are none, the truth about groups and members with some."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score

from cluster.scores.compact import Floats
from cluster.scores.feedback import Evidence, Feedback, learn

Flags = npt.NDArray[np.bool_]

suspicions = st.floats(0, 1)
rows_of_evidence = st.lists(
    st.tuples(suspicions, st.sampled_from("abc"), st.one_of(suspicions, st.just(np.nan))),
    min_size=1,
    max_size=30,
)


def evidence(rows: list[tuple[float, str, float]]) -> Evidence:
    suspicion, group, member = zip(*rows, strict=True)
    return Evidence(np.array(suspicion), group, {"other": np.array(member)})


def planted(
    seed: int,
    *,
    offset: float = 0.0,
    by_group: Mapping[str, float] | None = None,
    by_member: float = 0.0,
    num_rows: int = 3000,
) -> tuple[Evidence, Flags]:
    """Labels that go wrong by more than their suspicion says."""
    rng = np.random.default_rng(seed)
    base, other = rng.normal(-1.5, 1.5, (2, num_rows))
    group = rng.choice(list("abc"), num_rows).tolist()
    more = np.array([(by_group or {}).get(name, 0.0) for name in group])
    wrong = rng.random(num_rows) < expit(base + offset + more + by_member * (other - base))
    return Evidence(expit(base), group, {"other": expit(other)}), wrong


def worst(suspicion: Floats, count: int) -> npt.NDArray[np.int64]:
    return np.argsort(-suspicion, kind="stable")[:count]


def average_precision_after(whole: Evidence, wrong: Flags, feedback: Feedback, asked: int) -> float:
    """Of the rows that nobody was asked about."""
    rest = np.setdiff1d(np.arange(len(wrong)), worst(whole.suspicion, asked))
    return float(average_precision_score(wrong[rest], feedback.p_wrong(whole.take(rest))))


@given(rows_of_evidence)
def test_without_answers_p_wrong_is_the_suspicion(rows: list[tuple[float, str, float]]) -> None:
    some = evidence(rows)
    taught = learn(some.take(np.array([], np.int64)), np.array([], np.bool_))
    assert taught == Feedback()
    assert np.array_equal(taught.p_wrong(some), some.suspicion)


@given(rows_of_evidence, st.data())
def test_p_wrong_is_a_probability_whatever_the_answers(
    rows: list[tuple[float, str, float]], data: st.DataObject
) -> None:
    some = evidence(rows)
    wrong = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    found = learn(some, wrong).p_wrong(some)
    assert ((found >= 0) & (found <= 1)).all()


@given(rows_of_evidence, st.data())
def test_the_order_of_answers_does_not_matter(
    rows: list[tuple[float, str, float]], data: st.DataObject
) -> None:
    some, wrong = evidence(rows), np.arange(len(rows)) % 2 == 0
    places = np.array(data.draw(st.permutations(range(len(rows)))))
    one = learn(some, wrong).p_wrong(some)
    other = learn(some.take(places), wrong[places]).p_wrong(some)
    assert one == pytest.approx(other, abs=1e-3)


def test_a_few_answers_move_little_and_many_say_how_things_are() -> None:
    whole, wrong = planted(0, offset=2.0)
    ten = learn(whole.take(np.arange(10)), wrong[:10])
    every = learn(whole, wrong)
    assert abs(ten.slope) < 0.3
    assert every.offset == pytest.approx(2.0, abs=0.4)
    assert every.p_wrong(whole).sum() == pytest.approx(wrong.sum(), rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_answers_about_the_worst_rows_tell_which_group_is_wrong_more(seed: int) -> None:
    whole, wrong = planted(seed, by_group={"a": 1.5, "b": -1.5})
    asked = worst(whole.suspicion, 300)
    taught = learn(whole.take(asked), wrong[asked])
    assert taught.groups["a"] > taught.groups["c"] > taught.groups["b"]
    before = average_precision_after(whole, wrong, Feedback(), 300)
    assert average_precision_after(whole, wrong, taught, 300) > before + 0.05


@pytest.mark.parametrize("seed", range(3))
def test_answers_tell_which_member_to_trust(seed: int) -> None:
    whole, wrong = planted(seed, by_member=0.8)
    asked = worst(whole.suspicion, 300)
    taught = learn(whole.take(asked), wrong[asked])
    assert taught.weights["other"] > 0.2
    before = average_precision_after(whole, wrong, Feedback(), 300)
    assert average_precision_after(whole, wrong, taught, 300) > before + 0.05


def test_where_suspicion_is_right_already_answers_cost_little() -> None:
    cost = []
    for seed in range(5):
        whole, wrong = planted(seed)
        asked = worst(whole.suspicion, 300)
        taught = learn(whole.take(asked), wrong[asked])
        before = average_precision_after(whole, wrong, Feedback(), 300)
        cost.append(before - average_precision_after(whole, wrong, taught, 300))
    assert np.mean(cost) < 0.015


def test_groups_and_members_that_no_answer_was_about_count_nothing() -> None:
    whole, wrong = planted(1, by_group={"a": 1.0})
    taught = learn(whole, wrong)
    alone = Evidence(whole.suspicion, ["new"] * len(wrong))
    expected = expit(logit(whole.suspicion) * (1 + taught.slope) + taught.offset)
    assert taught.p_wrong(alone) == pytest.approx(expected)
