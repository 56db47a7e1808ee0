"""One-shot rounds of this library as a target: the villain has the server, and asks members instead of clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from types import MappingProxyType

import numpy as np

from protocols.adversary.floor import Floor
from protocols.adversary.targets import Case, Ended, Floats, Kept, Step, Surroundings, View, vector_of
from protocols.adversary.verdict import Inexpressible, Refused
from protocols.committee import MEMBERS, OneShotCommittee, numbers
from protocols.endpoint import Client, Member, Server
from protocols.errors import Misbehaved, RoundLost, WrongUpdate
from protocols.messages import Submit
from protocols.oneshot import client as roles
from protocols.oneshot import epoch as names
from protocols.oneshot.messages import Certificate, Enlisted, OpenOneShot, Summed
from protocols.oneshot.shape import Shape
from protocols.party import SERVER, PartyId
from protocols.plan import NOTHING, ONE_SHOT, Policy, RoundPlan, context_of
from protocols.submission import words_of
from protocols.verifying import remembering
from secagg.box import open_box
from secagg.errors import SecaggError
from secagg.keys import AgreementKey, Identity, Seed, derive
from secagg.negacyclic import N
from secagg.ring import RingVector
from secagg.rlwe import draw_secret
from secagg.shamir import combine_packed

LABEL_IDENTITY = b"secagg/v1/adversary/one-shot/identity"
LABEL_ROOT = b"secagg/v1/adversary/one-shot/root"
LENGTH = 40
CLIP = 8
BITS = 16
VERIFIER = remembering()
# Who speaks with another identity than the one that everybody pins: nobody.
REGISTERED: Mapping[int, bytes] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class OneShot:
    """The one-shot protocol with its usual committee.

    Every capability but MakesMasks: a mask has no key of its own that a generator would expand.
    """

    root: Seed = field(default_factory=lambda: Seed(NOTHING))

    @property
    def name(self) -> str:
        return "secagg, one-shot"

    # --- AnswersServer --------------------------------------------------------------------------------

    def interrogate(self, clients: int) -> Questioned:
        floor = self.floor({who: vector_of(who, LENGTH) for who in range(clients)}, members=clients)
        floor.gather()
        return Questioned(floor)

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
                    return self._before_a_committee_of_its_own(vectors), vectors[0]
        except Misbehaved as refusal:
            raise Refused(type(refusal).__name__) from refusal

    def _alone(self, vectors: Mapping[int, Floats]) -> Floats:
        floor, victim = self.floor(vectors), PartyId(0)
        floor.gather()
        answers = {who: floor.ask(who, [victim]) for who in floor.members}
        return decoded(floor, floor.opened([victim], floor.key_from(answers)))

    def _among_sybils(self, vectors: Mapping[int, Floats]) -> Floats:
        """The villain makes up every other client; they follow the protocol with identities nobody pinned."""
        floor, victim = self.floor(vectors, kinds=dict.fromkeys(range(1, len(vectors)), b"sybil")), PartyId(0)
        floor.gather()
        cohort = tuple(floor.clients)
        answers = {who: floor.ask(who, cohort) for who in floor.members}
        others = sum((vectors[who] for who in cohort if who != victim), np.zeros(LENGTH))
        return decoded(floor, floor.opened(cohort, floor.key_from(answers)), len(cohort)) * len(cohort) - others

    def _before_a_committee_of_its_own(self, vectors: Mapping[int, Floats]) -> Floats:
        """No message says how many shares open a key but the committee's: the villain is all members of another."""
        floor, victim = self.floor(vectors), PartyId(0)
        floor.open()
        certificate, pairs = self.own_committee(floor)
        agreement = replace(floor.agreement, key=certificate.digest)
        floor.upload(victim, floor.framed(SERVER, OpenOneShot(agreement, certificate)))
        letter, context, quorum = floor.heard[victim], context_of(agreement), certificate.epoch.quorum
        shares = {}
        for place, (pair, box) in enumerate(zip(pairs, letter.boxes, strict=True), start=1):
            key = names.box_key(pair.agree(letter.box_key), context, victim, place)
            shares[place] = names.share_from_bytes(open_box(key, bytes(box), names.box_binding(context, victim, place)))
        return decoded(floor, floor.opened([victim], combine_packed(shares, quorum, N), context))

    # --- RunsRounds -----------------------------------------------------------------------------------

    def run(self, case: Case) -> Ended:
        """A key has one share per member of the committee. Who vanishes after its one message is in the sum."""
        vectors, refused = {who: case.vectors[who] for who in sorted(case.vectors)}, dict[int, str]()

        def application(who: PartyId, client: Client) -> Submit | None:
            lies = vectors[who].shape != (LENGTH,)
            try:
                return client.prepare(np.zeros(LENGTH) if lies else vectors[who], weight=case.weights[who])
            except (SecaggError, WrongUpdate) as error:
                refused[who] = type(error).__name__
                return None

        floor = self.floor(vectors, members=case.shares or MEMBERS, max_weight=case.max_weight)
        floor.application = application
        why = played(floor, case)
        aggregate = floor.server.aggregate
        refused |= {note.peer: note.error for note in floor.server.excluded}
        return Ended(
            mean=None if aggregate is None else floor.server.mean(),
            counted=frozenset() if aggregate is None else frozenset(aggregate.survivors),
            why=why,
            refusals=refused,
            uploads={who: floor.frames.get(PartyId(who), b"") for who in vectors},
        )

    # --- KeepsState -----------------------------------------------------------------------------------

    def after_round(self) -> Kept:
        """The root, what it becomes for this vector, the mask key and the seed of the box key."""
        floor, who = self.floor({who: vector_of(who, LENGTH) for who in range(5)}), PartyId(0)
        client = floor.clients[who]
        client.receive(floor.open())
        root, context = Seed(client._party.state.root.expose()), context_of(floor.agreement)
        submission = client.prepare(vector_of(0, LENGTH))
        client.send(submission)
        shape = Shape.of(floor.agreement)
        words = words_of(floor.agreement, shape.coding, shape.extras, submission)
        bound = roles.bound_to(root, context, shape.elements(submission.vector, words))
        secrets = {
            "root": root.expose(),
            "root of the message": bound.expose(),
            "seed of the mask key": derive(bound, names.LABEL_SECRET, context).expose(),
            "mask key": draw_secret(derive(bound, names.LABEL_SECRET, context)).astype(np.int8).tobytes(),
            "box key": derive(bound, names.LABEL_BOX_KEY, context).expose(),
        }
        return Kept(secrets, client.freeze())

    # --- how a floor is set ---------------------------------------------------------------------------

    def plan(self, clients: int, max_weight: int = 1) -> RoundPlan:
        return RoundPlan.recommend(
            clients,
            dropout=Fraction(1, 4),
            corrupt=Fraction(0),
            clip=CLIP,
            bits=BITS,
            max_weight=max_weight,
            protocol=ONE_SHOT,
        )

    def identity(self, who: PartyId, kind: bytes = b"registered") -> Identity:
        return Identity.from_seed(derive(self.root, LABEL_IDENTITY, NOTHING, kind, names.number(who)))

    def floor(
        self,
        vectors: Mapping[int, Floats],
        members: int = MEMBERS,
        max_weight: int = 1,
        kinds: Mapping[int, bytes] = REGISTERED,
    ) -> Floor:
        """Everybody, each client submitting its vector with weight 1; who has a kind of its own is pinned by nobody."""
        plan, places = self.plan(len(vectors), max_weight), numbers(members)
        ids = tuple(map(PartyId, vectors))
        keys = {who: self.identity(who) for who in (*ids, *places, SERVER)}
        speaking = keys | {who: self.identity(who, kinds[who]) for who in ids if who in kinds}
        pinned, shown = ({who: each[who].public for who in ids} for each in (keys, speaking))
        publics = {who: keys[who].public for who in places}
        build = partial(Member.from_root, derive(self.root, LABEL_ROOT, NOTHING), verifier=VERIFIER)
        committee = OneShotCommittee.of(plan, pinned, keys[SERVER], {who: keys[who] for who in places}, build)
        policy = Policy(
            shown,
            min_cohort=plan.min_cohort,
            assumption=plan.assumption,
            protocols=frozenset({ONE_SHOT}),
            holders=frozenset(publics.values()),
        )
        clients = {who: self.client(who, policy, speaking[who], keys[SERVER].public) for who in ids}
        server = Server(plan, shown, keys[SERVER], holders=publics)
        return Floor(server, clients, committee, speaking, lambda who, client: client.prepare(vectors[who]), LENGTH)

    def client(self, who: PartyId, policy: Policy, identity: Identity, server_key: bytes) -> Client:
        root = derive(self.root, LABEL_ROOT, NOTHING, names.number(who))
        return Client.from_root(root, policy, identity, server_key, VERIFIER)

    def own_committee(self, floor: Floor) -> tuple[Certificate, list[AgreementKey]]:
        """Two members that the villain made up, and their keys."""
        made_up = [self.identity(who, b"made up") for who in numbers(2)]
        members = tuple(each.public for each in made_up)
        epoch = replace(floor.certificate.epoch, members=members, corrupted=1, offline=0)
        pairs = [AgreementKey(derive(self.root, LABEL_ROOT, NOTHING, b"own", names.number(who))) for who in numbers(2)]
        enlisted = [
            Enlisted(pair.public, each.sign(names.enlisted_text(epoch.context, place, pair.public)))
            for place, (each, pair) in enumerate(zip(made_up, pairs, strict=True), start=1)
        ]
        return Certificate(epoch, tuple(enlisted)), pairs


