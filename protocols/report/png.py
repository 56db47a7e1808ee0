"""Grey pictures as PNG files and as data URIs, without an imaging library.

Source: PNG Specification, third edition (W3C), sections 5 (chunks), 9 (filter 0), 11 (IHDR, IDAT, IEND).
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from protocols.errors import Misused

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_PIXELS = 1 << 24
_DEPTH, _GREY, _DEFLATE, _FILTERS, _NOT_INTERLACED = 8, 0, 0, 0, 0


def png(pixels: NDArray[np.float64]) -> bytes:
    """One 8-bit grey picture, black 0 to white 1; the same bytes for the same pixels.

    Shapes: (height, width), values in [0, 1].
    Raises: Misused for another shape, no pixel, more than 2^24, or a value outside.
    """
    if pixels.ndim != 2 or not 0 < pixels.size <= MOST_PIXELS:
        raise Misused(f"a picture has 1 to {MOST_PIXELS} pixels in two dimensions, got shape {pixels.shape}")
    if not (pixels.min() >= 0 and pixels.max() <= 1):
        raise Misused("pixels must lie between 0 and 1")
    grey = np.rint(pixels * 255).astype(np.uint8)
    height, width = grey.shape
    header = struct.pack(">IIBBBBB", width, height, _DEPTH, _GREY, _DEFLATE, _FILTERS, _NOT_INTERLACED)
    # Each line begins with the number of its filter: 0, the bytes as they are.
    lines = np.pad(grey, ((0, 0), (1, 0))).tobytes()
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(kind, body) for kind, body in chunks)


def data_uri(pixels: NDArray[np.float64]) -> str:
    """The picture inside a page: `data:image/png;base64,...`.  Raises: as `png`."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
