"""The server that has a key made, behind the codec: frames of holders, or of the one decryptor, in; a certificate out.

    maker = KeyMaker(holders, identity)
    send(maker.open(server.agree(task), keys, number))
    send(maker.receive(data)) / deadline(room)         until maker.done;  then Task(..., certificate=maker.certificate)

Nothing of it needs to survive a crash: a ceremony that broke off is begun again under the next number.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from protocols.ckks import keys as keymaker
from protocols.ckks import single_server
from protocols.ckks.messages import Certificate
from protocols.ckks.vector import key_for
from protocols.codec import Frame
from protocols.endpoint.certifier import Certifier
from protocols.endpoint.images import TO_KEY_MAKERS, Topic
from protocols.errors import Misused
from protocols.party import APP, Failed, Party, PartyId, Role
from protocols.plan import Agreement
from secagg.ckks.ceremony import covering_sets
from secagg.ckks.plan import Keys, Mode
from secagg.keys import Identity, verify

# Clients who share a key make it without anybody's help.
KEY_MAKERS: Mapping[Mode, Role] = MappingProxyType(
    {Mode.THRESHOLD: keymaker.keymaker, Mode.SINGLE: single_server.single_keymaker}
)


class KeyMaker(Certifier[Certificate]):
    """One ceremony after the other, with holders of these identities; one decryptor is the one holder of its key.

    Guarantee: a certificate that every holder of the epoch signed, and whose holders opened a public pattern with it,
        or TooFewMembers, BadDealing naming who is missing or dealt wrongly.
    """

    told = TO_KEY_MAKERS

    def __init__(self, holders: Mapping[PartyId, bytes], identity: Identity, patience_seconds: int = 60) -> None:
        idle = Party(keymaker.keymaker, keymaker.Idle(keymaker.Known(verify)))
        super().__init__(holders, identity, patience_seconds, idle)

    @property
    def done(self) -> bool:
        """Whether the ceremony is over; `certificate` holds the key unless it failed."""
        return isinstance(self._party.state, keymaker.Certified | Failed)

    def open(self, agreement: Agreement, keys: Keys, number: int) -> list[Frame]:
        """Begin the ceremony of a key for rounds such as this, shared by all registered holders; its invitations.

        A key opens what its ceremony tries out as well: `keys_for_rounds` counts.
        `number` counts the keys of a task upwards: holders refuse one that is not above the last.
        Raises: BadPlan when no ciphertext carries such a round, there are more or fewer holders than `keys` says, or
            the clients are to share the key.
        """
        if keys.mode is Mode.THRESHOLD and keys.openings <= len(covering_sets(keys.holders, keys.threshold)):
            raise Misused(
                f"a key of {keys.openings} openings has none left for a round once its ceremony has tried it out: take "
                "keys_for_rounds(holders, rounds)"
            )
        parties = tuple(sorted(self.holders))
        epoch = key_for(agreement, keys, number, tuple(self.holders[who] for who in parties))
        party = Party(KEY_MAKERS[keys.mode], keymaker.Idle(keymaker.Known(verify)))
        envelopes = party.receive(APP, keymaker.Make(epoch, parties, self.patience_seconds))
        return self._convened(Topic.of_key(epoch), party, envelopes)

    def _take(self, note: Any) -> None:
        # Beside who is excluded and who is waited for, the role says this one thing.
        self._certify(note.certificate)
