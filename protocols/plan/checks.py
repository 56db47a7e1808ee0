"""What plans and policies are held against before they come to life."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from protocols import wire
from protocols.errors import BadPlan


def require_key(name: str, key: object) -> None:
    if not isinstance(key, bytes) or len(key) != 32:
        raise BadPlan(f"{name} must be a public key of 32 bytes (identity.public), not a {type(key).__name__}")


def require_pinned(name: str, keys: object) -> None:
    """Raises: BadPlan for what is no frozen set of public keys."""
    if not isinstance(keys, frozenset):
        raise BadPlan(f"{name} must be a frozenset of public keys, not a {type(keys).__name__}: frozenset({name})")
    for key in keys:
        require_key(f"each of {name}", key)


def require_clients(clients: object) -> None:
    """Raises: BadPlan for what is no mapping of numbers to public keys."""
    if not isinstance(clients, Mapping):
        raise BadPlan(f"clients must map each client's number to its public key, not be a {type(clients).__name__}")
    for who, key in clients.items():
        require_key(f"the identity of client {who}", key)


def require_floor(min_cohort: object) -> None:
    """Raises: BadPlan for a floor under which a sum hides nobody."""
    if type(min_cohort) is not int or min_cohort < 3:
        raise BadPlan(f"min_cohort is {min_cohort!r}: a sum over fewer than 3 hides nobody")


def require_short(name: str, value: Fraction) -> None:
    """Raises: BadPlan for a number too long to be sent; nobody means so many digits."""
    if len(f"{value.numerator}/{value.denominator}") > wire.MOST_DIGITS:
        raise BadPlan(f"{name} is a fraction of over {wire.MOST_DIGITS} characters: round it")


def rational(name: str, value: float | Fraction) -> Fraction:
    """A float as the short decimal a person meant; 0.1 is 1/10."""
    try:
        return value if isinstance(value, Fraction) else Fraction(repr(float(value)))
    except ValueError as error:
        raise BadPlan(f"{name} is {value}, it must be a finite number") from error
