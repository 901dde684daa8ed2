"""CSV, JSON lines and CoNLL come in, and go back as they were but for what was decided."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from relabel_service.cli.formats import NAMES
from relabel_service.errors import AlreadyExists, InvalidInput, NotFound
from relabel_service.tables.formats import FORMATS, guess, store
from relabel_service.tables.formats.conll import BILOU, IOB1, IOB2, IOBES, spans_of, tags_of
from relabel_service.tasks.spans import Span
from tests.support.imported import Imported, relabel

Write = Callable[[str, str | bytes], Path]

CSV = """id,text,label,price,version,count,note
007,"one, two",ham,1.50,1.1,3,
008,"a ""quoted"" text
of two lines",spam,2.25,1.10,,NA
009,ünïcode,ham,3.00,1.9,-4,null
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return written


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(text.splitlines(keepends=True)))


def test_csv_comes_back_as_it_was(write: Write, tmp_path: Path) -> None:
    table = Imported(write("a.csv", CSV), tmp_path)
    assert table.output == f"{table.uri}: 3 rows of csv\n"
    first = table.rows[0]
    assert (first["id"], first["price"], first["version"]) == ("007", 1.5, "1.1")
    assert [row["count"] for row in table.rows] == [3, None, -4]
    assert [row["note"] for row in table.rows] == ["", "NA", "null"]
    table.shuffle()
    assert cells(table.export("b.csv").read_text()) == cells(CSV)


def test_a_decided_label_of_csv_changes_that_label_alone(write: Write, tmp_path: Path) -> None:
    table = Imported(write("a.csv", CSV), tmp_path)
    table.decide("text_classification", 1, "ham")
    was, now = cells(CSV), cells(table.export("b").read_text())
    assert now[2][2] == "ham"
    was[2][2] = "ham"
    assert now == was


@pytest.mark.parametrize(
    "text",
    [
        "text;label\r\n1,5;a\r\n2,5;b\r\n",
        "text\tlabel\nx\ty\n",
        "\ufefftext,label\n1e5,True\n",
        '\ufeffid;text\r\n1;"a; b\nc ""q"""\r\n',
        "row_number,text\n5,a\n6,b\n",
    ],
)
def test_dialects_of_csv_are_kept(write: Write, tmp_path: Path, text: str) -> None:
    table = Imported(write("a.csv", text), tmp_path)
    assert table.export("b.csv").read_text("utf-8").splitlines() == text.splitlines()
    ends = [b"\r\n" in path.read_bytes() for path in (tmp_path / "a.csv", tmp_path / "b.csv")]
    assert ends[0] == ends[1]


