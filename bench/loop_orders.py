"""In which order the loop asks: each gives [R], higher is asked about first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from bench.training import CrossFitted, Rows
from cluster.interfaces import Array
from cluster.scores.compact_table import read_compact
from cluster.scores.ensemble import log_probabilities
from cluster.scores.feedback import Evidence, Feedback

NUM_FOLDS = 5


@dataclass(frozen=True)
class TableStats:
    """What an order may look at. told: what jobs.mine says of the rows; feedback: of the answers
    so far; rng: for chance."""

    rows: Rows
    fitted: CrossFitted
    told: Evidence
    feedback: Feedback
    rng: np.random.Generator


Order = Callable[[TableStats], Array]


def ours(known: TableStats) -> Array:
    """As jobs.loop ranks."""
    return known.feedback.p_wrong(known.told)


def ours_untaught(known: TableStats) -> Array:
    """As jobs.loop --no-feedback ranks."""
    return np.asarray(known.told.suspicion, np.float64)


def cleanlab(known: TableStats) -> Array:
    """Label issues by its defaults first, then all others; within each by label quality.

    On our model's out-of-sample probabilities.
    """
    compact = read_compact(known.fitted.scored)
    probabilities = np.exp(log_probabilities(compact, len(known.rows.classes)))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    flags = find_label_issues(compact.labels, probabilities, n_jobs=1)
    quality = get_label_quality_scores(compact.labels, probabilities)
    return np.asarray(flags + 1 - quality, np.float64)


def in_sample_argmax(known: TableStats) -> Array:
    """Rows whose label the model trained on them does not predict, the surest first."""
    compact = read_compact(known.fitted.in_sample)
    return np.asarray(compact.p_others[:, 0] - compact.p_label, np.float64)


def by_chance(known: TableStats) -> Array:
    return known.rng.random(len(known.rows.ids))


ORDERS: Mapping[str, Order] = {
    "ours": ours,
    "ours, answers unused": ours_untaught,
    "cleanlab, same probabilities": cleanlab,
    "in-sample argmax": in_sample_argmax,
    "random": by_chance,
}
