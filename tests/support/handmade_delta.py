"""Delta tables with features that delta-rs cannot make, their log written by hand.

By the Delta protocol (https://github.com/delta-io/delta/blob/master/PROTOCOL.md): JSON actions
beside parquet files, deletion vectors inline or in files, checkpoints of the second version.
"""

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# Z85's digits, in which the protocol writes inline deletion vectors
Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
TYPES = {pa.string(): "string", pa.int64(): "long", pa.int32(): "integer", pa.float64(): "double"}

INLINE, IN_FOLDER, ABSOLUTE = "inline", "in a folder of the table", "at an address"
VECTOR = pa.struct(
    [("storageType", pa.string()), ("pathOrInlineDv", pa.string()), ("offset", pa.int32()),
     ("sizeInBytes", pa.int32()), ("cardinality", pa.int64())]
)  # fmt: skip
TEXTS = pa.map_(pa.string(), pa.string())
# Columns of a checkpoint in parquet, one for each kind of action
CHECKPOINT: dict[str, pa.DataType] = {
    "checkpointMetadata": pa.struct([("version", pa.int64())]),
    "protocol": pa.struct(
        [("minReaderVersion", pa.int32()), ("minWriterVersion", pa.int32()),
         ("readerFeatures", pa.list_(pa.string())), ("writerFeatures", pa.list_(pa.string()))]
    ),
    "metaData": pa.struct(
        [("id", pa.string()),
         ("format", pa.struct([("provider", pa.string()), ("options", TEXTS)])),
         ("schemaString", pa.string()), ("partitionColumns", pa.list_(pa.string())),
         ("configuration", TEXTS), ("createdTime", pa.int64())]
    ),
    "add": pa.struct(
        [("path", pa.string()), ("partitionValues", TEXTS), ("size", pa.int64()),
         ("modificationTime", pa.int64()), ("dataChange", pa.bool_()), ("stats", pa.string()),
         ("deletionVector", VECTOR)]
    ),
    "sidecar": pa.struct(
        [("path", pa.string()), ("sizeInBytes", pa.int64()), ("modificationTime", pa.int64())]
    ),
}  # fmt: skip

READER_FEATURES = {
    "columnMapping", "deletionVectors", "timestampNtz", "typeWidening", "v2Checkpoint",
    "vacuumProtocolCheck", "variantType",
}  # fmt: skip


def write_table(
    uri: str | Path,
    *files: pa.Table,
    features: Sequence[str] = (),
    configuration: Mapping[str, str] | None = None,
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    physical: Mapping[str, str] | None = None,
    deleted: Mapping[int, Sequence[int]] | None = None,
    vectors: str = INLINE,
    stats: bool = True,
) -> str:
    """Write version 0 of a table of files.

    features: of the table's protocol (3, 7). fields: column -> metadata of its field. physical:
    column -> its name in the files, which maps the columns by name. deleted: file -> its rows that
    a deletion vector marks. vectors: where these are kept. stats: whether the log says how many
    rows a file has.
    """
    folder = Path(uri)
    (folder / "_delta_log").mkdir(parents=True)
    settings = dict(configuration or {})
    names = {name: (physical or {}).get(name, name) for name in files[0].column_names}
    if physical is not None:
        settings |= {
            "delta.columnMapping.mode": settings.get("delta.columnMapping.mode", "name"),
            "delta.columnMapping.maxColumnId": str(len(names)),
        }
    schema_fields = []
    for number, field in enumerate(files[0].schema, 1):
        metadata = dict((fields or {}).get(field.name, {}))
        if physical is not None:
            metadata |= {
                "delta.columnMapping.id": number,
                "delta.columnMapping.physicalName": names[field.name],
            }
        schema_fields.append(
            {"name": field.name, "type": TYPES[field.type], "nullable": True, "metadata": metadata}
        )
    actions: list[dict[str, Any]] = [
        {
            "protocol": {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": sorted(READER_FEATURES & set(features)),
                "writerFeatures": sorted(features),
            }
        },
        {
            "metaData": {
                "id": "0b1c0000-0000-4000-8000-000000000001",
                "format": {"provider": "parquet", "options": {}},
                "schemaString": json.dumps({"type": "struct", "fields": schema_fields}),
                "partitionColumns": [],
                "configuration": settings,
                "createdTime": 1_700_000_000_000,
            }
        },
    ]
    for number, table in enumerate(files):
        path = folder / f"part-{number}.parquet"
        mapped = pa.schema(
            pa.field(names[field.name], field.type, metadata={"PARQUET:field_id": str(place)})
            for place, field in enumerate(table.schema, 1)
        )
        pq.write_table(pa.Table.from_arrays(table.columns, schema=mapped), path)
        add: dict[str, Any] = {
            "path": path.name,
            "partitionValues": {},
            "size": path.stat().st_size,
            "modificationTime": 1_700_000_000_000,
            "dataChange": True,
        }
        if stats:
            add["stats"] = json.dumps({"numRecords": table.num_rows, "tightBounds": not deleted})
        if rows := (deleted or {}).get(number):
            add["deletionVector"] = deletion_vector(rows, folder, vectors, number=number)
        actions.append({"add": add})
    log = folder / "_delta_log" / f"{0:020d}.json"
    log.write_text("".join(json.dumps(action) + "\n" for action in actions))
    return str(uri)


