"""What lineage tables tell: which rows people have decided already."""

from relabel_service import tables


def decided_ids(uri: str | None) -> frozenset[str]:
    """Ids with people's decision in the lineage table; none when there is no table yet."""
    if uri is None or not tables.is_delta(uri):
        return frozenset()
    decided = tables.read_where(uri, {}, columns=["id", "policy"])
    return frozenset(decided.filter(decided["policy"].is_null())["id"].to_pylist())
