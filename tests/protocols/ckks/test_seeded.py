"""A round whose key the clients share: each opens the ideal sum, once, and names whoever bends it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from protocols import codec, wire
from protocols.ckks import epoch as names
from protocols.ckks import seeded, seeded_server
from protocols.ckks.messages import Contribution
from protocols.ckks.seeded import Done, Idle, Ready, Sent
from protocols.ckks.seeded_messages import OpenSeeded, SeededCiphertext, SeededSum
from protocols.errors import (
    BadCiphertext,
    BadSignature,
    CohortTooSmall,
    Duplicate,
    ImplausibleSum,
    KeyMismatch,
    Misbehaved,
    Misused,
    OutOfTurn,
    PolicyViolation,
    Replay,
    ShapeMismatch,
    TooFewClients,
    Undecodable,
    ViewMismatch,
    WrongUpdate,
)
from protocols.messages import Aggregate, Submit
from protocols.party import APP, SERVER, Deadline, Failed, Party, PartyId
from protocols.plan import USUAL_MODES, NoisePlan, Policy, context_of
from secagg.ckks.cipher import open_exact, subtract_into
from secagg.ckks.plan import Mode
from secagg.ckks.whole import SharedKey, decrypt
from secagg.ckks.wire import largest, pack_into, unpack
from secagg.errors import BadParameters
from secagg.negacyclic import N
from secagg.workers import ALONE
from tests.protocols.ckks.kit import LOST, PLAN, as_it_is, seed
from tests.protocols.ckks.kit_modes import SeededCompany

VICTIM = PartyId(1)
EVERYBODY = tuple(PartyId(n) for n in range(PLAN.max_clients))


def same(one: Aggregate, other: Aggregate) -> bool:
    return (
        np.array_equal(one.total, other.total)
        and one.weight_sum == other.weight_sum
        and one.metrics == other.metrics
        and one.survivors == other.survivors
    )


@pytest.fixture
def company() -> SeededCompany:
    return SeededCompany()


def bending(kind: type[Any], who: int, change: Any) -> Any:
    """Changes every letter of this kind from this party."""
    return lambda sender, _to, m: change(m) if sender == who and isinstance(m, kind) else m


# --- exact --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [(), (2,), (0, 5)])
def test_everybody_in_the_sum_opens_the_ideal_one_whoever_vanishes(
    company: SeededCompany, lost: tuple[int, ...]
) -> None:
    company.bend = lambda who, _to, m: LOST if who in lost and isinstance(m, SeededCiphertext) else m
    survivors = company.play()
    assert list(survivors) == [who for who in EVERYBODY if who not in lost]
    assert set(company.opened) == set(survivors)
    assert all(same(opened, company.expected(survivors)) for opened in company.opened.values())
    assert all(isinstance(company.parties[who].state, Done) for who in survivors)
    assert not company.failures


def test_noise_passes_through_unchanged() -> None:
    noisy = replace(PLAN, noise=NoisePlan(Fraction(1), 0, 20), max_weight=1, metrics=(), clip=Fraction(1))
    company = SeededCompany(plan=noisy)
    survivors = company.play()
    assert survivors == EVERYBODY
    assert all(same(opened, company.expected(survivors)) for opened in company.opened.values())


def test_who_gets_the_sum_late_opens_the_same(company: SeededCompany) -> None:
    kept: list[SeededSum] = []

    def bend(_who: PartyId, to: PartyId, message: Any) -> Any:
        if to == VICTIM and isinstance(message, SeededSum):
            kept.append(message)
            return LOST
        return message

    company.bend = bend
    survivors = company.play()
    assert VICTIM not in company.opened
    stored(company.parties[VICTIM])
    [note] = company.parties[VICTIM].receive(SERVER, kept[0])
    assert note.to == (APP,)
    assert same(note.message, company.expected(survivors))


def test_fewer_uploads_than_a_cohort_are_never_handed_out(company: SeededCompany) -> None:
    company.bend = lambda who, _to, m: LOST if who in (0, 1, 2) and isinstance(m, SeededCiphertext) else m
    with pytest.raises(TooFewClients):
        company.play()
    assert not company.opened


def test_an_upload_takes_the_bytes_of_one_half_and_a_sum_no_second_one(company: SeededCompany) -> None:
    heard: dict[type[Any], Any] = {}
    company.bend = lambda _who, _to, m: heard.setdefault(type(m), m) and m
    company.play()
    agreed = company.shape.plan
    assert len(heard[SeededCiphertext].c0) == agreed.blocks * N * agreed.width0
    assert len(heard[SeededSum].sum0) == agreed.blocks * N * 7
    assert len(wire.encode(heard[SeededSum])) < agreed.blocks * N * 7 + 250 * len(EVERYBODY)


def test_every_round_has_a_key_of_its_own_and_every_upload_bytes_of_its_own(company: SeededCompany) -> None:
    publics: list[bytes] = []

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        publics.extend([message.public] if isinstance(message, SeededCiphertext) else [])
        return message

    company.bend = bend
    company.play(0)
    company.parties = {who: company.client(who) for who in company.client_ids}
    company.play(1)
    assert len(set(publics)) == 2 * len(EVERYBODY)
    one, other = (context_of(company.seeded_agreement(number)) for number in (0, 1))
    assert not np.array_equal(company.shared.of(one).residues, company.shared.of(other).residues)


# --- a server that lies to clients ----------------------------------------------------------------------


def opened_by_client(company: SeededCompany, agreement: Any = None, **change: Any) -> Party:
    party = company.client(VICTIM)
    party.state = replace(party.state, own=replace(party.state.own, **change))
    party.receive(SERVER, OpenSeeded(agreement or company.seeded_agreement()))
    return party


def test_a_client_shares_a_key_only_where_it_said_so(company: SeededCompany) -> None:
    assert isinstance(opened_by_client(company).state, Ready)
    for modes in (USUAL_MODES, frozenset({Mode.SINGLE}), frozenset[Mode]()):
        with pytest.raises(PolicyViolation, match="mode seeded, which I have not agreed to: every client can"):
            opened_by_client(company, policy=replace(company.policy(), modes=modes))
    assert Policy({}).modes == USUAL_MODES


def test_a_client_enters_only_rounds_of_the_key_it_shares(company: SeededCompany) -> None:
    with pytest.raises(ViewMismatch, match="another key than the one I share"):
        opened_by_client(company, shared=SharedKey(seed("another owner", 0)))
    with pytest.raises(ViewMismatch, match="another key than the one I share"):
        opened_by_client(company, company.agreement(bytes(32)))


def test_a_client_insists_on_its_policy(company: SeededCompany) -> None:
    with pytest.raises(PolicyViolation, match="min_cohort 4 is below 5"):
        opened_by_client(company, policy=replace(company.policy(), min_cohort=5))
    too_wide = replace(PLAN, bits=24, max_weight=1 << 30)
    with pytest.raises(PolicyViolation, match="a round nobody can encrypt for"):
        opened_by_client(company, replace(company.seeded_agreement(), plan=too_wide))


def test_a_round_is_entered_once(company: SeededCompany) -> None:
    party = company.client(VICTIM)
    assert isinstance(party.state, Idle)
    party.state = replace(party.state, last_round=0)
    with pytest.raises(Replay):
        party.receive(SERVER, OpenSeeded(company.seeded_agreement()))


def test_a_wrong_update_changes_nothing(company: SeededCompany) -> None:
    party = opened_by_client(company)
    good = company.update(VICTIM, company.seeded_agreement(), party.state.update_seed)
    state = party.state
    for wrong in (replace(good, vector=good.vector[:-1]), replace(good, weight=4), replace(good, metrics=())):
        with pytest.raises(WrongUpdate):
            party.receive(APP, wrong)
        assert party.state is state
    assert party.receive(APP, good)


@pytest.fixture
def total(company: SeededCompany) -> SeededSum:
    """What a server hands out after an honest round, before any client has heard it."""
    sums: list[SeededSum] = []

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        if isinstance(message, SeededSum):
            sums.append(message)
            return LOST
        return message

    company.bend = bend
    company.play()
    company.bend = as_it_is
    return sums[0]


def drop(total: SeededSum, *places: int) -> SeededSum:
    """A list without these uploads; the sum is still over all."""
    kept = [n for n in range(len(total.publics)) if n not in places]
    return replace(
        total,
        contributions=tuple(total.contributions[n] for n in kept),
        publics=tuple(total.publics[n] for n in kept),
    )


def changed(total: SeededSum, place: int, **change: Any) -> SeededSum:
    contributions = list(total.contributions)
    contributions[place] = replace(contributions[place], **change)
    return replace(total, contributions=tuple(contributions))


def repacked(total: SeededSum, change: Any) -> SeededSum:
    """The same with other residues."""
    sum0 = unpack(total.sum0, len(total.sum0) // 7, 7)
    packed = bytearray(len(total.sum0))
    pack_into(packed, change(sum0), 7)
    return replace(total, sum0=packed)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda t: drop(t, 0, 2, 3, 4, 5), CohortTooSmall, "over 1 clients; 4 are required"),
        (lambda t: drop(t, 0, 2, 3), CohortTooSmall, "over 3 clients; 4 are required"),
        (lambda t: drop(t, 1), ViewMismatch, "my own upload is missing from the sum, or altered"),
        (lambda t: changed(t, 1, digest0=bytes(32)), ViewMismatch, "my own upload is missing from the sum, or altered"),
        (lambda t: changed(t, 2, digest0=bytes(32)), BadSignature, "signature"),
        (lambda t: changed(t, 5, who=PartyId(77)), KeyMismatch, "client 77, whom my policy does not pin"),
        (lambda t: replace(t, context=bytes(32)), ViewMismatch, "the sum of another round"),
        (lambda t: replace(t, publics=t.publics[:-1]), ShapeMismatch, "public bytes of 5 among 6 uploads"),
        (
            lambda t: replace(t, publics=(t.publics[2], *t.publics[1:])),
            ViewMismatch,
            "other public bytes than client 0",
        ),
        (lambda t: replace(t, sum0=bytes(t.sum0)[:-1]), BadCiphertext, "bytes for"),
        (lambda t: replace(t, sum0=b"\xff" * len(t.sum0)), BadCiphertext, "not below the modulus"),
    ],
)
def test_a_client_opens_only_what_clients_signed_and_itself_is_in(
    company: SeededCompany, total: SeededSum, change: Any, error: type[Misbehaved], said: str
) -> None:
    party = company.parties[VICTIM]
    with pytest.raises(error, match=said):
        party.receive(SERVER, change(total))
    assert isinstance(party.state, Failed)


def test_more_uploads_than_the_plan_has_clients_are_refused(company: SeededCompany, total: SeededSum) -> None:
    more = Contribution(PartyId(9), bytes(32), bytes(32), bytes(64))
    with pytest.raises(PolicyViolation, match="over 7 clients"):
        company.parties[VICTIM].receive(
            SERVER, replace(total, contributions=(*total.contributions, more), publics=(*total.publics, bytes(32)))
        )


def test_two_uploads_under_the_same_public_bytes_are_refused(company: SeededCompany, total: SeededSum) -> None:
    """The server's friend copies another's bytes and signs them."""
    place, agreement = 3, company.seeded_agreement()
    said, copied = total.contributions[place], total.publics[0]
    text = names.upload_text(context_of(agreement), agreement.key, said.who, said.digest0, names.digest(copied))
    signature = company.client_ids[said.who].sign(text)
    bent = changed(total, place, digest1=names.digest(copied), signature=signature)
    publics = (*total.publics[:place], copied, *total.publics[place + 1 :])
    with pytest.raises(Duplicate, match="two uploads under the same public bytes"):
        company.parties[VICTIM].receive(SERVER, replace(bent, publics=publics))


def test_one_upload_under_a_list_of_many_opens_to_nothing(company: SeededCompany) -> None:
    """The client expands the second halves of the whole list: one victim's first half does not fit them."""
    uploads: dict[PartyId, SeededCiphertext] = {}
    sums: list[SeededSum] = []

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        if isinstance(message, SeededCiphertext):
            uploads[who] = message
        if isinstance(message, SeededSum):
            sums.append(message)
            return LOST
        return message

    company.bend = bend
    company.play()
    width = company.shape.plan.width0
    alone = repacked(sums[0], lambda sum0: unpack(uploads[VICTIM].c0, sum0.size, width))
    party = company.parties[PartyId(3)]
    with pytest.raises(ImplausibleSum, match="no sum"):
        party.receive(SERVER, alone)
    assert isinstance(party.state, Failed)
    # A list of all but one, with the sum over all, is no sum of the list either.
    with pytest.raises(ImplausibleSum, match="no sum"):
        company.parties[VICTIM].receive(SERVER, drop(sums[0], 0))


