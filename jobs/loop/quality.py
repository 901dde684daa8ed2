"""What a round's answers say of the labels: errors left, P(wrong), and whether to go on asking.

Pure. The rows that nobody has decided are known by their counts per bin of P(wrong), as
answers have taught it (cluster/doubts.py); among the answers may be an audit sample. With it the
number of errors left is design based: right whatever the model says. Without it
only the model speaks, and says so.
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
class Pace:
    """How fast people answer, and when it stops being worth it.

    seconds_per_label: of one labeler. least_errors_per_minute: fewer errors found in a
    labeler-minute than this, and asking should end; 0 never ends it.
    """

    seconds_per_label: float = 20.0
    least_errors_per_minute: float = 0.0


@dataclass(frozen=True)
class Quality:
    """After a round's merge.

    num_found: labels that people found wrong, among findings and audited rows.
    errors_left: in the rows that no one was asked about. curve: of what was answered, by what
    P(wrong) was thought to be when it was asked about.
    errors_per_minute: expected of a labeler in the next BATCH rows. num_worth_asking: rows
    that would be asked about before Pace ends it.
    """

    num_found: int
    errors_left: ErrorsLeft
    curve: Sequence["Bin"]
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
class Answered:
    """Decided rows: suspicion, whether people found the label wrong, and whether it is an
    audited row; [A] each."""

    suspicion: Doubles
    wrong: npt.NDArray[np.bool_]
    audit: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, results: pa.Table, decisions: pa.Table) -> "Answered":
        """results: tables.RESULTS of one campaign; decisions: consensus.DECISIONS on them."""
        about = {
            (row["id"], row["unit"]): (row["suspicion"], row["kind"] == "audit")
            for row in results.select(["id", "unit", "suspicion", "kind"]).to_pylist()
        }
        decided = decisions.to_pylist()
        looked = [about[row["id"], row["unit"]] for row in decided]
        return cls(
            np.array([one for one, _ in looked], np.float64),
            np.array([row["previous_label"] != row["new_label"] for row in decided], np.bool_),
            np.array([audit for _, audit in looked], np.bool_),
        )


def quality(
    mined: MineResult, unasked_histogram: Sequence[int], answered: Answered, pace: Pace
) -> Quality:
    """mined: the run whose findings, and audit if any, were answered. unasked_histogram:
    what nobody has decided on since, by P(wrong) (mining.label_confidence), [bins]."""
    unasked = np.repeat(bin_middles(len(unasked_histogram)), unasked_histogram)
    per_minute = float(np.sort(unasked)[::-1][:BATCH].mean()) * 60 / pace.seconds_per_label
    curve = reliability(answered.suspicion, answered.wrong) if len(answered.wrong) else None
    return Quality(
        num_found=int(answered.wrong.sum()),
        errors_left=_left(
            unasked, answered.wrong[answered.audit], int(np.sum(mined.unasked_histogram))
        ),
        curve=_bins(curve) if curve else (),
        errors_per_minute=per_minute if len(unasked) else 0.0,
        num_worth_asking=_worth(unasked, pace),
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
    # What the audit found is mended with the findings.
    most = float(population - len(wrong))
    expected, low, high = (
        float(np.clip(population * one - num_wrong, 0, most))
        for one in (share.value, share.low, share.high)
    )
    return ErrorsLeft(expected, low, high, by_audit=True)


def _worth(unasked: Doubles, pace: Pace) -> int:
    if pace.least_errors_per_minute <= 0:
        return len(unasked)
    return num_worth_asking(
        unasked,
        seconds_per_label=pace.seconds_per_label,
        least_errors_per_minute=pace.least_errors_per_minute,
        batch=BATCH,
    )


def _bins(curve: Reliability) -> list[Bin]:
    columns = (curve.predicted, curve.observed, curve.low, curve.high, curve.num_rows)
    return [
        Bin(float(predicted), float(observed), float(low), float(high), int(num_rows))
        for predicted, observed, low, high, num_rows in zip(*columns, strict=True)
    ]
