"""What a party no longer needs, nobody can find: not in images, reprs, pickles, tracebacks, or living objects."""

from __future__ import annotations

import base64
import copy
import gc
import json
import logging
import os
import pickle
import traceback
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType

import numpy as np
import pytest

from protocols.endpoint import Client
from protocols.errors import KeyMismatch, Misbehaved
from protocols.messages import Advertise, Inbox, Masked, Roster, Survivors, Witnesses
from protocols.pairwise.session import RoundKeys
from protocols.party import Failed, secrets_in
from protocols.plan import Promise
from secagg.errors import BadParameters, EntropyUnavailable
from secagg.keys import AgreementKey, Identity, Secret, Seed
from tests.attacks.villain import Stage, rows

BOTH = pytest.mark.parametrize("promise", Promise, ids=lambda promise: promise.value)


def spellings(secret: bytes) -> list[bytes]:
    """How a secret would show up in a log: raw, hexadecimal, base64, or escaped."""
    return [secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"=")[:-1], repr(secret)[2:-1].encode()]


def found_in(haystack: bytes, secrets: list[bytes]) -> list[str]:
    return [spelling.hex() for secret in secrets for spelling in spellings(secret) if spelling in haystack]


def known_secrets(stage: Stage, who: int) -> list[bytes]:
    """Root, keys and seeds of a client that has advertised, and everything its states hold as they come."""
    state = stage.clients[who]._party.state
    keys = RoundKeys.of(state.root, state.context)
    return [state.root.expose(), keys.mask_seed.expose(), keys.self_seed.expose()]


@rows("K1")
@BOTH
def test_no_key_seed_or_unsent_share_is_left_in_anything_a_done_client_stores_or_prints(
    row: str, promise: Promise
) -> None:
    stage = Stage(5, promise)
    stage.until(Roster)
    who = stage.ids[0]
    secrets = known_secrets(stage, who)
    stage.until(Inbox)
    secrets += [secret.expose() for secret in secrets_in(stage.clients[who]._party.state)]
    stage.until(Survivors, silent=stage.ids[4:])
    held = stage.clients[who]._party.state.held
    # Four dealers answered with their self shares; the last one dropped, so of it the mask share was told.
    secrets += [one.self_share.expose() if one.dealer == stage.ids[4] else one.mask_share.expose() for one in held]
    stage.until(None, silent=stage.ids[4:])
    client = stage.clients[who]
    assert client.done
    assert len(secrets) >= 3 + 4 + 4
    everything = client.freeze() + repr(client._party.state).encode() + repr(vars(client)).encode()
    everything += b"".join(stage.frames[key] for key in stage.frames)
    assert found_in(everything, secrets) == []


@rows("K1")
def test_the_search_would_find_what_is_there(row: str) -> None:
    stage = Stage(5)
    stage.until(Roster)
    who = stage.ids[0]
    secrets = known_secrets(stage, who)
    image = stage.clients[who].freeze()
    assert found_in(image, secrets[:1])
    assert found_in(image.hex().encode(), secrets[:1])
    assert not found_in(image, secrets[1:])


@rows("K1")
def test_a_failed_client_stores_and_prints_no_secret_and_neither_does_its_error(row: str) -> None:
    stage, secrets, error = failed_in_the_middle_of_dealing()
    client = stage.clients[stage.ids[0]]
    assert isinstance(client._party.state, Failed)
    shown = "".join(traceback.StackSummary.extract(walked(error), capture_locals=True).format())
    assert "in agree_with_all" in shown
    everything = client.freeze() + repr(client._party.state).encode() + shown.encode()
    assert found_in(everything, secrets) == []


def failed_in_the_middle_of_dealing() -> tuple[Stage, list[bytes], Misbehaved]:
    """A client that had derived all its keys when it met a key of low order."""
    stage = Stage(5)
    letters = stage.until(Roster)
    who, peer = stage.ids[0], stage.ids[2]
    secrets = known_secrets(stage, who)
    entries = list(letters[who].entries)
    entries[2] = stage.forged(peer, replace(entries[2], box_key=bytes(32)), letters[who].context)
    try:
        stage.say(who, replace(letters[who], entries=tuple(entries)))
    except KeyMismatch as error:
        return stage, secrets, error
    raise AssertionError("a key of low order was accepted")


def walked(error: BaseException | None) -> Iterator[tuple[FrameType, int]]:
    """The frames of an error and its causes, those of this test aside, as a logger that prints locals sees them."""
    while error is not None:
        for frame, line in traceback.walk_tb(error.__traceback__):
            if "tests" not in frame.f_code.co_filename:
                yield frame, line
        error = error.__cause__


@rows("K2")
def test_a_kept_error_keeps_no_key_of_the_arrow_that_raised_it(row: str, born: list[weakref.ref[Secret]]) -> None:
    stage, secrets, error = failed_in_the_middle_of_dealing()
    assert error.__traceback__ is not None
    # The state's root is overwritten, the keys derived from it are gone with the frames.
    assert not set(alive(born)) & set(secrets)
    assert stage.clients[stage.ids[0]].done


