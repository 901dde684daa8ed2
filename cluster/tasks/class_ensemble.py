"""The ensemble of models that predict a classified row, and the row's suspicion by it.

Models are the trained one, a ridge on an encoder's embeddings where the run has an encoder, and
those whose predictions the run was given (VIEW columns). Their average has weights learned from
the labels (scores/stacking.py). Suspicion is by the average as much as by the single models and
the training dynamics (scores/suspicion.py). R scored rows, C classes, K folds.

This module is the Ensemble (interfaces.py) of all classification tasks.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.interfaces import DYNAMICS, EMBEDDING, FOLD, VIEW, Array
from cluster.scores import ensemble, stacking
from cluster.scores.compact import Floats
from cluster.scores.compact_table import LABEL_INDEX, NUM_OTHERS, compact_columns, read_compact
from cluster.scores.fold_ridge import SECOND, FoldRidge, fold_moments
from cluster.scores.noise import NoiseModel, belief_sums
from cluster.scores.stacking import Stacking
from cluster.scores.suspicion import average_with_base, by_chance, suspicion

MODEL, ENCODER, AVERAGE = "model", "encoder", "ensemble"
P_LABEL = f"{DYNAMICS}p_label"
BELIEF, RIDGE = "belief", "ridge"
LOG_LOSS = "_log_loss"  # of each model alone, on the rows that weights are learned from
AVERAGE_BELIEF = f"{BELIEF}_{AVERAGE}"

VIEW_COLUMN = re.compile(rf"{VIEW}\d+")

T = TypeVar("T")


def moments(scored: pa.Table, classes: Sequence[str], num_folds: int) -> dict[str, Array]:
    """Sums that the ridge on embeddings needs; none where rows have no embedding."""
    if EMBEDDING not in scored.column_names:
        return {}
    return fold_moments(
        _embeddings(scored),
        scored[LABEL_INDEX].to_numpy(),
        scored[FOLD].to_numpy(),
        num_folds=num_folds,
        num_classes=len(classes),
    )


def learn(
    sample: pa.Table, moments: Mapping[str, Array], classes: Sequence[str]
) -> dict[str, Array]:
    """The ridge's weights, and the stacking weights of each model alone and of the average."""
    learned = {RIDGE: FoldRidge.of(moments).weights} if SECOND in moments else {}
    models = _base_scores(sample, learned, len(classes))
    matrices = {name: base_scores(slice(None)) for name, base_scores in models.items()}
    labels = sample[LABEL_INDEX].to_numpy()
    for name, stacked in _alone_and_together(matrices).items():
        fitted = stacking.fit(stacked, labels)
        learned |= {f"{name}_weights": fitted.weights, f"{name}_bias": fitted.bias}
        learned[f"{name}{LOG_LOSS}"] = np.array(fitted.log_loss)
    return learned


def add_predictions(
    scored: pa.Table, learned: Mapping[str, Array], classes: Sequence[str]
) -> pa.Table:
    """Scored rows with the compact columns of each model and of the average."""
    labels = scored[LABEL_INDEX].to_numpy()
    models = _base_scores(scored, learned, len(classes))
    for name, stacked in _alone_and_together(models).items():
        weights = Stacking(learned[f"{name}_weights"], learned[f"{name}_bias"], np.nan)
        rows = ensemble.average(weights, partial(_at, stacked), labels, num_others=NUM_OTHERS)
        for column, values in compact_columns(rows, f"{name}_").items():
            scored = scored.append_column(column, pa.array(values))
    return scored


def names_in(scored: pa.Table) -> list[str]:
    """The models, and the average, whose predictions add_predictions gave these rows."""
    views = sorted(
        name.removesuffix("_p_label")
        for name in scored.column_names
        if name.startswith(VIEW) and name.endswith("_p_label")
    )
    names = (MODEL, ENCODER, *views, AVERAGE)
    return [name for name in names if f"{name}_p_label" in scored.column_names]


