#!/bin/sh
# DeltaTable.update(new_values=...) puts texts into SQL without escaping their quotes.
#
# Guess before: its documentation says "use Python objects instead of SQL strings", so that a text is
# written as it is, whatever it holds.
# Seen with deltalake 1.6.6 (Linux x86_64, CPython 3.11): "it's" fails as an unterminated string,
# "a'b'c" is written as "a" and "'quoted'" as "", both without an error, and "x' || secret || 'y" writes
# another column's value: whoever gives the text writes SQL.
# Fails when every text comes back as it was given.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check deltalake==1.6.6 pyarrow==26.0.1
cat > "$folder/update.py" <<'PYTHON'
import sys

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

wrong = 0
for number, text in enumerate(["plain", "it's", "a'b'c", "'quoted'", "x' || secret || 'y"]):
    uri = f"{sys.argv[1]}/{number}"
    write_deltalake(uri, pa.table({"id": ["a"], "text": ["old"], "secret": ["password"]}))
    try:
        DeltaTable(uri).update(predicate="id = 'a'", new_values={"text": text})
    except DeltaError as error:
        print(repr(text), "fails:", str(error).splitlines()[-1])
        wrong += 1
        continue
    [written] = DeltaTable(uri).to_pyarrow_table()["text"].to_pylist()
    print(repr(text), "is written as", repr(written))
    wrong += written != text
assert wrong, "every text comes back as it was given"
PYTHON
"$folder/venv/bin/python" "$folder/update.py" "$folder"
