"""The formats that labelled data comes in and goes back to, by name: `relabel import` and `export`.

Shared code looks a format up here and never branches on its name.
"""

from relabel_service.errors import InvalidInput
from relabel_service.tables import files
from relabel_service.tables.formats.base import Format
from relabel_service.tables.formats.coco import Coco
from relabel_service.tables.formats.conll import Conll
from relabel_service.tables.formats.csv import Csv
from relabel_service.tables.formats.hugging_face import HuggingFace
from relabel_service.tables.formats.json_lines import JsonLines
from relabel_service.tables.formats.label_studio import LabelStudio
from relabel_service.tables.formats.parquet import Parquet
from relabel_service.tables.formats.pascal_voc import PascalVoc
from relabel_service.tables.formats.spacy_docs import SpacyDocs
from relabel_service.tables.formats.yolo import Yolo

# Guessed in this order: the narrower of two that may take the same file comes first.
FORMATS: dict[str, Format] = {
    "huggingface": HuggingFace(),
    "parquet": Parquet(),
    "coco": Coco(),
    "label_studio": LabelStudio(),
    "voc": PascalVoc(),
    "yolo": Yolo(),
    "spacy": SpacyDocs(),
    "jsonl": JsonLines(),
    "conll": Conll(),
    "csv": Csv(),
}


def format_named(name: str) -> Format:
    """Look a format up. Raises InvalidInput naming those that exist."""
    if name not in FORMATS:
        raise InvalidInput.of(
            "--format", f"{name!r} is not a format; use one of {', '.join(FORMATS)}"
        )
    return FORMATS[name]


def guess(path: str) -> Format:
    """The format that a file or folder is probably of. Raises NotFound without one, InvalidInput
    where it looks like none."""
    files.require(path)
    for candidate in FORMATS.values():
        if candidate.looks_like(path):
            return candidate
    raise InvalidInput.of(
        "path",
        f"{path!r} looks like none of {', '.join(FORMATS)}; say which it is by --format",
    )
