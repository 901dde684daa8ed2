"""Token classification: tokens and BIO tags in, entities by class inside, BIO tags out again."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from deltalake import DeltaTable, write_deltalake
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForTokenClassification,
    BertConfig,
    PreTrainedTokenizerFast,
    ViTConfig,
)

from cluster.data.rows import Source, content_id, latest
from cluster.models.tagging import tags
from cluster.models.tagging.entity_errors import entity_errors, reason
from cluster.models.tagging.tag_learner import score_row
from cluster.tasks import model_task
from cluster.versions.merge import MergeConfig, merge
from jobs.loop.gold import wrong_keys
from relabel_service.errors import InvalidInput
from relabel_service.tables import delta
from relabel_service.tables.lineage import decided_by_people
from relabel_service.tasks import spans, task_named
from relabel_service.tasks.spans import Span
from relabel_service.v1 import labels_pb2
from tests.data import slices
from tests.support import cross_fit as training
from tests.unit.test_majority import results, vote

NAME = "token_classification"
TASK = task_named(NAME)
CLASSES = ("ORG", "PER")
NUM_TOKENS = 6
TOKENS = json.dumps(["a", "b", "c", "d", "e", "f"])


@st.composite
def any_spans(draw: st.DrawFn) -> list[Span]:
    """Spans without overlaps over NUM_TOKENS tokens."""
    edges = draw(st.lists(st.integers(0, NUM_TOKENS), min_size=2, unique=True).map(sorted))
    kept = draw(st.lists(st.booleans(), min_size=len(edges) - 1, max_size=len(edges) - 1))
    return [
        Span(start, end, draw(st.sampled_from(CLASSES)))
        for start, end, keep in zip(edges[:-1], edges[1:], kept, strict=True)
        if keep
    ]


def text(*found: tuple[int, int, str]) -> str:
    return spans.to_text(Span(*one) for one in found)


@given(any_spans())
def test_tags_go_in_and_come_out_again(found: list[Span]) -> None:
    written = spans.to_bio(found, NUM_TOKENS)
    label = TASK.read_label(written, TOKENS)
    assert spans.from_text(label) == found
    assert TASK.write_label(label, TOKENS) == written
    assert TASK.label_fault(label, CLASSES) is None


@given(any_spans())
def test_a_label_survives_the_wire(found: list[Span]) -> None:
    label = spans.to_text(found)
    assert TASK.label_from_wire(TASK.label_to_wire(label)) == label


@given(any_spans())
def test_a_label_is_the_sum_of_its_units(found: list[Span]) -> None:
    label = spans.to_text(found)
    whole = "[]"
    for unit in TASK.units(CLASSES):
        part = TASK.unit_label(label, unit)
        assert TASK.with_unit_label(label, unit, part) == label
        whole = TASK.with_unit_label(whole, unit, part)
    assert whole == label


@given(any_spans(), any_spans())
def test_a_new_part_never_leaves_a_token_two_entities(old: list[Span], new: list[Span]) -> None:
    part = [span for span in new if span.class_name == "PER"]
    merged = TASK.with_unit_label(spans.to_text(old), "PER", spans.to_text(part))
    assert TASK.label_fault(merged, CLASSES) is None
    assert TASK.unit_label(merged, "PER") == spans.to_text(part)


@given(any_spans(), any_spans())
def test_distance_is_a_distance(left: list[Span], right: list[Span]) -> None:
    ours, theirs = spans.to_text(left), spans.to_text(right)
    assert 0 <= TASK.distance(ours, theirs) == TASK.distance(theirs, ours) <= 1
    assert (TASK.distance(ours, theirs) == 0) == (ours == theirs)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["O", "I-PER", "I-PER", "O"], [(1, 3, "PER")]),
        (["B-PER", "I-ORG", "I-ORG", "B-ORG"], [(0, 1, "PER"), (1, 3, "ORG"), (3, 4, "ORG")]),
        (["I-PER", "O", "I-PER", "B-PER"], [(0, 1, "PER"), (2, 3, "PER"), (3, 4, "PER")]),
    ],
)
def test_an_inside_tag_without_a_beginning_begins_an_entity(
    written: list[str], meant: list[tuple[int, int, str]]
) -> None:
    assert TASK.read_label(written, json.dumps(list("abcd"))) == text(*meant)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (["O"], "label: has 1 tags for 6 tokens"),
        ("O", "label: is str"),
        (None, "label: is NoneType"),
        ([0] * 6, "label: tag 0 is not BIO"),
        (["O"] * 5 + ["E-PER"], "label: tag 'E-PER' is not BIO"),
        (["O"] * 5 + ["B-"], "label: tag 'B-' is not BIO"),
    ],
)
def test_what_is_no_tagging_is_refused_by_name(value: object, told: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        TASK.read_label(value, TOKENS)
    assert str(refused.value).startswith(told)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a b", "words: is str"),
        ([], "words: is empty"),
        (None, "words: is NoneType"),
        (["a", None], "words: holds None"),
        (["a", 7], "words: holds 7"),
    ],
)
def test_what_are_no_tokens_is_refused_by_name(value: object, told: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        TASK.read_content({"words": value})
    assert str(refused.value).startswith(told)


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (text((2, 2, "PER")), "not a range of tokens"),
        (text((-1, 2, "PER")), "not a range of tokens"),
        (text((0, 2, "PER"), (1, 3, "ORG")), "overlap"),
        (text((0, 2, "LOC")), "class 'LOC' is not one of ORG, PER"),
        (text((0, 2, " ")), "names no class"),
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong(label: str, told: str) -> None:
    assert told in (TASK.label_fault(label, CLASSES) or "")


def test_a_span_beyond_the_tokens_is_never_written() -> None:
    with pytest.raises(InvalidInput, match="ends beyond the 6 tokens"):
        TASK.write_label(text((4, 7, "PER")), TOKENS)


def test_another_task_s_answer_is_refused() -> None:
    with pytest.raises(InvalidInput, match="payload class_label does not suit entities"):
        TASK.label_from_wire(labels_pb2.Label(class_label=labels_pb2.ClassLabel(class_name="x")))


GIVEN = [Span(0, 2, "PER"), Span(3, 4, "ORG")]


@pytest.mark.parametrize(
    ("seen", "of_per", "of_org"),
    [
        (GIVEN, [], []),
        ([*GIVEN, Span(5, 6, "PER")], ["missing"], []),
        ([Span(3, 4, "ORG")], ["spurious"], []),
        ([Span(0, 3, "PER"), Span(3, 4, "ORG")], ["wrong boundary"], []),
        ([Span(0, 1, "PER"), Span(1, 2, "PER"), Span(3, 4, "ORG")], ["wrong boundary"] * 2, []),
        ([Span(0, 2, "ORG"), Span(3, 4, "ORG")], ["wrong type"], ["wrong type"]),
        ([Span(0, 4, "PER")], ["wrong boundary"], ["wrong type"]),
    ],
)
def test_differences_are_named_class_by_class(
    seen: list[Span], of_per: list[str], of_org: list[str]
) -> None:
    for class_name, kinds in (("PER", of_per), ("ORG", of_org)):
        assert [error.kind for error in entity_errors(GIVEN, seen, class_name)] == kinds


@given(any_spans(), any_spans())
def test_a_class_has_a_difference_exactly_where_its_spans_differ(
    left: list[Span], right: list[Span]
) -> None:
    for class_name in CLASSES:
        differs = TASK.unit_label(spans.to_text(left), class_name) != TASK.unit_label(
            spans.to_text(right), class_name
        )
        assert bool(entity_errors(left, right, class_name)) == differs


def test_a_reason_quotes_the_words() -> None:
    found = entity_errors(GIVEN, [Span(0, 2, "ORG"), Span(5, 6, "PER")], "PER")
    assert reason(found, list("abcdef")) == (
        "wrong type: 'a b' (PER, 0-1) is 'a b' (ORG, 0-1) for the model; "
        "missing: model sees 'f' (PER, 5-5)"
    )


@given(st.integers(1, 8), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_decoding_finds_the_best_legal_tagging(
    num_tokens: int, num_classes: int, seed: int
) -> None:
    randomness = np.random.default_rng(seed)
    num_tags = 1 + 2 * num_classes
    seen = randomness.dirichlet(np.full(num_tags, 0.5), num_tokens).astype(np.float32)
    classes = [str(number) for number in range(num_classes)]
    decoded = tags.decode(seen)
    found = tags.to_spans(decoded, classes)
    assert (tags.of_spans(found, num_tokens, classes) == decoded).all()  # legal
    for _ in range(20):  # none of some other legal taggings is more probable
        other = tags.of_spans(
            tags.to_spans(tags.decode(randomness.permutation(seen)), classes), num_tokens, classes
        )
        assert _log(seen, other) <= _log(seen, decoded) + 1e-6


def _log(seen: tags.Probabilities, tagging: tags.Tags) -> float:
    return float(np.log(np.maximum(seen[np.arange(len(tagging)), tagging], tags.LEAST)).sum())


def test_suspicion_is_of_the_worst_token_of_the_class() -> None:
    seen = np.zeros((3, 5), np.float32)  # O, B-ORG, I-ORG, B-PER, I-PER
    seen[0] = [0.1, 0.0, 0.0, 0.9, 0.0]
    seen[1] = [0.7, 0.0, 0.0, 0.0, 0.3]
    seen[2] = [0.8, 0.2, 0.0, 0.0, 0.0]
    scored = score_row(0, seen, [Span(0, 2, "PER")], ["x", "y", "z"], CLASSES)
    of_org, of_per = scored
    assert (of_org["unit"], of_per["unit"]) == CLASSES
    assert of_per["p_label"] == pytest.approx(0.3)
    assert of_org["p_label"] == pytest.approx(0.8)
    assert of_per["num_wrong_boundary"] == 1
    assert of_per["suggestions"][0]["label"] == text((0, 1, "PER"))
    assert of_per["suggestions"][0]["probability"] == pytest.approx(0.7)
    assert "least at 'z' (80%)" in of_org["reason"]


def test_an_entity_is_held_against_what_its_class_usually_gets() -> None:
    models = model_task(NAME)
    rows = [("ORG", "[]", 0.9)] + [
        (unit, text((0, 1, unit)), p_label)
        for unit, p_label in (("ORG", 0.05), ("ORG", 0.01), ("PER", 0.9), ("PER", 0.05))
    ]
    units, labels, p_label = zip(*rows, strict=True)
    scored = pa.table({"unit": units, "label": labels, "p_label": p_label})
    parts = [models.sums(part, CLASSES) for part in (scored.slice(0, 2), scored.slice(2))]
    sums = {name: parts[0][name] + parts[1][name] for name in parts[0]}
    whole = models.sums(scored, CLASSES)
    assert {name: list(value) for name, value in sums.items()} == {
        name: pytest.approx(list(value)) for name, value in whole.items()
    }
    nothing, usual, low, right, wrong = models.suspicion(scored, sums, CLASSES)
    assert nothing == pytest.approx(0.1)
    assert usual == pytest.approx(0.03 / 0.08)
    assert wrong > low > usual > right


def test_features_that_are_equally_common_keep_the_order_of_the_text(tmp_path: Path) -> None:
    """A set's order would differ from process to process, and so would the model."""
    words = [f"word{number}" for number in range(20)]
    content = json.dumps(words)
    model_task(NAME).prepare(tmp_path, model=None, contents=[content] * 2, labels=[])
    features = json.loads((tmp_path / "features.json").read_text())
    assert [name for name in features if name.startswith("w ")] == [f"w {word}" for word in words]