def test_a_shifted_sum_contradicts_its_checksum(company: SeededCompany, total: SeededSum) -> None:
    """What a lying server can do: shift by what it knows. This shift is seen, one that fits the checksum would not."""

    def shifted(sum0: Any) -> Any:
        more = np.zeros_like(sum0)
        more[0] = 1 << company.shape.plan.guard
        subtract_into(sum0, more)
        return sum0

    with pytest.raises(ImplausibleSum, match="contradicts its checksum"):
        company.parties[VICTIM].receive(SERVER, repacked(total, shifted))


def test_one_sum_is_opened_in_a_round(company: SeededCompany, total: SeededSum) -> None:
    """Not even the same one again, and not by a client that was restarted."""
    party = company.parties[VICTIM]
    party.receive(SERVER, total)
    for again in (total, drop(total, 0)):
        stored(party)
        with pytest.raises(OutOfTurn):
            party.receive(SERVER, again)
        assert isinstance(party.state, Done)


def test_lists_have_one_order(total: SeededSum) -> None:
    with pytest.raises(Undecodable, match="contributors must strictly ascend"):
        replace(total, contributions=total.contributions[::-1])


# --- clients that bend their upload --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: replace(m, c0=bytes(m.c0)[:-1]), "ShapeMismatch"),
        (lambda m: replace(m, c0=b""), "ShapeMismatch"),
        (lambda m: replace(m, c0=bytes(len(m.c0))), "BadSignature"),
        (lambda m: replace(m, public=bytes(32)), "BadSignature"),
        (lambda m: replace(m, signature=bytes(64)), "BadSignature"),
    ],
)
def test_a_bent_upload_is_left_out_by_name_and_the_others_go_on(
    company: SeededCompany, change: Any, error: str
) -> None:
    company.bend = bending(SeededCiphertext, VICTIM, change)
    survivors = company.play()
    assert list(survivors) == [who for who in EVERYBODY if who != VICTIM]
    assert all(same(opened, company.expected(survivors)) for opened in company.opened.values())
    assert [(note.peer, note.error) for note in company.excluded] == [(VICTIM, error)]