def test_an_empty_line_of_one_column_is_an_empty_value(write: Write, tmp_path: Path) -> None:
    rows = Imported(write("a.csv", "text\na\n\nb\n"), tmp_path).rows
    assert [row["text"] for row in rows] == ["a", "", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("a,a\n1,2\n", "names column 'a' twice"),
        ("a,b\n1,2\n1,2,3\n", "is not CSV with ',' between columns"),
        (b"a,b\n1,\xe4\n", "is not (CSV|UTF-8)"),
    ],
)
def test_what_is_not_csv_is_refused(write: Write, tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Imported(write("a.csv", text), tmp_path)


JSONL: list[dict[str, Any]] = [
    {"id": 1, "text": "a", "label": "x", "meta": {"by": "ann", "when": "2020-01-01"}},
    {"text": "b", "id": 2, "label": "y"},
    {"id": 3, "text": None, "label": "x", "meta": {"by": None}, "score": 1, "mixed": 1},
    {"id": 4, "text": "é", "label": "x", "score": 1.5, "mixed": "one", "empty": [], "none": {}},
]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_json_lines_come_back_as_they_were(write: Write, tmp_path: Path) -> None:
    path = write("a.jsonl", "\n".join(json.dumps(line) for line in JSONL))
    table = Imported(path, tmp_path)
    assert table.schema.field("meta").type == pa.struct(
        [("by", pa.string()), ("when", pa.string())]
    )
    table.shuffle()
    back = table.export("b.jsonl")
    assert lines_of(back) == JSONL
    assert [list(line) for line in lines_of(back)] == [list(line) for line in JSONL]
    assert [type(line.get("score")) for line in lines_of(back)[2:]] == [int, float]


def test_a_decided_label_of_json_lines_changes_that_label_alone(
    write: Write, tmp_path: Path
) -> None:
    table = Imported(write("a.jsonl", "\n".join(map(json.dumps, JSONL))), tmp_path)
    table.decide("text_classification", 1, "z")
    table.decide("text_classification", 3, "z")
    expected = [dict(line) for line in JSONL]
    expected[1]["label"] = expected[3]["label"] = "z"
    assert lines_of(table.export("b.jsonl")) == expected


def test_json_lines_keep_whole_number_classes(write: Write, tmp_path: Path) -> None:
    table = Imported(
        write("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n'), tmp_path
    )
    table.decide("text_classification", 0, "0")
    assert lines_of(table.export("b.jsonl")) == [
        {"text": "a", "label": 0},
        {"text": "b", "label": 0},
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1}\n{"a": \n', "line 2 of .* is not JSON"),
        ('{"a": 1}\n[1]\n', "line 2 of .* is not an object"),
        (b'{"a": "\xe4"}\n', "is not UTF-8 text"),
        (r'{"a": "\ud83d"}', "in lines 1 to 1 of .*half of a character"),
    ],
)
def test_what_is_not_json_lines_is_refused(
    write: Write, tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        Imported(write("a.jsonl", text), tmp_path)


CONLL = {
    IOB1: """-DOCSTART- -X- -X- O

EU NNP B-NP I-ORG
rejects VBZ B-VP O
German JJ B-NP I-MISC
French JJ B-NP B-MISC
call NN I-NP O
. . O O

# NN B-NP O
Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER

-DOCSTART- -X- -X- O

Rome NNP B-NP I-LOC
""",
    IOB2: "# id = 1\nEU\tB-ORG\nrejects\tO\nGerman\tB-MISC\nFrench\tB-MISC\n\n\nMr X\tB-PER\n",
    IOBES: "EU S-ORG\r\nPeter B-PER\r\nvan I-PER\r\nBlack E-PER\r\n\r\nRome S-LOC\r\n",
    BILOU: "1\tEU\tNN\tU-ORG\n2\tPeter\tNN\tB-PER\n3\tBlack\tNN\tL-PER\n\n1\tno\tNN\tO\n",
}


@pytest.mark.parametrize("scheme", CONLL)
def test_conll_comes_back_byte_by_byte(write: Write, tmp_path: Path, scheme: str) -> None:
    path = write("a.conll", CONLL[scheme])
    table = Imported(path, tmp_path)
    table.shuffle()
    assert table.export("b.conll").read_bytes() == path.read_bytes()


def test_conll_tags_are_read_as_bio(write: Write, tmp_path: Path) -> None:
    table = Imported(write("a.txt", CONLL[IOB1]), tmp_path)
    first, second, _ = table.rows
    assert first["tokens"] == ["EU", "rejects", "German", "French", "call", "."]
    assert first["label"] == ["B-ORG", "O", "B-MISC", "B-MISC", "O", "O"]
    assert second["tokens"][0] == "#"
    table = Imported(write("b.conll", CONLL[BILOU]), tmp_path / "other")
    assert table.rows[0]["tokens"] == ["EU", "Peter", "Black"]
    assert table.rows[0]["label"] == ["B-ORG", "B-PER", "I-PER"]


@pytest.mark.parametrize(
    ("scheme", "was", "now"),
    [
        (IOB1, "Rome NNP B-NP I-LOC", "Rome NNP B-NP I-ORG"),
        (IOB2, "Mr X\tB-PER", "Mr X\tB-ORG"),
        (IOBES, "Rome S-LOC", "Rome S-ORG"),
        (BILOU, "1\tno\tNN\tO", "1\tno\tNN\tU-ORG"),
    ],
)
def test_a_decided_span_is_written_in_the_scheme_read(
    write: Write, tmp_path: Path, scheme: str, was: str, now: str
) -> None:
    table = Imported(write("a.conll", CONLL[scheme]), tmp_path)
    table.decide("token_classification", len(table.rows) - 1, '[[0,1,"ORG"]]')
    written = table.export("b.conll").read_bytes().decode()
    assert written == CONLL[scheme].replace(was, now)


def test_a_sentence_of_strange_tags_comes_back_where_nobody_changed_it(
    write: Write, tmp_path: Path
) -> None:
    text = "a I-X\nb B-X\nc I-Y\n\nd B-X\ne O\n"  # IOB2 but for two I- that begin
    table = Imported(write("a.conll", text), tmp_path)
    assert table.rows[0]["label"] == ["B-X", "B-X", "B-Y"]
    table.decide("token_classification", 1, '[[0,2,"X"]]')
    assert table.export("b.conll").read_text() == text.replace("e O", "e I-X")


@pytest.mark.parametrize("scheme", [IOB1, IOB2, IOBES, BILOU])
def test_every_scheme_writes_what_it_reads(scheme: str) -> None:
    entities = [Span(0, 1, "A"), Span(1, 3, "A"), Span(3, 4, "B-C"), Span(6, 9, "A")]
    assert spans_of(tags_of(entities, 10, scheme)) == entities


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a B-X\nb\n", "line 2 of .* a token, spaces or a tab"),
        ("a B-X\nb X\n", "line 2 of .* ends in 'X', which is not a tag"),
        ("\n\n", "holds no sentences"),
    ],
)
def test_what_is_not_conll_is_refused(write: Write, tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Imported(write("a.conll", text), tmp_path)


def test_a_table_of_other_origin_is_written_as_asked(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"tokens": [["a", "b"]], "label": [["B-X", "O"]]}), tmp_path / "a.parquet"
    )
    relabel("export", tmp_path / "a.parquet", tmp_path / "b.conll", "--format", "conll")
    assert (tmp_path / "b.conll").read_text() == "a B-X\nb O\n"
    with pytest.raises(InvalidInput, match="was not imported; use one of"):
        relabel("export", tmp_path / "a.parquet", tmp_path / "c")
    with pytest.raises(InvalidInput, match="which CSV cannot hold"):
        relabel("export", tmp_path / "a.parquet", tmp_path / "c", "--format", "csv")
    assert not (tmp_path / "c").exists()


