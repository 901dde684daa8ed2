"""Sequence generation: its text forms, its measures, and planted wrong targets found."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from cluster.data.rows import Source, latest
from cluster.engine.local import LocalEngine
from cluster.inference.evaluate import evaluate, predict_tests
from cluster.inference.predict import InferenceConfig
from cluster.interfaces import TrainingDefaults
from cluster.mining.scoring import Scoring
from cluster.models.generation.generations import Generated
from cluster.scores import tokenizers
from cluster.scores.text_distance import DISTANCES, distances, tokens
from cluster.tasks import model_task
from cluster.training.config import TrainConfig
from cluster.training.model_store import ModelStore
from cluster.training.train import train
from relabel_service.errors import InvalidInput
from relabel_service.tasks import task_named
from relabel_service.tasks.sequence_generation import is_sound
from relabel_service.v1 import labels_pb2
from tests.data.slices import read
from tests.support.cross_fit import CrossFitted, Rows, auroc, cross_fit, fit, is_wrong, predict

TASK = "sequence_generation"
LIGHT, HEAVY = task_named(TASK), model_task(TASK)
WORDS = {"red": "rot", "green": "gruen", "blue": "blau", "box": "Kiste", "cat": "Katze"}


def test_texts_go_there_and_back() -> None:
    content = LIGHT.read_content({"source": "a b"})
    assert LIGHT.content_to_wire(content).text.text == "a b"
    label = LIGHT.read_label("A  B ", content)
    assert LIGHT.write_label(label, content) == "A  B "
    assert LIGHT.label_from_wire(LIGHT.label_to_wire(label)) == "A  B "


@pytest.mark.parametrize("value", ["", "  ", None, 3])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="give a"):
        LIGHT.read_label(value, "a")
    with pytest.raises(InvalidInput, match="give a"):
        LIGHT.read_content({"source": value})


def test_another_tasks_label_is_refused() -> None:
    label = labels_pb2.Label(class_label=labels_pb2.ClassLabel(class_name="1"))
    with pytest.raises(InvalidInput, match="class_label does not suit sequences"):
        LIGHT.label_from_wire(label)


def test_distance_counts_words() -> None:
    assert LIGHT.distance("a b c d", "a b c d") == 0
    assert LIGHT.distance("a b c d", "a b c e") == pytest.approx(0.25)
    assert LIGHT.distance("a b", "c d") == 1


@pytest.mark.parametrize("name", DISTANCES)
def test_every_measure_runs_from_the_same_text_to_one_with_nothing_in_common(name: str) -> None:
    measure = distances("13a")[name]
    assert measure("the cat sat down", "the cat sat down") == pytest.approx(0, abs=1e-6)
    assert measure("the cat sat down", "XYZ QUV") == pytest.approx(1, abs=0.05)
    assert 0 <= measure("the cat sat down", "the cat ran") <= 1
    assert measure("the cat sat down", "") == pytest.approx(1)


def test_tokens_of_scripts_without_spaces_are_characters() -> None:
    assert tokens("Tokyo東京 it's, 42") == ["Tokyo", "東", "京", "it", "'", "s", ",", "42"]


THAI, LAO = "แมวนั่งอยู่บนเสื่อ", "ແມວນັ່ງຢູ່ເທິງເສື່ອ"
SCRIPTS = {
    "chinese": ("猫坐在红色的垫子上面睡觉", "zh"),
    "chinese and names": ("请联系 Ann Smith 领取包裹", "zh"),
    "japanese": ("猫は赤いマットの上に座っている", "ja-mecab" if find_spec("MeCab") else "char"),
    "thai": (THAI, "char"),
    "lao": (LAO, "char"),
    "korean": ("고양이가 빨간 매트 위에 앉아 있다", "13a"),
    "two words": ("red box", "13a"),
    "one word": ("box", "13a"),
    "english with one sign": ("the cat sat on the red mat 中", "13a"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_bleu_cuts_texts_by_their_script(name: str) -> None:
    text, tokenize = SCRIPTS[name]
    assert tokenizers.by_script([text] * 3) == tokenize
    assert HEAVY.metrics([text] * 3, [text] * 3)["bleu"] == pytest.approx(1)
    assert next(iter(HEAVY.metrics([text], [text]))) == "bleu"
    assert distances(tokenize)["bleu_distance"](text, text) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["chinese", "chinese and names", "japanese", "thai", "lao"])
def test_a_text_with_one_wrong_sign_is_near_in_every_measure(name: str) -> None:
    text, tokenize = SCRIPTS[name]
    other = f"{text[:-1]}x" if name != "chinese and names" else text.replace("包", "信")
    assert 0.5 < HEAVY.metrics([other] * 3, [text] * 3)["bleu"] < 1
    assert 0.5 < HEAVY.metrics([other] * 3, [text] * 3)["token_accuracy"] < 1
    for distance in ("bleu_distance", "chrf_distance", "edit_distance"):
        assert 0 < distances(tokenize)[distance](text, other) < 0.5
    assert 0 < LIGHT.distance(text, other) < 0.5


def test_a_tokenizer_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"tokenize: 'jieba' is not one of .*13a, .*zh"):
        tokenizers.choose("jieba", ["a"])
    with pytest.raises(InvalidInput, match=r"'flores200' cannot be used here: .*pip install"):
        tokenizers.choose("flores200", ["a"])
    with pytest.raises(InvalidInput, match="'zh' has no use in image_classification"):
        model_task("image_classification").prepare_tokenizer(Path(), "zh", ["a"])


@pytest.mark.parametrize(("asked", "kept"), [(None, "zh"), ("char", "char")])
def test_the_training_keeps_its_tokenizer_for_distances_and_metrics(
    asked: str | None, kept: str, tmp_path: Path
) -> None:
    labels = ["今天天气很好 Ann", "我们明天见面 Bob"] * 20
    table = pa.table({"id": [str(at) for at in range(40)], "source": labels, "label": labels})
    pq.write_table(table, tmp_path / "train.parquet")
    source = latest(Source(str(tmp_path / "train.parquet"), TASK, ("source",), "label", "id"))
    config, out = TrainConfig(num_folds=0, epochs=1, tokenize=asked), str(tmp_path / "model")
    manifest = train(source, config, out, LocalEngine())
    assert manifest.tokenize == ModelStore(out).manifest().tokenize == kept
    [learner] = ModelStore(out).load_runs(manifest, ["all"]).values()
    generated = Generated(("今天天气不好 Bob",), (0.5,), 0.5)
    scored = learner.score([generated], labels[:1], labels[:1])
    expected = distances(kept)["bleu_distance"](labels[0], generated.texts[0])
    assert scored["bleu_distance"].to_pylist() == [pytest.approx(expected)]
    told = evaluate(out, {"test": source}, InferenceConfig(), LocalEngine())["test"].metrics
    predicted = predict_tests(out, {"test": source}, InferenceConfig(), LocalEngine())["test"]
    assert predicted.tokenize == kept
    by_hand = HEAVY.metrics(predicted.predicted, predicted.labels, tokenize=kept)
    assert told["bleu"] == pytest.approx(by_hand["bleu"])


@pytest.mark.parametrize("text", ["a b", "  two  spaces ", "name[Blue Spice], area[x]", "漢字 é\n"])
def test_the_tokenizer_gives_every_text_back(text: str, tmp_path: Path) -> None:
    HEAVY.prepare(tmp_path, model=None, contents=["a b c"] * 20, labels=["name[x]"] * 20)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def phrases(num_rows: int, *, noise: float, seed: int = 0) -> Rows:
    """Phrases word for word in another language; a share of the targets is another row's."""
    randomness = np.random.default_rng(seed)
    contents = [" ".join(randomness.choice(list(WORDS), 4)) for _ in range(num_rows)]
    gold = [" ".join(WORDS[word] for word in content.split()) for content in contents]
    wrong = randomness.random(num_rows) < noise
    labels = [gold[place - 7] if flip else gold[place] for place, flip in enumerate(wrong)]
    return Rows([f"row-{place}" for place in range(num_rows)], contents, labels, gold)


