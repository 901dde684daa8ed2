"""YOLO: a folder of pictures, and for each a text file of boxes in shares of its size.

Class names come from data.yaml, classes.txt or obj.names at the folder or above it. A line that
nobody changed comes back as it was, polygons and further columns with it; boxes of polygons are
what they span. What lists the pictures (train.txt, Darknet's obj.data) comes back, too. Refuses to
guess a picture's size: every one that has boxes must be there.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from relabel_service.errors import InvalidInput
from relabel_service.tables import files
from relabel_service.tables.formats import boxes, media
from relabel_service.tables.formats.base import (
    ORIGINAL,
    ImportOptions,
    Origin,
    Table,
    details_of,
    kept_rows,
    require,
)
from relabel_service.tables.formats.parquet import refuse_splits
from relabel_service.tasks.boxes import Box

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
YAMLS = ("data.yaml", "data.yml", "dataset.yaml")
LISTS = ("classes.txt", "obj.names", "labels.txt")
LISTINGS = ("train.txt", "valid.txt", "val.txt", "test.txt")  # a picture's path a line
DARKNET = "obj.data"
MAX_PARENTS = 3  # from images/train up to data.yaml, with one to spare
NEW_FOLDER = "images/train"  # of pictures that come from elsewhere, as Ultralytics' own sets
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
        _refuse_shared_labels(path, pictures)
        root, names_file = _root(path)
        text = files.whole_text(names_file) if names_file else ""
        names = _class_names(names_file, text)
        below = path.rstrip("/").removeprefix(root).strip("/")
        details: Json = {
            "names_file": names_file.removeprefix(root).strip("/"),
            "names_text": text,
            "pose": "kpt_shape" in text,
            "listings": dict(_listings(root)),
        }
        rows = (
            _row(root, f"{below}/{name}".strip("/"), names, details["pose"], options)
            for name in pictures
        )
        return boxes.reader(rows, Origin(self.name, details=details), original=pa.string())

    def write(self, table: Table, path: str) -> None:
        require(table.schema, "yolo", "image", "label")
        details = details_of(table.schema, self.name)
        classes = _Classes.of(details) if details else _Classes(boxes.classes_of(table))
        names, pictures, where = media.FileNames(), list[str](), NEW_FOLDER
        with files.created_folder(path) as folder:
            for number, (row, original) in enumerate(kept_rows(table, self.name), 1):
                if original:
                    kept = json.loads(original)
                    where = files.parent(names.take(kept["picture"]))
                else:
                    kept = _new(row, names.of_row(row, number, where))
                _write_row(folder, row, kept, classes)
                pictures.append(kept["picture"])
            for name, text in classes.files(pictures):
                files.write(files.inside(folder, name), text.encode())


@dataclass
class _Classes:
    """Names by number, and what tells them and the pictures: they grow by classes that answers
    added. numbered: nothing tells names, and boxes have numbers alone."""

    names: list[str] = field(default_factory=list)
    file: str = ""
    text: str = ""
    pose: bool = False
    listings: Mapping[str, str] = field(default_factory=dict)
    numbered: bool = False

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> "_Classes":
        file, text = details["names_file"], details["names_text"]
        listings = details.get("listings", {})  # a table that an earlier release imported has none
        return cls(_class_names(file, text), file, text, details["pose"], listings, not file)

    def number(self, name: str) -> str:
        """The class's number. Raises InvalidInput where it can have none."""
        if self.numbered:
            if not name.isdecimal():
                raise InvalidInput.of(
                    "table",
                    f"has a box of the class {name!r}, and the folder that it came from has "
                    "numbers alone; add classes.txt with their names there, and import it again",
                )
            return name
        if name not in self.names:
            self.names.append(name)
        return str(self.names.index(name))

    def files(self, pictures: Sequence[str]) -> Iterator[tuple[str, str]]:
        """The files that tell the names and list the pictures."""
        if not self.file and not self.numbered:
            yield YAMLS[0], _new_yaml(self.names)
        elif self.file:
            grown = len(self.names) > len(_class_names(self.file, self.text))
            yield self.file, _with_names(self.file, self.text, self.names) if grown else self.text
        written = set(pictures)
        for name, text in self.listings.items():
            if name == DARKNET:
                count = str(len(self.names))
                yield name, re.sub(r"(?m)^(\s*classes\s*=\s*)\d+", rf"\g<1>{count}", text)
            else:
                lines = text.splitlines(keepends=True)
                kept = "".join(line for line in lines if _listed(line.strip(), written))
                if kept.strip() or not text.strip():  # not those of other splits
                    yield name, kept


def _listings(root: str) -> Iterator[tuple[str, str]]:
    for name in (DARKNET, *LISTINGS):
        if files.is_file(place := files.join(root, name)):
            yield name, files.whole_text(place)


def _listed(line: str, pictures: set[str]) -> bool:
    """Whether a line names one of the pictures, from wherever it counts the path."""
    parts = line.replace("\\", "/").split("/")
    return not line or any("/".join(parts[n:]) in pictures for n in range(len(parts)))


def _refuse_shared_labels(path: str, pictures: Sequence[str]) -> None:
    """Raises InvalidInput where two pictures would have one file of boxes."""
    seen: dict[str, str] = {}
    for name in pictures:
        other = seen.setdefault(_label_file(name), name)
        if other != name:
            raise InvalidInput.of(
                "path",
                f"{path!r} has {other!r} and {name!r}, whose boxes would both be in "
                f"{_label_file(name)!r}; rename one, or leave it out",
            )


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
        return [line.strip() for line in text.rstrip().splitlines()]  # a line has its number
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


def _new_yaml(names: Sequence[str]) -> str:
    """data.yaml as Ultralytics reads it: without a path, so that the others are relative to it."""
    lines = (
        f"  {number}: {json.dumps(name, ensure_ascii=False)}\n" for number, name in enumerate(names)
    )
    return (
        f"train: {NEW_FOLDER}\nval: {NEW_FOLDER}  # name pictures to validate on\n"
        f"nc: {len(names)}\nnames:{'' if names else ' {}'}\n{''.join(lines)}"
    )


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
        lines = [line for line in files.whole_text(where).splitlines() if line.strip()]
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
        if len(shares) < 4 or number < 0 or (names and number >= len(names)):
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


def _new(row: Json, picture: str) -> Json:
    """Where a row of another origin goes, and its picture's size."""
    return {
        "picture": picture,
        "labels": _label_file(picture),
        "lines": None,
        "size": media.size(row["image"]),
    }


def _write_row(path: str, row: Json, kept: Json, classes: _Classes) -> None:
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
    were = [_box(kept["labels"], line, classes.names, size, classes.pose) for line in lines]
    written = [_line(one, lines, size, classes) for one in boxes.pair(were, present)]
    if written or kept["lines"] is not None:
        files.write(
            files.inside(path, kept["labels"]), "".join(f"{line}\n" for line in written).encode()
        )
    if held := media.data(row["image"]):
        files.write(files.inside(path, kept["picture"]), held)


def _line(one: boxes.Paired, lines: Sequence[str], size: Sequence[int], classes: _Classes) -> str:
    number = classes.number(one.box.class_name)
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
    is_polygon = _is_polygon([0.0] * (len(parts) - 1), classes.pose)
    further = [] if is_polygon else parts[5:]
    return " ".join([number, *(f"{share:.6f}" for share in shares), *further])
