"""Pictures and sounds keep their bytes on the way through text forms and the wire."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from relabel_service.errors import InvalidInput
from relabel_service.media import audio, fetch, images
from tests.data import png

PICTURE = png.encode(np.arange(64, dtype=np.uint8).reshape(8, 8))


def any_type(data: bytes) -> str:
    return "application/octet-stream"


@given(st.binary(min_size=1))
def test_bytes_survive_the_text_form_and_the_wire(data: bytes) -> None:
    uri = fetch.read_media("image", data, any_type)
    assert fetch.load(uri) == data
    assert fetch.to_wire(uri).data == data
    assert fetch.to_wire(uri).media_type == "application/octet-stream"


def test_equal_files_have_equal_text_forms_however_they_are_given() -> None:
    text = base64.b64encode(PICTURE).decode()
    values = [
        PICTURE,
        f"data:image/png;base64,{text}",
        f"data:image/jpeg;base64,{text}",  # the bytes say what they are, not the sender
        {"bytes": PICTURE, "path": "a.png"},
    ]
    assert {fetch.read_media("image", value, images.media_type) for value in values} == {
        f"data:image/png;base64,{text}"
    }


def test_an_address_stays_an_address(tmp_path: Path) -> None:
    path = tmp_path / "with space.png"
    path.write_bytes(PICTURE)
    for uri in (str(path), f"file://{path}"):
        assert fetch.read_media("image", uri, images.media_type) == uri
        assert fetch.load(uri) == PICTURE
        wire = fetch.to_wire(uri)
        assert (wire.uri, wire.media_type, wire.data) == (uri, "image/png", b"")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "image: is NoneType"),
        (b"", "image: is empty"),
        ("", "image: is empty"),
        (7, "image: is int"),
        (b"no picture", "image: is not a readable picture"),
        (PICTURE[:70], "image: is not a readable picture"),
        ("pictures/1.png", "image: 'pictures/1.png' is a relative path"),
        ("/nowhere/1.png", "image: '/nowhere/1.png' cannot be read"),
        ("gopher://host/1.png", "image: 'gopher://host/1.png' cannot be read"),
        ("data:image/png,plain", "image: 'data:image/png,plain' is not a data: URI"),
        ("data:image/png;base64,@", "image: 'data:image/png;base64,@' is not a data: URI"),
        ({"bytes": None, "path": None}, "image: is NoneType"),
    ],
)
def test_media_of_no_use_is_refused_by_name(value: object, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        fetch.read_media("image", value, images.media_type)
    assert str(refused.value).startswith(message)
    assert ";" in str(refused.value)  # a next step follows


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16"])
def test_every_kind_of_pixel_becomes_red_green_blue(mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (5, 3)).save(file, "PNG")
    assert images.pixels(file.getvalue(), width=4, height=2).shape == (2, 4, 3)
    assert images.pixels(file.getvalue(), width=4, height=2, grey=True).shape == (2, 4, 1)


@pytest.mark.parametrize(
    ("format_", "subtype", "media_type"),
    [
        ("WAV", "PCM_16", "audio/wav"),
        ("WAV", "FLOAT", "audio/wav"),
        ("FLAC", "PCM_24", "audio/flac"),
        ("OGG", "VORBIS", "audio/ogg"),
    ],
)
def test_sounds_of_any_container_become_one_channel(
    format_: str, subtype: str, media_type: str
) -> None:
    tone = np.sin(np.arange(4000) / 5)
    file = io.BytesIO()
    soundfile.write(file, np.stack([tone, tone], 1), 8000, format=format_, subtype=subtype)
    data = file.getvalue()
    assert audio.media_type(data) == media_type
    heard, rate = audio.samples(data)
    assert rate == 8000
    assert heard.shape == (4000,)
    assert np.corrcoef(heard, tone)[0, 1] > 0.99
    assert "0.50 s" in audio.in_blocks(data).plain


@pytest.mark.parametrize("data", [b"no sound", b"RIFF\x00\x00\x00\x00WAVE"])
def test_a_broken_sound_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="is not a readable sound"):
        audio.media_type(data)


def test_a_sound_without_samples_is_refused() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.empty(0), 8000, format="WAV")
    with pytest.raises(InvalidInput, match="no sample"):
        audio.media_type(file.getvalue())
