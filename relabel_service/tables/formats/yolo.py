"""YOLO: a folder of pictures, and for each a text file of boxes in shares of its size.

Class names come from data.yaml, classes.txt or obj.names at the folder or above it. A line that
nobody changed comes back as it was, polygons and further columns with it; boxes of polygons are
what they span. Refuses to guess a picture's size: every one that has boxes must be there.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from relabel_service.errors import InvalidInput
from relabel_service.tables import files
from relabel_service.tables.formats import boxes, media
from relabel_service.tables.formats.base import (
    BOXES,
    MEDIA,
    ORIGINAL,
    ImportOptions,
    Origin,
    Table,
    details_of,
    in_batches,
    origin_of,
    require,
    with_origin,
)
from relabel_service.tables.formats.parquet import refuse_splits
from relabel_service.tasks.boxes import Box

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
YAMLS = ("data.yaml", "data.yml", "dataset.yaml")
LISTS = ("classes.txt", "obj.names", "labels.txt")
MAX_PARENTS = 3  # from images/train up to data.yaml, with one to spare
Json = dict[str, Any]


class Yolo:
    name = "yolo"
    about = "YOLO: a folder of pictures and text files of boxes, polygons too"

    def looks_like(self, path: str) -> bool:
        if not files.is_folder(path):
            return False
        names = files.names_under(path, *PICTURES)
        _, names_file = _root(path)
        folder = files.join(path, names[0]) if names else ""
        return bool(names) and (names_file != "" or files.is_file(_label_file(folder)))

    def read(self, path: str, options: ImportOptions) -> pa.RecordBatchReader:
        pictures = files.names_under(path, *PICTURES)
        if not pictures:
            raise InvalidInput.of("path", f"{path!r} holds no pictures; give the folder of them")
        refuse_splits(path, pictures, example="images/train")
        root, names_file = _root(path)
        text = files.content(names_file).decode("utf-8") if names_file else ""
        names = _class_names(names_file, text)
        below = path.rstrip("/").removeprefix(root).strip("/")
        details: Json = {
            "names_file": names_file.removeprefix(root).strip("/"),
            "names_text": text,
            "pose": "kpt_shape" in text,
        }
        schema = with_origin(
            [
                pa.field("file_name", pa.string()),
                pa.field("image", MEDIA),
                pa.field("label", BOXES),
                pa.field(ORIGINAL, pa.string()),
            ],
            Origin(self.name, details=details),
        )
        rows = (
            _row(root, f"{below}/{name}".strip("/"), names, details["pose"], options)
            for name in pictures
        )
        return in_batches(rows, schema, num_bytes=lambda row: media.num_bytes(row["image"]))

    def write(self, table: Table, path: str) -> None:
        require(table.schema, "yolo", "image", "label")
        details = details_of(table.schema, self.name)
        text, names_file = details.get("names_text", ""), details.get("names_file", "classes.txt")
        names = _class_names(names_file, text)
        num_known = len(names)
        origin = origin_of(table.schema)
        original = origin.original if origin and details else ""
        number = 0
        for batch in table.batches():
            for row in batch.to_pylist():
                number += 1
                kept = json.loads(row[original]) if row.get(original) else _new(row, number)
                _write_row(path, row, kept, names, bool(details.get("pose")))
        if names_file:
            grown = text if len(names) == num_known else _with_names(names_file, text, names)
            files.write(files.inside(path, names_file), grown.encode())


def _root(path: str) -> tuple[str, str]:
    """The folder that names are relative to, and its file of class names; empty without one."""
    folder = path.rstrip("/")
    for _ in range(MAX_PARENTS + 1):
        for name in (*YAMLS, *LISTS):
            if files.is_file(files.join(folder, name)):
                return folder, files.join(folder, name)
        if "/" not in folder.partition("://")[2] and "/" not in folder.strip("/"):
            break
        folder = files.parent(folder)
    return path.rstrip("/"), ""


def _class_names(names_file: str, text: str) -> list[str]:
    """Class names by number. Raises InvalidInput where the file does not say them."""
    if not names_file.endswith((".yaml", ".yml")):
        return [line.strip() for line in text.splitlines() if line.strip()]
    found = _yaml(names_file, text).get("names")
    if isinstance(found, dict):
        found = [found.get(number) for number in range(len(found))]
    if not isinstance(found, list) or not all(isinstance(name, str | int) for name in found):
        raise InvalidInput.of(
            "path", f"{names_file!r} has no names as a list, or by numbers from 0; write them so"
        )
    return [str(name) for name in found]


def _yaml(names_file: str, text: str) -> Json:
    try:
        import yaml
    except ImportError:
        raise InvalidInput.of(
            "path", f"{names_file!r} needs PyYAML; pip install 'relabel-service[formats]'"
        ) from None
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput.of("path", f"{names_file!r} is not YAML: {error}") from None
    return found if isinstance(found, dict) else {}


def _with_names(names_file: str, text: str, names: Sequence[str]) -> str:
    """The file of class names with the classes that answers added."""
    if not names_file.endswith((".yaml", ".yml")):
        return "".join(f"{name}\n" for name in names)
    import yaml

    told = _yaml(names_file, text)
    told |= {"names": dict(enumerate(names)) if isinstance(told["names"], dict) else list(names)}
    if "nc" in told:
        told["nc"] = len(names)
    return str(yaml.safe_dump(told, sort_keys=False, allow_unicode=True))


def _label_file(picture: str) -> str:
    """Where a picture's boxes are: beside it, or under labels/ where it is under images/."""
    parts = list(PurePosixPath(picture).parts)
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        parts[last] = "labels"
    return str(PurePosixPath(*parts).with_suffix(".txt"))


