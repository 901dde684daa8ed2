"""The built-in text model's n-grams: which there are, and that a text's follow from it alone."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

from cluster.models.class_learner import ClassLearner
from cluster.models.text import hashed_ngrams, ngram
from cluster.models.text.hashed_ngrams import CHARACTERS, count_ngrams

texts = st.lists(
    st.text(st.sampled_from("ab cÄß.,!_1 \n\x1cİ\u0301語😀\ud800"), max_size=12), max_size=6
)


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> ClassLearner:
    folder = tmp_path_factory.mktemp("ngrams")
    ngram.prepare(folder, ["ab c", "ab, ab c!", "c ab_1 Äß", "Äß 語"])
    return ngram.load(folder, ["x", "y"])


def counted_one_by_one(text: str) -> tuple[Counter[str], Counter[str]]:
    """Words and pairs of them; runs of characters within words."""
    words = re.findall(r"\w+|[^\w\s]", text.lower())
    pairs = [f"{one} {other}" for one, other in pairwise(words)]
    framed = [f"<{word}>" for word in words]
    runs = [w[at : at + n] for w in framed for n in CHARACTERS for at in range(len(w) - n + 1)]
    return Counter([*words, *pairs]), Counter(runs)


@for_all(texts)
@example(["aa aa aa", "", "a"])
@settings(deadline=None)
def test_a_batch_has_the_ngrams_that_counting_one_by_one_finds(contents: list[str]) -> None:
    """With so many buckets that two n-grams of a few texts do not share one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashed_ngrams, "BUCKET_BITS", 31)
        patch.setattr(hashed_ngrams, "NUM_BUCKETS", 2**31)
        counts = list(count_ngrams(contents))
    found = [
        sorted(part.count[start:end].tolist())
        for part in counts
        for start, end in zip(part.starts[:-1], part.starts[1:], strict=True)
    ]
    expected = [sorted(block.values()) for text in contents for block in counted_one_by_one(text)]
    assert found == expected


def test_the_same_words_have_the_same_buckets_wherever_they_stand() -> None:
    (counts,) = count_ngrams(["good film", "a film", "GOOD film", "film good"])
    words = [set(counts.bucket[counts.starts[2 * t] : counts.starts[2 * t + 1]]) for t in range(4)]
    assert words[0] == words[2]
    assert len(words[0] & words[1]) == 1  # film
    assert len(words[0] & words[3]) == 2  # good and film, but not the pair


def test_long_tables_are_counted_in_chunks_that_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contents = [f"text number {number}, of many" for number in range(50)]
    (whole,) = count_ngrams(contents)
    monkeypatch.setattr(hashed_ngrams, "CHUNK_CHARACTERS", 100)
    chunks = list(count_ngrams(contents))
    assert len(chunks) > 10
    np.testing.assert_array_equal(whole.bucket, np.concatenate([c.bucket for c in chunks]))
    np.testing.assert_array_equal(whole.count, np.concatenate([c.count for c in chunks]))


def test_buckets_stay_from_release_to_release() -> None:
    """Stored trainings hold weights by bucket."""
    (counts,) = count_ngrams(["Ab, ß"])
    assert counts.starts.tolist() == [0, 5, 17]
    assert counts.bucket.tolist() == [
        *(36502, 59894, 75182, 102787, 127561),
        *(23777, 27928, 40102, 69223, 69350, 71844),
        *(72185, 78187, 87491, 97487, 111430, 113685),
    ]


@for_all(contents=texts)
@settings(deadline=None, max_examples=50)
def test_a_text_is_encoded_the_same_alone_and_in_any_batch(
    learner: ClassLearner, contents: list[str]
) -> None:
    for content, together in zip(contents, learner.encode(contents), strict=True):
        [alone] = learner.encode([content])
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, other)


def test_encoded_texts_are_unit_vectors_and_empty_ones_are_empty(learner: ClassLearner) -> None:
    full, empty, unknown = learner.encode(["ab ab", " ", "xyz"])
    assert np.linalg.norm(full[1]) == pytest.approx(1.0)
    assert len(empty[0]) == len(unknown[0]) == 0
    logits = learner.network(learner.collate([full, empty, unknown]))
    assert logits.shape == (3, 2)


def test_the_gradient_is_that_of_torch(learner: ClassLearner) -> None:
    network = learner.network
    assert isinstance(network, ngram.NGramClassifier)
    batch = learner.collate(learner.encode(["ab c", "", "c ab c!"]))
    own = network(batch)
    theirs = network.bias + network.weights(
        batch["features"], batch["offsets"], per_sample_weights=batch["weights"]
    )
    wanted = torch.arange(6.0).reshape(3, 2)
    [found] = torch.autograd.grad((own * wanted).sum(), [network.weights.weight])
    [expected] = torch.autograd.grad((theirs * wanted).sum(), [network.weights.weight])
    assert torch.allclose(own, theirs)
    assert expected.abs().sum() > 0
    assert torch.allclose(found, expected)


def test_many_short_texts_are_trained_in_fewer_epochs(tmp_path: Path) -> None:
    short = [f"text {number} of many" for number in range(ngram.MANY)]
    long = [" ".join(f"{word}x{number}" for word in range(300)) for number in range(ngram.MANY)]
    found = {}
    for name, contents in {"many": short, "few": short[:-1], "long": long}.items():
        (tmp_path / name).mkdir()
        ngram.prepare(tmp_path / name, contents)
        found[name] = ngram.load(tmp_path / name, ["x", "y"]).defaults
    assert found["few"] == found["long"] == ngram.DEFAULTS
    assert found["many"].epochs < ngram.DEFAULTS.epochs


def test_a_training_of_an_earlier_release_has_the_defaults_of_then(tmp_path: Path) -> None:
    ngram.prepare(tmp_path, ["ab c"] * ngram.MANY)
    (tmp_path / ngram.TRAINING_FILE).unlink()
    assert ngram.load(tmp_path, ["x", "y"]).defaults == ngram.DEFAULTS


def test_what_most_of_many_long_texts_have_has_no_weight(tmp_path: Path) -> None:
    """In short texts it has: a single word may make the difference there."""
    own = [" ".join(f"{'abcdefgh'[place]}{word}{place}" for word in range(150)) for place in (1, 2)]
    many = [f"common {own[number % 2]}" for number in range(ngram.MANY)]
    tables = {"many long": many, "few long": many[:-1], "short": [one[:20] for one in many]}
    num_weighed = {}
    for name, contents in tables.items():
        (tmp_path / name).mkdir()
        ngram.prepare(tmp_path / name, contents)
        [(features, _)] = ngram.load(tmp_path / name, ["x", "y"]).encode(["common"])
        num_weighed[name] = len(features)
    assert min(num_weighed["few long"], num_weighed["short"]) > 0
    assert num_weighed["many long"] == 0
