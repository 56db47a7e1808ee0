"""State diagrams inside written pages: a line `<!-- states: pairwise -->` becomes those of the protocol's roles."""

from __future__ import annotations

import inspect
import re

from protocols.party import Blame, Role
from tools.site_pages.arrows import moves_of, roles_of, state_types
from tools.site_pages.drawing import drawn, states_of

MARK = re.compile(r"^<!-- states: (\w+) -->$", re.MULTILINE)
ENDS = {
    Blame.ABORT: "A peer that misbehaves ends this party in `Failed`, and its secrets are overwritten",
    Blame.EXCLUDE: "A peer that misbehaves is excluded and named; a lost round ends this party in `Failed`",
}


def with_diagrams(text: str) -> str:
    """The page's text with its marks replaced.  Raises: KeyError for a protocol that does not exist."""
    return MARK.sub(lambda found: "\n".join(map(section, roles_of(found[1]))), text)


def section(role: Role) -> str:
    """Picture and table of one role."""
    moves, kinds = moves_of(role), state_types(role)
    lasting = "".join(f"; in `{state.__name__}` it refuses and stays" for state in role.lasting)
    rows = [f"| `{state}` | {' '.join(first_paragraph(kinds[state]).split())} |" for state in states_of(moves)]
    return "\n".join(
        [
            f"### The {role.name}",
            "",
            f"<div>{drawn(role.name, moves)}</div>",
            "",
            f"{ENDS[role.blame]}{lasting}.",
            "",
            "| state | is |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def first_paragraph(kind: type) -> str:
    return (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("|", "\\|")