def move_into_checkpoint(uri: str, *, sidecars: bool, suffix: str) -> None:
    """Turn the only commit of a table into a checkpoint of the second version, and clean it up.

    sidecars: whether its files are listed in a parquet file beside. suffix: json or parquet.
    """
    log = Path(uri) / "_delta_log"
    commit = log / f"{0:020d}.json"
    actions = [json.loads(line) for line in commit.read_text().splitlines()]
    adds = [action for action in actions if "add" in action]
    others: list[dict[str, Any]] = [{"checkpointMetadata": {"version": 0}}]
    others += [action for action in actions if "add" not in action]
    if sidecars:
        (log / "_sidecars").mkdir()
        path = log / "_sidecars" / "3a0d65cd-4056-49b8-937b-95f9e3ee90e5.parquet"
        pq.write_table(pa.Table.from_pylist(adds, pa.schema([("add", CHECKPOINT["add"])])), path)
        size = path.stat().st_size
        others.append({"sidecar": {"path": path.name, "sizeInBytes": size, "modificationTime": 0}})
    else:
        others += adds
    name = f"{0:020d}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.{suffix}"
    if suffix == "json":
        (log / name).write_text("".join(json.dumps(action) + "\n" for action in others))
    else:
        schema = pa.schema(list(CHECKPOINT.items()))
        pq.write_table(pa.Table.from_pylist(others, schema), log / name)
    (log / f"{1:020d}.json").write_text(json.dumps({"commitInfo": {"operation": "NOTHING"}}) + "\n")
    commit.unlink()


def deletion_vector(
    rows: Sequence[int], folder: Path, stored: str, *, number: int = 0
) -> dict[str, Any]:
    """A vector of rows below 2**32 as an action names it: a RoaringBitmapArray."""
    data = struct.pack("<IQI", 1681511377, 1, 0) + roaring(rows)
    named: dict[str, Any] = {"sizeInBytes": len(data), "cardinality": len(rows)}
    if stored == INLINE:
        return {"storageType": "i", "pathOrInlineDv": z85(data), **named}
    identifier = bytes([number]) * 16
    parts = [identifier[a:b].hex() for a, b in ((0, 4), (4, 6), (6, 8), (8, 10), (10, 16))]
    path = folder / ("ab" if stored == IN_FOLDER else "")
    path.mkdir(exist_ok=True)
    path /= f"deletion_vector_{'-'.join(parts)}.bin"
    before = b"\x01" + b"another file's vector"  # vectors share files: this one begins behind it
    path.write_bytes(
        before + struct.pack(">I", len(data)) + data + struct.pack(">I", zlib.crc32(data))
    )
    where = path.as_uri() if stored == ABSOLUTE else "ab" + z85(identifier)
    kind = "p" if stored == ABSOLUTE else "u"
    return {"storageType": kind, "pathOrInlineDv": where, "offset": len(before), **named}


def z85(data: bytes) -> str:
    padded = data + bytes(-len(data) % 4)
    return "".join(
        Z85[number // 85**power % 85]
        for [number] in struct.iter_unpack(">I", padded)
        for power in (4, 3, 2, 1, 0)
    )


def roaring(rows: Sequence[int]) -> bytes:
    """A 32-bit roaring bitmap of the portable format: array, run and bitmap containers as they
    come (https://github.com/RoaringBitmap/RoaringFormatSpec)."""
    containers = []
    for key, group in groupby(sorted(rows), lambda row: row >> 16):
        low = [row & 0xFFFF for row in group]
        present = set(low)
        starts = [value for value in low if value - 1 not in present]
        ends = [value for value in low if value + 1 not in present]
        runs = [(start, end - start) for start, end in zip(starts, ends, strict=True)]
        is_run = 2 + 4 * len(runs) < 2 * len(low)
        if is_run:
            body = struct.pack("<H", len(runs)) + b"".join(struct.pack("<HH", *run) for run in runs)
        elif len(low) <= 4096:
            body = struct.pack(f"<{len(low)}H", *low)
        else:
            bits = bytearray(8192)
            for value in low:
                bits[value >> 3] |= 1 << (value & 7)
            body = bytes(bits)
        containers.append((key, len(low), is_run, body))
    flags = sum(is_run << place for place, (_, _, is_run, _) in enumerate(containers))
    heads = b"".join(struct.pack("<HH", key, count - 1) for key, count, _, _ in containers)
    num = len(containers)
    if flags:
        start = struct.pack("<I", 12347 | (num - 1) << 16) + flags.to_bytes(
            (num + 7) // 8, "little"
        )
    else:
        start = struct.pack("<II", 12346, num)
    has_offsets = not flags or num >= 4
    place, offsets = len(start) + len(heads) + 4 * num * has_offsets, b""
    for *_, body in containers:
        offsets += struct.pack("<I", place) if has_offsets else b""
        place += len(body)
    return start + heads + offsets + b"".join(body for *_, body in containers)