def played(floor: Floor, case: Case) -> str:
    """Play the case to its end; why it was lost, empty when it was not."""
    invitation = floor.open()
    gone = [who for who, step in case.lost.items() if step <= Step.VECTOR]
    try:
        for who in floor.clients:
            for data in floor.upload(who, invitation) if who not in gone else []:
                floor.hand(who, lie_of(floor, case, who) or data)
        floor.close("Summing")
        floor.finish()
    except RoundLost as lost:
        return f"{type(lost).__name__}: {lost}"
    return ""


def lie_of(floor: Floor, case: Case, who: PartyId) -> bytes | None:
    """The message of one whose vector has another shape, its masked vector cut or stretched to it and signed anew."""
    ring, size = Shape.of(floor.agreement).mask.ring, case.vectors[who].size
    if case.vectors[who].shape == (LENGTH,):
        return None
    return floor.framed(who, replace(floor.heard[who], vector=ring.pack(ring.zeros(size))))


def decoded(floor: Floor, total: RingVector | None, clients: int = 1) -> Floats:
    """The mean of an opened sum.  Raises: Refused where nothing was opened."""
    if total is None:
        raise Refused("the answers rebuild no key that opens the sum")
    coding = Shape.of(floor.agreement).coding
    return coding.decode(total, clients, context_of(floor.agreement), ())


