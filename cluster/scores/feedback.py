"""What people's answers teach about the labels that nobody was asked about.

Mining hedges what cannot be known without gold (suspicion.py). Answers are gold,
of a few rows: they tell how often suspicion is right, which of its members to
trust, and whose labels are wrong most. Relevance feedback, as search engines have it
(Rocchio 1971; of annotation errors Weber and Plank 2023, ActiveAED); here a
logistic regression around what mining said:

    logit P(wrong) = logit s + offset + slope logit s
                   + sum over members k of weight_k (logit s_k - logit s) + group of the row

Every number has a normal prior around 0, so that no answer changes nothing, few
change little, and each answer counts alike, whatever made people be asked: which rows
were chosen depends on the evidence alone, and given that on nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit

from cluster.scores.compact import Floats

# How far a number may stray from 0, as the standard deviation of its prior, in log-odds (offset,
# group), or log-odds a unit of log-odds. Half or twice as much changes little (docs/detection.md).
OFFSET_SD, SLOPE_SD, WEIGHT_SD, GROUP_SD = 2.0, 0.3, 0.3, 0.5
FLOOR = 1e-6  # suspicions are kept this far from 0 and 1

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What mining says of R labels.

    suspicion: [R], in [0, 1]. members: other suspicions of the same labels by name, [R] each,
    in [0, 1]; NaN where a row has none. group: of each row, [R]: rows of one group tend to be
    wrong alike (those of one class).
    """

    suspicion: Floats
    group: Sequence[str]
    members: Mapping[str, Floats] = field(default_factory=dict)

    def take(self, places: npt.NDArray[np.int64]) -> "Evidence":
        """Of some rows: [P] -> [P]."""
        return Evidence(
            self.suspicion[places],
            [self.group[place] for place in places],
            {name: values[places] for name, values in self.members.items()},
        )


@dataclass(frozen=True)
class Feedback:
    """What num_answers answers have taught; none: P(wrong) is the suspicion.

    offset, slope; weights by member; groups by name: as above. Members and groups that no
    answer was about count 0.
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
        known = {name: place for place, name in enumerate(self.groups)}
        of_group = np.array([*self.groups.values(), 0.0])
        places = [known.get(name, len(known)) for name in evidence.group]
        members = _members(evidence, base, [*self.weights])
        found: Doubles = expit(
            base * (1 + self.slope)
            + self.offset
            + members @ np.array([*self.weights.values()])
            + of_group[places]
        )
        return found


def learn(evidence: Evidence, wrong: npt.NDArray[np.bool_]) -> Feedback:
    """From answered labels. evidence: as when people were asked; wrong: what they found, [R]."""
    if not len(wrong):
        return Feedback()
    base = _logit(evidence.suspicion)
    names = sorted(evidence.members)
    groups, group = np.unique(np.asarray(evidence.group, np.str_), return_inverse=True)
    columns = np.column_stack([np.ones(len(base)), base, _members(evidence, base, names)])
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

    found = minimize(objective, np.zeros(len(spread)), jac=True, method="L-BFGS-B").x.tolist()
    return Feedback(
        offset=found[0],
        slope=found[1],
        weights=dict(zip(names, found[2:num_columns], strict=True)),
        groups=dict(zip(groups.tolist(), found[num_columns:], strict=True)),
        num_answers=len(wrong),
    )


def _members(evidence: Evidence, base: Doubles, names: Sequence[str]) -> Doubles:
    """How far each member's log-odds are from the suspicion's, [R, members]."""
    found = np.zeros((len(base), len(names)))
    for place, name in enumerate(names):
        if name in evidence.members:
            found[:, place] = np.nan_to_num(_logit(evidence.members[name]) - base)
    return found


def _logit(probability: Floats) -> Doubles:
    logits: Doubles = logit(np.clip(np.asarray(probability, np.float64), FLOOR, 1 - FLOOR))
    return logits
