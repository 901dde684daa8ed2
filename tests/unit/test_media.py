"""Pictures and sounds keep their bytes on the way through text forms and the wire."""

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps, PngImagePlugin

from relabel_service.errors import InvalidInput
from relabel_service.media import audio, fetch, images, prefixes
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
        ("gopher://host/1.png", "image: 'gopher://host/1.png' cannot be read: its scheme is none"),
        ("mock://host/1.png", "image: 'mock://host/1.png' cannot be read: its scheme is none"),
        ("s3://b/1.png?endpoint_override=h", "image: 's3://b/1.png?endpoint_override=h' has a qu"),
        ("file:///a/1.png?x", "image: 'file:///a/1.png?x' has a query"),
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


GREY = np.random.default_rng(1).integers(40, 215, (12, 16)).astype(np.uint8)


def file_of(picture: Image.Image, format_: str = "PNG", **settings: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format_, **settings)
    return file.getvalue()


def ink(colour: int, opacity: npt.NDArray[np.uint8]) -> Image.Image:
    drawn = np.full((*opacity.shape, 4), colour, np.uint8)
    drawn[..., 3] = opacity
    return Image.fromarray(drawn)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(file_of(Image.fromarray(GREY)), id="8"),
        pytest.param(file_of(Image.fromarray(GREY.astype(np.uint16) * 257)), id="16-png"),
        pytest.param(file_of(Image.fromarray(GREY.astype(np.uint16) * 257), "TIFF"), id="16-tiff"),
        pytest.param(file_of(Image.fromarray(GREY.astype(np.int32) * 257), "TIFF"), id="32"),
        pytest.param(file_of(Image.fromarray(GREY.astype(np.float32)), "TIFF"), id="float-255"),
        pytest.param(file_of(Image.fromarray(GREY.astype(np.float32) / 255), "TIFF"), id="float-1"),
        pytest.param(
            file_of(Image.fromarray(GREY).convert("RGB").convert("CMYK"), "TIFF"), id="cmyk"
        ),
        pytest.param(file_of(Image.fromarray(GREY).convert("P")), id="palette"),
        pytest.param(file_of(ink(0, 255 - GREY)), id="black-ink"),
        pytest.param(file_of(ink(0, 255 - GREY).convert("LA")), id="ink-la"),
        pytest.param(file_of(ink(255, GREY)), id="white-ink"),
    ],
)
def test_one_picture_in_any_depth_or_ground_gives_the_same_pixels(data: bytes) -> None:
    assert np.abs(np.asarray(images.decode(data).convert("L")).astype(int) - GREY).max() <= 1


@pytest.mark.parametrize(
    "deep",
    [
        GREY.astype(np.uint16) * 16,  # 12 bits, as scanners have
        GREY.astype(np.uint16) * 16 + 32_768,  # signed values as unsigned ones
        GREY.astype(np.float32) * 1e-6,
        GREY.astype(np.float32) * 10 - 1024,  # Hounsfield units
        GREY.astype(np.int32) * 100_000,
    ],
    ids=["12 bits", "offset", "small", "negative", "large"],
)
def test_what_uses_little_of_its_range_is_not_flattened(deep: npt.NDArray[Any]) -> None:
    seen = np.asarray(images.decode(file_of(Image.fromarray(deep), "TIFF")).convert("L"))
    assert len(np.unique(seen)) > 100
    assert np.corrcoef(seen.ravel(), GREY.ravel())[0, 1] > 0.999


