"""The one text of a body that is hashed and signed: canonical JSON of integers, strings, lists and objects.

No float has an exact value to sign, so rationals are strings "p/q" in lowest terms and bytes lowercase hex.
Whoever reads a body gets it exactly as it was written, or a named error.
"""

from __future__ import annotations

import hmac
import json
import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NoReturn, TypeAlias

from dp.errors import BadParameters

MAX_BODY_BYTES = 64 * 1024
# Far above any lattice variance, far below the length at which Python's own conversion to text is refused.
MAX_INTEGER_BITS = 4096
MAX_DEPTH = 200

Value: TypeAlias = "str | int | Sequence[Value] | Mapping[str, Value]"
Body: TypeAlias = "Mapping[str, Value]"


def encode_body(body: Body, most_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Body as its one JSON text: UTF-8, keys sorted, no spaces; only strings, integers, lists, objects.

    Raises: BadParameters for a float (0.1 has no exact value to sign), a truth value, None, bytes, an
        integer above MAX_INTEGER_BITS, a lone surrogate, more than MAX_DEPTH levels, or a text above
        `most_bytes`.
    """
    _require_canonical(body, MAX_DEPTH)
    text = _ENCODER.encode(body)
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError as wrong:
        raise BadParameters("a string in a ledger body is not valid Unicode; repair the name") from wrong
    if len(raw) > most_bytes:
        raise BadParameters(f"ledger body has {len(raw)} bytes, at most {most_bytes} are allowed")
    return raw


def decode_body(raw: bytes, most_bytes: int = MAX_BODY_BYTES) -> dict[str, Value]:
    """The inverse of `encode_body`; any other spelling of the same content is refused.

    Raises: BadParameters when raw is not the canonical text of an object.
    """
    if len(raw) > most_bytes:
        raise BadParameters(f"ledger body has {len(raw)} bytes, at most {most_bytes} are allowed")
    try:
        body = _DECODER.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError) as wrong:
        raise BadParameters(f"ledger body is not JSON ({type(wrong).__name__})") from wrong
    if not isinstance(body, dict):
        raise BadParameters("ledger body is not a JSON object")
    if not hmac.compare_digest(encode_body(body, most_bytes), raw):
        raise BadParameters("ledger body is not in canonical form (key order, spaces or escapes)")
    return body


def _require_canonical(value: object, depth: int) -> None:
    if depth == 0:
        raise BadParameters(f"a ledger body nests more than {MAX_DEPTH} deep")
    # Exact types: a bool is an int to isinstance, and a subclass may print itself in its own way.
    kind = type(value)
    if kind is str:
        return
    if isinstance(value, int) and kind is int:
        if value.bit_length() > MAX_INTEGER_BITS:
            raise BadParameters(f"a ledger body holds an integer of more than {MAX_INTEGER_BITS} bits")
    elif isinstance(value, dict) and kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise BadParameters(f"a ledger body has the key {key!r}; keys are strings")
            # Most values are strings: not asking each of them halves the time of reading a ledger's bodies.
            if type(item) is not str:
                _require_canonical(item, depth - 1)
    elif isinstance(value, list | tuple) and kind in (list, tuple):
        for item in value:
            _require_canonical(item, depth - 1)
    else:
        raise BadParameters(f"a ledger body holds a {kind.__name__}; write integers, strings, or rationals as 'p/q'")


def _distinct_keys(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    body = dict(pairs)
    if len(body) != len(pairs):
        raise BadParameters("a ledger body names a key twice")
    return body


def _refuse_number(text: str) -> NoReturn:
    raise BadParameters(f"a ledger body holds the number {text[:40]}; floats are not exact, write 'p/q'")


def encode_rational(value: Fraction) -> str:
    """ "p/q" in lowest terms with q > 0; integers keep their "/1" so that every rational looks alike."""
    return f"{value.numerator}/{value.denominator}"


# Made once: a ledger of 10^5 entries reads and writes bodies as often.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_DECODER = json.JSONDecoder(object_pairs_hook=_distinct_keys, parse_float=_refuse_number, parse_constant=_refuse_number)

_RATIONAL = re.compile(r"(0|-?[1-9][0-9]{0,1300})/([1-9][0-9]{0,1300})", re.ASCII)


def decode_rational(text: Value) -> Fraction:
    """The inverse of `encode_rational`. Raises: BadParameters for "2/4", "1/0", "-0/1", "1" and the like."""
    found = _RATIONAL.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise BadParameters(f"{str(text)[:60]!r} is not a rational 'p/q'")
    numerator, denominator = int(found[1]), int(found[2])
    if math.gcd(numerator, denominator) != 1:
        raise BadParameters(f"rational {str(text)[:60]!r} is not in lowest terms")
    return Fraction(numerator, denominator)


# --- fields of a decoded body --------------------------------------------------------------------


def text_of(body: Body, key: str) -> str:
    """body[key] as a string. Raises: BadParameters."""
    value = body.get(key)
    if not isinstance(value, str):
        raise BadParameters(f"ledger body lacks the string {key!r}")
    return value


def integer_of(body: Body, key: str) -> int:
    """body[key] as an integer. Raises: BadParameters."""
    value = body.get(key)
    if not isinstance(value, int):
        raise BadParameters(f"ledger body lacks the integer {key!r}")
    return value


def bytes_of(body: Body, key: str, length: int) -> bytes:
    """body[key], lowercase hex of exactly `length` bytes. Raises: BadParameters."""
    text = text_of(body, key)
    if re.fullmatch(rf"[0-9a-f]{{{2 * length}}}", text, re.ASCII) is None:
        raise BadParameters(f"ledger body field {key!r} is not {length} bytes of lowercase hex")
    return bytes.fromhex(text)


def object_of(body: Body, key: str) -> Body:
    """body[key] as an object. Raises: BadParameters."""
    value = body.get(key)
    if not isinstance(value, dict):
        raise BadParameters(f"ledger body lacks the object {key!r}")
    return value


def require_keys(body: Body, *keys: str) -> None:
    """Refuses a body with a key too many or too few. Raises: BadParameters."""
    if set(body) != set(keys):
        raise BadParameters(f"ledger body has the keys {sorted(body)}, expected {sorted(keys)}")
