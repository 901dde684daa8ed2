"""Several models of a scored row: averaged alike in whatever shards, and better than one model."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.interfaces import DYNAMICS, EMBEDDING, FOLD
from cluster.io.folder import Folder
from cluster.mining.scoring import Scoring
from cluster.mining.table_stats import stats_of_rows
from cluster.models.class_learner import score
from cluster.scores.compact import compact
from cluster.scores.ensemble import log_probabilities
from cluster.scores.fold_ridge import FoldRidge, fold_moments
from cluster.scores.ridge import Moments, Ridge
from cluster.tasks import model_task
from cluster.training.dynamics import TrainingDynamics
from relabel_service.errors import InvalidInput
from tests.support.cross_fit import auroc

TASK, CLASSES, NUM_FOLDS = "text_classification", ("a", "b", "c"), 4
Doubles = npt.NDArray[np.float64]


def rows(seed: int = 0, num_rows: int = 600) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """Scored rows with a weak model, better embeddings and dynamics; and which labels are wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=num_rows)
    wrong = rng.random(num_rows) < 0.15
    labels = np.where(wrong, (truth + rng.integers(1, 3, size=num_rows)) % 3, truth)
    logits = 0.8 * np.eye(3)[truth] + 0.6 * rng.normal(size=(num_rows, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    vectors = rng.normal(size=(3, 6))[truth] + 0.7 * rng.normal(size=(num_rows, 6))
    scored = score(probabilities.astype(np.float32), labels, CLASSES)
    p_label = np.where(wrong, 0.4, 0.7) + 0.2 * rng.random(num_rows)
    for name, values in {
        "id": pa.array([f"row-{place}" for place in range(num_rows)]),
        FOLD: pa.array(rng.integers(NUM_FOLDS, size=num_rows)),
        EMBEDDING: pa.array(list(vectors.astype(np.float32)), pa.list_(pa.float32())),
        f"{DYNAMICS}p_label": pa.array(p_label),
    }.items():
        scored = scored.append_column(name, values)
    return scored, wrong


def suspicion(scored: pa.Table, num_folds: int = NUM_FOLDS) -> Doubles:
    scoring = Scoring(TASK, CLASSES, num_folds=num_folds)
    stats, seen = stats_of_rows(scoring, scored)
    return scoring.suspicion(seen, stats.sums)


def test_the_ensemble_is_better_than_the_model_alone() -> None:
    scored, wrong = rows()
    alone = auroc(suspicion(scored, num_folds=0), wrong)
    together = auroc(suspicion(scored), wrong)
    assert together > alone + 0.1
    without = scored.drop_columns([EMBEDDING])
    assert alone < auroc(suspicion(without), wrong) < together


def test_moments_and_sums_of_shards_add_up_to_those_of_the_whole() -> None:
    scored, _ = rows()
    task = model_task(TASK)
    ensemble = task.ensemble
    assert ensemble is not None
    shards = [scored.slice(0, 100), scored.slice(100, 350), scored.slice(450)]
    whole = ensemble.moments(scored, CLASSES, NUM_FOLDS)
    by_shard = [ensemble.moments(shard, CLASSES, NUM_FOLDS) for shard in shards]
    for name, value in whole.items():
        assert np.allclose(sum(moments[name] for moments in by_shard), value)
    learned = ensemble.learn(scored, whole, CLASSES)
    predicted = ensemble.add_predictions(scored, learned, CLASSES)
    sums = task.sums(predicted, CLASSES)
    joined = []
    for shard in shards:
        some = ensemble.add_predictions(shard, learned, CLASSES)
        joined.append(task.suspicion(some, sums, CLASSES))
    assert np.allclose(np.concatenate(joined), task.suspicion(predicted, sums, CLASSES))


def test_signals_hold_each_models_suspicion_and_stay_the_models_own() -> None:
    scored, _ = rows()
    scoring = Scoring(TASK, CLASSES, num_folds=NUM_FOLDS)
    stats, seen = stats_of_rows(scoring, scored)
    signals = model_task(TASK).signals(seen, stats.sums, CLASSES)
    assert {
        "suspicion_model",
        "suspicion_encoder",
        "suspicion_dynamics",
        "suspicion_ensemble",
    } < set(signals)
    assert np.array_equal(signals["p_label"], scored["p_label"].to_numpy())
    assert all(
        ((values >= 0) & (values <= 1)).all()
        for name, values in signals.items()
        if name.startswith("suspicion")
    )


def test_a_row_that_training_never_saw_is_as_suspect_as_the_average_has_it() -> None:
    scored, _ = rows()
    at = scored.column_names.index(f"{DYNAMICS}p_label")
    unseen = scored.set_column(at, f"{DYNAMICS}p_label", pa.array(np.full(600, np.nan)))
    scoring = Scoring(TASK, CLASSES, num_folds=NUM_FOLDS)
    stats, seen = stats_of_rows(scoring, unseen)
    signals = model_task(TASK).signals(seen, stats.sums, CLASSES)
    assert np.array_equal(signals["suspicion_dynamics"], signals["suspicion_ensemble"])


def test_compact_rows_that_keep_every_class_are_the_matrix_again() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(5), size=50)
    labels = rng.integers(5, size=50)
    assert np.allclose(
        log_probabilities(compact(probabilities, labels, num_others=4), 5), np.log(probabilities)
    )
    some = np.exp(log_probabilities(compact(probabilities, labels, num_others=2), 5))
    assert np.allclose(some.sum(axis=1), 1)
    assert np.allclose(some[np.arange(50), labels], probabilities[np.arange(50), labels])


def test_fold_ridge_equals_training_on_the_other_folds() -> None:
    rng = np.random.default_rng(1)
    labels, fold = rng.integers(3, size=(2, 200))
    vectors = np.eye(3)[labels] @ rng.normal(size=(3, 5)) + rng.normal(size=(200, 5))
    sums = fold_moments(vectors, labels, fold, num_folds=3, num_classes=3)
    found = FoldRidge.of(sums).held_out(vectors, fold)
    errors = {}
    for penalty in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0):
        scores = np.empty((200, 3))
        for number in range(3):
            rest, out = fold != number, fold == number
            ridge = Ridge.of(Moments.of(vectors[rest], labels[rest], 3))
            turned = (vectors[out] - ridge.center) @ ridge.basis / ridge.scale
            scores[out] = turned / (ridge.spectrum + penalty) @ ridge.rotated + ridge.mean
        errors[((scores - np.eye(3)[labels]) ** 2).sum()] = scores
    assert np.allclose(found, errors[min(errors)])


def test_one_fold_leaves_no_row_out() -> None:
    sums = fold_moments(
        np.ones((4, 2)), np.zeros(4, int), np.zeros(4, int), num_folds=1, num_classes=2
    )
    with pytest.raises(InvalidInput, match="2 or more"):
        FoldRidge.of(sums)


def test_observations_are_the_mean_over_the_runs_that_saw_the_row(tmp_path: Path) -> None:
    (tmp_path / "observed").mkdir()
    for run, names, epochs, values in (
        ("all-0", ["a", "b"], [2, 2], [0.2, 0.6]),
        ("fold-0-0", ["b", "c"], [4, 0], [0.9, 0.0]),
    ):
        table = pa.table(
            {"id": names, "num_epochs": pa.array(epochs, pa.int32()), "p_label": values}
        )
        pq.write_table(table, tmp_path / "observed" / f"{run}.parquet")
    observed = TrainingDynamics.read(Folder(str(tmp_path)))
    found = observed.of(["b", "x", "a", "c"])["p_label"]
    assert np.allclose(found, [0.8, np.nan, 0.2, np.nan], equal_nan=True)
    assert TrainingDynamics.read(Folder(str(tmp_path / "none"))).of(["a"]) == {}
