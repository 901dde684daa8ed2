"""What mining knows of a classified row beside the trained model's prediction, put together.

Up to three views of a row: the trained model, a ridge on an encoder's embeddings
(where the run has an encoder), and what training watched. The first two are pooled
with weights learned from the labels, the pool is hedged with its members
(scores/suspicion.py). R judged rows, C classes, K folds, V views.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.interfaces import EMBEDDING, FOLD, OBSERVED, Array
from cluster.scores import combine, views
from cluster.scores.combine import Pool
from cluster.scores.compact import Compact, Floats
from cluster.scores.fold_ridge import SECOND, FoldRidge, fold_moments
from cluster.scores.noise import NoiseModel, belief_sums
from cluster.scores.suspicion import hedge, suspicion

NUM_OTHERS = 9  # classes besides the label that suspicion weighs
MODEL, ENCODER, POOL = "model", "encoder", "pool"
DYNAMICS = f"{OBSERVED}p_label"
T = TypeVar("T")

BELIEF, RIDGE = "belief", "ridge"
POOL_BELIEF = f"{BELIEF}_{POOL}"


def read_compact(scored: pa.Table, view: str = "") -> Compact:
    """Judged rows as the scores take them: the model's own, or a view's of `with_views`."""
    others, p_others = (
        column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
        for column in (scored[f"{view}others"], scored[f"{view}p_others"])
    )
    return Compact(
        scored["given"].to_numpy(), scored[f"{view}p_label"].to_numpy(), others, p_others
    )


def compact_columns(rows: Compact, view: str = "") -> dict[str, pa.Array | Floats]:
    """The columns that read_compact reads, all but `given`."""
    return {
        f"{view}others": _lists(rows.others),
        f"{view}p_others": _lists(rows.p_others.astype(np.float64)),
        f"{view}p_label": rows.p_label.astype(np.float64),
    }


def moments(scored: pa.Table, num_classes: int, num_folds: int) -> dict[str, Array]:
    """Sums that the ridge on embeddings needs; none where rows have no embedding."""
    if EMBEDDING not in scored.column_names:
        return {}
    return fold_moments(
        _embeddings(scored),
        scored["given"].to_numpy(),
        scored[FOLD].to_numpy(),
        num_folds=num_folds,
        num_classes=num_classes,
    )


def learn(sample: pa.Table, sums: Mapping[str, Array], num_classes: int) -> dict[str, Array]:
    """The ridge's weights, and those of the views: in the pool, and each view's alone."""
    learned = {RIDGE: FoldRidge.of(sums).weights} if SECOND in sums else {}
    every = {name: view(slice(None)) for name, view in _views(sample, learned, num_classes).items()}
    given = sample["given"].to_numpy()
    for name, members in _pools(every).items():
        pool = combine.fit(members, given)
        learned |= {f"{name}_weights": pool.weights, f"{name}_bias": pool.bias}
    return learned


def with_views(scored: pa.Table, learned: Mapping[str, Array], num_classes: int) -> pa.Table:
    """Judged rows and the compact columns of the pool, and of each of its members."""
    given = scored["given"].to_numpy()
    every = _views(scored, learned, num_classes)
    for name, members in _pools(every).items():
        pool = Pool(learned[f"{name}_weights"], learned[f"{name}_bias"], np.nan)
        rows = views.pooled(pool, partial(_at, members), given, num_others=NUM_OTHERS)
        for column, values in compact_columns(rows, f"{name}_").items():
            scored = scored.append_column(column, pa.array(values))
    return scored


def members_of(scored: pa.Table) -> list[str]:
    """Names of the views that with_views gave these rows; none if it did not."""
    return [one for one in (MODEL, ENCODER, POOL) if f"{one}_p_label" in scored.column_names]


def view_sums(scored: pa.Table, num_classes: int) -> dict[str, Array]:
    """Beliefs [C, C] of each view."""
    return {
        f"{BELIEF}_{name}": belief_sums(read_compact(scored, f"{name}_"), num_classes)
        for name in members_of(scored)
    }


def view_suspicions(scored: pa.Table, sums: Mapping[str, Array]) -> dict[str, Array]:
    """Suspicion by the pool, by each member, and by training dynamics where rows have them, [R]."""
    found = {
        name: suspicion(read_compact(scored, f"{name}_"), NoiseModel.of(sums[f"{BELIEF}_{name}"]))
        for name in members_of(scored)
    }
    if found and DYNAMICS in scored.column_names:
        watched = 1 - scored[DYNAMICS].to_numpy()
        # A row that training never saw is as suspect as the pool has it.
        found["dynamics"] = np.where(np.isnan(watched), found[POOL], watched)
    return found


def ways(scored: pa.Table, sums: Mapping[str, Array]) -> dict[str, Array]:
    """Suspicion if labels go wrong by chance alone, and if class by class, [R]: by the pool, or
    by the trained model where rows have that view alone."""
    view = f"{POOL}_" if members_of(scored) else ""
    rows = read_compact(scored, view)
    by_chance = 1 - rows.p_label.astype(np.float64)
    return {"chance": by_chance, "noise_model": noise_model(sums).p_wrong(rows)}


def noise_model(sums: Mapping[str, Array]) -> NoiseModel:
    """Of the pool of views, or of the one view."""
    return NoiseModel.of(sums.get(POOL_BELIEF, sums[BELIEF]))


def hedged(suspicions: Mapping[str, Array]) -> Array:
    """view_suspicions as one, [R]."""
    return hedge(suspicions[POOL], [one for name, one in suspicions.items() if name != POOL])


def _views(
    scored: pa.Table, learned: Mapping[str, Array], num_classes: int
) -> dict[str, Callable[[slice], Floats]]:
    own = read_compact(scored)
    found: dict[str, Callable[[slice], Floats]] = {
        MODEL: lambda at: views.log_view_of(views.take(own, at), num_classes)
    }
    if RIDGE in learned:
        ridge, vectors = FoldRidge(learned[RIDGE]), _embeddings(scored)
        fold = scored[FOLD].to_numpy()
        found[ENCODER] = lambda at: ridge.held_out(vectors[at], fold[at])
    return found


def _pools(every: Mapping[str, T]) -> dict[str, list[T]]:
    """Each view alone, and all together."""
    return {**{name: [view] for name, view in every.items()}, POOL: [*every.values()]}


def _at(members: Sequence[Callable[[slice], Floats]], places: slice) -> list[Floats]:
    return [view(places) for view in members]


def _embeddings(scored: pa.Table) -> npt.NDArray[np.float32]:
    column = scored[EMBEDDING].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(len(column), -1), np.float32)


def _lists(values: npt.NDArray[np.number]) -> pa.ListArray:
    """[R, M] as one list a row."""
    offsets = pa.array(np.arange(len(values) + 1) * values.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))
