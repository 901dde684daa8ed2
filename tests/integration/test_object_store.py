"""Folders of an object store, which cannot rename them: whole, or not there."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from relabel_service.errors import InvalidInput
from relabel_service.tables import files
from tests.support.imported import relabel


def png() -> bytes:
    data = io.BytesIO()
    Image.new("L", (64, 48)).save(data, "PNG")
    return data.getvalue()


def table(folder: Path, *labels: list[dict[str, Any]] | None) -> Path:
    rows = {"id": range(len(labels)), "image": [png()] * len(labels), "label": list(labels)}
    pq.write_table(pa.table(rows), folder / "table.parquet")
    return folder / "table.parquet"


def test_a_folder_that_fails_is_taken_back_from_an_object_store(
    bucket: str, tmp_path: Path
) -> None:
    boxes = [{"label": "cat", "x0": 8.0, "y0": 12.0, "x1": 24.0, "y1": 36.0}]
    with pytest.raises(InvalidInput, match="rows whose label is null"):
        relabel("export", table(tmp_path, boxes, None), f"{bucket}/out", "--format", "voc")
    assert files.names_under(bucket) == []
    relabel("export", table(tmp_path, boxes, []), f"{bucket}/out", "--format", "voc")
    assert files.names_under(f"{bucket}/out") == [
        "Annotations/0.xml",
        "Annotations/1.xml",
        "ImageSets/Main/train.txt",
        "JPEGImages/0.png",
        "JPEGImages/1.png",
        "labelmap.txt",
    ]
    relabel("import", f"{bucket}/out", f"{bucket}/table")
    assert files.is_folder(f"{bucket}/table/_delta_log")
