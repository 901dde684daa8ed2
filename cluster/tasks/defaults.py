"""Parts of a ModelTask that are the same for most tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from cluster.interfaces import Array
from relabel_service.errors import InvalidInput


class LabelsAreNoTexts:
    """For tasks that cut no labels into tokens."""

    name: str

    def prepare_tokenizer(self, folder: Path, asked: str | None, labels: Sequence[str]) -> str:
        if asked is not None:
            raise InvalidInput.of(
                "tokenize", f"{asked!r} has no use in {self.name}: no label is a text; leave it out"
            )
        return ""


class ShownAsScored:
    """For tasks that show people the model's own probabilities."""

    def calibrate(self, scored: pa.Table, sums: Mapping[str, Array]) -> pa.Table:
        return scored