def signed_anew(company: SeededCompany, message: SeededCiphertext, **change: Any) -> SeededCiphertext:
    bent, agreement = replace(message, **change), company.seeded_agreement()
    digests = names.digest(bent.c0), names.digest(bent.public)
    text = names.upload_text(context_of(agreement), agreement.key, VICTIM, *digests)
    return replace(bent, signature=company.client_ids[VICTIM].sign(text))


def test_public_bytes_are_never_used_twice(company: SeededCompany) -> None:
    first: list[bytes] = []

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        if isinstance(message, SeededCiphertext):
            first.append(message.public)
            return signed_anew(company, message, public=first[0]) if who == VICTIM else message
        return message

    company.bend = bend
    survivors = company.play()
    assert VICTIM not in survivors
    assert [(note.peer, note.error) for note in company.excluded] == [(VICTIM, "Duplicate")]


def test_a_second_upload_counts_for_nothing(company: SeededCompany) -> None:
    server = company.server()
    server.receive(APP, seeded_server.Begin(company.seeded_agreement(), EVERYBODY))
    party = opened_by_client(company)
    [out] = party.receive(APP, company.update(VICTIM, company.seeded_agreement(), party.state.update_seed))
    assert isinstance(party.state, Sent)
    assert not server.receive(VICTIM, out.message)
    before = server.state.sum0.copy()
    [note] = server.receive(VICTIM, out.message)
    assert note.message.error == "Duplicate"
    assert np.array_equal(before, server.state.sum0)


