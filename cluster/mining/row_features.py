"""What a worker adds to scored rows for tasks with an ensemble (interfaces.Ensemble).

The fold of each row, its embedding where the run has an encoder, and its training dynamics. Runs
where the rows are predicted; a row of the same content is embedded once a batch.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cluster.inference.embeddings import Embedder
from cluster.interfaces import DYNAMICS, EMBEDDING, FOLD
from cluster.training.dynamics import TrainingDynamics
from cluster.training.model_store import ModelStore


@dataclass(frozen=True)
class RowFeatureConfig:
    """encoder: Hugging Face id or local path; None embeds nothing. has_dynamics: whether the
    training dynamics are about these rows' labels."""

    encoder: str | None
    has_dynamics: bool


class RowFeatures:
    """Holds the encoder and the dynamics of one training; one a worker."""

    def __init__(self, store_uri: str, config: RowFeatureConfig) -> None:
        store = ModelStore(store_uri)
        manifest = store.manifest()
        self._folds = manifest.folds
        self._dynamics = TrainingDynamics.read(store.folder) if config.has_dynamics else None
        self._embedder = (
            None if config.encoder is None else Embedder(manifest.source.task, config.encoder)
        )

    def __call__(self, scored: pa.Table) -> pa.Table:
        """Scored rows, and those with a fault, with columns more; null where there is a fault."""
        if not scored.num_rows:
            return scored
        ids = scored["id"].to_pylist()
        scored = scored.append_column(FOLD, pa.array(self._folds.of(ids)))
        if self._dynamics is not None:
            for name, values in self._dynamics.of(ids).items():
                scored = scored.append_column(f"{DYNAMICS}{name}", pa.array(values))
        if self._embedder is not None:
            scored = scored.append_column(EMBEDDING, self._embeddings(scored, self._embedder))
        return scored

    def _embeddings(self, scored: pa.Table, embedder: Embedder) -> pa.Array:
        contents = scored["content"].to_pylist()
        # By length, as padding to the longest of a chunk is most of the work.
        distinct = sorted({content for content in contents if content is not None}, key=len)
        vectors = embedder(distinct).astype(np.float32)
        index = {content: number for number, content in enumerate(distinct)}
        return pa.array(
            [None if content is None else vectors[index[content]] for content in contents],
            pa.list_(pa.float32()),
        )
