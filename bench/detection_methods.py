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
from bench.scores.leave_one_out import leave_one_out
from cluster.scores import noise, stacking
from cluster.scores.compact import Floats, Ints, compact
from cluster.scores.suspicion import FLAG, average_with_base, suspicion

NUM_FOLDS = 5
NUM_OTHERS = 9  # classes kept beside the label's
EPOCHS, BATCH_ROWS, HIDDEN, LEARNING_RATE = 10, 64, 128, 1e-3


@dataclass(frozen=True)
class Verdict:
    """suspicion: [R], higher is worse. flags: called wrong, [R]."""

    suspicion: Floats
    flags: npt.NDArray[np.bool_]


def contest(features: Features, labels: Ints, *, num_classes: int, seed: int) -> dict[str, Verdict]:
    """Every contestant's verdict, by name, "ours" first."""
    models = _base_scores(features, labels, num_classes, seed)
    average = stacking.fit(list(models.values()), labels).probabilities(list(models.values()))
    trained = _trained(features, labels, num_classes, seed)
    base = {
        name: _suspicion(stacking.fit([scores], labels).probabilities([scores]), labels)
        for name, scores in models.items()
    }
    base["training dynamics"] = 1 - trained.mean_confidence
    by_average = _suspicion(average, labels)
    ours = average_with_base(by_average, list(base.values()))
    verdicts = {"ours": Verdict(ours, ours > FLAG)}
    verdicts |= _ablations(by_average, base, average, labels)
    verdicts["cleanlab on our probabilities"] = _cleanlab(average, labels, "self_confidence")
    plain = _logistic(features, labels, seed)
    verdicts["cleanlab end to end"] = _cleanlab(plain, labels, "self_confidence")
    verdicts["cleanlab end to end, by margin"] = _cleanlab(plain, labels, "normalized_margin")
    verdicts["in-sample argmax"] = Verdict(-trained.last_margin, trained.last_margin < 0)
    verdicts["AUM"] = Verdict(-trained.area_under_margin, trained.area_under_margin < 0)
    chance = np.random.default_rng(seed).random(len(labels))
    verdicts["random"] = Verdict(chance, chance > FLAG)
    return verdicts


def _base_scores(
    features: Features, labels: Ints, num_classes: int, seed: int
) -> dict[str, Floats]:
    models: dict[str, Floats] = {}
    if features.sparse is not None:
        fold = _folds(labels, seed)
        model = cross_fit.fit(features.sparse, labels, fold, num_classes=num_classes)
        models["n-grams"] = model.held_out(features.sparse, fold)
    models["encoder"], _ = leave_one_out(features.dense, labels, num_classes)
    return models


def _folds(labels: Ints, seed: int) -> Ints:
    """Each class dealt out evenly."""
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), np.int64)
    fold[by_class] = np.arange(len(labels)) % NUM_FOLDS
    return fold


def _suspicion(probabilities: Floats, labels: Ints) -> Floats:
    rows = compact(probabilities, labels, num_others=NUM_OTHERS)
    return suspicion(rows, noise.noise_model(rows, probabilities.shape[1]))


def _ablations(
    by_average: Floats, base: Mapping[str, Floats], average: Floats, labels: Ints
) -> dict[str, Verdict]:
    rows = compact(average, labels, num_others=NUM_OTHERS)
    found = {f"ours, {name} alone": scores for name, scores in base.items()}
    found["ours, ensemble alone"] = by_average
    found["ours, ensemble by self-confidence"] = 1 - rows.p_label
    found["ours, ensemble by noise model"] = noise.noise_model(rows, average.shape[1]).p_wrong(rows)
    without = [scores for name, scores in base.items() if name != "training dynamics"]
    found["ours without training dynamics"] = average_with_base(by_average, without)
    return {name: Verdict(one, one > FLAG) for name, one in found.items()}


def _cleanlab(probabilities: Floats, labels: Ints, ranked_by: str) -> Verdict:
    """As find_label_issues flags by default; all rows ranked by the label quality score."""
    flags = find_label_issues(labels, probabilities, n_jobs=1)
    quality = get_label_quality_scores(labels, probabilities, method=ranked_by)
    return Verdict(1 - quality, flags)


def _logistic(features: Features, labels: Ints, seed: int) -> Floats:
    """The documentation's recipe: out-of-sample probabilities of a logistic regression."""
    split = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    model = LogisticRegression(max_iter=400)
    found: Floats = cross_val_predict(
        model, features.dense, labels, cv=split, method="predict_proba"
    )
    return found


@dataclass(frozen=True)
class Trained:
    """Dynamics of a training on every row: each [R]; last_margin is of the finished network."""

    mean_confidence: Floats
    area_under_margin: Floats
    last_margin: Floats


def _trained(features: Features, labels: Ints, num_classes: int, seed: int) -> Trained:
    """A small network; each row is looked at just before each step that it is part of."""
    torch.manual_seed(seed)
    inputs, targets = torch.from_numpy(features.dense), torch.from_numpy(labels)
    inputs = (inputs - inputs.mean(0)) / inputs.std()
    network = nn.Sequential(
        nn.Linear(inputs.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, num_classes)
    )
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    margin, p_label = np.empty((2, EPOCHS, len(labels)))
    for epoch in range(EPOCHS):
        for batch in torch.split(torch.randperm(len(targets)), BATCH_ROWS):
            logits, target = network(inputs[batch]), targets[batch]
            loss = functional.cross_entropy(logits, target, reduction="none")
            p_label[epoch, batch] = torch.exp(-loss.detach())
            margin[epoch, batch] = _margin(logits.detach(), target)
            optimizer.zero_grad()
            loss.mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.inference_mode():
        last = _margin(torch.softmax(network(inputs), dim=1), targets).numpy()
    return Trained(dynamics.mean_confidence(p_label), dynamics.area_under_margin(margin), last)


def _margin(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    label = scores.gather(1, targets[:, None])
    others = scores.scatter(1, targets[:, None], -torch.inf)
    return (label[:, 0] - others.amax(dim=1)).detach()
