"""One decryptor, or a key that clients share, over the wire: exact, restartable, and refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp.errors import WrongVersion
from protocols import codec
from protocols.ckks import epoch as names
from protocols.ckks.holder import HolderPolicy
from protocols.ckks.messages import EncryptedSum
from protocols.ckks.modes import weakness
from protocols.ckks.seeded_messages import OpenSeeded, SeededCiphertext
from protocols.ckks.single_messages import Decrypted, WholeSum
from protocols.codec import Frame, kind_of
from protocols.cohort import Cohort
from protocols.durable import DurableClient, DurableDecryptor, DurableHolder, DurableServer
from protocols.endpoint import Decryptor, Holder, KeyMaker, Server, Task
from protocols.errors import (
    AlreadyAnswered,
    BadPlan,
    ImplausibleSum,
    Malformed,
    Misbehaved,
    Misused,
    OutOfTurn,
    PolicyConflict,
    PolicyViolation,
    Replay,
    TooFewClients,
    TooFewMembers,
    TooLarge,
    ViewMismatch,
)
from protocols.messages import Aggregate, Open, Result
from protocols.party import SERVER, PartyId
from protocols.plan import NOTHING, Metric, RoundPlan, context_of
from protocols.round import secure_mean
from protocols.simulate import Encrypted, Fate, FaultPlan, Lost
from secagg.ckks.plan import Keys, Mode
from secagg.ckks.whole import SharedKey
from secagg.keys import Context, Identity
from tests.contracts.company import Company, Played, Repeated, Restarted, StandIn, play, seed_of
from tests.contracts.modes import CLIENTS, DECRYPTOR, PLAN, SHARED, Seeded, Single
from tests.rows import rows

LENGTH = 40
GONE = Fate(Encrypted.VECTOR, Lost.REPLY)
COMPANIES: dict[Mode, type[Single] | type[Seeded]] = {Mode.SINGLE: Single, Mode.SEEDED: Seeded}
each_mode = pytest.mark.parametrize("mode", COMPANIES, ids=lambda mode: mode.value)


def same(one: Aggregate, other: Aggregate) -> bool:
    return np.array_equal(one.total, other.total) and (one.weight_sum, one.survivors, one.metrics) == (
        other.weight_sum,
        other.survivors,
        other.metrics,
    )


def said_by(played: Played, who: PartyId, kind: type[Any]) -> bytes:
    """The frame of this kind that a party sent."""
    simulation = played.simulation
    stand_in: Any = {SERVER: simulation.server, **simulation.clients, **simulation.holders}[who]
    return next(bytes(frame) for frame in stand_in.emitted if kind_of(frame) is kind)


def bent(frame: bytes, change: Callable[[Any], Any], identity: Identity) -> bytes:
    """The same letter, changed and signed again by who said it."""
    header = codec.read_header(frame, SERVER, 1 << 40)
    letter = change(codec.decode_body(codec.KINDS[header.kind], frame[codec.HEADER.size : -64], SERVER))
    return b"".join(codec.encode(letter, header.sender, header.task, header.round, identity.sign))


# --- exact ----------------------------------------------------------------------------------------------


def test_the_new_letters_have_numbers_in_the_order_of_the_protocol() -> None:
    assert [codec.KINDS[number].__name__ for number in range(26, 31)] == [
        "WholeSum",
        "Decrypted",
        "OpenSeeded",
        "SeededCiphertext",
        "SeededSum",
    ]


@each_mode
@pytest.mark.parametrize("kind", [StandIn, Restarted, Repeated], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("lost", [(), (1,), (0, 5)])
def test_the_sum_is_the_ideal_one_whoever_vanishes_dies_or_repeats_itself(
    mode: Mode, kind: type[StandIn], lost: tuple[int, ...]
) -> None:
    company = COMPANIES[mode]()
    sides = [GONE, Fate(Encrypted.VECTOR, Lost.REQUEST)]
    faults = FaultPlan({company.ids[index]: sides[place] for place, index in enumerate(lost)})
    played = play(company, LENGTH, faults, kind)
    assert played.lost is None
    assert played.simulation.exact
    survivors = tuple(who for index, who in enumerate(company.ids) if index not in lost)
    assert played.opened.survivors == survivors
    assert same(played.opened, played.simulation.ideal.aggregate())
    assert not played.simulation.aborted
    assert not played.simulation.server.excluded
    readers = set(survivors) if mode is Mode.SEEDED else {SERVER}
    assert played.simulation.opened_by.keys() == readers


def test_every_client_that_is_in_the_sum_has_it_and_the_server_never() -> None:
    company = Seeded()
    played = play(company, LENGTH, FaultPlan({company.ids[2]: GONE}))
    server, clients = played.simulation.server, played.simulation.clients
    assert server.handed_out == tuple(who for who in company.ids if who != company.ids[2])
    assert server.aggregate is None
    assert server.wait is None
    for ask in (server.mean, server.metrics, server.next_clip):
        with pytest.raises(Misused, match="the clients share the key: they have the sum"):
            ask()
    means = [clients[who].mean() for who in server.handed_out]
    assert all(np.array_equal(mean, means[0]) for mean in means)
    assert np.abs(means[0]).max() <= float(company.plan.clip)
    assert clients[company.ids[0]].next_clip() == company.plan.clip
    assert all(clients[who].done for who in server.handed_out)
    with pytest.raises(Misused, match="there is no sum here"):
        clients[company.ids[2]].mean()


def test_clients_who_do_not_share_the_key_have_no_sum() -> None:
    played = play(Single(), LENGTH)
    client = next(iter(played.simulation.clients.values()))
    assert client.done
    with pytest.raises(Misused, match="only clients who share the key"):
        client.mean()
    assert played.simulation.reader is played.simulation.server


@each_mode
def test_metrics_are_means_in_every_mode(mode: Mode) -> None:
    plan = replace(PLAN, metrics=(Metric("loss", Fraction(9)),))
    cohort = Cohort.fresh(plan, range(CLIENTS), mode=mode)
    updates = {who: [np.full(5, who / 8, np.float32)] for who in range(CLIENTS)}
    metrics = {who: {"loss": float(who)} for who in updates}
    report = secure_mean(updates, plan, round=0, metrics=metrics, cohort=cohort)
    assert report.exact
    assert report.metrics["loss"] == pytest.approx(2.5, abs=1e-3)
    assert np.allclose(report.mean[0], 2.5 / 8, atol=1e-2)
    assert report.encryption is not None
    assert (report.encryption.mode, report.encryption.weakness) == (mode.value, weakness(mode))
    assert (report.encryption.holders, report.encryption.threshold) == (1, 1)
    assert report.encryption.binding is None
    assert report.encryption.smudging_log2 is None
    assert 0 <= report.seen_chi_square_p <= 1
    again = secure_mean(updates, plan, round=1, metrics=metrics, cohort=cohort)
    assert again.exact


def test_a_key_of_holders_says_how_its_sums_are_bound() -> None:
    updates = {who: [np.zeros(5, np.float32)] for who in range(CLIENTS)}
    report = secure_mean(updates, PLAN, round=0)
    assert report.encryption is not None
    assert (report.encryption.binding, report.encryption.weakness) == ("full", weakness(Mode.THRESHOLD))


@each_mode
def test_fewer_clients_than_a_cohort_end_the_round_by_name(mode: Mode) -> None:
    company = COMPANIES[mode]()
    lost = FaultPlan(dict.fromkeys(company.ids[:3], GONE))
    played = play(company, LENGTH, lost)
    assert isinstance(played.lost, TooFewClients)
    assert played.simulation.server.done
    assert played.simulation.server.repeat() == []
    with pytest.raises(Misused, match="the round has not ended in a sum"):
        _ = played.simulation.opened


def test_a_silent_decryptor_ends_the_round_by_name() -> None:
    played = play(Single(), LENGTH, FaultPlan({DECRYPTOR: GONE}))
    assert isinstance(played.lost, TooFewMembers)
    assert played.lost.missing == (DECRYPTOR,)


# --- one decryptor ----------------------------------------------------------------------------------------


class Answering:
    """A decryptor that has made its key and answered once."""

    def __init__(self) -> None:
        self.company = Single()
        self.played = play(self.company, LENGTH)
        self.decryptor: Decryptor = next(iter(self.played.simulation.holders.values())).live  # type: ignore[attr-defined]
        self.question = said_by(self.played, SERVER, WholeSum)
        self.answer = said_by(self.played, DECRYPTOR, Decrypted)

    def bent(self, change: Callable[[Any], Any]) -> bytes:
        return bent(self.question, change, self.company.identity)


@pytest.fixture
def answering() -> Answering:
    return Answering()


def without_the_last(question: WholeSum) -> WholeSum:
    return replace(
        question,
        contributions=question.contributions[:-1],
        firsts=question.firsts[:-1],
        seconds=question.seconds[:-1],
    )


def test_the_same_question_gets_the_same_bytes_after_a_restart_and_another_sum_none(answering: Answering) -> None:
    [again] = answering.decryptor.receive(answering.question)
    assert bytes(again) == answering.answer
    other = answering.company.decryptor()
    assert not other.holding
    other.thaw(answering.decryptor.freeze())
    assert other.holding
    [restarted] = other.receive(answering.question)
    assert bytes(restarted) == answering.answer
    with pytest.raises(AlreadyAnswered):
        other.receive(answering.bent(without_the_last))
    # The lie cost nothing: what was asked first is still answered alike.
    [still] = other.receive(answering.question)
    assert bytes(still) == answering.answer


def test_an_older_image_is_not_put_back_into_the_decryptor_that_went_on() -> None:
    company = Single()
    cohort = company.cohort()
    decryptor = next(iter(cohort.holders.values())).live  # type: ignore[attr-defined]
    before = decryptor.freeze()
    task = cohort.keyed(company.task(LENGTH))
    assert task.certificate is not None
    with pytest.raises(Misused, match="older than the decryptor"):
        decryptor.thaw(before)
    with_key = decryptor.freeze()
    answered = Answering()
    newer = answered.decryptor
    with pytest.raises(Misused, match="older than the decryptor"):
        newer.thaw(with_key)
    with pytest.raises(AlreadyAnswered):
        newer.receive(answered.bent(without_the_last))
    with pytest.raises(Misused, match="older than the decryptor"):
        newer.thaw(with_key)


def test_the_certificate_is_said_again_and_a_past_key_is_not_made_again(answering: Answering) -> None:
    company, agreement = answering.company, answering.played.simulation.server.agreement
    maker, decryptor = KeyMaker(company.openers, company.identity), company.decryptor()
    [invitation] = maker.open(agreement, Keys(Mode.SINGLE), 4)
    [first] = decryptor.receive(bytes(invitation))
    [second] = decryptor.receive(bytes(invitation))
    assert bytes(first) == bytes(second)
    assert [bytes(frame) for frame in decryptor.repeat()] == [bytes(first)]
    restarted = company.decryptor()
    restarted.thaw(decryptor.freeze())
    [third] = restarted.receive(bytes(invitation))
    assert bytes(third) == bytes(first)
    assert maker.receive(bytes(first)) == []
    assert maker.done
    assert maker.certificate.epoch.holders == (company.decryptor_identity.public,)
    [earlier] = maker.open(agreement, Keys(Mode.SINGLE), 3)
    with pytest.raises(Replay, match="key 3 of this task is past"):
        decryptor.receive(bytes(earlier))
    assert decryptor.holding


def test_a_decryptor_hears_no_letters_of_holders_and_nobody_else_its_own(answering: Answering) -> None:
    company, decryptor = answering.company, answering.decryptor
    header = codec.read_header(answering.question, SERVER, 1 << 30)
    foreign = EncryptedSum(bytes(32), Context(bytes(32)), (1,), (), (), b"")
    frame = b"".join(codec.encode(foreign, SERVER, header.task, header.round, company.identity.sign))
    with pytest.raises(OutOfTurn, match="EncryptedSum, which is not said to decryptors"):
        decryptor.receive(frame)
    policy = HolderPolicy(frozenset(company.openers.values()), company.known)
    holder = Holder(DECRYPTOR, policy, company.decryptor_identity, company.identity.public)
    with pytest.raises(OutOfTurn, match="WholeSum, which is not said to holders"):
        holder.receive(answering.question)
    client = company.client(company.ids[0])
    with pytest.raises(OutOfTurn, match="WholeSum, which only clients say"):
        client.receive(answering.question)
    with pytest.raises(Malformed, match="names party"):
        decryptor.receive(answering.answer)
    server = company.server()
    server.receive(answering.question, SERVER)
    assert [note.error for note in server.excluded] == ["OutOfTurn"]


def test_a_question_longer_than_any_legal_one_is_refused_before_it_is_read(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "MAX_CONTROL_BYTES", 1 << 10)
    most = answering.decryptor.part.largest_question(answering.decryptor._party.state)
    assert len(answering.question) < most
    for size, error in ((most, Misbehaved), (most + 1, TooLarge)):
        header = codec.Header(26, SERVER, bytes(16), 0, size).to_bytes()
        with pytest.raises(error) as caught:
            answering.decryptor.receive(header + bytes(size + 64))
        assert isinstance(caught.value, TooLarge) is (size > most)
    assert answering.decryptor.holding


def test_an_answer_of_rubbish_or_of_another_length_is_named_at_the_server() -> None:
    company = Single()
    cohort = company.cohort(Restarted)
    task = cohort.keyed(company.task(LENGTH))
    server = company.server()
    asked: list[Frame] = []
    for frame in server.open(task):
        for who in frame.to:
            client = company.client(who)
            client.receive(bytes(frame))
            for upload in client.submit(np.zeros(LENGTH)):
                asked = server.receive(bytes(upload), who) or asked
    [question] = asked
    assert kind_of(question) is WholeSum
    assert server.opening
    [answer] = cohort.holders[DECRYPTOR].receive(bytes(question))
    for change, error in (
        (lambda letter: replace(letter, sums=bytes(1 << 20)), "TooLarge"),
        (lambda letter: replace(letter, sums=b""), "ShapeMismatch"),
        (lambda letter: replace(letter, question=bytes(32)), "ViewMismatch"),
    ):
        server.receive(bent(bytes(answer), change, company.decryptor_identity), DECRYPTOR)
        assert server.excluded[-1].error == error
        image = server.freeze()
        server = company.server()
        server.thaw(image)
    results = server.receive(bytes(answer), DECRYPTOR)
    assert [kind_of(frame) for frame in results] == [Result]
    assert server.done
    assert np.array_equal(server.mean(), np.zeros(LENGTH))
    assert server.receive(bytes(answer), DECRYPTOR) == []


def test_rubbish_of_one_client_costs_the_round_and_not_the_key() -> None:
    company = Single()
    cohort = company.cohort()
    agreement = cohort.server.agree(company.task(LENGTH))
    maker = KeyMaker(company.openers, company.identity)
    decryptor = company.decryptor()
    for frame in maker.open(agreement, Keys(Mode.SINGLE, openings=2), 0):
        for answer in decryptor.receive(bytes(frame)):
            maker.receive(bytes(answer), DECRYPTOR)
    for number, ends_well in ((0, False), (1, True)):
        server = company.server()
        letters = server.open(replace(company.task(LENGTH, number), certificate=maker.certificate))
        out: list[Frame] = []
        for who in company.ids:
            client = company.client(who)
            client.receive(bytes(letters[0]))
            [upload] = client.submit(np.zeros(LENGTH))
            data = bytes(upload)
            if not ends_well and who == company.ids[0]:
                data = rubbish(data, company, server)
            out = server.receive(data, who) or out
        [answer] = decryptor.receive(bytes(out[0]))
        if ends_well:
            server.receive(bytes(answer), DECRYPTOR)
            assert server.done
            assert server.aggregate is not None
        else:
            with pytest.raises(ImplausibleSum, match="opened what is no sum"):
                server.receive(bytes(answer), DECRYPTOR)


def rubbish(data: bytes, company: Company, server: Server) -> bytes:
    """The upload of another first half, well formed and signed by who sent it."""
    who = PartyId(codec.read_header(data, SERVER, 1 << 30).sender)
    identity, context = company.identities[who], context_of(server.agreement)

    def change(letter: Any) -> Any:
        c0 = np.random.default_rng(0).integers(0, 128, len(letter.c0), np.uint8).tobytes()
        second = letter.public if isinstance(letter, SeededCiphertext) else letter.c1
        text = names.upload_text(context, server.agreement.key, who, names.digest(c0), names.digest(second))
        return replace(letter, c0=c0, signature=identity.sign(text))

    return bent(data, change, identity)


# --- a key that clients share -----------------------------------------------------------------------------


class HandedOut:
    """A round that a server handed out; nobody has heard it yet."""

    def __init__(self, company: Seeded | None = None, spoilt: int | None = None) -> None:
        self.company = company or Seeded()
        self.server = self.company.server()
        task = replace(self.company.task(LENGTH), shared_key=SHARED.name)
        [self.invitation] = self.server.open(task)
        self.clients = {who: self.company.client(who) for who in self.company.ids}
        self.uploads: dict[PartyId, bytes] = {}
        for place, (who, client) in enumerate(self.clients.items()):
            assert client.receive(bytes(self.invitation)) == []
            [upload] = client.submit(np.full(LENGTH, place / 8), weight=1 + place)
            assert not client.done
            data = bytes(upload)
            self.uploads[who] = rubbish(data, self.company, self.server) if place == spoilt else data
        self.out: list[Frame] = []
        for who, data in self.uploads.items():
            self.out = self.server.receive(data, who)
        [total] = self.out
        self.total = bytes(total)
        self.victim = self.company.ids[0]
        self.client = self.clients[self.victim]


@pytest.fixture
def handed() -> HandedOut:
    return HandedOut()


def test_a_sum_is_opened_once_and_kept_until_the_next_round(handed: HandedOut) -> None:
    client, company = handed.client, handed.company
    assert client.receive(handed.total) == []
    mean = client.mean()
    assert client.receive(handed.total) == []
    restarted = company.client(handed.victim)
    restarted.thaw(client.freeze())
    assert np.array_equal(restarted.mean(), mean)
    assert restarted.aggregate is not None
    assert client.aggregate is not None
    assert same(restarted.aggregate, client.aggregate)
    again = bent(handed.total, lambda total: replace(total, context=bytes(32)), company.identity)
    for each in (client, restarted):
        with pytest.raises(OutOfTurn):
            each.receive(again)
        assert np.array_equal(each.mean(), mean)
    [second] = handed.server.open(replace(company.task(LENGTH, 1), shared_key=SHARED.name))
    client.receive(bytes(second))
    assert client.aggregate is None
    with pytest.raises(Misused, match="there is no sum here"):
        client.mean()


def test_a_sum_that_got_lost_is_handed_out_again_by_a_server_that_died_since(handed: HandedOut) -> None:
    server = handed.company.server()
    server.thaw(handed.server.freeze())
    assert server.done
    assert server.handed_out == handed.company.ids
    repeated = server.repeat()
    assert {who for frame in repeated for who in frame.to} == set(handed.company.ids)
    assert {bytes(frame) for frame in repeated} == {handed.total}
    with pytest.raises(Misused, match="the clients share the key"):
        server.mean()
    restarted = handed.company.client(handed.victim)
    restarted.thaw(handed.client.freeze())
    restarted.receive(handed.total)
    handed.client.receive(handed.total)
    assert np.array_equal(restarted.mean(), handed.client.mean())
    [asked_again] = handed.server.receive(handed.uploads[handed.victim], handed.victim)
    assert bytes(asked_again) == handed.total


def test_a_state_of_another_key_or_of_none_is_not_restored(handed: HandedOut) -> None:
    image = handed.client.freeze()
    for other in (None, SharedKey(seed_of("another owner"))):
        client = handed.company.client(handed.victim, shared=other)
        with pytest.raises(Misused, match="whose key the clients share"):
            client.thaw(image)


def test_whoever_gave_a_round_up_does_not_open_another_sum_of_it(handed: HandedOut) -> None:
    before = handed.client.freeze()
    lying = bent(handed.total, lambda total: replace(total, context=bytes(32)), handed.company.identity)
    with pytest.raises(ViewMismatch, match="the sum of another round"):
        handed.client.receive(lying)
    with pytest.raises(Misused, match="which has gone on in this very round"):
        handed.client.thaw(before)
    with pytest.raises(OutOfTurn):
        handed.client.receive(handed.total)
    with pytest.raises(Misused, match="there is no sum here"):
        handed.client.mean()


def test_a_sum_of_rubbish_is_none_for_anybody() -> None:
    handed = HandedOut(spoilt=3)
    for place, client in enumerate(handed.clients.values()):
        # Whose upload was replaced knows more.
        with pytest.raises(ViewMismatch if place == 3 else ImplausibleSum):
            client.receive(handed.total)
        assert client.done
        assert client.aggregate is None


def test_a_client_without_the_key_or_that_did_not_agree_refuses_the_invitation(handed: HandedOut) -> None:
    company, data = handed.company, bytes(handed.invitation)
    client = company.client(handed.victim, shared=None)
    image = client.freeze()
    with pytest.raises(PolicyViolation, match="whose key the clients share, and I share none"):
        client.receive(data)
    assert client.freeze() == image
    unwilling = replace(company.policy, modes=frozenset({Mode.THRESHOLD, Mode.SINGLE}))
    with pytest.raises(PolicyViolation, match="mode seeded, which I have not agreed to"):
        company.client(handed.victim, unwilling).receive(data)
    with pytest.raises(ViewMismatch, match="another key than the one I share"):
        company.client(handed.victim, shared=SharedKey(seed_of("another owner"))).receive(data)


def test_the_letters_of_one_protocol_do_not_open_a_round_of_another(handed: HandedOut) -> None:
    agreement, sign = handed.server.agreement, handed.company.identity.sign
    masked = replace(agreement, plan=Company(RoundPlan.recommend(CLIENTS), CLIENTS).plan, key=NOTHING)
    for letter, name in ((OpenSeeded(masked), "pairwise"), (Open(agreement), "ckks")):
        of = letter.agreement
        frame = b"".join(codec.encode(letter, SERVER, codec.task_id(of.plan.task), of.round, sign))
        with pytest.raises(Malformed, match=f"invites to '{name}' by the letter of another protocol"):
            handed.company.client(handed.victim).receive(frame)


@rows("D16")
def test_a_frame_longer_than_any_legal_one_is_refused(
    row: str, handed: HandedOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "MAX_CONTROL_BYTES", 1 << 10)
    assert len(handed.total) > 1 << 10
    most = handed.client._limit()
    assert len(handed.total) < most < 2 * len(handed.total)
    image = handed.client.freeze()
    for kind, size in ((30, most + 1), (3, most)):
        with pytest.raises(TooLarge):
            handed.client.receive(codec.Header(kind, SERVER, bytes(16), 0, size).to_bytes() + bytes(size + 64))
    assert handed.client.freeze() == image
    handed.client.receive(handed.total)
    assert handed.client.aggregate is not None
    assert handed.client._limit() == 1 << 10


def test_an_upload_longer_than_any_legal_one_is_noted(handed: HandedOut) -> None:
    server = handed.company.server()
    server.open(replace(handed.company.task(LENGTH), shared_key=SHARED.name))
    who, most = handed.victim, server._limit
    assert len(handed.uploads[who]) < most
    server.receive(codec.Header(29, who, bytes(16), 0, most + 1).to_bytes() + bytes(most + 65), who)
    server.receive(bytes(handed.invitation), SERVER)
    assert [note.error for note in server.excluded] == ["TooLarge", "OutOfTurn"]


# --- keys and pins ------------------------------------------------------------------------------------------


def test_a_server_that_is_pinned_as_who_decrypts_conflicts_with_itself() -> None:
    company = Single()
    mine = company.identity
    pinned = replace(company.policy, holders=frozenset({mine.public}))
    with pytest.raises(PolicyConflict, match="the policy pins the server as a holder"):
        company.client(company.ids[0], pinned)
    with pytest.raises(PolicyConflict, match="take the server out of `holders`"):
        Server(company.plan, company.known, mine, holders={DECRYPTOR: mine.public})
    with pytest.raises(PolicyConflict, match="take the server out of `holders`"):
        KeyMaker({DECRYPTOR: mine.public}, mine)
    with pytest.raises(PolicyConflict, match="who adds up must not be who decrypts"):
        Decryptor(DECRYPTOR, company.decryptor_policy, mine, mine.public)
    both = HolderPolicy(frozenset({mine.public, company.decryptor_identity.public}), company.known)
    with pytest.raises(PolicyConflict, match="the server is pinned as a holder"):
        Holder(DECRYPTOR, both, company.decryptor_identity, mine.public)


def test_a_client_takes_one_decryptor_only_where_it_said_so() -> None:
    company = Single()
    company.policy = replace(company.policy, modes=frozenset({Mode.THRESHOLD}))
    played = play(company, LENGTH)
    assert isinstance(played.lost, TooFewClients)
    assert {type(error) for error in played.simulation.aborted.values()} == {PolicyViolation}
    assert "mode single, which I have not agreed to" in str(played.lost)


def test_keys_are_made_by_those_who_hold_them() -> None:
    company = Single()
    agreement = company.server().agree(company.task(LENGTH))
    maker = KeyMaker(company.openers, company.identity)
    with pytest.raises(BadPlan, match="in mode seeded the clients have the key"):
        maker.open(agreement, Keys(Mode.SEEDED), 0)
    two = KeyMaker({**company.openers, PartyId(DECRYPTOR + 1): Identity.fresh().public}, company.identity)
    with pytest.raises(BadPlan, match="2 holders for a plan of 1"):
        two.open(agreement, Keys(Mode.SINGLE), 0)


def test_a_task_names_one_key_that_is_one(handed: HandedOut) -> None:
    certificate = Answering().played.simulation.server.agreement.key
    assert len(certificate) == 32
    for wrong in (b"", bytes(31), bytes(32), "name"):
        with pytest.raises(Misused, match="shared_key is the public name"):
            Task(0, LENGTH, shared_key=wrong)  # type: ignore[arg-type]
    company = Single()
    keyed = company.cohort().keyed(company.task(LENGTH))
    with pytest.raises(Misused, match="a round has one key"):
        replace(keyed, shared_key=SHARED.name)
    with pytest.raises(Misused, match="the task names no key"):
        handed.company.server().open(Task(0, LENGTH))
    masks = Company(RoundPlan.recommend(CLIENTS), CLIENTS)
    with pytest.raises(Misused, match="encrypts nothing"):
        masks.server().open(Task(0, LENGTH, shared_key=SHARED.name))


# --- folders ---------------------------------------------------------------------------------------------


def test_what_was_answered_or_opened_is_on_disk_before_it_leaves(tmp_path: Path, answering: Answering) -> None:
    company = answering.company
    fresh = company.decryptor()
    fresh.thaw(answering.decryptor.freeze())
    with DurableDecryptor(fresh, tmp_path / "d") as durable:
        assert durable.holding
        [answer] = durable.receive(answering.question)
        assert bytes(answer) == answering.answer
    with DurableDecryptor(company.decryptor(), tmp_path / "d") as durable:
        assert durable.holding
        [again] = durable.receive(answering.question)
        assert bytes(again) == answering.answer
        [certificate] = durable.resend()
        assert codec.KINDS[codec.kind_byte(certificate)].__name__ == "Certificate"
        with pytest.raises(AlreadyAnswered):
            durable.receive(answering.bent(without_the_last))
    policy = HolderPolicy(frozenset(company.openers.values()), company.known)
    with pytest.raises(WrongVersion, match="another version, role or identity"):
        DurableHolder(Holder(DECRYPTOR, policy, company.decryptor_identity, company.identity.public), tmp_path / "d")


def test_a_client_in_a_folder_finds_its_sum_again(tmp_path: Path, handed: HandedOut) -> None:
    company = handed.company
    with DurableClient(handed.client, tmp_path / "c") as durable:
        assert durable.aggregate is None
        durable.receive(handed.total)
        mean = durable.mean()
    with DurableClient(company.client(handed.victim), tmp_path / "c") as reborn:
        assert reborn.done
        assert np.array_equal(reborn.mean(), mean)
        assert reborn.metrics() == {}
    with DurableServer(handed.server, tmp_path / "s") as server:
        server.store()
    with DurableServer(company.server(), tmp_path / "s") as reborn_server:
        assert reborn_server.handed_out == company.ids
        assert {bytes(frame) for frame in reborn_server.resend()} == {handed.total}
