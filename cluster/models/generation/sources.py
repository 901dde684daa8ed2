"""How an encoder-decoder reads its source: as tokens of a text, or as features of a sound."""

from collections.abc import Sequence
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.signal import resample_poly

from cluster.interfaces import Tensors
from relabel_service.media import audio, fetch

Features = npt.NDArray[np.float16]  # [mel bands, frames]


class TextSource:
    """Tokens, cut at a length."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        self._tokenizer, self._max_tokens = tokenizer, max_tokens

    def encode(self, contents: Sequence[str]) -> list[list[int]]:
        tokens: list[list[int]] = self._tokenizer(
            list(contents), truncation=True, max_length=self._max_tokens
        ).input_ids
        return tokens

    def size(self, encoded: list[int]) -> int:
        return len(encoded)

    def collate(self, encoded: Sequence[list[int]]) -> Tensors:
        padded = self._tokenizer.pad({"input_ids": list(encoded)}, return_tensors="pt")
        return {name: padded[name] for name in ("input_ids", "attention_mask")}


class SoundSource:
    """Log-mel features as the model's own extractor makes them, at its own sampling rate.

    Kept as float16: half a minute is a quarter of a million numbers.
    """

    def __init__(self, extractor: Any) -> None:
        self._extractor = extractor

    def encode(self, contents: Sequence[str]) -> list[Features]:
        return [self._features(content) for content in contents]

    def size(self, encoded: Features) -> int:
        return int(encoded.shape[1])

    def collate(self, encoded: Sequence[Features]) -> Tensors:
        return {"input_features": torch.from_numpy(np.stack(encoded).astype(np.float32))}

    def _features(self, content: str) -> Features:
        heard, rate = audio.samples(fetch.load(content))
        wanted = self._extractor.sampling_rate
        shared = gcd(rate, wanted)
        if rate != wanted:
            heard = resample_poly(heard, wanted // shared, rate // shared).astype(np.float32)
        extracted = self._extractor(heard, sampling_rate=wanted, return_tensors="np")
        features: Features = extracted.input_features[0].astype(np.float16)
        return features