@pytest.fixture(scope="module")
def planted() -> tuple[CrossFitted, Rows]:
    rows = phrases(600, noise=0.1)
    return cross_fit(TASK, rows, num_folds=2, defaults={"epochs": 12}), rows


def test_planted_wrong_targets_rank_high(planted: tuple[CrossFitted, Rows]) -> None:
    fitted, rows = planted
    wrong = is_wrong(TASK, fitted, rows)
    assert fitted.suspicion.min() >= 0
    assert fitted.suspicion.max() <= 1
    assert auroc(fitted.suspicion, wrong) > 0.95
    for name in ("bleu_distance", "chrf_distance", "edit_distance", "label_unlikelihood"):
        assert auroc(fitted.signals[name], wrong) > 0.9


def test_the_truth_is_among_the_suggestions_of_wrong_rows(
    planted: tuple[CrossFitted, Rows],
) -> None:
    fitted, rows = planted
    suggested = fitted.scored["suggestions"].to_pylist()
    places = np.flatnonzero(is_wrong(TASK, fitted, rows)).tolist()
    found = [rows.gold[p] in [one["label"] for one in suggested[p]] for p in places]
    assert np.mean(found) > 0.8
    for row in suggested[:50]:
        chances = [one["probability"] for one in row]
        assert len({one["label"] for one in row}) == len(row) <= 3
        assert chances == sorted(chances, reverse=True)


