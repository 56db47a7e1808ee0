"""This library as a target: real endpoints on a stage, all secrets a function of one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from protocols.adversary.stage import Stage, pair_correction
from protocols.adversary.targets import Case, Ended, Floats, Kept, Step, Surroundings, View, vector_of
from protocols.adversary.verdict import Inexpressible, Refused
from protocols.endpoint import Client, Server
from protocols.errors import Misbehaved, RoundLost, WrongUpdate
from protocols.messages import Masked, Roster, Signed, Submit, Survivors, Unmask, Witness, Witnesses, to_bitmap
from protocols.pairwise import session as names
from protocols.pairwise.session import RoundKeys
from protocols.party import SERVER, PartyId
from protocols.plan import NOTHING, Policy, Promise, RoundPlan
from protocols.verifying import remembering
from secagg.errors import SecaggError
from secagg.keys import AgreementKey, Identity, Seed, derive
from secagg.masks import Correction, unmask_into
from secagg.prg import Stream
from secagg.ring import Ring

LABEL_IDENTITY = b"secagg/v1/adversary/identity"
LABEL_ROOT = b"secagg/v1/adversary/root"
LENGTH = 40
CLIP = 8
BITS = 22
VERIFIER = remembering()


@dataclass(frozen=True, slots=True)
class Ours:
    """The pairwise protocol. `promise` is what the server offers and what the clients insist on.

    It offers every capability.
    """

    promise: Promise = Promise.ACTIVE
    root: Seed = field(default_factory=lambda: Seed(NOTHING))

    @property
    def name(self) -> str:
        return "secagg"

    # --- MakesMasks -----------------------------------------------------------------------------------

    def mask_keys(self, pairs: int) -> Sequence[bytes]:
        stream = Stream(self.root)
        seeds = [Seed(stream.bytes(32 * place, 32)) for place in range(2 * pairs)]
        keys = [AgreementKey(seed) for seed in seeds]
        agreed = (one.agree(other.public) for one, other in zip(keys[:pairs], keys[pairs:], strict=True))
        return [names.pair_seed(seed, NOTHING, PartyId(0), PartyId(1)).expose() for seed in agreed]

    def mask(self, key: bytes, bits: int, length: int) -> NDArray[np.uint64]:
        ring = Ring(bits)
        total = ring.zeros(length)
        unmask_into(total, ring, [Correction(1, Seed(key))], NOTHING, names.MODEL_SECTION, length)
        return np.asarray(total & ring.dtype.type(ring.modulus - 1), dtype=np.uint64)

    # --- AnswersServer --------------------------------------------------------------------------------

    def interrogate(self, clients: int) -> Questioned:
        return Questioned(self.stage(self.plan(clients), {who: vector_of(who, LENGTH) for who in range(clients)}))

    # --- Surroundable ---------------------------------------------------------------------------------

    def surround(self, how: Surroundings) -> tuple[Floats, Floats]:
        vectors = {who: vector_of(who, LENGTH) for who in range(5)}
        try:
            match how:
                case Surroundings.ALONE:
                    return self._alone(vectors), vectors[0]
                case Surroundings.SYBILS:
                    return self._among_sybils(vectors), vectors[0]
                case Surroundings.ONE_SHARE:
                    return self._on_weak_terms(vectors), vectors[0]
        except Misbehaved as refusal:
            raise Refused(type(refusal).__name__) from refusal

    def _alone(self, vectors: Mapping[int, Floats]) -> Floats:
        stage = self.stage(self.plan(len(vectors)), vectors)
        victim, letters = stage.ids[0], stage.until(Roster)
        stage.say(victim, replace(letters[victim], entries=letters[victim].entries[:1]))
        raise Inexpressible("a client alone holds no shares of its own self mask")

    def _among_sybils(self, vectors: Mapping[int, Floats]) -> Floats:
        """The villain makes up every other client; they follow the protocol with identities nobody pinned."""
        plan, victim = self.plan(len(vectors)), PartyId(0)
        made_up = {who: self.identity(who, b"sybil") for who in map(PartyId, vectors)}
        keys = made_up | {victim: self.identity(victim), SERVER: self.identity(SERVER)}
        stage = self.stage(plan, vectors, keys)
        stage.clients[victim] = self.client(victim, self.policy(plan, vectors))
        stage.until(None)
        others = sum((vectors[who] for who in vectors if who != victim), np.zeros(LENGTH))
        return stage.server.mean() * len(vectors) - others

    def _on_weak_terms(self, vectors: Mapping[int, Floats]) -> Floats:
        """No message names a threshold: the nearest lie is a plan against a server that is only curious."""
        strict, weak = (self.plan(len(vectors), promise=promise) for promise in (Promise.ACTIVE, Promise.CURIOUS))
        stage = self.stage(weak, vectors)
        stage.clients[PartyId(0)] = self.client(PartyId(0), self.policy(strict, vectors))
        stage.until(Roster)
        raise Inexpressible("the client derives its threshold from the roster itself")

    # --- RunsRounds -----------------------------------------------------------------------------------

    def run(self, case: Case) -> Ended:
        """A secret has one share per neighbour: k shares mean k + 1 clients on the complete graph."""
        count = len(case.vectors) if case.shares is None else case.shares + 1
        vectors = {who: case.vectors[who] for who in sorted(case.vectors)[:count]}
        refused: dict[int, str] = {}

        def application(who: PartyId, client: Client) -> Submit | None:
            lies = vectors[who].shape != (LENGTH,)
            try:
                return client.prepare(np.zeros(LENGTH) if lies else vectors[who], weight=case.weights[who])
            except (SecaggError, WrongUpdate) as error:
                refused[who] = type(error).__name__
                return None

        stage = self.stage(self.plan(count, case.max_weight), vectors)
        stage.application = application
        why = played(stage, case)
        aggregate = stage.server.aggregate
        refused |= {note.peer: note.error for note in stage.server.excluded}
        return Ended(
            mean=None if aggregate is None else stage.server.mean(),
            counted=frozenset() if aggregate is None else frozenset(aggregate.survivors),
            why=why,
            refusals=refused,
            uploads={who: b"".join(data for (one, _), data in stage.frames.items() if one == who) for who in vectors},
        )

    # --- KeepsState -----------------------------------------------------------------------------------

    def after_round(self) -> Kept:
        """The root, both seeds, and of each neighbour the share that the server did not ask for."""
        stage = self.stage(self.plan(5), {who: vector_of(who, LENGTH) for who in range(5)})
        stage.until(Roster)
        client = stage.clients[PartyId(0)]
        early = client._party.state
        keys = RoundKeys.of(early.root, early.context)
        secrets = {
            "root": early.root.expose(),
            "mask key": keys.mask_seed.expose(),
            "self seed": keys.self_seed.expose(),
        }
        stage.until(Survivors)
        secrets |= {f"share of a neighbour: {one.dealer}": one.mask_share.expose() for one in client._party.state.held}
        stage.until(None)
        return Kept(secrets, client.freeze())

    # --- how a stage is set ---------------------------------------------------------------------------

    def plan(self, clients: int, max_weight: int = 1, promise: Promise | None = None) -> RoundPlan:
        return RoundPlan.recommend(
            clients,
            dropout=Fraction(1, 4),
            corrupt=Fraction(0),
            clip=CLIP,
            bits=BITS,
            max_weight=max_weight,
            promise=promise or self.promise,
        )

    def identity(self, who: PartyId, kind: bytes = b"registered") -> Identity:
        return Identity.from_seed(derive(self.root, LABEL_IDENTITY, NOTHING, kind, names.word(who)))

    def policy(self, plan: RoundPlan, ids: Mapping[int, object]) -> Policy:
        known = {who: self.identity(who).public for who in map(PartyId, ids)}
        return Policy(known, min_cohort=plan.min_cohort, promise=plan.promise, assumption=plan.assumption)

    def client(self, who: PartyId, policy: Policy, identity: Identity | None = None) -> Client:
        root = derive(self.root, LABEL_ROOT, NOTHING, names.word(who))
        return Client.from_root(root, policy, identity or self.identity(who), self.identity(SERVER).public, VERIFIER)

    def stage(
        self, plan: RoundPlan, vectors: Mapping[int, Floats], keys: Mapping[PartyId, Identity] | None = None
    ) -> Stage:
        """Server and clients over this plan, each client submitting its vector with weight 1."""
        ids = tuple(map(PartyId, vectors))
        signing = keys or {who: self.identity(who) for who in (*ids, SERVER)}
        known = {who: signing[who].public for who in ids}
        policy = replace(self.policy(plan, vectors), identities=known)
        clients = {who: self.client(who, policy, signing[who]) for who in ids}
        server = Server(plan, known, signing[SERVER])
        return Stage(server, clients, signing, lambda who, client: client.prepare(vectors[who]), LENGTH)


def played(stage: Stage, case: Case) -> str:
    """Play the case to its end; why it was lost, empty when it was not."""
    stage.open()
    step = 0
    try:
        while not stage.server.done:
            replies = stage.answers([PartyId(who) for who, lost in case.lost.items() if lost <= step])
            if step == Step.VECTOR:
                replies |= lies_of(stage, case, replies)
            stage.hand(replies)
            stage.quiet()
            step += 1
    except RoundLost as lost:
        return f"{type(lost).__name__}: {lost}"
    return ""


def lies_of(stage: Stage, case: Case, replies: Mapping[PartyId, bytes]) -> dict[PartyId, bytes]:
    """The masked vectors of those whose vector has another shape, cut or stretched to it and signed anew."""
    ring = stage.server.agreement.plan.encoding.ring
    liars = [who for who in replies if case.vectors[who].shape != (LENGTH,)]
    return {
        who: stage.framed(who, replace(stage.heard[who, Masked], vector=ring.pack(ring.zeros(case.vectors[who].size))))
        for who in liars
    }


class Questioned:
    """A round whose vectors are all in; the villain holds the server's key and asks on."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._roster = next(iter(stage.until(Roster).values()))
        stage.until(Survivors)
        self._views: dict[PartyId, View] = {}
        self._answers: dict[PartyId, Unmask] = {}

    @property
    def ids(self) -> Sequence[int]:
        return self._stage.ids

    def truth(self, victim: int) -> Floats:
        return vector_of(victim, LENGTH)

    def ask(self, views: Mapping[int, View]) -> Mapping[int, str]:
        """Each client hears its list; whoever signs it is shown every signature that was made."""
        if any(view.alive & view.dead for view in views.values()):
            raise Inexpressible("a list of survivors has one bit per client: alive, or not")
        self._views = {PartyId(who): view for who, view in views.items()}
        refusals: dict[int, str] = {}
        signed = []
        for who, view in self._views.items():
            bitmap = to_bitmap(set(map(PartyId, view.alive)), self._stage.ids)
            letter = self._said(who, Survivors(bitmap), refusals)
            if isinstance(letter, Witness):
                signed.append(Signed(self._stage.ids.index(who), letter.signature))
        for entry in signed:
            self._said(self._stage.ids[entry.index], Witnesses(tuple(signed)), refusals)
        return refusals

    def _said(self, who: PartyId, message: object, refusals: dict[int, str]) -> object:
        """The one letter the client answers; its shares are kept. None when it refuses."""
        try:
            [letter] = self._stage.say(who, message)
        except Misbehaved as refusal:
            refusals[who] = type(refusal).__name__
            return None
        if isinstance(letter, Unmask):
            self._answers[who] = letter
        return letter

    def recovered(self, victim: int) -> Floats:
        who, stage = PartyId(victim), self._stage
        session = stage.session(self._roster)
        told_alive = {one: letter for one, letter in self._answers.items() if victim in self._views[one].alive}
        told_dead = {one: letter for one, letter in self._answers.items() if one not in told_alive}
        try:
            self_seed = stage.rebuilt(session, who, told_alive, stage.ids)
            mask_seed = stage.rebuilt(session, who, told_dead, stage.ids)
        except RoundLost as missing:
            raise Refused(str(missing)) from missing
        publics = {entry.who: entry.mask_key for entry in self._roster.entries}
        corrections = [Correction(-1, names.self_mask_seed(self_seed, session.sid, who))]
        corrections += [
            pair_correction(session, peer, mask_seed, who, publics[peer]) for peer in session.neighbours(who)
        ]
        opened = np.array(stage.unmasked(session, [who], corrections), dtype=session.coding.ring.dtype)
        return session.coding.decode(opened, 1, session.context, ())
