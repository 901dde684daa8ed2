"""Grey pictures as PNG files, so that the builders need no imaging library."""

import struct
import zlib

import numpy as np
import numpy.typing as npt

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode(pixels: npt.NDArray[np.uint8]) -> bytes:
    """pixels: [height, width], 0 black to 255 white. The file is 8-bit greyscale."""
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    # Every row starts with its filter type; 0 is none.
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return (
        SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows, 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
