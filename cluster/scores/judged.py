"""Compact rows out of judged rows: the columns that a classification task keeps of a prediction."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.scores.compact import Compact
from relabel_service.errors import InvalidInput


def compact_rows(judged: pa.Table, classes: Sequence[str]) -> Compact:
    """R judged rows as compact ones.

    judged: `label`, `p_label` and `suggestions` (list of label and probability, most
    probable first, equally many in each row; the label may be among them). One
    other class fewer than suggestions is kept. Raises InvalidInput when the rows
    have fewer than two suggestions.
    """
    suggestions = pc.list_flatten(_one_array(judged["suggestions"]))
    num_rows = judged.num_rows
    width = len(suggestions) // num_rows if num_rows else 2
    if width < 2:
        raise InvalidInput.of("suggestions", f"{width} a row; keep two or more of each prediction")
    names = pa.array(classes, pa.string())
    given = pc.index_in(_one_array(judged["label"]), value_set=names).to_numpy().astype(np.int64)
    suggested = pc.index_in(pc.struct_field(suggestions, "label"), value_set=names)
    places = suggested.to_numpy().astype(np.int64).reshape(num_rows, width)
    values = pc.struct_field(suggestions, "probability").to_numpy().reshape(num_rows, width)
    # The label last, the rest in their order; what then stands last is left out.
    order = np.argsort(places == given[:, None], axis=1, kind="stable")[:, : width - 1]
    return Compact(
        given=given,
        p_label=judged["p_label"].to_numpy(),
        others=np.take_along_axis(places, order, axis=1),
        p_others=np.take_along_axis(values, order, axis=1),
    )


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
