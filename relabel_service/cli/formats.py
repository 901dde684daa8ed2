"""`relabel import` and `relabel export`: labelled files to tables of this project, and back, and
items to a labeling tool."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from relabel_service.cli import output
from relabel_service.errors import InvalidInput

if TYPE_CHECKING:
    from relabel_service.tools.base import Handover
    from relabel_service.tools.items import Columns

# As tables.formats.FORMATS, which this module does not load for the sake of other commands.
NAMES = (
    "huggingface", "parquet", "coco", "label_studio", "voc", "yolo", "spacy", "jsonl", "conll",
    "csv",
)  # fmt: skip

TOOL_NAMES = ("label-studio", "cvat", "fiftyone")  # as tools.TOOLS, which is not loaded either

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
    from relabel_service.tables import files
    from relabel_service.tables.formats import format_named, guess
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
        str,
        typer.Argument(
            help="address of the table, parquet or Delta; with --run-id, of findings",
            show_default=False,
        ),
    ],
    path: Annotated[
        str, typer.Argument(help="file or folder to write; must not exist", show_default=False)
    ],
    format_name: FormatName = "",
    version: Annotated[
        int | None, typer.Option(help="Delta version; the latest without it", show_default=False)
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            help=f"labeling tool to write a folder for: {', '.join(TOOL_NAMES)}", show_default=False
        ),
    ] = "",
    run_id: Annotated[
        str, typer.Option(help="run of the findings to hand over, by --to", show_default=False)
    ] = "",
    top: Annotated[
        int | None, typer.Option(help="hand over this many of the worst", show_default=False)
    ] = None,
    task: Annotated[
        str, typer.Option(help="task of a table that is no findings, by --to", show_default=False)
    ] = "",
    content_column: Annotated[
        list[str] | None,
        typer.Option(help="its columns of what is labelled; again for more", show_default=False),
    ] = None,
    label_column: Annotated[str, typer.Option(help="its column of the human label")] = "label",
    id_column: Annotated[
        str | None, typer.Option(help="its column of ids; row numbers if out", show_default=False)
    ] = None,
    media_prefix: Annotated[
        list[str] | None,
        typer.Option(
            help="folder or store whose pictures are opened beside the table's; again for more",
            show_default=False,
        ),
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Export a table in the format that it was imported from, or in another, or items to a tool."""
    from relabel_service.tables import files

    if to and format_name:
        raise InvalidInput.of("--to", "and --format exclude each other; leave one out")
    if not to and (run_id or task or top is not None):
        raise InvalidInput.of(
            "--to",
            f"is not set, and --run-id, --top and --task are for it; use one of "
            f"{', '.join(TOOL_NAMES)}",
        )
    if to:
        from relabel_service.tools.items import Columns

        columns = Columns(task, tuple(content_column or ()), label_column, id_column)
        from_table = _Handed(table, version, run_id, top, columns, media_prefix or ())
        _hand_over(to, from_table, path, as_json=as_json)
        return
    from relabel_service.tables.formats import format_named
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


@dataclass(frozen=True)
class _Handed:
    """What is handed to a tool: a run's findings, or a table with its columns."""

    table: str
    version: int | None
    run_id: str
    top: int | None
    columns: "Columns"
    media_prefixes: Sequence[str]

    def handover(self) -> "Handover":
        from relabel_service.media import prefixes
        from relabel_service.tables.formats.store import StoredTable
        from relabel_service.tools import items

        opened = prefixes.checked(self.media_prefixes)
        if self.run_id:
            if self.columns.task or self.version is not None:
                raise InvalidInput.of(
                    "--run-id", "names findings, which say their task; leave out --task, --version"
                )
            return items.of_findings(self.table, self.run_id, top=self.top, opened_under=opened)
        if not self.columns.task or self.top is not None:
            raise InvalidInput.of(
                "--run-id",
                f"is needed where {self.table!r} is a findings table (and for --top); of any other "
                "table, give its --task",
            )
        stored = StoredTable(self.table, self.version)
        return items.of_table(stored, self.table, self.columns, opened_under=opened)


def _hand_over(to: str, handed: _Handed, path: str, *, as_json: bool) -> None:
    from relabel_service.tables import files
    from relabel_service.tools import tool_named

    tool, handover = tool_named(to), handed.handover()
    if handover.task not in tool.tasks:
        raise InvalidInput.of(
            "--to",
            f"{to!r} labels {', '.join(tool.tasks)}; {handed.table!r} is of {handover.task}: "
            "use label-studio, or the service's own page",
        )
    files.refuse_existing(path)
    with files.created_folder(path) as folder:
        num_items = tool.write(handover, folder)
    notes = [f"{count:,} {note}" for note, count in handover.notes.items()]
    output.print_result(
        "\n".join([f"{path}: {num_items:,} items for {to}", *notes]),
        as_json=as_json,
        path=path,
        to=to,
        num_items=num_items,
        notes=handover.notes,
    )


def add_commands(app: typer.Typer) -> None:
    app.command("import")(import_)
    app.command()(export)
