"""What a worker adds to judged rows for tasks with an ensemble (interfaces.Ensemble).

The fold of each row, its embedding where the run has an encoder, and what training
watched in it. Runs in Ray Data actors; a row of the same content is embedded once a batch.
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
    """encoder: Hugging Face id or local path; None embeds nothing. observed: whether what
    training watched is about these rows' labels."""

    encoder: str | None
    observed: bool


class RowFeatures:
    """Holds the encoder and the observations of one training; one an actor."""

    def __init__(self, store_uri: str, beside: RowFeatureConfig) -> None:
        store = ModelStore(store_uri)
        manifest = store.manifest()
        self._folds = manifest.folds
        self._observed = TrainingDynamics.read(store.folder) if beside.observed else None
        self._embedder = (
            None if beside.encoder is None else Embedder(manifest.source.task, beside.encoder)
        )

    def __call__(self, scored: pa.Table) -> pa.Table:
        """Judged rows, the unfit ones among them, with columns more; null where unfit."""
        if not scored.num_rows:
            return scored
        ids = scored["id"].to_pylist()
        scored = scored.append_column(FOLD, pa.array(self._folds.of(ids)))
        if self._observed is not None:
            for name, values in self._observed.of(ids).items():
                scored = scored.append_column(f"{DYNAMICS}{name}", pa.array(values))
        if self._embedder is not None:
            scored = scored.append_column(EMBEDDING, self._embeddings(scored, self._embedder))
        return scored

    def _embeddings(self, scored: pa.Table, embedder: Embedder) -> pa.Array:
        contents = scored["content"].to_pylist()
        # By length, as padding to the longest of a chunk is most of the work.
        distinct = sorted({one for one in contents if one is not None}, key=len)
        vectors = embedder(distinct).astype(np.float32)
        place = {content: number for number, content in enumerate(distinct)}
        return pa.array(
            [None if one is None else vectors[place[one]] for one in contents],
            pa.list_(pa.float32()),
        )
