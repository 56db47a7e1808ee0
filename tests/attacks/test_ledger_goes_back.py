"""The server puts an old copy of its ledger back, keeps two, or takes another, to spend the same budget again.

The ledgers are real files, copied while nobody has them open. Their own key signs whatever the server wants: a copy
verifies by itself. Who was there before knows better.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dp import Budget, Ledger
from dp.errors import BadParameters, Forked
from dp.ledger import Head
from dp.ledger.vouching import Known
from protocols.codec import kind_of
from protocols.countersigning import head_of
from protocols.durable import DurableClient
from protocols.endpoint import Client
from protocols.errors import LedgerRolledBack, Misused, PolicyViolation, TooFewClients
from protocols.heads import NO_LEDGER, LedgerHead
from protocols.messages import Advertise, Countersignature, Inbox, Masked, Open, Roster, Submit
from protocols.party import PartyId
from protocols.plan import ONE_SHOT, RoundPlan, context_of
from protocols.round import secure_mean
from protocols.simulate import Cohort, Simulation
from tests.attacks import hall
from tests.attacks.villain import LENGTH as VECTOR
from tests.attacks.villain import Stage, plan_of, rows
from tests.contracts.company import Company, Encrypting, Speaking
from tests.contracts.modes import Seeded, Single
from tests.protocols.exchange_kit import Framework, update_of

COMPANIES: dict[str, Callable[[], Company]] = {
    "pairwise": lambda: Company(plan_of(4), 4),
    "one-shot": lambda: Speaking(plan_of(4, protocol=ONE_SHOT), 4),
    "threshold": lambda: Encrypting(hall.encrypted_plan(), 4, holders=3),
    "single": Single,
    "seeded": Seeded,
}


class Archive:
    """A server's ledger in a folder, and copies of that folder."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.now = "run"

    def head(self, *said: str) -> LedgerHead:
        """After saying so much more."""
        with self.opened() as book:
            for text in said:
                book.note(text)
            assert book.verify().ok
            return head_of(book)

    def opened(self) -> Ledger:
        return Ledger.open(self.base / self.now / "run.ledger", Budget(epsilon=50, delta=1e-5, relation="zero-out"))

    def copy(self, name: str) -> None:
        shutil.copytree(self.base / self.now, self.base / name)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


class Town:
    """Everybody of one company over many rounds."""

    def __init__(self, protocol: str) -> None:
        self.company = COMPANIES[protocol]()
        self.cohort: Cohort = self.company.cohort()
        self.round = 0

    def play(self, head: LedgerHead) -> Simulation:
        def train(who: PartyId, client: Client) -> Submit:
            return client.prepare(np.full(VECTOR, 0.125))

        self.company.head = head
        self.round += 1
        self.last = Simulation(self.cohort, train)
        self.last.run(replace(self.company.task(VECTOR, self.round), nonce=self.round.to_bytes(16, "little")))
        return self.last

    def refuse(self, head: LedgerHead, match: str) -> None:
        """Every client does, by name, before anything of it leaves; the round is lost and says why."""
        before = {who: client.live.freeze() for who, client in self.cohort.clients.items()}  # type: ignore[attr-defined]
        said = {who: len(client.emitted) for who, client in self.cohort.clients.items()}  # type: ignore[attr-defined]
        with pytest.raises(TooFewClients, match=match):
            self.play(head)
        assert {who: type(error) for who, error in self.last.aborted.items()} == dict.fromkeys(
            self.company.ids, LedgerRolledBack
        )
        for who, client in self.cohort.clients.items():
            assert len(client.emitted) == said[who]  # type: ignore[attr-defined]
            assert client.live.freeze() == before[who]  # type: ignore[attr-defined]


each_protocol = pytest.mark.parametrize("protocol", COMPANIES)


# --- in every protocol


