"""Sounds at the sample rate that a model hears."""

from math import gcd

import numpy as np
from scipy.signal import resample_poly

from relabel_service.media import audio


def resampled(data: bytes, rate: int) -> audio.Samples:
    """A sound file's samples at another rate, one channel: float32 [samples]."""
    heard, own_rate = audio.samples(data)
    if own_rate == rate:
        return heard
    shared = gcd(own_rate, rate)
    changed: audio.Samples = resample_poly(heard, rate // shared, own_rate // shared)
    return changed.astype(np.float32)
