"""Seconds as protobuf's times."""

import math

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(time_s: float) -> Timestamp:
    """time_s: since the epoch."""
    fraction, whole = math.modf(time_s)
    return Timestamp(seconds=int(whole), nanos=int(fraction * 1e9))


def duration(duration_s: float) -> Duration:
    fraction, whole = math.modf(duration_s)
    return Duration(seconds=int(whole), nanos=int(fraction * 1e9))
