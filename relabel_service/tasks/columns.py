"""Text forms of whole table columns at once, for tasks whose contents and labels are plain values.

A value that is not plainly one of the task's becomes null here: the task then reads it by itself
(Task.read_content, Task.read_label), which alone says what is wrong with it.
"""

import pyarrow as pa
import pyarrow.compute as pc

MAX_WHOLE = 2.0**53  # beyond, neighbouring integers are the same float
LAST_SPACE = 0x3000  # the last code point that str.strip takes away
SPACES = "".join(filter(str.isspace, map(chr, range(LAST_SPACE + 1))))


def strings(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The strings of a column of them, all null for another type: string [rows]."""
    column = _decoded(column)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return pa.chunked_array([pa.nulls(len(column), pa.string())])
    return column.cast(pa.string())


def texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The strings that hold more than space: string [rows]."""
    found = strings(column)
    return _only(pc.not_equal(pc.utf8_trim(found, SPACES), ""), found)


def plain_names(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Strings and integers, as strings: string [rows]."""
    decoded = _decoded(column)
    if pa.types.is_integer(decoded.type):
        return decoded.cast(pa.string())
    return strings(decoded)


def class_names(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Strings, integers, booleans (true, false) and whole floats, as strings: string [rows]."""
    decoded = _decoded(column)
    if pa.types.is_boolean(decoded.type):
        return decoded.cast(pa.string())
    if pa.types.is_floating(decoded.type):
        numbers = decoded.cast(pa.float64())
        is_whole = pc.and_(
            pc.equal(numbers, pc.floor(numbers)), pc.less(pc.abs(numbers), MAX_WHOLE)
        )
        whole = pc.if_else(is_whole, numbers, pa.scalar(None, pa.float64()))
        return whole.cast(pa.int64()).cast(pa.string())
    return plain_names(decoded)


def _only(keep: pa.ChunkedArray, column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(keep, column, pa.scalar(None, pa.string()))


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column
