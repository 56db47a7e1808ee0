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
MOST_PICTURES = 4096
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

    def after(self, count: int) -> Pictures:
        """All but the first so many.  Raises: BadParameters when none are left."""
        return Pictures(self.source, self.pixels[count:], self.labels[count:], self.classes)

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
    shapes = _glyphs()
    labels = np.zeros(count, dtype=np.int64)
    pixels = np.zeros((count, SIDE, SIDE))
    # One after the other, so that the first pictures are the same however many are asked for.
    for here in range(count):
        labels[here] = rng.integers(CLASSES)
        pixels[here] = _written(shapes[labels[here]], rng)
    return Pictures("glyphs", pixels, labels, CLASSES)


def _written(shape: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """One glyph somewhere on the canvas, one black pixel of margin at the least."""
    canvas = np.zeros((SIDE, SIDE))
    height, width = shape.shape
    top, left = rng.integers(1, SIDE - height), rng.integers(1, SIDE - width)
    canvas[top : top + height, left : left + width] = shape
    contrast = rng.uniform(_LEAST_CONTRAST, 1)
    return np.asarray(np.clip(contrast * _blurred(canvas) + _GRAIN * rng.standard_normal(canvas.shape), 0, 1))


def _glyphs() -> NDArray[np.float64]:
    """The ten bitmaps, each dot 3 x 3 pixels: (10, 21, 15)."""
    dots = np.array([[[dot == "#" for dot in glyph] for glyph in line.split()] for line in _DOTS], dtype=np.float64)
    return dots.transpose(1, 0, 2).repeat(_SCALE, axis=1).repeat(_SCALE, axis=2)


def _blurred(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convolved with (1, 2, 1) x (1, 2, 1) / 16; the margin keeps what wraps around black."""
    for axis in (0, 1):
        picture = (np.roll(picture, 1, axis) + 2 * picture + np.roll(picture, -1, axis)) / 4
    return picture
