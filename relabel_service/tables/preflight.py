"""Whether a Delta table will take what people decide, asked before they are.

Owns the reasons why delta-rs cannot read or write a table. They are not kept as a list that goes
out of date: an empty table of the same protocol, schema and settings is read and written in a
temporary folder, and what fails there would fail at the merge.
"""

import json
import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError
from deltalake.table import SUPPORTED_READER_FEATURES  # by to_pyarrow_dataset

from relabel_service.errors import InvalidInput, NotFound
from relabel_service.tables import row_rules

APPEND_ONLY = "delta.appendOnly"
GENERATED = "delta.generationExpression"
MAPPING = "delta.columnMapping.mode"
log = logging.getLogger(__name__)

FEATURES_READER = 3  # protocol version that lists features by name
RUN_KEY, DATASET_KEY, LABEL_KEY = "relabel.run", "relabel.dataset", "relabel.label_column"
MAX_NAMED = 3  # files that an error names

# What stands before DROP FEATURE for the features that a table must stop using first.
BEFORE_DROP = {
    "rowTracking": "set delta.enableRowTracking=false, then ",
    "clustering": "ALTER TABLE … CLUSTER BY NONE, then ",
    "inCommitTimestamp": "set delta.enableInCommitTimestamps=false, then ",
    "typeWidening": "set delta.enableTypeWidening=false, then ",
}


def is_mapped(table: DeltaTable) -> bool:
    """Whether columns have other names in the files than in the table."""
    return table.metadata().configuration.get(MAPPING, "none") != "none"


def needs_delta_rs(table: DeltaTable) -> bool:
    """Whether Arrow, alone, would refuse the table or read it wrongly."""
    features = set(table.protocol().reader_features or ())
    return is_mapped(table) or not features <= SUPPORTED_READER_FEATURES


def require_readable(table: DeltaTable, uri: str) -> None:
    """Raises InvalidInput naming the features that delta-rs cannot read, NotFound where files of
    an older version are gone."""
    protocol = table.protocol()
    with _twin(table, protocol.reader_features, protocol.writer_features) as twin:
        if (error := _reading_error(twin)) is not None:
            features = [
                feature
                for feature in protocol.reader_features or ()
                if _fails(table, feature, _reading_error)
            ]
            raise InvalidInput.of("dataset", _unsupported(uri, "read", features, error))
    _require_files(table, uri)


def require_writable(table: DeltaTable, uri: str, *, label_column: str | None = None) -> None:
    """Raises InvalidInput saying what would stop a merge, and what to do about it.

    label_column: the column that a merge changes.
    """
    settings = table.metadata().configuration
    if settings.get(APPEND_ONLY, "").lower() == "true":
        raise InvalidInput.of(
            "dataset",
            f"{uri!r} is append-only ({APPEND_ONLY}=true), so no label in it can be changed; set "
            f"{APPEND_ONLY}=false, or copy it and give the copy",
        )
    protocol = table.protocol()
    with _twin(table, protocol.reader_features, protocol.writer_features) as twin:
        if (error := _writing_error(twin)) is not None:
            features = [
                feature
                for feature in protocol.writer_features or ()
                if _fails(table, feature, _writing_error)
            ]
            raise InvalidInput.of("dataset", _unsupported(uri, "written", features, error))
        for name, expression in _expressions(table):
            if (error := _expression_error(twin, expression)) is not None:
                raise InvalidInput.of(
                    "dataset",
                    f"{uri!r} has {name}, {expression!r}, which cannot be computed here "
                    f"({error}); drop it, or copy the rows into a table without it",
                )
    for name, expression in row_rules.rules_of(table).items():
        if num_rows := _num_broken(table, uri, expression):
            raise InvalidInput.of(
                "dataset",
                f"{num_rows} rows of {uri!r} break its {name}, {expression!r}, as they are, and no "
                "file that holds one can be written anew; repair those rows, or drop the rule",
            )
    _require_free(table, uri, label_column)


def origin(run_id: str, *, dataset: str, label_column: str) -> dict[str, str]:
    """What the commit of a run's findings says of the table that they are about."""
    address = dataset if "://" in dataset else str(Path(dataset).absolute())
    return {RUN_KEY: run_id, DATASET_KEY: address, LABEL_KEY: label_column}


def require_origin_writable(findings: DeltaTable, run_id: str) -> None:
    """As require_writable, of the Delta table that a run's findings are about.

    Passes where the findings do not name it, or it cannot be opened from here: whoever merges may
    have rights and folders that this process has not.
    """
    for commit in findings.history():
        if commit.get(RUN_KEY) == run_id and DATASET_KEY in commit:
            break
    else:
        return
    dataset = commit[DATASET_KEY]
    try:
        table = DeltaTable(dataset)
    except (DeltaError, OSError) as error:
        log.info("cannot look at %s before people are asked: %s", dataset, error)
        return
    require_writable(table, dataset, label_column=commit.get(LABEL_KEY))


def refusal(uri: str, error: Exception) -> InvalidInput:
    """What to raise for a commit that failed though nobody else had written."""
    try:
        table = DeltaTable(uri)
        require_writable(table, uri)
    except InvalidInput as reason:
        return reason
    except (DeltaError, OSError):
        pass  # what failed first says more
    said = str(error).strip().partition("\n")[0]  # delta-rs shows rows behind
    return InvalidInput.of(
        "dataset", f"{uri!r} cannot be written: {said}; remove that, or write to another table"
    )


