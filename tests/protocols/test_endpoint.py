"""Endpoints: bytes in, bytes out; repeated frames, wrong calls, spent rounds, and images that come back whole."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import codec, wire
from protocols.codec import kind_of
from protocols.endpoint import CLIENT_STATES, IMAGE_VERSION, NOBODY, SERVER_STATES, Client, Server, Task
from protocols.errors import (
    BadPlan,
    Malformed,
    Misbehaved,
    Misused,
    OutOfTurn,
    RoundLost,
    TooFewClients,
    ViewMismatch,
    WrongUpdate,
)
from protocols.messages import (
    Advertise,
    Inbox,
    Masked,
    Open,
    Roster,
    Submit,
    Survivors,
    Unmask,
    Witness,
    Witnesses,
)
from protocols.pairwise import server as pairwise_server
from protocols.party import SERVER, Failed, PartyId, Wait
from protocols.plan import NoisePlan, Policy, Promise
from secagg.errors import BadParameters, NonFinite
from secagg.keys import Identity, Seed
from tests.attacks.villain import LENGTH, Stage, plan_of
from tests.contracts.company import Company
from tests.rows import rows

ZEROS = np.zeros(LENGTH)


def asked(stage: Stage) -> Client:
    """A client that has been asked for its update."""
    stage.until(Inbox)
    who, frame = stage.pending[0]
    assert stage.clients[who].receive(frame) == []
    assert stage.clients[who].needs_update
    return stage.clients[who]


# --- a client's life


def test_a_client_waits_trains_and_is_done() -> None:
    stage = Stage(4)
    client = stage.clients[stage.ids[0]]
    assert (client.needs_update, client.done) == (False, True)
    stage.until(Inbox)
    assert (client.needs_update, client.done) == (False, False)
    client.receive(stage.pending[0][1])
    assert (client.needs_update, client.done) == (True, False)
    client.submit(ZEROS)
    assert (client.needs_update, client.done) == (False, False)


def test_the_offer_is_what_the_server_agreed_to() -> None:
    stage = Stage(4)
    client = asked(stage)
    assert client.offer == stage.server.agreement
    assert client.offer.length == LENGTH
    with pytest.raises(Misused, match="no round is open"):
        assert stage.company.client(stage.ids[0]).offer


@pytest.mark.parametrize("promise", Promise, ids=lambda promise: promise.value)
def test_a_clients_letters_in_order(promise: Promise) -> None:
    stage = Stage(4, promise)
    stage.until(None)
    said = [kind for who, kind in stage.heard if who == stage.ids[0]]
    assert [kind.__name__ for kind in said] == [
        "Advertise",
        "Shares",
        "Masked",
        *(["Witness"] if promise is Promise.ACTIVE else []),
        "Unmask",
    ]


def test_the_mean_is_the_weighted_mean_of_the_clipped_updates_up_to_half_a_step_each() -> None:
    stage = Stage(5)
    stage.until(None)
    clip = float(stage.company.plan.clip)
    true_mean = np.mean([np.clip(stage.update(who), -clip, clip) for who in stage.ids], axis=0)
    assert np.max(np.abs(stage.server.mean() - true_mean)) <= stage.company.plan.encoding.step
    assert stage.server.aggregate.weight_sum == 2 * 5
    assert stage.clients[stage.ids[0]].clipped == np.count_nonzero(np.abs(stage.update(stage.ids[0])) > clip)


# --- wrong updates change nothing


@rows("C4", "C6")
@pytest.mark.parametrize(
    ("update", "weight", "error"),
    [
        (np.zeros(LENGTH - 1), 1, WrongUpdate),
        (np.zeros(LENGTH + 1), 1, WrongUpdate),
        (np.zeros(1), 1, WrongUpdate),
        (np.zeros(0), 1, WrongUpdate),
        (np.array(1.0), 1, WrongUpdate),
        (np.zeros((LENGTH, 1)), 1, WrongUpdate),
        (np.zeros(LENGTH, np.int64), 1, BadParameters),
        (np.full(LENGTH, np.nan), 1, NonFinite),
        (np.full(LENGTH, np.inf), 1, NonFinite),
        (ZEROS, 0, BadParameters),
        (ZEROS, -1, BadParameters),
        (ZEROS, 9, BadParameters),
        (ZEROS, 1.5, BadParameters),
    ],
)
def test_an_update_that_does_not_fit_is_the_callers_and_another_may_follow(
    row: str, update: np.ndarray[Any, Any], weight: int, error: type[Exception]
) -> None:
    stage = Stage(4)
    client = asked(stage)
    image = client.freeze()
    with pytest.raises(error):
        client.submit(update, weight=weight)
    assert client.freeze() == image
    assert client.needs_update
    assert kind_of(client.submit(ZEROS)[0]) is Masked


@rows("C2", "C6")
@pytest.mark.parametrize(
    "submission",
    [
        Submit(np.zeros(LENGTH - 1, np.uint32)),
        Submit(np.zeros((LENGTH, 1), np.uint32)),
        Submit(np.zeros(LENGTH, np.uint64)),
        Submit(np.zeros(LENGTH)),
        Submit(np.zeros(LENGTH, np.uint32), 0),
        Submit(np.zeros(LENGTH, np.uint32), 9),
    ],
)
def test_a_prepared_vector_of_another_shape_word_or_weight_is_refused(row: str, submission: Submit) -> None:
    client = asked(Stage(4))
    image = client.freeze()
    with pytest.raises(WrongUpdate):
        client.send(submission)
    assert client.freeze() == image


def test_an_update_nobody_asked_for_is_misuse() -> None:
    stage = Stage(4)
    for kind in (Roster, Inbox, Survivors, Witnesses):
        stage.until(kind)
        client = stage.clients[stage.ids[0]]
        image = client.freeze()
        for call in (client.submit, client.prepare):
            with pytest.raises(Misused, match="no update is asked for"):
                call(ZEROS)
        with pytest.raises(Misused):
            client.send(Submit(np.zeros(LENGTH, np.uint32)))
        assert client.freeze() == image


@rows("M19")
def test_a_round_about_one_model_takes_no_update_of_another(row: str) -> None:
    stage = Stage(4)
    model = b"\x09" * 32
    agreement = replace(stage.server.agree(stage.company.task(LENGTH)), model=model)
    stage.server.agree = lambda task: agreement  # type: ignore[method-assign]
    client = asked(stage)
    with pytest.raises(WrongUpdate, match="submit the digest"):
        client.submit(ZEROS)
    assert client.needs_update
    with stage.refuses(stage.ids[0], ViewMismatch):
        client.submit(ZEROS, model=b"\x08" * 32)
    other = stage.clients[stage.ids[1]]
    other.receive(stage.pending[1][1])
    assert kind_of(other.submit(ZEROS, model=model)[0]) is Masked


# --- repeated and stale frames


def test_every_server_frame_repeated_gets_the_stored_answer() -> None:
    stage = Stage(4)
    for kind, answer in ((Open, Advertise), (Roster, None), (Inbox, Masked), (Survivors, Witness), (Witnesses, Unmask)):
        stage.until(kind) if kind is not Open else stage.open()
        frames = dict(stage.pending)
        stage.hand(stage.answers())
        for who, frame in frames.items():
            again = stage.clients[who].receive(frame)
            if answer is not None:
                assert [bytes(reply) for reply in again] == [stage.frames[who, answer]]


def test_what_was_delivered_is_neither_kept_nor_said_again() -> None:
    stage = Stage(4)
    stage.until(Inbox)
    who, frame = stage.ids[0], dict(stage.pending)[stage.ids[0]]
    stage.answers()
    client = stage.clients[who]
    vector, kept = len(client.repeat()[0]), len(client.freeze())
    client.delivered()
    assert client.repeat() == client.receive(frame) == []
    assert len(client.freeze()) <= kept - vector


@rows("C12")
def test_a_repeated_client_frame_is_counted_once_and_answered_by_silence_while_the_room_is_open(row: str) -> None:
    stage = Stage(4)
    stage.until(Inbox)
    replies = stage.answers()
    who = stage.ids[0]
    stage.hand({who: replies[who]})
    image = stage.server.freeze()
    assert stage.server.receive(replies[who], who) == []
    assert stage.server.freeze() == image
    assert stage.server.excluded == []


@rows("C12")
def test_without_the_memory_of_frames_a_repetition_is_a_second_word_and_gets_no_answer(row: str) -> None:
    stage = Stage(4)
    stage.until(Inbox)
    replies = stage.answers()
    who = stage.ids[0]
    stage.hand({who: replies[who]})
    stage.server._answered.clear()
    assert stage.server.receive(replies[who], who) == []
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(who, "Duplicate")]
    stage.hand({other: replies[other] for other in stage.ids[1:]})
    stage.server._answered.clear()
    assert stage.server.receive(replies[who], who) == []


@rows("C12")
@pytest.mark.parametrize("restarted", ["alive", "restarted"])
def test_a_client_that_repeats_itself_gets_the_frame_it_lost_in_the_same_bytes(row: str, restarted: str) -> None:
    stage = Stage(4)
    stage.until(Inbox)
    replies = stage.answers()
    stage.hand(replies)
    who = stage.ids[0]
    lost = dict(stage.pending)[who]
    server = stage.server
    if restarted == "restarted":
        server = stage.company.server()
        server.thaw(stage.server.freeze())
    (again,) = server.receive(replies[who], who)
    assert (again.to, bytes(again)) == ((who,), bytes(lost))
    # Once it has answered, a repetition is silence again: the two ends cannot echo each other for ever.
    (answer,) = stage.clients[who].receive(bytes(again))
    server.receive(bytes(answer), who)
    assert server.receive(bytes(answer), who) == []


def test_the_image_of_a_closed_server_still_holds_the_sum() -> None:
    stage = Stage(4)
    stage.until(None)
    again = stage.company.server()
    again.thaw(stage.server.freeze())
    assert again.done
    assert again.aggregate is not None
    assert again.aggregate.survivors == stage.server.aggregate.survivors
    assert np.array_equal(again.mean(), stage.server.mean())


def test_two_clients_under_one_identity_are_refused_by_the_server() -> None:
    stage = Stage(4)
    key = stage.server.identities[stage.ids[0]]
    with pytest.raises(Misused, match="identity"):
        Server(stage.company.plan, dict.fromkeys(stage.ids, key), Identity.fresh())


@rows("C15")
def test_a_client_frame_of_an_earlier_exchange_is_out_of_turn(row: str) -> None:
    stage = Stage(4)
    stage.until(Inbox)
    who = stage.ids[0]
    image = stage.server._party.state
    assert stage.server.receive(stage.frames[who, Advertise], who) == []
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(who, "OutOfTurn")]
    assert stage.server._party.state is image


def test_a_frame_before_any_round_or_of_another_one_is_excluded_not_raised() -> None:
    stage = Stage(4)
    stage.until(None)
    who = stage.ids[0]
    quiet = stage.company.server()
    assert quiet.receive(stage.frames[who, Advertise], who) == []
    assert [(note.peer, note.error) for note in quiet.excluded] == [(who, "OutOfTurn")]
    stage.open(round=1)
    assert stage.server.receive(stage.frames[who, Masked], who) == []
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(who, "OutOfTurn")]


@pytest.mark.parametrize("size", [0, 1, 39, 40, 103])
def test_bytes_that_are_no_frame_are_malformed_and_name_whom_the_transport_knows(size: int) -> None:
    stage = Stage(4)
    stage.open()
    assert stage.server.receive(bytes(size)) == []
    assert stage.server.receive(bytes(size), stage.ids[0]) == []
    assert [(n.peer, n.error) for n in stage.server.excluded] == [(NOBODY, "Malformed"), (stage.ids[0], "Malformed")]
    with pytest.raises(Malformed):
        stage.clients[stage.ids[0]].receive(bytes(size))


def test_a_frame_larger_than_any_letter_of_the_round_is_refused_unread() -> None:
    stage = Stage(4)
    stage.open()
    header = codec.Header(6, stage.ids[0], stage.attempt, 0, 1 << 30).to_bytes()
    assert stage.server.receive(header + bytes(64), stage.ids[0]) == []
    assert [(note.peer, note.error) for note in stage.server.excluded] == [(stage.ids[0], "TooLarge")]


@rows("M14")
def test_the_frame_and_the_agreement_inside_it_must_name_one_round(row: str) -> None:
    stage = Stage(4)
    stage.open()
    who = stage.ids[0]
    frame = stage.framed(SERVER, Open(stage.server.agreement), round=5)
    with pytest.raises(Malformed, match="different rounds"):
        stage.clients[who].receive(frame)
    other = replace(stage.server.agreement, plan=replace(stage.company.plan, task="other"))
    with pytest.raises(Malformed, match="different rounds"):
        stage.clients[who].receive(stage.framed(SERVER, Open(other)))


def test_the_last_round_number_there_is_can_be_spent_and_stored() -> None:
    stage = Stage(4)
    stage.open(round=2**64 - 1)
    stage.until(None)
    client = stage.clients[stage.ids[0]]
    restored = stage.company.client(stage.ids[0])
    restored.thaw(client.freeze())
    assert restored.freeze() == client.freeze()


# --- the server's life


@rows("D14")
def test_rooms_open_in_order_and_their_deadlines_close_only_themselves(row: str) -> None:
    stage = Stage(4)
    stage.open()
    waits = []
    for kind in (Roster, Inbox, Survivors, Witnesses):
        waits.append(stage.server.wait)
        image = stage.server.freeze()
        for room in ("Gathering", "Relaying", "Summing", "Witnessing", "Unmasking", "NoSuchRoom"):
            if room != stage.server.wait.room:
                assert stage.server.deadline(room) == []
        assert stage.server.freeze() == image
        stage.until(kind)
    assert [wait.room for wait in waits] == ["Gathering", "Relaying", "Summing", "Witnessing"]
    assert stage.server.wait == Wait("Unmasking", stage.company.plan.patience_seconds)
    stage.until(None)
    assert stage.server.wait is None
    assert stage.server.deadline("Unmasking") == []
    assert stage.server.done


@rows("M11", "D24")
@pytest.mark.parametrize(
    ("invited", "named"),
    [((), "0 clients are invited"), ((1, 4), "2 clients are invited"), ((1, 4, 999), r"clients \[999\] are invited")],
)
def test_an_invitation_that_does_not_fit_is_misuse_and_opens_nothing(
    row: str, invited: tuple[int, ...], named: str
) -> None:
    server = Stage(4).server
    with pytest.raises(Misused, match=named):
        server.open(Task(0, LENGTH), tuple(map(PartyId, invited)))
    with pytest.raises(Misused, match="no round is open"):
        assert server.agreement


def test_noise_that_cannot_be_made_is_the_planners_fault_and_opens_nothing() -> None:
    stage = Stage(4)
    stage.company.plan = replace(stage.company.plan, max_weight=1, noise=NoisePlan(Fraction(1 << 30), 0, 8))
    server = stage.company.server()
    with pytest.raises(BadPlan, match="smallest modulus_bits that would do"):
        server.open(Task(0, LENGTH))
    with pytest.raises(Misused, match="no round is open"):
        assert server.agreement


def test_there_is_no_mean_before_the_end() -> None:
    stage = Stage(4)
    stage.until(Witnesses)
    with pytest.raises(Misused, match="not ended in a sum"):
        stage.server.mean()


def test_a_new_round_forgets_the_last_one() -> None:
    stage = Stage(4)
    stage.until(None)
    stage.server.receive(b"", stage.ids[0])
    assert stage.server.aggregate is not None
    assert stage.server.excluded
    stage.open(round=1)
    assert stage.server.aggregate is None
    assert stage.server.excluded == []
    assert not stage.server.done
    stage.until(None)
    assert stage.server.aggregate.total.tolist() == stage.encoded(stage.ids)


def test_two_attempts_at_a_round_differ_by_a_nonce_of_the_operating_system() -> None:
    one, two = Task(0, LENGTH), Task(0, LENGTH)
    assert len(one.nonce) == 16
    assert one.nonce != two.nonce


def test_opening_is_known_before_the_frames_that_ask_for_shares_leave() -> None:
    for promise in Promise:
        stage = Stage(4, promise)
        stage.until(Survivors)
        assert stage.server.opening is (promise is Promise.CURIOUS)
        stage.until(None)
        assert stage.server.opening


# --- whom an endpoint is


def test_a_client_must_be_one_of_those_its_policy_pins() -> None:
    stage = Stage(4)
    stranger = Identity.from_seed(Seed(bytes(32)))
    with pytest.raises(Misused, match="pins at least its own key"):
        Client(stage.company.policy, stranger, stage.company.identity.public)
    known = Client(stage.company.policy, stage.company.identities[stage.ids[2]], stage.company.identity.public)
    assert known.me == stage.ids[2]


@rows("K3")
def test_a_client_of_the_operating_system_never_repeats_a_key(row: str) -> None:
    stage = Stage(4)
    stage.open()
    who, frame = stage.pending[0]
    letters = []
    for _ in range(2):
        client = Client(stage.company.policy, stage.company.identities[who], stage.company.identity.public)
        assert not client.deterministic
        letters.append(stage.decoded(bytes(client.receive(frame)[0])))
    assert letters[0].context == letters[1].context
    assert {letters[0].box_key, letters[0].mask_key}.isdisjoint({letters[1].box_key, letters[1].mask_key})


# --- images


def images(promise: Promise) -> list[tuple[Stage, PartyId, bytes, bytes]]:
    found = []
    for kind in (Roster, Inbox, Survivors, Witnesses, None):
        if promise is Promise.CURIOUS and kind is Witnesses:
            continue
        stage = Stage(4, promise)
        stage.until(kind)
        who = stage.ids[0]
        found.append((stage, who, stage.clients[who].freeze(), stage.server.freeze()))
    return found


IMAGES = images(Promise.ACTIVE)


def test_images_come_back_and_go_on_to_the_same_sum() -> None:
    for kind in (Roster, Inbox, Survivors, Witnesses):
        stage, twin = Stage(4), Stage(4)
        stage.until(kind)
        twin.until(None)
        server = stage.company.server()
        server.thaw(stage.server.freeze())
        assert server.wait == stage.server.wait
        stage.server = server
        for who in stage.ids:
            restored = stage.company.client(who)
            restored.thaw(stage.clients[who].freeze())
            stage.clients[who] = restored
        stage.until(None)
        assert stage.server.aggregate.total.tolist() == twin.server.aggregate.total.tolist()


def test_a_failed_endpoint_can_be_stored_and_stays_failed() -> None:
    stage = Stage(4)
    letters = stage.until(Roster)
    who = stage.ids[0]
    with stage.refuses(who, ViewMismatch):
        stage.say(who, replace(letters[who], context=bytes(32)))
    restored = stage.company.client(who)
    restored.thaw(stage.clients[who].freeze())
    assert restored.done
    assert restored._party.state == stage.clients[who]._party.state
    with pytest.raises(OutOfTurn):
        restored.receive(stage.pending[0][1])

    silent = Stage(4)
    silent.open()
    with pytest.raises(TooFewClients):
        silent.until(None, silent=silent.ids)
    server = silent.company.server()
    server.thaw(silent.server.freeze())
    assert server.done
    assert isinstance(server._party.state, Failed)


@pytest.mark.parametrize("index", range(len(IMAGES)))
def test_an_image_cut_anywhere_is_refused_as_misuse(index: int) -> None:
    stage, who, of_client, of_server = IMAGES[index]
    for endpoint, image in ((stage.company.client(who), of_client), (stage.company.server(), of_server)):
        for size in range(0, len(image), max(1, len(image) // 100)):
            with pytest.raises(Misused, match="no frozen"):
                endpoint.thaw(image[:size])


@given(st.data())
def test_a_mutated_image_is_refused_as_misuse_or_is_another_image(data: st.DataObject) -> None:
    stage, who, of_client, of_server = IMAGES[data.draw(st.integers(0, len(IMAGES) - 1))]
    side = data.draw(st.sampled_from(["client", "server"]))
    endpoint: Client | Server = stage.company.client(who) if side == "client" else stage.company.server()
    image = bytearray(of_client if side == "client" else of_server)
    place = data.draw(st.integers(0, min(len(image) - 1, 700)))
    image[place] ^= data.draw(st.integers(1, 255))
    try:
        endpoint.thaw(bytes(image))
    except Misused:
        return
    assert endpoint.freeze() == image


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        (IMAGE_VERSION - 1, 0),
        (IMAGE_VERSION + 1, 0),
        (IMAGE_VERSION, max(len(CLIENT_STATES), len(SERVER_STATES))),
        (IMAGE_VERSION, 255),
    ],
)
def test_another_version_or_an_unknown_state_is_refused(version: int, kind: int) -> None:
    stage, who, of_client, of_server = IMAGES[-1]
    assert of_client[0] == of_server[0] == IMAGE_VERSION
    image = bytearray(of_server)
    image[0] = version
    # The kind stands before the state, which is empty once the round is closed.
    image[-9] = kind
    with pytest.raises(Misused, match="image version"):
        stage.company.server().thaw(bytes(image))
    image = bytearray(of_client)
    # Of a client that is done the context is left, behind the length of the state and its kind.
    image[0], image[-9 - 32] = version, kind
    with pytest.raises(Misused, match="image version"):
        stage.company.client(who).thaw(bytes(image))


def test_a_server_image_is_no_client_image() -> None:
    stage, who, of_client, of_server = IMAGES[1]
    with pytest.raises(Misused):
        stage.company.client(who).thaw(of_server)
    with pytest.raises(Misused):
        stage.company.server().thaw(of_client)


def test_a_server_keeps_one_vector_whatever_the_number_of_clients() -> None:
    sizes = {}
    for clients in (4, 8):
        stage = Stage(clients)
        stage.until(Survivors)
        summing = stage.server._party.state.summed
        assert isinstance(summing, pairwise_server.Summing)
        sizes[clients] = summing.total.nbytes + summing.extras.nbytes
    assert sizes[4] == sizes[8]


def test_a_policy_is_kept_by_the_endpoint_not_taken_from_the_image() -> None:
    stage, who, of_client, _ = IMAGES[0]
    stricter = Policy(stage.company.known, min_cohort=4)
    client = stage.company.client(who, stricter)
    client.thaw(of_client)
    assert client.policy.min_cohort == 4


# --- foreign bytes under a true signature


def letters(promise: Promise) -> list[tuple[Stage, PartyId, type, bytes, bytes, bytes, bytes]]:
    """Before each exchange: the server's letter, the client it is for, its answer, and both images."""
    found = []
    for kind in (Open, Roster, Inbox, Survivors, Witnesses):
        if promise is Promise.CURIOUS and kind is Witnesses:
            continue
        stage = Stage(4, promise)
        said = stage.until(kind)
        who = stage.ids[0]
        images = stage.clients[who].freeze(), stage.server.freeze()
        answer = stage.answers()[who]
        found.append((stage, who, kind, wire.encode(said[who]), answer[40:-64], *images))
    return found


