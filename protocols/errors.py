"""Who is to blame, and what to do about it.

    ProtocolError
      Misused                 you called us wrongly or planned the impossible; nothing was sent
        PolicyConflict          the plan and your own policy exclude each other
        BadPlan                 the plan contradicts itself
        WrongUpdate             the model update does not fit the agreed layout
        MissingExtra            an optional package is not installed
      Misbehaved(peer)        a peer broke the protocol
        Malformed TooLarge BadSignature OutOfTurn Duplicate Replay AlreadyAnswered PolicyViolation
        CohortTooSmall ViewMismatch UnsafeUnmask KeyMismatch ShapeMismatch BadShare BadBox BadCiphertext BadCommittee
        LedgerRolledBack
      RoundLost               nobody can be blamed; the round is over
        TooFewClients           too few remain
        TooFewMembers           too few of those who make or hold a key remain
        BadDealing              a key was made that its holders cannot open together
        ImplausibleSum          the opened sum contradicts itself
          BadMaskKey              what the members answered is not the key of these masks

Anything else that escapes from this package is a bug of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from secagg import errors as secagg_errors

# The id under which `party` knows the server; named here because errors import nothing of ours.
SERVER_ID = 2**32 - 1


class ProtocolError(Exception):
    """Root of everything this package raises on purpose."""


class Misused(ProtocolError):
    """The caller is to blame: the call was wrong or came at the wrong time. Nothing was sent."""


class PolicyConflict(Misused):
    """The caller's plan and the caller's policy exclude each other: change one of them."""


class BadPlan(Misused):
    """The plan contradicts itself or cannot be met: change the number named in the message."""


class WrongUpdate(Misused):
    """The model update is empty or does not fit the agreed layout: submit the layout named in the message."""


def installed_from() -> str | None:
    """What pip noted when it was given a folder, a file or an address; None after an install by name.

    Source: PEP 610.
    A source tree that was never installed is a checkout, and answers as one.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return distribution("secagg").read_text("direct_url.json")
    except PackageNotFoundError:
        return '{"dir_info": {}}'


def install_line(extra: str, origin: str | None) -> str:
    """The line that adds an extra: by name only to what came by name, since no index may have this package."""
    if origin is None:
        return f"pip install 'secagg[{extra}]'"
    noted = json.loads(origin)
    if "dir_info" in noted:
        return f"in the checkout, pip install -c constraints.txt -e '.[{extra}]'"
    address = noted["url"]
    if "vcs_info" in noted:
        address = f"{noted['vcs_info']['vcs']}+{address}@{noted['vcs_info']['commit_id']}"
    return f"pip install 'secagg[{extra}] @ {address}'"


class MissingExtra(Misused):
    """An optional part is not installed; the message carries the line that installs it."""

    def __init__(self, extra: str) -> None:
        super().__init__(f"this needs the extra {extra!r}: {install_line(extra, installed_from())}")
        self.extra = extra


class Misbehaved(ProtocolError):
    """The peer named in `peer` is to blame. A client aborts its round; a server excludes the peer."""

    def __init__(self, peer: int, why: str) -> None:
        super().__init__(f"{'the server' if peer == SERVER_ID else f'party {peer}'}: {why}")
        self.peer = peer
        self.why = why


class Malformed(Misbehaved):
    """The peer sent bytes that are no message: wrong version, kind, length, order or padding."""


class TooLarge(Misbehaved):
    """The peer announced more bytes than this message may have; nothing was allocated."""


class BadSignature(Misbehaved):
    """A signature does not verify under the identity the policy knows for this peer."""


class OutOfTurn(Misbehaved):
    """The peer's message does not fit the present state; the state is untouched."""


class Duplicate(Misbehaved):
    """The peer spoke twice in one room with different words; the first counts."""


class Replay(Misbehaved):
    """The peer repeats a round, a context or a question that was already used up."""


class AlreadyAnswered(Misbehaved):
    """The peer asks a second time what may be answered only once per context."""


class PolicyViolation(Misbehaved):
    """The peer proposes something this party's own policy forbids."""


class LedgerRolledBack(Misbehaved):
    """The peer's privacy ledger does not go on from the one it showed before: a budget would be spent twice."""


