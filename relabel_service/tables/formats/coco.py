"""COCO detection: one JSON of images, annotations and categories.

A row is an image with its boxes. What COCO says beyond that (ids, masks, crowds, licences, the
order of annotations) is kept in `original`, and the file's other parts in the origin. Annotations
stand in no order, so they wait in a temporary SQLite file: memory stays flat. Where the path to
write is not that of a JSON file, it is a folder of one and of the pictures that the table holds.
"""

import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
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
from relabel_service.tables.formats.json_stream import JsonStream
from relabel_service.tasks.boxes import Box

STREAMED = ("images", "annotations")
SUFFIXES = (".json", ".json.gz")
WRITTEN, PICTURES = "annotations/instances_default.json", "images/default"  # as CVAT has them
Json = dict[str, Any]
_dumps = json.JSONEncoder(ensure_ascii=False).encode


class Coco:
    name = "coco"
    about = "COCO detection: one JSON file of images, annotations and categories"

    def looks_like(self, path: str) -> bool:
        if not path.lower().endswith(SUFFIXES):
            return False
        head = files.head(path)
        return head.lstrip()[:1] == b"{" and any(
            f'"{key}"'.encode() in head for key in (*STREAMED, "categories")
        )

    def read(self, path: str, options: ImportOptions) -> pa.RecordBatchReader:
        spill = _Spill()
        try:
            header, order = _load(path, spill)
            names = _category_names(header.get("categories") or [])
            spill.check(path, names)
            details = {"header": header, "order": order, "last_id": spill.last_id}
        except BaseException:
            spill.close()
            raise
        id_type = pa.int64() if spill.ids_are_whole else pa.string()
        folder = options.media or _pictures_of(path)

        def rows() -> Iterator[Json]:
            with closing(spill):
                for image, annotations in spill.images():
                    row = _row(image, annotations, names, folder=folder, options=options)
                    if not spill.ids_are_whole and not isinstance(row["id"], str):
                        row["id"] = _dumps(row["id"])
                    yield row

        origin = Origin(self.name, details=details)
        return boxes.reader(rows(), origin, original=pa.string(), id_type=id_type)

    def write(self, table: Table, path: str) -> None:
        require(table.schema, "coco", "label")
        if "image" not in table.schema.names and "file_name" not in table.schema.names:
            require(table.schema, "coco", "image")
        details = details_of(table.schema, self.name)
        writer = _Writer(details)
        if not details:
            writer.add_categories(boxes.classes_of(table))
        if path.lower().endswith(SUFFIXES):
            _write_file(table, writer, path, pictures="")
            return
        with files.created_folder(path) as folder:
            _write_file(table, writer, f"{folder}/{WRITTEN}", pictures=f"{folder}/{PICTURES}")


def _write_file(table: Table, writer: "_Writer", path: str, *, pictures: str) -> None:
    """The JSON, and the pictures into a folder where one is given."""
    with _later() as annotations, files.created_text(path) as stream:
        stream.write("{")
        for key in (key for key in writer.order if key not in ("annotations", "categories")):
            stream.write(f"{_dumps(key)}: ")
            if key == "images":
                _write_array(stream, writer.images(table, annotations, pictures=pictures))
            else:
                stream.write(_dumps(writer.header[key]))
            stream.write(", ")
        stream.write('"annotations": ')
        _write_array(stream, annotations.in_order())
        # Last, as an answer may have named a class that the file did not have.
        stream.write(f', "categories": {_dumps(writer.categories)}}}\n')


def _pictures_of(path: str) -> str:
    """The folder of a file's pictures: its own, or beside annotations/ as COCO and CVAT have it."""
    folder = files.parent(path)
    if folder.rpartition("/")[2] == "annotations":
        split = path.rpartition("/")[2].partition("_")[2].partition(".")[0]
        for place in (f"images/{split}", split, "images"):
            if split and files.is_folder(found := files.join(files.parent(folder), place)):
                return found
    return folder


NO_BOX = "annotations state no bbox (captions, masks alone): they are kept beside the labels"


