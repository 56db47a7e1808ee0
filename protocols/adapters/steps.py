"""Rounds over a framework that calls one method of each site: bytes in, bytes out.

    server   Rounds   letters by party -> requests by site -> call -> replies by site -> answers by party
    site     Node     request -> letters to who lives here, training where a round asks for it -> reply

    reply = 0 | bundle of frames     1 | name of an error, and nothing else about it     2 | who lives here
    who lives here = number, u32 | its signature of the site's name ...

A framework's calls carry whatever a method raises to the server, text and traceback, and what a user's training raises
may quote its data. So `Node.step` raises nothing: a refusal is a name. Who refuses, is late or silent has dropped out.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import struct
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from dp.errors import DpError
from protocols import codec
from protocols.bundle import EMPTY, pack, unpack
from protocols.coding import Floats
from protocols.endpoint import NO_METRICS
from protocols.errors import (
    BadPlan,
    Malformed,
    Misused,
    OutOfTurn,
    ProtocolError,
    TooFewClients,
    ViewMismatch,
    WrongUpdate,
)
from protocols.exchanges import Exchanges, Finished
from protocols.home import Home
from protocols.party import SERVER, PartyId
from protocols.plan import Agreement, Policy
from protocols.tensors import Layout, Update, check_model, model_digest
from secagg.errors import BadSignature as WrongSignature
from secagg.errors import SecaggError

# Sites may still be starting when the first of them is there; it is waited for so long once.
MEETING_SECONDS = 60.0
ANSWER, REFUSAL, INTRODUCTIONS = b"\x00", b"\x01", b"\x02"
MOST_AT_A_SITE = 16
_NAME = re.compile(rb"[A-Za-z]{1,40}")
_INTRODUCTION = struct.Struct(">I64s")

Train = Callable[[Update, str], "Trained"]
# Requests by site, the model where sites train, the seconds to wait -> the replies of those who made it in time.
Call = Callable[[Mapping[str, bytes], Update | None, float], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Trained:
    """What a site made of the model it was sent: as many arrays of the same names and shapes.

    `weight` is an integer of 1..max_weight of the plan, such as a number of examples; `metrics` has one number for each
    metric of the plan. Both are summed under the same cover as the update, and seen by nobody.
    """

    model: Update = field(repr=False)
    weight: int = 1
    metrics: Mapping[str, float] = field(default_factory=lambda: NO_METRICS)


class Late(OutOfTurn):
    """The round that asked for an update is over, or another one is still being trained for."""

    def __init__(self) -> None:
        super().__init__(SERVER, "asked for an update while another was made here, or went on without it")


class TrainingFailed(ProtocolError):
    """The user's training ended in an error; which one is for the site's own people to read."""


class Named:
    """Lets no exception out: keeps its name, and what it said in a file that the site's own people can read.

    Interrupts pass. Names of errors that are none of ours are not told: they are the user's words.
    """

    def __init__(self, note: Path) -> None:
        self.name, self._note = TrainingFailed.__name__, note

    @property
    def said(self) -> bytes:
        """The reply in place of the one that failed."""
        return REFUSAL + self.name.encode()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        if isinstance(error, ProtocolError | SecaggError | DpError):
            self.name = type(error).__name__
        # Logs of a job may be sent to the server: they say no more than the reply does.
        logging.getLogger(__name__).error("%s: %s says why", self.name, self._note)
        if self._note.parent.is_dir():
            descriptor = os.open(self._note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.writelines(traceback.format_exception(error))
        return True


@dataclass(frozen=True, slots=True)
class Asked:
    """A round that waits for an update from the model that came with it, as it was before anybody trained in place."""

    offer: Agreement
    layout: Layout
    before: Floats = field(repr=False)
    digest: bytes

    def change(self, trained: Update) -> Floats:
        """Trained minus received, in float32 or float64.

        Raises: WrongUpdate for other arrays than were received.
        """
        change: Floats = self.layout.flatten(trained) - self.before
        return change


class Speaker:
    """Who lives on a site, for a framework that trains between two calls of ours. One thread at a time is let through.

    `introduced` is the reply that says who lives here, each signed for this site alone.
    Guarantee: no more leaves than `Site` says; nobody trains from a model that this policy is not ready to train from,
        or that the server did not sign the round for.
    """

    def __init__(self, name: str, home: Home, policy: Policy) -> None:
        self._site, self._policy = home.site(policy), policy
        self.introduced = INTRODUCTIONS + b"".join(
            _INTRODUCTION.pack(*each) for each in home.introductions(name).items()
        )
        self._turn = threading.Lock()

    def hear(self, letters: bytes, model: Update | None) -> tuple[bytes, Asked | None]:
        """The answers to these letters, and what is asked for where a model came with them.

        Raises: as `Site.hear` and `check_model`; ViewMismatch for a model that is not the one of the round.
        """
        with self._turn:
            answers = self._site.hear(letters)
            # Without a model these letters are for who opens sums, and a training that failed here stays undone.
            offer = self._site.offer if self._site.needs_update and model is not None else None
        if offer is None or model is None:
            return answers, None
        digest = check_model(model, self._policy)
        if not hmac.compare_digest(digest, offer.model):
            raise ViewMismatch(SERVER, "sends another model than the one it signed the round for")
        layout = Layout.of_update(model)
        return answers, Asked(offer, layout, layout.flatten(model), digest)

    def submit(self, asked: Asked, change: Floats, weight: int, metrics: Mapping[str, float]) -> bytes:
        """The update, hidden.

        Raises: Late where the round has gone on; as `Site.submit`.
        """
        with self._turn:
            if not self._site.needs_update or self._site.offer != asked.offer:
                raise Late
            return self._site.submit(change, weight=weight, model=asked.digest, metrics=metrics)

    def close(self) -> None:
        """Gives the site's folders up for another process."""
        self._site.close()


