"""What bytes of pictures mean: media type, pixels, and a view for a terminal.

Pillow decodes; it comes with the extra `media`, which workers and terminals install. The
service passes bytes on and looks at their head alone, to check boxes: Pillow is in `serve`, too.
"""

import io

import numpy as np
import numpy.typing as npt
from rich.text import Text

from relabel_service.errors import InvalidInput

Pixels = npt.NDArray[np.uint8]


def media_type(data: bytes) -> str:
    """The picture's media type. Decodes all of it: raises InvalidInput when it is broken."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            return Image.MIME.get(picture.format or "", "application/octet-stream")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _broken(error) from None


def size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the head alone. Raises InvalidInput when it is broken."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _broken(error) from None


def pixels(data: bytes, *, width: int, height: int, grey: bool = False) -> Pixels:
    """The picture scaled to a size: [height, width, 3], or [height, width, 1] if grey; 0 to 255."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as opened:
        upright = ImageOps.exif_transpose(opened).convert("L" if grey else "RGB")
        scaled = upright.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(scaled, np.uint8).reshape(height, width, -1)


def in_blocks(data: bytes, *, max_columns: int = 48) -> Text:
    """The picture in half blocks, two pixels a character, for a terminal with 24-bit colour."""
    width, height = size(data)
    columns = min(max_columns, max(width, 1))
    rows = max(2, round(columns * height / width) // 2 * 2)
    shown = pixels(data, width=columns, height=rows)
    text = Text()
    for row in range(0, rows, 2):
        for upper, lower in zip(shown[row], shown[row + 1], strict=True):
            text.append("▀", style=f"{_colour(upper)} on {_colour(lower)}")
        text.append("\n")
    return text


def _broken(error: Exception) -> InvalidInput:
    return InvalidInput.of(
        "image", f"is not a readable picture ({error}); fix the file, or drop the row"
    )


def _colour(pixel: Pixels) -> str:
    return "#{:02x}{:02x}{:02x}".format(*pixel.tolist())
