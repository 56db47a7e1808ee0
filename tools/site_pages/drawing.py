"""A role as one self-contained SVG: a bar for each state, below it a row for each message that it takes.

From a row, a line runs right to the rail of each state the message can lead to; a rail ends with an arrowhead at
that state's bar. A row that stays says so, and so does one that always refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tools.site_pages.arrows import Move

BAR = 380
ROW = 22
LANE = 16
LEFT = 8
SPOKEN = {"Deadline": "deadline of the room"}


@dataclass(frozen=True)
class Place:
    """Where a state's bar and the rows below it are, in pixels from the top."""

    bar: int
    rows: tuple[int, ...]


def drawn(title: str, moves: Sequence[Move]) -> str:
    """The picture, in one line so that Markdown takes it as it is."""
    states = states_of(moves)
    places, height = placed(states, moves)
    lanes = lanes_of(states, moves, places)
    width = LEFT + BAR + LANE * (max(lanes.values(), default=0) + 2)
    parts = [bar(state, places[state]) for state in states]
    for state in states:
        own = [move for move in moves if move.state == state]
        parts += [row(move, y, lanes) for move, y in zip(own, places[state].rows, strict=True)]
    parts += [rail(target, lane, moves, places) for target, lane in lanes.items()]
    head = (
        f'<svg class="states" role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'xmlns="http://www.w3.org/2000/svg" font-family="monospace" font-size="13" fill="currentColor">'
    )
    return f"{head}<title>States of the {escape(title)}</title>{''.join(parts)}</svg>"


def states_of(moves: Sequence[Move]) -> list[str]:
    """States in the order of the moves, and last those that nothing leaves."""
    leaving = [move.state for move in moves]
    return list(dict.fromkeys([*leaving, *(target for move in moves for target in move.targets)]))


def placed(states: Sequence[str], moves: Sequence[Move]) -> tuple[dict[str, Place], int]:
    """Every state's place, and the height of all."""
    places, y = {}, LEFT
    for state in states:
        count = sum(move.state == state for move in moves)
        places[state] = Place(y, tuple(y + ROW * (number + 1) + 4 for number in range(count)))
        y += ROW * (count + 1) + 16
    return places, y


def span(target: str, moves: Sequence[Move], places: dict[str, Place]) -> tuple[int, int]:
    """The top and the bottom of the rail to this state."""
    ends = [places[target].bar + ROW // 2, *(y + ROW // 2 for y in sources(target, moves, places))]
    return min(ends), max(ends)


def sources(target: str, moves: Sequence[Move], places: dict[str, Place]) -> list[int]:
    found, seen = [], dict.fromkeys(places, 0)
    for move in moves:
        y = places[move.state].rows[seen[move.state]]
        seen[move.state] += 1
        if target in move.targets and target != move.state:
            found.append(y)
    return found


def lanes_of(states: Sequence[str], moves: Sequence[Move], places: dict[str, Place]) -> dict[str, int]:
    """A lane for the rail of every state that another leads to; two rails that overlap have different ones."""
    lanes: dict[str, int] = {}
    for target in states:
        if not sources(target, moves, places):
            continue
        top, bottom = span(target, moves, places)
        taken = {
            lane
            for other, lane in lanes.items()
            if span(other, moves, places)[0] <= bottom and top <= span(other, moves, places)[1]
        }
        lanes[target] = next(lane for lane in range(len(taken) + 1) if lane not in taken)
    return lanes


def bar(state: str, place: Place) -> str:
    return (
        f'<rect x="{LEFT}" y="{place.bar}" width="{BAR}" height="{ROW}" rx="4" fill="currentColor" '
        f'fill-opacity="0.12" stroke="currentColor"/>'
        f'<text x="{LEFT + 8}" y="{place.bar + 15}" font-weight="bold">{escape(state)}</text>'
    )


def row(move: Move, y: int, lanes: dict[str, int]) -> str:
    """What the message is, whether the state stays, and lines to the rails of the states it leads to."""
    away = [target for target in move.targets if target != move.state]
    note = (
        " refused" if not move.targets else " stays" if not away else " stays, or" if move.state in move.targets else ""
    )
    text = f'<text x="{LEFT + 24}" y="{y + 15}">{escape(SPOKEN.get(move.message, move.message))}'
    text += f'<tspan fill-opacity="0.65" font-style="italic">{note}</tspan></text>'
    if not away:
        return text
    begin = LEFT + 24 + 8 * (len(SPOKEN.get(move.message, move.message)) + len(note) + 1)
    end, middle = max(rail_x(lanes[target]) for target in away), y + ROW // 2
    dots = "".join(f'<circle cx="{rail_x(lanes[target])}" cy="{middle}" r="3"/>' for target in away)
    return f'{text}<path d="M{begin} {middle}H{end}" stroke="currentColor" fill="none"/>{dots}'


def rail_x(lane: int) -> int:
    return LEFT + BAR + LANE * (lane + 1)


def rail(target: str, lane: int, moves: Sequence[Move], places: dict[str, Place]) -> str:
    top, bottom = span(target, moves, places)
    x, y, edge = rail_x(lane), places[target].bar + ROW // 2, LEFT + BAR
    return (
        f'<path d="M{x} {top}V{bottom}M{x} {y}H{edge}" stroke="currentColor" fill="none"/>'
        f'<path d="M{edge} {y}l8 -4v8z"/>'
    )
