"""Gold items, blind labels and the audit sample, and the intervals made of them."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest, hypergeom

from relabel_service import accept
from relabel_service.errors import InvalidInput
from relabel_service.server.auth import Caller
from relabel_service.server.rate_limits import Limits
from relabel_service.server.service import LeaseService
from relabel_service.tables import delta, schemas
from relabel_service.v1 import campaigns_pb2
from relabel_service.votes import intervals
from tests.conftest import Start
from tests.support.campaigns import finding
from tests.support.people import Person, stats

EVERYTHING = Limits(max_share=1.0)  # one labeler may have all items leased


@pytest.mark.parametrize(("num", "total"), [(0, 1), (1, 1), (3, 10), (50, 50), (417, 1000)])
def test_shares_have_wilsons_interval(num: int, total: int) -> None:
    expected = binomtest(num, total).proportion_ci(method="wilson")
    estimate = intervals.share(num, total)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_nothing_counted_is_nothing_known() -> None:
    assert intervals.share(0, 0).low == 0
    assert intervals.share(0, 0).high == 1
    assert math.isnan(intervals.share(0, 0).value)


def test_the_difference_of_shares_is_newcombes() -> None:
    # Newcombe 1998, table II, method 10: 56/70 - 48/80
    estimate = intervals.difference(intervals.share(56, 70), intervals.share(48, 80))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (0.2, 0.0524, 0.3339), abs=1e-4
    )


def test_what_is_left_is_the_samples_share_of_all() -> None:
    left = intervals.errors_left(10, 100, 5000)
    assert left.value == pytest.approx(500)
    assert left.low < 500 < left.high
    estimate = intervals.recall(1500, left)
    assert estimate.value == pytest.approx(0.75)
    assert estimate.low < 0.75 < estimate.high


@pytest.mark.parametrize(
    ("num_wrong", "drawn", "population"), [(0, 50, 400), (7, 50, 400), (50, 50, 60)]
)
def test_the_interval_of_errors_left_is_exact(num_wrong: int, drawn: int, population: int) -> None:
    left = intervals.errors_left(num_wrong, drawn, population)
    errors = np.arange(num_wrong, population - drawn + num_wrong + 1)
    as_many = hypergeom.sf(num_wrong - 1, population, errors, drawn)
    as_few = hypergeom.cdf(num_wrong, population, errors, drawn)
    not_ruled_out = errors[(as_many > 0.025) & (as_few > 0.025)]
    assert (left.low, left.high) == (not_ruled_out.min(), not_ruled_out.max())


@pytest.mark.parametrize("errors", [0, 3, 8, 40, 700])
def test_it_holds_the_truth_however_rare_errors_are(errors: int) -> None:
    found = np.random.default_rng(0).hypergeometric(errors, 5000 - errors, 300, size=2000)
    held = [
        left.low <= errors <= left.high
        for num in found.tolist()
        for left in [intervals.errors_left(num, 300, 5000)]
    ]
    assert np.mean(held) >= 0.945


def test_an_audit_is_as_large_as_its_interval_needs() -> None:
    size = intervals.audit_size(0.05, 100_000)
    left = intervals.errors_left(round(0.05 * size), size, 100_000)
    assert (left.high - left.low) / 2 == pytest.approx(0.5 * left.value, rel=0.15)
    assert intervals.audit_size(0.001, 500) == pytest.approx(500, abs=20)


def test_what_was_not_audited_may_be_all_wrong() -> None:
    left = intervals.errors_left(0, 0, 300)
    assert (left.low, left.high) == (0, 300)


def gold(folder: Path, num: int) -> campaigns_pb2.Gold:
    rows = [finding(rank, content=f"gold {rank}", gold_label="spam") for rank in range(num)]
    schema = schemas.FINDINGS.append(pa.field("gold_label", pa.string()))
    uri = str(folder / "gold")
    delta.append_once(uri, pa.Table.from_pylist(rows, schema), app_id="run")
    return campaigns_pb2.Gold(uri=uri, run_id="run", rate=0.5)


def test_gold_items_are_mixed_in_and_measure_labelers(start: Start, tmp_path: Path) -> None:
    start(num_items=40, gold=gold(tmp_path, 10))
    service = LeaseService(start.store, limits=EVERYTHING)
    ann, bob = Person(service, "ann"), Person(service, "bob")
    mixed = ann.lease(40)
    controls = [lease for lease in mixed if lease.item.content.text.text.startswith("gold")]
    assert len(mixed) == 40
    assert 5 <= len(controls) <= 10  # of thirty draws at one half
    shown = {(lease.item.rank, lease.item.suspicion, lease.item.reason) for lease in mixed}
    assert shown == {(0, 0.0, "")}  # nothing sets gold apart
    for index, lease in enumerate(controls):
        ann.say(lease, "spam" if index < 4 else "ham")
    again = [lease for lease in bob.lease(40) if lease.item.content.text.text.startswith("gold")]
    assert 0 < len(again) <= 10  # everybody may get the same gold
    counts = stats(service)
    assert (counts.num_items, counts.num_results) == (40, 0)
    [line] = [line for line in counts.labelers if line.labeler == "ann"]
    assert (line.gold_right.num, line.gold_right.total) == (4, len(controls))
    assert line.gold_right.low < 4 / len(controls) < line.gold_right.high


def test_labelers_are_not_told_what_measures_them(start: Start, tmp_path: Path) -> None:
    service = start(num_items=4, gold=gold(tmp_path, 2), votes_required=2)
    Person(service, "ann").label_next("spam")
    Person(service, "bob").label_next("spam")
    own = stats(service, Caller("ann"))
    assert [line.labeler for line in own.labelers] == ["ann"]
    assert not own.labelers[0].HasField("gold_right")
    assert not own.HasField("audit_errors")


def test_the_pull_of_suggestions_is_measured_on_blind_answers(start: Start) -> None:
    start(num_items=60, blind_share=0.5)
    service = LeaseService(start.store, limits=EVERYTHING)
    ann = Person(service, "ann")
    leases = ann.lease(60)
    blind = [lease for lease in leases if not lease.item.suggestions]
    seen = [lease for lease in leases if lease.item.suggestions]
    assert 15 < len(blind) < 45
    for lease in seen:
        assert ann.say(lease, "spam")  # as suggested
    for index, lease in enumerate(blind):
        assert ann.say(lease, "spam" if index % 2 else "ham")
    counts = stats(service)
    assert (counts.agree_shown.num, counts.agree_shown.total) == (len(seen), len(seen))
    assert (counts.agree_blind.num, counts.agree_blind.total) == (len(blind) // 2, len(blind))
    assert counts.anchoring.value == pytest.approx(1 - (len(blind) // 2) / len(blind))
    assert 0 < counts.anchoring.low < counts.anchoring.high


def test_what_was_not_shown_cannot_be_accepted(start: Start) -> None:
    service = start(num_items=1, blind_share=1.0)
    ann = Person(service, "ann")
    [lease] = ann.lease()
    with pytest.raises(InvalidInput, match="accepts a suggestion, and the item has none"):
        ann.submit([accept(lease)])


def test_the_audit_sample_tells_how_many_errors_are_left(start: Start, tmp_path: Path) -> None:
    uri = str(tmp_path / "audit")
    rows = [finding(rank, id=f"audit-{rank}") for rank in range(10)]
    delta.append_once(uri, pa.Table.from_pylist(rows, schemas.FINDINGS), app_id="run")
    audit = campaigns_pb2.Audit(uri=uri, run_id="run", population=1000)
    service = start(num_items=10, audit=audit)
    ann = Person(service, "ann")
    leases = ann.lease(100)
    assert len(leases) == 20
    for lease in leases:
        wrong = not lease.item.row_id.startswith("audit") or lease.item.row_id == "audit-3"
        ann.say(lease, "spam" if wrong else "confirm")
    counts = stats(service)
    assert (counts.num_items, counts.num_done) == (20, 20)
    assert (counts.audit_errors.num, counts.audit_errors.total) == (1, 10)
    assert counts.errors_left.value == pytest.approx(100)
    assert counts.recall.value == pytest.approx(10 / 110)
    assert counts.recall.low < counts.recall.value < counts.recall.high


def test_labelers_agreement_with_others_is_counted_in_pairs(start: Start) -> None:
    service = start(num_items=2, votes_required=3)
    for name, labels in (
        ("ann", ["spam", "spam"]),
        ("bob", ["spam", "spam"]),
        ("cyd", ["ham", "spam"]),
    ):
        person = Person(service, name)
        for lease, label in zip(person.lease(2), labels, strict=True):
            person.say(lease, label)
    lines = {line.labeler: line.agree_others for line in stats(service).labelers}
    assert [(lines[name].num, lines[name].total) for name in ("ann", "bob", "cyd")] == [
        (3, 4), (3, 4), (2, 4)
    ]  # fmt: skip
