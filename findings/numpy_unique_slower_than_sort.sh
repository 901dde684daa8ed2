#!/bin/sh
# np.unique of an integer array is slower than sorting it, by far, where most values are distinct.
#
# Guess before: np.unique is a sort and a comparison of neighbours, as its documentation long said;
# doing that by hand gains nothing.
# Seen with numpy 2.4.6 (Linux x86_64, CPython 3.11): for 1,000,000 random int64 np.unique takes 40 to
# 100 times as long as np.sort and np.diff, with the same values. It fills a hash table first, and sorts
# what is in it. With return_counts=True it sorts, and takes about as long as the sort by hand. numpy
# 2.2.6 sorts in both cases.
# Fails when numpy 2.4.6 here is less than 5 times slower, or the values differ.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/compare.py" <<'PYTHON'
import sys
import time

import numpy as np

values = np.random.default_rng(0).integers(0, 2**62, 1_000_000)


def seconds(function):
    times = []
    for _ in range(3):
        started = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - started)
    return min(times), result


def by_hand():
    ordered = np.sort(values)
    return ordered[np.diff(ordered, prepend=-1) != 0]


sort_s, expected = seconds(by_hand)
unique_s, found = seconds(lambda: np.unique(values))
counts_s, (counted, _) = seconds(lambda: np.unique(values, return_counts=True))
assert np.array_equal(expected, found) and np.array_equal(expected, counted)
print(
    f"numpy {np.__version__}: sort and diff {sort_s:.3f} s, np.unique {unique_s / sort_s:.1f} times "
    f"that, with return_counts {counts_s / sort_s:.1f} times"
)
low, high = map(float, sys.argv[1:])
assert low <= unique_s / sort_s <= high, "np.unique has changed"
PYTHON
for version in "2.4.6 5 100000" "2.2.6 0 5"; do
    set -- $version
    python3 -m venv "$folder/$1"
    "$folder/$1/bin/pip" install --quiet --disable-pip-version-check "numpy==$1"
    "$folder/$1/bin/python" "$folder/compare.py" "$2" "$3"
done
