"""Where the arrows of a role lead: read from the table and from the code of each arrow.

A table says (state, message) -> function; which states the function can return is not in it. They are the states that
the function builds itself, or has built by functions that return a step or a state.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from protocols.party import Deadline, Role

# Where each protocol's roles are, in the order in which their part begins.
ROLES = {
    "pairwise": (("pairwise.client", "client"), ("pairwise.server", "server")),
    "oneshot": (
        ("oneshot.convener", "convener"),
        ("oneshot.member", "member"),
        ("oneshot.client", "client"),
        ("oneshot.server", "server"),
    ),
    "ckks": (
        ("ckks.keys", "keymaker"),
        ("ckks.holder", "holder"),
        ("ckks.client", "client"),
        ("ckks.server", "server"),
        ("ckks.single_server", "single_keymaker"),
        ("ckks.decryptor", "decryptor"),
        ("ckks.single_server", "single_server"),
        ("ckks.seeded", "seeded_client"),
        ("ckks.seeded_server", "seeded_server"),
    ),
}


@dataclass(frozen=True)
class Move:
    """One arrow: the message that causes it, and every state it can lead to, in the order of the code."""

    state: str
    message: str
    targets: tuple[str, ...]


def roles_of(protocol: str) -> list[Role]:
    return [getattr(importlib.import_module(f"protocols.{module}"), name) for module, name in ROLES[protocol]]


def moves_of(role: Role) -> list[Move]:
    """Every arrow of the table, in the order of the states' first appearance in it."""
    states = {state.__name__: state for state, _ in role.arrows}
    reached = [Move(state.__name__, message.__name__, targets(role, state, message)) for state, message in role.arrows]
    order = ordered([*states], reached)
    return sorted(reached, key=lambda move: order.index(move.state))


def state_types(role: Role) -> dict[str, type]:
    """Name -> class, of every state of the role and those that only end it."""
    kinds = {state.__name__: state for state, _ in role.arrows}
    for arrow in role.arrows.values():
        for function in (arrow, inspect.getclosurevars(arrow).nonlocals.get("close", arrow)):
            named = vars(inspect.getmodule(function))
            kinds |= {name: named[name] for name in built(function) if name not in kinds}
    return kinds


def ordered(states: list[str], moves: list[Move]) -> list[str]:
    """Beginnings first, then what they lead to, breadth first."""
    led_to = {target for move in moves for target in move.targets if target != move.state}
    found = [state for state in states if state not in led_to]
    for state in found:
        for move in moves:
            if move.state == state:
                found += [target for target in move.targets if target not in found]
    return [*found, *(state for state in states if state not in found)]


def targets(role: Role, state: type, message: type) -> tuple[str, ...]:
    """The names of the states that this arrow can return."""
    arrow = role.arrows[state, message]
    cells = inspect.getclosurevars(arrow).nonlocals
    if "close" in cells:
        # A room: what arrives stays in it until it is complete; its deadline closes it.
        closed = tuple(dict.fromkeys(built(cells["close"])))
        return closed if message is Deadline else (state.__name__, *(name for name in closed if name != state.__name__))
    return tuple(dict.fromkeys(built(arrow))) or ((state.__name__,) if stays(arrow) else ())


def stays(arrow: Callable[..., Any]) -> bool:
    """Whether some path returns a step at all; an arrow that always raises leads nowhere."""
    return any(isinstance(node, ast.Return | ast.Lambda) for node in ast.walk(tree_of(arrow)))


def tree_of(function: Callable[..., Any]) -> ast.Module:
    if function.__name__ == "<lambda>":
        return ast.parse("lambda: state")
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def built(function: Callable[..., Any], seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """States that the function builds, itself or through functions that return a step or a state."""
    if function.__qualname__ in seen or function.__name__ == "<lambda>":
        return
    known = vars(inspect.getmodule(function))
    definition = next(node for node in ast.walk(tree_of(function)) if isinstance(node, ast.FunctionDef))
    first = definition.args.args[0].arg if definition.args.args else ""
    own = ast.unparse(definition.args.args[0].annotation) if first and definition.args.args[0].annotation else ""
    for node in ast.walk(definition):
        if isinstance(node, ast.Return) and node.value is not None:
            if own and returns_first(node.value, first):
                yield own
            # A last state has no arrow of its own; it is known by standing first in a returned step.
            yield from last_state(node.value, known)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = known.get(node.func.id)
            if isinstance(called, type) and is_state(called):
                yield called.__name__
            elif inspect.isfunction(called) and makes_state(called):
                yield from built(called, seen | {function.__qualname__})


def returns_first(value: ast.expr, first: str) -> bool:
    """`return state, ...` and `return replace(state, ...), ...`."""
    head = value.elts[0] if isinstance(value, ast.Tuple) else value
    if isinstance(head, ast.Call) and isinstance(head.func, ast.Name) and head.func.id == "replace":
        head = head.args[0]
    return isinstance(head, ast.Name) and head.id == first


def last_state(value: ast.expr, known: dict[str, Any]) -> Iterator[str]:
    head = value.elts[0] if isinstance(value, ast.Tuple) else None
    if isinstance(head, ast.Call) and isinstance(head.func, ast.Name):
        called = known.get(head.func.id)
        if isinstance(called, type) and not is_state(called):
            yield called.__name__


STATES: set[type] = set()


def is_state(kind: type) -> bool:
    return kind in STATES


def makes_state(function: Callable[..., Any]) -> bool:
    returned = str(function.__annotations__.get("return", ""))
    return returned == "Step" or any(returned == state.__name__ for state in STATES)


for _protocol in ROLES:
    for _role in roles_of(_protocol):
        STATES |= {state for state, _ in _role.arrows}
