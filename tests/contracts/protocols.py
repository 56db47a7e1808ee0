"""What every protocol must do, whatever its cryptography; a new one subclasses and gives its factories.

    sums        equal the ideal functionality bit for bit, over all sizes, rings, promises, with and without noise
    drop-outs   at every exchange and side, and at random, end as a model of sets says: the sum over exactly
                those whose vector arrived, or TooFewClients, TooFewMembers in the room where it got short
    storage     every endpoint may die between any two messages
    order       what the tables do not list is refused and changes nothing

The model of sets (`models`) shares no code with the protocols it judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest

from protocols import codec, wire
from protocols.coding import coding_of
from protocols.errors import Misused, OutOfTurn, TooFewClients, TooFewMembers
from protocols.ideal import aggregate
from protocols.messages import NOTHING, Aggregate, Start, Submit, Unmask
from protocols.party import APP, SELF, SERVER, Blame, Deadline, Excluded, Failed, Party, PartyId, Role
from protocols.plan import Promise, RoundPlan
from protocols.simulate import Fate, FaultPlan, Lost
from tests.contracts.company import Company, Keyed, Played, Repeated, Restarted, play
from tests.contracts.models import Expected, Model, Shortage
from tests.rows import rows

LENGTHS = (1, 7, 1000)
PROMISES = tuple(Promise)
SEEDS = range(50)

Test = Callable[..., None]


def by_protocol(names: str, cases: str) -> Callable[[Test], Test]:
    """Parametrises a test by what this method of its class returns."""

    def mark(test: Test) -> Test:
        test.by_protocol = names, cases  # type: ignore[attr-defined]
        return test

    return mark


def states_of(stand_ins: Sequence[Any], kinds: tuple[type[Any], ...], unmet: int) -> list[object]:
    """A state of every kind but so many, and one that failed."""
    met: dict[type[Any], object] = {}
    for stand_in in stand_ins:
        met |= stand_in.states
    states = [met[kind] for kind in kinds if kind in met]
    assert len(states) >= len(kinds) - unmet, [type(state).__name__ for state in states]
    return [*states, Failed("Replay", "a test")]


@dataclass(frozen=True)
class Table:
    """States of one role, met in a round, and who may speak to it."""

    role: Role
    states: list[object]
    peer: PartyId


class ProtocolContract:
    """Subclasses set the name of the protocol, its model, roles and states, and may override the factories.

    `unmet` is how many of the states no round of this promise stays in.
    """

    protocol: str
    model: Model
    client_role: Role
    server_role: Role
    client_states: tuple[type[Any], ...]
    server_states: tuple[type[Any], ...]
    unmet: ClassVar[Mapping[Promise, int]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        wanted = getattr(metafunc.function, "by_protocol", None)
        if wanted is not None:
            names, cases = wanted
            metafunc.parametrize(names, getattr(self, cases)())

    # --- cases ----------------------------------------------------------------------------------------

    def sized_cases(self) -> list[Any]:
        """Every size with both promises; lengths and rings take turns so that all pairs of them occur."""
        rings, cases = list(self.model.rings), []
        for index, clients in enumerate(self.model.sizes):
            for turn, promise in enumerate(PROMISES):
                ring, length = rings[(2 * index + turn) % len(rings)], LENGTHS[(index + turn) % len(LENGTHS)]
                name = f"n{clients}-d{length}-{ring}-{promise.value}"
                cases.append(pytest.param(clients, length, ring, promise, id=name))
        return cases

    def fated_cases(self) -> list[Any]:
        return [
            pytest.param(promise, fate, id=f"{promise.value}-{fate.exchange.name}-{fate.lost.name}")
            for promise in PROMISES
            for fate in self.model.fates(promise)
        ]

    def short_cases(self) -> list[Any]:
        return [pytest.param(shortage, id=str(shortage)) for shortage in self.model.shortages()]

    # --- factories ------------------------------------------------------------------------------------

    def plan(
        self,
        clients: int,
        promise: Promise = Promise.ACTIVE,
        ring: str | None = None,
        min_cohort: int = 3,
        dropout: str = "1/3",
        noise: str | None = None,
    ) -> RoundPlan:
        """A plan of this protocol; three clients cannot spare any."""
        bits, weight, most = self.model.rings[ring or self.model.usual]
        recommended = RoundPlan.recommend(
            clients,
            dropout=Fraction(dropout) if clients > 3 else Fraction(0),
            corrupt=Fraction(0),
            bits=bits,
            max_weight=1 if noise else weight,
            noise_multiplier=None if noise is None else Fraction(noise),
            min_cohort=3,
            promise=promise,
            protocol=self.protocol,
        )
        # A cohort that the assumed drop-out would not leave is not recommended, but may be asked for.
        return replace(recommended, max_clients=max(most, clients), min_cohort=min_cohort)

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

    @by_protocol("clients, length, ring, promise", "sized_cases")
    def test_sum_equals_the_ideal_one(self, clients: int, length: int, ring: str, promise: Promise) -> None:
        company = self.company(self.plan(clients, promise, ring), clients)
        played = play(company, length, kind=Keyed)
        assert coding_of(played.simulation.server.agreement).ring.bits == int(ring[1:])
        self.require_ideal(played, company.ids)
        assert not played.simulation.aborted
        assert not played.simulation.server.excluded

    @pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.value)
    @pytest.mark.parametrize(("clients", "length"), [(3, 1), (5, 7), (9, 1000)])
    def test_sum_with_noise_equals_the_ideal_one(self, clients: int, length: int, promise: Promise) -> None:
        plan = replace(self.plan(clients, promise, noise="1"), max_clients=clients)
        company = self.company(plan, clients)
        gone = {company.ids[1]: Fate(self.model.letters(promise)[-1], Lost.REQUEST)} if clients > 3 else {}
        played = play(company, length, FaultPlan(gone))
        self.require_ideal(played, self.model.end(plan, company.ids, gone).survivors)
        assert len({submission.vector.tobytes() for submission in played.submitted.values()}) == len(played.submitted)

    # --- drop-outs and storage ------------------------------------------------------------------------

    def require_expected(self, played: Played, expected: Expected) -> None:
        if expected.room is None:
            self.require_ideal(played, expected.survivors)
            return
        assert isinstance(played.lost, TooFewClients | TooFewMembers)
        assert type(played.lost) is expected.error
        assert played.lost.room == expected.room
        assert played.lost.have < played.lost.need
        assert played.simulation.server.done
        if expected.room != self.model.rooms(played.company.plan.promise)[-1]:
            self.require_nothing_that_opens(played)

    def require_nothing_that_opens(self, played: Played) -> None:
        assert Unmask not in played.kinds_said_by_clients()

    @pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.value)
    def test_every_endpoint_may_die_between_any_two_messages(self, promise: Promise) -> None:
        company = self.company(self.plan(6, promise), 6)
        steady, restarted = play(company), play(company, kind=Restarted)
        self.require_ideal(restarted, company.ids)
        for who in (SERVER, *company.parties):
            assert restarted.said(who) == steady.said(who)

    @by_protocol("promise, fate", "fated_cases")
    def test_drop_out_at_every_exchange_and_side(self, promise: Promise, fate: Fate) -> None:
        company = self.company(self.plan(6, promise, dropout="1/4"), 6)
        fates = {company.ids[4]: fate}
        expected = self.model.end(company.plan, company.ids, fates)
        assert expected.room is None
        self.require_expected(play(company, faults=FaultPlan(fates), kind=Restarted), expected)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_random_drop_outs_end_as_the_model_says(self, seed: int) -> None:
        promise, rings = PROMISES[seed % 2], list(self.model.rings)
        plan = self.plan(20, promise, ring=rings[seed % len(rings)], min_cohort=3 + seed % 9)
        company = self.company(plan, 20)
        generator = np.random.default_rng(seed)
        fates = self.model.fates(promise)
        gone = generator.choice(len(company.parties), size=int(generator.integers(1, 12)), replace=False)
        faults = {company.parties[index]: fates[generator.integers(len(fates))] for index in gone.tolist()}
        expected = self.model.end(plan, company.ids, faults)
        self.require_expected(play(company, 3, FaultPlan(faults), Keyed), expected)

    @rows("D10")
    @by_protocol("short", "short_cases")
    def test_one_drop_out_too_many_is_refused_by_name_and_opens_nothing(self, row: str, short: Shortage) -> None:
        plan = self.plan(short.clients, short.promise, min_cohort=short.cohort, dropout="1/4")
        company = self.company(plan, short.clients)
        parties = company.speakers(short.room)
        for lost in range(1, len(parties) + 1):
            fates = {who: Fate(short.letter, Lost.REQUEST) for who in parties[:lost]}
            expected = self.model.end(plan, company.ids, fates)
            if expected.room is not None:
                break
        assert expected.room == short.room
        self.require_expected(play(company, faults=FaultPlan(fates), kind=Keyed), expected)
        fewer = dict(list(fates.items())[:-1])
        still = self.model.end(plan, company.ids, fewer)
        assert still.room is None
        self.require_expected(play(company, faults=FaultPlan(fewer), kind=Keyed), still)

    @rows("D25")
    def test_nobody_left_is_a_shortage_and_never_a_mean_of_nobody(self, row: str) -> None:
        company = self.company(self.plan(4), 4)
        first = self.model.letters(company.plan.promise)[0]
        played = play(company, faults=FaultPlan({who: Fate(first, Lost.REQUEST) for who in company.ids}))
        assert isinstance(played.lost, TooFewClients)
        assert (played.lost.have, played.lost.room) == (0, self.model.rooms(company.plan.promise)[0])
        with pytest.raises(Misused, match="not ended in a sum"):
            played.simulation.server.mean()

    # --- repetition and determinism -------------------------------------------------------------------

    @rows("C12", "D12")
    @pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.value)
    def test_every_frame_may_arrive_twice(self, row: str, promise: Promise) -> None:
        company = self.company(self.plan(5, promise), 5)
        once, twice = play(company), play(company, kind=Repeated)
        self.require_ideal(twice, company.ids)
        for who in (SERVER, *company.parties):
            assert twice.said(who) == once.said(who)

    def test_the_same_root_gives_the_same_transcript_and_another_root_another(self) -> None:
        plan = self.plan(4)
        first, again, other = (play(self.company(plan, 4, number)) for number in (0, 0, 1))
        for who in (SERVER, *first.company.parties):
            assert first.said(who) == again.said(who)
            assert not set(first.said(who)) & set(other.said(who))

    # --- order ----------------------------------------------------------------------------------------

    def walked(self, promise: Promise) -> Played:
        """A round with one drop-out, so that states are full of everything they may hold."""
        company = self.company(self.plan(6, promise, dropout="1/4"), 6)
        return play(company, faults=FaultPlan({company.ids[5]: Fate(self.model.vector, Lost.REPLY)}))

    def letters(self, played: Played) -> dict[type[Any], object]:
        """One real message of each kind, as it crossed the wire in this round."""
        found: dict[type[Any], object] = {}
        for who in (SERVER, *played.company.parties):
            found |= self.read(who, played.said(who))
        return found

    def read(self, who: PartyId, frames: Iterable[Any]) -> dict[type[Any], object]:
        """What this party said, by kind."""
        found = {}
        for frame in map(bytes, frames):
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
        for table in self.tables(played):
            self.refuse_all(table, played)

    def tables(self, played: Played) -> list[Table]:
        """Of each role the states that this round went through; refusing never looks at erased secrets."""
        server, promise = played.simulation.server, played.company.plan.promise
        clients = [played.simulation.clients[who] for who in played.company.ids[:5]]
        return [
            Table(self.client_role, states_of(clients, self.client_states, self.unmet[promise]), SERVER),
            Table(
                self.server_role, states_of([server], self.server_states, self.unmet[promise]), played.company.ids[0]
            ),
        ]

    def refuse_all(self, table: Table, played: Played) -> None:
        role, states, tried = table.role, table.states, 0
        told = [(table.peer, letter) for letter in self.letters(played).values()]
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
        assert not any(total in frame for who in (SERVER, *played.company.parties) for frame in played.said(who))