def sums(scored: pa.Table, num_classes: int) -> dict[str, Array]:
    """Beliefs [C, C] by the trained model's own predictions, by each model and by the average."""
    return {BELIEF: belief_sums(read_compact(scored), num_classes)} | {
        f"{BELIEF}_{name}": belief_sums(read_compact(scored, f"{name}_"), num_classes)
        for name in names_in(scored)
    }


def suspicions(scored: pa.Table, sums: Mapping[str, Array]) -> dict[str, Array]:
    """Suspicion by each model, by the average, and by training dynamics where rows have them, [R].

    None of them where add_predictions gave the rows nothing.
    """
    by_name = {
        name: suspicion(read_compact(scored, f"{name}_"), NoiseModel.of(sums[f"{BELIEF}_{name}"]))
        for name in names_in(scored)
    }
    if by_name and P_LABEL in scored.column_names:
        unlikely = 1 - scored[P_LABEL].to_numpy()
        # A row that no run trained on is as suspect as the average has it.
        by_name["dynamics"] = np.where(np.isnan(unlikely), by_name[AVERAGE], unlikely)
    return by_name


def suspicions_by_assumption(scored: pa.Table, sums: Mapping[str, Array]) -> dict[str, Array]:
    """Suspicion if labels go wrong by chance alone, and if class by class, [R]: by the average, or
    by the trained model where rows have its predictions alone."""
    rows = read_compact(scored, f"{AVERAGE}_" if names_in(scored) else "")
    return {"chance": by_chance(rows), "noise_model": noise_model(sums).p_wrong(rows)}


def noise_model(sums: Mapping[str, Array]) -> NoiseModel:
    """By the average, or by the trained model where there is only that."""
    return NoiseModel.of(sums.get(AVERAGE_BELIEF, sums[BELIEF]))


def combined(suspicions: Mapping[str, Array]) -> Array:
    """The suspicions of a row as one, [R]."""
    base = [values for name, values in suspicions.items() if name != AVERAGE]
    return average_with_base(suspicions[AVERAGE], base)


def _base_scores(
    scored: pa.Table, learned: Mapping[str, Array], num_classes: int
) -> dict[str, Callable[[slice], Floats]]:
    """Model -> its base scores of some of the rows, [rows, C]."""
    own = read_compact(scored)
    models: dict[str, Callable[[slice], Floats]] = {
        MODEL: lambda at: ensemble.log_probabilities(own.take(at), num_classes)
    }
    if RIDGE in learned:
        ridge, vectors = FoldRidge(learned[RIDGE]), _embeddings(scored)
        fold = scored[FOLD].to_numpy()
        models[ENCODER] = lambda at: ridge.held_out(vectors[at], fold[at])
    for name in sorted(view for view in scored.column_names if VIEW_COLUMN.fullmatch(view)):
        models[name] = partial(_rows_of, _view(scored[name], num_classes))
    return models


def _view(column: pa.ChunkedArray, num_classes: int) -> Array:
    """Base scores, [R, C]; all 0, which favours no class, where a row has none."""
    has_some = column.is_valid().to_numpy()
    scores = np.zeros((len(column), num_classes))
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    scores[has_some] = flat.reshape(-1, num_classes)
    return scores


def _rows_of(scores: Array, at: slice) -> Array:
    return scores[at]


def _alone_and_together(models: Mapping[str, T]) -> dict[str, list[T]]:
    """What is stacked under which name: each model alone, and all together as the average."""
    return {**{name: [model] for name, model in models.items()}, AVERAGE: [*models.values()]}


def _at(models: Sequence[Callable[[slice], Floats]], at: slice) -> list[Floats]:
    return [base_scores(at) for base_scores in models]


def _embeddings(scored: pa.Table) -> npt.NDArray[np.float32]:
    column = scored[EMBEDDING].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(len(column), -1), np.float32)
