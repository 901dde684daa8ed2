"""Checkpoints as people have them: of any architecture, precision, head and length of input."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForObjectDetection,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForSpeechSeq2Seq,
    AutoModelForTokenClassification,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    FunnelConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    T5Config,
    ViTConfig,
    ViTImageProcessorPil,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    XLNetConfig,
    YolosConfig,
    YolosImageProcessorPil,
)

from cluster.inference.embeddings import Embedder
from cluster.tasks import model_task
from relabel_service.errors import InvalidInput
from relabel_service.tasks import task_named
from tests.support import cross_fit
from tests.support.cross_fit import predict
from tests.tasks.test_audio_classification import tone

WORDS = ["good", "bad", "film", "plot", "cast", "the", "a", "of", "was", "is"]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<cls>"]
PAD, START, END = 0, 1, 2
CONTENTS = [
    "the film was good",
    "bad",
    "good plot </s> of a </s> film",
    "the cast was bad " * 40,  # longer than every model's positions
    "good " * 200,
    "the plot is bad",
] * 2
LABELS = ["neg" if "bad" in text else "pos" for text in CONTENTS]
SMALL: dict[str, Any] = {
    "vocab_size": len(WORDS) + len(SPECIAL),
    "hidden_size": 16,
    "num_hidden_layers": 1,
}
SMALL |= {"num_attention_heads": 2, "intermediate_size": 32, "pad_token_id": PAD}
DECODER: dict[str, Any] = {"bos_token_id": START, "eos_token_id": END}
SEQ2SEQ: dict[str, Any] = {
    "d_model": 16,
    "vocab_size": SMALL["vocab_size"],
    "pad_token_id": PAD,
} | DECODER
BART = BartConfig(
    **SEQ2SEQ, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
    decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=40,
    decoder_start_token_id=END, forced_eos_token_id=END,
)  # fmt: skip
BERT = BertConfig(**SMALL, max_position_embeddings=40)
WHISPER = WhisperConfig(
    d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32,
    decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=32, num_mel_bins=40,
    max_source_positions=50, max_target_positions=20, vocab_size=SMALL["vocab_size"],
    pad_token_id=PAD, decoder_start_token_id=START, suppress_tokens=None,
    begin_suppress_tokens=None, **DECODER,
)  # fmt: skip
TEXT_MODELS: dict[str, Any] = {
    "bert": BERT,
    "roberta": RobertaConfig(**{**SMALL, "pad_token_id": 1}, max_position_embeddings=40),
    "deberta": DebertaV2Config(**SMALL, max_position_embeddings=40, relative_attention=True),
    "modernbert": ModernBertConfig(
        **SMALL, **DECODER, cls_token_id=4, sep_token_id=END, max_position_embeddings=40
    ),
    "bart": BART,
    "t5": T5Config(
        **SEQ2SEQ, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    ),
    "xlnet": XLNetConfig(
        vocab_size=SMALL["vocab_size"], d_model=16, n_layer=1, n_head=2, d_inner=32,
        pad_token_id=PAD, **DECODER,
    ),
    "funnel": FunnelConfig(
        vocab_size=SMALL["vocab_size"], block_sizes=[1, 1], num_decoder_layers=1, d_model=16,
        n_head=2, d_head=8, d_inner=32, pad_token_id=PAD,
    ),
    "gpt2": GPT2Config(
        vocab_size=SMALL["vocab_size"], n_positions=40, n_embd=16, n_layer=1, n_head=2,
        **DECODER,
    ),
    "llama": LlamaConfig(**{**SMALL, **DECODER, "pad_token_id": None}, max_position_embeddings=40),
}  # fmt: skip
WITHOUT_PADDING = ("gpt2", "llama")


def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Words as tokens, with the architecture's special ones; without a stated longest input."""
    special = [*SPECIAL]
    if kind == "roberta":
        special[0], special[1] = special[1], special[0]  # padding is 1
    words = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate([*special, *WORDS])}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    if kind not in WITHOUT_PADDING:
        words.post_processor = processors.TemplateProcessing(
            single="<cls> $A </s>", special_tokens=[("<cls>", 4), ("</s>", END)]
        )
    padding = {} if kind in WITHOUT_PADDING else {"pad_token": "<pad>"}
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=words,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side="left" if kind == "xlnet" else "right",
        **padding,
    )