def test_a_residue_that_is_none_is_refused_even_with_a_good_signature() -> None:
    company = SeededCompany(plan=replace(PLAN, bits=24, max_weight=1 << 10))
    width = company.shape.plan.width0
    assert largest(width) < (1 << 8 * width) - 1
    company.bend = bending(SeededCiphertext, VICTIM, lambda m: signed_anew(company, m, c0=b"\xff" * len(m.c0)))
    company.play()
    assert [(note.peer, note.error) for note in company.excluded] == [(VICTIM, "BadCiphertext")]


def test_rubbish_spoils_the_sum_and_every_client_sees_it(company: SeededCompany) -> None:
    def garbage(message: SeededCiphertext) -> SeededCiphertext:
        return signed_anew(company, message, c0=np.random.default_rng(0).bytes(len(message.c0)))

    company.bend = bending(SeededCiphertext, VICTIM, garbage)
    company.play()
    assert not company.opened
    # The victim's upload was bent on its way: it does not find its own.
    assert isinstance(company.failures.pop(VICTIM), ViewMismatch)
    assert {type(error) for error in company.failures.values()} == {ImplausibleSum}
    assert set(company.failures) == set(EVERYBODY) - {VICTIM}


# --- what this mode protects against, and what not ---------------------------------------------------------------


def test_every_client_can_decrypt_an_upload_it_gets_to_see(company: SeededCompany) -> None:
    """The weakness by name."""
    seen: list[SeededCiphertext] = []

    def bend(who: PartyId, _to: PartyId, message: Any) -> Any:
        seen.extend([message] if who == VICTIM and isinstance(message, SeededCiphertext) else [])
        return message

    company.bend = bend
    company.play()
    agreed = company.shape.plan
    c0 = unpack(seen[0].c0, agreed.blocks * N, agreed.width0).reshape(agreed.blocks, N)
    c1 = seeded.expanded(agreed, (seen[0].public,), ALONE)
    opened = open_exact(agreed, decrypt(company.shared.of(context_of(company.seeded_agreement())), c0, c1))
    total, _ = company.shape.sums(company.seeded_agreement(), opened.values)
    ring = company.shape.coding.ring
    assert np.array_equal(ring.centre(total), ring.centre(ring.reduce(company.submitted[VICTIM].vector.copy())))