def test_every_ranking_signal_can_be_ranked_by(planted: tuple[CrossFitted, Rows]) -> None:
    fitted, _ = planted
    for name in HEAVY.ranking_signals:
        scoring = Scoring(TASK, (), disagreement=name)
        found = scoring.suspicion(fitted.scored, {})
        assert found.min() >= 0
        assert found.max() <= 1


def test_an_unknown_ranking_signal_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"'blue' is not one of .*; use one of bleu_distance"):
        Scoring(TASK, (), disagreement="blue")
    with pytest.raises(InvalidInput, match="leave it out"):
        Scoring("text_classification", (), disagreement="bleu_distance")


def test_metrics_are_perfect_for_the_truth_and_lower_for_less() -> None:
    truth = ["the cat sat on the mat", "a red box"]
    assert HEAVY.metrics(truth, truth) == pytest.approx(
        {"bleu": 1, "chrf": 1, "token_accuracy": 1, "exact_match": 1}
    )
    less = HEAVY.metrics(["the cat sat on a mat", "a red box"], truth)
    assert less["exact_match"] == 0.5
    assert less["token_accuracy"] == pytest.approx(8 / 9)
    assert less["bleu"] < 1


def word_tokenizer(folder: Path, texts: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )
    fast: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    fast.save_pretrained(folder)
    return fast


def tiny_t5(folder: Path, texts: list[str]) -> None:
    T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(word_tokenizer(folder, texts)),
            d_model=64,
            d_kv=16,
            d_ff=64,
            num_layers=1,
            num_heads=4,
            dropout_rate=0.0,
            decoder_start_token_id=1,  # type: ignore[call-arg]
            pad_token_id=1,
            eos_token_id=2,
        )
    ).save_pretrained(folder)


def tiny_bart(folder: Path, texts: list[str]) -> None:
    BartForConditionalGeneration(
        BartConfig(
            vocab_size=len(word_tokenizer(folder, texts)),
            d_model=64,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            dropout=0.0,
            max_position_embeddings=32,
            forced_eos_token_id=None,
        )
    ).save_pretrained(folder)


@pytest.mark.parametrize("make", [tiny_t5, tiny_bart])
def test_models_by_path_train_generate_and_weigh_labels(make: Any, tmp_path: Path) -> None:
    rows = phrases(200, noise=0.0)
    model, prepared = tmp_path / "model", tmp_path / "prepared"
    model.mkdir()
    prepared.mkdir()
    torch.manual_seed(0)
    make(model, [*rows.contents, *rows.gold])
    HEAVY.prepare(prepared, model=str(model), contents=rows.contents, labels=rows.labels)
    learner = HEAVY.load(prepared, model=str(model), classes=(), pretrained=True)
    learner.defaults = TrainingDefaults(epochs=12, batch_size=32, learning_rate=5e-3)
    fit(learner, rows.contents, rows.labels)
    right, wrong = rows.gold[:20], [rows.gold[place - 7] for place in range(20)]
    scored = [
        learner.score(predict(learner, rows.contents[:20], given), given, rows.contents[:20])
        for given in (right, wrong)
    ]
    unlikely = [np.mean(one["label_unlikelihood"].to_numpy()) for one in scored]
    assert unlikely[0] < unlikely[1]
    assert np.mean(scored[0]["edit_distance"].to_numpy()) < 0.6
    assert all(one[0]["label"] for one in scored[0]["suggestions"].to_pylist())
    fresh = HEAVY.load(prepared, model=str(model), classes=(), pretrained=False)
    fresh.load_state_dict(learner.state_dict())  # as inference does, without the model's path


