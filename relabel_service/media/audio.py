"""What bytes of sound mean: media type, samples, and a view for a terminal.

One function decodes (samples): models and terminals all hear what it gives. What a file would
decode to is checked by its header, before it is decoded.

libsndfile decodes (WAV, FLAC, Ogg, MP3) through soundfile, which comes with the extra
`media`: workers and terminals install it, and the service, which passes bytes on, does not.
"""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.text import Text

from relabel_service.errors import InvalidInput

BARS = " ▁▂▃▄▅▆▇█"
# libsndfile's names of containers, as media types (RFC 2361, RFC 9639, RFC 5334, RFC 3003).
MEDIA_TYPES = {"WAV": "audio/wav", "WAVEX": "audio/wav", "FLAC": "audio/flac", "OGG": "audio/ogg"}
MEDIA_TYPES |= {"MP3": "audio/mpeg", "MPEG": "audio/mpeg"}
MAX_CHANNELS = 64
MIN_RATE, MAX_RATE = 100, 1_000_000  # samples a second: seismographs, bat detectors
MAX_DURATION_S = 3_600
SAMPLE_BYTES = 4  # decoded, float32
MAX_BYTES = 512 * 2**20  # decoded, all channels
FREE_BYTES = 8 * 2**20  # decoded sizes up to this are decoded, however small the file
MAX_RATIO = 1_000  # beyond, decoded bytes over the file's; speech in Opus has up to 250
LEAST_HELD = 0.98  # of the samples that a file says it has; with fewer it was cut off
STREAMED = 0x7FFF_0000  # sizes from here on are written where the size was not known
MAX_PEAK = 1e6  # full scale is 1; sums of squares would overflow long before float32 does

Samples = npt.NDArray[np.float32]


def media_type(data: bytes) -> str:
    """The sound's media type. Decodes all of it: raises InvalidInput as samples does."""
    return MEDIA_TYPES.get(_decoded(data)[2], "application/octet-stream")


def samples(data: bytes) -> tuple[Samples, int]:
    """One channel, the mean of all there are, [samples], full scale 1; and samples a second.

    Raises InvalidInput when the sound is broken or empty, when its header promises what no clip
    has (channels, rate, length, decoded size), or when samples are not finite numbers.
    """
    mono, rate, _ = _decoded(data)
    return mono, rate


def in_blocks(data: bytes, *, max_columns: int = 72) -> Text:
    """Loudness over time as bars, and the duration, for a terminal."""
    mono, rate = samples(data)
    loudness = np.array(
        [np.abs(chunk).max(initial=0.0) for chunk in np.array_split(mono, max_columns)]
    )
    heights = (loudness / max(float(loudness.max()), 1e-9) * (len(BARS) - 1)).round().astype(int)
    return Text("".join(BARS[height] for height in heights) + f"\n{len(mono) / rate:.2f} s")


def _decoded(data: bytes) -> tuple[Samples, int, str]:
    """Samples of one channel, rate, and libsndfile's name of the container."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if fault := _impossible(file, len(data)) or _cut_off(data):
                raise InvalidInput.of("audio", fault)
            num_frames = int(file.frames)
            channels = file.read(dtype="float32", always_2d=True)
            rate, container = int(file.samplerate), str(file.format)
    except (soundfile.SoundFileError, ValueError, MemoryError) as error:
        # Not str(error), which names the stream by its address in memory.
        reason = getattr(error, "error_string", str(error)) or "it is broken or cut off"
        raise InvalidInput.of(
            "audio", f"is not a readable sound ({reason}); fix the file, or drop the row"
        ) from None
    if 0 < len(channels) < LEAST_HELD * num_frames:
        raise InvalidInput.of("audio", _shorter(num_frames, len(channels), "samples"))
    if fault := _unheard(channels):
        raise InvalidInput.of("audio", fault)
    mono: Samples = channels.mean(axis=1)
    return mono, rate, container


def _impossible(file: Any, num_bytes: int) -> str | None:
    """Why the sound is not decoded, or None; by its header. file: an open soundfile.SoundFile."""
    frames, rate, channels = int(file.frames), int(file.samplerate), int(file.channels)
    decoded = frames * channels * SAMPLE_BYTES
    if not 1 <= channels <= MAX_CHANNELS:
        return f"has {channels} channels; use 1 to {MAX_CHANNELS}"
    if not MIN_RATE <= rate <= MAX_RATE:
        return f"has {rate:,} samples a second; use {MIN_RATE} to {MAX_RATE:,}"
    if frames > MAX_DURATION_S * rate or decoded > MAX_BYTES:
        return (
            f"says that it has {frames:,} samples of {channels} channels, {frames / rate:,.0f} s; "
            f"use clips of up to {MAX_DURATION_S:,} s and {MAX_BYTES:,} bytes decoded"
        )
    if decoded > max(FREE_BYTES, MAX_RATIO * num_bytes):
        return (
            f"would decode {num_bytes:,} bytes to {decoded:,}, more than {MAX_RATIO:,} times as "
            "many; cut it, or drop the row"
        )
    return None


def _cut_off(data: bytes) -> str | None:
    """Why a WAV is not decoded that lacks some of its samples, of which libsndfile says nothing."""
    place = 12
    while data[:4] == b"RIFF" and place + 8 <= len(data):
        size, held = int.from_bytes(data[place + 4 : place + 8], "little"), len(data) - place - 8
        if data[place : place + 4] == b"data":
            is_whole = held >= LEAST_HELD * size or size >= STREAMED
            return None if is_whole else _shorter(size, held, "bytes of samples")
        place += 8 + size + size % 2
    return None


def _shorter(num_said: int, num_held: int, what: str) -> str:
    return (
        f"says that it has {num_said:,} {what} and holds {num_held:,}, as if it was cut off; fetch "
        "the file again, or drop the row"
    )


def _unheard(channels: Samples) -> str | None:
    """Why decoded samples [samples, channels] are not a sound, or None."""
    if not len(channels):
        return "has no samples; fix the file, or drop the row"
    is_finite = np.isfinite(channels).all(axis=1)
    if not is_finite.all():
        first = int(is_finite.argmin())
        return (
            f"has {int((~is_finite).sum()):,} samples that are not finite numbers, the first at "
            f"{first:,}; fix the file, or drop the row"
        )
    peak = float(np.abs(channels).max())
    if peak > MAX_PEAK:
        return f"has samples of up to {peak:g}, where full scale is 1; scale it, or drop the row"
    return None
