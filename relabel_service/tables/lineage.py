"""Reads lineage tables: which labels people have decided on already."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from relabel_service.tables import delta, schemas
from relabel_service.tables.fingerprint import content_fingerprint

Key = tuple[str, str]  # id and unit


@dataclass(frozen=True)
class Decided:
    """What people have decided on.

    contents: the fingerprints of the contents that they saw; None where that is not known
    (decisions of earlier releases), and the decision holds whatever the row contains.
    """

    contents: dict[Key, frozenset[str] | None] = field(default_factory=dict)

    @classmethod
    def whatever(cls, keys: Iterable[Key]) -> "Decided":
        """Decisions that hold for any content."""
        return cls(dict.fromkeys(keys))

    def __bool__(self) -> bool:
        return bool(self.contents)

    def covers(self, key: Key, content: str) -> bool:
        """Whether people have decided on this content under this id and unit."""
        if key not in self.contents:
            return False
        seen = self.contents[key]
        return seen is None or content_fingerprint(content) in seen

    def mask(
        self,
        ids: Sequence[str],
        units: Sequence[str],
        read_contents: Callable[[], Sequence[str | None]],
    ) -> npt.NDArray[np.bool_]:
        """Whether each row and unit is decided, [R]. read_contents: called where it is asked."""
        keys = list(zip(ids, units, strict=True))
        found = np.fromiter((key in self.contents for key in keys), np.bool_, len(keys))
        if found.any():
            contents = read_contents()
            for row in np.flatnonzero(found).tolist():
                found[row] = self.covers(keys[row], contents[row] or "")
        return found

    def of_rows(self) -> "Decided":
        """The same with one key a row: something of the row has been decided."""
        rows: dict[Key, frozenset[str] | None] = {}
        for (row_id, _), seen in self.contents.items():
            before = rows.get((row_id, ""), frozenset())
            rows[row_id, ""] = None if seen is None or before is None else seen | before
        return Decided(rows)


def decisions_of_people(uri: str | None, columns: Sequence[str]) -> pa.Table:
    """These columns of schemas.LINEAGE, without what policies decided; no rows without a table.

    A column that a table of an earlier release lacks is null.
    """
    if uri is None or not delta.is_delta(uri):
        return schemas.LINEAGE.empty_table().select(list(columns))
    present = {column.name for column in delta.open_table(uri).schema().fields}
    wanted = [*columns, "policy"]
    lineage = delta.read_where(uri, {}, columns=[name for name in wanted if name in present])
    for name in wanted:
        if name not in present:
            kind = schemas.LINEAGE.field(name).type
            lineage = lineage.append_column(name, pa.nulls(len(lineage), kind))
    return lineage.filter(lineage["policy"].is_null()).select(list(columns))


def decided_by_people(uri: str | None) -> Decided:
    """All of people's decisions in the lineage table; none without a table."""
    decided = decisions_of_people(uri, ["id", "unit", "fingerprint", "copies"])
    contents: dict[Key, frozenset[str] | None] = {}
    for row in decided.to_pylist():
        seen = row["fingerprint"]
        for row_id in (row["id"], *(row["copies"] or ())):
            before = contents.get((row_id, row["unit"]), frozenset())
            all_seen = None if seen is None or before is None else before | {seen}
            contents[row_id, row["unit"]] = all_seen
    return Decided(contents)