def _row(
    image_text: str,
    annotations: Sequence[tuple[int, str]],
    names: Mapping[Any, str],
    *,
    folder: str,
    options: ImportOptions,
) -> Json:
    image: Json = json.loads(image_text)
    found = [_box(json.loads(text), names) for _, text in annotations]
    if num_without := found.count(None):
        options.notes[NO_BOX] += num_without
    places = ", ".join(f"[{place}, {text}]" for place, text in annotations)
    if "id" not in image or not isinstance(image.get("file_name"), str):
        raise InvalidInput.of(
            "path", f"image {_dumps(image)[:100]} has no id and file_name; COCO needs both"
        )
    return {
        "id": image["id"],
        "file_name": image["file_name"],
        "image": media.value(folder, image["file_name"], options),
        "label": boxes.to_row(box for box in found if box is not None),
        ORIGINAL: f'{{"image": {image_text}, "annotations": [{places}]}}',
    }


def _box(annotation: Json, names: Mapping[Any, str]) -> Box | None:
    """The annotation's box in corners; None where it states none (a caption, a mask alone)."""
    bbox = annotation.get("bbox")
    if not bbox or "category_id" not in annotation:
        return None
    try:
        x, y, width, height = map(float, bbox)
    except (TypeError, ValueError):
        raise InvalidInput.of(
            "path",
            f"annotation {annotation.get('id')!r} has bbox {bbox!r}; COCO's are [x, y, width, "
            "height] in pixels",
        ) from None
    return Box(names[annotation["category_id"]], x, y, x + width, y + height)


def _category_names(categories: Sequence[Json]) -> dict[Any, str]:
    """Category id -> class name; those of one name are told apart by their ids."""
    counts: dict[str, int] = {}
    for category in categories:
        if not (
            isinstance(category, dict)
            and isinstance(category.get("id"), int | str)
            and isinstance(category.get("name"), str)
        ):
            raise InvalidInput.of(
                "categories",
                f"holds {category!r}; COCO's categories have an id and a name, a text",
            )
        counts[category["name"]] = counts.get(category["name"], 0) + 1
    return {
        category["id"]: category["name"]
        if counts[category["name"]] == 1
        else f"{category['name']} #{category['id']}"
        for category in categories
    }


def _load(path: str, spill: "_Spill") -> tuple[Json, list[str]]:
    """All of the file but images and annotations, which go to the spill; and its keys in order."""
    header: Json = {}
    order: list[str] = []
    try:
        with files.text(path) as stream:
            reader = JsonStream(stream, path)
            for key in reader.pairs():
                order.append(key)
                if key in STREAMED:
                    spill.add(key, reader.array())
                else:
                    header[key] = reader.value()
            reader.end()
    except UnicodeDecodeError as error:
        raise files.not_utf8(path, error) from None
    if missing := [key for key in STREAMED if key not in order]:
        raise InvalidInput.of(
            "path", f"{path!r} has no {' and no '.join(missing)}; COCO has both, and categories"
        )
    return header, order


