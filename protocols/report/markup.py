"""HTML and SVG as values that cannot be confused with text: what is not Markup is escaped, always.

    element("p", "spent by ", element("b", name), cls="quiet")      name may hold anything

Against whom: names, reasons and policies in a ledger are a stranger's. Beside the characters of HTML, those that show
nothing or turn the direction of the line are written out as their code, so that a reader sees what is there.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass

EMPTY = frozenset({"meta", "img", "br", "link"})

# Letters and marks by their category, so `isprintable`, that nevertheless show nothing. Source: Unicode 14,
# DerivedCoreProperties, Default_Ignorable_Code_Point; and the blanks, which that property leaves out.
_IGNORABLE = (
    (0x034F, 0x034F),  # the grapheme joiner
    (0x115F, 0x1160),  # Hangul fillers
    (0x17B4, 0x17B5),  # Khmer inherent vowels
    (0x180B, 0x180F),  # Mongolian variation selectors
    (0x3164, 0x3164),  # another Hangul filler
    (0xFE00, 0xFE0F),  # variation selectors
    (0xFFA0, 0xFFA0),  # another Hangul filler
    (0xE0100, 0xE01EF),  # more variation selectors
)
_BLANK = (
    (0x2800, 0x2800),  # the Braille pattern without dots
    (0x13441, 0x13442),  # Egyptian blanks
    (0x16FE4, 0x16FE4),  # the Khitan filler
    (0x1D159, 0x1D159),  # the note without a head
)
UNSEEN = frozenset(chr(code) for first, last in (*_IGNORABLE, *_BLANK) for code in range(first, last + 1))


@dataclass(frozen=True, slots=True)
class Markup:
    """Source that goes into a page as it stands; only `element`, `join` and constants of ours make it."""

    source: str


Piece = Markup | str
Attribute = str | int | float | None

NOTHING = Markup("")


def text(value: str) -> Markup:
    """A stranger's text as a reader may see it: escaped, and nothing in it invisible."""
    shown = "".join(letter if _is_seen(letter) else _spelled(letter) for letter in value)
    return Markup(html.escape(shown, quote=True))


def join(pieces: Iterable[Piece], between: Piece = NOTHING) -> Markup:
    """All pieces, one after the other."""
    return Markup(_source(between).join(map(_source, pieces)))


def element(name: str, /, *pieces: Piece, **attributes: Attribute) -> Markup:
    """<name ...>pieces</name>; `cls` is the class, an underscore in an attribute a hyphen, None leaves it out."""
    written = "".join(
        f' {_attribute(key)}="{text(str(value)).source}"' for key, value in attributes.items() if value is not None
    )
    opened = f"<{name}{written}>"
    return Markup(opened if name in EMPTY else f"{opened}{join(pieces).source}</{name}>")


def _source(piece: Piece) -> str:
    return piece.source if isinstance(piece, Markup) else text(piece).source


def _attribute(key: str) -> str:
    return "class" if key == "cls" else key.rstrip("_").replace("_", "-")


def _is_seen(letter: str) -> bool:
    return (letter.isprintable() and letter not in UNSEEN) or letter == "\n"


def _spelled(letter: str) -> str:
    return f"\\u{ord(letter):04x}"
