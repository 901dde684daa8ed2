"""Rows a second and memory of import, format by format: python -m bench.import_formats

Each format gets a file of its usual kind made here, and is imported into a new Delta table by a
process of its own. Rows a second leave out the start of Python; MB is the process's peak. With
--rows four times as large, memory should stay where it was (spaCy's grows: it reads files whole).
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from relabel_service.tables.formats import FORMATS
from relabel_service.tables.formats.base import ImportOptions
from relabel_service.tables.formats.store import write_table

WORDS = [f"word{number}" for number in range(500)]


def words(number: int, count: int = 12) -> list[str]:
    return [WORDS[(number * 31 + place * 7) % len(WORDS)] for place in range(count)]


def lines(path: Path, texts: Iterator[str]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(texts)
    return path


def make_csv(folder: Path, rows: int) -> Path:
    made = (f'{n},"{" ".join(words(n))}",{WORDS[n % 4]},{n / 4:.2f}\n' for n in range(rows))
    return lines(folder / "a.csv", iter(["id,text,label,price\n", *made]))


def make_jsonl(folder: Path, rows: int) -> Path:
    return lines(
        folder / "a.jsonl",
        (
            json.dumps({"id": n, "text": " ".join(words(n)), "label": WORDS[n % 4], "by": ["ann"]})
            + "\n"
            for n in range(rows)
        ),
    )


def make_conll(folder: Path, rows: int) -> Path:
    def sentence(number: int) -> str:
        found = words(number)
        tags = ["B-PER", "I-PER", *["O"] * (len(found) - 2)]
        return "".join(f"{w} NN {tag}\n" for w, tag in zip(found, tags, strict=True)) + "\n"

    return lines(folder / "a.conll", map(sentence, range(rows)))


def box_results(number: int) -> list[list[float]]:
    return [[number % 50 + place, 10, 30.5, 40] for place in range(4)]


def make_coco(folder: Path, rows: int) -> Path:
    """Addresses, no pictures: what is measured is COCO, not a disk."""
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 640, "height": 480} for n in range(rows)]
    annotations = [
        {
            "id": 4 * n + place,
            "image_id": (n * 7919) % rows,
            "category_id": 1,
            "bbox": bbox,
            "area": 1220,
            "iscrowd": 0,
            "segmentation": [[1.5, 2, 3, 4, 5, 6]],
        }
        for n in range(rows)
        for place, bbox in enumerate(box_results(n))
    ]
    told = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}],
    }
    return lines(folder / "a.json", iter([json.dumps(told)]))


def make_label_studio(folder: Path, rows: int) -> Path:
    def task(number: int) -> str:
        value = {"choices": [WORDS[number % 4]]}
        result = {"value": value, "from_name": "c", "to_name": "text", "type": "choices"}
        annotation = {"id": number, "result": [result], "was_cancelled": False}
        return json.dumps(
            {"id": number, "data": {"text": " ".join(words(number))}, "annotations": [annotation]}
        )

    tasks = (("," if number else "[") + task(number) for number in range(rows))
    return lines(folder / "a.json", iter([*tasks, "]"]))


def picture() -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (64, 64)).save(data, "JPEG")
    return data.getvalue()


def make_yolo(folder: Path, rows: int) -> Path:
    data = picture()
    for name in ("images", "labels"):
        (folder / name).mkdir()
    (folder / "classes.txt").write_text("cat\ndog\n")
    for number in range(rows // 10):
        (folder / f"images/{number}.jpg").write_bytes(data)
        (folder / f"labels/{number}.txt").write_text("0 0.5 0.5 0.25 0.25\n" * 4)
    return folder


def make_voc(folder: Path, rows: int) -> Path:
    data = picture()
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
    one = f"<object><name>cat</name>{box}</object>"
    for number in range(rows // 10):
        (folder / f"{number}.jpg").write_bytes(data)
        (folder / f"{number}.xml").write_text(
            f"<annotation><filename>{number}.jpg</filename>{one * 4}</annotation>"
        )
    return folder


def make_spacy(folder: Path, rows: int) -> Path:
    from spacy.tokens import Doc, DocBin, Span
    from spacy.vocab import Vocab

    vocab, found = Vocab(), DocBin()
    for number in range(rows):
        document = Doc(vocab, words=words(number))
        document.set_ents([Span(document, 0, 2, label="PER")])
        found.add(document)
    found.to_disk(folder / "a.spacy")
    return folder / "a.spacy"


def make_parquet(folder: Path, rows: int, metadata: dict[str, str] | None = None) -> Path:
    schema = pa.schema(
        [("text", pa.string()), ("label", pa.int64()), ("tags", pa.list_(pa.int64()))],
        metadata=metadata,
    )
    with pq.ParquetWriter(folder / "a.parquet", schema) as writer:
        for start in range(0, rows, 10_000):
            part = range(start, min(start + 10_000, rows))
            columns = {
                "text": [" ".join(words(n)) for n in part],
                "label": [n % 4 for n in part],
                "tags": [[n % 3] * 12 for n in part],
            }
            writer.write_table(pa.table(columns, schema=schema))
    return folder / "a.parquet"


def make_huggingface(folder: Path, rows: int) -> Path:
    names = {"names": ["a", "b", "c", "d"], "_type": "ClassLabel"}
    features = {"label": names, "tags": {"feature": names, "_type": "List"}}
    return make_parquet(folder, rows, {"huggingface": json.dumps({"info": {"features": features}})})


MAKERS: dict[str, Callable[[Path, int], Path]] = {
    "csv": make_csv,
    "jsonl": make_jsonl,
    "conll": make_conll,
    "coco": make_coco,
    "label_studio": make_label_studio,
    "yolo": make_yolo,
    "voc": make_voc,
    "spacy": make_spacy,
    "parquet": make_parquet,
    "huggingface": make_huggingface,
}


def measure(format_name: str, path: str) -> None:
    """Import once, in this process, and print rows, seconds, CPU seconds and peak MB."""
    with tempfile.TemporaryDirectory() as folder:
        options = ImportOptions(embed=format_name != "coco")
        start, start_cpu = time.perf_counter(), time.process_time()
        rows = write_table(FORMATS[format_name].read(path, options), f"{folder}/table")
        seconds = time.perf_counter() - start
        cpu_seconds = time.process_time() - start_cpu
    print(json.dumps([rows, seconds, cpu_seconds, peak_mb()]))


def peak_mb() -> float:
    """This process's peak; getrusage would tell that of the process which started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="a tenth of them are pictures")
    parser.add_argument("--format", action="append", choices=list(MAKERS))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    chosen = arguments.format or list(MAKERS)
    if arguments.measure:
        measure(chosen[0], arguments.measure)
        return
    print("| format | rows | rows a second | rows a CPU second | peak MB |\n|---|---|---|---|---|")
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            path = MAKERS[name](Path(folder), arguments.rows)
            command = [sys.executable, "-m", __spec__.name, "--format", name, "--measure", path]
            done = subprocess.run(
                list(map(str, command)), check=True, capture_output=True, text=True
            )
            rows, seconds, cpu_seconds, peak = json.loads(done.stdout)
        speeds = f"{rows / seconds:,.0f} | {rows / cpu_seconds:,.0f}"
        print(f"| {name} | {rows:,} | {speeds} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
