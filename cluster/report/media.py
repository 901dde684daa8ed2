"""Pictures and sounds small enough for a page: decoded and written anew, never passed on.

So a page holds nothing of a file but what is seen or heard: no other format hiding in it, and no
camera's metadata.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np

from relabel_service.errors import InvalidInput
from relabel_service.media import audio, images

SIDES = (320, 224, 160, 112)  # longest side of a thumbnail in pixels
QUALITY = 60  # of WebP, from 0 to 100
LOSSLESS_SIDE = 48  # pictures up to this are kept pixel by pixel
SECONDS = (8.0, 4.0, 2.0)  # of a sound, at most
COMPRESSION = 0.8  # of MP3, from 0 to 1
RATES = (8_000, 11_025, 12_000, 16_000)  # samples a second of MP3 up to what speech needs


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a `data:` URI. width, height: of the picture it is of, upright, in pixels."""

    uri: str
    width: int
    height: int

    @property
    def num_bytes(self) -> int:
        return len(self.uri)


@dataclass(frozen=True)
class Clip:
    """The beginning of a sound as a `data:` URI. duration_s: of the whole; clip_s: of this."""

    uri: str
    duration_s: float
    clip_s: float

    @property
    def num_bytes(self) -> int:
        return len(self.uri)


def thumbnail(data: bytes, *, max_bytes: int) -> Thumbnail:
    """The largest thumbnail of so many bytes of URI, or the smallest there is.

    Raises InvalidInput when the picture cannot be read, ImportError without Pillow.
    """
    from PIL import Image

    small = images.decode(data)
    width, height = small.size
    uri, tried = "", 0
    for side in SIDES:
        # Bytes fall about as the pixels do: a size that would not be small enough is not tried.
        if tried and side != SIDES[-1] and len(uri) * (side / tried) ** 2 > max_bytes:
            continue
        if max(small.size) > side:
            scale = side / max(width, height)
            size = max(round(width * scale), 1), max(round(height * scale), 1)
            small = small.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        file, lossless = io.BytesIO(), max(small.size) <= LOSSLESS_SIDE
        small.save(file, "WEBP", quality=QUALITY, lossless=lossless, method=2)
        uri, tried = _data_uri(file.getvalue(), "image/webp"), side
        if len(uri) <= max_bytes:
            break
    return Thumbnail(uri, width, height)


def clip(data: bytes, *, max_bytes: int) -> Clip:
    """The sound's first seconds as MP3 of one channel: as many of SECONDS as so many bytes of URI
    hold, or the fewest.

    Raises InvalidInput when the sound cannot be read, ImportError without soundfile.
    """
    mono, rate = audio.samples(data)
    duration_s = len(mono) / rate
    mono = mono[: int(SECONDS[0] * rate)]
    if rate not in RATES:
        target = RATES[-1] if rate > RATES[0] else RATES[0]
        mono, rate = _resampled(mono, rate, target), target
    mono = mono / max(float(np.abs(mono).max(initial=0.0)), 1.0)
    uri, clip_s = "", SECONDS[0]
    for clip_s in SECONDS:
        uri = _mp3(mono[: int(clip_s * rate)], rate)
        if len(uri) <= max_bytes or duration_s <= SECONDS[-1]:
            break
    return Clip(uri, duration_s, min(clip_s, duration_s))


def _mp3(mono: audio.Samples, rate: int) -> str:
    import soundfile

    file = io.BytesIO()
    try:
        soundfile.write(file, mono, rate, format="MP3", compression_level=COMPRESSION)
    except soundfile.SoundFileError as error:
        raise InvalidInput.of("audio", f"cannot be written as MP3 ({error})") from None
    return _data_uri(file.getvalue(), "audio/mpeg")


def _resampled(mono: audio.Samples, rate: int, target: int) -> audio.Samples:
    """At another rate, by linear interpolation; going down, means over the new period first."""
    if rate > target:
        period = max(rate // target, 1)
        mono = np.convolve(mono, np.full(period, 1 / period, np.float32), "same")
    times = np.arange(max(int(len(mono) * target / rate), 1)) * (rate / target)
    resampled: audio.Samples = np.interp(times, np.arange(len(mono)), mono).astype(np.float32)
    return resampled


def _data_uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
