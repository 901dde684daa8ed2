"""Rebuild ner/wikinews from the source package. From the repository's root:

    pip download --no-deps --no-binary hironsancorpus -d build hironsancorpus==0.1.2
    python -m tests.data.build_wikinews build/hironsancorpus-0.1.2.tar.gz

Gold is the source's tags; labels lack, rename, cut short and invent entities by rule.
"""

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.data import packages, slices

SENTENCES = "hironsancorpus-0.1.2/hironsan/corpus/iob_sents.txt"
SHA256 = "fc55bffe080deea3b63f9923cd33ee9a96b500a997d5719b4a5c03d216ef2a3e"
LICENCE = """The annotation is in the Python package hironsancorpus 0.1.2 by Hironsan. Its metadata
state "License: MIT" (License :: OSI Approved :: MIT License); it holds no licence text.
The sentences are from the Japanese edition of Wikinews, whose texts of that time are under
Creative Commons Attribution 2.5: https://creativecommons.org/licenses/by/2.5/
Changes made here: part-of-speech columns left out, two tags repaired, errors planted in `label`.

The MIT License:

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

TARGET = slices.FOLDER / "ner" / "wikinews"
SHARES = {"train": 75, "dev": 10, "test": 15}
NAMES = {"PSN": "person", "LOC": "place", "ORG": "organization", "ART": "artefact"}
NAMES |= {"DAT": "date", "TIM": "time", "MON": "money", "PER": "percent"}
CONFUSED = {"place": "organization", "organization": "place", "artefact": "organization"}
CONFUSED |= {"person": "artefact", "date": "time", "time": "date"}
MISSING, RENAMED, CUT = 10, 8, 6  # percent of entities
INVENTED = 8  # percent of sentences
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("tokens", pa.list_(pa.string())),
        pa.field("label", pa.list_(pa.string())),
        pa.field("gold", pa.list_(pa.string())),
    ]
)


def main(sdist: Path) -> None:
    text = packages.member(sdist, SENTENCES, sha256=SHA256).decode()
    rows: list[dict[str, Any]] = []
    for number, block in enumerate(block for block in text.split("\n\n") if block.strip()):
        words = [line.split("\t") for line in block.strip("\n").split("\n")]
        item_id = f"wikinews-{number:03}"
        gold = _repaired([word[-1] for word in words])
        rows.append(
            {
                "id": item_id,
                "tokens": [word[0] for word in words],
                "label": _spoil(item_id, gold),
                "gold": gold,
            }
        )
    slices.write(TARGET, rows, SCHEMA, SHARES)
    (TARGET / "LICENSE.txt").write_text(LICENCE)


def _repaired(tags: list[str]) -> list[str]:
    """Class names spelt out, and every entity begun with B: two in the source are not."""
    repaired: list[str] = []
    before = "O"
    for tag in tags:
        place, _, name = tag.partition("-")
        if place == "I" and before.partition("-")[2] != name:
            place = "B"
        repaired.append(f"{place}-{NAMES[name]}" if name else place)
        before = tag
    return repaired


def _spoil(item_id: str, gold: list[str]) -> list[str]:
    """The tags as a careless person might have left them."""
    tags = list(gold)
    for start, end in _entities(gold):
        fate = slices.draw(f"{item_id} fate {start}", 100)
        name = gold[start][2:]
        if fate < MISSING:
            tags[start:end] = ["O"] * (end - start)
        elif fate < MISSING + RENAMED:
            tags[start:end] = [
                tag.replace(name, CONFUSED.get(name, name)) for tag in gold[start:end]
            ]
        elif fate < MISSING + RENAMED + CUT and end - start > 1:
            tags[end - 1] = "O"
    if slices.draw(f"{item_id} invent", 100) < INVENTED:
        outside = [place for place, tag in enumerate(gold) if tag == "O"]
        place = outside[slices.draw(f"{item_id} where", len(outside))]
        tags[place] = "B-" + sorted(CONFUSED)[slices.draw(f"{item_id} what", len(CONFUSED))]
    return tags


def _entities(tags: list[str]) -> list[tuple[int, int]]:
    """First place and the place after the last, of each entity."""
    starts = [place for place, tag in enumerate(tags) if tag.startswith("B-")]
    found = []
    for start in starts:
        end = start + 1
        while end < len(tags) and tags[end].startswith("I-"):
            end += 1
        found.append((start, end))
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
