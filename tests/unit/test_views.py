"""Several views of a judged row: pooled alike in whatever parts, and better than one view."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.interfaces import EMBEDDING, FOLD, OBSERVED, Pools
from cluster.io.folder import Folder
from cluster.mining.scoring import Scoring
from cluster.mining.table_stats import stats_of_rows
from cluster.scores.combine import log_view
from cluster.scores.compact import compact
from cluster.scores.fold_ridge import FoldRidge, fold_moments
from cluster.scores.ridge import Moments, Ridge
from cluster.scores.views import log_view_of
from cluster.tasks import model_task
from cluster.tasks.classification import score
from cluster.training.dynamics import TrainingDynamics
from relabel_service.errors import InvalidInput
from tests.support.cross_fit import auroc

TASK, CLASSES, NUM_FOLDS = "text_classification", ("a", "b", "c"), 4
Doubles = npt.NDArray[np.float64]


def rows(seed: int = 0, num_rows: int = 600) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """Judged rows with a weak model, better embeddings and dynamics; and which labels are wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=num_rows)
    wrong = rng.random(num_rows) < 0.15
    given = np.where(wrong, (truth + rng.integers(1, 3, size=num_rows)) % 3, truth)
    logits = 0.8 * np.eye(3)[truth] + 0.6 * rng.normal(size=(num_rows, 3))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    vectors = rng.normal(size=(3, 6))[truth] + 0.7 * rng.normal(size=(num_rows, 6))
    scored = score(probabilities.astype(np.float32), given, CLASSES)
    watched = np.where(wrong, 0.4, 0.7) + 0.2 * rng.random(num_rows)
    for name, values in {
        "id": pa.array([f"row-{place}" for place in range(num_rows)]),
        FOLD: pa.array(rng.integers(NUM_FOLDS, size=num_rows)),
        EMBEDDING: pa.array(list(vectors.astype(np.float32)), pa.list_(pa.float32())),
        f"{OBSERVED}p_label": pa.array(watched),
    }.items():
        scored = scored.append_column(name, values)
    return scored, wrong


def suspicion(scored: pa.Table, num_folds: int = NUM_FOLDS) -> Doubles:
    scoring = Scoring(TASK, CLASSES, num_folds=num_folds)
    stats, seen = stats_of_rows(scoring, scored)
    return scoring.suspicion(seen, stats.sums)


def test_the_hedge_is_better_than_the_model_alone() -> None:
    scored, wrong = rows()
    alone = auroc(suspicion(scored, num_folds=0), wrong)
    views = auroc(suspicion(scored), wrong)
    assert views > alone + 0.1
    without = scored.drop_columns([EMBEDDING])
    assert alone < auroc(suspicion(without), wrong) < views


def test_moments_and_sums_of_parts_add_up_to_those_of_the_whole() -> None:
    scored, _ = rows()
    task = model_task(TASK)
    assert isinstance(task, Pools)
    parts = [scored.slice(0, 100), scored.slice(100, 350), scored.slice(450)]
    whole = task.moments(scored, CLASSES, NUM_FOLDS)
    by_part = [task.moments(part, CLASSES, NUM_FOLDS) for part in parts]
    for name, value in whole.items():
        assert np.allclose(sum(one[name] for one in by_part), value)
    learned = task.learn(scored, whole, CLASSES)
    seen = task.with_views(scored, learned, CLASSES)
    sums = task.sums(seen, CLASSES)
    joined = []
    for part in parts:
        some = task.with_views(part, learned, CLASSES)
        joined.append(task.suspicion(some, sums, CLASSES))
    assert np.allclose(np.concatenate(joined), task.suspicion(seen, sums, CLASSES))


def test_signals_tell_each_view_and_stay_the_models_own() -> None:
    scored, _ = rows()
    scoring = Scoring(TASK, CLASSES, num_folds=NUM_FOLDS)
    stats, seen = stats_of_rows(scoring, scored)
    signals = model_task(TASK).signals(seen, stats.sums, CLASSES)
    assert {"suspicion_model", "suspicion_encoder", "suspicion_dynamics", "suspicion_pool"} < set(
        signals
    )
    assert np.array_equal(signals["p_label"], scored["p_label"].to_numpy())
    assert all(
        ((found >= 0) & (found <= 1)).all()
        for name, found in signals.items()
        if name.startswith("suspicion")
    )


def test_a_row_that_training_never_saw_is_as_suspect_as_the_pool_has_it() -> None:
    scored, _ = rows()
    at = scored.column_names.index(f"{OBSERVED}p_label")
    unseen = scored.set_column(at, f"{OBSERVED}p_label", pa.array(np.full(600, np.nan)))
    scoring = Scoring(TASK, CLASSES, num_folds=NUM_FOLDS)
    stats, seen = stats_of_rows(scoring, unseen)
    signals = model_task(TASK).signals(seen, stats.sums, CLASSES)
    assert np.array_equal(signals["suspicion_dynamics"], signals["suspicion_pool"])


def test_compact_rows_that_keep_every_class_are_the_matrix_again() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(5), size=50)
    given = rng.integers(5, size=50)
    assert np.allclose(
        log_view_of(compact(probabilities, given, num_others=4), 5), log_view(probabilities)
    )
    some = np.exp(log_view_of(compact(probabilities, given, num_others=2), 5))
    assert np.allclose(some.sum(axis=1), 1)
    assert np.allclose(some[np.arange(50), given], probabilities[np.arange(50), given])


def test_fold_ridge_equals_training_on_the_other_folds() -> None:
    rng = np.random.default_rng(1)
    given, fold = rng.integers(3, size=(2, 200))
    vectors = np.eye(3)[given] @ rng.normal(size=(3, 5)) + rng.normal(size=(200, 5))
    sums = fold_moments(vectors, given, fold, num_folds=3, num_classes=3)
    found = FoldRidge.of(sums).held_out(vectors, fold)
    errors = {}
    for penalty in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0):
        scores = np.empty((200, 3))
        for number in range(3):
            rest, out = fold != number, fold == number
            ridge = Ridge.of(Moments.of(vectors[rest], given[rest], 3))
            turned = (vectors[out] - ridge.center) @ ridge.basis / ridge.scale
            scores[out] = turned / (ridge.spectrum + penalty) @ ridge.rotated + ridge.mean
        errors[((scores - np.eye(3)[given]) ** 2).sum()] = scores
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