def test_a_model_without_a_decoder_is_refused(tmp_path: Path) -> None:
    word_tokenizer(tmp_path, ["a b"])
    BertConfig(vocab_size=10).save_pretrained(tmp_path)
    with pytest.raises(InvalidInput, match=r"bert.*has no decoder; use one like T5"):
        HEAVY.prepare(tmp_path, model=str(tmp_path), contents=["a"], labels=["b"])
    with pytest.raises(InvalidInput, match="not a model by hub id or local path"):
        HEAVY.prepare(tmp_path, model=str(tmp_path / "gone"), contents=["a"], labels=["b"])


def tiny_whisper(folder: Path, texts: list[str]) -> None:
    """Hears one second."""
    vocabulary = len(word_tokenizer(folder, texts))
    extractor = WhisperFeatureExtractor(  # type: ignore[no-untyped-call]
        feature_size=16, chunk_length=1
    )
    extractor.save_pretrained(folder)
    WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=vocabulary,
            num_mel_bins=16,
            max_source_positions=50,
            max_target_positions=8,
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            dropout=0.0,
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=0,
        )
    ).save_pretrained(folder)


def test_transcripts_are_sequences_whose_source_is_a_sound(tmp_path: Path) -> None:
    table = read("audio_classification/spoken_digits", "train").slice(0, 40)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    contents = [LIGHT.read_content({"audio": sound}) for sound in table["audio"].to_pylist()]
    labels = [f"the {names[int(digit)]}" for digit in table["gold"].to_pylist()]
    assert LIGHT.content_to_wire(contents[0]).audio.media_type == "audio/wav"
    model, prepared = tmp_path / "model", tmp_path / "prepared"
    model.mkdir()
    prepared.mkdir()
    torch.manual_seed(0)
    tiny_whisper(model, labels)
    HEAVY.prepare(prepared, model=str(model), contents=contents, labels=labels)
    learner = HEAVY.load(prepared, model=str(model), classes=(), pretrained=True)
    learner.defaults = TrainingDefaults(epochs=15, batch_size=8, learning_rate=5e-3)
    fit(learner, contents, labels)
    scored = learner.score(predict(learner, contents, labels), labels, contents)
    nonsense = ["nine the"] * len(labels)
    other = learner.score(predict(learner, contents, nonsense), nonsense, contents)
    unlikely = [np.mean(one["label_unlikelihood"].to_numpy()) for one in (scored, other)]
    assert unlikely[0] < unlikely[1]
    assert scored["suggestions"][0][0]["label"].as_py().startswith("the ")


def test_sources_and_models_must_suit_each_other(tmp_path: Path) -> None:
    sound = read("audio_classification/spoken_digits", "train")["audio"][0].as_py()
    content = LIGHT.read_content({"audio": sound})
    tiny_whisper(tmp_path, ["a b"])
    with pytest.raises(InvalidInput, match="built-in cannot read sounds; use one like Whisper"):
        HEAVY.prepare(tmp_path, model=None, contents=[content], labels=["b"])
    with pytest.raises(InvalidInput, match="cannot read texts; use one like T5"):
        HEAVY.prepare(tmp_path, model=str(tmp_path), contents=["a"], labels=["b"])
    tiny_t5(tmp_path, ["a b"])
    with pytest.raises(InvalidInput, match="cannot read sounds; use one like Whisper"):
        HEAVY.prepare(tmp_path, model=str(tmp_path), contents=[content], labels=["b"])


@pytest.mark.parametrize(
    ("source", "sound"),
    [
        ("s3://bucket/a.wav", True),
        ("a text about s3://bucket/a.wav", False),
        ("https://example.org/a.html", False),
        ("data:audio/wav;base64,AAAA", True),
        ("data: the plural of datum", False),
    ],
)
def test_sounds_are_told_from_texts(source: str, sound: bool) -> None:
    assert is_sound(source) is sound