class Questioned:
    """A round whose vectors are all in. Clients are asked nothing more: member i hears what the script tells client i.

    Whoever is named vanished is left out of the set that a member is asked about.
    """

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._answers: dict[frozenset[int], dict[PartyId, Summed]] = {}

    @property
    def ids(self) -> Sequence[int]:
        return tuple(self._floor.clients)

    def truth(self, victim: int) -> Floats:
        return vector_of(victim, LENGTH)

    def ask(self, views: Mapping[int, View]) -> Mapping[int, str]:
        if any(view.alive & view.dead for view in views.values()):
            raise Inexpressible("a member is asked about one set of clients: each is in it, or not")
        refusals: dict[int, str] = {}
        for (who, view), member in zip(sorted(views.items()), self._floor.members, strict=False):
            try:
                letter = self._floor.ask(member, map(PartyId, view.alive))
            except Misbehaved as refusal:
                refusals[who] = type(refusal).__name__
                continue
            self._answers.setdefault(frozenset(view.alive), {})[member] = letter
        return refusals

    def recovered(self, victim: int) -> Floats:
        """The difference of the sums over two sets that differ by the victim."""
        everybody = frozenset(self.ids)
        try:
            totals = [self._total(cohort) for cohort in (everybody, everybody - {victim})]
        except RoundLost as missing:
            raise Refused(str(missing)) from missing
        if totals[0] is None or totals[1] is None:
            raise Refused("the answers about two sets rebuild no two keys")
        return decoded(self._floor, totals[0] - totals[1])

    def _total(self, cohort: frozenset[int]) -> RingVector | None:
        key = self._floor.key_from(self._answers.get(cohort, {}))
        return self._floor.opened(map(PartyId, cohort), key)
