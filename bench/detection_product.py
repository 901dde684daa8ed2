"""What jobs.mine itself says of a set, by the functions that mine uses.

The built-in learner in place of Ray Train, all rows in one part in place of Ray
Data; folds, views, weights, suspicion and feedback are the product's.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bench.detection_methods import NUM_FOLDS, Verdict
from bench.scores.neighbors import unit_length
from bench.training import Rows, cross_fit, evidence, suspicion
from cluster.interfaces import EMBEDDING
from cluster.scores.compact import Floats
from cluster.scores.feedback import Evidence, learn
from cluster.scores.suspicion import FLAG

BEFORE, MINE, WITH_ENCODER = "jobs.mine, one view", "jobs.mine", "jobs.mine --encoder"
BATCH = 50  # rows that are answered before those left are ranked again
ANSWERED = f", {BATCH} answers at a time"


def mined(
    rows: Rows, *, encoded: Floats | None, wrong: npt.NDArray[np.bool_], seed: int
) -> dict[str, Verdict]:
    """Verdicts by one view alone, with training dynamics, and with an encoder where there is one.

    encoded: an encoder's embeddings, [R, D]. wrong: which labels are, [R]: the answers, for the
    contestants who get some.
    """
    scored = cross_fit(rows, num_folds=NUM_FOLDS, seed=seed).scored
    alone = suspicion(rows, scored, num_folds=0)
    found = {BEFORE: Verdict(alone, alone > FLAG)}
    told = {MINE: evidence(rows, scored, num_folds=NUM_FOLDS)}
    if encoded is not None:
        vectors = list(unit_length(encoded).astype(np.float32))
        scored = scored.append_column(EMBEDDING, pa.array(vectors, pa.list_(pa.float32())))
        told[WITH_ENCODER] = evidence(rows, scored, num_folds=NUM_FOLDS)
    for name, one in told.items():
        found[name] = Verdict(one.suspicion, one.suspicion > FLAG)
    return found | {f"{name}{ANSWERED}": answered(one, wrong) for name, one in told.items()}


def answered(told: Evidence, wrong: npt.NDArray[np.bool_]) -> Verdict:
    """All rows, the worst BATCH of those left at a time, each time by what answers have taught.

    suspicion: the later a row is asked about, the lower; flags: by P(wrong) just before.
    """
    num_rows = len(wrong)
    asked, flags = np.empty(0, np.int64), np.zeros(num_rows, np.bool_)
    left = np.arange(num_rows)
    while len(left):
        p_wrong = learn(told.take(asked), wrong[asked]).p_wrong(told.take(left))
        worst = np.argsort(-p_wrong, kind="stable")[:BATCH]
        flags[left[worst]] = p_wrong[worst] > FLAG
        asked = np.concatenate([asked, left[worst]])
        left = np.delete(left, worst)
    order = np.empty(num_rows)
    order[asked] = np.linspace(1, 0, num_rows)
    return Verdict(order, flags)
