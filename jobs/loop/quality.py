"""What a round's answers say of the labels: errors left, P(wrong), and whether to go on asking.

Pure. Of the rows that nobody has decided it takes the counts by P(wrong), as the answers have
taught it (cluster/mining/label_confidence.py). Among the answers may be an audit sample: with it
the number of errors left is design based, right whatever the model says. Without it the number is
the model's, and its interval what the answers about other rows support, if they do
(cluster/scores/errors_left.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.mining.config import MineResult
from cluster.mining.unasked import bin_middles, histogram
from cluster.scores.calibration import Doubles, Reliability, num_worth_asking, reliability
from cluster.scores.errors_left import ErrorsLeft, interval
from relabel_service.votes import intervals

BATCH = 50  # rows that a labeler is next asked about
MIN_SHARE = 0.01  # of errors, for which an audit is advised


@dataclass(frozen=True)
class StopRule:
    """How fast people answer, and when asking stops being worth it.

    seconds_per_label: of one labeler, where results do not say how long they took.
    min_errors_per_minute: asking ends when a labeler-minute would find fewer errors than this; 0
    never ends it.
    """

    seconds_per_label: float = 20.0
    min_errors_per_minute: float = 0.0


@dataclass(frozen=True)
class Quality:
    """After a round's merge.

    num_errors_found: labels that people found wrong, among findings and audited rows.
    errors_left: in the rows that no one was asked about. reliability: of what was answered, by what
    P(wrong) was thought to be when it was asked about.
    errors_per_minute: expected of a labeler in the next BATCH rows. num_worth_asking: rows
    that would be asked about before StopRule ends it; None where it never does and some are left.
    """

    num_errors_found: int
    errors_left: ErrorsLeft
    reliability: Sequence["Bin"]
    errors_per_minute: float
    num_worth_asking: int | None
    noise_matrix: Sequence[Sequence[float]] = ()
    classes: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class Bin:
    """Rows of like P(wrong): the mean of it, the share found wrong and its 95 % interval."""

    predicted: float
    observed: float
    low: float
    high: float
    num_rows: int


@dataclass(frozen=True)
class DecidedRows:
    """Rows that people have decided: suspicion, whether the label was wrong, and whether the row
    is an audited one; [D] each. seconds_per_label: the median of what labelers took, where their
    frontends say so."""

    suspicion: Doubles
    wrong: npt.NDArray[np.bool_]
    audit: npt.NDArray[np.bool_]
    seconds_per_label: float | None = None

    @classmethod
    def of(cls, results: pa.Table, decisions: pa.Table) -> "DecidedRows":
        """results: tables.RESULTS of one campaign; decisions: consensus.DECISIONS on them."""
        items = {
            (row["id"], row["unit"]): (row["suspicion"], row["kind"] == "audit")
            for row in results.select(["id", "unit", "suspicion", "kind"]).to_pylist()
        }
        rows = decisions.to_pylist()
        decided = [items[row["id"], row["unit"]] for row in rows]
        spent = results["seconds_spent"].drop_null()
        return cls(
            np.array([suspicion for suspicion, _ in decided], np.float64),
            np.array([row["previous_label"] != row["new_label"] for row in rows], np.bool_),
            np.array([audit for _, audit in decided], np.bool_),
            float(np.median(spent.to_numpy())) if len(spent) else None,
        )


def quality(
    mined: MineResult, unasked_histogram: Sequence[int], decided: DecidedRows, stop_rule: StopRule
) -> Quality:
    """mined: the run whose findings, and audit if any, were decided. unasked_histogram: rows that
    nobody has decided since, counted by P(wrong) as write_label_confidence does, [bins]."""
    if decided.seconds_per_label is not None:
        stop_rule = replace(stop_rule, seconds_per_label=decided.seconds_per_label)
    unasked = np.repeat(bin_middles(len(unasked_histogram)), unasked_histogram)
    per_minute = float(np.sort(unasked)[::-1][:BATCH].mean()) * 60 / stop_rule.seconds_per_label
    curve = reliability(decided.suspicion, decided.wrong) if len(decided.wrong) else None
    return Quality(
        num_errors_found=int(decided.wrong.sum()),
        errors_left=_by_audit(mined, decided) or _by_answers(mined, unasked, decided),
        reliability=_bins(curve) if curve else (),
        errors_per_minute=per_minute if len(unasked) else 0.0,
        num_worth_asking=_worth(unasked, stop_rule),
        noise_matrix=mined.noise_matrix,
        classes=mined.classes,
    )


def _by_audit(mined: MineResult, decided: DecidedRows) -> ErrorsLeft | None:
    """Errors in the unasked rows by the audit sample alone, exactly; None without one.

    A regression on suspicion that few errors were fitted to claimed too narrow an interval.
    """
    wrong = decided.wrong[decided.audit]
    if not len(wrong):
        return None
    num_wrong, population = int(wrong.sum()), int(np.sum(mined.unasked_histogram))
    all_errors = intervals.errors_left(num_wrong, len(wrong), population)
    # What the audit found is fixed together with the findings.
    most = float(population - len(wrong))
    expected, low, high = (
        float(np.clip(count - num_wrong, 0, most))
        for count in (all_errors.value, all_errors.low, all_errors.high)
    )
    return ErrorsLeft(expected, low, high, by_audit=True)


def _by_answers(mined: MineResult, unasked: Doubles, decided: DecidedRows) -> ErrorsLeft:
    """Errors in the unasked rows by their P(wrong), [U], with what the answers support."""
    expected, num_rows = float(unasked.sum()), len(unasked)
    between = interval(
        histogram(decided.suspicion),
        histogram(decided.suspicion[decided.wrong]),
        np.asarray(mined.unasked_histogram, np.int64),
    )
    if between is None and num_rows:
        size = intervals.audit_size(float(np.clip(expected / num_rows, MIN_SHARE, 1)), num_rows)
        return ErrorsLeft(expected, 0.0, float(num_rows), by_audit=False, audit_size=size)
    low, high = between or (0.0, 0.0)
    # Findings that people came to no decision about are left, too, and may all be wrong.
    high += max(num_rows - int(np.sum(mined.unasked_histogram)), 0)
    return ErrorsLeft(float(np.clip(expected, low, high)), low, high, by_audit=False)


def _worth(unasked: Doubles, stop_rule: StopRule) -> int | None:
    if stop_rule.min_errors_per_minute <= 0:
        return None if len(unasked) else 0
    return num_worth_asking(
        unasked,
        seconds_per_label=stop_rule.seconds_per_label,
        least_errors_per_minute=stop_rule.min_errors_per_minute,
        batch=BATCH,
    )


def _bins(curve: Reliability) -> list[Bin]:
    columns = (curve.predicted, curve.observed, curve.low, curve.high, curve.num_rows)
    return [
        Bin(float(predicted), float(observed), float(low), float(high), int(num_rows))
        for predicted, observed, low, high, num_rows in zip(*columns, strict=True)
    ]
