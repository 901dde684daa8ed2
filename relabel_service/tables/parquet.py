"""Parquet files and folders of them as one table, however their files were written.

A folder holds what other readers of data sets see in it: files named .parquet at any depth, with
the columns that key=value folder names give; other files, and names that begin with . or _, are
left out. Its files may differ: a column that some lack is null there, categories are their values,
and narrower types become the wider one. Types that do not go together are refused by name.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as pads
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType

from relabel_service.errors import InvalidInput, NotFound
from relabel_service.tables import files

SUFFIXES = ("parquet", "parq", "pq")
MAX_NAMED = 3  # files that an error names
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # how Hive and Spark write null as a folder name
INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")  # as it would be written again: 01 is a text


@dataclass(frozen=True)
class ParquetFiles:
    """The files of a parquet data set, and the folder that their key=value names stand under."""

    filesystem: FileSystem
    base: str
    files: Sequence[FileInfo]

    @classmethod
    def at(cls, uri: str) -> "ParquetFiles":
        """Raises NotFound where nothing lies, InvalidInput where a folder holds no parquet."""
        filesystem, path = files.filesystem(uri)
        with files.reached(uri):
            info = filesystem.get_file_info(path)
        if info.type == FileType.NotFound:
            raise NotFound(f"nothing at {uri!r}; give a parquet file, folder or Delta table")
        if info.type == FileType.File:
            return cls(filesystem, path.removesuffix(info.base_name).rstrip("/"), [info])
        with files.reached(uri):
            under = filesystem.get_file_info(FileSelector(path, recursive=True))
        base = path.rstrip("/")
        shown = sorted(
            (one for one in under if one.type == FileType.File and _is_shown(one.path, base)),
            key=lambda one: one.path,
        )
        named = [one for one in shown if one.extension.lower() in SUFFIXES]
        named = named or [one for one in shown if not one.extension]  # some writers name none
        if not named:
            raise InvalidInput.of(
                "dataset",
                f"{uri!r} is neither parquet nor Delta: it holds "
                + (", ".join(one.base_name for one in shown[:MAX_NAMED]) or "no file")
                + "; give a folder with files named .parquet",
            )
        return cls(filesystem, base, named)

    @property
    def num_bytes(self) -> int:
        return sum(one.size for one in self.files)

    def folder_columns(self) -> pa.Schema:
        """The columns that folder names give: integers where every value is one, else strings."""
        values: dict[str, set[str]] = {}
        for one in self.files:
            for folder in one.path.removeprefix(self.base).split("/")[:-1]:
                name, is_key, value = folder.partition("=")
                if is_key and name:
                    values.setdefault(unquote(name), set()).add(value)
        return pa.schema(
            (name, pa.int64() if all(map(INTEGER.fullmatch, found - {NO_VALUE})) else pa.string())
            for name, found in values.items()
        )


def parquet_columns(uri: str) -> list[str]:
    """Names of all columns that any file has. Raises as parquet_dataset."""
    found = ParquetFiles.at(uri)
    names = [name for schema in _schemas(found).values() for name in schema.names]
    return list(dict.fromkeys([*names, *found.folder_columns().names]))


def parquet_dataset(uri: str, columns: Iterable[str] | None = None) -> pads.Dataset:
    """The files as one dataset, its schema their union.

    columns: those that will be read, which alone must agree in type; all when left out.
    Raises NotFound where nothing lies, InvalidInput naming a file that is not parquet, or two
    files and their types where these do not go together.
    """
    found = ParquetFiles.at(uri)
    schemas = _schemas(found)
    in_files = {name for schema in schemas.values() for name in schema.names}
    keys = pa.schema(field for field in found.folder_columns() if field.name not in in_files)
    unified = _unified(uri, schemas, in_files if columns is None else set(columns))
    factory = pads.FileSystemDatasetFactory(
        found.filesystem,
        [one.path for one in found.files],
        pads.ParquetFileFormat(),
        pads.FileSystemFactoryOptions(
            partition_base_dir=found.base, partitioning=pads.HivePartitioning(keys)
        ),
    )
    return factory.finish(pa.schema([*unified, *keys], metadata=unified.metadata))


def _is_shown(path: str, base: str) -> bool:
    """Whether no name below `base` is one that writers hide; a key=value name never is."""
    names = path.removeprefix(base).split("/")
    return not any(name.startswith((".", "_")) and "=" not in name for name in names)


def _schemas(found: ParquetFiles) -> dict[str, pa.Schema]:
    """File name below the base -> its schema."""

    def read(one: FileInfo) -> pa.Schema:
        try:
            return pads.ParquetFileFormat().inspect(one.path, filesystem=found.filesystem)
        except (pa.ArrowInvalid, OSError) as error:
            raise InvalidInput.of(
                "dataset",
                f"{one.path!r} is neither parquet nor Delta ({error}); write it anew, or give a "
                "folder without it",
            ) from None

    with ThreadPoolExecutor() as pool:  # an object store's files are far away
        names = [one.path.removeprefix(f"{found.base}/") for one in found.files]
        return dict(zip(names, pool.map(read, found.files), strict=True))


def _unified(uri: str, schemas: Mapping[str, pa.Schema], columns: set[str]) -> pa.Schema:
    """One schema for the columns of all files."""
    for file, schema in schemas.items():
        require_distinct(file, schema, columns)
    first, *others = schemas.values()
    if all(other.equals(first) for other in others):
        return first
    fields: dict[str, tuple[pa.Field, str]] = {}  # and the first file that has the type
    for file, schema in schemas.items():
        for field in schema:
            if field.name not in columns:
                continue
            plain = pa.field(field.name, _without_categories(field.type))
            known, known_in = fields.get(field.name, (plain, file))
            try:
                [wider] = pa.unify_schemas(
                    [pa.schema([known]), pa.schema([plain])], promote_options="permissive"
                )
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                raise InvalidInput.of(
                    "dataset",
                    f"column {field.name!r} of {uri!r} is {known.type} in {known_in!r} and "
                    f"{plain.type} in {file!r}, which do not go together; write both files with "
                    "one type",
                ) from None
            fields[field.name] = wider, known_in if wider.equals(known) else file
    return pa.schema([field for field, _ in fields.values()], metadata=first.metadata)


def require_distinct(file: str, schema: pa.Schema, columns: Iterable[str]) -> None:
    """Raises InvalidInput where a file has one of the columns more than once."""
    for name in columns:
        if (number := len(schema.get_all_field_indices(name))) > 1:
            raise InvalidInput.of(
                "dataset", f"{file!r} has {number} columns {name!r}; rename or drop all but one"
            )


def _without_categories(kind: pa.DataType) -> pa.DataType:
    """The type with dictionaries replaced by their values' types, at any depth."""
    if pa.types.is_dictionary(kind):
        return _without_categories(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([one.with_type(_without_categories(one.type)) for one in kind])
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_without_categories(kind.value_type)))
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_without_categories(kind.value_type)))
    return kind
