"""What bytes of sound mean: media type, samples, and a view for a terminal.

libsndfile decodes (WAV, FLAC, Ogg, MP3) through soundfile, which comes with the extra
`media`: workers and terminals install it, and the service, which passes bytes on, does not.
"""

import io

import numpy as np
import numpy.typing as npt
from rich.text import Text

from relabel_service.errors import InvalidInput

BARS = " ▁▂▃▄▅▆▇█"
# libsndfile's names of containers, as media types (RFC 2361, RFC 9639, RFC 5334, RFC 3003).
MEDIA_TYPES = {"WAV": "audio/wav", "WAVEX": "audio/wav", "FLAC": "audio/flac", "OGG": "audio/ogg"}
MEDIA_TYPES |= {"MP3": "audio/mpeg", "MPEG": "audio/mpeg"}

Samples = npt.NDArray[np.float32]


def media_type(data: bytes) -> str:
    """The sound's media type. Decodes all of it: raises InvalidInput when it is broken or empty."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if not len(file.read(dtype="float32")):
                raise ValueError("it has no samples")
            return MEDIA_TYPES.get(file.format, "application/octet-stream")
    except (soundfile.SoundFileError, ValueError) as error:
        raise InvalidInput.of(
            "audio", f"is not a readable sound ({error}); fix the file, or drop the row"
        ) from None


def samples(data: bytes) -> tuple[Samples, int]:
    """One channel, the mean of all there are, [samples] within -1 and 1; and samples a second."""
    import soundfile

    channels, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    mono: Samples = channels.mean(axis=1)
    return mono, int(rate)


def in_blocks(data: bytes, *, max_columns: int = 72) -> Text:
    """Loudness over time as bars, and the duration, for a terminal."""
    mono, rate = samples(data)
    loudness = np.array(
        [np.abs(chunk).max(initial=0.0) for chunk in np.array_split(mono, max_columns)]
    )
    heights = (loudness / max(float(loudness.max()), 1e-9) * (len(BARS) - 1)).round().astype(int)
    return Text("".join(BARS[height] for height in heights) + f"\n{len(mono) / rate:.2f} s")
