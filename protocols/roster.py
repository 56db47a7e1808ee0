"""Who takes part, as a public file: everybody's number and identity key, the same on every site and at the server."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from protocols.errors import Misused
from protocols.party import MAX_CLIENT_ID, PartyId
from protocols.plan import Policy
from secagg.keys import verify

VERSION = 1
LABEL_PLACE = b"secagg/v1/roster/place"
_KEY = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class Roster:
    """Ed25519 public keys: the server's, the clients' by number, and those of the openers of one-shot or ckks sums.

    Raises: Misused for what is no key or number, or is given to two parties.
    """

    server: bytes
    clients: Mapping[PartyId, bytes]
    openers: Mapping[PartyId, bytes]

    def __post_init__(self) -> None:
        keys = [self.server, *self.clients.values(), *self.openers.values()]
        if not all(isinstance(key, bytes) and len(key) == 32 for key in keys):
            raise Misused("a roster holds public keys of 32 bytes")
        if not all(type(who) is int and 0 <= who <= MAX_CLIENT_ID for who in (*self.clients, *self.openers)):
            raise Misused(f"parties are numbered 0..{MAX_CLIENT_ID}")
        if len(set(keys)) != len(keys) or not self.clients.keys().isdisjoint(self.openers):
            raise Misused("a roster gives every party a number and a key of its own")
        for name in ("clients", "openers"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def policy(self, **demands: Any) -> Policy:
        """A client's policy that pins everybody here, with these demands; `Policy` says which there are.

        Raises: BadPlan.
        """
        return Policy(self.clients, holders=frozenset(self.openers.values()), **demands)

    def check_place(self, who: PartyId, place: str, signature: bytes) -> None:
        """Returns when this party signed that it lives in this place: `Home.introductions`.

        Against: a site that has another's letters sent to itself, and drops them.
        Raises: secagg.errors.BadSignature, for a party that is not in the roster too.
        """
        verify(self.clients.get(who) or self.openers.get(who, b""), place_text(place), signature)

    def to_json(self) -> str:
        """As `from_json` reads it."""
        made = {
            "version": VERSION,
            "server": self.server.hex(),
            "clients": {str(who): key.hex() for who, key in self.clients.items()},
            "openers": {str(who): key.hex() for who, key in self.openers.items()},
        }
        return json.dumps(made, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Roster:
        """Raises: Misused for anything but what `to_json` writes."""
        try:
            found = json.loads(text, object_pairs_hook=_distinct)
        except (ValueError, RecursionError) as error:
            raise Misused(f"a roster is a JSON object: {error}") from error
        if not isinstance(found, dict) or found.keys() != {"version", "server", "clients", "openers"}:
            raise Misused("a roster has version, server, clients and openers, and nothing else")
        if found["version"] != VERSION:
            raise Misused(f"this is a roster of version {found['version']!r}; version {VERSION} is read here")
        return cls(_key(found["server"]), _parties(found["clients"]), _parties(found["openers"]))


def place_text(place: str) -> bytes:
    """What a party signs to say that it lives in a place, as its framework calls it."""
    return LABEL_PLACE + place.encode()


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _key(text: object) -> bytes:
    if not isinstance(text, str) or not _KEY.fullmatch(text):
        raise Misused("a key in a roster is 64 hexadecimal digits")
    return bytes.fromhex(text)


def _parties(found: object) -> dict[PartyId, bytes]:
    if not isinstance(found, dict) or not all(_NUMBER.fullmatch(who) for who in found):
        raise Misused("parties in a roster are an object of number to key")
    return {PartyId(int(who)): _key(key) for who, key in found.items()}
