"""In which order the loop asks: each of cross-fitted rows -> [R], higher is asked about first."""

from collections.abc import Callable, Mapping

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from bench.training import CrossFitted, Rows, suspicion
from cluster.scores.views import log_view_of
from cluster.tasks.class_views import read_compact
from cluster.tasks.seam import Array

NUM_FOLDS = 5

Order = Callable[[Rows, CrossFitted], Array]


def ours(rows: Rows, fitted: CrossFitted) -> Array:
    """As jobs.mine ranks."""
    return suspicion(rows, fitted.judged, num_folds=NUM_FOLDS)


def cleanlab(rows: Rows, fitted: CrossFitted) -> Array:
    """Label issues by its defaults first, then all others; within each by label quality.

    On our model's out-of-sample probabilities.
    """
    compact = read_compact(fitted.judged)
    probabilities = np.exp(log_view_of(compact, len(rows.classes)))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    flags = find_label_issues(compact.given, probabilities, n_jobs=1)
    quality = get_label_quality_scores(compact.given, probabilities)
    return np.asarray(flags + 1 - quality, np.float64)


def in_sample_argmax(rows: Rows, fitted: CrossFitted) -> Array:
    """Rows whose label the model trained on them does not predict, the surest first."""
    compact = read_compact(fitted.in_sample)
    return np.asarray(compact.p_others[:, 0] - compact.p_label, np.float64)


ORDERS: Mapping[str, Order | None] = {
    "ours": ours,
    "cleanlab, same probabilities": cleanlab,
    "in-sample argmax": in_sample_argmax,
    "random": None,  # needs no folds
}
