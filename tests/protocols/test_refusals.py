"""What is refused at the doors that no round played elsewhere comes through: by name, and nothing is lost."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from dp.errors import StorageRefused
from protocols import codec, storage, wire
from protocols import round as rounds
from protocols.ckks import client as ckks_client
from protocols.ckks import keys as ceremony
from protocols.ckks import server as ckks_server
from protocols.ckks import vector
from protocols.ckks.holder import box_pair, opened
from protocols.ckks.messages import Commits, Deals, Invite, OpenEncrypted, Partial, Summands
from protocols.ckks.vector import Shape, key_for
from protocols.codec import Frame
from protocols.cohort import Cohort
from protocols.committee import require_made
from protocols.endpoint import Convener, KeyMaker, Server, hub
from protocols.endpoint.images import ServerImage
from protocols.endpoint.turns import Turns
from protocols.errors import (
    BadPlan,
    BadShare,
    KeyMismatch,
    Malformed,
    Misused,
    OutOfTurn,
    PolicyViolation,
    ShapeMismatch,
    TooFewMembers,
    ViewMismatch,
    WrongUpdate,
)
from protocols.faults.driver import _Driver
from protocols.messages import Result, Unmask
from protocols.party import APP, SERVER, Envelope, Failed, Party, PartyId
from protocols.plan import NOTHING, ONE_SHOT, Policy, RoundPlan
from secagg.ckks.whole import SharedKey
from secagg.errors import BadParameters
from secagg.keys import Context, Seed
from secagg.quorum import Quorum
from tests.attacks.villain import Stage
from tests.contracts.company import Company, Encrypting, Speaking, play
from tests.protocols.ckks.kit import FIRST_HOLDER, PLAN
from tests.protocols.ckks.kit import Company as Encrypted
from tests.protocols.test_certificates import Meeting
from tests.protocols.test_endpoint import ZEROS, asked

VICTIM = PartyId(FIRST_HOLDER)
OTHER = PartyId(FIRST_HOLDER + 1)
RESULT = Result(Context(bytes(32)), NOTHING)


# --- plans and policies ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"promise": "active"}, "promise is 'active', it must be a Promise"),
        ({"clip": 1.0}, "clip is 1.0, it must be a Fraction"),
        ({"task": b"t"}, "task is b't', it must be a name"),
        ({"bits": 256}, r"bits is 256, it must be an integer below 2\^8"),
        ({"min_cohort": True}, "min_cohort is True, it must be an integer"),
    ],
)
def test_a_plan_of_other_kinds_is_refused_by_field(change: dict[str, Any], why: str) -> None:
    with pytest.raises(BadPlan, match=why):
        replace(RoundPlan.recommend(5), **change)


@pytest.mark.parametrize(
    ("change", "why"),
    [({"protocol": "smoke"}, "protocol is 'smoke', it must be"), ({"promise": "active"}, "promise is 'active'")],
)
def test_no_plan_is_recommended_for_what_there_is_not(change: dict[str, Any], why: str) -> None:
    with pytest.raises(BadPlan, match=why):
        RoundPlan.recommend(5, **change)


@pytest.mark.parametrize("least", [0, -1, 1.5, True])
def test_a_policy_asks_for_a_whole_number_of_openers(least: Any) -> None:
    with pytest.raises(BadPlan, match=f"min_opening_threshold is {least}"):
        Policy({PartyId(0): bytes(32)}, min_opening_threshold=least)


def test_an_agreement_is_bound_to_a_head_and_to_nothing_else() -> None:
    agreement = Encrypted().agreement(NOTHING)
    with pytest.raises(BadPlan, match="ledger_head is None, it must be a LedgerHead"):
        replace(agreement, ledger_head=None)  # type: ignore[arg-type]


def test_a_plan_of_ciphertexts_bounds_values_in_a_way_there_is() -> None:
    good = Encrypted().shape.plan
    with pytest.raises(BadParameters, match="bounded is 'each', it must be one of"):
        replace(good, bounded="each")  # type: ignore[arg-type]


def test_a_shared_key_is_made_of_secret_bytes() -> None:
    with pytest.raises(BadParameters, match=r"a secagg.Seed of 32 secret bytes, not of bytes"):
        SharedKey(bytes(32))  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [-1, 1 << 64, 1.0, True])
def test_keys_are_counted_by_whole_numbers(number: Any) -> None:
    company = Encrypted()
    with pytest.raises(BadPlan, match="a key's number is"):
        key_for(company.agreement(NOTHING), company.keys, number, company.epoch.holders)


def test_a_ring_without_room_for_the_weights_carries_no_encrypted_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plan that can be made leaves so little; whoever adds a coding meets the check."""
    company = Encrypted()
    small: Any = SimpleNamespace(ring=SimpleNamespace(bits=4), length=1)
    monkeypatch.setattr(vector, "coding_of", lambda agreement: small)
    with pytest.raises(BadPlan, match="sums of 4 bits have no room for the weights of 6 clients"):
        Shape.of(company.agreement(NOTHING), company.keys)