def checkpoint(
    folder: Path, kind: str, auto: Any = AutoModelForSequenceClassification, **settings: Any
) -> str:
    """A random one of two labels that are not the data's, as a local path."""
    torch.manual_seed(0)
    config = type(TEXT_MODELS[kind]).from_dict({**TEXT_MODELS[kind].to_dict(), **settings})
    auto.from_config(config).save_pretrained(folder / "model")
    tokenizer(kind).save_pretrained(folder / "model")
    return str(folder / "model")


def prepared(
    task: str, folder: Path, model: str, contents: list[str], labels: list[str], **settings: Any
) -> Any:
    (folder / "prepared").mkdir()
    models_of = model_task(task)
    models_of.prepare(folder / "prepared", model=model, contents=contents, labels=labels)
    classes = settings.get("classes", tuple(sorted(set(labels))))
    return models_of.load(folder / "prepared", model=model, classes=classes, pretrained=True)


def fit(learner: Any, contents: list[str], labels: list[str], **settings: Any) -> None:
    learner.defaults = replace(learner.defaults, **settings)
    cross_fit.fit(learner, contents, labels)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", TEXT_MODELS)
def test_sequence_classifiers_of_every_kind_train_and_score(kind: str, tmp_path: Path) -> None:
    model = checkpoint(tmp_path, kind)
    learner = prepared("text_classification", tmp_path, model, CONTENTS, LABELS)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    fit(learner, CONTENTS, LABELS, epochs=2)
    changed = [n for n, v in learner.state_dict().items() if not torch.equal(v, before[n])]
    assert len(changed) > len(before) / 2
    probabilities = np.stack(predict(learner, CONTENTS))
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    scored = learner.score(list(probabilities), LABELS, CONTENTS)
    assert scored.num_rows == len(CONTENTS)
    again: Any = model_task("text_classification").load(
        tmp_path / "prepared", model=model, classes=("neg", "pos"), pretrained=False
    )
    again.load_state_dict(learner.state_dict())
    one_by_one = np.concatenate([predict(again, [content]) for content in CONTENTS])
    assert np.allclose(one_by_one, probabilities, atol=1e-4)  # padding changes nothing


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_checkpoints_are_trained_in_float32(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    model = checkpoint(tmp_path, "bert")
    AutoModelForSequenceClassification.from_pretrained(model).to(dtype).save_pretrained(model)
    learner = prepared("text_classification", tmp_path, model, CONTENTS, LABELS)
    assert {value.dtype for value in learner.parameters()} == {torch.float32}
    before = [value.clone() for value in learner.parameters()]
    fit(learner, CONTENTS, LABELS, epochs=1, learning_rate=1e-5)
    moved = [(a != b).float().mean() for a, b in zip(learner.parameters(), before, strict=True)]
    assert np.mean(moved) > 0.7  # in bfloat16 a quarter; some rows of words that never occur
    again: Any = model_task("text_classification").load(
        tmp_path / "prepared", model=model, classes=("neg", "pos"), pretrained=False
    )
    assert {value.dtype for value in again.parameters()} == {torch.float32}


def test_a_half_precision_whisper_hears_and_writes(tmp_path: Path) -> None:
    model: Any = AutoModelForSpeechSeq2Seq.from_config(WHISPER)  # type: ignore[no-untyped-call]
    model.half().save_pretrained(tmp_path / "model")
    tokenizer("bart").save_pretrained(tmp_path / "model")
    WhisperFeatureExtractor(feature_size=40, chunk_length=1).save_pretrained(tmp_path / "model")  # type: ignore[no-untyped-call]
    task = task_named("sequence_generation")
    contents = [task.read_content({"audio": tone(440)})] * 2
    labels = ["the film", "good"]
    learner = prepared("sequence_generation", tmp_path, str(tmp_path / "model"), contents, labels)
    fit(learner, contents, labels, epochs=1)
    assert len(predict(learner, contents)) == 2


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["pos", "neg"], True),
        (["POS", "other", " Neg "], True),
        (["good", "bad"], False),
        (["pos", "LABEL_1"], False),
    ],
    ids=["order", "more and letter case", "others", "one missing"],
)
def test_a_head_is_matched_to_the_classes_by_name(
    names: list[str], kept: bool, tmp_path: Path
) -> None:
    model = checkpoint(tmp_path, "bert", id2label=dict(enumerate(names)), label2id=None)
    own = AutoModelForSequenceClassification.from_pretrained(model)
    learner = prepared("text_classification", tmp_path, model, CONTENTS, LABELS)
    head = learner.state_dict()["network.model.classifier.weight"]
    plain = [name.strip().lower() for name in names]
    same = [
        any(torch.equal(row, other) for other in own.classifier.weight) for row in head
    ]  # fmt: skip
    assert same == [kept, kept]
    if kept:
        expected = own.classifier.weight[[plain.index("neg"), plain.index("pos")]]
        assert torch.equal(head, expected)
    embeddings = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(
        learner.state_dict()[f"network.model.{embeddings}"], own.state_dict()[embeddings]
    )


