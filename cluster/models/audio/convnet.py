"""The built-in sound model: a log-mel spectrogram into a ConvNet.

Spectrograms follow Davis and Mermelstein 1980 in the HTK form of the mel scale, by torch alone.
F frames, M mel bands.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cluster.interfaces import Tensors, TrainingDefaults
from cluster.models.audio.waveform import resampled
from cluster.models.class_learner import ClassLearner
from cluster.models.convnet import ConvNet
from relabel_service.media import audio, fetch

NUM_BANDS = 40
WINDOW_S, HOP_S = 0.025, 0.010
MAX_RATE = 16_000  # samples a second
MAX_FRAMES = 400  # 4 s; of a longer sound the middle is heard
HEARD = 0.95  # share of the sample's sounds that are heard whole
MAX_LOOKED_AT = 500  # sounds of the sample that tell rate and duration
SILENCE = 1e-6  # power below which a band is taken as silent
FILE = "sounds.json"
DEFAULTS = TrainingDefaults(
    epochs=30, batch_size=8, learning_rate=3e-3, weight_decay=0.05, warmup_share=0.1
)

LogMel = npt.NDArray[np.float16]


def prepare(folder: Path, contents: Sequence[str]) -> None:
    """Write the sample rate and the number of frames that most sounds of the sample have."""
    some = [audio.samples(fetch.load(content)) for content in contents[:MAX_LOOKED_AT]]
    rate = min(MAX_RATE, int(np.median([rate for _, rate in some])))
    frames = [len(heard) / (own_rate * HOP_S) for heard, own_rate in some]
    num_frames = int(np.clip(np.quantile(frames, HEARD), NUM_BANDS, MAX_FRAMES))
    (folder / FILE).write_text(json.dumps({"rate": rate, "num_frames": num_frames}))


def load(folder: Path, classes: Sequence[str]) -> ClassLearner:
    """An untrained learner."""
    config = json.loads((folder / FILE).read_text())
    rate = config["rate"]

    def encode(contents: Sequence[str]) -> list[LogMel]:
        return [
            _cut(log_mel(resampled(fetch.load(content), rate), rate), config["num_frames"])
            for content in contents
        ]

    return ClassLearner(
        _SoundNet(len(classes)),
        classes=classes,
        defaults=DEFAULTS,
        encode=encode,
        collate=lambda encoded: {"bands": torch.from_numpy(np.stack(encoded))},
        size=lambda _: 1,
    )


def log_mel(heard: audio.Samples, rate: int) -> npt.NDArray[np.float32]:
    """Loudness of each band in each frame, [F, M], of zero mean and unit variance."""
    window = round(WINDOW_S * rate)
    padded = np.pad(heard, (0, max(window - len(heard), 0)))
    spectrum = torch.stft(
        torch.from_numpy(padded),
        n_fft=window,
        hop_length=round(HOP_S * rate),
        window=torch.hann_window(window),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    bands = torch.log(_filters(rate, window) @ spectrum.abs().square() + SILENCE).T
    scaled: npt.NDArray[np.float32] = ((bands - bands.mean()) / (bands.std() + SILENCE)).numpy()
    return scaled


@lru_cache(maxsize=8)
def _filters(rate: int, window: int) -> torch.Tensor:
    """Triangles evenly spaced on the mel scale: [M, frequencies]."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, NUM_BANDS + 2) / 2595) - 1)
    frequencies = np.linspace(0, rate / 2, window // 2 + 1)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    return torch.from_numpy(np.maximum(0, np.minimum(rising, falling)).astype(np.float32))


def _cut(bands: npt.NDArray[np.float32], num_frames: int) -> LogMel:
    """[F, M] -> [num_frames, M]: the middle of a longer sound, silence behind a shorter one."""
    start = max(len(bands) - num_frames, 0) // 2
    kept = bands[start : start + num_frames]
    silence = ((0, num_frames - len(kept)), (0, 0))
    return np.pad(kept, silence, constant_values=float(bands.min())).astype(np.float16)


class _SoundNet(nn.Module):
    """float16 bands [B, F, M] -> logits [B, C]."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.net = ConvNet(1, num_classes, side=NUM_BANDS, shift=(NUM_BANDS // 4, 2))

    def forward(self, batch: Tensors) -> torch.Tensor:
        logits: torch.Tensor = self.net(batch["bands"].float()[:, None])
        return logits
