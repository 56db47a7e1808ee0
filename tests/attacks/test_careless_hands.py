"""What a hurried user or an eavesdropper does to a healthy client: it refuses, and its round goes on."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dp import Budget, Ledger
from protocols import codec
from protocols.errors import BadPlan, Misused, OutOfTurn, PolicyViolation, Replay, WrongUpdate
from protocols.messages import Inbox, Open, Survivors
from protocols.party import SERVER
from protocols.plan import NoisePlan, Policy, RoundPlan
from protocols.round import secure_mean
from protocols.simulate import Cohort
from secagg.graph import Assumption
from tests.attacks.villain import LENGTH, Stage, rows

UPDATES = {who: [np.full(5, 0.1 * who)] for who in range(6)}
PLAN = RoundPlan.recommend(6, dropout=0.1, corrupt=0.0)
NOISY = RoundPlan.recommend(6, dropout=0.1, corrupt=0.0, noise_multiplier=4.0, clip=0.25)


@rows("S16", "K3")
def test_a_forked_copy_of_a_client_masks_nothing(row: str) -> None:
    stage = Stage(4)
    stage.until(Inbox)
    who = stage.ids[0]
    client = stage.clients[who]
    client.receive(bytes(dict(stage.pending)[who]))
    assert client.needs_update
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            client.submit(np.zeros(LENGTH))
            os.write(writer, b"a second vector")
        except Misused:
            os.write(writer, b"refused")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 100) == b"refused"
    assert len(client.submit(np.zeros(LENGTH))) == 1


@rows("S16")
def test_two_threads_at_one_client_send_one_vector(row: str) -> None:
    stage = Stage(4)
    stage.until(Inbox)
    who = stage.ids[0]
    client = stage.clients[who]
    client.receive(bytes(dict(stage.pending)[who]))
    prepared = [client.prepare(np.full(LENGTH, value)) for value in (0.1, 0.2)]
    start, sent, refused = threading.Barrier(2), [], []

    def send(index: int) -> None:
        start.wait()
        try:
            sent.append(client.send(prepared[index]))
        except Misused as error:
            refused.append(error)

    threads = [threading.Thread(target=send, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(sent), len(refused)) == (1, 1)


@rows("S16")
def test_whoever_comes_while_another_thread_is_inside_is_refused_and_nothing_moves(row: str) -> None:
    stage = Stage(4)
    stage.until(Inbox)
    who, frame = stage.pending[0]
    client = stage.clients[who]
    client.receive(frame)
    submission, image = client.prepare(np.zeros(LENGTH)), client.freeze()
    with client._turns.one(client._party):
        for use in (
            lambda: client.receive(frame),
            lambda: client.prepare(np.zeros(LENGTH)),
            lambda: client.send(submission),
        ):
            with pytest.raises(Misused, match="two threads"):
                use()
    assert client.freeze() == image
    assert len(client.send(submission)) == 1


@rows("M13")
def test_an_overheard_inbox_changes_nothing(row: str) -> None:
    stage = Stage(4)
    inboxes = stage.until(Inbox)
    mine, theirs = stage.ids[:2]
    with stage.shrugs_off(mine, OutOfTurn):
        stage.say(mine, inboxes[theirs])
    stage.until(None)
    assert mine in stage.server.aggregate.survivors


@rows("M13")
def test_an_old_invitation_does_not_end_the_round_that_is_open(row: str) -> None:
    stage = Stage(4)
    stage.until(None)
    old = Open(stage.server.agreement)
    stage.open(round=1)
    stage.until(Survivors)
    who = stage.ids[0]
    state = stage.clients[who]._party.state
    frame = codec.encode(old, SERVER, codec.task_id(old.agreement.plan.task), 0, stage.server._identity.sign)
    with pytest.raises(Replay):
        stage.clients[who].receive(b"".join(frame))
    assert stage.clients[who]._party.state is state
    stage.until(None)
    assert who in stage.server.aggregate.survivors


@rows("M6")
def test_a_policy_refuses_weaker_security_parameters_and_too_few_colluders(row: str) -> None:
    assumed = Assumption(Fraction(1, 5), Fraction(0))
    stage = Stage(4)
    policy = Policy(stage.server.identities, assumption=assumed)
    agreement = stage.company.server().agree(stage.company.task(LENGTH, 0))
    weak = replace(agreement.plan, assumption=replace(assumed, sigma=1))
    with pytest.raises(PolicyViolation, match="allows more failure"):
        policy.check(replace(agreement, plan=weak))
    ten = RoundPlan.recommend(10, dropout=0, corrupt=0.2, noise_multiplier=4.0, min_cohort=7)
    careless = replace(ten, assumption=Assumption(Fraction(0), Fraction(0)), noise=NoisePlan(Fraction(4), 0, 24))
    with pytest.raises(PolicyViolation, match="corrupt"):
        policy.check(replace(agreement, plan=careless))


def test_clip_counts_are_not_reported_beside_noise() -> None:
    assert secure_mean(UPDATES, PLAN, round=0).clipped == 0
    assert secure_mean(UPDATES, NOISY, round=0).clipped is None


def test_a_cohort_of_another_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPlan, match="another plan"):
        secure_mean(UPDATES, NOISY, round=0, cohort=Cohort.fresh(PLAN, UPDATES))


def test_client_numbers_may_come_from_numpy_and_nothing_stranger() -> None:
    report = secure_mean({np.int64(who): update for who, update in UPDATES.items()}, PLAN, round=0)
    assert report.exact
    for key in ("0", 0.5, None, -1, 2**32):
        with pytest.raises(WrongUpdate, match="numbered"):
            secure_mean({**UPDATES, key: UPDATES[0]}, PLAN, round=0)
    with pytest.raises(WrongUpdate, match="mapping"):
        secure_mean(list(UPDATES.values()), PLAN, round=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [-1, 2**64, 1.5, "0", None, True])
def test_a_round_is_a_counter(number: object) -> None:
    with pytest.raises(Misused, match="round is"):
        secure_mean(UPDATES, PLAN, round=number)  # type: ignore[arg-type]


def test_an_interrupt_before_the_opening_gives_the_charge_back(tmp_path: Path) -> None:
    class Interrupted(RuntimeError):
        pass

    with Ledger.open(tmp_path / "run.ledger", Budget(8, Fraction(1, 10**5), "zero-out")) as ledger:
        cohort = Cohort.fresh(NOISY, UPDATES)

        def interrupt(*_: object) -> None:
            raise Interrupted

        cohort.server.receive = interrupt  # type: ignore[method-assign, assignment]
        with pytest.raises(Interrupted):
            secure_mean(UPDATES, NOISY, round=0, ledger=ledger, cohort=cohort)
        assert ledger.interval().upper == 0.0
        assert secure_mean(UPDATES, NOISY, round=0, ledger=ledger).exact
