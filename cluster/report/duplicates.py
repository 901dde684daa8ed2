"""Groups of rows with the same or nearly the same content, those of several labels first."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.data.folds import id_keys
from cluster.data.rows import Source, check, read
from cluster.engine.base import Engine
from relabel_service.tables.fingerprint import content_fingerprint
from relabel_service.tables.row_ids import row_ids

MAX_GROUPS = 40
MAX_MEMBERS = 6  # of a group that are shown
KEPT_CONTENT = 400_000  # characters of a content; a longer one is not shown


@dataclass(frozen=True)
class Member:
    """One row of a group. content: empty where it is too long to be shown."""

    id: str
    content: str
    label: str


@dataclass
class DuplicateGroup:
    """Rows that are alike. labels: rows of each label; members: the first few rows, of differing
    labels where there are such; fingerprints: of their contents, two at most."""

    labels: Counter[str] = field(default_factory=Counter)
    members: list[Member] = field(default_factory=list)
    fingerprints: set[str] = field(default_factory=set)

    @property
    def num_rows(self) -> int:
        return self.labels.total()

    @property
    def is_exact(self) -> bool:
        return len(self.fingerprints) == 1

    @property
    def is_conflicting(self) -> bool:
        return len(self.labels) > 1

    def add(self, member: Member) -> None:
        """Count a row, and keep it where there is room or its label is new."""
        if len(self.fingerprints) < 2:
            self.fingerprints.add(content_fingerprint(member.content))
        is_new = member.label not in self.labels
        self.labels[member.label] += 1
        if is_new or len(self.members) < MAX_MEMBERS - 1:
            short = len(member.content) <= KEPT_CONTENT
            kept = member if short else Member(member.id, "", member.label)
            self.members = [*self.members, kept][:MAX_MEMBERS]


@dataclass(frozen=True)
class Duplicates:
    """groups: the first MAX_GROUPS. The counts are of all."""

    groups: tuple[DuplicateGroup, ...]
    num_groups: int
    num_conflicting: int
    num_rows: int


def find_duplicates(
    engine: Engine, source: Source, near_duplicates: npt.NDArray[np.uint64]
) -> Duplicates:
    """The rows of each group, read in one pass. near_duplicates: as TableProfile has them."""
    groups: dict[int, DuplicateGroup] = {}
    if len(near_duplicates):
        # Members alone are checked: to check a picture is to decode it.
        grouped = read(engine, source).map(
            partial(_grouped, source=source, keys=near_duplicates[:, 0])
        )
        _collect(grouped, dict(near_duplicates.tolist()), groups)
    found = [group for group in groups.values() if group.num_rows > 1]
    found.sort(key=lambda group: (-group.is_conflicting, -group.is_exact, -group.num_rows))
    return Duplicates(
        groups=tuple(found[:MAX_GROUPS]),
        num_groups=len(found),
        num_conflicting=sum(group.is_conflicting for group in found),
        num_rows=sum(group.num_rows for group in found),
    )


def _grouped(batch: pa.Table, *, source: Source, keys: npt.NDArray[np.uint64]) -> pa.Table:
    """ROWS of the valid rows that belong to a group."""
    if source.id_column:
        ids = pc.fill_null(row_ids(batch[source.id_column]), "")
        batch = batch.filter(pa.array(np.isin(id_keys(ids), keys)))
    checked = check(batch, source=source)
    is_member = pa.array(np.isin(id_keys(checked["id"]), keys))
    return checked.filter(pc.and_(checked["fault"].is_null(), is_member))


def _collect(
    batches: Iterable[pa.Table], leaders: dict[int, int], groups: dict[int, DuplicateGroup]
) -> None:
    for batch in batches:
        members = batch.select(["id", "content", "label"]).to_pylist()
        for key, member in zip(id_keys(batch["id"]).tolist(), members, strict=True):
            groups.setdefault(leaders[key], DuplicateGroup()).add(Member(**member))
