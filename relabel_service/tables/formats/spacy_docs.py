"""spaCy's DocBin (.spacy): documents with entities, or with categories.

Entities become tags of the document's tokens, categories the class that holds. The whole document
is kept, so that all else in it (parses, lemmas, span groups, user data) comes back. spaCy reads a
DocBin whole: this is the one format whose memory grows with the file.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from relabel_service.errors import InvalidInput
from relabel_service.tables import files
from relabel_service.tables.formats.base import (
    ORIGINAL,
    TAGS,
    ImportOptions,
    Origin,
    Table,
    details_of,
    in_batches,
    kept_rows,
    require_tokens,
    with_origin,
)
from relabel_service.tasks import spans
from relabel_service.tasks.spans import Span

if TYPE_CHECKING:
    from spacy.tokens import Doc

HOLDS = 0.5  # score from which a category holds
ENTITIES, CATEGORIES = "entities", "categories"
Json = dict[str, Any]


class SpacyDocs:
    name = "spacy"
    about = "spaCy's DocBin: entities, or categories"

    def looks_like(self, path: str) -> bool:
        return path.endswith(".spacy")

    def read(self, path: str, options: ImportOptions) -> pa.RecordBatchReader:
        doc_bin = _opened(path)
        kind = _kind(path, doc_bin.get_docs(_vocab()))
        details = {
            "attrs": [_attribute(number) for number in doc_bin.attrs],
            # Not store_user_data, which a read DocBin has as False (spaCy 3.8).
            "user_data": bool(doc_bin.user_data),
            "kind": kind,
        }
        schema = with_origin(
            [
                pa.field("text", pa.string()),
                pa.field("tokens", pa.list_(pa.string())),
                pa.field("label", TAGS if kind == ENTITIES else pa.string()),
                pa.field(ORIGINAL, pa.binary()),
            ],
            Origin(self.name, details=details),
        )
        rows = (_row(one, kind, options) for one in doc_bin.get_docs(_vocab()))
        return in_batches(rows, schema)

    def write(self, table: Table, path: str) -> None:
        require_tokens(table.schema, "spacy")
        details = details_of(table.schema, self.name)
        _require_spacy(path)
        from spacy.tokens import DocBin

        chosen = {"attrs": details["attrs"]} if details else {}
        doc_bin = DocBin(store_user_data=bool(details.get("user_data")), **chosen)
        vocab = _vocab()
        for row, original in kept_rows(table, self.name):
            doc_bin.add(_document(row, original, details.get("kind"), vocab))
        files.write(path, doc_bin.to_bytes())


def _require_spacy(path: str) -> None:
    try:
        import spacy  # noqa: F401
    except ImportError:
        raise InvalidInput.of(
            "path", f"{path!r} needs spaCy; pip install 'relabel-service[formats]'"
        ) from None


def _vocab() -> Any:
    from spacy.vocab import Vocab

    return Vocab()


def _opened(path: str) -> Any:
    _require_spacy(path)
    from spacy.tokens import DocBin

    data = files.content(path)
    try:
        return DocBin().from_bytes(data)
    except Exception as error:  # zlib's, msgpack's or a KeyError, as the bytes have it
        raise InvalidInput.of("path", f"{path!r} is not a DocBin ({error}); check it") from None


def _attribute(number: int) -> str:
    from spacy.attrs import IDS

    return next(str(name) for name, known in IDS.items() if known == number)


def _kind(path: str, documents: Iterable["Doc"]) -> str:
    """Whether the documents have entities or categories. Raises InvalidInput without either."""
    has_categories = False
    for document in documents:
        if document.has_annotation("ENT_IOB"):
            return ENTITIES
        has_categories |= bool(document.cats)
    if has_categories:
        return CATEGORIES
    raise InvalidInput.of(
        "path", f"{path!r} has neither entities nor categories; set doc.ents or doc.cats"
    )


def _row(document: "Doc", kind: str, options: ImportOptions) -> Mapping[str, Any]:
    label: Any = _category(document)
    if kind == ENTITIES:
        label = spans.to_bio(_spans(document), len(document))
    elif label is None:
        options.notes["documents are of no category or of several; their label is null"] += 1
    return {
        "text": document.text,
        "tokens": [token.text for token in document],
        "label": label,
        ORIGINAL: document.to_bytes(),
    }


def _spans(document: "Doc") -> list[Span]:
    return [Span(one.start, one.end, one.label_) for one in document.ents]


def _category(document: "Doc") -> str | None:
    holding = [name for name, score in document.cats.items() if score > HOLDS]
    return holding[0] if len(holding) == 1 else None


def _document(row: Json, kept: bytes | None, kind: str | None, vocab: Any) -> "Doc":
    """The row's document; its entities or category as they were where nobody changed them."""
    from spacy.tokens import Doc
    from spacy.tokens import Span as DocSpan

    if not kept and not all(row["tokens"] or [""]):
        raise InvalidInput.of(
            "table", f"holds the tokens {row['tokens']!r}; spaCy's are texts: fix or drop the row"
        )
    document = Doc(vocab).from_bytes(kept) if kept else Doc(vocab, words=row["tokens"])
    if kind == CATEGORIES or isinstance(row["label"], str):
        if row["label"] is not None and row["label"] != _category(document):
            document.cats = {**dict.fromkeys(document.cats, 0.0), row["label"]: 1.0}
        return document
    entities = spans.from_bio(row["label"] or [])
    if entities != _spans(document) or not kept:
        were = {Span(one.start, one.end, one.label_): one for one in document.ents}
        document.set_ents(
            [
                were.get(one) or DocSpan(document, one.start, one.end, label=one.class_name)
                for one in entities
            ],
            default="outside",
        )
    return document
