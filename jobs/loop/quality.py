"""What a round's answers say of the labels: errors left, P(wrong), and whether to go on asking.

Pure. Of the rows that nobody has decided it takes the counts by P(wrong), as the answers have
taught it (cluster/mining/label_confidence.py). Among the answers may be an audit sample: with it
the number of errors left is design based, right whatever the model says; without it the number is
the model's, and marked so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.mining.config import MineResult
from cluster.mining.unasked import bin_middles
from cluster.scores.calibration import (
    Doubles,
    ErrorsLeft,
    Reliability,
    errors_left_by_model,
    num_worth_asking,
    reliability,
)
from relabel_service.votes import intervals

BATCH = 50  # rows that a labeler is next asked about


@dataclass(frozen=True)
class StopRule:
    """How fast people answer, and when asking stops being worth it.

    seconds_per_label: of one labeler. min_errors_per_minute: asking ends when a labeler-minute
    would find fewer errors than this; 0 never ends it.
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
    that would be asked about before StopRule ends it.
    """

    num_errors_found: int
    errors_left: ErrorsLeft
    reliability: Sequence["Bin"]
    errors_per_minute: float
    num_worth_asking: int
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
    is an audited one; [D] each."""

    suspicion: Doubles
    wrong: npt.NDArray[np.bool_]
    audit: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, results: pa.Table, decisions: pa.Table) -> "DecidedRows":
        """results: tables.RESULTS of one campaign; decisions: consensus.DECISIONS on them."""
        items = {
            (row["id"], row["unit"]): (row["suspicion"], row["kind"] == "audit")
            for row in results.select(["id", "unit", "suspicion", "kind"]).to_pylist()
        }
        rows = decisions.to_pylist()
        decided = [items[row["id"], row["unit"]] for row in rows]
        return cls(
            np.array([suspicion for suspicion, _ in decided], np.float64),
            np.array([row["previous_label"] != row["new_label"] for row in rows], np.bool_),
            np.array([audit for _, audit in decided], np.bool_),
        )


def quality(
    mined: MineResult, unasked_histogram: Sequence[int], decided: DecidedRows, stop_rule: StopRule
) -> Quality:
    """mined: the run whose findings, and audit if any, were decided. unasked_histogram: rows that
    nobody has decided since, counted by P(wrong) as write_label_confidence does, [bins]."""
    unasked = np.repeat(bin_middles(len(unasked_histogram)), unasked_histogram)
    per_minute = float(np.sort(unasked)[::-1][:BATCH].mean()) * 60 / stop_rule.seconds_per_label
    curve = reliability(decided.suspicion, decided.wrong) if len(decided.wrong) else None
    return Quality(
        num_errors_found=int(decided.wrong.sum()),
        errors_left=_left(
            unasked, decided.wrong[decided.audit], int(np.sum(mined.unasked_histogram))
        ),
        reliability=_bins(curve) if curve else (),
        errors_per_minute=per_minute if len(unasked) else 0.0,
        num_worth_asking=_worth(unasked, stop_rule),
        noise_matrix=mined.noise_matrix,
        classes=mined.classes,
    )


def _left(unasked: Doubles, wrong: npt.NDArray[np.bool_], population: int) -> ErrorsLeft:
    """Errors in the unasked rows. wrong: whether audited rows were, [A]; population: that they
    were drawn from.

    By the sample alone, with Wilson's interval, as the service has it: a regression on
    suspicion that few errors were fitted to claimed too narrow an interval.
    """
    if not len(wrong):
        return errors_left_by_model(unasked)
    num_wrong = int(wrong.sum())
    share = intervals.share(num_wrong, len(wrong))
    # What the audit found is fixed together with the findings.
    most = float(population - len(wrong))
    expected, low, high = (
        float(np.clip(population * one - num_wrong, 0, most))
        for one in (share.value, share.low, share.high)
    )
    return ErrorsLeft(expected, low, high, by_audit=True)


def _worth(unasked: Doubles, stop_rule: StopRule) -> int:
    if stop_rule.min_errors_per_minute <= 0:
        return len(unasked)
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