@pytest.fixture(scope="module")
def wikinews() -> training.Rows:
    return training.rows_of(NAME, slices.read("ner/wikinews", "train"), "tokens")


@pytest.fixture(scope="module")
def fitted(wikinews: training.Rows) -> training.CrossFitted:
    return training.cross_fit(NAME, wikinews, num_folds=2, defaults={"epochs": 8})


def test_every_row_is_judged_once_for_each_class(
    wikinews: training.Rows, fitted: training.CrossFitted
) -> None:
    assert fitted.scored.num_rows == len(wikinews.ids) * len(fitted.classes)
    assert fitted.scored["unit"].to_pylist() == list(fitted.classes) * len(wikinews.ids)
    assert all(fitted.scored["reason"].to_pylist())


def test_planted_wrong_entities_rank_high(
    wikinews: training.Rows, fitted: training.CrossFitted
) -> None:
    wrong = training.is_wrong(NAME, fitted, wikinews)
    assert 0.05 < wrong.mean() < 0.15
    assert training.auroc(fitted.suspicion, wrong) > 0.85


@given(any_spans(), any_spans())
def test_entity_f1_counts_entities_that_are_wholly_right(
    true: list[Span], seen: list[Span]
) -> None:
    metrics = model_task(NAME).metrics([spans.to_text(seen)], [spans.to_text(true)])
    both = len(set(true) & set(seen))
    expected = 2 * both / (len(true) + len(seen)) if both else 0.0
    assert metrics["entity_f1"] == pytest.approx(expected)
    assert next(iter(metrics)) == "entity_f1"


