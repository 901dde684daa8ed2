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

SIDES = (
    320,
    224,
    160,
    112,
)  # longest side of a thumbnail in pixels, the first that is small enough
QUALITY = 60  # of WebP, from 0 to 100
LOSSLESS_SIDE = 48  # pictures up to this are kept pixel by pixel
MAX_SOUND_S = 8.0
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
    """The beginning of a sound as a `data:` URI. duration_s: of the whole sound."""

    uri: str
    duration_s: float
    is_cut: bool

    @property
    def num_bytes(self) -> int:
        return len(self.uri)


def thumbnail(data: bytes, *, max_bytes: int) -> Thumbnail | None:
    """The largest thumbnail of so many bytes of URI; None where none is small enough.

    Raises InvalidInput when the picture cannot be read, ImportError without Pillow.
    """
    from PIL import Image

    picture = images.decode(data)
    width, height = picture.size
    longest = max(width, height)
    for side in SIDES:
        small = picture
        if longest > side:
            scale = side / longest
            size = max(round(width * scale), 1), max(round(height * scale), 1)
            small = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        file = io.BytesIO()
        small.save(file, "WEBP", quality=QUALITY, lossless=longest <= LOSSLESS_SIDE, method=2)
        uri = _data_uri(file.getvalue(), "image/webp")
        if len(uri) <= max_bytes:
            return Thumbnail(uri, width, height)
    return None


def clip(data: bytes, *, max_bytes: int) -> Clip | None:
    """The sound's first seconds as MP3 of one channel; None where they take more bytes of URI.

    Raises InvalidInput when the sound cannot be read, ImportError without soundfile.
    """
    import soundfile

    mono, rate = audio.samples(data)
    duration_s = len(mono) / rate
    mono = mono[: int(MAX_SOUND_S * rate)]
    if rate not in RATES:
        target = RATES[-1] if rate > RATES[0] else RATES[0]
        mono, rate = _resampled(mono, rate, target), target
    peak = float(np.abs(mono).max(initial=0.0))
    file = io.BytesIO()
    try:
        soundfile.write(file, mono / max(peak, 1.0), rate, format="MP3")
    except soundfile.SoundFileError as error:
        raise InvalidInput.of("audio", f"cannot be written as MP3 ({error})") from None
    uri = _data_uri(file.getvalue(), "audio/mpeg")
    return Clip(uri, duration_s, duration_s > MAX_SOUND_S) if len(uri) <= max_bytes else None


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
