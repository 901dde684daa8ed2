"""Reads lineage tables: which labels people have decided on already."""

from collections.abc import Sequence

import pyarrow as pa

from relabel_service.tables import delta, schemas


def decisions_of_people(uri: str | None, columns: Sequence[str]) -> pa.Table:
    """These columns of schemas.LINEAGE, without what policies decided; no rows without a table."""
    if uri is None or not delta.is_delta(uri):
        return schemas.LINEAGE.empty_table().select(list(columns))
    lineage = delta.read_where(uri, {}, columns=[*columns, "policy"])
    return lineage.filter(lineage["policy"].is_null()).select(list(columns))


def decided_keys(uri: str | None) -> frozenset[tuple[str, str]]:
    """Id and unit of each of people's decisions in the lineage table; none without a table."""
    decided = decisions_of_people(uri, ["id", "unit"])
    return frozenset(zip(decided["id"].to_pylist(), decided["unit"].to_pylist(), strict=True))
