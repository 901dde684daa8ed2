"""Audio classification: sounds in, class names out, wrong labels near the top."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from transformers import (
    AutoModelForAudioClassification,
    BertConfig,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
)

from cluster.models.audio.convnet import NUM_BANDS, log_mel
from cluster.models.audio.waveform import resampled
from cluster.tasks import model_task
from relabel_service.errors import InvalidInput
from relabel_service.tasks import task_named
from tests.data import slices
from tests.support import cross_fit as training

NAME = "audio_classification"
TASK = task_named(NAME)


def tone(frequency: float, *, rate: int = 8000, duration_s: float = 0.5) -> bytes:
    times = np.arange(int(rate * duration_s)) / rate
    file = io.BytesIO()
    soundfile.write(file, 0.5 * np.sin(2 * np.pi * frequency * times), rate, format="WAV")
    return file.getvalue()


@pytest.fixture(scope="module")
def digits() -> training.Rows:
    return training.rows_of(
        NAME, slices.read("audio_classification/spoken_digits", "train"), "audio"
    )


def test_a_sound_goes_over_the_wire_as_its_bytes() -> None:
    content = TASK.read_content({"audio": tone(440)})
    wire = TASK.content_to_wire(content)
    assert wire.audio.data == tone(440)
    assert wire.audio.media_type == "audio/wav"


def test_a_sound_that_cannot_be_decoded_is_a_fault_of_its_row() -> None:
    with pytest.raises(InvalidInput, match="voice: is not a readable sound"):
        TASK.read_content({"voice": b"RIFF, or so it says"})


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
def test_resampling_keeps_pitch_and_duration(rate: int) -> None:
    heard = resampled(tone(440, rate=rate), 16000)
    assert len(heard) == pytest.approx(8000, abs=2)
    spectrum = np.abs(np.fft.rfft(heard))
    assert np.argmax(spectrum) / 0.5 == pytest.approx(440, abs=4)


def test_a_higher_tone_lights_a_higher_band() -> None:
    bands = [
        int(log_mel(resampled(tone(frequency), 8000), 8000).mean(axis=0).argmax())
        for frequency in (200, 400, 800, 1600, 3200)
    ]
    assert bands == sorted(set(bands))
    assert bands[-1] < NUM_BANDS


@pytest.mark.parametrize("duration_s", [0.002, 0.5, 9.0])
def test_sounds_of_any_duration_are_encoded_alike(duration_s: float, tmp_path: Path) -> None:
    models = model_task(NAME)
    contents = [TASK.read_content({"audio": tone(440, duration_s=s)}) for s in (0.4, 0.5, 0.6)]
    models.prepare(tmp_path, model=None, contents=contents, labels=["a", "b", "a"])
    learner = models.load(tmp_path, model=None, classes=("a", "b"), pretrained=True)
    other = TASK.read_content({"audio": tone(440, duration_s=duration_s)})
    [usual], [encoded] = learner.encode(contents[:1]), learner.encode([other])
    assert encoded.shape == usual.shape
    assert np.isfinite(encoded).all()


def test_planted_wrong_labels_rank_high(digits: training.Rows) -> None:
    fitted = training.cross_fit(NAME, digits, num_folds=3)
    wrong = training.is_wrong(NAME, fitted, digits)
    assert 0.1 < wrong.mean() < 0.25
    assert training.auroc(fitted.suspicion, wrong) > 0.7


CONFIGS = {
    "wav2vec2": (
        Wav2Vec2Config(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            conv_dim=(8, 8),
            conv_stride=(5, 4),
            conv_kernel=(10, 8),
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
            classifier_proj_size=8,
            mask_time_prob=0.0,
        ),
        Wav2Vec2FeatureExtractor(),  # type: ignore[no-untyped-call]
    ),
    "whisper": (
        WhisperConfig(
            d_model=16,
            encoder_layers=1,
            encoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_layers=1,
            decoder_attention_heads=2,
            decoder_ffn_dim=32,
            num_mel_bins=40,
            max_source_positions=50,
            classifier_proj_size=8,
        ),
        WhisperFeatureExtractor(feature_size=40, chunk_length=1),  # type: ignore[no-untyped-call]
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_models_by_path_train_and_predict_without_it_afterwards(kind: str, tmp_path: Path) -> None:
    config, extractor = CONFIGS[kind]
    path, folder = tmp_path / "model", tmp_path / "prepared"
    folder.mkdir()
    model: Any = AutoModelForAudioClassification.from_config(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(path)
    extractor.save_pretrained(path)
    contents = [
        TASK.read_content({"audio": tone(frequency, duration_s=duration_s)})
        for frequency, duration_s in [(200, 0.3), (900, 0.4)] * 3
    ]
    labels = ["low", "high"] * 3
    models = model_task(NAME)
    models.prepare(folder, model=str(path), contents=contents, labels=labels)
    learner = models.load(folder, model=str(path), classes=("high", "low"), pretrained=True)
    training.fit(learner, contents, labels)
    predictions = training.predict(learner, contents)
    shutil.rmtree(path)
    again = models.load(folder, model=str(path), classes=("high", "low"), pretrained=False)
    again.load_state_dict(learner.state_dict())
    assert np.allclose(training.predict(again, contents), predictions, atol=1e-5)
    assert np.stack(predictions).shape == (6, 2)


def test_a_model_that_hears_nothing_is_refused(tmp_path: Path) -> None:
    BertConfig(vocab_size=10, hidden_size=8, num_attention_heads=1).save_pretrained(tmp_path / "t")
    for path in ("t", "nowhere"):
        with pytest.raises(InvalidInput, match="is not a sound model by hub id or local path"):
            model_task(NAME).prepare(tmp_path, model=str(tmp_path / path), contents=[], labels=[])
