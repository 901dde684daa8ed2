"""Delta tables with features that delta-rs cannot make, their log written by hand.

By the Delta protocol (https://github.com/delta-io/delta/blob/master/PROTOCOL.md): JSON actions
beside parquet files, deletion vectors inline.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# Z85's digits, in which the protocol writes inline deletion vectors
Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
TYPES = {pa.string(): "string", pa.int64(): "long", pa.int32(): "integer", pa.float64(): "double"}

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
    stats: bool = True,
) -> str:
    """Write version 0 of a table of files.

    features: of the table's protocol (3, 7). fields: column -> metadata of its field. physical:
    column -> its name in the files, which maps the columns by name. deleted: file -> its rows that
    a deletion vector marks. stats: whether the log says how many rows a file has.
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
            add["deletionVector"] = deletion_vector(rows)
        actions.append({"add": add})
    log = folder / "_delta_log" / f"{0:020d}.json"
    log.write_text("".join(json.dumps(action) + "\n" for action in actions))
    return str(uri)


def deletion_vector(rows: Sequence[int]) -> dict[str, Any]:
    """An inline vector of rows below 65,536: a RoaringBitmapArray of one array container."""
    bitmap = struct.pack("<IIHHI", 12346, 1, 0, len(rows) - 1, 16)
    bitmap += struct.pack(f"<{len(rows)}H", *sorted(rows))
    data = struct.pack("<IQI", 1681511377, 1, 0) + bitmap
    padded = data + bytes(-len(data) % 4)
    digits = "".join(
        Z85[number // 85**power % 85]
        for [number] in struct.iter_unpack(">I", padded)
        for power in (4, 3, 2, 1, 0)
    )
    return {
        "storageType": "i",
        "pathOrInlineDv": digits,
        "sizeInBytes": len(data),
        "cardinality": len(rows),
    }