LETTERS = [case for promise in Promise for case in letters(promise)]


def mutated(data: st.DataObject, body: bytes) -> bytes:
    bent = bytearray(body)
    place = data.draw(st.integers(0, len(body) - 1))
    how = data.draw(st.sampled_from(["flip", "length", "insert", "delete"]))
    if how == "flip":
        bent[place] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "length":
        bent[place : place + 8] = data.draw(st.sampled_from([0, 1, 2**31, 2**63])).to_bytes(8, "little")
    elif how == "insert":
        bent[place:place] = data.draw(st.binary(min_size=1, max_size=9))
    else:
        del bent[place : place + data.draw(st.integers(1, 9))]
    return bytes(bent)


def signed(stage: Stage, sender: PartyId, kind: int, body: bytes) -> bytes:
    identity = stage.company.identity if sender == SERVER else stage.signers[sender].identity
    header = codec.Header(kind, sender, stage.attempt, 0, len(body)).to_bytes()
    return header + body + identity.sign(codec._signed_text(header, [body]))


@given(st.data())
def test_a_client_meets_a_mutated_letter_with_a_named_error_or_goes_on_and_can_be_stored(data: st.DataObject) -> None:
    stage, who, kind, body, _, image, _ = data.draw(st.sampled_from(LETTERS))
    client = stage.company.client(who)
    client.thaw(image)
    frame = signed(stage, SERVER, codec._KIND_OF[kind], mutated(data, body))
    with contextlib.suppress(Misbehaved):
        client.receive(frame)
    client.thaw(client.freeze())


@given(st.data())
def test_a_server_meets_a_mutated_letter_with_a_note_or_a_lost_round_and_can_be_stored(data: st.DataObject) -> None:
    stage, who, _, _, body, _, image = data.draw(st.sampled_from(LETTERS))
    server = stage.company.server()
    server.thaw(image)
    kind = data.draw(st.sampled_from(list(codec.KINDS)))
    with contextlib.suppress(RoundLost):
        server.receive(signed(stage, who, kind, mutated(data, body)), who)
    assert {note.peer for note in server.excluded} <= {who}
    server.thaw(server.freeze())


def test_nobody_is_waited_for_once_a_round_is_lost() -> None:
    company = Company(plan_of(4), 4)
    server = company.server()
    server.open(company.task(3))
    assert server.wait is not None
    with pytest.raises(TooFewClients):
        server.deadline(server.wait.room)
    assert (server.done, server.wait) == (True, None)
    again = company.server()
    again.thaw(server.freeze())
    assert (again.done, again.wait) == (True, None)
