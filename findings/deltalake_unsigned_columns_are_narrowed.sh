#!/bin/sh
# write_deltalake stores unsigned integers as signed ones of the same width, not of the next one.
#
# Guess before: Delta has no unsigned types, so uint8 becomes short, the smallest that holds its values.
# Seen with deltalake 1.6.6 (Linux x86_64, CPython 3.11): the column becomes byte; 100 is written, and
# with 200, a valid uint8, the write fails with a DeltaError.
# Fails when the column's type is another, or 200 can be written.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1
cat > "$folder/write.py" <<'PYTHON'
import sys

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

small, large = f"{sys.argv[1]}/small", f"{sys.argv[1]}/large"
write_deltalake(small, pa.table({"a": pa.array([100], pa.uint8())}))
[field] = DeltaTable(small).schema().fields
print("uint8 becomes", field.type)
assert "byte" in str(field.type)
try:
    write_deltalake(large, pa.table({"a": pa.array([200], pa.uint8())}))
except DeltaError as error:
    print("200:", str(error)[:200])
else:
    raise AssertionError("200 can be written")
PYTHON
"$folder/venv/bin/python" "$folder/write.py" "$folder"
