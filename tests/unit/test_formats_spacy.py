"""spaCy's DocBin comes in, and goes back as it was but for what was decided."""

from pathlib import Path
from typing import Any

import pytest
from spacy.tokens import Doc, DocBin, Span
from spacy.vocab import Vocab

from relabel_service.errors import InvalidInput
from tests.support.imported import Imported

ATTRS = ["ORTH", "LEMMA", "ENT_IOB", "ENT_TYPE", "ENT_KB_ID", "SPACY"]


def entities(vocab: Vocab) -> list[Doc]:
    first = Doc(
        vocab, words=["Ann", "Lee", "left", "Rome", "."], lemmas=["a", "l", "leave", "r", "."]
    )
    rome = first.char_span(13, 17, label="LOC", kb_id="Q220")
    assert rome is not None
    first.set_ents([Span(first, 0, 2, label="PER"), rome])
    first.user_data["source"] = "news"
    second = Doc(vocab, words=["no", "one"])
    second.set_ents([])
    return [first, second]


def categories(vocab: Vocab) -> list[Doc]:
    docs = [Doc(vocab, words=[word, "!"]) for word in ("good", "bad", "odd")]
    for doc, scores in zip(docs, [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)], strict=True):
        doc.cats = dict(zip(("POS", "NEG"), scores, strict=True))
    return docs


def write(path: Path, docs: list[Doc], **options: Any) -> Path:
    DocBin(docs=docs, store_user_data=True, **options).to_disk(path)
    return path


def told(path: Path) -> list[dict[str, Any]]:
    return [
        {
            "text": doc.text,
            "ents": [(e.start, e.end, e.label_, e.kb_id_) for e in doc.ents],
            "cats": doc.cats,
            "lemmas": [token.lemma_ for token in doc],
            "user": doc.user_data,
            "missing": [token.ent_iob for token in doc],
        }
        for doc in DocBin().from_disk(path).get_docs(Vocab())
    ]


@pytest.mark.parametrize("make", [entities, categories])
def test_a_docbin_comes_back_as_it_was(tmp_path: Path, make: Any) -> None:
    path = write(tmp_path / "a.spacy", make(Vocab()), attrs=ATTRS)
    table = Imported(path, tmp_path)
    table.shuffle()
    back = table.export("b.spacy")
    assert told(back) == told(path)
    assert DocBin().from_disk(back).attrs == DocBin().from_disk(path).attrs


def test_a_decided_entity_changes_that_entity_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.spacy", entities(Vocab()), attrs=ATTRS)
    table = Imported(path, tmp_path)
    assert table.rows[0]["label"] == ["B-PER", "I-PER", "O", "B-LOC", "O"]
    table.decide("token_classification", 0, '[[0,2,"ORG"],[3,4,"LOC"]]')
    expected = told(path)
    expected[0]["ents"][0] = (0, 2, "ORG", "")
    assert told(table.export("b.spacy")) == expected


def test_a_decided_category_changes_that_document_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.spacy", categories(Vocab()))
    table = Imported(path, tmp_path)
    assert [row["label"] for row in table.rows] == ["POS", "NEG", None]
    assert "1 documents are of no category or of several" in table.output
    table.decide("text_classification", 0, "NEG")
    expected = told(path)
    expected[0]["cats"] = {"POS": 0.0, "NEG": 1.0}
    assert told(table.export("b.spacy")) == expected


def test_what_is_no_docbin_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.spacy").write_bytes(b"text")
    with pytest.raises(InvalidInput, match="is not a DocBin"):
        Imported(tmp_path / "a.spacy", tmp_path)
    write(tmp_path / "b.spacy", [Doc(Vocab(), words=["a"])])
    with pytest.raises(InvalidInput, match="has neither entities nor categories"):
        Imported(tmp_path / "b.spacy", tmp_path)
