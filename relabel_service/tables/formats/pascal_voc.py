"""Pascal VOC: a folder of pictures, and an XML file of objects for each.

Corners are taken as the files have them (VOC counts pixels from 1, most tools from 0: the task
allows both). A file that nobody changed comes back byte by byte; in others, only changed objects
differ.
The standard library parses: expat stops the expansion of entities, and none is fetched.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
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
from relabel_service.tasks.boxes import Box

SIDES = ("xmin", "ymin", "xmax", "ymax")
KEPT = pa.struct([pa.field("file", pa.string()), pa.field("xml", pa.binary())])
Json = dict[str, Any]


class PascalVoc:
    name = "voc"
    about = "Pascal VOC: a folder of pictures and an XML file for each"

    def looks_like(self, path: str) -> bool:
        if not files.is_folder(path):
            return False
        found = files.names_under(path, ".xml")
        return bool(found) and b"<annotation" in files.head(files.join(path, found[0]))

    def read(self, path: str, options: ImportOptions) -> pa.RecordBatchReader:
        names = files.names_under(path, ".xml")
        if not names:
            raise InvalidInput.of("path", f"{path!r} holds no XML files; give VOC's folder")
        pictures = options.media or path
        places = {name.rpartition("/")[2]: name for name in files.names_under(pictures)}
        schema = with_origin(
            [
                pa.field("file_name", pa.string()),
                pa.field("image", MEDIA),
                pa.field("label", BOXES),
                pa.field(ORIGINAL, KEPT),
            ],
            Origin(self.name, details={"has": "xml"}),
        )
        rows = (_row(path, name, pictures, places, options) for name in names)
        return in_batches(rows, schema, num_bytes=lambda row: media.num_bytes(row["image"]))

    def write(self, table: Table, path: str) -> None:
        require(table.schema, "voc", "image", "label")
        origin = origin_of(table.schema)
        original = origin.original if details_of(table.schema, self.name) and origin else ""
        number = 0
        for batch in table.batches():
            for row in batch.to_pylist():
                number += 1
                kept = row.get(original)
                _write_row(path, row, kept or _new(row, number), is_new=kept is None)


def _row(
    path: str,
    name: str,
    pictures: str,
    places: Mapping[str, str],
    options: ImportOptions,
) -> Mapping[str, Any]:
    xml = files.content(files.join(path, name))
    root = _parsed(name, xml)
    file_name = (root.findtext("filename") or "").strip()
    if not file_name:
        raise InvalidInput.of("path", f"{name!r} has no filename; VOC names each picture")
    base = file_name.replace("\\", "/").rpartition("/")[2]
    return {
        "file_name": file_name,
        "image": media.value(pictures, places.get(base, base), options),
        "label": boxes.to_row(_box(name, one) for one in _objects(root)),
        ORIGINAL: {"file": name, "xml": xml},
    }


def _parsed(name: str, xml: bytes) -> ET.Element:
    try:
        builder = ET.TreeBuilder(insert_comments=True)
        return ET.fromstring(xml, ET.XMLParser(target=builder))
    except ET.ParseError as error:
        raise InvalidInput.of("path", f"{name!r} is not XML: {error}; fix the file") from None


def _objects(root: ET.Element) -> list[ET.Element]:
    """The objects that have a box; others (points, polygons) are left alone."""
    return [one for one in root.findall("object") if one.find("bndbox") is not None]


def _box(name: str, one: ET.Element) -> Box:
    texts = [one.findtext(f"bndbox/{side}") for side in SIDES]
    try:
        corners = [float(text or "") for text in texts]
    except ValueError:
        raise InvalidInput.of(
            "path", f"{name!r} has a bndbox of {texts}; VOC's are {', '.join(SIDES)}, numbers"
        ) from None
    return Box((one.findtext("name") or "").strip(), *corners)


def _new(row: Json, number: int) -> Json:
    """The file of a row of another origin."""
    name = row.get("file_name") or media.file_name(row["image"], number)
    base = name.rpartition("/")[2]
    root = ET.Element("annotation")
    ET.SubElement(root, "folder").text = "JPEGImages"
    ET.SubElement(root, "filename").text = base
    if size := media.size(row["image"]):
        told = ET.SubElement(root, "size")
        for key, value in zip(("width", "height", "depth"), (*size, 3), strict=True):
            ET.SubElement(told, key).text = str(value)
    stem = base.rpartition(".")[0] or base
    return {"file": f"Annotations/{stem}.xml", "xml": ET.tostring(root)}


def _write_row(path: str, row: Json, kept: Json, *, is_new: bool) -> None:
    root = _parsed(kept["file"], kept["xml"])
    objects = _objects(root)
    were = [_box(kept["file"], one) for one in objects]
    paired = boxes.pair(were, boxes.from_row(row["label"]))
    is_changed = len(paired) != len(were) or any(one.moved or one.renamed for one in paired)
    xml = kept["xml"]
    if is_changed:
        _change(root, objects, paired)
        declares = xml.lstrip().startswith(b"<?xml")
        xml = ET.tostring(root, encoding="utf-8", xml_declaration=declares)
    files.write(files.inside(path, kept["file"]), xml)
    if held := media.data(row["image"]):
        where = media.address(row["image"])
        if is_new or where is None:
            where = f"JPEGImages/{root.findtext('filename')}"
        files.write(files.inside(path, where), held)


def _change(
    root: ET.Element, objects: Sequence[ET.Element], paired: Sequence[boxes.Paired]
) -> None:
    """Change, remove and add objects as the boxes say."""
    kept = {one.was for one in paired}
    for number, element in enumerate(objects):
        if number not in kept:
            root.remove(element)
    for one in paired:
        element = objects[one.was] if one.was is not None else _added(root)
        if one.renamed:
            _text(element, "name", one.box.class_name)
        if one.moved:
            for side, value in zip(SIDES, one.box.corners, strict=True):
                _text(element, f"bndbox/{side}", f"{round(value, 2):g}")


def _added(root: ET.Element) -> ET.Element:
    element = ET.SubElement(root, "object")
    element.tail = "\n"
    for name, value in (("name", ""), ("pose", "Unspecified"), ("truncated", "0")):
        ET.SubElement(element, name).text = value
    ET.SubElement(element, "difficult").text = "0"
    corners = ET.SubElement(element, "bndbox")
    for side in SIDES:
        ET.SubElement(corners, side)
    return element


def _text(element: ET.Element, path: str, value: str) -> None:
    found = element.find(path)
    assert found is not None, path
    found.text = value
