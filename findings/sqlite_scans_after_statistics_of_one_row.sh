#!/bin/sh
# A table that had one row when SQLite gathered statistics is read from end to end in a LEFT JOIN that
# names its whole primary key, however many rows have come since.
#
# Guess before: equality on every column of a unique index finds at most one row, so SQLite searches the
# index, whatever statistics say; at worst stale statistics choose a worse index.
# Seen with SQLite 3.54.1 (apsw 3.54.1.0, Linux x86_64, CPython 3.11; 3.40.1 does so, too): a SELECT
# with the same condition searches the index, and so does the join without statistics; after ANALYZE (or
# PRAGMA optimize) with one row the join scans the table: of 5,000 rows added since, every one for each
# look-up. Gathering statistics of other tables alone avoids it.
# Fails when the join searches the index after all, or does not without statistics.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/plans.py" <<'PYTHON'
import apsw

SELECT = "SELECT answer FROM keys WHERE owner = ?1 AND name = ?2"
JOIN = "SELECT answer FROM (SELECT 1) AS one LEFT JOIN keys ON owner = ?1 AND name = ?2"


def steps(connection, query):
    """The last step of the plan, and how many instructions a look-up takes."""
    plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + query, ("ann", "9"))]
    count = 0

    def seen():
        nonlocal count
        count += 1
        return False

    connection.set_progress_handler(seen, 1)
    connection.execute(query, ("ann", "9")).fetchall()
    connection.set_progress_handler(None)
    return plan[-1], count


def filled(analyze):
    connection = apsw.Connection(":memory:")
    connection.execute(
        "CREATE TABLE keys (owner TEXT NOT NULL, name TEXT NOT NULL, answer TEXT, "
        "PRIMARY KEY (owner, name))"
    )
    connection.execute("INSERT INTO keys VALUES ('ann', 'first', '')")
    if analyze:
        connection.execute("ANALYZE")
    connection.executemany(
        "INSERT INTO keys VALUES ('ann', ?, '')", [(str(number),) for number in range(5000)]
    )
    return connection


print(f"SQLite {apsw.sqlite_lib_version()}")
for name, query in (("select", SELECT), ("join", JOIN)):
    for analyze in (False, True):
        step, count = steps(filled(analyze), query)
        told = "with" if analyze else "without"
        print(f"{name}, {told} statistics of one row: {step}; {count} instructions")
        scans = step.startswith("SCAN")
        if scans != (name == "join" and analyze):
            raise SystemExit("the plan is another one: SQLite has changed")
PYTHON
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.54.1.0
"$folder/venv/bin/python" "$folder/plans.py"