def _row(
    root: str, picture: str, names: Sequence[str], pose: bool, options: ImportOptions
) -> Mapping[str, Any]:
    label_file = _label_file(picture)
    where = files.join(root, label_file)
    lines = None
    if files.is_file(where):
        lines = [line for line in files.content(where).decode().splitlines() if line.strip()]
    embedded = media.value(root, picture, ImportOptions(embed=True))
    size = media.size(embedded)
    if size is None and lines:
        raise InvalidInput.of(
            "path", f"{picture!r} is not a readable picture, and its boxes are shares of its size"
        )
    found = [_box(where, line, names, size or (1, 1), pose) for line in lines or ()]
    return {
        "file_name": picture,
        "image": embedded if options.embed else media.value(root, picture, options),
        "label": boxes.to_row(found),
        ORIGINAL: json.dumps(
            {"picture": picture, "labels": label_file, "lines": lines, "size": size},
            ensure_ascii=False,
        ),
    }


def _box(where: str, line: str, names: Sequence[str], size: tuple[int, int], pose: bool) -> Box:
    """The box of a line: class x y width height, or class and a polygon's points."""
    parts = line.split()
    try:
        number, shares = int(parts[0]), [float(part) for part in parts[1:]]
        if len(shares) < 4 or (names and not 0 <= number < len(names)):
            raise ValueError
    except ValueError:
        raise InvalidInput.of(
            "path",
            f"{where!r} has the line {line[:60]!r}; YOLO's are a class from 0 to "
            f"{len(names) - 1 if names else 'N'}, x, y, width and height, or a polygon",
        ) from None
    if _is_polygon(shares, pose):
        xs, ys = shares[0::2], shares[1::2]
        corners = (min(xs), min(ys), max(xs), max(ys))
    else:
        x, y, width, height = shares[:4]
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    name = names[number] if names else str(number)
    scaled = (share * size[axis % 2] for axis, share in enumerate(corners))
    return Box(name, *scaled)


def _is_polygon(shares: Sequence[float], pose: bool) -> bool:
    return len(shares) >= 6 and len(shares) % 2 == 0 and not pose


def _new(row: Json, number: int) -> Json:
    """Where a row of another origin goes, and its picture's size."""
    name = row.get("file_name") or media.file_name(row["image"], number)
    picture = f"images/{name.rpartition('/')[2]}"
    return {
        "picture": picture,
        "labels": _label_file(picture),
        "lines": None,
        "size": media.size(row["image"]),
    }


def _write_row(path: str, row: Json, kept: Json, names: list[str], pose: bool) -> None:
    """Write a row's text file, and its picture where the table holds its bytes."""
    lines = kept["lines"] or []
    size = kept["size"]
    present = boxes.from_row(row["label"])
    if present and size is None:
        raise InvalidInput.of(
            "table",
            f"{kept['picture']!r} cannot be read, and YOLO's boxes are shares of its size; import "
            "pictures with their bytes",
        )
    were = [_box(kept["labels"], line, names, size, pose) for line in lines]
    written = [_line(one, lines, size, names, pose) for one in boxes.pair(were, present)]
    if written or kept["lines"] is not None:
        files.write(
            files.inside(path, kept["labels"]), "".join(f"{line}\n" for line in written).encode()
        )
    if held := media.data(row["image"]):
        files.write(files.inside(path, kept["picture"]), held)


def _line(
    one: boxes.Paired, lines: Sequence[str], size: Sequence[int], names: list[str], pose: bool
) -> str:
    number = _class_number(one.box.class_name, names)
    parts = lines[one.was].split() if one.was is not None else [""]
    if not one.moved:
        return " ".join([number, *parts[1:]]) if one.renamed else lines[one.was or 0]
    box = one.box
    shares = (
        (box.x_min + box.x_max) / 2 / size[0],
        (box.y_min + box.y_max) / 2 / size[1],
        (box.x_max - box.x_min) / size[0],
        (box.y_max - box.y_min) / size[1],
    )
    is_polygon = _is_polygon([0.0] * (len(parts) - 1), pose)
    further = [] if is_polygon else parts[5:]
    return " ".join([number, *(f"{share:.6f}" for share in shares), *further])


def _class_number(name: str, names: list[str]) -> str:
    """The class's number; names grow by classes that answers added. Without names, numbers are."""
    if not names and name.isdigit():
        return name
    if name not in names:
        names.append(name)
    return str(names.index(name))