def test_a_table_larger_than_a_bucket_is_put_in_order(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BATCH_BYTES", 2_000)
    text = "".join(f"t{number},x\n" for number in range(20_000))
    table = Imported(write("a.csv", f"text,label\n{text}"), tmp_path)
    table.shuffle()
    added = pa.table({"text": ["new"], "label": ["y"]})
    write_deltalake(table.uri, added, mode="append", schema_mode="merge")
    assert table.export("b.csv").read_text() == f"text,label\n{text}new,y\n"


def test_a_path_that_cannot_be_written_is_told(write: Write, tmp_path: Path) -> None:
    path = write("a.csv", CSV)
    table = Imported(path, tmp_path)
    with pytest.raises(InvalidInput, match=r"cannot be written \(.*check the address"):
        relabel("export", table.uri, path / "below.csv")


def test_nothing_is_written_over(write: Write, tmp_path: Path) -> None:
    path = write("a.csv", CSV)
    table = Imported(path, tmp_path)
    with pytest.raises(AlreadyExists, match="name another"):
        relabel("import", path, table.uri)
    with pytest.raises(AlreadyExists, match="name another"):
        relabel("export", table.uri, path)


def test_an_unknown_format_and_a_missing_file_are_told(write: Write, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="use one of huggingface, parquet"):
        relabel("import", write("a.csv", CSV), tmp_path / "t", "--format", "xls")
    with pytest.raises(NotFound, match="there is no file or folder"):
        relabel("import", tmp_path / "b.csv", tmp_path / "t")
    with pytest.raises(InvalidInput, match=r"looks like none of .* by --format"):
        relabel("import", write("a.bin", "?"), tmp_path / "t")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [("a.csv", CSV, "csv"), ("a.jsonl", '{"a": 1}', "jsonl"), ("a.txt", CONLL[IOB1], "conll")],
)
def test_formats_are_guessed(write: Write, name: str, text: str, expected: str) -> None:
    assert guess(str(write(name, text))) is FORMATS[expected]


def test_the_command_names_every_format() -> None:
    assert tuple(FORMATS) == NAMES