@rows("K1")
@pytest.mark.parametrize("kind", [Roster, Inbox, Survivors, Witnesses], ids=lambda kind: kind.__name__)
def test_no_state_prints_pickles_or_copies_what_it_holds(row: str, kind: type) -> None:
    stage = Stage(5)
    stage.until(kind)
    state = stage.clients[stage.ids[0]]._party.state
    secrets = [secret.expose() for secret in secrets_in(state)]
    assert secrets
    assert found_in((repr(state) + str(state)).encode(), secrets) == []
    for spread in (pickle.dumps, copy.copy, copy.deepcopy):
        for secret in secrets_in(state):
            with pytest.raises(BadParameters, match="never pickled or copied"):
                spread(secret)


@pytest.fixture
def born(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Secret]]:
    """A weak reference to every secret made during the test."""
    references: list[weakref.ref[Secret]] = []
    original = Secret.__init__

    def remembered(self: Secret, secret: bytes) -> None:
        original(self, secret)
        references.append(weakref.ref(self))

    monkeypatch.setattr(Secret, "__init__", remembered)
    return references


def alive(references: list[weakref.ref[Secret]]) -> Iterator[bytes]:
    """Exposed bytes of secrets that still exist and were not overwritten."""
    gc.collect()
    for reference in references:
        secret = reference()
        if secret is not None and secret._secret is not None:
            yield bytes(secret._secret)


def agreement_keys() -> set[int]:
    """Where private keys are."""
    gc.collect()
    return {id(thing) for thing in gc.get_objects() if type(thing) is AgreementKey}


@rows("K2")
@BOTH
def test_after_the_round_no_secret_of_any_client_is_alive(
    row: str, promise: Promise, born: list[weakref.ref[Secret]]
) -> None:
    stage = Stage(5, promise)
    # A deterministic client is given a root for all its rounds; a real one draws from the system.
    before, keys = set(alive(born)), agreement_keys()
    stage.until(Survivors)
    assert len(set(alive(born)) - before) >= 5 * 4
    stage.until(None)
    assert set(alive(born)) <= before
    assert agreement_keys() <= keys


@rows("K2")
@pytest.mark.parametrize("kind", [Roster, Inbox, Survivors, Witnesses], ids=lambda kind: kind.__name__)
def test_a_client_that_gives_up_leaves_no_secret_alive(row: str, kind: type, born: list[weakref.ref[Secret]]) -> None:
    stage = Stage(5)
    before = set(alive(born))
    letters = stage.until(kind)
    assert set(alive(born)) - before
    for who in stage.ids:
        # Nobody expects its own letters back.
        with pytest.raises(Misbehaved):
            stage.say(who, type(letters[who])(*bent(letters[who])))
    assert set(alive(born)) <= before


def bent(letter: object) -> tuple[object, ...]:
    """The letter's fields, changed so that every client refuses it for good."""
    if isinstance(letter, Roster):
        return bytes(32), letter.entries
    if isinstance(letter, Inbox):
        return letter.who, letter.members, letter.sealed[:1]
    if isinstance(letter, Survivors):
        return (b"\0",)
    return ((),)


@rows("K2")
def test_a_new_round_overwrites_what_the_last_one_left(row: str, born: list[weakref.ref[Secret]]) -> None:
    stage = Stage(5)
    stage.until(Inbox)
    old = [secret for who in stage.ids for secret in secrets_in(stage.clients[who]._party.state)]
    assert old
    stage.open(round=1)
    stage.answers()
    assert (stage.ids[0], Advertise) in stage.heard
    for secret in old:
        with pytest.raises(BadParameters, match="erased"):
            secret.expose()


@rows("K2")
def test_a_restored_client_overwrites_what_it_held_before(row: str) -> None:
    stage = Stage(5)
    stage.until(Inbox)
    client = stage.clients[stage.ids[0]]
    image = client.freeze()
    held = list(secrets_in(client._party.state))
    assert len(held) > 4
    client.thaw(image)
    for secret in held:
        with pytest.raises(BadParameters, match="erased"):
            secret.expose()
    assert client.freeze() == image


@rows("K1")
def test_identities_and_keys_do_not_print_or_pickle(row: str) -> None:
    stage = Stage(4)
    for hidden in (stage.company.identity, stage.signers[stage.ids[0]].identity):
        assert isinstance(hidden, Identity)
        assert repr(hidden) == "<Identity: secret>"
        with pytest.raises(BadParameters):
            pickle.dumps(hidden)


