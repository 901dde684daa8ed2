"""Pascal VOC: a folder of pictures, and an XML file of objects for each.

Corners are taken as the files have them (VOC counts pixels from 1, most tools from 0: the task
allows both). A file that nobody changed comes back byte by byte; in others, only changed objects
differ. Lists of pictures (ImageSets) and labelmap.txt come back; not lists that say labels
themselves, as cat_train.txt does. A picture that ImageSets/Main lists and that has no XML file is
one without objects.
The standard library parses: expat stops the expansion of entities, and none is fetched.
"""

import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import takewhile
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
from relabel_service.tasks.boxes import Box

SIDES = ("xmin", "ymin", "xmax", "ymax")
KEPT = pa.struct([pa.field("file", pa.string()), pa.field("xml", pa.binary())])
ROOT = re.compile(rb"<annotation[\s>]")  # not <annotations>, as CVAT's own format begins
SETS, MAIN, LABEL_MAP = "ImageSets/", "ImageSets/Main/", "labelmap.txt"
ANNOTATIONS, PICTURES = "Annotations/", "JPEGImages"
SAYS_LABEL = re.compile(r"\S\s+(-1|0|1)\s*$")  # a line of cat_train.txt, beside the picture
LABEL_MAP_HEAD = "# label:color_rgb:parts:actions\n"
Json = dict[str, Any]


class PascalVoc:
    name = "voc"
    about = "Pascal VOC: a folder of pictures and an XML file for each"

    def looks_like(self, path: str) -> bool:
        if not files.is_folder(path):
            return False
        found = files.names_under(path, ".xml")
        return bool(found) and bool(ROOT.search(files.head(files.join(path, found[0]))))

    def read(self, path: str, options: ImportOptions) -> pa.RecordBatchReader:
        names = files.names_under(path, ".xml")
        if not names:
            raise InvalidInput.of("path", f"{path!r} holds no XML files; give VOC's folder")
        lists = dict(_lists(path))
        places = _Places(options.media or path)
        listed = {
            _listed(line)
            for name, text in lists.items()
            if name.startswith(MAIN)
            for line in text.splitlines()
        }

        def rows() -> Iterator[Json]:
            for name in names:
                yield _row(path, name, places, options)
            if others := listed.difference(map(_stem, names)):
                by_stem = places.by_stem()
                for stem in sorted(others & by_stem.keys()):
                    yield _without_objects(stem, by_stem[stem], places, options)

        origin = Origin(self.name, details={"has": "xml", "lists": lists})
        return boxes.reader(rows(), origin, original=KEPT)

    def write(self, table: Table, path: str) -> None:
        require(table.schema, "voc", "image", "label")
        details = details_of(table.schema, self.name)
        names, stems, classes = media.FileNames(), list[str](), dict[str, None]()
        with files.created_folder(path) as folder:
            for number, (row, kept) in enumerate(kept_rows(table, self.name), 1):
                is_new = kept is None
                if is_new:
                    kept = _new(row, names.of_row(row, number))
                else:
                    names.take(_stem(kept["file"]) + ".xml")
                stems.append(_stem(kept["file"]))
                present = boxes.from_row(row["label"])
                _write_row(folder, row, kept, present, is_new=is_new)
                classes.update(dict.fromkeys(box.class_name for box in present))
            lists = details.get("lists", {}) if details else {
                LABEL_MAP: LABEL_MAP_HEAD, f"{MAIN}train.txt": "".join(f"{one}\n" for one in stems)
            }  # fmt: skip
            for name, text in _present(lists, set(stems), classes):
                files.write(files.inside(folder, name), text.encode())


