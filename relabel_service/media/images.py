"""What bytes of pictures mean: media type, size, pixels, and a view for a terminal.

One function decodes (decode): models, encoders and terminals all see what it gives. Sizes and
boxes are in its pixels: those of the upright picture, after the EXIF orientation of the file has
been applied, as browsers show it. What a file would decode to is checked by its header, before it
is decoded.

Pillow decodes; it comes with the extra `media`, which workers and terminals install. The
service passes bytes on and looks at their head alone, to check boxes: Pillow is in `serve`, too.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from rich.text import Text

from relabel_service.errors import InvalidInput
from relabel_service.v1 import items_pb2

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

# Pillow knows more, some of which run other programs (EPS).
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "JPEG2000", "PPM")
MAX_PIXELS = 80_000_000  # width x height; Pillow warns of decompression bombs at 89 million
FREE_BYTES = 64 * 2**20  # decoded sizes up to this are decoded, however small the file
MAX_RATIO = 500  # beyond, decoded bytes over the file's; photographs have 5 to 50
DEEP_MODES = ("I", "F")  # and those that begin with I;16: more than 8 bits a pixel
BYTE, TWELVE_BITS, SHORT = 255, 4_095, 65_535
LEAST_USED = 1 / 16  # share of the full range; what uses less is stretched
LIGHT = 192  # mean brightness from which what is drawn on transparency would vanish on white
ORIENTATION = 0x0112  # EXIF's tag
BROWSER_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP")  # which every browser shows
PIXEL_FRAME = items_pb2.PIXEL_FRAME_UPRIGHT  # what this module gives and measures

Pixels = npt.NDArray[np.uint8]


def media_type(data: bytes) -> str:
    """The picture's media type. Decodes all of it: raises InvalidInput when it is broken."""
    from PIL import Image

    with _opened(data) as picture:
        _decoded(picture)
        return Image.MIME.get(picture.format or "", "application/octet-stream")


def size(data: bytes) -> tuple[int, int]:
    """Width and height of the upright picture, from the head alone. Raises InvalidInput when it is
    broken or too large."""
    with _opened(data) as picture:
        width, height = picture.size
        return (height, width) if _orientation(picture) >= 5 else (width, height)


def decode(data: bytes) -> "Picture":
    """The upright picture in RGB; of one with several frames, the first.

    What has more than 8 bits a pixel is scaled by a full range, the least of these that holds it:
    12 or 16 bits, and for floats 0 to 1 or 0 to 255. What none holds, or uses less than a
    sixteenth of its own, is stretched from its own least to its own greatest.
    What is transparent lies on white, or on black where it is light itself.
    Raises InvalidInput when it is broken, too large, or has pixels that are not finite.
    """
    with _opened(data) as picture:
        return _decoded(picture)


def for_browser(data: bytes) -> tuple[bytes, str]:
    """The picture as every browser shows it, and its media type: the file itself where browsers
    show of it what decode gives, else that as PNG. Raises InvalidInput as decode does."""
    from PIL import Image

    with _opened(data) as picture:
        kind, is_turned = picture.format or "", _orientation(picture) != 1
        is_plain = picture.mode in ("RGB", "L") and not picture.has_transparency_data
        if (
            kind in BROWSER_FORMATS
            and is_plain
            and getattr(picture, "n_frames", 1) == 1
            and (kind == "JPEG" or not is_turned)  # other formats' EXIF is not read by all
        ):
            return data, Image.MIME[kind]
        png = io.BytesIO()
        _decoded(picture).save(png, "PNG", compress_level=1)
        return png.getvalue(), "image/png"


def pixels(data: bytes, *, width: int, height: int, grey: bool = False) -> Pixels:
    """The picture scaled to a size: [height, width, 3], or [height, width, 1] if grey; 0 to 255."""
    from PIL import Image

    picture = decode(data)
    scaled = (picture.convert("L") if grey else picture).resize(
        (width, height), Image.Resampling.BILINEAR, reducing_gap=2.0
    )
    return np.asarray(scaled, np.uint8).reshape(height, width, -1)


