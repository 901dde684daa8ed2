"""A file brought into a table, decided on, and written back, by the commands a user gives."""

from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner

from relabel_service.cli.main import app
from relabel_service.tasks import task_named


def relabel(*arguments: str | Path) -> str:
    """What the command prints. Raises what it refuses with."""
    done = CliRunner(env={"COLUMNS": "300"}).invoke(
        app, list(map(str, arguments)), catch_exceptions=False
    )
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return str(done.output)


class Imported:
    """A Delta table that `relabel import` made of a file."""

    def __init__(self, path: Path, folder: Path, *options: str | Path) -> None:
        self.folder, self.uri = folder, str(folder / "table")
        self.output = relabel("import", path, self.uri, *options)

    @property
    def rows(self) -> list[dict[str, Any]]:
        table: pa.Table = DeltaTable(self.uri).to_pyarrow_table().sort_by("row_number")
        return list(table.to_pylist())

    @property
    def schema(self) -> pa.Schema:
        return DeltaTable(self.uri).to_pyarrow_dataset().schema

    def decide(self, task: str, row_number: int, label: str, *, column: str = "label") -> None:
        """Write a label, in the task's text form, as a merge does: all its files are rewritten."""
        row = self.rows[row_number]
        [content] = [row[name] for name in task_named(task).content_columns if name in row] or [""]
        text = task_named(task).read_content({"": content}) if isinstance(content, list) else ""
        value = task_named(task).write_label(label, text)
        kind = self.schema.field(column).type
        update = pa.table(
            {"row_number": [row_number], column: pa.array([value], kind)}
            if pa.types.is_nested(kind)
            else {"row_number": [row_number], column: pa.array([value]).cast(kind)}
        )
        DeltaTable(self.uri).merge(
            update,
            predicate="old.row_number = new.row_number",
            source_alias="new",
            target_alias="old",
        ).when_matched_update({f'"{column}"': f'new."{column}"'}).execute()

    def shuffle(self) -> None:
        """Bring the rows into another order, as a rewrite may."""
        table = DeltaTable(self.uri).to_pyarrow_table().sort_by([("row_number", "descending")])
        schema = self.schema
        write_deltalake(self.uri, table.cast(schema), mode="overwrite")

    def export(self, name: str, *options: str) -> Path:
        path = self.folder / name
        relabel("export", self.uri, path, *options)
        return path
