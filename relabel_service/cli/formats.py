"""`relabel import` and `relabel export`: labelled files to tables of this project, and back."""

from enum import StrEnum
from typing import Annotated

import typer

from relabel_service.cli import output
from relabel_service.errors import InvalidInput

# As tables.formats.FORMATS, which this module does not load for the sake of other commands.
NAMES = (
    "huggingface", "parquet", "coco", "label_studio", "voc", "yolo", "spacy", "jsonl", "conll",
    "csv",
)  # fmt: skip

FormatName = Annotated[
    str,
    typer.Option("--format", help=f"{', '.join(NAMES)}; guessed without it", show_default=False),
]


class BoxFormat(StrEnum):
    XYWH = "xywh"
    XYXY = "xyxy"


def import_(
    path: Annotated[
        str, typer.Argument(help="file, folder or address of the data", show_default=False)
    ],
    table: Annotated[
        str,
        typer.Argument(
            help="where to write: a Delta table, or parquet if it ends in .parquet",
            show_default=False,
        ),
    ],
    format_name: FormatName = "",
    media: Annotated[
        str,
        typer.Option(help="folder or address of the pictures or sounds", show_default=False),
    ] = "",
    link: Annotated[
        bool,
        typer.Option("--link", help="keep addresses of pictures and sounds, not their bytes"),
    ] = False,
    control: Annotated[
        str,
        typer.Option(
            help="name of the control that gives the labels, in label_studio", show_default=False
        ),
    ] = "",
    boxes: Annotated[
        BoxFormat, typer.Option(help="a bbox in huggingface data: width and height, or corners")
    ] = BoxFormat.XYWH,
    as_json: output.Json = False,
) -> None:
    """Import labelled data as the table that the jobs read."""
    from relabel_service.tables.formats import files, format_named, guess
    from relabel_service.tables.formats.base import ImportOptions
    from relabel_service.tables.formats.store import write_table

    reader = format_named(format_name) if format_name else guess(path)
    files.require(path)
    options = ImportOptions(media or None, not link, boxes.value, control or None)
    num_rows = write_table(reader.read(path, options), table)
    notes = [f"{count:,} {note}" for note, count in options.notes.items()]
    output.print_result(
        "\n".join([f"{table}: {num_rows:,} rows of {reader.name}", *notes]),
        as_json=as_json,
        table=table,
        format=reader.name,
        num_rows=num_rows,
        notes=options.notes,
    )


def export(
    table: Annotated[
        str, typer.Argument(help="address of the table, parquet or Delta", show_default=False)
    ],
    path: Annotated[
        str, typer.Argument(help="file or folder to write; must not exist", show_default=False)
    ],
    format_name: FormatName = "",
    version: Annotated[
        int | None, typer.Option(help="Delta version; the latest without it", show_default=False)
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Export a table in the format that it was imported from, or in another."""
    from relabel_service.tables.formats import files, format_named
    from relabel_service.tables.formats.base import origin_of
    from relabel_service.tables.formats.store import StoredTable

    stored = StoredTable(table, version)
    origin = origin_of(stored.schema)
    if not format_name and origin is None:
        raise InvalidInput.of(
            "--format",
            f"is not set, and {table!r} was not imported; use one of {', '.join(NAMES)}",
        )
    writer = format_named(format_name or (origin.format if origin else ""))
    files.refuse_existing(path)
    writer.write(stored, path)
    output.print_result(
        f"{path}: {writer.name} of {table}",
        as_json=as_json,
        path=path,
        format=writer.name,
        table=table,
    )


def add_commands(app: typer.Typer) -> None:
    app.command("import")(import_)
    app.command()(export)