class _Spill:
    """Images and annotations of a file on disk, to be joined there."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._sql = _database(f"{self._folder.name}/coco.db")
        for table in STREAMED:
            self._sql.execute(
                f"CREATE TABLE {table} (image TEXT, category TEXT, id TEXT, body TEXT)"
            )
        self.last_id = 0
        self.ids_are_whole = True

    def add(self, key: str, found: Iterator[tuple[str, Any]]) -> None:
        self._sql.execute("BEGIN")
        self._sql.executemany(f"INSERT INTO {key} VALUES (?, ?, ?, ?)", self._lines(key, found))
        self._sql.execute("COMMIT")

    def check(self, path: str, names: Mapping[Any, str]) -> None:
        """Raises InvalidInput where an annotation is of no image or of no category."""
        self._sql.execute("CREATE INDEX by_image ON annotations (image)")
        self._sql.execute("CREATE INDEX by_id ON images (image)")
        for image, number in self._sql.execute(
            "SELECT image, count(*) FROM images GROUP BY image HAVING count(*) > 1 LIMIT 1"
        ):
            raise InvalidInput.of("path", f"{path!r} has image {image} {number} times; once each")
        for annotation, image in self._sql.execute(
            "SELECT id, image FROM annotations WHERE image NOT IN"
            " (SELECT image FROM images) LIMIT 1"
        ):
            raise InvalidInput.of(
                "path",
                f"annotation {annotation} of {path!r} is of image {image}, which the file does not "
                "list; add the image, or drop the annotation",
            )
        known = {_dumps(key) for key in names}
        for (category,) in self._sql.execute("SELECT DISTINCT category FROM annotations"):
            if category is not None and category not in known:
                raise InvalidInput.of(
                    "path",
                    f"{path!r} has annotations of category {category}, which its categories do "
                    "not list; add it there",
                )

    def images(self) -> Iterator[tuple[str, list[tuple[int, str]]]]:
        """Each image in the file's order, with its annotations and their places in the file: the
        texts of both."""
        for image_id, body in self._sql.execute("SELECT image, body FROM images ORDER BY rowid"):
            found = self._sql.execute(
                "SELECT rowid, body FROM annotations WHERE image = ? ORDER BY rowid", (image_id,)
            )
            yield body, found.fetchall()

    def close(self) -> None:
        self._sql.close()
        self._folder.cleanup()

    def _lines(self, key: str, found: Iterator[tuple[str, Any]]) -> Iterator[tuple[Any, ...]]:
        for text, one in found:
            if not isinstance(one, dict):
                raise InvalidInput.of(key, f"holds {one!r}; COCO has objects there")
            own_id = one.get("id")
            if key == "images":
                self.ids_are_whole &= isinstance(own_id, int) and -(2**63) <= own_id < 2**63
                yield _dumps(own_id), None, None, text
                continue
            if isinstance(own_id, int):
                self.last_id = max(self.last_id, own_id)
            category = _dumps(one["category_id"]) if "category_id" in one else None
            yield _dumps(one.get("image_id")), category, _dumps(own_id), text


class _Later:
    """Annotations by their place in the file, on disk until the images are written."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql
        sql.execute("CREATE TABLE annotations (place INTEGER, body TEXT)")

    def add(self, place: int | None, annotation: Json) -> None:
        self._sql.execute("INSERT INTO annotations VALUES (?, ?)", (place, _dumps(annotation)))

    def in_order(self) -> Iterator[str]:
        for (body,) in self._sql.execute(
            "SELECT body FROM annotations ORDER BY place IS NULL, place, rowid"
        ):
            yield body


@contextmanager
def _later() -> Iterator[_Later]:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(_database(f"{folder}/later.db")) as sql,
    ):
        sql.execute("BEGIN")
        yield _Later(sql)


def _database(path: str) -> sqlite3.Connection:
    """A database that need not outlive the process; deltalake reads from a thread of its own."""
    sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    sql.execute("PRAGMA journal_mode=OFF")
    sql.execute("PRAGMA synchronous=OFF")
    return sql


