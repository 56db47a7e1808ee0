"""The one decryptor behind the codec: frames of the server in, signed frames for it out."""

from __future__ import annotations

from protocols.ckks import decryptor as roles
from protocols.ckks.decryptor import DecryptorPolicy
from protocols.ckks.single_messages import WholeSum, largest_question
from protocols.endpoint.images import DECRYPTOR_STATES, TO_DECRYPTORS
from protocols.endpoint.opener import Opener, Part
from protocols.errors import PolicyConflict
from protocols.verifying import Verifier


class Decryptor(Opener[DecryptorPolicy]):
    """The one who has the key, and is not who adds up: it can decrypt every upload that it gets hold of.

    Raises: PolicyConflict where the server would be this very party.
    """

    part = Part(
        role=roles.decryptor,
        states=DECRYPTOR_STATES,
        uninvited=roles.Uninvited,
        holding=roles.Holding,
        told=TO_DECRYPTORS,
        question=WholeSum,
        openings=frozenset({WholeSum}),
        largest_question=lambda state: largest_question(state.certificate.epoch.plan),
    )

    def _owned(self, verifier: Verifier) -> roles.Own:
        if self.public == self.server_key:
            raise PolicyConflict("who adds up must not be who decrypts: give the decryptor an identity of its own")
        return roles.Own(self.public, self.server_key, self.policy, self._identity.sign, verifier)