@rows("M26", "L3")
@each_protocol
def test_a_ledger_that_was_put_back_is_refused_and_the_right_one_is_not(
    row: str, protocol: str, archive: Archive
) -> None:
    town = Town(protocol)
    archive.head()
    archive.copy("old")
    assert town.play(archive.head("a round was charged")).exact
    archive.now = "old"
    town.refuse(archive.head(), "ends at entry 1 and went on to 2 before")
    archive.now = "run"
    assert town.play(archive.head("another")).exact


@rows("M26", "L3")
@each_protocol
def test_a_ledger_that_is_put_back_to_the_same_entry_after_each_round_is_refused(
    row: str, protocol: str, archive: Archive
) -> None:
    """Against the cheapest way: every round is charged to one copy, and none is left of the charge before."""
    town = Town(protocol)
    head = archive.head()
    assert town.play(head).exact
    town.refuse(head, "still ends at entry 1")


@rows("M26")
@each_protocol
def test_a_ledger_that_forked_is_refused(row: str, protocol: str, archive: Archive) -> None:
    town = Town(protocol)
    archive.head()
    archive.copy("twin")
    assert town.play(archive.head("a round was charged")).exact
    archive.now = "twin"
    town.refuse(archive.head("nothing was"), "another entry 2")


@rows("M26")
@each_protocol
def test_another_ledger_or_none_is_refused_for_the_same_task(row: str, protocol: str, archive: Archive) -> None:
    town = Town(protocol)
    assert town.play(archive.head("a round was charged")).exact
    archive.now = "fresh"
    town.refuse(archive.head("it begins", "and is", "longer"), "now charges it to")
    town.refuse(NO_LEDGER, "now charges it to none")


# --- what an auditor has who was not there


@rows("M26")
def test_a_fork_that_is_longer_is_contradicted_by_what_clients_signed_of_the_other(row: str, archive: Archive) -> None:
    """No client can tell: it was never shown what lies between two heads. Its signature can."""
    town = Town("pairwise")
    archive.head()
    archive.copy("twin")
    shown = archive.head("a round was charged")
    signed = dict(town.play(shown).server.countersignatures)
    archive.now = "twin"
    assert town.play(archive.head("nothing was", "nor was")).exact
    with Ledger.read(archive.base / "twin" / "run.ledger") as twin:
        assert twin.verify().ok
        [entry] = [entry for entry in twin.entries() if entry.seq == shown.seq]
        assert entry.hash != shown.hash
    statement = b"secagg/v1/ledger/witness" + shown.ledger_id + shown.seq.to_bytes(8, "little") + shown.hash
    assert len(signed) == 4
    for public, signature in signed.items():
        Ed25519PublicKey.from_public_bytes(public).verify(signature, statement)


# --- when it is remembered


HEAD = LedgerHead(b"\7" * 16, 9, b"\1" * 32)
BACK = [
    pytest.param(replace(HEAD, seq=8), "went on to 9", id="cut"),
    pytest.param(HEAD, "still ends at entry 9", id="not charged"),
    pytest.param(replace(HEAD, hash=b"\2" * 32), "another entry 9", id="forked"),
    pytest.param(replace(HEAD, ledger_id=b"\6" * 16, seq=10), "now charges it", id="another"),
    pytest.param(NO_LEDGER, "to none", id="none"),
]
each_way_back = pytest.mark.parametrize(("head", "match"), BACK)


def staged(head: LedgerHead = HEAD) -> Stage:
    stage = Stage(4)
    stage.company.head = head
    return stage


def invitation(stage: Stage, round: int, **changes: Any) -> Open:
    stage.round = round
    return Open(replace(stage.server.agreement, round=round, nonce=round.to_bytes(16, "little"), **changes))


@rows("M26")
@each_way_back
def test_what_was_accepted_counts_though_no_vector_left(row: str, head: LedgerHead, match: str) -> None:
    stage = staged()
    stage.until(Roster)
    for who in stage.ids:
        with stage.shrugs_off(who, LedgerRolledBack, match=match):
            stage.say(who, invitation(stage, 1, ledger_head=head))
    # The round that is open is not given up for it.
    stage.round = 0
    stage.until(None)
    assert stage.server.aggregate is not None
    assert stage.server.aggregate.survivors == stage.ids