class _Places:
    """Where the pictures are, below a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._by_base: dict[str, list[PurePosixPath]] = defaultdict(list)
        for name in files.names_under(folder):
            if not name.endswith((".xml", ".txt")):
                found = PurePosixPath(name)
                self._by_base[found.name].append(found)

    def of(self, xml: str, file_name: str) -> str:
        """The picture that an XML file names. Raises InvalidInput where it may be several."""
        named = PurePosixPath(file_name.replace("\\", "/"))
        folders = set(PurePosixPath(xml).parts[:-1])
        found = self._by_base.get(named.name, [])
        if not found:
            return named.name

        def nearness(one: PurePosixPath) -> tuple[int, int, int]:
            ends = zip(reversed(one.parts), reversed(named.parts), strict=False)
            as_named = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))
            return as_named, len(folders.intersection(one.parts)), -len(one.parts)

        best, *others = sorted(found, key=nearness, reverse=True)
        if others and nearness(others[0]) == nearness(best):
            raise InvalidInput.of(
                "path",
                f"{xml!r} is of the picture {file_name!r}, which may be {str(best)!r} or "
                f"{str(others[0])!r}; import their folders one at a time, or rename one",
            )
        return str(best)

    def by_stem(self) -> dict[str, str]:
        """Pictures by their names without suffix, and by those with the folders above them."""
        found: dict[str, str] = {}
        for one in (one for some in self._by_base.values() for one in some):
            parts = one.with_suffix("").parts
            for first in range(len(parts)):
                found.setdefault("/".join(parts[first:]), str(one))
        return found


def _row(path: str, name: str, places: _Places, options: ImportOptions) -> Json:
    xml = files.content(files.join(path, name))
    root = _parsed(name, xml)
    file_name = (root.findtext("filename") or "").strip()
    if not file_name:
        raise InvalidInput.of("path", f"{name!r} has no filename; VOC names each picture")
    return {
        "file_name": file_name,
        "image": media.value(places.folder, places.of(name, file_name), options),
        "label": boxes.to_row(_box(name, one) for one in _objects(root)),
        ORIGINAL: {"file": name, "xml": xml},
    }


def _without_objects(stem: str, picture: str, places: _Places, options: ImportOptions) -> Json:
    """The row of a picture that has no XML file."""
    return {
        "file_name": stem + PurePosixPath(picture).suffix,
        "image": media.value(places.folder, picture, options),
        "label": [],
        ORIGINAL: {"file": f"{ANNOTATIONS}{stem}.xml", "xml": None},
    }


def _stem(name: str) -> str:
    """What lists call the picture of an XML file."""
    return name.removeprefix(ANNOTATIONS).removesuffix(".xml")


def _lists(path: str) -> Iterator[tuple[str, str]]:
    """Lists of pictures by their names, and labelmap.txt."""
    for name in files.names_under(path, ".txt"):
        if name == LABEL_MAP or name.startswith(SETS):
            text = files.whole_text(files.join(path, name))
            lines = [line for line in text.splitlines() if line.strip()]
            if name == LABEL_MAP or not all(map(SAYS_LABEL.search, lines)):
                yield name, text


def _listed(line: str) -> str:
    return line.strip().strip('"')


def _present(
    lists: Mapping[str, str], stems: Set[str], classes: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """The lists, of the pictures that are there; labelmap.txt with all classes."""
    for name, text in lists.items():
        lines = text.splitlines(keepends=True)
        if name == LABEL_MAP:
            known = {line.partition(":")[0] for line in lines}
            lines += [f"{one}:::\n" for one in classes if one not in known]
            yield name, "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
        elif kept := "".join(line for line in lines if _listed(line) in stems):
            yield name, kept


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


def _new(row: Json, file_name: str) -> Json:
    """The file of a row of another origin, or of a picture that had none."""
    root = ET.Element("annotation")
    ET.SubElement(root, "folder").text = PICTURES
    ET.SubElement(root, "filename").text = file_name
    if size := media.size(row["image"]):
        told = ET.SubElement(root, "size")
        for key, value in zip(("width", "height", "depth"), (*size, 3), strict=True):
            ET.SubElement(told, key).text = str(value)
    stem = file_name.rpartition(".")[0] or file_name
    return {"file": f"{ANNOTATIONS}{stem}.xml", "xml": ET.tostring(root)}


def _write_row(path: str, row: Json, kept: Json, present: Sequence[Box], *, is_new: bool) -> None:
    if kept["xml"] is None and present:
        kept = {**kept, "xml": _new(row, row["file_name"])["xml"]}
    where = None if is_new else media.address(row["image"])
    if kept["xml"] is not None:
        root = _parsed(kept["file"], kept["xml"])
        where = where or f"{PICTURES}/{root.findtext('filename')}"
        files.write(files.inside(path, kept["file"]), _changed_xml(kept, root, present))
    held = media.data(row["image"])
    if held and where:
        files.write(files.inside(path, where), held)


def _changed_xml(kept: Json, root: ET.Element, present: Sequence[Box]) -> bytes:
    """The XML file as it was where the boxes are; else with those that are present."""
    objects = _objects(root)
    were = [_box(kept["file"], one) for one in objects]
    paired = boxes.pair(were, present)
    xml: bytes = kept["xml"]
    if len(paired) == len(were) and not any(one.moved or one.renamed for one in paired):
        return xml
    _change(root, objects, paired)
    declares = xml.lstrip().startswith(b"<?xml")
    changed: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=declares)
    return changed


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
    if any(sign < " " for sign in value):
        raise InvalidInput.of(
            "table",
            f"has the class {value!r}, whose control characters XML and labelmap.txt cannot hold; "
            "rename it, or choose another --format (coco)",
        )
    found = element.find(path)
    assert found is not None, path
    found.text = value
