"""Suspicion: P(label is wrong), averaged over what cannot be known without gold.

Two questions have no answer in the data, so each is answered both ways and the
answers meet in the middle, as means of log-odds:

  How do labels go wrong? If by chance alone, the label has one rival, the most probable
  other class: the odds are p(other) / p(label). If classes are taken for one another, the
  noise model says (noise.py). Either alone loses much where the other holds
  (docs/explanation/scores.md). What a model that is unsure of a row spreads over many
  classes is no evidence against the label: 1 - p(label) counts it, and ranks the hard rows
  among the wrong ones (bench/results/mistakenness.md).

  Which model of a row is right? The one that predicts labels best, unless it has
  learned the very rule that made the wrong ones. So the ensemble's average, whose
  weights follow the labels (stacking.py), counts as much as its base scores together,
  which have equal weights.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from cluster.scores.compact import BLOCK_ROWS, Compact, Floats
from cluster.scores.noise import NoiseModel

FLAG = 0.5  # a label is called wrong from here on
TINY = 1e-9

Doubles = npt.NDArray[np.float64]


def suspicion(rows: Compact, model: NoiseModel) -> Doubles:
    """P(label is wrong) by one model or average, [R], in [0, 1]; higher is worse.

    rows: compact predictions, out of sample. model: of the same predictions, whole table.
    """
    return np.concatenate([_suspicion(block, model) for block in rows.blocks(BLOCK_ROWS)])


def by_chance(rows: Compact) -> Doubles:
    """P(label is wrong) if labels go wrong by chance, [R]: between the label and its rival, the
    most probable other class. 1 - p(label) where there are two classes."""
    odds = _rival_odds(rows)
    p_wrong: Doubles = odds / (1 + odds)
    return p_wrong


def _rival_odds(rows: Compact) -> Doubles:
    rival = rows.p_others[:, 0].astype(np.float64)
    odds: Doubles = rival / np.maximum(rows.p_label, TINY)
    return odds


def _suspicion(rows: Compact, model: NoiseModel) -> Doubles:
    # The mean of two log-odds is the root of the product of the odds: no logarithm a row.
    odds = model.odds(rows)
    odds *= _rival_odds(rows)
    np.sqrt(odds, out=odds)
    p_wrong: Doubles = odds / (1 + odds)
    return p_wrong


def average_with_base(average: Floats, base: Sequence[Floats]) -> Doubles:
    """Suspicion by an ensemble's average and by each base score, each [R], into one, [R].

    The average counts as much as all base scores together.
    """
    return logit_mean([average, logit_mean(base)])


def logit_mean(probabilities: Sequence[Floats]) -> Doubles:
    """Mean of log-odds, as a probability: [R] each -> [R], in [0, 1]."""
    odds = [logit(np.clip(np.asarray(p, np.float64), TINY, 1 - TINY)) for p in probabilities]
    mean: Doubles = expit(np.mean(odds, axis=0))
    return mean
