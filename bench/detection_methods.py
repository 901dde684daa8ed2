"""The contestants: each says of every row how suspect its label is, and whether it is wrong.

All see the same features and the same labels; none sees gold.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import nn
from torch.nn import functional

from bench.detection_features import Features
from bench.scores import cross_fit, dynamics
from cluster.scores import combine, noise, ridge
from cluster.scores.compact import Floats, Ints, compact
from cluster.scores.suspicion import FLAG, hedge, suspicion

NUM_FOLDS = 5
NUM_OTHERS = 9  # classes kept beside the label's
EPOCHS, BATCH_ROWS, HIDDEN, LEARNING_RATE = 10, 64, 128, 1e-3


@dataclass(frozen=True)
class Verdict:
    """suspicion: [R], higher is worse. flags: called wrong, [R]."""

    suspicion: Floats
    flags: npt.NDArray[np.bool_]


def contest(features: Features, given: Ints, *, num_classes: int, seed: int) -> dict[str, Verdict]:
    """Every contestant's verdict, by name, "ours" first."""
    views = _views(features, given, num_classes, seed)
    pooled = combine.fit(list(views.values()), given).probabilities(list(views.values()))
    watched = _watched(features, given, num_classes, seed)
    members = {
        name: _suspicion(combine.fit([view], given).probabilities([view]), given)
        for name, view in views.items()
    }
    members["training dynamics"] = 1 - watched.mean_confidence
    by_pool = _suspicion(pooled, given)
    ours = hedge(by_pool, list(members.values()))
    verdicts = {"ours": Verdict(ours, ours > FLAG)}
    verdicts |= _ablations(by_pool, members, pooled, given)
    verdicts["cleanlab on our probabilities"] = _cleanlab(pooled, given, "self_confidence")
    plain = _logistic(features, given, seed)
    verdicts["cleanlab end to end"] = _cleanlab(plain, given, "self_confidence")
    verdicts["cleanlab end to end, by margin"] = _cleanlab(plain, given, "normalized_margin")
    verdicts["in-sample argmax"] = Verdict(-watched.last_margin, watched.last_margin < 0)
    verdicts["AUM"] = Verdict(-watched.area_under_margin, watched.area_under_margin < 0)
    chance = np.random.default_rng(seed).random(len(given))
    verdicts["random"] = Verdict(chance, chance > FLAG)
    return verdicts


def _views(features: Features, given: Ints, num_classes: int, seed: int) -> dict[str, Floats]:
    views: dict[str, Floats] = {}
    if features.sparse is not None:
        fold = _folds(given, seed)
        model = cross_fit.fit(features.sparse, given, fold, num_classes=num_classes)
        views["n-grams"] = model.held_out(features.sparse, fold)
    views["encoder"], _ = ridge.leave_one_out(features.dense, given, num_classes)
    return views


def _folds(given: Ints, seed: int) -> Ints:
    """Each class dealt out evenly."""
    order = np.random.default_rng(seed).permutation(len(given))
    by_class = order[np.argsort(given[order], kind="stable")]
    fold = np.empty(len(given), np.int64)
    fold[by_class] = np.arange(len(given)) % NUM_FOLDS
    return fold


def _suspicion(probabilities: Floats, given: Ints) -> Floats:
    rows = compact(probabilities, given, num_others=NUM_OTHERS)
    return suspicion(rows, noise.noise_model(rows, probabilities.shape[1]))


def _ablations(
    by_pool: Floats, members: Mapping[str, Floats], pooled: Floats, given: Ints
) -> dict[str, Verdict]:
    rows = compact(pooled, given, num_others=NUM_OTHERS)
    found = {f"ours, {name} alone": one for name, one in members.items()}
    found["ours, pool alone"] = by_pool
    found["ours, pool by self-confidence"] = 1 - rows.p_label
    found["ours, pool by noise model"] = noise.noise_model(rows, pooled.shape[1]).p_wrong(rows)
    without = [one for name, one in members.items() if name != "training dynamics"]
    found["ours without training dynamics"] = hedge(by_pool, without)
    return {name: Verdict(one, one > FLAG) for name, one in found.items()}


def _cleanlab(probabilities: Floats, given: Ints, ranked_by: str) -> Verdict:
    """As find_label_issues flags by default; all rows ranked by the label quality score."""
    flags = find_label_issues(given, probabilities, n_jobs=1)
    quality = get_label_quality_scores(given, probabilities, method=ranked_by)
    return Verdict(1 - quality, flags)


def _logistic(features: Features, given: Ints, seed: int) -> Floats:
    """The documentation's recipe: out-of-sample probabilities of a logistic regression."""
    split = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    model = LogisticRegression(max_iter=400)
    found: Floats = cross_val_predict(
        model, features.dense, given, cv=split, method="predict_proba"
    )
    return found


@dataclass(frozen=True)
class Watched:
    """A training on every row, watched: each [R]; last_margin is of the finished network."""

    mean_confidence: Floats
    area_under_margin: Floats
    last_margin: Floats


def _watched(features: Features, given: Ints, num_classes: int, seed: int) -> Watched:
    """A small network; each row is looked at just before each step that it is part of."""
    torch.manual_seed(seed)
    inputs, targets = torch.from_numpy(features.dense), torch.from_numpy(given)
    inputs = (inputs - inputs.mean(0)) / inputs.std()
    network = nn.Sequential(
        nn.Linear(inputs.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, num_classes)
    )
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    margin, p_label = np.empty((2, EPOCHS, len(given)))
    for epoch in range(EPOCHS):
        for batch in torch.split(torch.randperm(len(targets)), BATCH_ROWS):
            logits, labels = network(inputs[batch]), targets[batch]
            loss = functional.cross_entropy(logits, labels, reduction="none")
            p_label[epoch, batch] = torch.exp(-loss.detach())
            margin[epoch, batch] = _margin(logits.detach(), labels)
            optimizer.zero_grad()
            loss.mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.inference_mode():
        last = _margin(torch.softmax(network(inputs), dim=1), targets).numpy()
    return Watched(dynamics.mean_confidence(p_label), dynamics.area_under_margin(margin), last)


def _margin(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    label = scores.gather(1, targets[:, None])
    others = scores.scatter(1, targets[:, None], -torch.inf)
    return (label[:, 0] - others.amax(dim=1)).detach()