def in_blocks(data: bytes, *, max_columns: int = 48) -> Text:
    """The picture in half blocks, two pixels a character, for a terminal with 24-bit colour, and
    its size, which boxes are counted in."""
    width, height = size(data)
    columns = min(max_columns, max(width, 1))
    rows = max(2, round(columns * height / width) // 2 * 2)
    shown = pixels(data, width=columns, height=rows)
    text = Text()
    for row in range(0, rows, 2):
        for upper, lower in zip(shown[row], shown[row + 1], strict=True):
            text.append("▀", style=f"{_colour(upper)} on {_colour(lower)}")
        text.append("\n")
    return text.append(f"{width}x{height} pixels")


@contextmanager
def _opened(data: bytes) -> Iterator["Picture"]:
    """The picture, its head read and checked. What Pillow raises within is told as InvalidInput."""
    from PIL import Image, UnidentifiedImageError

    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]  # Pillow may be built without some
    try:
        with Image.open(io.BytesIO(data), formats=formats) as picture:
            if fault := _too_large(picture, len(data)):
                raise InvalidInput.of("image", fault)
            yield picture
    except UnidentifiedImageError:
        raise _broken(f"it is none of {', '.join(FORMATS)}") from None
    except (*bombs, OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise _broken(str(error)) from None


def _too_large(picture: "Picture", num_bytes: int) -> str | None:
    """Why the picture is not decoded, or None; by its head."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        return (
            f"has {width}x{height} pixels, more than {MAX_PIXELS:,}; scale it down, or cut it in "
            "parts"
        )
    decoded = width * height * max(len(picture.getbands()), 3)
    if decoded > max(FREE_BYTES, MAX_RATIO * num_bytes):
        return (
            f"would decode {num_bytes:,} bytes to {decoded:,}, more than {MAX_RATIO} times as "
            "many; scale it down, or drop the row"
        )
    return None


def _decoded(picture: "Picture") -> "Picture":
    """Upright, in RGB; see decode."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    turn = turns.get(_orientation(picture))  # before pixels are read: PNG may have another behind
    picture.load()
    if picture.mode in DEEP_MODES or picture.mode.startswith("I;16"):
        shown = Image.fromarray(_eight_bits(np.asarray(picture)), "L").convert("RGB")
    elif picture.has_transparency_data:
        shown = _composited(picture)
    elif picture.mode == "LAB":
        raise ValueError("its colours are CIELAB")
    else:
        shown = picture.convert("RGB")
    return shown if turn is None else shown.transpose(turn)


def _orientation(picture: "Picture") -> int:
    """EXIF's: 1 upright, 2 to 8 mirrored or turned; from 5 on, width and height change places."""
    from PIL import Image

    if picture.format == "TIFF":
        return 1  # Pillow turns these by itself, and says the upright size (13.0)
    # Not picture.getexif(), which for PNG decodes the pixels, and takes XMP's orientation where
    # EXIF has none (13.0): no browser does, so that boxes would be drawn beside what they are of.
    exif = Image.Exif()
    try:
        exif.load(picture.info.get("exif") or b"")
        found = exif.get(ORIENTATION, 1)
    except (SyntaxError, OSError, ValueError):  # broken EXIF, of a picture that browsers show
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _eight_bits(deep: npt.NDArray[np.generic]) -> Pixels:
    """Values of any range [height, width] as 0 to 255, scaled as decode says."""
    values = deep.astype(np.float32)
    least, greatest = float(values.min()), float(values.max())
    if not np.isfinite(greatest - least):
        raise ValueError("it has pixels that are not finite numbers")
    tops = (1, BYTE) if deep.dtype.kind == "f" else (TWELVE_BITS, SHORT)
    full = next((float(top) for top in tops if greatest <= top), None) if least >= 0 else None
    if full is None or LEAST_USED * full > greatest - least > 0:
        lowest, used = least, (greatest - least) or 1.0
    else:
        lowest, used = 0.0, full
    return ((values - lowest) * (BYTE / used)).round().astype(np.uint8)


def _composited(picture: "Picture") -> "Picture":
    """On white; on black where what is not transparent is light, and would vanish there."""
    from PIL import Image

    drawn = picture.convert("RGBA")
    brightness = np.asarray(drawn.convert("RGB").convert("L"), np.float32)
    opacity = np.asarray(drawn.getchannel("A"), np.float32)
    mean = float((brightness * opacity).sum()) / max(float(opacity.sum()), 1.0)
    ground = Image.new("RGBA", drawn.size, "black" if mean > LIGHT else "white")
    return Image.alpha_composite(ground, drawn).convert("RGB")


def _broken(reason: str) -> InvalidInput:
    return InvalidInput.of(
        "image", f"is not a readable picture ({reason}); fix the file, or drop the row"
    )


def _colour(pixel: Pixels) -> str:
    return "#{:02x}{:02x}{:02x}".format(*pixel.tolist())
