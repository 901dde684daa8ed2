"""Deletion vectors, wherever they are kept, and checkpoints of the second version are read rightly,
and such tables are merged into."""

import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from cluster.data.rows import Source, latest, require_mergeable
from cluster.io.tables import count_rows, read_table
from relabel_service.errors import InvalidInput
from tests.support.handmade_delta import (
    ABSOLUTE,
    IN_FOLDER,
    INLINE,
    move_into_checkpoint,
    write_table,
)
from tests.unit.test_shown_rows import decided, merged

NUM_ROWS = 150_000
ROWS = pa.table({"id": pa.array(range(NUM_ROWS)), "label": ["x"] * NUM_ROWS})
MANY = random.Random(0).sample(range(65_536), 9_000)
DELETED: dict[str, Sequence[int]] = {
    "array container": [0, 5, NUM_ROWS - 1],
    "bitmap container": MANY,
    "run container": range(1_000, 9_000),
    "all kinds": [*MANY, *range(70_000, 80_000), 140_000, NUM_ROWS - 1],
    "every row": range(NUM_ROWS),
}
TEXTS = pa.table({"id": ["a", "b"], "text": ["one", "two"], "label": ["ham", "ham"]})
VOTE = decided("a", "spam", "one")


@pytest.mark.parametrize("kept", [INLINE, IN_FOLDER, ABSOLUTE])
@pytest.mark.parametrize("kind", DELETED)
def test_rows_that_a_vector_marks_are_left_out(kind: str, kept: str, tmp_path: Path) -> None:
    deleted = DELETED[kind]
    uri = write_table(
        tmp_path / "table", ROWS, features=["deletionVectors"], deleted={0: deleted}, vectors=kept
    )
    found = pa.concat_tables(read_table(uri, ["id"]))["id"].to_pylist()
    assert found == sorted(set(range(NUM_ROWS)) - set(deleted))
    assert count_rows(uri) == NUM_ROWS - len(deleted)


def test_a_vector_whose_file_is_gone_is_told(tmp_path: Path) -> None:
    uri = write_table(
        tmp_path / "table", TEXTS, features=["deletionVectors"], deleted={0: [1]}, vectors=IN_FOLDER
    )
    for path in Path(uri).glob("ab/*.bin"):
        path.unlink()
    with pytest.raises(InvalidInput, match="cannot be read to its end"):
        list(read_table(uri, ["id"]))


@pytest.mark.parametrize("suffix", ["json", "parquet"])
@pytest.mark.parametrize("sidecars", [True, False])
def test_a_checkpoint_of_the_second_version_is_read_and_merged_into(
    sidecars: bool, suffix: str, tmp_path: Path
) -> None:
    uri = write_table(
        tmp_path / "data",
        TEXTS,
        TEXTS.set_column(0, "id", pa.array(["c", "d"])),
        features=["deletionVectors", "v2Checkpoint"],
        configuration={"delta.checkpointPolicy": "v2"},
        deleted={1: [0]},
        vectors=IN_FOLDER,
    )
    move_into_checkpoint(uri, sidecars=sidecars, suffix=suffix)
    require_mergeable(latest(Source(uri, "text_classification", ("text",), "label", "id")))
    result, _ = merged(tmp_path, TEXTS, VOTE)
    assert (result.version_before, result.version) == (1, 2)
    rows = pa.concat_tables(read_table(uri, ["id", "label"])).sort_by("id").to_pylist()
    assert rows == [
        {"id": "a", "label": "spam"},
        {"id": "b", "label": "ham"},
        {"id": "d", "label": "ham"},
    ]


def test_a_checkpoint_whose_sidecar_is_gone_is_told(tmp_path: Path) -> None:
    uri = write_table(
        tmp_path / "data",
        TEXTS,
        features=["v2Checkpoint"],
        configuration={"delta.checkpointPolicy": "v2"},
    )
    move_into_checkpoint(uri, sidecars=True, suffix="json")
    for path in Path(uri).glob("_delta_log/_sidecars/*"):
        path.unlink()
    with pytest.raises(InvalidInput, match=r"cannot be (opened|read to its end)"):
        list(read_table(uri, ["id"]))
    assert DeltaTable.is_deltatable(uri)