class CohortTooSmall(Misbehaved):
    """The peer asks to reveal, or to take part in, a sum over fewer clients than the policy allows."""


class ViewMismatch(Misbehaved):
    """The peer and this party disagree about context, model or survivors: somebody is told two stories."""


class UnsafeUnmask(Misbehaved):
    """The list of survivors would let somebody single out a client."""


class KeyMismatch(Misbehaved):
    """A public key is missing, duplicated, substituted or not a valid point."""


class ShapeMismatch(Misbehaved):
    """The peer's message has the wrong number of elements for the agreed context."""


class BadShare(Misbehaved):
    """The peer dealt or returned a secret share that contradicts its commitment."""


class BadBox(Misbehaved):
    """The peer's sealed box does not open under the agreed key and both ends' names."""


class BadCiphertext(Misbehaved):
    """The peer's ciphertext or key has a shape or numbers that its plan excludes."""


class BadCommittee(Misbehaved):
    """The peer shows a committee that this party's policy does not let open its sums."""


class Undecodable(ProtocolError):
    """These bytes are no canonical encoding of the expected type; the caller knows whom to blame."""


class RoundLost(ProtocolError):
    """The round cannot end in a sum and nobody can be blamed for it: open a new round.

    `refusal` is what the first client that refused the round said, where the driver knows it.
    """

    refusal: str | None = None

    def __str__(self) -> str:
        said = super().__str__()
        return said if self.refusal is None else f"{said} (a client refused: {self.refusal})"


class TooFewClients(RoundLost):
    """Too few clients remain in a room; the round is over and no secret of a survivor was revealed.

    Retry with a new round, more clients, or a plan that tolerates more drop-outs.
    """

    def __init__(self, have: int, need: int, room: str, culprits: tuple[int, ...] = ()) -> None:
        blamed = f"; exclude {', '.join(map(str, culprits))} next time" if culprits else ""
        super().__init__(f"{room}: {have} clients remain, {need} are needed{blamed}; open a new round")
        self.have, self.need, self.room, self.culprits = have, need, room, culprits


class TooFewMembers(RoundLost):
    """Too few of those who make or hold a key remain; nothing was opened. Start again without `missing`."""

    def __init__(
        self, have: int, need: int, room: str, missing: tuple[int, ...] = (), culprits: tuple[int, ...] = ()
    ) -> None:
        named = (
            f": parties {', '.join(map(str, missing))} are silent, or refuse and say why at their end"
            if missing
            else ""
        )
        blamed = f"; exclude clients {', '.join(map(str, culprits))} next time" if culprits else ""
        super().__init__(f"{room}: {have} of {need} have spoken{named}; start again without them{blamed}")
        self.have, self.need, self.room = have, need, room
        self.missing, self.culprits = missing, culprits


class BadDealing(RoundLost):
    """The key that was made is not one that its holders open together: make another, without the `culprits`."""

    def __init__(self, culprits: tuple[int, ...]) -> None:
        super().__init__(
            f"the holders were dealt pieces of no one key; make another without parties {', '.join(map(str, culprits))}"
        )
        self.culprits = culprits


class ImplausibleSum(RoundLost):
    """The opened sum fails its own checksum or its weight bounds: do not use it, open a new round."""


class BadMaskKey(ImplausibleSum):
    """What members answered is no sum of mask keys, or leaves no error such masks leave: nothing is published."""


# The only bridge from the pure package: an error that blames nobody becomes the fault of the
# peer whose bytes caused it.
_BRIDGE: dict[type[secagg_errors.SecaggError], type[Misbehaved]] = {
    secagg_errors.BadShare: BadShare,
    secagg_errors.BadBox: BadBox,
    secagg_errors.BadPoint: KeyMismatch,
    secagg_errors.BadSignature: BadSignature,
    secagg_errors.BadParameters: Malformed,
    secagg_errors.WrongContext: ViewMismatch,
    secagg_errors.BadCiphertext: BadCiphertext,
}


@contextmanager
def blame(peer: int) -> Iterator[None]:
    """Turn a pure package's complaint about foreign bytes into the fault of the peer that sent them."""
    try:
        yield
    except tuple(_BRIDGE) as error:
        raise _BRIDGE[type(error)](peer, str(error)) from error
