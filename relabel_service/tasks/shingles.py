"""Texts that stand for contents where alike ones are looked for, by runs of RUN characters."""

import hashlib
import re

RUN = 5  # characters


def shingles(text: str) -> set[bytes]:
    """Every run of 5 characters; the whole of a shorter text."""
    ends = range(max(len(text) - RUN, 0) + 1)
    return {text[at : at + RUN].encode("utf-8", "surrogatepass") for at in ends}


def words_alone(text: str) -> str:
    """Letter case and everything but words set aside; a text without words as it is."""
    return " ".join(re.findall(r"\w+", text.lower())) or text


def digest(content: str) -> str:
    """Of the whole content: copies share it; pictures or sounds that are alike share next to no run
    of it."""
    return hashlib.sha256(content.encode()).hexdigest()
