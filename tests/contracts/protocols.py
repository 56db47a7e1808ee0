"""What every protocol must do, whatever its cryptography; a new one subclasses and gives its factories.

    sums        equal the ideal functionality bit for bit, over all sizes, rings, promises, with and without noise
    drop-outs   at every exchange and side, and at random, end as a model of sets says: the sum over exactly
                those whose vector arrived, or TooFewClients in the room where it got short
    storage     every endpoint may die between any two messages
    order       what the tables do not list is refused and changes nothing

The model of sets shares no code with the protocols it judges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from protocols import codec, wire
from protocols.coding import coding_of
from protocols.errors import Misused, OutOfTurn, TooFewClients
from protocols.ideal import aggregate
from protocols.messages import NOTHING, Aggregate, Start, Submit, Unmask
from protocols.party import APP, SELF, SERVER, Blame, Deadline, Excluded, Failed, Party, PartyId, Role
from protocols.plan import Promise, RoundPlan
from protocols.simulate import Exchange, Fate, FaultPlan, Lost
from tests.contracts.company import Company, Played, Repeated, Restarted, StandIn, play
from tests.rows import rows

# Name of the ring, and what makes it: bits per coordinate, largest weight, room for clients.
RINGS = {
    "b16": (8, 1, 255),
    "b17": (8, 1, 256),
    "b32": (16, 256, 255),
    "b33": (16, 256, 256),
    "b64": (24, 1 << 32, 255),
}
LENGTHS = (1, 7, 1000)
SIZES = (*range(3, 13), 24, 40)
PROMISES = tuple(Promise)
SEEDS = range(50)


def sized_cases() -> list[Any]:
    """Every size with both promises; lengths and rings take turns so that all pairs of them occur."""
    rings, cases = list(RINGS), []
    for index, clients in enumerate(SIZES):
        for turn, promise in enumerate(PROMISES):
            ring, length = rings[(2 * index + turn) % len(rings)], LENGTHS[(index + turn) % len(LENGTHS)]
            name = f"n{clients}-d{length}-{ring}-{promise.value}"
            cases.append(pytest.param(clients, length, ring, promise, id=name))
    return cases


def every_fate(promise: Promise) -> list[Fate]:
    """Each way to vanish; a client of a curious round writes one letter less."""
    letters = list(Exchange)[: 5 if promise is Promise.ACTIVE else 4]
    return [Fate(exchange, side) for exchange in letters for side in Lost]


def rooms_by_exchange() -> list[Any]:
    """The room that gets short when too many vanish at an exchange."""
    rooms = {
        Promise.ACTIVE: ("Gathering", "Relaying", "Summing", "Witnessing", "Unmasking"),
        Promise.CURIOUS: ("Gathering", "Relaying", "Summing", "Unmasking"),
    }
    cases = [
        pytest.param(promise, exchange, room, 8, cohort, id=f"{promise.value}-{room}-cohort{cohort}")
        for promise in PROMISES
        for exchange, room in zip(Exchange, rooms[promise], strict=False)
        for cohort in (5, 7)
        if cohort == 5 or exchange <= Exchange.MASKED
    ]
    # Seven clients: the cohort and the quorum would allow one loss more than the threshold.
    return cases + [
        pytest.param(promise, exchange, room, 7, 3, id=f"{promise.value}-{room}-threshold")
        for promise in PROMISES
        for exchange, room in ((Exchange.SHARES, "Relaying"), (Exchange.MASKED, "Summing"))
    ]


@dataclass(frozen=True)
class Expected:
    """What the model of sets says: a sum over these survivors, or a shortage in this room."""

    survivors: frozenset[PartyId] = frozenset()
    room: str | None = None


def model(plan: RoundPlan, ids: Iterable[PartyId], fates: dict[PartyId, Fate]) -> Expected:
    """U1 .. U5 from the fates alone (section 11 of the pairwise page), parameters from their formulas."""
    lost_at = {who: fate.exchange for who, fate in fates.items()}
    active = plan.promise is Promise.ACTIVE

    def after(members: frozenset[PartyId], exchange: int) -> frozenset[PartyId]:
        return frozenset(who for who in members if lost_at.get(who) != exchange)

    u1 = after(frozenset(ids), 0)
    n, corrupt, drop = len(u1), plan.assumption.corrupt * len(u1) // 1, plan.assumption.dropout * len(u1) // 1
    if active:
        threshold, quorum = (n - 1 + corrupt) // 2 + 1, (n + corrupt) // 2 + 1
    else:
        threshold, quorum = max(corrupt, (n - 1) // 2) + 1, 0
    if n < max(3, plan.min_cohort) or threshold > n - 1 - drop or quorum > n - drop:
        return Expected(room="Gathering")
    need = max(plan.min_cohort, quorum, threshold + 1)
    u2 = after(u1, 1)
    if len(u2) < need:
        return Expected(room="Relaying")
    u3 = after(u2, 2)
    if len(u3) < need:
        return Expected(room="Summing")
    u4 = after(u3, 3)
    if active and len(u4) < max(plan.min_cohort, quorum):
        return Expected(room="Witnessing")
    u5 = after(u4, 4)
    if any(len(u5 - {dealer}) < threshold for dealer in u2):
        return Expected(room="Unmasking")
    return Expected(survivors=u3)


class ProtocolContract:
    """Subclasses set the names of the protocol, its roles and letters, and may override the factories."""

    protocol: str
    client_role: Role
    server_role: Role
    client_states: tuple[type[Any], ...]
    server_states: tuple[type[Any], ...]

    def plan(
        self,
        clients: int,
        promise: Promise = Promise.ACTIVE,
        ring: str = "b32",
        min_cohort: int = 3,
        dropout: str = "1/3",
        noise: str | None = None,
    ) -> RoundPlan:
        """A plan of this protocol; three clients cannot spare any."""
        bits, weight, most = RINGS[ring]
        recommended = RoundPlan.recommend(
            clients,
            dropout=Fraction(dropout) if clients > 3 else Fraction(0),
            corrupt=Fraction(0),
            bits=bits,
            max_weight=1 if noise else weight,
            noise_multiplier=None if noise is None else Fraction(noise),
            min_cohort=3,
            promise=promise,
        )
        # A cohort that the assumed drop-out would not leave is not recommended, but may be asked for.
        return replace(recommended, protocol=self.protocol, max_clients=max(most, clients), min_cohort=min_cohort)

    def company(self, plan: RoundPlan, clients: int, number: int = 0) -> Company:
        return Company(plan, clients, number)

    # --- sums -----------------------------------------------------------------------------------------

    def require_ideal(self, played: Played, survivors: Iterable[PartyId]) -> None:
        """The opened sum is that of Python integers, and of the ideal functionality, over exactly these."""
        opened, agreement = played.opened, played.simulation.server.agreement
        assert opened.survivors == tuple(sorted(survivors))
        submitted = {who: played.submitted[who] for who in opened.survivors}
        modulus = coding_of(agreement).ring.modulus
        columns = zip(*(submission.vector.tolist() for submission in submitted.values()), strict=True)
        assert opened.total.tolist() == [sum(column) % modulus for column in columns]
        assert opened.weight_sum == sum(submission.weight for submission in submitted.values())
        ideal = aggregate(agreement, submitted)
        assert np.array_equal(opened.total, ideal.total)
        assert opened.total.dtype == ideal.total.dtype
        assert (opened.weight_sum, opened.survivors) == (ideal.weight_sum, ideal.survivors)
        assert played.simulation.exact

    @pytest.mark.parametrize(("clients", "length", "ring", "promise"), sized_cases())
    def test_sum_equals_the_ideal_one(self, clients: int, length: int, ring: str, promise: Promise) -> None:
        company = self.company(self.plan(clients, promise, ring), clients)
        played = play(company, length)
        assert coding_of(played.simulation.server.agreement).ring.bits == int(ring[1:])
        self.require_ideal(played, company.ids)
        assert not played.simulation.aborted
        assert not played.simulation.server.excluded

    @pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.value)
    @pytest.mark.parametrize(("clients", "length"), [(3, 1), (5, 7), (9, 1000)])
    def test_sum_with_noise_equals_the_ideal_one(self, clients: int, length: int, promise: Promise) -> None:
        plan = replace(self.plan(clients, promise, noise="1"), max_clients=clients)
        company = self.company(plan, clients)
        gone = {company.ids[1]: Fate(Exchange.UNMASK if promise is Promise.ACTIVE else Exchange.WITNESS, Lost.REQUEST)}
        played = play(company, length, FaultPlan(gone if clients > 3 else {}))
        self.require_ideal(played, company.ids)
        assert len({submission.vector.tobytes() for submission in played.submitted.values()}) == clients

    # --- drop-outs and storage ------------------------------------------------------------------------

    def require_expected(self, played: Played, expected: Expected) -> None:
        if expected.room is None:
            self.require_ideal(played, expected.survivors)
            return
        assert isinstance(played.lost, TooFewClients)
        assert played.lost.room == expected.room
        assert played.lost.have < played.lost.need
        assert played.simulation.server.done
        if expected.room != "Unmasking":
            assert Unmask not in played.kinds_said_by_clients()

    @pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.value)
    def test_every_endpoint_may_die_between_any_two_messages(self, promise: Promise) -> None:
        company = self.company(self.plan(6, promise), 6)
        steady, restarted = play(company), play(company, kind=Restarted)
        self.require_ideal(restarted, company.ids)
        for who in (SERVER, *company.ids):
            assert restarted.said(who) == steady.said(who)

    @pytest.mark.parametrize(
        ("promise", "fate"),
        [pytest.param(p, f, id=f"{p.value}-{f.exchange.name}-{f.lost.name}") for p in PROMISES for f in every_fate(p)],
    )
    def test_drop_out_at_every_exchange_and_side(self, promise: Promise, fate: Fate) -> None:
        company = self.company(self.plan(6, promise, dropout="1/4"), 6)
        fates = {company.ids[4]: fate}
        expected = model(company.plan, company.ids, fates)
        assert expected.room is None
        self.require_expected(play(company, faults=FaultPlan(fates), kind=Restarted), expected)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_random_drop_outs_end_as_the_model_says(self, seed: int) -> None:
        promise = PROMISES[seed % 2]
        plan = self.plan(20, promise, ring=list(RINGS)[seed % len(RINGS)], min_cohort=3 + seed % 9)
        company = self.company(plan, 20)
        generator = np.random.default_rng(seed)
        fates = every_fate(promise)
        gone = generator.choice(20, size=int(generator.integers(1, 12)), replace=False)
        faults = {company.ids[index]: fates[generator.integers(len(fates))] for index in gone.tolist()}
        self.require_expected(play(company, 3, FaultPlan(faults)), model(plan, company.ids, faults))

    @rows("D10")
    @pytest.mark.parametrize(("promise", "exchange", "room", "clients", "cohort"), rooms_by_exchange())
    def test_one_drop_out_too_many_is_refused_by_name_and_opens_nothing(
        self, row: str, promise: Promise, exchange: Exchange, room: str, clients: int, cohort: int
    ) -> None:
        company = self.company(self.plan(clients, promise, min_cohort=cohort, dropout="1/4"), clients)
        for lost in range(1, clients + 1):
            fates = {who: Fate(exchange, Lost.REQUEST) for who in company.ids[:lost]}
            expected = model(company.plan, company.ids, fates)
            if expected.room is not None:
                break
        assert expected.room == room
        self.require_expected(play(company, faults=FaultPlan(fates)), expected)
        fewer = dict(list(fates.items())[:-1])
        self.require_expected(play(company, faults=FaultPlan(fewer)), model(company.plan, company.ids, fewer))
        assert model(company.plan, company.ids, fewer).room is None

    @rows("D25")
    def test_nobody_left_is_a_shortage_and_never_a_mean_of_nobody(self, row: str) -> None:
        company = self.company(self.plan(4), 4)
        played = play(company, faults=FaultPlan({who: Fate(Exchange.ADVERTISE, Lost.REQUEST) for who in company.ids}))
        assert isinstance(played.lost, TooFewClients)
        assert (played.lost.have, played.lost.room) == (0, "Gathering")
        with pytest.raises(Misused, match="not ended in a sum"):
            played.simulation.server.mean()

    # --- repetition and determinism -------------------------------------------------------------------

    @rows("C12", "D12")
    @pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.value)
    def test_every_frame_may_arrive_twice(self, row: str, promise: Promise) -> None:
        company = self.company(self.plan(5, promise), 5)
        once, twice = play(company), play(company, kind=Repeated)
        self.require_ideal(twice, company.ids)
        for who in (SERVER, *company.ids):
            assert twice.said(who) == once.said(who)

    def test_the_same_root_gives_the_same_transcript_and_another_root_another(self) -> None:
        plan = self.plan(4)
        first, again, other = (play(self.company(plan, 4, number)) for number in (0, 0, 1))
        for who in (SERVER, *first.company.ids):
            assert first.said(who) == again.said(who)
            assert not set(first.said(who)) & set(other.said(who))

    # --- order ----------------------------------------------------------------------------------------

    def walked(self, promise: Promise) -> Played:
        """A round with one drop-out, so that states are full of everything they may hold."""
        company = self.company(self.plan(6, promise, dropout="1/4"), 6)
        return play(company, faults=FaultPlan({company.ids[5]: Fate(Exchange.MASKED, Lost.REPLY)}))

    def letters(self, played: Played) -> dict[type[Any], object]:
        """One real message of each kind, as it crossed the wire in this round."""
        found = {}
        for who in (SERVER, *played.company.ids):
            for frame in played.said(who):
                header = codec.read_header(frame, who, codec.MAX_CONTROL_BYTES)
                body = frame[codec.HEADER.size : -codec.SIGNATURE_BYTES]
                kind = codec.KINDS[header.kind]
                found[kind] = codec.decode_body(kind, body, who)
        return found

    def notes(self, played: Played) -> list[object]:
        company = played.company
        agreement = played.simulation.server.agreement
        vector = coding_of(agreement).ring.zeros(coding_of(agreement).length)
        return [Start(agreement, company.ids), Submit(vector, 1, NOTHING), Deadline("NoSuchRoom")]

    @rows("C15")
    @pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.value)
    def test_what_the_tables_do_not_list_is_refused_and_changes_nothing(self, row: str, promise: Promise) -> None:
        played = self.walked(promise)
        clients = [played.simulation.clients[who] for who in played.company.ids[:5]]
        self.refuse_all(self.client_role, self.states_of(clients, self.client_states, promise), SERVER, played)
        self.refuse_all(
            self.server_role,
            self.states_of([played.simulation.server], self.server_states, promise),
            played.company.ids[0],
            played,
        )

    def states_of(self, stand_ins: list[StandIn], kinds: tuple[type[Any], ...], promise: Promise) -> list[object]:
        """A state of every kind that this promise passes through; refusing never looks at erased secrets."""
        met: dict[type[Any], object] = {}
        for stand_in in stand_ins:
            met |= stand_in.states
        states = [met[kind] for kind in kinds if kind in met]
        assert len(states) >= len(kinds) - (2 if promise is Promise.ACTIVE else 3), [type(s).__name__ for s in states]
        return [*states, Failed("Replay", "a test")]

    def refuse_all(self, role: Role, states: list[object], peer: PartyId, played: Played) -> None:
        tried = 0
        told = [(peer, letter) for letter in self.letters(played).values()]
        told += [(SELF if isinstance(note, Deadline) else APP, note) for note in self.notes(played)]
        for state in states:
            for sender, message in told:
                if (type(state), type(message)) in role.arrows:
                    continue
                tried += 1
                party = Party(role, state)
                # Client states are frozen values without their secrets by now; rooms are filled in place.
                before = codec.freeze(state) if role.blame is Blame.EXCLUDE else b""
                self.require_refused(party, sender, message)
                assert party.state is state
                assert before == (codec.freeze(state) if role.blame is Blame.EXCLUDE else b"")
        assert tried > 3 * len(states)

    def require_refused(self, party: Party, sender: PartyId, message: object) -> None:
        if isinstance(message, Deadline):
            assert party.receive(sender, message) == []
        elif sender == APP:
            with pytest.raises(Misused, match="does not fit"):
                party.receive(sender, message)
        elif party.role.blame is Blame.ABORT:
            with pytest.raises(OutOfTurn, match="does not fit") as caught:
                party.receive(sender, message)
            assert caught.value.peer == sender
        else:
            [note] = party.receive(sender, message)
            assert note.to == (APP,)
            assert isinstance(note.message, Excluded)
            assert (note.message.peer, note.message.error) == (sender, "OutOfTurn")

    @pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.value)
    def test_every_message_of_a_round_is_written_in_one_way_only(self, promise: Promise) -> None:
        for kind, letter in self.letters(self.walked(promise)).items():
            assert wire.encode(wire.decode(kind, wire.encode(letter))) == wire.encode(letter)

    def test_the_sum_is_handed_to_the_application_only(self) -> None:
        played = play(self.company(self.plan(4), 4))
        assert isinstance(played.opened, Aggregate)
        total = played.opened.total.tobytes()
        assert not any(total in frame for who in (SERVER, *played.company.ids) for frame in played.said(who))
