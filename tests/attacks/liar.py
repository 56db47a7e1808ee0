"""A server that tells each client another list of survivors, and adds up what real clients answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from protocols.errors import ViewMismatch
from protocols.messages import Roster, Signed, Survivors, Unmask, Witness, Witnesses, to_bitmap
from protocols.pairwise import session as names
from protocols.pairwise.session import RoundKeys
from protocols.party import PartyId
from secagg.keys import AgreementKey, Seed
from secagg.masks import Correction
from secagg.shamir import Share, combine
from tests.attacks.closure import Knowledge, World, members, to_set
from tests.attacks.villain import Stage, pair_correction


@dataclass
class Liar:
    """A server that holds every masked vector and lies to each client as it likes; `corrupted` clients are its own."""

    stage: Stage
    corrupted: tuple[PartyId, ...] = ()
    told: dict[PartyId, int] = field(default_factory=dict)
    answers: dict[PartyId, Unmask] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.roster = next(iter(self.stage.until(Roster).values()))
        self.stage.until(Survivors)
        self.session = self.stage.session(self.roster)
        self.ids = self.session.ids
        self.images = {who: self.stage.clients[who].freeze() for who in self.ids}
        self.public = {entry.who: entry.mask_key for entry in self.roster.entries}

    @property
    def world(self) -> World:
        """The model of this round: clients by their place in the roster."""
        near = tuple(self.places(self.session.neighbours(who)) for who in self.ids)
        return World(near, self.session.parameters.threshold, self.places(self.corrupted))

    def places(self, clients: Sequence[PartyId]) -> int:
        return to_set(map(self.ids.index, clients))

    def clients(self, places: int) -> list[PartyId]:
        return [self.ids[place] for place in members(places)]

    def own_keys(self) -> dict[PartyId, Seed]:
        """The mask keys of the corrupted clients."""
        roots = {who: self.stage.clients[who]._draw_root(self.session.agreement) for who in self.corrupted}
        return {who: RoundKeys.of(root, self.session.context).mask_seed for who, root in roots.items()}

    # --- lies

    def lie(self, views: Sequence[int]) -> None:
        """Show client u the list views[u], or nothing when it is 0; hand round the signatures each list got.

        Every lie starts from the moment all vectors have arrived. Corrupted clients sign every list.
        """
        for who, image in self.images.items():
            # In a client of its own: one that has gone on does not go back.
            self.stage.clients[who] = self.stage.company.client(who)
            self.stage.clients[who].thaw(image)
        self.told, self.answers = dict(zip(self.ids, views, strict=True)), {}
        lists = set(views) - {0}
        signatures: dict[int, list[Signed]] = {}
        for who in self.ids:
            for view in lists if who in self.corrupted else lists & {self.told[who]}:
                signatures.setdefault(view, []).append(Signed(self.ids.index(who), self._signature(who, view)))
        for who in self.asked():
            letter = Witnesses(tuple(one for one in signatures[self.told[who]] if self.told[who] >> one.index & 1))
            try:
                [self.answers[who]] = self.stage.say(who, letter)
            except ViewMismatch:
                continue

    def asked(self) -> list[PartyId]:
        """The honest clients that were shown a list."""
        return [who for who, view in self.told.items() if view and who not in self.corrupted]

    def bitmap(self, view: int) -> bytes:
        return to_bitmap(frozenset(self.clients(view)), self.ids)

    def _signature(self, who: PartyId, view: int) -> bytes:
        if who in self.corrupted:
            return self.stage.signers[who].identity.sign(names.witness_text(self.session.sid, self.bitmap(view)))
        [witness] = self.stage.say(who, Survivors(self.bitmap(view)))
        assert isinstance(witness, Witness)
        return witness.signature

    # --- what it learned

    def shares(self) -> Mapping[tuple[PartyId, bytes], dict[PartyId, bytes]]:
        """By dealer and kind of secret: every share in an outbox, and all that corrupted clients hold, by holder."""
        found: dict[tuple[PartyId, bytes], dict[PartyId, bytes]] = {}
        for who, answer in self.answers.items():
            for dealer, share in zip(self.session.neighbours(who), answer.shares, strict=True):
                assert share is not None
                alive = self.told[who] >> self.ids.index(dealer) & 1
                found.setdefault((dealer, names.SELF_SECRET if alive else names.MASK_SECRET), {})[who] = share
        for who in self.corrupted:
            for held in self.stage.clients[who]._party.state.held:
                found.setdefault((held.dealer, names.SELF_SECRET), {})[who] = held.self_share.expose()
                found.setdefault((held.dealer, names.MASK_SECRET), {})[who] = held.mask_share.expose()
        return found

    def rebuilt(self) -> tuple[dict[PartyId, Seed], dict[PartyId, Seed]]:
        """Self seeds and mask keys of honest clients; each is what its dealer committed to."""
        selves, keys, threshold = {}, {}, self.session.parameters.threshold
        for (dealer, which), shares in self.shares().items():
            if len(shares) < threshold or dealer in self.corrupted:
                continue
            points = [Share.from_bytes(self.session.point(dealer, who), share) for who, share in shares.items()]
            secret = combine(points[:threshold], threshold)
            entry = self.roster.entries[self.ids.index(dealer)]
            if which == names.SELF_SECRET:
                assert names.commitment_of(self.session.context, dealer, secret) == entry.commitment
                selves[dealer] = secret
            else:
                assert AgreementKey(secret).public == entry.mask_key
                keys[dealer] = secret
        return selves, keys

    def knowledge(self) -> Knowledge:
        selves, keys = self.rebuilt()
        known = self.places(list(keys)) | self.world.corrupted
        return Knowledge(self.world.neighbours, self.places(list(selves)), known)

    def modelled(self, quorum: int) -> Knowledge:
        """What the model says of the same lie, when a list needs so many signatures; with 0 nobody waits for any."""
        views = [self.told[who] for who in self.ids]
        bad = self.world.corrupted

        def signed(view: int) -> int:
            return to_set(v for v in members(view) if views[v] == view or bad >> v & 1).bit_count()

        [selves], [keys] = self.world.told(views, [view and signed(view) >= quorum for view in views])
        return Knowledge(self.world.neighbours, int(selves), int(keys))

    def opens(self, places: int) -> bool:
        """Whether taking away the masks it can compute leaves the true sum of these clients."""
        inside, (selves, keys) = self.clients(places), self.rebuilt()
        secrets = {**keys, **self.own_keys()}
        corrections = [Correction(-1, names.self_mask_seed(selves[u], self.session.sid, u)) for u in inside]
        for u in inside:
            for v in self.session.neighbours(u):
                if v in inside:
                    continue
                mine, theirs = (u, v) if u in secrets else (v, u)
                corrections.append(pair_correction(self.session, v, secrets[mine], u, self.public[theirs]))
        return self.stage.unmasked(self.session, inside, corrections) == self.stage.encoded(inside)
