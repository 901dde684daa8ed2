"""Which rows would break a CHECK constraint of their table, before anything is written."""

import tempfile
from collections.abc import Mapping

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake

PREFIX = "delta.constraints."
PLACE = "relabel_place"


def constraints_of(table: DeltaTable) -> dict[str, str]:
    """Name -> SQL expression."""
    configuration = table.metadata().configuration
    return {
        name.removeprefix(PREFIX): str(expression)
        for name, expression in configuration.items()
        if name.startswith(PREFIX)
    }


def broken_by(rows: pa.Table, constraints: Mapping[str, str]) -> dict[int, str]:
    """Place of each row that breaks a constraint -> which, in words.

    rows: all columns of the table, as they would be.
    """
    table = rows.append_column(PLACE, pa.array(range(len(rows)), pa.int64()))
    broken: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder:  # DataFusion evaluates them, as on a write
        write_deltalake(folder, table)
        builder = QueryBuilder().register("rows", DeltaTable(folder))
        for name, expression in constraints.items():
            found = builder.execute(f"SELECT {PLACE} FROM rows WHERE NOT ({expression})")
            for place in pa.table(found.read_all())[PLACE].to_pylist():
                broken.setdefault(place, f"breaks the table's constraint {name} ({expression})")
    return broken
