"""The pairwise protocol keeps the contract of all protocols, and what only it can promise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from protocols import codec, wire
from protocols.endpoint import PAIRWISE_CLIENT_STATES, PAIRWISE_SERVER_STATES
from protocols.errors import BadPlan, Misused, TooFewClients
from protocols.messages import (
    Advertise,
    Inbox,
    Masked,
    Roster,
    Shares,
    Survivors,
    Unmask,
    Witness,
    Witnesses,
)
from protocols.pairwise import session as names
from protocols.pairwise.client import Enrolled, client
from protocols.pairwise.server import Seeding, holders_of_accused, server
from protocols.pairwise.session import RoundKeys, Session
from protocols.party import PartyId
from protocols.plan import Promise, RoundPlan
from protocols.simulate import Exchange, Fate, FaultPlan, Lost
from protocols.submission import checksum_of
from secagg.graph import Assumption, GraphMode
from secagg.keys import Seed, public_of
from secagg.ring import Ring
from tests.attacks.villain import LENGTH, Stage
from tests.contracts.company import Company, play
from tests.contracts.models import Pairwise
from tests.contracts.protocols import ProtocolContract
from tests.rows import rows


class TestPairwise(ProtocolContract):
    protocol = "pairwise"
    model = Pairwise()
    client_role = client
    server_role = server
    # A round on a complete graph asks for no beacon: test_pairwise_beacon.py has those states.
    client_states = tuple(state for state in PAIRWISE_CLIENT_STATES if state is not Enrolled)
    server_states = tuple(state for state in PAIRWISE_SERVER_STATES if state is not Seeding)
    # Before a round and after a failed one; where the server is only curious nobody witnesses.
    unmet: ClassVar[Mapping[Promise, int]] = {Promise.ACTIVE: 2, Promise.CURIOUS: 3}

    @rows("D24")
    @pytest.mark.slow
    @pytest.mark.parametrize("clients", [64, 65, 100])
    def test_sum_of_many_clients_with_drop_outs_at_every_exchange(self, row: str, clients: int) -> None:
        company = self.company(self.plan(clients, dropout="1/5", ring="b33"), clients)
        fates = {
            company.ids[index]: Fate(exchange, side)
            for index, (exchange, side) in enumerate((exchange, side) for exchange in Exchange for side in Lost)
        }
        expected = self.model.end(company.plan, company.ids, fates)
        assert len(expected.survivors) == clients - 6
        self.require_expected(play(company, faults=FaultPlan(fates)), expected)


# --- the tables


def table(role) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for state, message in role.arrows:
        found.setdefault(state.__name__, set()).add(message.__name__)
    return found


def test_the_clients_table_is_the_one_its_docstring_draws() -> None:
    assert table(client) == {
        "Idle": {"Open"},
        "Advertised": {"Roster"},
        "Enrolled": {"Beacon"},
        "Shared": {"Inbox"},
        "Ready": {"Submit"},
        "Sent": {"Submit", "Survivors"},
        "Witnessed": {"Survivors", "Witnesses"},
        "Done": {"Survivors", "Witnesses", "Result"},
    }
    assert set(table(client)) == {state.__name__ for state in PAIRWISE_CLIENT_STATES} - {"Failed"}


def test_the_servers_table_is_five_rooms_and_two_late_letters() -> None:
    assert table(server) == {
        "Unopened": {"Start"},
        "Gathering": {"Advertise", "Deadline"},
        "Seeding": {"Beacon", "Shares"},
        "Relaying": {"Shares", "Deadline"},
        "Summing": {"Masked", "Deadline"},
        "Witnessing": {"Witness", "Deadline"},
        "Unmasking": {"Unmask", "Witness", "Deadline"},
        "Closed": {"Unmask"},
    }
    assert set(table(server)) == {state.__name__ for state in PAIRWISE_SERVER_STATES} - {"Failed"}


# --- what is derived


CONTEXT = bytes(range(32))
SID = bytes(range(32, 64))


def test_a_rounds_keys_are_functions_of_root_and_context_and_of_nothing_else() -> None:
    root = Seed(b"\1" * 32)
    one, again = RoundKeys.of(root, CONTEXT), RoundKeys.of(root, CONTEXT)
    assert (one.box.public, one.mask.public, one.self_seed) == (again.box.public, again.mask.public, again.self_seed)
    other_round, other_root = RoundKeys.of(root, SID), RoundKeys.of(Seed(b"\2" * 32), CONTEXT)
    points = [key.public for keys in (one, other_round, other_root) for key in (keys.box, keys.mask)]
    assert len(set(points)) == 6
    # The secret that is shared is the one whose public key the roster shows.
    assert public_of(one.mask_seed) == one.mask.public


def test_pair_seeds_are_symmetric_and_box_keys_are_not() -> None:
    agreed = Seed(b"\3" * 32)
    one, two = PartyId(5), PartyId(2**31)
    assert names.pair_seed(agreed, SID, one, two) == names.pair_seed(agreed, SID, two, one)
    assert names.box_key(agreed, SID, one, two) != names.box_key(agreed, SID, two, one)


@rows("K5")
def test_every_derivation_of_one_secret_differs_by_purpose_party_and_session(row: str) -> None:
    seed, one, two = Seed(b"\3" * 32), PartyId(1), PartyId(2)
    made = [
        names.pair_seed(seed, SID, one, two),
        names.pair_seed(seed, SID, one, PartyId(3)),
        names.pair_seed(seed, CONTEXT, one, two),
        names.box_key(seed, SID, one, two),
        names.box_key(seed, SID, two, one),
        names.box_key(seed, CONTEXT, one, two),
        names.self_mask_seed(seed, SID, one),
        names.self_mask_seed(seed, SID, two),
        names.self_mask_seed(seed, CONTEXT, one),
    ]
    assert len({value.expose() for value in made}) == len(made)


@rows("K5")
def test_tags_and_signed_texts_differ_in_every_field(row: str) -> None:
    one, two, share = PartyId(1), PartyId(2), bytes(33)
    tags = [
        names.tag_of(SID, one, two, b"s", share),
        names.tag_of(CONTEXT, one, two, b"s", share),
        names.tag_of(SID, two, one, b"s", share),
        names.tag_of(SID, one, two, b"b", share),
        names.tag_of(SID, one, two, b"s", b"\1" * 33),
        names.commitment_of(SID, one, Seed(bytes(32))),
        names.commitment_of(SID, two, Seed(bytes(32))),
        names.commitment_of(CONTEXT, one, Seed(bytes(32))),
        names.witness_text(SID, b"\1"),
        names.witness_text(SID, b"\2"),
        names.witness_text(CONTEXT, b"\1"),
    ]
    assert len(set(tags)) == len(tags)


def session_of(stage: Stage, roster: Roster) -> bytes:
    return Session.of(stage.server.agreement, roster.context, roster.entries).sid


def test_the_session_is_bound_to_context_and_every_key_of_the_roster() -> None:
    stage = Stage(4)
    roster = next(iter(stage.until(Roster).values()))
    sids = [session_of(stage, roster), session_of(stage, replace(roster, context=CONTEXT))]
    for field in ("who", "box_key", "mask_key", "commitment"):
        changed = PartyId(2) if field == "who" else bytes(32)
        first = replace(roster.entries[0], **{field: changed})
        sids.append(session_of(stage, replace(roster, entries=(first, *roster.entries[1:]))))
    fewer = replace(roster, entries=roster.entries[:3])
    sids.append(session_of(stage, fewer))
    assert len(set(sids)) == len(sids)


@pytest.mark.parametrize("bits", [1, 16, 17, 32, 33, 63, 64])
def test_checksums_add_up_as_long_as_no_coordinate_wraps(bits: int) -> None:
    ring = Ring(bits)
    generator = np.random.default_rng(bits)
    small = max(1, 2 ** (bits - 1) // 4)
    vectors = [ring.reduce(generator.integers(-small, small, 70_000)) for _ in range(3 if bits > 2 else 1)]
    total = ring.zeros(70_000)
    for vector in vectors:
        ring.add_into(total, vector)
    assert sum(checksum_of(ring, vector) for vector in vectors) % 2**64 == checksum_of(ring, total)
    integers = [int(v) - (ring.modulus if int(v) >= ring.modulus // 2 else 0) for v in vectors[0].tolist()]
    assert checksum_of(ring, vectors[0]) == sum(integers) % 2**64


# --- sizes on the wire


def test_letters_have_the_sizes_their_docstring_states() -> None:
    stage = Stage(8)
    frames: dict[type, int] = {}
    for kind in (Roster, Inbox, Survivors, Witnesses):
        stage.until(kind)
        frames[kind] = len(stage.pending[0][1]) - 104
    stage.until(None)
    for (_, kind), frame in stage.frames.items():
        frames[kind] = len(frame) - 104
    n, neighbours, signers = 8, 7, stage.company.plan.smallest_sum(8)
    packed = stage.server.agreement.plan.encoding.ring.packed_bytes(LENGTH)
    count = 8  # every sequence and payload is preceded by its length
    assert frames == {
        Advertise: 193,
        Roster: 32 + count + 165 * n,
        Shares: count + 162 * neighbours,
        Inbox: 4 + count + 1 + count + 162 * neighbours,
        Masked: count + packed + count + 16 + count,
        Survivors: count + 1,
        Witness: 64,
        Witnesses: count + 68 * signers,
        Unmask: count + 34 * neighbours + count,
    }


# --- small cohorts


@rows("D24")
@pytest.mark.parametrize("clients", [0, 1, 2])
def test_fewer_than_three_clients_have_no_plan(row: str, clients: int) -> None:
    with pytest.raises(BadPlan, match="hides nobody"):
        RoundPlan.recommend(clients)


@rows("D24")
@pytest.mark.parametrize("promise", Promise, ids=lambda promise: promise.value)
def test_three_clients_lose_nobody_or_the_round(row: str, promise: Promise) -> None:
    stage = Stage(4, promise)
    plan = replace(stage.company.plan, assumption=replace(stage.company.plan.assumption, dropout=Fraction(0)))
    stage.company.plan = plan
    stage.server = stage.company.server()
    stage.until(None, silent=stage.ids[3:])
    assert stage.server.aggregate.survivors == stage.ids[:3]
    short = Stage(4, promise)
    with pytest.raises(TooFewClients) as caught:
        short.until(None, silent=short.ids[2:])
    assert (caught.value.have, caught.value.need, caught.value.room) == (2, 3, "Gathering")


@rows("D24")
def test_a_roster_too_small_for_the_assumption_is_a_shortage_not_a_bug(row: str) -> None:
    stage = Stage(6)
    stage.company.plan = replace(stage.company.plan, assumption=Assumption(Fraction(1, 2), Fraction(0)), min_cohort=5)
    stage.server = stage.company.server()
    # Half of six may be corrupt, and the three that came may be just those.
    with pytest.raises(TooFewClients) as caught:
        stage.until(None, silent=stage.ids[3:])
    assert (caught.value.have, caught.value.room) == (3, "Gathering")


@rows("D24")
def test_a_plan_that_no_roster_can_meet_is_a_shortage_too(row: str) -> None:
    stage = Stage(5)
    hopeless = Assumption(Fraction(1, 2), Fraction(1, 2))
    stage.company.plan = replace(stage.company.plan, assumption=hopeless, min_cohort=4)
    stage.server = stage.company.server()
    with pytest.raises(TooFewClients) as caught:
        stage.until(None)
    assert (caught.value.have, caught.value.room) == (5, "Gathering")


def on_a_ring(clients: int, corrupt: float = 0) -> Company:
    """A company whose plan and policies allow a sparse graph."""
    company = Company(
        RoundPlan.recommend(
            clients, dropout=0.1, corrupt=corrupt, graph=GraphMode.ROSTER, min_cohort=max(3, int(corrupt * clients) + 2)
        ),
        clients,
    )
    company.policy = replace(company.policy, graphs=frozenset(GraphMode))
    return company


@rows("D24")
@pytest.mark.parametrize("clients", [64, 65])
def test_at_the_border_of_the_ring_there_is_a_sum(row: str, clients: int) -> None:
    company = on_a_ring(clients)
    degree = company.plan.parameters(clients).degree
    # Up to 64 clients the graph is complete whatever was asked for; on a ring every degree is even.
    assert degree == 63 if clients == 64 else degree % 2 == 0
    assert degree < clients
    gone = {company.ids[5]: Fate(Exchange.MASKED, Lost.REQUEST), company.ids[9]: Fate(Exchange.SHARES, Lost.REPLY)}
    played = play(company, 3, FaultPlan(gone))
    assert played.opened.survivors == tuple(who for who in company.ids if who not in gone)
    assert played.simulation.exact


@rows("D24")
@pytest.mark.parametrize("here", [2, 3, 7])
def test_a_ring_of_which_no_more_came_than_may_be_corrupt_is_a_shortage_before_anybody_shares(
    row: str, here: int
) -> None:
    company = on_a_ring(70, corrupt=0.1)
    assert company.plan.parameters(70).degree > here
    gone = {who: Fate(Exchange.ADVERTISE, Lost.REQUEST) for who in company.ids[here:]}
    played = play(company, 3, FaultPlan(gone))
    assert isinstance(played.lost, TooFewClients)
    assert (played.lost.have, played.lost.room) == (here, "Gathering")
    assert played.kinds_said_by_clients() == {Advertise}
    assert not played.simulation.aborted


@rows("D24")
def test_fewer_clients_than_a_ring_has_neighbours_mask_with_everybody(row: str) -> None:
    company = on_a_ring(70, corrupt=0.1)
    assert company.plan.parameters(70).degree > 20
    gone = {who: Fate(Exchange.ADVERTISE, Lost.REQUEST) for who in company.ids[20:]}
    played = play(company, 3, FaultPlan(gone))
    assert company.plan.parameters(20).degree == 19
    assert played.opened.survivors == company.ids[:20]
    assert played.simulation.exact


# --- nobody contributes


@rows("D25")
@pytest.mark.parametrize("promise", Promise, ids=lambda promise: promise.value)
@pytest.mark.parametrize("exchange", [Exchange.ADVERTISE, Exchange.SHARES, Exchange.MASKED], ids=lambda e: e.name)
def test_nobody_in_a_room_is_a_shortage_and_never_a_number(row: str, promise: Promise, exchange: Exchange) -> None:
    plan = RoundPlan.recommend(5, dropout=Fraction(1, 4), corrupt=Fraction(0), promise=promise)
    company = Company(plan, 5)
    played = play(company, faults=FaultPlan({who: Fate(exchange, Lost.REQUEST) for who in company.ids}))
    assert isinstance(played.lost, TooFewClients)
    assert (played.lost.have, played.lost.room) == (0, ("Gathering", "Relaying", "Summing")[exchange])
    assert played.simulation.server.aggregate is None
    with pytest.raises(Misused, match="not ended in a sum"):
        played.simulation.server.mean()
    assert Unmask not in played.kinds_said_by_clients()


# --- a server that counts


@rows("D11")
def test_a_client_whose_shares_were_lost_comes_back_uncounted_and_hears_nothing(row: str) -> None:
    stage = Stage(5)
    stage.until(Roster)
    replies = stage.answers()
    gone = stage.ids[4]
    late = replies.pop(gone)
    stage.hand(replies)
    stage.until(Inbox, silent=[gone])
    assert gone not in dict(stage.pending)
    answers = stage.answers()
    state = stage.server._party.state
    before = state.total.tobytes()
    stage.hand({gone: late})
    honest = stage.heard[stage.ids[0], Masked]
    stage.speak(gone, Masked(honest.vector, honest.extras, ()))
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(gone, "OutOfTurn")] * 2
    assert stage.server._party.state is state
    assert state.total.tobytes() == before
    stage.hand(answers)
    stage.until(None)
    assert stage.server.aggregate.survivors == stage.ids[:4]
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids[:4])


@rows("C11")
def test_the_first_vector_counts_and_a_second_is_a_duplicate(row: str) -> None:
    stage = Stage(4)
    stage.until(Inbox)
    replies = stage.answers()
    who = stage.ids[0]
    stage.hand({who: replies.pop(who)})
    honest = stage.heard[who, Masked]
    other = replace(honest, vector=bytes(len(honest.vector)))
    state = stage.server._party.state
    before = state.total.tobytes()
    [note] = stage.speak(who, other)
    assert (note.peer, note.error) == (who, "Duplicate")
    assert state.total.tobytes() == before
    stage.hand(replies)
    stage.until(None)
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids)


def test_a_late_witness_and_a_late_share_change_nothing_and_blame_nobody() -> None:
    stage = Stage(5)
    stage.until(Survivors)
    witnesses = stage.answers()
    late = dict(list(witnesses.items())[3:])
    stage.hand(dict(list(witnesses.items())[:3]))
    assert type(stage.server._party.state).__name__ == "Unmasking"
    stage.hand(late)
    shares = stage.answers()
    stage.hand(dict(list(shares.items())[:4]))
    assert type(stage.server._party.state).__name__ == "Closed"
    aggregate = stage.server.aggregate
    stage.hand(dict(list(shares.items())[4:]))
    assert stage.server.excluded == []
    assert stage.server.aggregate is aggregate
    assert aggregate.total.tolist() == stage.encoded(stage.ids)


def test_only_surviving_neighbours_that_do_not_complain_count_as_holders() -> None:
    """On a ring: 1 - 2 - 3 - 4 - 5 - 1, every client with the two beside it."""
    beside = {who: ((who - 2) % 5 + 1, who % 5 + 1) for who in range(1, 6)}
    room = SimpleNamespace(
        session=SimpleNamespace(neighbours=beside.__getitem__),
        arrived={1: (2,), 2: (1, 1), 3: (2, 4), 4: ()},
    )
    assert holders_of_accused(room, frozenset({1, 2, 3, 4})) == {2: 0, 1: 0, 4: 0}
    assert holders_of_accused(room, frozenset({1, 2, 3, 4, 5})) == {2: 0, 1: 1, 4: 1}


def test_the_server_needs_no_more_witnesses_than_the_quorum() -> None:
    stage = Stage(5)
    stage.until(Survivors)
    witnesses = stage.answers()
    quorum = stage.company.plan.parameters(5).quorum
    for given, who in enumerate(stage.ids[:quorum]):
        assert not stage.pending, f"{given} witnesses were enough"
        stage.hand({who: witnesses[who]})
    letter = stage.decoded(stage.pending[0][1])
    assert len(letter.signed) == quorum == 3


# --- what a server sees


def test_masked_zeros_look_uniform_and_both_sections_differ() -> None:
    """Chi-square over 256 byte values of 64 kB, five clients; p below 10^-6 would fail an honest run in 10^5."""
    from scipy.stats import chi2

    stage = Stage(5)
    task = replace(stage.company.task(30_000), nonce=bytes(16))
    stage.opened, stage.pending = True, stage._addressed(stage.server.open(task))
    stage.update = lambda who: np.zeros(30_000)
    stage.until(Survivors)
    for who in stage.ids:
        letter = stage.heard[who, Masked]
        ring = stage.server.agreement.plan.encoding.ring
        residues = ring.unpack(letter.vector, 30_000)
        for values in (residues & 255, residues >> (ring.bits - 8)):
            counts = np.bincount(values.astype(np.int64), minlength=256)
            statistic = float(np.sum((counts - counts.mean()) ** 2) / counts.mean())
            assert chi2.sf(statistic, 255) > 1e-6
            assert chi2.cdf(statistic, 255) > 1e-6
    assert len({bytes(stage.heard[who, Masked].extras) for who in stage.ids}) == 5


def test_the_planted_fault_of_an_unmasked_vector_fails_the_same_test() -> None:
    from scipy.stats import chi2

    counts = np.bincount(np.zeros(30_000, np.int64), minlength=256)
    assert chi2.sf(float(np.sum((counts - counts.mean()) ** 2) / counts.mean()), 255) < 1e-6


def test_every_letter_of_the_round_is_bound_to_sender_task_and_round() -> None:
    stage = Stage(4)
    stage.until(None)
    for (who, kind), frame in stage.frames.items():
        header = codec.read_header(frame, who, 1 << 20)
        assert (header.sender, header.task, header.round) == (who, stage.attempt, 0)
        assert wire.encode(stage.heard[who, kind]) == frame[40:-64]
