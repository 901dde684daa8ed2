"""Rebuild object_detection/digit_scenes from the source package. From the repository's root:

    pip download --no-deps -d build scikit-learn==1.9.1
    python -m tests.data.build_digit_scenes build/scikit_learn-1.9.1-*.whl

Real handwritten digits, two or three times their size, on patchy ground.
Gold boxes are exact; labels lack, move, misname and invent boxes by rule.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tests.data import handwriting, png, slices

TARGET = slices.FOLDER / "object_detection" / "digit_scenes"
SHARES = {"train": 70, "dev": 10, "test": 20}
CLASSES = ("0", "1", "4")
NUM_SCENES = 300
SIZE = 64  # pixels a side
PATCH = 4  # pixels a side of a patch of the ground
PATCH_SHADES = (0, 16, 32, 48)
MISSING, MISNAMED, MOVED, INVENTED = 10, 8, 8, 12  # percent: of boxes; INVENTED of scenes

BOX = pa.struct(
    [
        pa.field("label", pa.string()),
        *(pa.field(side, pa.float32()) for side in ("x0", "y0", "x1", "y1")),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("image", pa.binary()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("label", pa.list_(BOX)),
        pa.field("gold", pa.list_(BOX)),
    ]
)

Box = dict[str, Any]
Pictures = dict[str, list[npt.NDArray[np.uint8]]]


def main(wheel: Path) -> None:
    ink, digits = handwriting.read(wheel)
    pictures: Pictures = {name: [] for name in CLASSES}
    for picture, digit in zip(ink, digits, strict=True):
        if digit in pictures:
            pictures[digit].append(picture)
    rows = [_row(f"scene-{number:03}", pictures) for number in range(NUM_SCENES)]
    slices.write(TARGET, rows, SCHEMA, SHARES)
    (TARGET / "LICENSE.txt").write_bytes(handwriting.licence(wheel))


def _row(item_id: str, pictures: Pictures) -> dict[str, Any]:
    pixels = np.zeros((SIZE, SIZE), np.uint8)
    gold: list[Box] = []
    for turn in range(3 + slices.draw(f"{item_id} count", 5)):
        _place(pixels, gold, f"{item_id} {turn}", pictures)
    return {
        "id": item_id,
        "image": png.encode(np.maximum(pixels, _ground(item_id))),
        "width": SIZE,
        "height": SIZE,
        "label": _spoil(item_id, gold),
        "gold": gold,
    }


def _ground(item_id: str) -> npt.NDArray[np.uint8]:
    """Patches of dark shades, [SIZE, SIZE]."""
    patches = SIZE // PATCH
    drawn = np.random.default_rng(slices.draw(f"{item_id} ground", 2**32))
    shades = drawn.choice(np.array(PATCH_SHADES, np.uint8), (patches, patches))
    return np.kron(shades, np.ones((PATCH, PATCH), np.uint8))


def _place(pixels: npt.NDArray[np.uint8], boxes: list[Box], key: str, pictures: Pictures) -> None:
    """Draw one digit where it touches no other, or none where the drawn place is taken."""
    name = CLASSES[slices.draw(f"{key} class", len(CLASSES))]
    picture = pictures[name][slices.draw(f"{key} picture", len(pictures[name]))]
    scale = 2 + slices.draw(f"{key} scale", 2)
    drawn = np.kron(picture, np.ones((scale, scale), np.uint8))
    left, top = (slices.draw(f"{key} {side}", SIZE - len(drawn) + 1) for side in ("x", "y"))
    rows, columns = np.nonzero(drawn)
    box = {
        "label": name,
        "x0": float(left + columns.min()),
        "y0": float(top + rows.min()),
        "x1": float(left + columns.max() + 1),
        "y1": float(top + rows.max() + 1),
    }
    if not any(_touch(box, other) for other in boxes):
        pixels[top : top + len(drawn), left : left + len(drawn)] |= drawn
        boxes.append(box)


def _touch(one: Box, other: Box) -> bool:
    return bool(
        one["x0"] <= other["x1"]
        and other["x0"] <= one["x1"]
        and one["y0"] <= other["y1"]
        and other["y0"] <= one["y1"]
    )


def _spoil(item_id: str, gold: list[Box]) -> list[Box]:
    """The boxes as a careless person might have left them."""
    label: list[Box] = []
    for turn, box in enumerate(gold):
        fate = slices.draw(f"{item_id} fate {turn}", 100)
        if fate < MISSING:
            continue
        if fate < MISSING + MISNAMED:
            others = [name for name in CLASSES if name != box["label"]]
            box = box | {"label": others[slices.draw(f"{item_id} name {turn}", len(others))]}
        elif fate < MISSING + MISNAMED + MOVED:
            box = _moved(box)
        label.append(box)
    if slices.draw(f"{item_id} invent", 100) < INVENTED:
        label.append(_invented(item_id))
    return label


def _moved(box: Box) -> Box:
    """Shifted by a quarter of its size, towards the picture's middle."""
    shifted = dict(box)
    for low, high in (("x0", "x1"), ("y0", "y1")):
        way = 1 if box[low] + box[high] < SIZE else -1
        step = way * round(0.25 * (box[high] - box[low]))
        shifted[low], shifted[high] = box[low] + step, box[high] + step
    return shifted


def _invented(item_id: str) -> Box:
    name = CLASSES[slices.draw(f"{item_id} invented", len(CLASSES))]
    left, top = (float(slices.draw(f"{item_id} invented {side}", SIZE - 16)) for side in "xy")
    return {"label": name, "x0": left, "y0": top, "x1": left + 16, "y1": top + 16}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
