"""What a Delta table asks of every row written to it: CHECK constraints, and invariants of columns.

A rule is SQL that must come to true; null breaks it, as false does. delta-rs asks it of all rows in
the files that a merge writes anew, not only of those that the merge changes (1.6.6).
"""

import tempfile
from collections.abc import Mapping

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from relabel_service.errors import InvalidInput

PREFIX = "delta.constraints."
PLACE = "relabel_place"
FEATURES_WRITER = 7  # protocol version that lists features by name
INVARIANTS_WRITER, CONSTRAINTS_WRITER = 2, 3  # before that, each version has those below it


def rules_of(table: DeltaTable) -> dict[str, str]:
    """What each rule in force is, in words -> its SQL expression.

    Raises InvalidInput where an invariant cannot be read.
    """
    rules: dict[str, str] = {}
    if _is_in_force(table, "checkConstraints", CONSTRAINTS_WRITER):
        for name, expression in table.metadata().configuration.items():
            if name.startswith(PREFIX):
                rules[f"constraint {name.removeprefix(PREFIX)!r}"] = str(expression)
    if _is_in_force(table, "invariants", INVARIANTS_WRITER):
        try:
            invariants = table.schema().invariants
        except Exception as error:  # what deltalake 1.6.6 raises is of no class of its own
            raise InvalidInput.of(
                "dataset",
                f"{table.table_uri!r} has a column whose delta.invariants cannot be read "
                f"({error}); remove it from the column's metadata, or copy the rows into a table "
                "without it",
            ) from None
        rules |= {f"invariant of column {column!r}": sql for column, sql in invariants}
    return rules


def broken_by(rows: pa.Table, rules: Mapping[str, str]) -> dict[int, str]:
    """Place of each row that breaks a rule -> which, in words.

    rows: all columns of the table, as they would be.
    """
    table = rows.append_column(PLACE, pa.array(range(len(rows)), pa.int64()))
    broken: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder:  # DataFusion evaluates them, as on a write
        write_deltalake(folder, table)
        builder = QueryBuilder().register("rows", DeltaTable(folder))
        for name, expression in rules.items():
            found = builder.execute(f"SELECT {PLACE} FROM rows WHERE ({expression}) IS NOT TRUE")
            for place in pa.table(found.read_all())[PLACE].to_pylist():
                broken.setdefault(place, f"breaks the table's {name} ({expression})")
    return broken


def count_broken(table: DeltaTable, expression: str) -> int:
    """Rows that break a rule as they are: it was added, or came in force, after them."""
    query = QueryBuilder().register("t", table)
    found = query.execute(f"SELECT sum(CASE WHEN ({expression}) THEN 0 ELSE 1 END) AS num FROM t")
    return int(pa.table(found.read_all())["num"][0].as_py() or 0)


def _is_in_force(table: DeltaTable, feature: str, since_version: int) -> bool:
    protocol = table.protocol()
    if protocol.min_writer_version >= FEATURES_WRITER:
        return feature in (protocol.writer_features or ())
    return bool(protocol.min_writer_version >= since_version)
