"""Rebuild text_classification/vader_tweets from the source package. From the repository's root:

    pip download --no-deps --no-binary vaderSentiment -d build vaderSentiment==3.3.2
    python -m tests.data.build_vader_tweets build/vaderSentiment-3.3.2.tar.gz

A label is what one person answered; gold is what the most of the others answered.
"""

import ast
import hashlib
import html
import io
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.data import slices

SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
LICENCE = "vaderSentiment-3.3.2/LICENSE.txt"
TEXTS = "hutto_ICWSM_2014/tweets_GroundTruth.txt"
RATINGS = "hutto_ICWSM_2014/tweets_anonDataRatings.txt"

TARGET = slices.FOLDER / "text_classification" / "vader_tweets"
SHARES = {"train": 75, "dev": 7, "test": 18}
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("text", pa.string()),
        pa.field("label", pa.string()),
        pa.field("label_worst", pa.string()),
        pa.field("gold", pa.string()),
        pa.field("annotators", pa.list_(pa.string())),
    ]
)


def main(sdist: Path) -> None:
    """Raises ValueError when the file is not the release that SHA256 names."""
    digest = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if digest != SHA256:
        raise ValueError(f"{sdist} has SHA-256 {digest}, not {SHA256}; download that release again")
    with tarfile.open(sdist) as package:
        licence = _member(package, LICENCE)
        with tarfile.open(fileobj=io.BytesIO(_member(package, ARCHIVE))) as archive:
            rows = list(_rows(_lines(archive, TEXTS), _lines(archive, RATINGS)))
    slices.write(TARGET, rows, SCHEMA, SHARES)
    (TARGET / "LICENSE.txt").write_bytes(licence)


def _rows(texts: list[list[str]], ratings: list[list[str]]) -> Iterator[dict[str, Any]]:
    """Items in the source's order, without contrived variants, repeats and ties.

    texts: id, mean rating, text; ratings: id, mean, deviation, every rating as a Python list.
    """
    answers = {number: ast.literal_eval(given) for number, _, _, given in ratings}
    means = {number: float(mean) for number, mean, _, _ in ratings}
    seen: set[str] = set()
    for number, mean, text in texts:
        # The 199 texts whose mean is another in the two files are the authors' own
        # variants of other texts (more capitals, more exclamation marks).
        if abs(float(mean) - means[number]) > 1e-6:
            continue
        clean = html.unescape(text).strip()
        key = " ".join(clean.lower().split())
        row = _row(f"vader-tweet-{number}", clean, [_polarity(r) for r in answers[number]])
        if row and key not in seen:
            seen.add(key)
            yield row


def _row(item_id: str, text: str, answers: list[str]) -> dict[str, Any] | None:
    """One item, or None when the answers of the many are tied.

    Two answers are drawn by the id: the first is the label, the wrong one of the
    two the worst label. Gold is the commonest of all the others, so no label has
    a part in its own gold.
    """
    rest = list(answers)
    first = rest.pop(slices.draw(f"first {item_id}", len(rest)))
    second = rest.pop(slices.draw(f"second {item_id}", len(rest)))
    (gold, most), *others = Counter(rest).most_common()
    if others and others[0][1] == most:
        return None
    return {
        "id": item_id,
        "text": text,
        "label": first,
        "label_worst": first if first != gold else second,
        "gold": gold,
        "annotators": rest,
    }


def _polarity(rating: int) -> str:
    """The class of a rating from -4 to 4."""
    return "negative" if rating < 0 else "positive" if rating > 0 else "neutral"


def _lines(archive: tarfile.TarFile, name: str) -> list[list[str]]:
    text = _member(archive, name).decode("utf-8-sig")
    return [line.split("\t") for line in text.split("\r\n") if line]


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    if member is None:
        raise ValueError(f"{name} in the package is no file")
    return member.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