def test_a_row_gets_the_same_alone_and_among_others(tmp_path: Path) -> None:
    models = model_task(NAME)
    contents = [json.dumps(list(word)) for word in ("a", "abcab", "cabcabcab")]
    models.prepare(tmp_path, model=None, contents=contents, labels=["[]"] * 3)
    learner = models.load(tmp_path, model=None, classes=CLASSES, pretrained=True)
    together = training.predict(learner, contents)
    for content, among in zip(contents, together, strict=True):
        [alone] = training.predict(learner, [content])
        assert alone.shape == (len(json.loads(content)), 5)
        assert np.allclose(alone, among, atol=1e-5)


@pytest.fixture
def tagger_path(tmp_path: Path) -> Path:
    """A tiny BERT whose words fall into sub-words, with room for 16 of them."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdef", *(f"##{sign}" for sign in "abcdef")]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    path = tmp_path / "tagger"
    wrapped: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=16,
    )
    wrapped.save_pretrained(path)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    torch.manual_seed(0)
    model: Any = AutoModelForTokenClassification.from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(path)
    return path


def test_a_tagger_by_path_learns_long_rows_and_works_without_it_afterwards(
    tagger_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "prepared"
    folder.mkdir()
    words = ["abc", "f", " ", "de"] * 8  # 8 times as many sub-words as a window holds
    contents = [json.dumps(words), json.dumps(["f", "abc"])]
    labels = [text(*((place, place + 1, "PER") for place in range(0, 32, 4))), text((1, 2, "PER"))]
    models = model_task(NAME)
    models.prepare(folder, model=str(tagger_path), contents=contents, labels=labels)
    learner = models.load(folder, model=str(tagger_path), classes=("PER",), pretrained=True)
    learner.defaults = replace(learner.defaults, epochs=60, learning_rate=0.01)
    training.fit(learner, contents, labels)
    predictions = training.predict(learner, contents)
    assert [one.shape for one in predictions] == [(32, 3), (2, 3)]
    assert learner.decode(predictions) == labels
    shutil.rmtree(tagger_path)
    again = models.load(folder, model=str(tagger_path), classes=("PER",), pretrained=False)
    again.load_state_dict(learner.state_dict())
    assert again.decode(training.predict(again, contents)) == labels


def test_each_token_is_read_where_most_is_seen_around_it(tagger_path: Path, tmp_path: Path) -> None:
    models = model_task(NAME)
    models.prepare(tmp_path, model=str(tagger_path), contents=[], labels=[])
    learner = models.load(tmp_path, model=str(tagger_path), classes=CLASSES, pretrained=True)
    [row] = learner.encode([json.dumps(["ab", "c", "def"] * 10)])
    assert len(row.subwords) > 1
    assert max(map(len, row.subwords)) <= 16
    words = ["ab", "c", "def"] * 10
    for word, (window, position) in zip(words, row.position.tolist(), strict=True):
        assert row.subwords[window][position] == 4 + "abcdef".index(word[0])
    inner = row.position[3:-3, 1]
    assert inner.min() > 1  # never right behind the mark that begins a window


def test_a_model_that_tags_nothing_is_refused(tmp_path: Path) -> None:
    ViTConfig(hidden_size=8, num_attention_heads=1).save_pretrained(tmp_path / "vit")
    for path in ("vit", "nowhere"):
        with pytest.raises(InvalidInput, match="is not a tagger by hub id or local path"):
            model_task(NAME).prepare(tmp_path, model=str(tmp_path / path), contents=[], labels=[])


def votes_about_units(folder: Path, *votes: tuple[str, str, str], row_id: str = "r") -> str:
    """A results table. votes: unit, the human label's part, the answer's part."""
    uri = str(folder / "results")
    rows = [
        vote(row_id, "ann", after, unit=unit, human_label=before, rank=rank, task=NAME)
        for rank, (unit, before, after) in enumerate(votes)
    ]
    delta.append_once(uri, results(*rows), app_id="c")
    return uri


@pytest.mark.parametrize("id_column", ["id", None])
def test_answers_about_classes_merge_into_tags(tmp_path: Path, id_column: str | None) -> None:
    uri = str(tmp_path / "data")
    tokens = ["Ann", "Lee", "left", "Rome"]
    table = pa.table(
        {
            "id": ["r", "other"],
            "tokens": [tokens, ["x"]],
            "label": [["B-ORG", "I-ORG", "O", "O"], ["O"]],
        }
    )
    write_deltalake(uri, table)
    name = "r" if id_column else content_id(TASK.read_content({"tokens": tokens}))
    voted = votes_about_units(
        tmp_path,
        ("PER", "[]", text((0, 2, "PER"))),  # takes the tokens from ORG
        ("ORG", text((0, 2, "ORG")), "[]"),
        ("LOC", "[]", text((3, 4, "LOC"))),
        row_id=name,
    )
    source = latest(Source(uri, NAME, ("tokens",), "label", id_column))
    merged = merge(MergeConfig(source, voted, "c", str(tmp_path / "lineage")))
    assert (merged.num_decided, merged.num_changed) == (3, 3)
    after = DeltaTable(uri).to_pyarrow_table().to_pylist()
    assert {row["id"]: row["label"] for row in after} == {
        "r": ["B-PER", "I-PER", "O", "B-LOC"],
        "other": ["O"],
    }
    assert set(decided_by_people(str(tmp_path / "lineage")).contents) == {
        (name, "LOC"),
        (name, "ORG"),
        (name, "PER"),
    }


def test_what_is_wrong_is_counted_class_by_class() -> None:
    given = {"a": text((0, 1, "PER"), (2, 3, "ORG")), "b": text((0, 1, "LOC"))}
    truth = {"a": text((0, 1, "LOC"), (2, 3, "ORG")), "b": text((0, 1, "LOC"))}
    assert set(wrong_keys(TASK, given, truth)) == {("a", "PER"), ("a", "LOC")}


def test_an_answer_beyond_the_tokens_is_refused_or_left_alone(tmp_path: Path) -> None:
    uri = str(tmp_path / "data")
    write_deltalake(
        uri, pa.table({"id": ["r"], "tokens": [["Ann", "left"]], "label": [["O", "O"]]})
    )
    voted = votes_about_units(
        tmp_path, ("PER", "[]", text((0, 1, "PER"))), ("LOC", "[]", text((1, 3, "LOC")))
    )
    source = latest(Source(uri, NAME, ("tokens",), "label", "id"))
    merging = MergeConfig(source, voted, "c", str(tmp_path / "lineage"))
    with pytest.raises(InvalidInput, match="'r': span 1-3 ends beyond the 2 tokens"):
        merge(merging)
    merged = merge(replace(merging, skip_changed=True))
    assert (merged.num_decided, merged.num_skipped) == (1, 1)
    assert DeltaTable(uri).to_pyarrow_table()["label"].to_pylist() == [["B-PER", "O"]]
