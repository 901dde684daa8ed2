"""What lineage tables tell: which labels people have decided already."""

from relabel_service import tables


def decided_parts(uri: str | None) -> frozenset[tuple[str, str]]:
    """Id and unit of each of people's decisions in the lineage table; none without a table."""
    if uri is None or not tables.is_delta(uri):
        return frozenset()
    told = tables.read_where(uri, {}, columns=["id", "unit", "policy"])
    decided = told.filter(told["policy"].is_null())
    return frozenset(zip(decided["id"].to_pylist(), decided["unit"].to_pylist(), strict=True))
