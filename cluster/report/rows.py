"""What a report reads besides the findings: the mined table, and media that lie at addresses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.data.rows import Source
from cluster.mining.config import MineResult
from relabel_service.media import fetch, prefixes
from relabel_service.v1 import items_pb2


@dataclass(frozen=True)
class TableRows:
    """The mined table, as far as it is known.

    source: None leaves out the sections of the table as a whole, and opens no address.
    mined: the run's result, for its noise matrix and warnings.
    near_duplicates: uint64 [grouped rows, 2], as Manifest.folds has them; None looks for them anew.
    """

    source: Source | None = None
    mined: MineResult | None = None
    near_duplicates: npt.NDArray[np.uint64] | None = None

    @property
    def opened_under(self) -> Sequence[str]:
        return () if self.source is None else self.source.opened_under

    def media(self, media: items_pb2.MediaContent) -> bytes:
        """The bytes of a picture or a sound. Raises InvalidInput when they cannot be had."""
        if not media.uri:
            return media.data
        with prefixes.only_under(self.opened_under):
            return fetch.load(media.uri)