@rows("K1")
@BOTH
def test_no_log_of_a_whole_round_holds_a_secret_of_anybody(
    row: str, promise: Promise, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        stage = Stage(5, promise)
        stage.until(Roster)
        secrets = [secret for who in stage.ids for secret in known_secrets(stage, who)]
        stage.until(Inbox)
        secrets += [secret.expose() for who in stage.ids for secret in secrets_in(stage.clients[who]._party.state)]
        stage.until(None)
        logging.getLogger("test").debug("the round is over")
    assert "the round is over" in caplog.text
    assert found_in(caplog.text.encode(), secrets) == []


@rows("K1")
@pytest.mark.parametrize("kind", [Roster, Inbox, Survivors, Witnesses], ids=lambda kind: kind.__name__)
def test_json_of_a_state_holds_no_secret_and_a_secret_has_none(row: str, kind: type) -> None:
    stage = Stage(5)
    stage.until(kind)
    state = stage.clients[stage.ids[0]]._party.state
    secrets = [secret.expose() for secret in secrets_in(state)]
    fields = {name: getattr(state, name) for name in type(state).__slots__}
    written = json.dumps(fields, default=repr)
    assert found_in(written.encode(), secrets) == []
    for secret in secrets_in(state):
        with pytest.raises(TypeError, match="not JSON serializable"):
            json.dumps(secret)


@rows("K1")
@BOTH
def test_the_servers_state_file_never_holds_a_secret_it_was_not_told(row: str, promise: Promise) -> None:
    stage = Stage(5, promise)
    stage.until(Roster)
    secrets = [secret for who in stage.ids for secret in known_secrets(stage, who)]
    stage.until(Inbox)
    for who in stage.ids:
        # The shares that these boxes hold, as whoever opens them will see them.
        stage.deliver(who, dict(stage.pending)[who])
        held = stage.clients[who]._party.state.held
        secrets += [share for one in held for share in (one.mask_share.expose(), one.self_share.expose())]
    stage.hand({who: frame for (who, kind), frame in stage.frames.items() if kind is Masked})
    assert found_in(stage.server.freeze() + repr(stage.server._party.state).encode(), secrets) == []
    # Nobody dropped: of everybody the self shares are told, no mask share ever is.
    unsaid = [one.mask_share.expose() for who in stage.ids for one in stage.clients[who]._party.state.held]
    stage.pending = stage._addressed(stage.server.deadline("Summing")) or stage.pending
    stage.until(None)
    assert found_in(stage.server.freeze() + repr(stage.server.aggregate).encode(), unsaid) == []


@rows("K2")
@BOTH
def test_the_very_memory_of_every_secret_is_zero_after_the_round(row: str, promise: Promise) -> None:
    stage = Stage(5, promise)
    memory: list[bytearray] = []
    for kind in (Roster, Inbox, Survivors):
        stage.until(kind)
        held = [secret for who in stage.ids for secret in secrets_in(stage.clients[who]._party.state)]
        memory += [secret._secret for secret in held]
    assert len(memory) > 5 * 10
    assert any(any(place) for place in memory)
    stage.until(None)
    assert not any(any(place) for place in memory)


def in_children(count: int, draw: Callable[[], bytes]) -> list[bytes]:
    """What each of these forked children draws."""
    drawn = []
    for _ in range(count):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writer, draw())
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        drawn.append(os.read(reader, 100))
        os.close(reader)
        os.close(writer)
    return drawn


@rows("K3")
def test_forked_children_never_repeat_a_root_or_an_identity(row: str) -> None:
    def draw() -> bytes:
        return Seed.fresh().expose() + Identity.fresh().public

    drawn = [draw(), *in_children(3, draw), draw()]
    assert all(len(each) == 64 for each in drawn)
    assert len({each[:32] for each in drawn}) == len({each[32:] for each in drawn}) == 5


@rows("K3")
def test_a_generator_of_numpy_repeats_itself_in_three_of_three_children(row: str) -> None:
    generator = np.random.default_rng(1)
    assert len(set(in_children(3, lambda: generator.bytes(32)))) == 1


@rows("K3")
def test_clients_made_in_forked_children_never_advertise_one_key(row: str) -> None:
    stage = Stage(4)
    stage.open()
    who, frame = stage.pending[0]
    company = stage.company

    def advertised() -> bytes:
        client = Client(company.policy, company.identities[who].identity, company.identity.public)
        letter = stage.decoded(bytes(client.receive(frame)[0]))
        return letter.mask_key + letter.box_key

    assert len(set(in_children(3, advertised)) | {advertised()}) == 4


@rows("K4")
@pytest.mark.parametrize("given", [None, b"", b"short"], ids=["refused", "nothing", "short"])
def test_a_client_without_entropy_says_nothing_and_takes_part_in_the_next_attempt(
    row: str, given: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def urandom(count: int) -> bytes:
        if given is None:
            raise OSError("no entropy")
        return given

    stage = Stage(4)
    stage.open()
    who, frame = stage.pending[0]
    signer = stage.signers[who]
    client = Client(stage.company.policy, signer, stage.company.identity.public)
    with monkeypatch.context() as machine:
        machine.setattr(os, "urandom", urandom)
        with pytest.raises(EntropyUnavailable):
            client.receive(frame)
    assert signer.signed == 0
    assert client.done
    stage.open(nonce=b"\1" * 16)
    [answer] = client.receive(dict(stage.pending)[who])
    assert isinstance(stage.decoded(bytes(answer)), Advertise)