@rows("M26")
def test_the_head_of_a_round_that_the_policy_refuses_is_not_remembered(row: str) -> None:
    stage = staged()
    stage.open()
    who = stage.ids[0]
    weak = replace(stage.server.agreement.plan, clip=stage.company.policy.max_clip + 1)
    with stage.refuses(who, PolicyViolation):
        stage.say(who, invitation(stage, 1, plan=weak, ledger_head=replace(HEAD, seq=20)))
    [letter] = stage.say(who, invitation(stage, 2, ledger_head=replace(HEAD, seq=10)))
    assert isinstance(letter, Advertise)


@rows("M26")
def test_one_ledger_under_two_names_of_tasks_is_one_ledger(row: str) -> None:
    stage = staged()
    stage.until(None)
    other = replace(stage.company.plan, task="another")
    stage.company.plan = other
    who = stage.ids[0]
    with stage.shrugs_off(who, LedgerRolledBack, match="went on to 9"):
        stage.say(who, invitation(stage, 0, plan=other, ledger_head=replace(HEAD, seq=3)))
    [letter] = stage.say(who, invitation(stage, 1, plan=other, ledger_head=replace(HEAD, seq=10, hash=b"\3" * 32)))
    assert isinstance(letter, Advertise)


@rows("M26")
def test_a_client_that_knows_more_takes_no_older_image(row: str) -> None:
    stage = staged()
    stage.until(Roster)
    who = stage.ids[0]
    older = stage.clients[who].freeze()
    [_] = stage.say(who, invitation(stage, 1, ledger_head=replace(HEAD, seq=11, hash=b"\3" * 32)))
    with pytest.raises(Misused, match="it was shown more of a ledger"):
        stage.clients[who].thaw(older)


# --- a client that lives in a folder, and dies in between


