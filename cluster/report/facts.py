"""What a report says of the mined table as a whole: label counts, odd names, duplicates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cluster.data.profile import profile_table
from cluster.engine.local import LocalEngine
from cluster.io.tables import count_rows
from cluster.report.duplicates import Duplicates, find_duplicates
from cluster.report.rows import TableRows

MAX_ROWS = 300_000  # of a table that is read for its duplicates


@dataclass(frozen=True)
class TableFacts:
    """label_counts: rows that name each class. warnings: sentences of label_warnings.py.
    duplicates: None where they were not looked for, for the reason `left_out`."""

    label_counts: Mapping[str, int] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    duplicates: Duplicates | None = None
    left_out: str = ""


def table_facts(rows: TableRows) -> TableFacts:
    """Reads the table where the run's result does not hold what is needed; else only its grouped
    rows. Raises as rows of a source do."""
    mined, source = rows.mined, rows.source
    counts = mined.label_counts if mined is not None else {}
    warnings = mined.warnings if mined is not None else ()
    if source is None:
        return TableFacts(
            counts, warnings, left_out="the findings do not say which table they are of"
        )
    num_rows = count_rows(source.uri, source.version)
    if num_rows > MAX_ROWS:
        return TableFacts(
            counts, warnings, left_out=f"the table has {num_rows:,} rows, more than {MAX_ROWS:,}"
        )
    engine, near_duplicates = LocalEngine(), rows.near_duplicates
    if near_duplicates is None or mined is None:
        profile = profile_table(engine, source, near_duplicates=near_duplicates is None)
        counts, warnings = profile.classes, profile.warnings
        if near_duplicates is None:
            near_duplicates = profile.near_duplicates
    return TableFacts(counts, warnings, find_duplicates(engine, source, near_duplicates))
