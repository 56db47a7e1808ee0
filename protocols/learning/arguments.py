"""What a rule, a loop or a trainer may be given: each check names the argument and says what to give instead."""

from __future__ import annotations

from numbers import Real

from protocols.errors import Misused


def require_made(name: str, given: object, methods: tuple[str, ...], example: str) -> None:
    """Against a class or its name, where an object of it is meant.

    Raises: Misused.
    """
    if isinstance(given, type) or not all(callable(getattr(given, method, None)) for method in methods):
        shown = given.__name__ if isinstance(given, type) else repr(given)
        raise Misused(f"{name} is {shown}, expected an object with {', '.join(methods)}: {example}")


def require_number(name: str, value: object) -> None:
    """Against text above all, which would be compared with a bound.

    Raises: Misused.
    """
    if not isinstance(value, Real):
        raise Misused(f"{name} is {value!r}, expected a number")


def require_count(name: str, count: int) -> None:
    """Against NaN above all, which is below no bound and would let a run go on for ever.

    Raises: Misused.
    """
    if type(count) is not int or count < 1:
        raise Misused(f"{name} is {count!r}, it must be an integer of at least 1")
