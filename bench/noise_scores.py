"""Model-free scores of labels on the same probabilities: python -m bench.noise_scores --data DIR …

Each DIR holds <task>/<name>/train.parquet with columns id, label, gold (perhaps label_worst) and
text or image. Two models of scikit-learn give each set probabilities out of sample; then labels are
the set's own, or gold with planted errors: by chance, or of every other class into the next. Prints
average precision of what is wrong by gold, and by how much `cluster.noise_scores` is better than
the same score with 1 - p(label) in the place of the label's rival, with a 95 % bootstrap interval.
FiftyOne's mistakenness is its formula, sign x exp(-entropy), which gives bench/mistakenness.py's
figure for the digits.
"""

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from cleanlab.rank import get_label_quality_scores
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from bench.audit import better_by
from cluster import noise_scores
from cluster.scores import stacking
from cluster.scores.compact import compact
from cluster.scores.compact_table import NUM_OTHERS
from cluster.scores.noise import noise_model
from cluster.scores.suspicion import logit_mean

SIDE = 8  # pixels of a picture's side, as models see it
PLANTED = {"chance": 0.12, "pairs": 0.25}  # share of the labels (pairs: of every other class)
NUM_DRAWS = 200  # of the bootstrap
TINY = 1e-12

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Names = npt.NDArray[np.str_]

TEXT_MODELS: dict[str, Callable[[], Any]] = {
    "TF-IDF, logistic": lambda: make_pipeline(
        TfidfVectorizer(min_df=2, sublinear_tf=True), LogisticRegression(max_iter=400, C=5)
    ),
    "TF-IDF, naive Bayes": lambda: make_pipeline(
        TfidfVectorizer(min_df=2), MultinomialNB(alpha=0.2)
    ),
}
IMAGE_MODELS: dict[str, Callable[[], Any]] = {
    "pixels, logistic": lambda: LogisticRegression(max_iter=400),
    "pixels, forest": lambda: RandomForestClassifier(100, min_samples_leaf=2, random_state=0),
}


def mistakenness(labels: Ints, p: Floats) -> Floats:
    entropy = -(p * np.log(np.maximum(p, TINY))).sum(axis=1)
    found: Floats = np.where(p.argmax(axis=1) == labels, -1, 1) * np.exp(-entropy)
    return found


def by_mass(labels: Ints, p: Floats) -> Floats:
    """noise_scores, but that the rival of a label is all other classes together."""
    logs = [np.log(np.maximum(p, TINY))]
    rows = compact(stacking.fit(logs, labels).probabilities(logs), labels, num_others=NUM_OTHERS)
    return logit_mean([noise_model(rows, p.shape[1]).p_wrong(rows), 1 - rows.p_label])


def by_cleanlab(labels: Ints, p: Floats, method: str) -> Floats:
    return 1 - np.asarray(get_label_quality_scores(labels, p, method=method))


SCORES: dict[str, Callable[[Ints, Floats], Floats]] = {
    "noise_scores": noise_scores,
    "with 1 - p(label)": by_mass,
    "mistakenness": mistakenness,
    "self-confidence": lambda labels, p: by_cleanlab(labels, p, "self_confidence"),
    "margin": lambda labels, p: by_cleanlab(labels, p, "normalized_margin"),
    "confidence-weighted entropy": lambda labels, p: by_cleanlab(
        labels, p, "confidence_weighted_entropy"
    ),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.noise_scores", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--only", nargs="*", default=[], help="names of sets")
    parser.add_argument("--seeds", type=int, default=2, help="of planted errors")
    given = parser.parse_args(arguments)
    print(f"| set | labels | model | {' | '.join(SCORES)} | better by the rival |")
    print("|---" * (len(SCORES) + 4) + "|")
    for path in _paths(given.data, given.only):
        columns = pq.read_table(path).to_pydict()
        models = TEXT_MODELS if "text" in columns else IMAGE_MODELS
        contents = columns["text"] if "text" in columns else _pixels(columns["image"])
        gold = np.array([str(name) for name in columns["gold"]])
        for kind, labels in _labels(columns, gold, num_seeds=given.seeds):
            for model, make in models.items():
                cells = _compared(make(), contents, labels, wrong=labels != gold)
                print(f"| {path.parent.name} | {kind} | {model} | {cells} |", flush=True)
    return 0


def _paths(folders: list[Path], only: list[str]) -> Iterator[Path]:
    for folder in folders:
        for task in ("text_classification", "image_classification"):
            for path in sorted((folder / task).glob("*/train.parquet")):
                if not only or path.parent.name in only:
                    yield path


def _labels(
    columns: dict[str, list[Any]], gold: Names, *, num_seeds: int
) -> Iterator[tuple[str, Names]]:
    """The set's own labels, where some are wrong, then gold with planted errors."""
    for name in ("label", "label_worst"):
        labels = np.array([str(one) for one in columns.get(name, [])])
        if len(labels) and (labels != gold).any():
            yield name, labels
    names, truth = np.unique(gold, return_inverse=True)
    for kind, share in PLANTED.items():
        for seed in range(num_seeds):
            rng = np.random.default_rng(seed)
            drawn = rng.random(len(gold)) < share
            if kind == "chance":
                changed = (truth + rng.integers(1, len(names), len(gold))) % len(names)
            else:
                changed, drawn = (truth + 1) % len(names), drawn & (truth % 2 == 0)
            yield f"planted, {kind}, seed {seed}", names[np.where(drawn, changed, truth)]


def _compared(model: Any, contents: Any, names: Names, *, wrong: npt.NDArray[np.bool_]) -> str:
    """AP of each score, and the difference of the first two."""
    _, labels = np.unique(names, return_inverse=True)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    p = cross_val_predict(model, contents, labels, cv=folds, method="predict_proba")
    scores = [score(labels, p) for score in SCORES.values()]
    found = [average_precision_score(wrong, one) for one in scores]
    low, high = better_by(wrong, scores[0], scores[1], num_draws=NUM_DRAWS)
    cells = " | ".join(f"{one:.3f}" for one in found)
    return f"{cells} | {found[0] - found[1]:+.3f} ({low:+.3f} to {high:+.3f})"


def _pixels(pictures: list[Any]) -> Floats:
    """[R, pixels], in [0, 1]."""
    read = [
        Image.open(io.BytesIO(one["bytes"] if isinstance(one, dict) else one)) for one in pictures
    ]
    return np.array([np.asarray(one.resize((SIDE, SIDE)), float).ravel() / 255 for one in read])


if __name__ == "__main__":
    sys.exit(main())
