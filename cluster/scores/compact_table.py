"""Compact rows as columns of an Arrow table, and back."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.scores.compact import Compact, Floats

NUM_OTHERS = 9  # classes besides the label that suspicion weighs
LABEL_INDEX = "label_index"  # int64: index of the label's class


def read_compact(scored: pa.Table, prefix: str = "") -> Compact:
    """Scored rows as the scores take them.

    prefix: of the columns; empty for the trained model's own predictions.
    """
    others, p_others = (
        column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
        for column in (scored[f"{prefix}others"], scored[f"{prefix}p_others"])
    )
    return Compact(
        scored[LABEL_INDEX].to_numpy(), scored[f"{prefix}p_label"].to_numpy(), others, p_others
    )


def compact_columns(rows: Compact, prefix: str = "") -> dict[str, pa.Array | Floats]:
    """The columns that read_compact reads, all but LABEL_INDEX."""
    return {
        f"{prefix}others": _lists(rows.others),
        f"{prefix}p_others": _lists(rows.p_others.astype(np.float64)),
        f"{prefix}p_label": rows.p_label.astype(np.float64),
    }


def _lists(values: npt.NDArray[np.number]) -> pa.ListArray:
    """[R, M] as one list a row."""
    offsets = pa.array(np.arange(len(values) + 1) * values.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))
