"""What answers say of the labels: the estimate of errors left is right whatever the model says."""

import dataclasses
import json

import numpy as np
import pytest
from rich.console import Console

from cluster.inference.evaluate import Coverage, Evaluation
from cluster.mining.config import MineResult
from cluster.mining.unasked import bin_middles, histogram
from cluster.scores.feedback import Evidence, learn
from jobs.loop import report, report_quality
from jobs.loop.quality import DecidedRows, Quality, StopRule, quality
from jobs.loop.rounds import Round
from relabel_service.votes.majority import decisions_of, majority
from tests.unit.test_majority import results, vote

NUM_ROWS, NUM_ASKED, NUM_AUDIT = 4000, 400, 300
MEASURED = Evaluation({"accuracy": 0.9}, Coverage(60))


@dataclasses.dataclass(frozen=True)
class Campaign:
    """unasked: what nobody has decided on, by P(wrong) as feedback has it. truth: errors there."""

    mined: MineResult
    unasked: list[int]
    answered: DecidedRows
    truth: int

    def quality(self, pace: StopRule | None = None) -> Quality:
        return quality(self.mined, self.unasked, self.answered, pace or StopRule())


def campaign(seed: int, *, num_audit: int = NUM_AUDIT, skew: float = 1.0) -> Campaign:
    """A table of 10 % errors, the worst asked about.

    skew: 1 for a suspicion that means what it says; above, it says too little.
    """
    rng = np.random.default_rng(seed)
    p_wrong = rng.beta(0.5, 4.5, NUM_ROWS)
    wrong = rng.random(NUM_ROWS) < p_wrong
    suspicion = p_wrong**skew
    order = np.argsort(-suspicion)
    asked, others = order[:NUM_ASKED], order[NUM_ASKED:]
    audited = rng.choice(others, num_audit, replace=False)
    mined = MineResult(
        run_id="round-1",
        dataset_version=0,
        num_rows=NUM_ROWS,
        num_scored=NUM_ROWS,
        num_quarantined=0,
        num_repeated_ids=0,
        num_findings=NUM_ASKED,
        num_audit=num_audit,
        unasked_histogram=histogram(suspicion[others]).tolist(),
        noise_matrix=[[0.9, 0.1], [0.2, 0.8]],
        classes=["a", "b"],
    )
    places = np.concatenate([asked, audited])
    answered = DecidedRows(suspicion[places], wrong[places], np.arange(len(places)) >= NUM_ASKED)
    told = Evidence(suspicion, [""] * NUM_ROWS)
    left = np.setdiff1d(others, audited)
    p_wrong = learn(told.take(places), wrong[places]).p_wrong(told.take(left))
    return Campaign(mined, histogram(p_wrong).tolist(), answered, int(wrong[left].sum()))


@pytest.mark.parametrize("skew", [0.5, 1.0, 2.0])
def test_the_interval_of_errors_left_holds_the_truth_as_often_as_it_says(skew: float) -> None:
    held, errors = [], []
    for seed in range(60):
        asked = campaign(seed, skew=skew)
        left = asked.quality().errors_left
        assert left.by_audit
        held.append(left.low <= asked.truth <= left.high)
        errors.append(left.expected / asked.truth - 1)
    assert np.mean(held) >= 0.95
    assert abs(np.mean(errors)) < 0.1


def test_an_audit_that_finds_no_error_does_not_say_there_is_none() -> None:
    asked = campaign(0, num_audit=40)
    answered = asked.answered
    none = dataclasses.replace(answered, wrong=answered.wrong & ~answered.audit)
    left = dataclasses.replace(asked, answered=none).quality().errors_left
    assert left.low == 0
    assert left.high > 100


@pytest.mark.parametrize("skew", [0.5, 1.0, 2.0])
def test_without_an_audit_the_interval_holds_the_truth_where_answers_support_one(
    skew: float,
) -> None:
    lefts = [(asked.quality().errors_left, asked.truth) for asked in
             (campaign(seed, num_audit=0, skew=skew) for seed in range(25))]  # fmt: skip
    assert not any(left.by_audit or left.audit_size for left, _ in lefts)
    assert all(left.low <= left.expected <= left.high for left, _ in lefts)
    assert np.mean([left.low <= truth <= left.high for left, truth in lefts]) >= 0.95
    assert np.median([left.high / left.low for left, _ in lefts]) < 30


