"""A grey picture as a PNG file: read back by a decoder that is not ours, and chunk by chunk."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.audit import Panel
from protocols.errors import Misused
from protocols.report.album import Album, sheet
from protocols.report.png import data_uri, png

# One black and one white pixel, written out by hand from the specification; the compressed part as zlib makes it.
HEADER = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000002000000010800000000")


def decoded(raw: bytes) -> np.ndarray:
    pillow = pytest.importorskip("PIL.Image", reason="NOT CHECKED: no decoder here that is not ours")
    with pillow.open(io.BytesIO(raw)) as picture:
        assert (picture.format, picture.mode) == ("PNG", "L")
        return np.asarray(picture)


def chunks(raw: bytes) -> list[tuple[bytes, bytes]]:
    found, rest = [], raw[8:]
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        kind, body = rest[4:8], rest[8 : 8 + length]
        assert struct.unpack(">I", rest[8 + length : 12 + length]) == (zlib.crc32(kind + body),)
        found.append((kind, body))
        rest = rest[12 + length :]
    return found


def test_two_pixels_byte_for_byte() -> None:
    raw = png(np.array([[0.0, 1.0]]))
    assert raw.startswith(HEADER)
    (_, header), (kind, body), (end, nothing) = chunks(raw)
    assert struct.unpack(">IIBBBBB", header) == (2, 1, 8, 0, 0, 0, 0)
    assert (kind, zlib.decompress(body)) == (b"IDAT", b"\x00\x00\xff")
    assert (end, nothing) == (b"IEND", b"")


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_a_foreign_decoder_reads_every_pixel(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).random((height, width))
    assert np.array_equal(decoded(png(pixels)), np.rint(pixels * 255).astype(np.uint8))


def test_the_uri_holds_the_same_bytes_and_nothing_that_a_page_must_escape() -> None:
    pixels = np.linspace(0, 1, 784).reshape(28, 28)
    head, _, body = data_uri(pixels).partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body, validate=True) == png(pixels) == png(pixels.copy())
    assert set('"<>&') & set(data_uri(pixels)) == set()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((0, 3)),
        np.zeros(3),
        np.zeros((1, 2, 3)),
        np.full((2, 2), 1.01),
        np.full((2, 2), -0.01),
        np.full((2, 2), np.nan),
        np.broadcast_to(0.0, (1 << 13, 1 << 12)),
    ],
    ids=["empty", "line", "cube", "too-white", "too-black", "nan", "too-large"],
)
def test_what_is_no_picture_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(Misused, match="pixels"):
        png(pixels)


def test_a_sheet_has_a_line_for_each_panel() -> None:
    first, second = np.zeros((2, 3, 3)), np.full((2, 3, 3), 0.5)
    page = sheet([first, second])
    assert page.shape == (2 * 4 * 4, 2 * 4 * 4)
    assert page[0, 0] == 0
    assert page[16, 0] == 0.5
    assert page[12, 0] == page[0, 12] == 1.0


def test_an_album_keeps_one_file_for_each_panel_and_one_for_all(tmp_path: Path) -> None:
    panels = [Panel("the clients' own", np.zeros((2, 3, 3)), ()), Panel("../sum of 5, 0.1", np.ones((2, 3, 3)), (1, 2))]
    paths = Album.at(tmp_path / "new" / "folder").keep(panels)
    folder = tmp_path / "new" / "folder"
    assert paths == [str(folder / name) for name in ("all.png", "0-the-clients-own.png", "1-sum-of-5-0.1.png")]
    assert sorted(paths) == sorted(map(str, folder.iterdir()))
    assert decoded(Path(paths[0]).read_bytes()).shape == (32, 32)
    assert decoded(Path(paths[2]).read_bytes()).min() == 255


def test_no_folder_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misused, match="choose another place"):
        Album.at(tmp_path / "file")
