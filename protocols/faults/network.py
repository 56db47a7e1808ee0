"""The network of one round in virtual time, and what a schedule does to the letters on it.

a frame takes LATENCY seconds; those of one client in one direction stay in order, unless a fault repeats one
a party that dies is down for PAUSE seconds; what arrives meanwhile waits
a client whose connection broke connects again and repeats what it said last
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from protocols.ckks.messages import Ciphertext, EncryptedSum, OpenEncrypted, Partial
from protocols.codec import kind_of
from protocols.errors import Misused
from protocols.faults.schedule import (
    Deed,
    Delay,
    Duplicate,
    Flip,
    Hostile,
    Letter,
    LetterFault,
    Schedule,
    Truncate,
    Vanish,
)
from protocols.messages import (
    Advertise,
    Inbox,
    Masked,
    Open,
    Roster,
    Shares,
    Survivors,
    Unmask,
    Witness,
    Witnesses,
)
from protocols.oneshot.messages import Concealed, Included, OpenOneShot, Summed
from protocols.party import SERVER, PartyId
from protocols.plan import Promise
from protocols.simulate import Exchange, Lost

LATENCY = 1
PAUSE = 2
MOST_EVENTS = 100_000

EXCHANGE_OF: dict[type, Exchange] = {
    Open: Exchange.ADVERTISE,
    Advertise: Exchange.ADVERTISE,
    Roster: Exchange.SHARES,
    Shares: Exchange.SHARES,
    Inbox: Exchange.MASKED,
    Masked: Exchange.MASKED,
    Survivors: Exchange.WITNESS,
    Witness: Exchange.WITNESS,
    Witnesses: Exchange.UNMASK,
    Unmask: Exchange.UNMASK,
    OpenEncrypted: Exchange.MASKED,
    Ciphertext: Exchange.MASKED,
    EncryptedSum: Exchange.UNMASK,
    Partial: Exchange.UNMASK,
    OpenOneShot: Exchange.MASKED,
    Concealed: Exchange.MASKED,
    Included: Exchange.UNMASK,
    Summed: Exchange.UNMASK,
}
SPOILED_BY = {
    Deed.WRONG_LENGTH: Exchange.MASKED,
    Deed.BAD_SHARE: Exchange.UNMASK,
}

Forger = Callable[[PartyId, Deed, bytes], bytes]
Deliver = Callable[[PartyId, PartyId, bytes], None]
Greet = Callable[[PartyId], None]


def nobody(who: PartyId) -> None:
    """Where everybody is invited before anything can break, nobody connects that was never spoken to."""


class Network:
    """Carries frames between the server and these clients; `deliver(sender, recipient, data)` takes them.

    `forge` makes a hostile letter of a good one. `greet` says to a party that connects, and was never spoken to, what
    the server may have meant to say before it died.
    """

    def __init__(
        self,
        schedule: Schedule,
        ids: tuple[PartyId, ...],
        deliver: Deliver,
        forge: Forger,
        greet: Greet = nobody,
    ) -> None:
        self.ids = ids
        self.deliver = deliver
        self.forge = forge
        self.greet = greet
        self.now = 0
        self._position = {who: index for index, who in enumerate(ids)}
        # Against a server that is only curious nobody witnesses: the list is answered with shares at once.
        self._curious = schedule.promise is Promise.CURIOUS
        self._faults: dict[Letter | None, list[LetterFault]] = defaultdict(list)
        self._hostile: dict[Letter | None, Deed] = {}
        for fault in schedule.faults:
            if isinstance(fault, LetterFault):
                self._faults[fault.at].append(fault)
            elif isinstance(fault, Hostile):
                self._hostile[Letter(fault.client, SPOILED_BY[fault.deed], Lost.REPLY)] = fault.deed
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._events = 0
        self._in_order: dict[tuple[PartyId, PartyId], int] = {}
        self._gone_until: dict[PartyId, float] = {}
        self._down_until: dict[PartyId, int] = {}
        self._last_words: dict[PartyId, bytes] = {}
        self._invitation: dict[PartyId, bytes] = {}

    # --- time ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Let everything happen, in order, until nothing more will.

        Raises: Misused when there is no end to it.
        """
        while self._queue:
            self.now, _, act = heapq.heappop(self._queue)
            act()
            if self._events > MOST_EVENTS:
                raise Misused("the parties of this round repeat themselves in a circle")

    def after(self, seconds: int, act: Callable[[], None]) -> None:
        """Equal times keep the order in which they were asked for."""
        heapq.heappush(self._queue, (self.now + seconds, self._events, act))
        self._events += 1

    # --- who can be reached -------------------------------------------------------------------------------

    def down(self, who: PartyId) -> int:
        """For how many seconds more this party is dead."""
        return max(0, self._down_until.get(who, 0) - self.now)

    def restart(self, who: PartyId, resume: Callable[[], None]) -> None:
        """The party is dead for a while; then it resumes, and after the server's death everybody connects."""
        self._down_until[who] = self.now + PAUSE
        self.after(PAUSE, resume)
        if who == SERVER:
            for client in self.ids:
                self.after(PAUSE, partial(self._connect, client))

    def _gone(self, client: PartyId) -> bool:
        return self._gone_until.get(client, 0) > self.now

    def _vanish(self, client: PartyId, back: int | None) -> None:
        until = math.inf if back is None else self.now + back
        self._gone_until[client] = max(until, self._gone_until.get(client, 0))
        if back is not None:
            self.after(back, partial(self._connect, client))

    def _connect(self, client: PartyId) -> None:
        self._repeat(client)
        self.after(PAUSE, partial(self._repeat_unanswered, client, self._last_words.get(client)))

    def _repeat_unanswered(self, client: PartyId, words: bytes | None) -> None:
        """What came too late to be an answer is new to the server; repeated, it is answered from what was said."""
        if self._last_words.get(client) == words:
            self._repeat(client)

    def _repeat(self, client: PartyId) -> None:
        """A client says again what it said last; one that never spoke is invited again."""
        if self._gone(client):
            return
        if client in self._last_words:
            self._transmit(client, SERVER, self._last_words[client])
        elif client in self._invitation:
            self._transmit(SERVER, client, self._invitation[client])
        else:
            self.greet(client)

    # --- letters ------------------------------------------------------------------------------------------

    def post(self, sender: PartyId, recipient: PartyId, data: bytes) -> None:
        """One new frame on its way, with whatever the schedule holds for it."""
        client = recipient if sender == SERVER else sender
        letter = self._letter(sender, client, data)
        deed = self._hostile.get(letter)
        if deed is not None:
            data = self.forge(client, deed, data)
        if sender == SERVER:
            self._invitation.setdefault(client, data)
        else:
            self._last_words[client] = data
        faults = self._faults.get(letter)
        if faults:
            self._spoil(faults.pop(), sender, recipient, data)
        else:
            self._transmit(sender, recipient, data)

    def _spoil(self, fault: LetterFault, sender: PartyId, recipient: PartyId, data: bytes) -> None:
        client = recipient if sender == SERVER else sender
        if isinstance(fault, Delay):
            self._transmit(sender, recipient, data, fault.seconds)
        elif isinstance(fault, Duplicate):
            self._transmit(sender, recipient, data)
            self.after(LATENCY + fault.seconds, partial(self._arrive, sender, recipient, data))
        elif isinstance(fault, Vanish):
            self._vanish(client, fault.back)
        else:
            broken = damaged(fault, data)
            if broken is not None:
                self.after(LATENCY, partial(self._arrive, sender, recipient, broken))
            self.after(PAUSE, partial(self._connect, client))

    def _transmit(self, sender: PartyId, recipient: PartyId, data: bytes, late: int = 0) -> None:
        arrives = max(self.now + LATENCY + late, self._in_order.get((sender, recipient), 0))
        self._in_order[sender, recipient] = arrives
        self.after(arrives - self.now, partial(self._arrive, sender, recipient, data))

    def _arrive(self, sender: PartyId, recipient: PartyId, data: bytes) -> None:
        down = self.down(recipient)
        if down:
            self.after(down, partial(self._arrive, sender, recipient, data))
        elif not self._gone(recipient):
            self.deliver(sender, recipient, data)

    def _letter(self, sender: PartyId, client: PartyId, data: bytes) -> Letter | None:
        """Where a schedule may name this frame; the published result comes after all exchanges."""
        exchange = EXCHANGE_OF.get(kind_of(data))
        if exchange is None:
            return None
        if self._curious and exchange is Exchange.WITNESS:
            exchange = Exchange.UNMASK
        return Letter(self._position[client], exchange, Lost.REQUEST if sender == SERVER else Lost.REPLY)


def damaged(fault: LetterFault, data: bytes) -> bytes | None:
    """What arrives of a frame that is not whole; None when nothing does."""
    if isinstance(fault, Flip):
        place = fault.position % (8 * len(data))
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        return bytes(flipped)
    if isinstance(fault, Truncate):
        return data[: fault.position % len(data)]
    return None
