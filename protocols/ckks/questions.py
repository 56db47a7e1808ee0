"""What whoever opens sums checks before it does, and remembers after: one sum a round, signed by enough clients."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocols.ckks import epoch as names
from protocols.ckks.messages import Contribution
from protocols.errors import AlreadyAnswered, CohortTooSmall, KeyMismatch, OutOfTurn, PolicyViolation, blame
from protocols.party import SERVER, PartyId
from protocols.plan import ContextBytes
from protocols.verifying import Verifier
from protocols.wire import Bytes32
from secagg.keys import Context

# Further sets of holders that may open one sum, after the first.
MOST_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked about one round: the sum, and the sets of holders that were to open it."""

    sum: Bytes32
    sets: tuple[Bytes32, ...]


def answered(asked: Mapping[ContextBytes, Question]) -> int:
    """How many openings are spent."""
    return sum(len(question.sets) for question in asked.values())


def next_of(
    asked: Mapping[ContextBytes, Question],
    openings: int,
    context: Context,
    question: bytes,
    openers: tuple[int, ...],
) -> Question:
    """What will have been asked about this round, of a key made for so many openings.

    Raises: AlreadyAnswered for another sum of the same round, or more sets than retries; PolicyViolation when the
        key has opened all it was made for.
    """
    this_set = hashlib.sha256(b"".join(map(names.number, openers))).digest()
    before = asked.get(context, Question(question, ()))
    if before.sum != question:
        raise AlreadyAnswered(SERVER, "asks to open a second sum of one round: their difference would tell on clients")
    if this_set in before.sets:
        return before
    if len(before.sets) > MOST_RETRIES:
        raise AlreadyAnswered(SERVER, f"asks for more than {MOST_RETRIES} retries of one opening")
    if answered(asked) >= openings:
        raise PolicyViolation(SERVER, "asks for more openings than the key was made for: make a new one")
    return Question(question, (*before.sets, this_set))


def check_key(named: bytes, held: bytes) -> None:
    """Raises: OutOfTurn, and so with nothing changed, for what was said about another key.

    Against: whoever replays a server's letter of an earlier key, and with it would end this one.
    """
    if not hmac.compare_digest(named, held):
        raise OutOfTurn(SERVER, "asks to open a sum under another key than the one I hold")


def check_cohort(cohort: int, least: int, most: int) -> None:
    """Raises: CohortTooSmall, PolicyViolation in the server's name for a sum over too few clients, or too many."""
    if cohort < least:
        raise CohortTooSmall(SERVER, f"asks to open a sum over {cohort} clients; {least} are required")
    if cohort > most:
        raise PolicyViolation(SERVER, f"asks to open a sum over {cohort} clients; the key is for fewer")


def signed_texts(
    context: Context,
    key: bytes,
    contributions: Sequence[Contribution],
    clients: Mapping[PartyId, bytes],
    verify: Verifier,
) -> list[bytes]:
    """What each contributor signed about its upload, in order.

    Against: a server that has sums opened of clients it made up, or of one client by many names.
    Raises: KeyMismatch, BadSignature in the server's name.
    """
    texts = []
    for said in contributions:
        identity = clients.get(said.who)
        if identity is None:
            raise KeyMismatch(SERVER, f"asks to open an upload of client {said.who}, whom my policy does not pin")
        text = names.upload_text(context, key, said.who, said.digest0, said.digest1, said.hash)
        with blame(SERVER):
            verify(identity, text, said.signature)
        texts.append(text)
    if len({clients[said.who] for said in contributions}) != len(contributions):
        raise KeyMismatch(SERVER, "counts one client twice")
    return texts
