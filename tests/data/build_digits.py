"""Rebuild image_classification/digits from the source package. From the repository's root:

    pip download --no-deps -d build scikit-learn==1.9.1
    python -m tests.data.build_digits build/scikit_learn-1.9.1-*.whl

Gold is the source's digit; labels of look-alike digits are swapped by rule.
"""

import sys
from pathlib import Path

import pyarrow as pa

from tests.data import handwriting, png, slices

TARGET = slices.FOLDER / "image_classification" / "digits"
SHARES = {"train": 70, "dev": 10, "test": 20}
SWAP_PERCENT = 25
LOOK_ALIKE = {"1": "7", "7": "1", "3": "8", "8": "3", "4": "9", "9": "4", "5": "6", "6": "5"}
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("image", pa.binary()),
        pa.field("label", pa.string()),
        pa.field("gold", pa.string()),
    ]
)


def main(wheel: Path) -> None:
    pictures, digits = handwriting.read(wheel)
    rows = []
    for place, (picture, digit) in enumerate(zip(pictures, digits, strict=True)):
        item_id = f"digit-{place:04}"
        label = _label(item_id, digit)
        rows.append({"id": item_id, "image": png.encode(picture), "label": label, "gold": digit})
    slices.write(TARGET, rows, SCHEMA, SHARES)
    (TARGET / "LICENSE.txt").write_bytes(handwriting.licence(wheel))


def _label(item_id: str, digit: str) -> str:
    if slices.draw(f"swap {item_id}", 100) < SWAP_PERCENT:
        return LOOK_ALIKE.get(digit, digit)
    return digit


if __name__ == "__main__":
    main(Path(sys.argv[1]))
