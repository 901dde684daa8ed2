"""What lineage tables tell: which labels people have decided already."""

from relabel_service import tables


def decided_parts(uri: str | None) -> frozenset[tuple[str, str]]:
    """Id and unit of each decision in the lineage table; none when there is no table yet."""
    if uri is None or not tables.is_delta(uri):
        return frozenset()
    decided = tables.read_where(uri, {}, columns=["id", "unit"])
    return frozenset(zip(decided["id"].to_pylist(), decided["unit"].to_pylist(), strict=True))