# --- cohorts, committees, one party at a time -----------------------------------------------------


def test_only_clients_of_a_cohort_are_invited_from_it() -> None:
    with pytest.raises(Misused, match=r"clients \[7\] have no endpoint in this cohort"):
        Cohort.fresh(RoundPlan.recommend(5), range(5)).invite([1, 7])


def test_a_ceremony_that_stands_still_says_who_was_excluded() -> None:
    maker: Any = SimpleNamespace(done=False, excluded=["party 4"])
    with pytest.raises(Misused, match=r"the ceremony stands still: .*party 4"):
        require_made(maker)


def test_nothing_hidden_is_no_figure_of_uniformity() -> None:
    with pytest.raises(Misused, match="no hidden vector reached the server"):
        rounds._uniformity(Encrypted().agreement(NOTHING), None, None)


def test_a_party_of_another_process_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    party = Encrypted().client(PartyId(0))
    turns = Turns("client")
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(Misused, match="this client belongs to another process"), turns.one(party):
        pass
    assert isinstance(party.state, Failed)


def test_a_child_gives_up_the_folders_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    folders = [SimpleNamespace(close=lambda number=number: closed.append(number)) for number in range(2)]
    monkeypatch.setattr(storage, "_open_folders", folders)
    storage._leave_to_parent()
    assert sorted(closed) == [0, 1]


def test_a_folder_that_cannot_be_looked_into_is_refused_by_name(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int, path: Any) -> bool:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(storage, "take_lock", broken)
    with pytest.raises(StorageRefused, match=r"cannot look into the folder .*: Input/output error; choose a local"):
        storage._locked(tmp_path)


# --- pairwise endpoints ---------------------------------------------------------------------------


def company_of(clients: int = 4) -> Company:
    return Company(RoundPlan.recommend(clients), clients)


@pytest.mark.parametrize("key", [b"", bytes(31), "x" * 32, None])
def test_a_client_is_told_which_server_it_talks_to(key: Any) -> None:
    company = company_of()
    who = company.ids[0]
    with pytest.raises(Misused, match="server_key is the server's public key, 32 bytes"):
        type(company.client(who))(company.policy, company.identities[who], key)


def test_a_client_is_never_copied() -> None:
    client = company_of().client(PartyId(1))
    with pytest.raises(Misused, match="a client is never copied"):
        copy.copy(client)


def test_an_update_of_another_kind_or_a_model_that_is_no_digest_is_refused_and_another_taken() -> None:
    client = asked(Stage(4))
    with pytest.raises(Misused, match="model is a digest of 32 bytes"):
        client.submit(ZEROS, model=b"short")
    with pytest.raises(WrongUpdate, match="a flat float vector, not a list"):
        client.submit([0.0] * len(ZEROS))  # type: ignore[arg-type]
    client.submit(ZEROS)


def test_nobody_is_a_client_and_a_holder_under_one_number() -> None:
    company = company_of()
    with pytest.raises(Misused, match="registered both as a client and as a holder"):
        Server(company.plan, company.known, company.identity, holders={company.ids[0]: bytes(31) + b"h"})


def test_a_server_that_delivers_before_it_opened_is_misused() -> None:
    server = company_of().server()
    with pytest.raises(Misused, match="nothing is open: call open first"):
        server._deliver([Envelope((PartyId(1),), RESULT)])


def test_the_first_faulty_frames_tell_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MOST_NOTES", 3)
    server = company_of().server()
    for _ in range(5):
        server.receive(b"rubbish")
    assert len(server.excluded) == 3


def test_no_room_is_open_in_a_round_that_is_over() -> None:
    server = company_of().server()
    server._party = Party(server._party.role, Failed("server", "lost"))
    image = codec.thaw(ServerImage, server.freeze(), {})
    with pytest.raises(Misused, match="the room 'Summing' is open in a round that is over"):
        server.thaw(wire.encode(replace(image, wait="Summing")))


def test_whoever_was_admitted_is_admitted_once_where_a_server_comes_back_to_itself() -> None:
    meeting = Meeting.of()
    meeting.roster()
    known = dict(meeting.host.identities)
    meeting.host.thaw(meeting.host.freeze())
    assert meeting.host.identities == known


def test_a_deadline_that_a_dead_server_misses_is_late() -> None:
    later: list[int] = []
    network: Any = SimpleNamespace(down=lambda who: 3, after=lambda seconds, event: later.append(seconds))
    driver: Any = SimpleNamespace(network=network, room="Summing", expire=later.append)
    _Driver.expire(driver, "Summing")
    assert later == [3]