class Node:
    """One site and the user's training, as one method.

    Letters are answered while a training runs, so that a slow client does not silence the one who opens sums beside it.
    Guarantee: that of `Speaker`, and what the user's function raises never leaves.
    """

    def __init__(self, name: str, speaker: Speaker, train: Train, note: Path) -> None:
        self._name, self._speaker, self._train, self._note = name, speaker, train, note
        self._training = threading.Lock()

    def step(self, letters: bytes, model: Update | None) -> bytes:
        """The reply to these letters; with none at all, the numbers of who lives here. Never raises an Exception."""
        named = Named(self._note)
        with named:
            if letters == b"":
                return self._speaker.introduced
            answers, asked = self._speaker.hear(letters, model)
            update = EMPTY if asked is None else self._update(asked, model)
            return ANSWER + pack([*unpack(answers, SERVER), *unpack(update, SERVER)])
        return named.said

    def _update(self, asked: Asked, model: Update) -> bytes:
        if not self._training.acquire(blocking=False):
            raise Late
        try:
            trained = self._train(model, self._name)
        finally:
            self._training.release()
        if not isinstance(trained, Trained):
            raise WrongUpdate(f"train returns a Trained, not a {type(trained).__name__}")
        return self._speaker.submit(asked, asked.change(trained.model), trained.weight, trained.metrics)

    def close(self) -> None:
        """Gives the site's folders up for another process."""
        self._speaker.close()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came from a site: frames by who signed them, the name of a refusal, or signatures of who lives there."""

    frames: Mapping[PartyId, Sequence[memoryview]] = field(default_factory=dict)
    refusal: str | None = None
    introduced: Mapping[PartyId, bytes] = field(default_factory=dict)

    @classmethod
    def read(cls, data: object) -> Reply:
        """Anything that is no reply is a refusal called Malformed."""
        if not isinstance(data, bytes) or not data:
            return cls(refusal=Malformed.__name__)
        kind, body = data[:1], data[1:]
        if kind == REFUSAL and _NAME.fullmatch(body):
            return cls(refusal=body.decode())
        size = _INTRODUCTION.size
        if kind == INTRODUCTIONS and len(body) in range(size, (MOST_AT_A_SITE + 1) * size, size):
            return cls(introduced={PartyId(who): signed for who, signed in _INTRODUCTION.iter_unpack(body)})
        try:
            return cls(frames=_by_sender(body)) if kind == ANSWER else cls(refusal=Malformed.__name__)
        except Malformed:
            return cls(refusal=Malformed.__name__)


def _by_sender(bundle: bytes) -> dict[PartyId, list[memoryview]]:
    """Raises: Malformed. Who really signed a frame is for the endpoint to say."""
    told: dict[PartyId, list[memoryview]] = {}
    for frame in unpack(bundle, SERVER):
        told.setdefault(codec.read_header(frame, SERVER, len(frame)).sender, []).append(frame)
    return told


class Rounds:
    """The rounds of one run over sites known by name; `refusals` says of the present round who refused, and how.

    A site says itself who lives there, and each of them signs it: no site can have another's letters sent to itself.
    Raises: BadPlan where one party lives on two sites, which takes its key on both.
    """

    def __init__(self, exchanges: Exchanges, call: Call, sites: Sequence[str], train_seconds: float) -> None:
        if train_seconds <= 0:
            raise Misused(f"train_seconds is {train_seconds}: give sites time to train")
        self.exchanges, self.refusals = exchanges, dict[str, str]()
        self._call, self._sites, self._train_seconds = call, tuple(sites), train_seconds
        self._homes: dict[PartyId, str] = {}
        self._patience = max(MEETING_SECONDS, float(exchanges.plan.patience_seconds))

    def round(self, model: Update) -> tuple[Update, Finished]:
        """The next model, x + mean, and what the round gave. Integers have no mean and stay the server's own.

        Raises: as `Exchanges`; TooFewClients before anything is sent where too few sites have said who they are.
        """
        self.refusals.clear()
        self._meet()
        # Not by ties, which a site could not see: what it receives are copies.
        layout, exchanges = Layout.of_update(model), self.exchanges
        invited = tuple(sorted(who for who in self._homes if who in exchanges.roster.clients))
        if len(invited) < exchanges.plan.min_cohort:
            raise TooFewClients(len(invited), exchanges.plan.min_cohort, "Meeting")
        letters = exchanges.begin(layout.length, layout.digest(), model_digest(model), invited, self._ask)
        try:
            answers = self._carry(letters, model, self._train_seconds)
        except BaseException:
            exchanges.lose()
            raise
        finished = exchanges.finish(answers, self._ask)
        return layout.moved(model, finished.mean), finished

    def _meet(self) -> None:
        strangers = {site: b"" for site in self._sites if site not in self._homes.values()}
        if not strangers:
            return
        replies = self._replies(strangers, None, self._patience)
        self._patience = float(self.exchanges.plan.patience_seconds)
        for site, reply in replies.items():
            for who, signature in reply.introduced.items():
                self._settle(site, who, signature)

    def _settle(self, site: str, who: PartyId, signature: bytes) -> None:
        try:
            self.exchanges.roster.check_place(who, site, signature)
        except WrongSignature:
            self.refusals[site] = WrongSignature.__name__
            return
        if self._homes.setdefault(who, site) != site:
            raise BadPlan(f"party {who} lives on {self._homes[who]} and on {site}: one home was carried to both")

    def _ask(self, letters: Mapping[PartyId, bytes], seconds: float) -> dict[PartyId, bytes]:
        return self._carry(letters, None, seconds)

    def _carry(self, letters: Mapping[PartyId, bytes], model: Update | None, seconds: float) -> dict[PartyId, bytes]:
        """Letters to the sites of their parties, and back what each party there says."""
        frames: dict[str, list[memoryview]] = {}
        for who, bundle in letters.items():
            if who in self._homes:
                frames.setdefault(self._homes[who], []).extend(unpack(bundle, SERVER))
        replies = self._replies({site: pack(parts) for site, parts in frames.items()}, model, seconds)
        return {
            who: pack(parts)
            for site, reply in replies.items()
            for who, parts in reply.frames.items()
            if self._homes.get(who) == site
        }

    def _replies(self, requests: Mapping[str, bytes], model: Update | None, seconds: float) -> dict[str, Reply]:
        replies = {site: Reply.read(data) for site, data in self._call(requests, model, seconds).items()}
        self.refusals |= {site: reply.refusal for site, reply in replies.items() if reply.refusal is not None}
        return replies
