"""How similar texts are: BM25 as a library of its own gives it, expressions, and errors."""

from pathlib import Path

import bm25s
import numpy as np
import pytest

from cluster.inference.embeddings import Embedder
from cluster.similar.similarity import Counts, Similarity, bm25, measure_of, tokens, words
from relabel_service.errors import InvalidInput
from relabel_service.tasks import task_named
from tests.data import png

TASK = "text_classification"
TEXTS = [
    "the refund has not arrived",
    "where is my refund",
    "the app crashed again, and again",
    "thank you",
    "refund refund refund where are you",
]


def counts_of(texts: list[list[str]], query: list[str]) -> Counts:
    return Counts(
        {token: sum(token in text for text in texts) for token in set(query)},
        len(texts),
        float(np.mean([len(text) for text in texts])),
    )


@pytest.mark.parametrize("query", ["where is the refund", "again you", "nothing alike"])
def test_scores_are_bm25s_s(query: str) -> None:
    texts = [tokens(text) for text in TEXTS]
    library = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
    library.index(texts, show_progress=False)
    asked = tokens(query)
    found = bm25(asked, texts, counts_of(texts, asked))
    assert np.allclose(found, library.get_scores(asked), atol=1e-5)


def test_words_are_found_with_and_without_spaces() -> None:
    assert tokens("Don't PANIC, 42!") == ["don", "t", "panic", "42"]
    assert tokens("東京2026年") == ["東", "京", "2026", "年"]


def test_a_match_of_an_expression_is_all_or_nothing() -> None:
    measure = measure_of(
        Similarity.REGEX, ["refund.*arrived", "app"], None, task=TASK, model=None
    )()
    assert measure(TEXTS).tolist() == [[1, 0], [0, 0], [0, 1], [0, 0], [0, 0]]
    assert measure([]).shape == (0, 2)


@pytest.mark.parametrize(
    ("similarity_by", "case", "task", "told"),
    [
        (Similarity.REGEX, "(", TASK, "'\\(' is not a regular expression"),
        (Similarity.EMBEDDING, "refund", TASK, "encoder: none is given, and text has no built-in"),
        (Similarity.TOKENS, None, "image_classification", "image has no words"),
    ],
)
def test_a_similarity_that_does_not_suit_is_refused(
    similarity_by: Similarity, case: str | None, task: str, told: str
) -> None:
    picture = png.encode(np.zeros((8, 8), np.uint8))
    content = case or task_named(task).read_content({"image": picture})
    with pytest.raises(InvalidInput, match=told):
        measure_of(similarity_by, [content], None, task=task, model=None)


def test_an_encoder_that_cannot_be_used_is_blamed_itself(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="encoder: 'some/model' is given, but no embedding of"):
        Embedder.check("click_through_rate", '{"age":3}', "some/model")
    with pytest.raises(InvalidInput, match=r"encoder: '.*none' is no encoder by hub id or local"):
        Embedder(TASK, str(tmp_path / "none"))(["a text"])


def test_words_of_text_are_the_text() -> None:
    assert words("refund, please", TASK) == "refund, please"