def test_a_taggers_head_is_matched_by_name(tmp_path: Path) -> None:
    names = ["I-PER", "O", "B-LOC", "B-PER", "I-LOC"]
    model = checkpoint(
        tmp_path, "bert", AutoModelForTokenClassification,
        id2label=dict(enumerate(names)), label2id=None,
    )  # fmt: skip
    own = AutoModelForTokenClassification.from_pretrained(model)
    task = task_named("token_classification")
    content = task.read_content({"tokens": ["good", "film"]})
    learner = prepared(
        "token_classification", tmp_path, model, [content], ["[]"], classes=("LOC", "PER")
    )
    head = learner.state_dict()["network.windows.model.classifier.weight"]
    order = [names.index(name) for name in ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")]
    assert torch.equal(head, own.classifier.weight[order])


def test_a_detectors_head_is_matched_by_name_with_its_class_for_nothing(tmp_path: Path) -> None:
    config = YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        image_size=[32, 32], num_detection_tokens=4, id2label={0: "dog", 1: "cat"},
    )  # fmt: skip
    own: Any = AutoModelForObjectDetection.from_config(config)  # type: ignore[no-untyped-call]
    own.save_pretrained(tmp_path / "model")
    YolosImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "model")
    learner = prepared(
        "object_detection", tmp_path, str(tmp_path / "model"), [], [], classes=("cat", "dog")
    )
    name = "class_labels_classifier.layers.2.weight"
    head = learner.state_dict()[f"network.{name}"]
    assert torch.equal(head, own.state_dict()[name][[1, 0, 2]])