def test_a_holder_that_is_lied_to_falls_silent_in_a_simulation() -> None:
    company = Encrypting(RoundPlan.recommend(4, dropout=0.25, corrupt=0, bits=12, min_cohort=3, protocol="ckks"), 4, 3)
    simulation = play(company, 5).simulation
    who, error = company.holder_ids[0], OutOfTurn(SERVER, "lies")

    def refuse(data: bytes) -> list[Frame]:
        raise error

    simulation.holders[who] = SimpleNamespace(receive=refuse)  # type: ignore[assignment]
    simulation._at_holder(who, b"")
    assert simulation.aborted[who] is error


def test_a_holder_reads_no_ceremony_as_long_as_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    company = Encrypting(RoundPlan.recommend(4, dropout=0.25, corrupt=0, bits=12, min_cohort=3, protocol="ckks"), 4, 3)
    maker = KeyMaker(company.publics, company.identity)
    [invitation] = maker.open(company.server().agree(company.task(5)), company.keys, 0)
    holder, data = company.holder(company.holder_ids[0]), bytes(invitation)
    monkeypatch.setattr(type(holder), "_limit", lambda self: len(data))
    monkeypatch.setattr(codec, "MAX_CONTROL_BYTES", 8)
    with pytest.raises(OutOfTurn, match="sends a Invite of"):
        holder.receive(data)


# --- makers of keys and of committees -------------------------------------------------------------


def test_a_key_maker_hears_its_ceremony_and_its_holders_only() -> None:
    company = Encrypting(RoundPlan.recommend(4, dropout=0.25, corrupt=0, bits=12, min_cohort=3, protocol="ckks"), 4, 3)
    maker = KeyMaker(company.publics, company.identity)
    agreement = company.server().agree(company.task(5))
    [invitation] = maker.open(agreement, company.keys, 0)
    header = codec.read_header(bytes(invitation), SERVER, 1 << 40)
    who = company.holder_ids[0]
    [commit] = company.holder(who).receive(bytes(invitation))
    unmask = codec.encode(Unmask(()), who, header.task, header.round, company.identity.sign)
    maker.receive(b"".join(unmask), who)
    stranger = codec.encode(commitment_in(commit), PartyId(99), header.task, header.round, company.identity.sign)
    maker.receive(b"".join(stranger), PartyId(99))
    assert [(note.peer, note.error) for note in maker.excluded] == [(who, "OutOfTurn"), (99, "BadSignature")]


def commitment_in(frame: Frame) -> Any:
    data = bytes(frame)
    header = codec.read_header(data, SERVER, 1 << 40)
    return codec.decode_body(codec.KINDS[header.kind], data[codec.HEADER.size : -codec.SIGNATURE_BYTES], SERVER)


def test_a_key_must_have_openings_left_after_its_ceremony() -> None:
    company = Encrypting(RoundPlan.recommend(4, dropout=0.25, corrupt=0, bits=12, min_cohort=3, protocol="ckks"), 4, 3)
    maker = KeyMaker(company.publics, company.identity)
    agreement = company.server().agree(company.task(5))
    with pytest.raises(Misused, match="has none left for a round once its ceremony has tried it out"):
        maker.open(agreement, replace(company.keys, openings=1), 0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"plan": RoundPlan.recommend(4)}, "a committee is convened for rounds of a plan with protocol='oneshot'"),
        ({"plan": None}, "a committee is convened for rounds of a plan"),
        ({"number": -1}, "number is -1"),
        ({"rounds": 0}, "rounds is 0"),
        ({"rounds": True}, "rounds is True"),
        ({"quorum": Quorum.usual(7)}, "members are registered here, and the quorum given is"),
        ({"quorum": 3}, "members are registered here, and the quorum given is 3"),
    ],
)
def test_a_committee_is_convened_for_one_shot_rounds_and_counted(change: dict[str, Any], why: str) -> None:
    company = Speaking(RoundPlan.recommend(4, protocol=ONE_SHOT), 4)
    convener = Convener(company.publics, company.identity)
    with pytest.raises(Misused, match=why):
        convener.open(**{"plan": company.plan, "number": 0, **change})


def test_a_holder_takes_an_invitation_in_its_own_frame_and_letters_of_its_own_ceremony() -> None:
    company = Encrypting(RoundPlan.recommend(4, dropout=0.25, corrupt=0, bits=12, min_cohort=3, protocol="ckks"), 4, 3)
    maker = KeyMaker(company.publics, company.identity)
    [invitation] = maker.open(company.server().agree(company.task(5)), company.keys, 0)
    holder, sign = company.holder(company.holder_ids[0]), company.identity.sign
    data = bytes(invitation)
    header = codec.read_header(data, SERVER, 1 << 40)
    letter: Invite = commitment_in(invitation)
    with pytest.raises(Malformed, match="the frame and the invitation inside it name different keys"):
        holder.receive(b"".join(codec.encode(letter, SERVER, header.task, header.round + 1, sign)))
    [commit] = holder.receive(data)
    commits = Commits((commitment_in(commit),) * 3)
    with pytest.raises(OutOfTurn, match=f"speaks of key {header.round + 1}, which is not being made here"):
        holder.receive(b"".join(codec.encode(commits, SERVER, header.task, header.round + 1, sign)))