class Folk:
    """A durable client, and the process that plays it next."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage, self.folder, self.who = stage, folder, stage.ids[0]
        self.client = DurableClient(stage.clients[self.who], folder)
        self.take()

    def take(self) -> None:
        self.stage.clients[self.who] = self.client  # type: ignore[assignment]

    def dies(self) -> None:
        self.client.close()
        self.client = DurableClient(self.stage.company.client(self.who), self.folder)
        self.take()


@pytest.fixture
def folk(tmp_path: Path) -> Iterator[Folk]:
    made = Folk(staged(), tmp_path / "client")
    yield made
    made.client.close()


@rows("M26", "S16")
@each_way_back
@pytest.mark.parametrize("until", [Roster, None], ids=["before its vector", "after the round"])
def test_a_restart_forgets_no_head(row: str, until: Any, head: LedgerHead, match: str, folk: Folk) -> None:
    stage = folk.stage
    stage.until(until)
    for number in (1, 2):
        folk.dies()
        image = folk.client._client.freeze()
        with pytest.raises(LedgerRolledBack, match=match):
            stage.say(folk.who, invitation(stage, number, ledger_head=head))
        # A refusal is stored too, and changes nothing.
        assert folk.client._client.freeze() == image
    folk.dies()
    later = replace(HEAD, seq=10, hash=b"\3" * 32)
    [letter] = stage.say(folk.who, invitation(stage, 3, ledger_head=later))
    assert isinstance(letter, Advertise)
    assert letter.context == context_of(replace(invitation(stage, 3, ledger_head=later).agreement))


@rows("M26", "S4")
def test_a_client_that_dies_after_it_vouched_says_the_same_bytes_again(row: str, folk: Folk) -> None:
    stage = folk.stage
    stage.until(Inbox)
    [asked] = [frame for who, frame in stage.pending if who == folk.who]
    folk.client.receive(asked)
    said = [bytes(frame) for frame in folk.client.submit(np.zeros(VECTOR))]
    assert [kind_of(frame) for frame in said] == [Countersignature, Masked]
    folk.dies()
    assert [bytes(frame) for frame in folk.client.resend()] == said
    for frame in (*said, *said):
        stage.server.receive(frame, folk.who)
    assert stage.server.countersignatures.keys() == {stage.company.known[folk.who]}
    assert stage.server.excluded == []


# --- over a framework, and in one call


def plan_over(protocol: str) -> RoundPlan:
    return RoundPlan.recommend(
        8, dropout=0.25, corrupt=0, clip=1.0, protocol=protocol, task="exchanged", min_cohort=3, noise_multiplier=1.0
    )


@rows("M26", "L3")
def test_sites_of_a_framework_refuse_it_and_nothing_is_charged(row: str, archive: Archive) -> None:
    archive.head()
    archive.copy("old")
    with archive.opened() as ledger:
        framework = Framework.made(archive.base / "homes", plan_over(ONE_SHOT), 8, ledger)
        assert framework.round(update_of).survivors == tuple(range(8))
    archive.now = "old"
    with archive.opened() as ledger:
        framework.exchanges.ledger = ledger
        with pytest.raises(TooFewClients):
            framework.round(update_of)
        assert framework.refusals == dict.fromkeys(range(8), "LedgerRolledBack")
        assert ledger.interval().upper == 0
    archive.now = "run"
    with archive.opened() as ledger:
        framework.exchanges.ledger = ledger
        assert framework.round(update_of).survivors == tuple(range(8))


@rows("M26", "L3")
@pytest.mark.parametrize("protocol", ["pairwise", "oneshot", "ckks"])
def test_what_sites_countersigned_lies_in_the_ledger_and_vouches_to_whoever_knows_their_keys(
    row: str, protocol: str, archive: Archive
) -> None:
    first = archive.head()
    archive.copy("twin")
    with archive.opened() as ledger:
        framework = Framework.made(archive.base / "homes", plan_over(protocol), 8, ledger)
        framework.round(update_of)
        shown = head_of(ledger)
        assert framework.round(update_of).excluded == {}
        parties = frozenset(framework.exchanges.roster.clients.values())
        verdict = ledger.verify(Known(parties=parties))
        assert (verdict.ok, verdict.witnesses, verdict.vouched) == (True, 16, shown.seq)
        assert ledger.verify(Known(parties=frozenset({bytes(32)}))).vouched is None
        kept = list(ledger._log.store.witnesses())
    assert {witness.seq for witness in kept} == {first.seq, shown.seq}
    # Another past is contradicted by whoever of them is asked, one signature being enough.
    archive.now = "twin"
    archive.head(*map(str, range(20)))
    told = next(witness for witness in kept if witness.seq == shown.seq)
    with archive.opened() as twin:
        assert twin.verify().ok
        with pytest.raises(BadParameters):
            twin.witness(Head(shown.seq, twin._log.entry(shown.seq).hash, b""), told.party, told.signature)
        with pytest.raises(Forked, match="another entry"):
            twin.witness(Head(shown.seq, shown.hash, b""), told.party, told.signature)


@rows("M26", "L3")
def test_so_do_the_clients_of_a_round_in_one_process(row: str, archive: Archive) -> None:
    plan = RoundPlan.recommend(5, dropout=0.2, corrupt=0, noise_multiplier=2.0, min_cohort=4)
    updates, cohort = {who: [np.full(3, 0.1)] for who in range(5)}, Cohort.fresh(plan, range(5))
    archive.head()
    archive.copy("old")
    with archive.opened() as ledger:
        assert secure_mean(updates, plan, round=0, ledger=ledger, cohort=cohort).survivors == tuple(range(5))
    archive.now = "old"
    with archive.opened() as ledger:
        with pytest.raises(TooFewClients, match="still ends at entry 1"):
            secure_mean(updates, plan, round=2, ledger=ledger, cohort=cohort)
        assert ledger.interval().upper == 0
