"""Features of contents whose overlap tells near-duplicates: of texts short runs of characters."""

import hashlib
import re

SHINGLE = 5  # characters


def shingles(text: str) -> set[bytes]:
    """Every run of 5 characters; the whole of a shorter text."""
    ends = range(max(len(text) - SHINGLE, 0) + 1)
    return {text[at : at + SHINGLE].encode("utf-8", "surrogatepass") for at in ends}


def words_alone(text: str) -> str:
    """Letter case and everything but words set aside; a text without words as it is."""
    return " ".join(re.findall(r"\w+", text.lower())) or text


def whole(content: str) -> set[bytes]:
    """The content as one feature: copies share it, pictures or sounds that are alike need not."""
    return {hashlib.sha256(content.encode()).digest()}
