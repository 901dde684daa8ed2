"""What jobs.mine itself says of a set, by the functions that mine uses.

The built-in learner in place of Ray Train, all rows in one part in place of Ray
Data; folds, views, weights and suspicion are the product's.
"""

import numpy as np
import pyarrow as pa

from bench.detection_methods import NUM_FOLDS, Verdict
from bench.training import Rows, cross_fit, suspicion
from cluster.scores.compact import Floats
from cluster.scores.neighbors import unit_length
from cluster.scores.suspicion import FLAG
from cluster.tasks.seam import EMBEDDING

BEFORE, MINE, WITH_ENCODER = "jobs.mine, one view", "jobs.mine", "jobs.mine --encoder"


def mined(rows: Rows, *, encoded: Floats | None, seed: int) -> dict[str, Verdict]:
    """Verdicts by one view alone, with training dynamics, and with an encoder where there is one.

    encoded: an encoder's embeddings, [R, D].
    """
    judged = cross_fit(rows, num_folds=NUM_FOLDS, seed=seed).judged
    found = {
        BEFORE: suspicion(rows, judged, num_folds=0),
        MINE: suspicion(rows, judged, num_folds=NUM_FOLDS),
    }
    if encoded is not None:
        vectors = list(unit_length(encoded).astype(np.float32))
        judged = judged.append_column(EMBEDDING, pa.array(vectors, pa.list_(pa.float32())))
        found[WITH_ENCODER] = suspicion(rows, judged, num_folds=NUM_FOLDS)
    return {name: Verdict(one, one > FLAG) for name, one in found.items()}
