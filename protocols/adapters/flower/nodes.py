"""Which node hosts which parties, and what replies say about them.

A node is asked once, when it is first seen, which parties live there, and each of them signs that it does: no node can
have another's letters sent to itself, and drop them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flwr.app import Message, RecordDict

from protocols.adapters.flower.post import Post
from protocols.adapters.flower.records import Kind, Parcel
from protocols.errors import Malformed
from protocols.party import PartyId
from protocols.plan import Metric
from protocols.roster import Roster
from secagg.errors import BadSignature

LOG = logging.getLogger("flwr.secagg")
OURS = "secagg:"
# A refusal is a name, and of a plan why; a node may send anything, and it is written into a log.
MOST_WORDS = 300
# Flower's codes: the app could not be loaded, is no valid bundle, or its process crashed.
NOT_INSTALLED = (1, 7, 8)


@dataclass(slots=True)
class Heard:
    """What the replies of one exchange hold: a bundle by party, and by node why it refused."""

    answers: dict[PartyId, bytes] = field(default_factory=dict)
    refusals: dict[int, str] = field(default_factory=dict)


class Nodes:
    """The nodes of a run, and the parties that live on them."""

    def __init__(self, roster: Roster, patience_seconds: float) -> None:
        self._roster, self._patience = roster, patience_seconds
        self._node_of: dict[PartyId, int] = {}
        self._met: set[int] = set()
        self._gathered = False
        self.bytes_down = self.bytes_up = 0

    def __len__(self) -> int:
        """How many nodes host a party."""
        return len(set(self._node_of.values()))

    def gather(self, post: Post, clients: int) -> None:
        """Meet who is there; the first time wait until all openers are, and so many clients.

        Nodes arrive one by one when a run begins, and a committee or a key needs every opener. Whoever has not come
        when the patience is over is missed by the round, by name.
        """
        self._introduce(post)
        end = time.monotonic() + self._patience
        while not (self._gathered or self._has(clients)) and time.monotonic() < end:
            post.pause()
            self._introduce(post)
        self._gathered = True

    def _has(self, clients: int) -> bool:
        here = self._node_of.keys()
        return here >= self._roster.openers.keys() and len(here & self._roster.clients.keys()) >= clients

    def _introduce(self, post: Post) -> None:
        """Ask every node that is new who lives there; one that is silent is asked again the next time."""
        present = set(post.get_node_ids())
        self._node_of = {who: node for who, node in self._node_of.items() if node in present}
        self._met &= present
        fresh = present - self._met
        if not fresh:
            return
        asked = {node: Parcel(Kind.INTRODUCE).beside(RecordDict()) for node in sorted(fresh)}
        for node, reply in post.exchange(asked, self._patience).items():
            self._met.add(node)
            parcel, why = _opened(node, reply)
            if parcel is None:
                LOG.warning("secagg: node %d takes no part: %s", node, why)
                continue
            for who, signature in parcel.letters.items():
                self._settle(who, node, signature)

    def _settle(self, who: PartyId, node: int, signature: bytes) -> None:
        try:
            self._roster.check_place(who, str(node), signature)
        except BadSignature:
            LOG.warning("secagg: node %d says that party %d lives there, and that party does not", node, who)
            return
        first = self._node_of.setdefault(who, node)
        if first != node:
            LOG.warning("secagg: party %d lives on node %d, and on %d too: one home, twice", who, first, node)

    def clients_on(self, nodes: Iterable[int]) -> tuple[PartyId, ...]:
        """The clients that live on these nodes."""
        wanted = set(nodes)
        return tuple(
            sorted(who for who, node in self._node_of.items() if node in wanted and who in self._roster.clients)
        )

    def parcels(
        self, letters: Mapping[PartyId, bytes], kind: Kind, weight_key: str = "", metrics: tuple[Metric, ...] = ()
    ) -> dict[int, Parcel]:
        """The letters by node; those of parties that live nowhere are not sent."""
        sorted_out: dict[int, dict[PartyId, bytes]] = {}
        for who, bundle in letters.items():
            if who in self._node_of:
                sorted_out.setdefault(self._node_of[who], {})[who] = bundle
                self.bytes_down += len(bundle)
        return {node: Parcel(kind, mine, weight_key, metrics) for node, mine in sorted_out.items()}

    def read(self, replies: Mapping[int, Message]) -> Heard:
        """Answers by party, each only from the node where that party lives."""
        heard = Heard()
        for node, reply in replies.items():
            parcel, why = _opened(node, reply)
            if parcel is None:
                heard.refusals[node] = why
                LOG.warning("secagg: node %d does not answer: %s", node, why)
                continue
            for who, bundle in parcel.letters.items():
                if self._node_of.get(who) == node:
                    heard.answers[who] = bundle
                    self.bytes_up += len(bundle)
                else:
                    LOG.warning("secagg: node %d answers for party %d, which does not live there", node, who)
        return heard


def _opened(node: int, reply: Message) -> tuple[Parcel | None, str]:
    """Our part of a reply, or why there is none."""
    if reply.has_error():
        reason = reply.error.reason or ""
        if reason.startswith(OURS):
            return None, "".join(filter(str.isprintable, reason.removeprefix(OURS)))[:MOST_WORDS]
        hint = "; is the toolkit installed on that node?" if reply.error.code in NOT_INSTALLED else ""
        # Not its text: an app's exception may quote what it worked on.
        return None, f"Flower's error {reply.error.code}{hint}"
    try:
        parcel = Parcel.taken_from(reply.content, node)
    except Malformed as error:
        return None, f"Malformed: {error.why}"
    return parcel, "its reply is not from our mod: is client_mod the first of its mods?"