def test_a_transparent_colour_of_a_palette_or_of_rgb_is_ground() -> None:
    indices = Image.fromarray((GREY < 120).astype(np.uint8), "P")
    indices.putpalette([0, 0, 0, 10, 10, 10])  # 0 is transparent, 1 dark ink
    seen = np.asarray(images.decode(file_of(indices, transparency=0)).convert("L"))
    assert (seen == np.where(GREY < 120, 10, 255)).all()
    plain = Image.fromarray(np.where(GREY[..., None] < 120, 10, 0).repeat(3, 2).astype(np.uint8))
    seen = np.asarray(images.decode(file_of(plain, transparency=(0, 0, 0))).convert("L"))
    assert (seen == np.where(GREY < 120, 10, 255)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_picture_with_pixels_that_are_not_finite_is_refused(value: float) -> None:
    broken = GREY.astype(np.float32)
    broken[3, 4] = value
    with pytest.raises(InvalidInput, match="pixels that are not finite numbers"):
        images.media_type(file_of(Image.fromarray(broken), "TIFF"))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_and_pixels_are_of_the_upright_picture(format_: str, orientation: int) -> None:
    stored = Image.new("RGB", (60, 40))
    ImageDraw.Draw(stored).rectangle((0, 0, 19, 9), fill=(255, 0, 0))
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    data = file_of(stored, format_, exif=exif)
    upright = images.decode(data)
    assert upright.size == images.size(data) == ((40, 60) if orientation >= 5 else (60, 40))
    expected = stored.copy()
    expected.getexif()[images.ORIENTATION] = orientation
    expected = ImageOps.exif_transpose(expected)
    difference = np.abs(np.asarray(upright, int) - np.asarray(expected, int)).mean()
    assert difference < 8  # of 255; JPEG's losses


@pytest.mark.parametrize("format_", ["JPEG", "WEBP", "PNG"])
@pytest.mark.parametrize("with_exif", [False, True])
def test_an_orientation_that_xmp_alone_states_is_none(format_: str, with_exif: bool) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    settings: dict[str, Any] = {"xmp": xmp}
    if format_ == "PNG":
        settings = {"pnginfo": PngImagePlugin.PngInfo()}
        settings["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    if with_exif:
        exif = Image.Exif()
        exif[0x0110] = "a camera"
        settings["exif"] = exif
    data = file_of(Image.new("RGB", (60, 40)), format_, **settings)
    shown, _ = images.for_browser(data)
    assert images.size(data) == images.decode(data).size == images.size(shown) == (60, 40)
    assert shown == data  # browsers are given the file as it is, and do not turn it


def test_a_picture_whose_exif_is_broken_is_upright() -> None:
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    data = file_of(Image.new("RGB", (60, 40)), "JPEG", exif=exif)
    broken = data.replace(b"Exif\0\0MM", b"Exif\0\0XX")
    assert broken != data
    assert images.size(broken) == images.decode(broken).size == (60, 40)


def header_of(width: int, height: int) -> bytes:
    """A PNG that says its size and holds next to nothing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((100_000, 100_000), "decompression bomb|100000x100000 pixels"),
        ((9_500, 9_500), "decompression bomb|9500x9500 pixels"),
        ((9_000, 8_800), "has 9000x8800 pixels, more than 80,000,000|would decode"),
        ((6_000, 6_000), r"would decode \d+ bytes to 108,000,000, more than 500 times as many"),
    ],
)
def test_a_decompression_bomb_is_refused_by_its_header(size: tuple[int, int], message: str) -> None:
    data = header_of(*size)
    for ask in (images.media_type, images.size, images.decode):
        with pytest.raises(InvalidInput, match=message):
            ask(data)


def test_a_large_photograph_is_decoded() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 500), np.uint8)
    data = file_of(Image.fromarray(noise).resize((5_000, 4_600)), "JPEG", quality=30)
    assert images.decode(data).size == (5_000, 4_600)


def test_formats_that_run_other_programs_are_not_opened() -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    with pytest.raises(InvalidInput, match="none of JPEG, "):
        images.media_type(postscript)


def sound_of(samples: npt.NDArray[Any], rate: int = 8_000, **settings: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **({"format": "WAV", "subtype": "FLOAT"} | settings))
    return file.getvalue()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "has 1 samples that are not finite numbers, the first at 2,000;"),
        (-np.inf, "has 1 samples that are not finite numbers, the first at 2,000;"),
        (1e300, "has 1 samples that are not finite numbers, the first at 2,000;"),
        (1e30, "has samples of up to 1e\\+30, where full scale is 1;"),
    ],
)
def test_a_sound_with_samples_that_are_not_finite_is_refused(value: float, message: str) -> None:
    samples = np.zeros((4_000, 2))
    samples[2_000, 1] = value
    for ask in (audio.media_type, audio.samples):
        with pytest.raises(InvalidInput, match=message):
            ask(sound_of(samples, subtype="DOUBLE"))


def wav_header(**said: int) -> bytes:
    """A WAV whose header says what it wants, before 100 bytes of samples."""
    fields = {"channels": 1, "rate": 8_000, "bits": 16} | said
    frame = fields["channels"] * fields["bits"] // 8
    parts = (1, fields["channels"], fields["rate"], fields["rate"] * frame % 2**32, frame)
    form = struct.pack("<HHIIHH", *parts, fields["bits"])
    return b"RIFF" + struct.pack("<I", 136) + b"WAVEfmt " + struct.pack("<I", 16) + form + (
        b"data" + struct.pack("<I", 100) + bytes(100)
    )  # fmt: skip


def flac_saying(frames: int) -> bytes:
    """A FLAC of 1,000 samples whose header says another number."""
    data = bytearray(sound_of(np.zeros(1_000), format="FLAC", subtype="PCM_16"))
    streaminfo = int.from_bytes(data[18:26], "big")  # rate, channels, bits, 36 bits of length
    data[18:26] = (streaminfo >> 36 << 36 | frames).to_bytes(8, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (wav_header(rate=1), "has 1 samples a second; use 100 to 1,000,000"),
        (wav_header(rate=2**31 - 1), "samples a second; use 100 to 1,000,000"),
        (wav_header(channels=500), "has 500 channels; use 1 to 64"),
        (flac_saying(2**36 - 1), "says that it has 68,719,476,735 samples"),
        (flac_saying(8_000 * 3_600 + 1), "use clips of up to 3,600 s"),
        (flac_saying(8_000 * 3_000), "more than 1,000 times as many"),
        (
            sound_of(np.zeros(8_000 * 600), format="FLAC", subtype="PCM_16"),
            "would decode .* more than 1,000 times as many",
        ),
    ],
    ids=["rate-low", "rate-high", "channels", "endless", "long", "promised", "silence"],
)
def test_a_sound_that_cannot_be_is_refused_by_its_header(data: bytes, message: str) -> None:
    for ask in (audio.media_type, audio.samples):
        with pytest.raises(InvalidInput, match=message) as refused:
            ask(data)
        assert ";" in str(refused.value)


NOISE = np.random.default_rng(0).normal(0, 0.1, 8_000)


@pytest.mark.parametrize(
    ("format_", "subtype", "message"),
    [
        ("WAV", "PCM_16", r"says that it has 16,000 bytes of samples and holds 7,978, .* cut off"),
        ("WAV", "FLOAT", r"bytes of samples and holds .* cut off"),
        ("FLAC", "PCM_16", r"is not a readable sound \(\S"),
        ("OGG", "VORBIS", "has no samples"),
        ("MP3", "MPEG_LAYER_III", r"says that it has 8,000 samples and holds \d"),
    ],
)
def test_a_sound_that_was_cut_off_is_refused(format_: str, subtype: str, message: str) -> None:
    data = sound_of(NOISE, format=format_, subtype=subtype)
    assert len(audio.samples(data)[0]) == 8_000
    with pytest.raises(InvalidInput, match=message):
        audio.samples(data[: len(data) // 2])


def test_a_wav_whose_length_was_not_known_when_it_was_begun_is_read() -> None:
    data = bytearray(sound_of(NOISE, format="WAV", subtype="PCM_16"))
    place = data.index(b"data") + 4
    data[4:8] = data[place : place + 4] = b"\xff\xff\xff\xff"
    assert len(audio.samples(bytes(data))[0]) == 8_000


def test_what_is_wrong_with_a_sound_is_told_alike_each_time() -> None:
    told = set()
    for _ in range(2):
        with pytest.raises(InvalidInput, match=r"is not a readable sound \(Format not") as refused:
            audio.samples(b"no sound at all")
        told.add(str(refused.value))
    assert len(told) == 1
    assert "0x" not in told.pop()


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [
        ("/data/pictures/1.png", "/data"),
        ("/data/pictures/1.png", "file:///data/pictures/"),
        ("file:///data/1.png", "/data"),
        ("s3://bucket/a/1.png", "s3://bucket"),
        ("s3://bucket/a/1.png", "s3://bucket/a/"),
        ("S3://bucket/a/1.png", "s3://bucket/a"),
    ],
)
def test_an_address_under_a_prefix_may_be_opened(uri: str, prefix: str) -> None:
    prefixes.require(uri, ["/elsewhere", prefix])


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [
        ("/etc/1.png", "/data"),
        ("/data2/1.png", "/data"),
        ("/data/../etc/1.png", "/data"),
        ("file:///data/../etc/1.png", "/data"),
        ("s3://other/1.png", "s3://bucket"),
        ("s3://bucket-2/1.png", "s3://bucket"),
        ("s3://key:secret@bucket/1.png", "s3://bucket"),
        ("s3://bucket/ab/1.png", "s3://bucket/a"),
        ("s3://bucket/a/../b/1.png", "s3://bucket/a"),
        ("gs://bucket/1.png", "s3://bucket"),
        ("hdfs://host:8020/1.png", "/"),
        ("file://host/data/1.png", "/data"),
        ("/data/\0/1.png", "/data"),
    ],
)
def test_an_address_elsewhere_is_refused_by_name(uri: str, prefix: str) -> None:
    with pytest.raises(InvalidInput, match=r"allowed places .*--media-prefix") as refused:
        prefixes.require(uri, [prefix])
    assert repr(uri)[:40].strip("'") in str(refused.value)


def test_a_link_that_leads_out_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "1.png").write_bytes(PICTURE)
    (inside / "1.png").symlink_to(outside / "1.png")
    with (
        prefixes.only_under([str(inside)]),
        pytest.raises(InvalidInput, match="lies under none of the allowed places"),
    ):
        fetch.read_media("image", str(inside / "1.png"), images.media_type)


@pytest.mark.parametrize(
    ("table", "places"),
    [
        ("/data/train.parquet", ("/data",)),
        ("/data/train/", ("/data",)),
        ("file:///data/train", ("/data",)),
        ("/train.parquet", ()),
        ("s3://bucket/deep/train", ("s3://bucket/",)),
        ("s3://bucket/train?endpoint_override=host", ("s3://bucket/",)),
    ],
)
def test_where_a_table_lies(table: str, places: tuple[str, ...]) -> None:
    assert prefixes.of_table(table) == places


def test_a_question_mark_in_a_path_is_a_letter(tmp_path: Path) -> None:
    path = tmp_path / "what? #1.png"
    path.write_bytes(PICTURE)
    assert fetch.load(str(path)) == PICTURE


@pytest.mark.parametrize("prefix", ["pictures", "http://host/", "s3://bucket/?x=1"])
def test_a_prefix_that_is_none_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidInput, match="media_prefix: "):
        prefixes.checked([prefix])
