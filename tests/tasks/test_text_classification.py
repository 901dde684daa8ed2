"""Text classification on its own: the seam's two sides, and whether wrong labels stand out."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from cluster.models.class_learner import score
from cluster.tasks import model_task
from relabel_service.errors import InvalidInput
from relabel_service.tasks import task_named
from tests.data.slices import read
from tests.support.cross_fit import Rows, auroc, cross_fit, is_wrong, metrics_on, rows_of

TASK = "text_classification"
TOPICS = {
    "sport": ["match", "goal", "team", "coach", "league"],
    "money": ["bank", "price", "market", "share", "trade"],
    "weather": ["rain", "wind", "storm", "cloud", "sun"],
}


def planted(num_rows: int, *, noise: float, seed: int = 0) -> Rows:
    """Texts about topics; a share of the labels is turned to the next topic."""
    randomness = np.random.default_rng(seed)
    names = list(TOPICS)
    gold = [names[place] for place in randomness.integers(len(names), size=num_rows)]
    texts = [
        " ".join([*randomness.choice(TOPICS[name], 2), *randomness.choice(["the", "a", "now"], 3)])
        for name in gold
    ]
    wrong = randomness.random(num_rows) < noise
    labels = [
        names[(names.index(name) + 1) % len(names)] if flip else name
        for name, flip in zip(gold, wrong, strict=True)
    ]
    return Rows([f"row-{place}" for place in range(num_rows)], texts, labels, gold)


def tiny_bert(folder: Path, texts: list[str]) -> str:
    """A transformers model of a few thousand weights, with a tokenizer of its own."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=special))
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", model_max_length=64
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


def test_planted_errors_stand_out() -> None:
    rows = planted(600, noise=0.15)
    fitted = cross_fit(TASK, rows)
    assert auroc(fitted.suspicion, is_wrong(TASK, fitted, rows)) > 0.95
    assert fitted.suspicion.min() >= 0
    assert fitted.suspicion.max() <= 1


def test_real_errors_of_people_stand_out() -> None:
    rows = rows_of(TASK, read("text_classification/vader_tweets", "train"), "text")
    fitted = cross_fit(TASK, rows)
    assert auroc(fitted.suspicion, is_wrong(TASK, fitted, rows)) > 0.7


def test_gold_labels_train_a_better_model_than_noisy_ones() -> None:
    train, test = planted(500, noise=0.45), planted(300, noise=0.0, seed=1)
    noisy = metrics_on(TASK, train, test, labels=train.labels)["accuracy"]
    clean = metrics_on(TASK, train, test, labels=train.gold)["accuracy"]
    assert clean > 0.95
    assert clean > noisy


def test_planted_errors_stand_out_to_a_transformers_model(tmp_path: Path) -> None:
    rows = planted(400, noise=0.15)
    model = tiny_bert(tmp_path, rows.contents)
    fitted = cross_fit(TASK, rows, model=model, defaults={"epochs": 8, "learning_rate": 5e-3})
    assert auroc(fitted.suspicion, is_wrong(TASK, fitted, rows)) > 0.9


def test_a_judgement_names_the_label_its_rivals_and_its_reason() -> None:
    rows = planted(200, noise=0.1)
    scored = cross_fit(TASK, rows).scored
    for row in scored.to_pylist():
        values = [one["probability"] for one in row["suggestions"]]
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1, abs=1e-5)  # three classes, all suggested
        assert {one["label"]: one["probability"] for one in row["suggestions"]}[
            row["label"]
        ] == pytest.approx(row["p_label"])
    assert len(model_task(TASK).reasons(scored)) == scored.num_rows


@given(st.integers(2, 12), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_parts_are_as_suspicious_as_the_whole_table(
    num_classes: int, num_rows: int, seed: int
) -> None:
    randomness = np.random.default_rng(seed)
    classes = [f"class-{place}" for place in range(num_classes)]
    probabilities = randomness.dirichlet(np.ones(num_classes), num_rows).astype(np.float32)
    scored = score(probabilities, randomness.integers(num_classes, size=num_rows), classes)
    task, cut = model_task(TASK), num_rows // 2
    parts = [part for part in (scored.slice(0, cut), scored.slice(cut)) if part.num_rows]
    sums = {"belief": sum(task.sums(part, classes)["belief"] for part in parts)}
    whole = task.sums(scored, classes)
    assert np.allclose(sums["belief"], whole["belief"])
    found = np.concatenate([task.suspicion(part, whole, classes) for part in parts])
    assert np.allclose(found, task.suspicion(scored, whole, classes))
    assert found.min() >= 0
    assert found.max() <= 1


def test_an_unknown_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no-such-folder"):
        model_task(TASK).prepare(
            tmp_path, model="./no-such-folder/model", contents=["a"], labels=["b"]
        )


@pytest.mark.parametrize(
    ("text", "label", "told"),
    [
        (7, "x", "text: is int"),
        ("", "x", "text: is empty"),
        (" \n", "x", "text: is empty"),
        (None, "x", "NoneType"),
        ("a", None, "label: is null"),
        ("a", " ", "label is empty"),
        ("a", 1.5, "label: 1.5 is a measure"),
        ("a", float("inf"), "label: inf is a measure"),
        ("a", float("nan"), "label: is null"),
        ("a", ["x"], "label: is list"),
    ],
)
def test_unfit_rows_are_told_why(text: object, label: object, told: str) -> None:
    task = task_named(TASK)
    with pytest.raises(InvalidInput, match=told):
        task.read_label(label, task.read_content({"text": text}))


@pytest.mark.parametrize(
    ("value", "label"),
    [(1.0, "1"), (-0.0, "0"), (7, "7"), (True, "true"), (Decimal("2.00"), "2"), ("ham ", "ham ")],
)
def test_whole_numbers_and_booleans_are_classes(value: object, label: str) -> None:
    assert task_named(TASK).read_label(value, "a") == label


def test_a_label_goes_over_the_wire_and_back() -> None:
    task = task_named(TASK)
    for label in ("ham", "ÄÖ", "0"):
        assert task.label_from_wire(task.label_to_wire(label)) == label
        assert task.write_label(task.read_label(label, "text"), "text") == label