def test_a_server_without_the_key_opens_nothing(company: SeededCompany, total: SeededSum) -> None:
    """With a key of its own choice it finds noise as wide as the modulus."""
    agreed = company.shape.plan
    c0 = unpack(total.sum0, agreed.blocks * N, 7).reshape(agreed.blocks, N)
    c1 = seeded.expanded(agreed, total.publics, ALONE)
    context = context_of(company.seeded_agreement())
    right = open_exact(agreed, decrypt(company.shared.of(context), c0, c1))
    wrong = open_exact(agreed, decrypt(SharedKey(seed("server", 0)).of(context), c0, c1))
    assert right.plausible
    assert not wrong.plausible


# --- a server that is used wrongly ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("invited", "said"),
    [((PartyId(0), PartyId(1), PartyId(77)), "clients \\[77\\] are invited"), (EVERYBODY[:2], "2 clients are invited")],
)
def test_a_round_that_cannot_be_is_refused_before_anybody_is_asked(
    company: SeededCompany, invited: tuple[PartyId, ...], said: str
) -> None:
    with pytest.raises(Misused, match=said):
        company.server().receive(APP, seeded_server.Begin(company.seeded_agreement(), invited))


# --- stored states, spelled letters, secrets -------------------------------------------------------------------------


def stored(party: Party) -> None:
    """The party goes on as whoever reads its bytes."""
    state = party.state
    own = getattr(state, "own", None) or getattr(state, "known", None)
    supplied = {} if own is None else {type(own): own}
    party.state = codec.thaw(type(state), codec.freeze(state), supplied)
    assert codec.freeze(party.state) == codec.freeze(state)


def test_every_state_survives_being_stored_and_every_letter_has_one_spelling(company: SeededCompany) -> None:
    heard: dict[type[Any], Any] = {}
    server = company.server()

    def bend(_who: PartyId, _to: PartyId, message: Any) -> Any:
        heard.setdefault(type(message), message)
        for party in (server, *company.parties.values()):
            stored(party)
        return message

    company.bend = bend
    survivors = company.play(server=server)
    assert all(same(company.opened[who], company.expected(survivors)) for who in EVERYBODY)
    assert {OpenSeeded, SeededCiphertext, SeededSum} == set(heard)
    for letter in heard.values():
        data = wire.encode(letter)
        assert wire.encode(wire.decode(type(letter), data)) == data
        for wrong in (data[:-1], data + b"\0"):
            with pytest.raises(Undecodable):
                wire.decode(type(letter), wrong)


def test_the_shared_key_is_in_no_stored_state(company: SeededCompany) -> None:
    party = opened_by_client(company)
    root = seed("owner", 0).expose()
    assert root not in codec.freeze(party.state)
    party.receive(APP, company.update(VICTIM, company.seeded_agreement(), party.state.update_seed))
    assert root not in codec.freeze(party.state)
    secret = company.shared.of(context_of(company.seeded_agreement())).expose()
    assert secret[:64] not in codec.freeze(party.state)


def test_pairs_outside_the_tables_are_refused(company: SeededCompany, total: SeededSum) -> None:
    party = company.client(VICTIM)
    with pytest.raises(OutOfTurn):
        party.receive(SERVER, total)
    with pytest.raises(Misused):
        party.receive(APP, Submit(np.zeros(1)))
    server = company.server()
    [note] = server.receive(VICTIM, SeededCiphertext(b"", bytes(32), bytes(64)))
    assert note.message.error == "OutOfTurn"
    assert server.receive(APP, Deadline("Summing")) == []


def test_the_rounds_secrets_are_erased_and_the_shared_key_is_not(company: SeededCompany) -> None:
    party = company.client(VICTIM)
    root = party.state.root
    party.receive(SERVER, OpenSeeded(company.seeded_agreement()))
    update_seed = party.state.update_seed
    party.receive(APP, company.update(VICTIM, company.seeded_agreement(), update_seed))
    for secret in (root, update_seed):
        with pytest.raises(BadParameters, match="erased"):
            secret.expose()
    party.abandon("the round is over")
    assert company.shared.of(bytes(32)).residues.size == N
