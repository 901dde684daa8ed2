#!/bin/sh
# A WAV or AIFF file that was cut off is read as a shorter sound, without an error.
#
# Guess before: the header says how many samples there are, so a file that holds half of them raises,
# as a FLAC does (and a JPEG in Pillow); or frames says more than read() returns.
# Seen with soundfile 0.14.0 and its libsndfile (Linux x86_64, CPython 3.11): frames of a WAV and an AIFF
# follow the bytes that are there, not the header; read() returns as many, and nothing is said. Of an MP3
# frames says what its header does, and read() returns fewer. FLAC raises. An interrupted download is so
# half a clip: compare the size in the header, and frames with what was read.
# Fails when a cut-off WAV or AIFF raises, or when its frames are those of its header.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check soundfile==0.14.0 numpy==2.4.6
cat > "$folder/cut.py" <<'PYTHON'
import io

import numpy as np
import soundfile

noise = np.random.default_rng(0).normal(0, 0.1, 8000)


def half(kind, subtype):
    data = io.BytesIO()
    soundfile.write(data, noise, 8000, format=kind, subtype=subtype)
    whole = data.getvalue()
    with soundfile.SoundFile(io.BytesIO(whole[: len(whole) // 2])) as sound:
        return sound.frames, len(sound.read())


for kind in ("WAV", "AIFF"):
    frames, num_read = half(kind, "PCM_16")
    print(f"{kind}: frames {frames}, read {num_read}, of 8000")
    assert 3900 < frames == num_read < 4000
frames, num_read = half("MP3", "MPEG_LAYER_III")
print(f"MP3: frames {frames}, read {num_read}, of 8000")
assert num_read < frames == 8000
try:
    half("FLAC", "PCM_16")
except soundfile.LibsndfileError as error:
    print("FLAC:", error.error_string or "raises")
else:
    raise AssertionError("a cut-off FLAC was read")
PYTHON
"$folder/venv/bin/python" "$folder/cut.py"
