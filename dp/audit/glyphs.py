"""Pictures to attack where nothing may be downloaded: ten digits of 5 x 7 dots, written a little differently each time.

    glyph x 3 --> shifted onto 28 x 28 --> blurred --> contrast 0.6..1 --> plus 10 % noise --> within [0, 1]

Everything random comes from the seed in the arguments: it shapes pictures, never secrets.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dp.errors import BadParameters

SIDE = 28
CLASSES = 10
MOST_PICTURES = 1024
_SCALE = 3
_LEAST_CONTRAST = 0.6
_GRAIN = 0.1
_DOTS = (
    ".###. ..#.. .###. .###. ...#. ##### .###. ##### .###. .###.",
    "#...# .##.. #...# #...# ..##. #.... #.... ....# #...# #...#",
    "#..## ..#.. ....# ....# .#.#. ####. #.... ...#. #...# #...#",
    "#.#.# ..#.. ...#. ..##. #..#. ....# ####. ..#.. .###. .####",
    "##..# ..#.. ..#.. ....# ##### ....# #...# ..#.. #...# ....#",
    "#...# ..#.. .#... #...# ...#. #...# #...# ..#.. #...# ....#",
    ".###. .###. ##### .###. ...#. .###. .###. ..#.. .###. .###.",
)


@dataclass(frozen=True, slots=True)
class Pictures:
    """Square grey pictures with labels, one for each client.

    Shapes: pixels float64 (n, side, side) in [0, 1], labels int64 (n,) within 0..classes-1; both read-only.
    Raises: BadParameters.
    """

    source: str
    pixels: NDArray[np.float64] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    classes: int

    def __post_init__(self) -> None:
        pixels, labels = np.array(self.pixels, dtype=np.float64), np.array(self.labels, dtype=np.int64)
        if pixels.ndim != 3 or not 1 <= len(pixels) <= MOST_PICTURES or pixels.shape[1] != pixels.shape[2]:
            raise BadParameters(f"pictures are 1 to {MOST_PICTURES} squares, got an array of shape {pixels.shape}")
        if pixels.shape[1] < 1 or not (pixels.min() >= 0 and pixels.max() <= 1):
            raise BadParameters("pixels must lie between 0 and 1")
        if labels.shape != pixels.shape[:1] or not 0 <= labels.min() <= labels.max() < self.classes:
            raise BadParameters(f"each picture needs a label within 0..{self.classes - 1}")
        for name, array in (("pixels", pixels), ("labels", labels)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Pictures:
        """The pictures of the first so many clients."""
        return Pictures(self.source, self.pixels[:count], self.labels[:count], self.classes)

    def only(self, client: int) -> Pictures:
        """The picture of one client."""
        return Pictures(self.source, self.pixels[client, None], self.labels[client, None], self.classes)


def glyphs(count: int, seed: int) -> Pictures:
    """So many digits of 28 x 28 pixels, each drawn anew.

    Raises: BadParameters for no picture, too many, or a negative seed.
    """
    if not 1 <= count <= MOST_PICTURES or seed < 0:
        raise BadParameters(
            f"{count} pictures from seed {seed}: ask for 1 to {MOST_PICTURES}, from a seed of at least 0"
        )
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=count)
    shapes = _glyphs()
    canvas = np.zeros((count, SIDE, SIDE))
    height, width = shapes.shape[1:]
    tops, lefts = rng.integers(1, SIDE - height, size=count), rng.integers(1, SIDE - width, size=count)
    for picture, label, top, left in zip(canvas, labels, tops, lefts, strict=True):
        picture[top : top + height, left : left + width] = shapes[label]
    contrast = rng.uniform(_LEAST_CONTRAST, 1, size=(count, 1, 1))
    grain = _GRAIN * rng.standard_normal(canvas.shape)
    return Pictures("glyphs", np.clip(contrast * _blurred(canvas) + grain, 0, 1), labels, CLASSES)


def _glyphs() -> NDArray[np.float64]:
    """The ten bitmaps, each dot 3 x 3 pixels: (10, 21, 15)."""
    dots = np.array([[[dot == "#" for dot in glyph] for glyph in line.split()] for line in _DOTS], dtype=np.float64)
    return dots.transpose(1, 0, 2).repeat(_SCALE, axis=1).repeat(_SCALE, axis=2)


def _blurred(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convolved with (1, 2, 1) x (1, 2, 1) / 16; beyond the edge is black."""
    for axis in (1, 2):
        framed = np.pad(pictures, [(int(axis == here), int(axis == here)) for here in range(3)])
        size = pictures.shape[axis]
        before, here, after = (framed.take(range(start, start + size), axis=axis) for start in range(3))
        pictures = (before + 2 * here + after) / 4
    return pictures
