"""What every data set here shares: split by id, written as three parquet files.

Owns the file layout <task>/<name>/{train,dev,test}.parquet and the split; it
refuses ids that repeat, and leaves noise in train alone: dev and test labels are gold.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

FOLDER = Path(__file__).parent
SPLITS = ("train", "dev", "test")
NOISY = ("label", "label_worst")  # columns that hold human or planted answers in train


def draw(key: str, below: int) -> int:
    """A whole number in [0, below) that depends on the key alone: SHA-1, so the same anywhere."""
    return int.from_bytes(hashlib.sha1(key.encode()).digest()[:8], "big") % below


def write(
    folder: Path, rows: list[dict[str, Any]], schema: pa.Schema, shares: Mapping[str, int]
) -> None:
    """Write the rows, sorted by id, to the folder's three files.

    rows: every column of the schema, `id`, `label` and `gold` among them.
    shares: percent of rows for train, dev and test.
    Raises ValueError when an id repeats or the shares do not add up to 100.
    """
    if len({row["id"] for row in rows}) != len(rows):
        raise ValueError("an id repeats; ids must be unique over the three splits")
    if sum(shares.values()) != 100:
        raise ValueError(f"shares {dict(shares)} do not add up to 100")
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        kept = [row for row in rows if split_of(row["id"], shares) == split]
        if split != "train":
            kept = [row | {name: row["gold"] for name in NOISY if name in row} for row in kept]
        kept.sort(key=lambda row: str(row["id"]))
        table = pa.Table.from_pylist(kept, schema=schema)
        pq.write_table(table, folder / f"{split}.parquet", compression="zstd", compression_level=19)


def split_of(item_id: str, shares: Mapping[str, int]) -> str:
    """The split of an item, from the SHA-1 of its id."""
    place = draw(f"split {item_id}", 100)
    for split in SPLITS:
        place -= shares[split]
        if place < 0:
            return split
    raise ValueError(f"shares {dict(shares)} do not add up to 100")


def read(name: str, split: str) -> pa.Table:
    """One split of a data set by its folder under this one, such as ctr/clicks."""
    return pq.read_table(FOLDER / name / f"{split}.parquet")


def noise_rate(table: pa.Table, column: str = "label") -> float:
    """Share of rows whose label differs from gold, in [0, 1]."""
    pairs = zip(table[column].to_pylist(), table["gold"].to_pylist(), strict=True)
    return sum(1 for label, gold in pairs if label != gold) / max(len(table), 1)


def class_counts(table: pa.Table) -> dict[str, int]:
    """Rows of each gold class, where gold is a class."""
    return {
        str(row["values"]): int(row["counts"]) for row in pc.value_counts(table["gold"]).to_pylist()
    }