# --- encrypted rounds -----------------------------------------------------------------------------


def test_a_result_of_another_context_is_not_passed_on() -> None:
    party = Party(ckks_client.client, ckks_client.Done(Context(bytes(32))))
    with pytest.raises(ViewMismatch, match="the published result belongs to another context"):
        party.receive(SERVER, replace(RESULT, context=Context(bytes(31) + b"x")))


def test_a_round_that_no_ciphertext_carries_is_refused_by_its_clients() -> None:
    company = Encrypted()
    certificate = company.certificate()
    party = company.client(PartyId(1))
    agreement = replace(company.agreement(certificate.digest), plan=replace(PLAN, bits=24, max_weight=1 << 30))
    with pytest.raises(PolicyViolation, match="proposes a round nobody can encrypt for"):
        party.receive(SERVER, OpenEncrypted(agreement, certificate))


def test_a_key_is_for_the_cohort_it_was_made_for() -> None:
    company = Encrypted()
    certificate = company.certificate()
    agreement = replace(company.agreement(certificate.digest), plan=replace(PLAN, min_cohort=PLAN.min_cohort + 1))
    with pytest.raises(Misused, match=f"this key is for sums over at least {PLAN.min_cohort} clients"):
        company.server().receive(APP, ckks_server.Begin(agreement, certificate, tuple(company.client_ids)))


def test_a_partial_of_another_length_is_left_out_by_name() -> None:
    company = Encrypted()
    certificate = company.certificate()
    company.bend = lambda who, _to, m: replace(m, part=m.part[:-8]) if who == VICTIM and isinstance(m, Partial) else m
    opened_sum = company.round(certificate)
    assert opened_sum.survivors == tuple(company.client_ids)
    assert (FIRST_HOLDER, "ShapeMismatch") in [(note.peer, note.error) for note in company.excluded]


def test_each_holder_of_a_key_is_one_party() -> None:
    company = Encrypted()
    for parties in (company.places[:-1], (company.places[0], *company.places[:-1])):
        with pytest.raises(Misused, match="each is one party"):
            company.maker.receive(APP, ceremony.Make(company.epoch, parties, 60))


def dealt() -> tuple[Any, Deals]:
    """What the first holder knows when the others' pieces reach it, and what reaches it."""
    seen: list[tuple[Any, Deals]] = []

    def bend(_who: PartyId, to: PartyId, message: Any) -> Any:
        if to == VICTIM and isinstance(message, Deals):
            state = company.holders[VICTIM].state
            # Its own root is erased as soon as the pieces are checked.
            seen.append((replace(state, root=Seed(state.root.expose())), message))
        return message

    company = Encrypted(bend=bend)
    company.certificate()
    return seen[0]


def test_a_piece_is_the_one_its_dealer_committed_to() -> None:
    """A dealer and the server together can bring a box that opens and is not what the dealer stands for."""
    state, deals = dealt()
    pair, said, revealed = box_pair(state.root, state.context), state.commits[1], deals.reveals[1]
    assert opened(state, pair, 2, said, revealed)
    with pytest.raises(ShapeMismatch, match="holder 2 reveals 4 hashes"):
        opened(state, pair, 2, said, replace(revealed, hashes=revealed.hashes[:-1]))
    with pytest.raises(BadShare, match="holder 2 deals me another piece than it committed to"):
        opened(state, pair, 2, said, replace(revealed, hashes=(bytes(32), *revealed.hashes[1:])))


def test_two_holders_never_show_one_key() -> None:
    def bend(_who: PartyId, to: PartyId, message: Any) -> Any:
        if to != VICTIM or not isinstance(message, Commits):
            return message
        first, second, *others = message.commits
        return Commits((first, replace(second, box_key=others[0].box_key), *others))

    company = Encrypted(bend=bend)
    with pytest.raises(TooFewMembers):
        company.certificate()
    assert type(company.failures[VICTIM]) is KeyMismatch
    assert "two holders show one key" in str(company.failures[VICTIM])


def test_whoever_explains_its_pieces_tells_one_number_of_each_dealer() -> None:
    room: Any = SimpleNamespace(company=SimpleNamespace(holders=(1, 2, 3)))
    with pytest.raises(ShapeMismatch, match="tells 2 numbers of 3 dealers"):
        ceremony.keep_summands(room, OTHER, Summands((1, 2)))
