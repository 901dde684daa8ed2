"""What is the same for all tasks whose labels are not texts."""

from collections.abc import Sequence
from pathlib import Path

from relabel_service.errors import InvalidInput


class LabelsAreNoTexts:
    """The part of a ModelTask that cuts texts into tokens: there are none."""

    name: str

    def prepare_tokenizer(self, folder: Path, asked: str | None, labels: Sequence[str]) -> str:
        if asked is not None:
            raise InvalidInput.of(
                "tokenize", f"{asked!r} has no use in {self.name}: no label is a text; leave it out"
            )
        return ""
