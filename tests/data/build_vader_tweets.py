"""Rebuild text_classification/vader_tweets from the source package. From the repository's root:

    pip download --no-deps --no-binary vaderSentiment -d build vaderSentiment==3.3.2
    python -m tests.data.build_vader_tweets build/vaderSentiment-3.3.2.tar.gz

A label is what one person answered; gold is what the most of the others answered.
"""

import ast
import html
import io
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.data import packages, slices

SHA256 = "d5bb07d87474b3eb8d30b4deccbc23f19d742a6c5718fbacc65485b70b95c5fa"
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
    archive = io.BytesIO(packages.member(sdist, ARCHIVE, sha256=SHA256))
    with tarfile.open(fileobj=archive) as files:
        rows = list(_rows(_lines(files, TEXTS), _lines(files, RATINGS)))
    slices.write(TARGET, rows, SCHEMA, SHARES)
    (TARGET / "LICENSE.txt").write_bytes(packages.member(sdist, LICENCE))


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
    member = archive.extractfile(name)
    if member is None:
        raise ValueError(f"{name} in the package is no file")
    text = member.read().decode("utf-8-sig")
    return [line.split("\t") for line in text.split("\r\n") if line]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
