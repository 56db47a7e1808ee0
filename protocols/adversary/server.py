"""Scripts in which the server lies to its clients to see one vector alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from protocols.adversary.targets import AnswersServer, Interrogation, Surroundable, Surroundings, View
from protocols.adversary.verdict import Finding, Inexpressible, Refused, Script

CLIENTS = 10
CLOSE = 0.01


def asks_both_shares(target: AnswersServer) -> Finding:
    """One question names the victim alive and dead; whoever answers it gives both of the victim's secrets."""
    room = target.interrogate(CLIENTS)
    everybody, victim = frozenset(room.ids), room.ids[0]
    refusals = room.ask({who: View(everybody, frozenset({victim})) for who in room.ids if who != victim})
    return recovered(room, victim, f"{CLIENTS} clients, one of them named alive and dead", refusals)


def split_view(target: AnswersServer) -> Finding:
    """Half the clients hear that the victim survived, half that it vanished; each half gives one secret."""
    room = target.interrogate(CLIENTS)
    everybody, victim = frozenset(room.ids), room.ids[0]
    lied_to = [who for who in room.ids if who != victim][::2]
    without = View(everybody - {victim}, frozenset({victim}))
    refusals = room.ask({who: without if who in lied_to else View(everybody) for who in room.ids})
    return recovered(room, victim, f"{len(lied_to)} of {CLIENTS} clients told that one vanished", refusals)


def recovered(room: Interrogation, victim: int, what: str, refusals: Mapping[int, str]) -> Finding:
    """What came of it: the victim's vector, or the reasons why not."""
    try:
        opened = room.recovered(victim)
    except Refused as missing:
        if refusals:
            reasons = ", ".join(sorted(set(refusals.values())))
            raise Refused(f"{what}: {len(refusals)} refuse with {reasons}") from missing
        return Finding(False, f"{what}: {missing}")
    error = float(np.abs(opened - room.truth(victim)).max())
    if error < CLOSE:
        return Finding(True, f"{what}: its vector alone is known to {error:.1e}, {len(refusals)} clients object")
    return Finding(False, f"{what}: what the server computes is off by {error:.1e}")


def cohort_of_one(target: Surroundable) -> Finding:
    """The villain chooses the victim's neighbourhood so that no honest client stands between them."""
    successes, refusals = [], []
    for how in Surroundings:
        try:
            opened, truth = target.surround(how)
        except (Refused, Inexpressible) as limit:
            refusals.append(f"{how.value}: {limit}")
            continue
        error = float(np.abs(opened - truth).max())
        if error < CLOSE:
            successes.append(f"{how.value}: the vector is known to {error:.1e}")
        else:
            refusals.append(f"{how.value}: the server sees noise")
    if not successes:
        raise Refused("; ".join(refusals))
    return Finding(True, "; ".join(successes + refusals))


SCRIPTS = (
    Script("asks_both_shares", "one client is listed alive and dead", ("M1",), AnswersServer, asks_both_shares),
    Script("split_view", "clients are told different survivors", ("M2",), AnswersServer, split_view),
    Script(
        "cohort_of_one",
        "a client sums with nobody, with the server's own, or under a threshold of one",
        ("M6", "M7", "M11"),
        Surroundable,
        cohort_of_one,
    ),
)