def test_answers_that_support_no_interval_ask_for_an_audit() -> None:
    asked = campaign(0, num_audit=0)
    none = dataclasses.replace(asked.answered, wrong=np.zeros_like(asked.answered.wrong))
    found = dataclasses.replace(asked, answered=none).quality()
    left = found.errors_left
    assert (left.low, left.high) == (0, NUM_ROWS - NUM_ASKED)
    assert left.audit_size is not None
    assert 100 < left.audit_size < 1500
    assert report_quality.errors_left(found) == f"? (audit {left.audit_size})"
    [sentence] = report_quality.sentences(["v1"], [found])
    assert (
        f"does not follow from these answers: ask about {left.audit_size} random rows" in sentence
    )
    assert "worth asking" not in sentence


def test_an_interval_stands_beside_the_number_wherever_it_is_printed() -> None:
    for num_audit, sign in ((0, "~"), (NUM_AUDIT, "")):
        found = campaign(0, num_audit=num_audit).quality()
        left = found.errors_left
        cell = f"{sign}{left.expected:.0f} ({left.low:.0f} to {left.high:.0f})"
        assert report_quality.errors_left(found) == cell
        console = Console(record=True, width=200)
        console.print(report.table(told(found)))
        assert cell in console.export_text()
        assert cell in told(found).about_labels[0]


@pytest.mark.parametrize("skew", [0.5, 2.0])
def test_without_an_audit_the_model_speaks_as_answers_have_taught_it(skew: float) -> None:
    asked = campaign(0, num_audit=0, skew=skew)
    left = asked.quality().errors_left
    assert not left.by_audit
    untaught = float((np.array(asked.mined.unasked_histogram) * bin_middles()).sum())
    assert abs(left.expected - asked.truth) < abs(untaught - asked.truth) / 2


def test_what_counts_as_wrong_is_what_the_merge_decided() -> None:
    asked = [
        vote("kept", "ann", "ham", kind="finding"),
        vote("mended", "ann", "spam", kind="audit", suspicion=0.25),
        vote("tied", "ann", "ham", kind="finding"),
        vote("tied", "bob", "spam", kind="finding", suspicion=0.75),
    ]
    voted = results(*asked)
    by_majority = DecidedRows.of(voted, majority(voted))
    assert by_majority.wrong.tolist() == [False, True]
    assert by_majority.audit.tolist() == [False, True]
    weighed = DecidedRows.of(voted, decisions_of(voted, lambda _, votes: votes[-1]["label"]))
    assert weighed.wrong.tolist() == [False, True, True]
    assert weighed.suspicion.tolist() == [0.5, 0.25, 0.75]


def test_the_curve_holds_what_was_thought_against_what_was_found() -> None:
    def error(asked: Campaign) -> float:
        curve = asked.quality().reliability
        assert sum(one.num_rows for one in curve) == NUM_ASKED + NUM_AUDIT
        return float(np.mean([abs(one.predicted - one.observed) for one in curve]))

    assert error(campaign(1)) < error(campaign(1, skew=2.0)) / 2


def test_asking_ends_where_a_minute_finds_too_little() -> None:
    asked = campaign(0)
    found = asked.quality(StopRule(seconds_per_label=30))
    assert found.num_worth_asking is None  # no rule: it says nothing
    assert 0 < found.errors_per_minute < 2
    least = found.errors_per_minute
    assert asked.quality(StopRule(30, least * 1.1)).num_worth_asking == 0
    worth = asked.quality(StopRule(30, least * 0.5)).num_worth_asking
    assert worth is not None
    assert 0 < worth < 3300
    # How long people took, where their results say so, stands in the place of a guess.
    answered = dataclasses.replace(asked.answered, seconds_per_label=60.0)
    asked = dataclasses.replace(asked, answered=answered)
    assert asked.quality(StopRule(30)).errors_per_minute == pytest.approx(least / 2)


def told(*qualities: Quality | None) -> report.Report:
    rounds = [
        Round(f"v{number}", number, {"test": MEASURED}, quality=one)
        for number, one in enumerate(qualities, 1)
    ]
    return report.Report(rounds, None, [])


def test_the_report_tells_errors_left_in_table_json_and_page() -> None:
    found = campaign(0).quality()
    shown = told(found, None)
    page = report.html(shown)
    assert "errors a labeler-minute" in page
    assert "by the audit" in page
    first, last = json.loads(json.dumps(report.as_json(shown)))["rounds"]
    assert first["quality"]["errors_left"]["by_audit"]
    assert len(first["quality"]["reliability"]) == 10
    assert last["quality"] is None
    assert "The labels" not in report.html(told(None, None))
    assert "left" in [column.header for column in report.table(shown).columns]