class _Writer:
    """Rows back to images and annotations; categories grow by the classes that answers name."""

    def __init__(self, details: Mapping[str, Any]) -> None:
        self.header: Json = dict(details.get("header", {}))
        self.order: Sequence[str] = details.get("order", STREAMED)
        self.categories: list[Json] = list(self.header.get("categories") or [])
        self.names = _category_names(self.categories)
        self._ids = {name: key for key, name in self.names.items()}
        self._last_id = int(details.get("last_id", 0))
        self._image_ids: set[Any] = set()
        self._file_names = media.FileNames()
        self._written: set[str] = set()

    def add_categories(self, names: Iterable[str]) -> None:
        for name in names:
            self._category(name)

    def images(self, table: Table, annotations: _Later, *, pictures: str) -> Iterator[str]:
        for number, (row, original) in enumerate(kept_rows(table, Coco.name), 1):
            kept = json.loads(original) if original else {"annotations": []}
            image = kept["image"] if original else self._new_image(row, number)
            self._image_ids.add(image["id"])
            if pictures and (held := media.data(row.get("image"))):
                self._refuse_again(image["file_name"])
                files.write(files.inside(pictures, image["file_name"]), held)
            yield _dumps(image)
            self._annotations(row, image["id"], kept["annotations"], annotations)

    def _new_image(self, row: Json, number: int) -> Json:
        """COCO's image of a row that came from elsewhere: its own id, if a number and free."""
        own_id, file_name = row.get("id"), row.get("file_name")
        if not isinstance(own_id, int) or own_id in self._image_ids:
            own_id = number
            while own_id in self._image_ids:
                own_id += 1
        size = media.size(row.get("image"))
        return {
            "id": own_id,
            "file_name": file_name or self._file_names.of_row(row, number),
            **({"width": size[0], "height": size[1]} if size else {}),
        }

    def _refuse_again(self, name: str) -> None:
        if name in self._written:
            raise InvalidInput.of(
                "table",
                f"names the file {name!r} in two rows; rename one, or export to a path that ends "
                "in .json, which is written without pictures",
            )
        self._written.add(name)

    def _annotations(
        self, row: Json, image_id: Any, were: Sequence[tuple[int, Json]], annotations: _Later
    ) -> None:
        with_box = []
        for place, annotation in were:
            box = _box(annotation, self.names)
            if box is None:
                annotations.add(place, annotation)
            else:
                with_box.append((place, annotation, box))
        present = boxes.from_row(row["label"])
        for paired in boxes.pair([box for _, _, box in with_box], present):
            if paired.was is None:
                annotations.add(None, self._new(paired.box, image_id))
            else:
                place, annotation, was = with_box[paired.was]
                annotations.add(place, self._changed(annotation, was, paired))

    def _changed(self, annotation: Json, was: Box, paired: boxes.Paired) -> Json:
        """The annotation with another class or place; a mask that somebody drew stays."""
        annotation = dict(annotation)
        if paired.renamed:
            annotation["category_id"] = self._category(paired.box.class_name)
        if paired.moved:
            if annotation.get("segmentation") in _outlines(was):
                annotation["segmentation"] = _outlines(paired.box)[0]
            if annotation.get("area") == annotation["bbox"][2] * annotation["bbox"][3]:
                annotation["area"] = _area(paired.box)
            annotation["bbox"] = _bbox(paired.box)
        return annotation

    def _new(self, box: Box, image_id: Any) -> Json:
        self._last_id += 1
        return {
            "id": self._last_id,
            "image_id": image_id,
            "category_id": self._category(box.class_name),
            "bbox": _bbox(box),
            "area": _area(box),
            "iscrowd": 0,
            "segmentation": [],
        }

    def _category(self, name: str) -> Any:
        if name not in self._ids:
            whole = [key for key in self.names if isinstance(key, int)]
            self._ids[name] = max(whole, default=0) + 1
            self.names[self._ids[name]] = name
            self.categories.append({"id": self._ids[name], "name": name, "supercategory": ""})
        return self._ids[name]


def _bbox(box: Box) -> list[float]:
    return [
        _number(value)
        for value in (box.x_min, box.y_min, box.x_max - box.x_min, box.y_max - box.y_min)
    ]


def _area(box: Box) -> float:
    return _number(box.area)


def _number(value: float) -> float:
    """Hundredths of a pixel; whole numbers without a fraction, as COCO's tools write them."""
    rounded = round(value, 2)
    return int(rounded) if rounded == int(rounded) else rounded


def _outlines(box: Box) -> list[list[list[float]]]:
    """A box as the polygons that tools write where nobody drew a mask."""
    x0, y0, x1, y1 = map(_number, box.corners)
    return [[[x0, y0, x1, y0, x1, y1, x0, y1]], [[x0, y0, x0, y1, x1, y1, x1, y0]]]


def _write_array(stream: Any, texts: Iterator[str]) -> None:
    stream.write("[")
    for number, one in enumerate(texts):
        stream.write((",\n" if number else "\n") + one)
    stream.write("]")