def test_a_checkpoint_whose_head_names_the_classes_predicts_before_any_training(
    tmp_path: Path,
) -> None:
    names = {0: "pos", 1: "neg"}
    model = checkpoint(tmp_path, "bert", id2label=names, label2id=None)
    own = AutoModelForSequenceClassification.from_pretrained(model).eval()
    learner = prepared("text_classification", tmp_path, model, CONTENTS, LABELS)
    batch = tokenizer("bert")([CONTENTS[0]], return_tensors="pt")
    with torch.inference_mode():
        logits = own(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = logits.softmax(-1)[0].numpy()[::-1]
    assert np.allclose(predict(learner, [CONTENTS[0]])[0], expected, atol=1e-6)


@pytest.mark.parametrize("duration_s", [0.02, 0.11, 0.4])
def test_clips_shorter_than_the_mask_of_spec_augment_train(
    duration_s: float, tmp_path: Path
) -> None:
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        conv_dim=(8, 8, 8), conv_stride=(8, 8, 5), conv_kernel=(10, 8, 8),
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, classifier_proj_size=8,
        mask_time_prob=0.5, mask_time_length=10,
    )  # fmt: skip
    model: Any = AutoModelForAudioClassification.from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(tmp_path / "model")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "model")  # type: ignore[no-untyped-call]
    task = task_named("audio_classification")
    contents = [
        task.read_content({"audio": tone(hertz, duration_s=duration_s)}) for hertz in (300, 900)
    ] * 2
    labels = ["low", "high"] * 2
    learner = prepared("audio_classification", tmp_path, str(tmp_path / "model"), contents, labels)
    fit(learner, contents, labels, epochs=1)
    assert np.isfinite(np.stack(predict(learner, contents))).all()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("text_classification", "a vit does not classify texts"),
        ("token_classification", "model"),
        ("sequence_generation", "model"),
        ("audio_classification", "model"),
    ],
)
@pytest.mark.parametrize("with_tokenizer", [False, True])
def test_a_vision_model_is_refused_when_a_training_is_prepared(
    task: str, message: str, with_tokenizer: bool, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    ViTConfig(image_size=16, patch_size=8, hidden_size=16, num_hidden_layers=1).save_pretrained(
        path
    )
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(path)
    if with_tokenizer:
        tokenizer("bert").save_pretrained(path)
    with pytest.raises(InvalidInput, match=message):
        model_task(task).prepare(tmp_path, model=str(path), contents=["a film"], labels=["good"])


def test_bfloat16_generators_are_trained_in_float32(tmp_path: Path) -> None:
    model = checkpoint(tmp_path, "bart", AutoModelForSeq2SeqLM)
    AutoModelForSeq2SeqLM.from_pretrained(model).bfloat16().save_pretrained(model)
    contents, labels = ["the film was good", "bad"] * 2, ["good", "bad plot"] * 2
    learner = prepared("sequence_generation", tmp_path, model, contents, labels)
    assert {value.dtype for value in learner.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", TEXT_MODELS)
def test_any_text_model_gives_embeddings_of_its_encoder(kind: str, tmp_path: Path) -> None:
    vectors = Embedder("text_classification", checkpoint(tmp_path, kind))(CONTENTS)
    assert vectors.shape == (len(CONTENTS), SEQ2SEQ["d_model"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert not np.allclose(vectors[0], vectors[1])
    alone = Embedder("text_classification", str(tmp_path / "model"))(CONTENTS[1:2])
    assert np.allclose(alone[0], vectors[1], atol=1e-4) or kind == "funnel"  # pools by padding


def test_embeddings_of_an_encoder_decoder_are_its_encoders(tmp_path: Path) -> None:
    model = checkpoint(tmp_path, "bart")
    network = AutoModel.from_pretrained(model).get_encoder().eval()
    batch = tokenizer("bart")(CONTENTS[1:2], return_tensors="pt")
    with torch.no_grad():
        expected = network(batch.input_ids).last_hidden_state.mean(1)[0]
    [found] = Embedder("text_classification", model)(CONTENTS[1:2])
    assert np.allclose(found, (expected / expected.norm()).numpy(), atol=1e-5)


def test_a_sound_model_given_as_encoder_of_texts_is_refused(tmp_path: Path) -> None:
    AutoModelForSpeechSeq2Seq.from_config(WHISPER).save_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    tokenizer("bart").save_pretrained(tmp_path)
    with pytest.raises(InvalidInput, match=r"encoder: .* reads input_features, not input_ids"):
        Embedder("text_classification", str(tmp_path))(CONTENTS)