def _require_free(table: DeltaTable, uri: str, label_column: str | None) -> None:
    """Raises InvalidInput where the label is computed, or another column is computed from it."""
    for field in table.schema().fields:
        expression = str(field.metadata.get(GENERATED, ""))
        if not expression or label_column is None:
            continue
        if field.name == label_column:
            raise InvalidInput.of(
                "dataset",
                f"column {label_column!r} of {uri!r} is generated as {expression!r}, so its labels "
                "cannot be changed; name the column that it is computed from, or copy the rows "
                "into a table where it is a plain column",
            )
        if re.search(rf"(?<!\w){re.escape(label_column)}(?!\w)", expression):
            raise InvalidInput.of(
                "dataset",
                f"column {field.name!r} of {uri!r} is generated from {label_column!r} as "
                f"{expression!r}, and a merge would not compute it anew; drop that column, or copy "
                "the rows into a table where it is a plain one",
            )


def _require_files(table: DeltaTable, uri: str) -> None:
    """Raises NotFound where a version's files have been vacuumed away.

    The latest version is taken as whole: vacuum leaves its files.
    """
    if table.version() == DeltaTable(uri).version():
        return
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import FileType, PyFileSystem

    actions = table.get_add_actions(flatten=True)
    paths = [str(path) for path in actions.column("path").to_pylist() if "://" not in str(path)]
    files = PyFileSystem(DeltaStorageHandler(table.table_uri)).get_file_info(paths)
    gone = [one.path for one in files if one.type == FileType.NotFound]
    if gone:
        raise NotFound(
            f"version {table.version()} of {uri!r} has lost {len(gone)} of its {len(paths)} files "
            f"({', '.join(gone[:MAX_NAMED])}), as vacuum does; give a later version"
        )


def _unsupported(uri: str, verb: str, features: Sequence[str], error: str) -> str:
    if not features:
        return (
            f"{uri!r} cannot be {verb} here: {error}; copy its rows into a plain Delta table, and "
            "give that"
        )
    steps = "; ".join(
        f"{BEFORE_DROP.get(feature, '')}ALTER TABLE … DROP FEATURE {feature}"
        for feature in features
    )
    return (
        f"{uri!r} uses {', '.join(features)}, with which a table cannot be {verb} here; drop it "
        f"where the table is kept ({steps}), or copy the rows into a table without it"
    )


def _num_broken(table: DeltaTable, uri: str, expression: str) -> int:
    try:
        return row_rules.count_broken(table, expression)
    except (DeltaError, OSError) as error:
        raise InvalidInput.of(
            "dataset",
            f"{uri!r} cannot be read to its end ({str(error).splitlines()[0]}); restore the file "
            "that is gone, or copy the rows into another table",
        ) from None


def _expressions(table: DeltaTable) -> Iterator[tuple[str, str]]:
    """What each expression that a written row must satisfy is, and the expression."""
    for name, expression in row_rules.rules_of(table).items():
        yield f"the {name}", expression
    for field in table.schema().fields:
        if GENERATED in field.metadata:
            yield f"the generated column {field.name!r}", str(field.metadata[GENERATED])


def _fails(table: DeltaTable, feature: str, attempt: Any) -> bool:
    """Whether a table of this one feature fails the attempt."""
    with _twin(table, [feature], [feature]) as twin:
        return attempt(twin) is not None


def _reading_error(uri: str) -> str | None:
    try:
        QueryBuilder().register("t", DeltaTable(uri)).execute("SELECT * FROM t").read_all()
    except (DeltaError, OSError) as error:
        return str(error)
    return None


def _writing_error(uri: str) -> str | None:
    try:
        table = DeltaTable(uri)
        table.create_write_transaction([], mode="append", schema=table.schema())
    except DeltaError as error:  # CommitFailedError is one
        return str(error)
    return None


def _expression_error(uri: str, expression: str) -> str | None:
    try:
        QueryBuilder().register("t", DeltaTable(uri)).execute(
            f"SELECT ({expression}) FROM t"
        ).read_all()
    except DeltaError as error:
        return str(error).splitlines()[0]
    return None


@contextmanager
def _twin(
    table: DeltaTable, readers: Sequence[str] | None, writers: Sequence[str] | None
) -> Iterator[str]:
    """Within it, the address of an empty table with the schema and settings of another one.

    readers, writers: its features.
    """
    protocol, metadata = table.protocol(), table.metadata()
    versions: dict[str, Any] = {
        "minReaderVersion": protocol.min_reader_version,
        "minWriterVersion": protocol.min_writer_version,
    }
    if protocol.min_writer_version >= row_rules.FEATURES_WRITER:
        versions["writerFeatures"] = list(writers or ())
    if protocol.min_reader_version >= FEATURES_READER:
        known = set(protocol.reader_features or ())
        versions["readerFeatures"] = [name for name in readers or () if name in known]
    actions = [
        {"protocol": versions},
        {
            "metaData": {
                "id": str(metadata.id),
                "format": {"provider": "parquet", "options": {}},
                "schemaString": table.schema().to_json(),
                "partitionColumns": list(metadata.partition_columns),
                "configuration": dict(metadata.configuration),
                "createdTime": 0,
            }
        },
    ]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "_delta_log" / f"{0:020d}.json"
        log.parent.mkdir()
        log.write_text("".join(json.dumps(action) + "\n" for action in actions), "utf-8")
        yield folder
