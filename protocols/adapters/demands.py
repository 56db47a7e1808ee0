"""What a site insists on, as JSON: in a job's configuration, or in `policy.json` of a site's home, which then decides.

{"protocols": ["oneshot"], "min_cohort": 5, "min_noise_multiplier": "1/2", "tasks": ["run-1"], "max_rounds": 30}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from protocols.errors import Misused
from protocols.home import Home
from protocols.plan import Policy, Promise

FILE = "policy.json"
MOST_BYTES = 1 << 20


def _integer(found: Any) -> int:
    if type(found) is not int:
        raise TypeError("is no integer")
    return found


def _fraction(found: Any) -> Fraction:
    # A float would mean its binary value: 0.1 is to be 1/10.
    return Fraction(found if isinstance(found, str) else str(_integer(found)))


def _names(found: Any) -> frozenset[str]:
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise TypeError("is no list of names")
    return frozenset(found)


READ: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "min_cohort": _integer,
        "min_threshold": _integer,
        "min_opening_threshold": _integer,
        "max_weight": _integer,
        "max_length": _integer,
        "max_rounds": _integer,
        "max_model_norm": lambda found: float(_fraction(found)),
        "min_clip": _fraction,
        "max_clip": _fraction,
        "min_noise_multiplier": _fraction,
        "protocols": _names,
        "tasks": _names,
        "promise": Promise,
    }
)


def demands_from(found: object) -> dict[str, Any]:
    """The demands of a `Policy`; fractions are text, such as "1/2" or "0.5".

    Raises: Misused for a name that is no demand, or a value of another kind.
    """
    if not isinstance(found, Mapping):
        raise Misused(f"demands are a JSON object, not a {type(found).__name__}")
    unknown = sorted(map(str, found.keys() - READ.keys()))
    if unknown:
        raise Misused(f"{unknown} are no demands; there are {sorted(READ)}")
    try:
        return {name: READ[name](value) for name, value in found.items()}
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise Misused(f"these demands cannot be read: {error}") from error


def policy_at(home: Home, otherwise: Mapping[str, Any]) -> Policy:
    """The policy of this site: by its own file where it has one, by these demands where it has none.

    Raises: Misused for a file that is no object of demands; BadPlan.
    """
    path = home.path / FILE
    if not path.exists():
        return home.roster.policy(**demands_from(otherwise))
    try:
        with open(path, encoding="utf-8") as file:
            return home.roster.policy(**demands_from(json.loads(file.read(MOST_BYTES))))
    except (OSError, ValueError, RecursionError) as error:
        raise Misused(f"{path} holds no demands: {error}") from error
