#!/bin/sh
# In a predicate of DeltaTable.merge, IS NOT DISTINCT FROM takes all that follows for its right side.
#
# Guess before: as in the SQL standard and in PostgreSQL, IS [NOT] DISTINCT FROM binds tighter than
# AND, so `a IS NOT DISTINCT FROM b AND c IS NOT DISTINCT FROM d` compares two pairs of columns.
# Seen with deltalake 1.6.6 (Linux x86_64, CPython 3.11): the predicate is read as
# `a IS NOT DISTINCT FROM (b AND c IS NOT DISTINCT FROM d)`. With columns of text the merge fails with
# "Cannot infer common argument type for logical boolean operation Utf8 AND Boolean"; with brackets
# around each comparison it works.
# Fails when the predicate without brackets works, or the one with brackets does not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1
cat > "$folder/merge.py" <<'PYTHON'
import sys

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

uri = sys.argv[1]
write_deltalake(uri, pa.table({"a": ["x", "x"], "b": ["1", "2"], "label": ["old", "old"]}))
new = pa.table({"a": ["x"], "b": ["1"], "label": ["new"]})


def merge(predicate):
    merger = DeltaTable(uri).merge(new, predicate, source_alias="s", target_alias="t")
    merger.when_matched_update({"label": "s.label"}).execute()


try:
    merge("t.a IS NOT DISTINCT FROM s.a AND t.b IS NOT DISTINCT FROM s.b")
except Exception as error:
    print("without brackets:", str(error).splitlines()[-1])
    assert "Utf8 AND Boolean" in str(error)
else:
    raise AssertionError("the predicate without brackets works")
merge("(t.a IS NOT DISTINCT FROM s.a) AND (t.b IS NOT DISTINCT FROM s.b)")
rows = DeltaTable(uri).to_pyarrow_table().sort_by("b")
print("with brackets:", rows["label"].to_pylist())
assert rows["label"].to_pylist() == ["new", "old"]
PYTHON
"$folder/venv/bin/python" "$folder/merge.py" "$folder/table"
