"""Label vote of a row's nearest other rows in embedding space (Zhu et al. 2022, SimiFeat).

Exact search by blocks. Over Ray Data the reference rows are broadcast and each
worker asks for its own; `self_place` keeps a row from voting for itself.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.scores.compact import Floats, Ints
from relabel_service.errors import InvalidInput

BLOCK_ROWS = 1024
WARMTH = 0.1  # a neighbour that is this much less similar weighs 1/e
PRIOR_VOTES = 2.0  # the label frequencies count as this many neighbours


@dataclass(frozen=True)
class Reference:
    """Rows that may vote. unit: embeddings of length 1, [N, D]. given: labels, [N].

    group: rows of one group never vote for each other, [N]; near-duplicates
    share one, lest a copy with the same wrong label vouch for it.
    """

    unit: Floats
    given: Ints
    group: Ints
    num_classes: int

    @classmethod
    def of(
        cls, embeddings: Floats, given: Ints, num_classes: int, group: Ints | None = None
    ) -> "Reference":
        """group: by default each row is its own. Raises InvalidInput on unlike lengths."""
        if len(embeddings) != len(given):
            raise InvalidInput.of("given", f"{len(given)} labels for {len(embeddings)} embeddings")
        own = np.arange(len(given)) if group is None else group
        return cls(unit_length(embeddings), given, own, num_classes)


def unit_length(embeddings: Floats) -> Floats:
    """Rows scaled to length 1; a zero row stays zero."""
    norm = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit: Floats = embeddings / np.maximum(norm, np.finfo(embeddings.dtype).tiny)
    return unit


def vote(
    reference: Reference, embeddings: Floats, group: Ints, *, num_neighbors: int = 10
) -> npt.NDArray[np.float64]:
    """P(class) by the num_neighbors most similar rows of other groups, [R, C].

    embeddings: [R, D]; group: of each row, as in the reference, [R]. Weights
    fall with cosine distance; label frequencies are mixed in as PRIOR_VOTES.
    Raises InvalidInput when num_neighbors is below 1.
    """
    if num_neighbors < 1:
        raise InvalidInput.of("num_neighbors", f"{num_neighbors}; use 1 or more")
    unit = unit_length(embeddings)
    blocks = [
        _block(reference, unit[at : at + BLOCK_ROWS], group[at : at + BLOCK_ROWS], num_neighbors)
        for at in range(0, len(unit), BLOCK_ROWS)
    ]
    return np.concatenate(blocks) if blocks else np.empty((0, reference.num_classes))


def _block(
    reference: Reference, unit: Floats, group: Ints, num_neighbors: int
) -> npt.NDArray[np.float64]:
    similarity = unit @ reference.unit.T
    similarity[group[:, None] == reference.group] = -np.inf
    asked = min(num_neighbors, similarity.shape[1])
    found = np.argpartition(-similarity, asked - 1, axis=1)[:, :asked]
    near = np.take_along_axis(similarity, found, axis=1).astype(np.float64)
    weight = np.exp((near - 1) / WARMTH)  # -inf, a row of the same group, weighs 0
    votes = np.zeros((len(unit), reference.num_classes))
    np.add.at(votes, (np.arange(len(unit))[:, None], reference.given[found]), weight)
    votes *= asked / np.maximum(weight.sum(axis=1), 1e-100)[:, None]
    frequency = np.bincount(reference.given, minlength=reference.num_classes) / len(reference.given)
    votes += PRIOR_VOTES * frequency
    shares: npt.NDArray[np.float64] = votes / votes.sum(axis=1, keepdims=True)
    return shares
