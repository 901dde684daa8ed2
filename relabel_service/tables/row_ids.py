"""The text that names a row, of an id column of any type: the same in every part.

Whole numbers are written without a fraction whatever type holds them (pandas makes 3 to 3.0 beside
a null), other floats as Python writes them. Times are ISO 8601 in microseconds (nanoseconds where
they have any), those of a zone in UTC; bytes, UUIDs among them, are lower-case hex. Null, NaN and
the empty text name nothing.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from relabel_service.errors import InvalidInput

WHOLE = 2.0**63  # floats from here on are no int64


def check_id_type(name: str, kind: pa.DataType) -> None:
    """Raises InvalidInput where no row can be named by a column of the type."""
    if not any(is_of(_plain(kind)) for is_of in (*_AS_TEXT, pa.types.is_floating, *_BYTES)):
        raise InvalidInput.of(
            name,
            f"is a column of {kind}; ids are texts, numbers, dates, times, booleans or bytes: "
            "name another column, or none, to make ids of the contents",
        )


def row_ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The ids of a column that check_id_type takes: string, null where there is none."""
    values, kind = _storage(column), _plain(column.type)
    if pa.types.is_floating(kind):
        found = _floats(values)
    elif any(is_of(kind) for is_of in _BYTES):
        found = [None if value is None else value.hex() for value in values.to_pylist()]
        found = pa.chunked_array([pa.array(found, pa.string())])
    elif pa.types.is_timestamp(kind):
        found = _times(values, None if kind.tz is None else "UTC")
    else:
        found = values.cast(pa.string())
    return pc.if_else(pc.equal(found, ""), pa.scalar(None, pa.string()), found)


_AS_TEXT = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_integer,
    pa.types.is_decimal, pa.types.is_boolean, pa.types.is_date, pa.types.is_time,
    pa.types.is_timestamp, pa.types.is_null,
)  # fmt: skip
_BYTES = (
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)  # fmt: skip


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values themselves, of dictionaries and of extensions such as UUID."""
    while isinstance(kind, pa.DictionaryType | pa.BaseExtensionType):
        kind = kind.value_type if isinstance(kind, pa.DictionaryType) else kind.storage_type
    return kind


def _storage(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = _plain(column.type)
    return column if kind == column.type else column.cast(kind)


def _times(values: pa.ChunkedArray, zone: str | None) -> pa.ChunkedArray:
    """In microseconds; those that have a part of one, in nanoseconds."""
    found = values.cast(pa.timestamp("us", zone), safe=False)
    if values.type.unit != "ns":
        return found.cast(pa.string())
    exact = values.cast(pa.timestamp("ns", zone))
    is_whole = pc.equal(found.cast(pa.timestamp("ns", zone)), exact)
    return pc.if_else(is_whole, found.cast(pa.string()), exact.cast(pa.string()))


def _floats(values: pa.ChunkedArray) -> pa.ChunkedArray:
    wide = values.cast(pa.float64())
    wide = pc.if_else(pc.is_nan(wide), pa.scalar(None, pa.float64()), wide)
    is_whole = pc.and_(pc.equal(pc.trunc(wide), wide), pc.less(pc.abs(wide), WHOLE))
    whole = pc.if_else(is_whole, wide, pa.scalar(None, pa.float64())).cast(pa.int64())
    found = whole.cast(pa.string())
    if found.null_count == wide.null_count:
        return found
    texts: list[Any] = [None if value is None else repr(value) for value in wide.to_pylist()]
    return pc.coalesce(found, pa.chunked_array([pa.array(texts, pa.string())]))
