"""What people's results teach about the labels that nobody was asked about.

Mining averages over what cannot be known without gold (suspicion.py). People's results
are gold, of a few rows: they tell how often suspicion is right, which of its base scores
to trust, and whose labels are wrong most. Relevance feedback, as search engines have it
(Rocchio 1971; of annotation errors Weber and Plank 2023, ActiveAED); here a
logistic regression around what mining said:

    logit P(wrong) = logit s + offset + slope logit s
                   + sum over base scores k of weight_k (logit s_k - logit s) + group of the row

Every number has a normal prior around 0, so that no result changes nothing, few
change little, and each result counts alike, whatever made people be asked: which rows
were chosen depends on the evidence alone, and apart from that on nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit

from cluster.scores.compact import Floats

# How far a number may stray from 0, as the standard deviation of its prior, in log-odds (offset,
# group), or log-odds a unit of log-odds. Half or twice as much changes little
# (docs/explanation/learning-from-results.md).
OFFSET_SD, SLOPE_SD, WEIGHT_SD, GROUP_SD = 2.0, 0.3, 0.3, 0.5
FLOOR = 1e-6  # suspicions are kept this far from 0 and 1

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What mining says of R labels.

    suspicion: [R], in [0, 1]. base_scores: other suspicions of the same labels by name, [R]
    each, in [0, 1]; NaN where a row has none. group: of each row, [R]: rows of one group tend to be
    wrong alike (those of one class).
    """

    suspicion: Floats
    group: Sequence[str]
    base_scores: Mapping[str, Floats] = field(default_factory=dict)

    def take(self, indices: npt.NDArray[np.int64]) -> "Evidence":
        """Of some rows: [P] -> [P]."""
        return Evidence(
            self.suspicion[indices],
            [self.group[index] for index in indices],
            {name: values[indices] for name, values in self.base_scores.items()},
        )


@dataclass(frozen=True)
class Feedback:
    """What num_answers results have taught; none: P(wrong) is the suspicion.

    offset, slope; weights by base score; groups by name: as above. Base scores and groups
    that no result was about count 0.
    """

    offset: float = 0.0
    slope: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, float] = field(default_factory=dict)
    num_answers: int = 0

    def p_wrong(self, evidence: Evidence) -> Doubles:
        """P(label is wrong), [R], in [0, 1]; higher is worse."""
        if not self.num_answers:
            return np.asarray(evidence.suspicion, np.float64)
        base = _logit(evidence.suspicion)
        index = {name: number for number, name in enumerate(self.groups)}
        of_group = np.array([*self.groups.values(), 0.0])
        indices = [index.get(name, len(index)) for name in evidence.group]
        differences = _differences(evidence, base, [*self.weights])
        p_wrong: Doubles = expit(
            base * (1 + self.slope)
            + self.offset
            + differences @ np.array([*self.weights.values()])
            + of_group[indices]
        )
        return p_wrong


def learn(evidence: Evidence, wrong: npt.NDArray[np.bool_]) -> Feedback:
    """From reviewed labels. evidence: as when people were asked; wrong: what they found, [R]."""
    if not len(wrong):
        return Feedback()
    base = _logit(evidence.suspicion)
    names = sorted(evidence.base_scores)
    groups, group = np.unique(np.asarray(evidence.group, np.str_), return_inverse=True)
    columns = np.column_stack([np.ones(len(base)), base, _differences(evidence, base, names)])
    num_columns = columns.shape[1]
    spread = np.array(
        [OFFSET_SD, SLOPE_SD, *[WEIGHT_SD] * len(names), *[GROUP_SD] * len(groups)], np.float64
    )

    def objective(at: Doubles) -> tuple[float, Doubles]:
        logits = base + columns @ at[:num_columns] + at[num_columns:][group]
        loss = (np.logaddexp(0, logits) - wrong * logits).sum()
        excess = expit(logits) - wrong
        by_group = np.bincount(group, excess, minlength=len(groups))
        slope = np.concatenate([columns.T @ excess, by_group]) + at / spread**2
        return float(loss + ((at / spread) ** 2).sum() / 2), slope

    best = minimize(objective, np.zeros(len(spread)), jac=True, method="L-BFGS-B").x.tolist()
    return Feedback(
        offset=best[0],
        slope=best[1],
        weights=dict(zip(names, best[2:num_columns], strict=True)),
        groups=dict(zip(groups.tolist(), best[num_columns:], strict=True)),
        num_answers=len(wrong),
    )


def _differences(evidence: Evidence, base: Doubles, names: Sequence[str]) -> Doubles:
    """How far each base score's log-odds are from the suspicion's, [R, names]; 0 without one."""
    differences = np.zeros((len(base), len(names)))
    for column, name in enumerate(names):
        if name in evidence.base_scores:
            differences[:, column] = np.nan_to_num(_logit(evidence.base_scores[name]) - base)
    return differences


def _logit(probability: Floats) -> Doubles:
    logits: Doubles = logit(np.clip(np.asarray(probability, np.float64), FLOOR, 1 - FLOOR))
    return logits
