"""CoNLL: a token a line, a sentence between empty lines, the entity's tag in the last column.

Tables hold tags as BIO (IOB2), which the task reads; the scheme of the file, its other columns,
comments and document breaks are kept, and a sentence that nobody changed comes back as it was.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

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
    no_label,
    require_tokens,
    with_origin,
)
from relabel_service.tasks import spans
from relabel_service.tasks.spans import Span

TAG = re.compile(r"O|[BIESLU]-\S.*")
# A token's line: what stands before the tag, the tag, and what follows it.
LINES = {
    None: re.compile(r"(.*[ \t])(\S+)(\s*)"),
    "\t": re.compile(r"(.*\t) *([^\t\r\n]*[^\t\r\n ])(\s*)"),
}
IOB1, IOB2, IOBES, BILOU = "IOB1", "IOB2", "IOBES", "BILOU"
SINGLE, END = {"S", "U"}, {"S", "U", "E", "L"}
LETTERS = {IOBES: ("S", "E"), BILOU: ("U", "L")}
HEAD_LINES = 500
SUFFIXES = (".conll", ".iob", ".iob2", ".bio", ".conll03", ".conll2003")


class Conll:
    name = "conll"
    about = "CoNLL: a token a line with its tag last; IOB1, IOB2, IOBES or BILOU"

    def looks_like(self, path: str) -> bool:
        name = path.lower().removesuffix(".gz")
        if name.endswith(SUFFIXES):
            return True
        if not name.endswith((".txt", ".tsv", ".bioes", ".bilou", ".testa", ".testb", ".train")):
            return False
        lines = files.head(path).decode("utf-8", "replace").split("\n")[:HEAD_LINES]
        parts = [line.split() for line in lines if line.strip()]
        return bool(parts) and sum(
            len(part) > 1 and bool(TAG.fullmatch(part[-1])) for part in parts
        ) >= 0.9 * len(parts)

    def read(self, path: str, options: ImportOptions) -> pa.RecordBatchReader:
        layout = _layout(path)
        schema = with_origin(
            [
                pa.field("tokens", pa.list_(pa.string())),
                pa.field("label", TAGS),
                pa.field(ORIGINAL, pa.string()),
            ],
            Origin(self.name, details=vars(layout)),
        )
        sentences = _sentences(path, layout.separator)
        return in_batches((_row(one, layout) for one in sentences if one.heads), schema)

    def write(self, table: Table, path: str) -> None:
        require_tokens(table.schema, "conll")
        details = details_of(table.schema, self.name)
        layout = Layout(**details) if details else Layout(separator=_separator_for(table))
        gap = ""  # what must stand between the sentence before and one that the file did not have
        with files.created_text(path) as stream:
            for row, original in kept_rows(table, self.name):
                if row["label"] is None:
                    raise no_label("that the sentence has no entities")
                kept = Sentence(**json.loads(original)) if original else None
                if kept is None or _tokens(kept, layout) != row["tokens"]:
                    kept = _new(row["tokens"], gap, layout)
                stream.write(_text(kept, row, layout))
                gap = layout.line_end * (1 if kept.ends[-1] else 2)
            stream.write(layout.tail)


@dataclass(frozen=True)
class Layout:
    """What holds for a whole file. separator: between columns, None for any spaces; token: the
    column that the tokens stand in; tail: what follows the last sentence."""

    scheme: str = IOB2
    separator: str | None = None
    token: int = 0
    line_end: str = "\n"
    tail: str = ""


@dataclass
class Sentence:
    """before: the lines between the sentence before and this one; lines: its tokens' lines, cut
    where the tag begins; after: what follows each tag in its line."""

    before: str = ""
    heads: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)


def _sentences(path: str, separator: str | None) -> Iterator[Sentence]:
    """The sentences, then one without tokens, which has what follows. Raises InvalidInput."""
    sentence = Sentence()
    try:
        with files.text(path) as stream:
            for number, line in enumerate(stream, 1):
                if _is_break(line) or _is_comment(line, sentence, separator):
                    if sentence.heads:
                        yield sentence
                        sentence = Sentence()
                    sentence.before += line
                    continue
                head, tag, end = _cut(path, number, line, separator)
                sentence.heads.append(head)
                sentence.tags.append(tag)
                sentence.ends.append(end)
    except UnicodeDecodeError as error:
        raise files.not_utf8(path, error) from None
    if sentence.heads:
        yield sentence
        sentence = Sentence()
    yield sentence


def _is_break(line: str) -> bool:
    return line.isspace() or line.startswith("-DOCSTART-")


def _is_comment(line: str, sentence: Sentence, separator: str | None) -> bool:
    """A line of remarks above a sentence, as CoNLL-U has them; "#" is a token elsewhere."""
    if sentence.heads or not line.startswith("#"):
        return False
    parts = line.rstrip("\r\n").split(separator)
    return len(parts) < 2 or not TAG.fullmatch(parts[-1].strip())


def _cut(path: str, number: int, line: str, separator: str | None) -> tuple[str, str, str]:
    """What stands before the tag, the tag, and the end of the line."""
    match = LINES[separator].fullmatch(line)
    head, tag, end = match.groups() if match else ("", "", "")
    if not (head.rstrip("\t") if separator else head.strip()):
        raise InvalidInput.of(
            "path",
            f"line {number} of {path!r} is {line.rstrip()[:60]!r}; CoNLL has a token, spaces or a "
            "tab, and its tag last",
        )
    if not _is_tag(tag):
        raise InvalidInput.of(
            "path",
            f"line {number} of {path!r} ends in {tag[:60]!r}, which is not a tag; use O, or B-, "
            "I-, E-, L-, S- or U- and a class, in the last column",
        )
    return head, tag, end


@lru_cache(maxsize=4096)
def _is_tag(text: str) -> bool:
    return TAG.fullmatch(text) is not None


def _layout(path: str) -> Layout:
    """What holds for the file; reads all of it. Raises InvalidInput where it is not CoNLL."""
    separator, line_end = _line_form(path)
    scheme, counts, most_columns, tail = _Scheme(), True, 0, ""
    num_sentences = 0
    for sentence in _sentences(path, separator):
        if not sentence.heads:
            tail = sentence.before
            continue
        num_sentences += 1
        scheme.see(sentence.tags)
        columns = [_split(head, separator) for head in sentence.heads]
        most_columns = max(most_columns, len(columns[0]))
        counts = counts and [column[0] for column in columns] == [
            str(number) for number in range(1, len(columns) + 1)
        ]
    if not num_sentences:
        raise InvalidInput.of("path", f"{path!r} holds no sentences; give a CoNLL file")
    # A first column that counts from 1 in each sentence is the tokens' numbers (CoNLL-U).
    token = 1 if counts and most_columns > 1 else 0
    return Layout(scheme.name, separator, token, line_end, tail)


def _line_form(path: str) -> tuple[str | None, str]:
    """What separates the columns, None for any spaces; and how lines end."""
    try:
        with files.text(path) as stream:
            for line in stream:
                if not _is_break(line) and not line.startswith("#"):
                    end = "\r\n" if line.endswith("\r\n") else "\n"
                    return ("\t" if "\t" in line else None), end
    except UnicodeDecodeError as error:
        raise files.not_utf8(path, error) from None
    return None, "\n"


class _Scheme:
    """Which scheme the tags seen so far are of."""

    def __init__(self) -> None:
        self._letters: set[str] = set()
        self._begins_inside = self._begins_alone = False

    def see(self, tags: Sequence[str]) -> None:
        self._letters.update(tag[0] for tag in tags)
        for before, tag in pairwise(["O", *tags]):
            follows = before[1:] == tag[1:] and before != "O"
            self._begins_inside |= tag[0] == "I" and not follows
            self._begins_alone |= tag[0] == "B" and not follows

    @property
    def name(self) -> str:
        """IOB1 writes B- only between neighbours of one class; a stray I- makes no IOB1."""
        for scheme, letters in LETTERS.items():
            if self._letters & set(letters):
                return scheme
        return IOB1 if self._begins_inside and not self._begins_alone else IOB2


def spans_of(tags: Sequence[str]) -> list[Span]:
    """The entities that tags of any of the schemes mean, as the CoNLL scorer reads them."""
    found: list[Span] = []
    start, before = 0, "O"
    for index, tag in enumerate([*tags, "O"]):
        inside = tag[0] in "IEL" and before[1:] == tag[1:] and before[0] not in END
        if before != "O" and not inside:
            found.append(Span(start, index, before[2:]))
        if tag != "O" and not inside:
            start = index
        before = tag
    return found


def tags_of(entities: Iterable[Span], num_tokens: int, scheme: str) -> list[str]:
    """Tags of the scheme. Raises InvalidInput when a span ends beyond the tokens."""
    entities = sorted(entities)
    tags = spans.to_bio(entities, num_tokens)
    if scheme == IOB1:
        ends = {(span.end, span.class_name) for span in entities}
        for start, _, name in entities:
            if (start, name) not in ends:
                tags[start] = f"I-{name}"
    if scheme in LETTERS:
        single, end = LETTERS[scheme]
        for span in entities:
            letter = single if span.end - span.start == 1 else end
            tags[span.end - 1] = f"{letter}-{span.class_name}"
    return tags


def _row(sentence: Sentence, layout: Layout) -> Mapping[str, Any]:
    return {
        "tokens": _tokens(sentence, layout),
        "label": spans.to_bio(spans_of(sentence.tags), len(sentence.tags)),
        ORIGINAL: json.dumps(vars(sentence), ensure_ascii=False),
    }


def _split(head: str, separator: str | None) -> list[str]:
    return head.rstrip(separator).split(separator) if separator else head.split()


def _tokens(sentence: Sentence, layout: Layout) -> list[str]:
    columns = [_split(head, layout.separator) for head in sentence.heads]
    return [column[min(layout.token, len(column) - 1)] for column in columns]


def _new(tokens: Sequence[str], gap: str, layout: Layout) -> Sentence:
    """A sentence that the file did not have."""
    between = layout.separator or " "
    if not tokens:
        raise InvalidInput.of(
            "table", "holds a row without tokens, which CoNLL cannot; drop it, or choose jsonl"
        )
    for token in tokens:
        if not _fits(token, layout.separator):
            raise InvalidInput.of(
                "table",
                f"holds the token {token!r} in a row of {len(tokens)} tokens, which a line of this "
                "CoNLL file cannot; drop the row, or choose another --format (jsonl, spacy)",
            )
    heads = [
        between.join([str(number)] * layout.token + [token, ""])
        for number, token in enumerate(tokens, 1)
    ]
    ends = [layout.line_end] * len(tokens)
    return Sentence(gap, heads, ["O"] * len(tokens), ends)


def _separator_for(table: Table) -> str | None:
    """What separates the columns of a new file: a tab where tokens have spaces in them."""
    for values in table.column("tokens"):
        if any(not _fits(token, None) for tokens in values.to_pylist() for token in tokens or ()):
            return "\t"
    return None


def _fits(token: str, separator: str | None) -> bool:
    """Whether a token is read again as what it is."""
    if not token or token.startswith("-DOCSTART-"):
        return False
    return not set(token) & set("\t\r\n") if separator else token.split() == [token]


def _text(sentence: Sentence, row: Mapping[str, Any], layout: Layout) -> str:
    """The sentence's lines; tags that mean what they meant stay as they were."""
    tags = sentence.tags
    entities = spans.from_bio(row["label"])
    if entities != spans_of(tags):
        tags = tags_of(entities, len(tags), layout.scheme)
    lines = zip(sentence.heads, tags, sentence.ends, strict=True)
    return sentence.before + "".join(head + tag + end for head, tag, end in lines)
