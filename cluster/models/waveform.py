"""Sounds at the sample rate that a model hears."""

from math import gcd

import numpy as np
from scipy.signal import resample_poly

from relabel_service import sounds


def resampled(data: bytes, rate: int) -> sounds.Samples:
    """A sound file's samples at another rate, one channel: float32 [samples]."""
    heard, own_rate = sounds.samples(data)
    if own_rate == rate:
        return heard
    shared = gcd(own_rate, rate)
    changed: sounds.Samples = resample_poly(heard, rate // shared, own_rate // shared)
    return changed.astype(np.float32)
