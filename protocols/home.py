"""Where a site's keys lie, and whom it trusts: a folder made before any round.

    make_homes("homes", clients=10)        homes/server, homes/site-0 ... homes/site-9
        identity.key                       0600: the Ed25519 seed under which this site's client, or the server, speaks
        opener.key                         0600, on some sites: that of the committee member or key holder there
        roster.json                        public and the same everywhere
    Home.at("homes/site-3").site(policy)   the endpoints that live there, stored beside the keys

Carry each site's folder to its machine and delete the rest. Whoever makes the homes sees all keys: where nobody may,
each site draws its own (`secagg.Identity.fresh`), and the roster is collected from the public halves.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dp.place import require_directory
from protocols.ckks.holder import HolderPolicy
from protocols.committee import FIRST_HOLDER, HOLDERS, MEMBERS, numbers
from protocols.durable import DurableClient, DurableHolder, DurableMember, DurableOpener
from protocols.endpoint import Client, Holder, Member
from protocols.errors import Misused
from protocols.oneshot.member import MemberPolicy
from protocols.party import MAX_CLIENT_ID, PartyId
from protocols.plan import ENCRYPTED, ONE_SHOT, PAIRWISE, Policy
from protocols.roster import Roster, place_text
from protocols.sites import Site
from protocols.storage import require_folder
from secagg.keys import Identity, Seed

AnyPath = str | os.PathLike[str]

SERVER_HOME, ROSTER, IDENTITY, OPENER = "server", "roster.json", "identity.key", "opener.key"
MOST_ROSTER_BYTES = 64 << 20
MOST_OPENERS = MAX_CLIENT_ID + 1 - FIRST_HOLDER
USUAL_OPENERS: Mapping[str, int] = {PAIRWISE: 0, ONE_SHOT: MEMBERS, ENCRYPTED: HOLDERS}


@dataclass(frozen=True, slots=True)
class Home:
    """One site's folder, or the server's.

    Raises: Misused when it is none, when others can read its keys, or when its keys are not the roster's.
    """

    path: Path
    roster: Roster
    identity: Identity
    opener: Identity | None

    def __post_init__(self) -> None:
        if self.identity.public != self.roster.server:
            _number(self.roster.clients, self.identity, self.path / IDENTITY)
        if self.opener is not None:
            _number(self.roster.openers, self.opener, self.path / OPENER)

    @classmethod
    def at(cls, path: AnyPath) -> Home:
        """The home in this folder."""
        folder = Path(path)
        try:
            # What is no text is no roster either: as JSON it is refused by name.
            with open(folder / ROSTER, encoding="utf-8", errors="replace") as file:
                roster = Roster.from_json(file.read(MOST_ROSTER_BYTES))
            opener = _read_key(folder / OPENER) if (folder / OPENER).exists() else None
            return cls(folder, roster, _read_key(folder / IDENTITY), opener)
        except OSError as error:
            why = f"{error.strerror} ({error.filename})"
            raise Misused(f"{folder.absolute()} is no home: {why}; make_homes makes them") from error

    def site(self, policy: Policy) -> Site:
        """The endpoints that live here, as they were stored last; one process at a time.

        Whoever opens sums here serves under the client's own demands: `min_cohort`, and `min_opening_threshold`.
        Raises: Misused in the server's home; what `Durable` raises, `dp.errors.Locked` above all.
        """
        client = DurableClient(Client(policy, self.identity, self.roster.server), self.path / "state-client")
        try:
            return Site(client, self._opener(policy))
        except BaseException:
            client.close()
            raise

    def introductions(self, place: str) -> dict[PartyId, bytes]:
        """Signatures of who lives here, that this place is where: `Roster.check_place`."""
        parties = [(self.roster.clients, self.identity, IDENTITY)]
        if self.opener is not None:
            parties.append((self.roster.openers, self.opener, OPENER))
        text = place_text(place)
        return {_number(known, one, self.path / name): one.sign(text) for known, one, name in parties}

    def _opener(self, policy: Policy) -> DurableOpener | None:
        if self.opener is None:
            return None
        me = _number(self.roster.openers, self.opener, self.path / OPENER)
        pinned, clients, server = frozenset(self.roster.openers.values()), self.roster.clients, self.roster.server
        if policy.protocols >= {ENCRYPTED, ONE_SHOT}:
            raise Misused("who opens sums serves one protocol: let the policy allow 'oneshot' or 'ckks', not both")
        if ENCRYPTED in policy.protocols:
            holding = HolderPolicy(
                pinned, clients, min_cohort=policy.min_cohort, min_threshold=policy.min_opening_threshold
            )
            return DurableHolder(Holder(me, holding, self.opener, server), self.path / "state-opener")
        corrupted = max(1, policy.min_opening_threshold - 1)
        serving = MemberPolicy(pinned, clients, min_cohort=policy.min_cohort, min_corrupted=corrupted)
        return DurableMember(Member(me, serving, self.opener, server), self.path / "state-opener")


def make_homes(folder: AnyPath, clients: int, protocol: str = ONE_SHOT, openers: int | None = None) -> Roster:
    """Fresh keys for a server and so many sites, each in a folder of its own; client i lives on site i.

    The first `openers` sites have one who opens sums as well: ten for one-shot rounds and five for encrypted ones, or
    as many as there are sites.
    Raises: Misused for numbers that are none or a folder that is not empty; StorageRefused.
    """
    if protocol not in USUAL_OPENERS:
        raise Misused(f"protocol is {protocol!r}, it must be one of {sorted(USUAL_OPENERS)}")
    if type(clients) is not int or not 1 <= clients <= FIRST_HOLDER:
        raise Misused(f"clients is {clients!r}, it must be an integer of at least 1")
    count = min(clients, USUAL_OPENERS[protocol]) if openers is None else openers
    if type(count) is not int or not 0 <= count <= min(clients, MOST_OPENERS):
        raise Misused(f"openers is {openers!r}: one may live on each of {clients} sites, and at most {MOST_OPENERS}")
    root = Path(folder)
    require_folder(root)
    if any(root.iterdir()):
        raise Misused(f"{root} is not empty: keys that exist are never overwritten")
    server, *mine = (Seed.fresh() for _ in range(clients + 1))
    opening = [Seed.fresh() for _ in range(count)]
    roster = Roster(
        _public(server),
        {PartyId(site): _public(key) for site, key in enumerate(mine)},
        {who: _public(key) for who, key in zip(numbers(count), opening, strict=True)},
    )
    _write_home(root / SERVER_HOME, roster, {IDENTITY: server})
    for site, key in enumerate(mine):
        opener = {OPENER: opening[site]} if site < count else {}
        _write_home(root / f"site-{site}", roster, {IDENTITY: key, **opener})
    return roster


def _public(seed: Seed) -> bytes:
    return Identity.from_seed(seed).public


def _write_home(folder: Path, roster: Roster, keys: Mapping[str, Seed]) -> None:
    require_directory(folder)
    (folder / ROSTER).write_text(roster.to_json(), encoding="utf-8")
    for name, seed in keys.items():
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(seed.expose())
        seed.erase()


def _read_key(path: Path) -> Identity:
    with open(path, "rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise Misused(f"{path} can be read by others than its owner: chmod 600 it, or better, make another key")
        found = file.read(64)
    if len(found) != 32:
        raise Misused(f"{path} is no key: it must hold 32 bytes")
    return Identity.from_seed(Seed(found))


def _number(parties: Mapping[PartyId, bytes], identity: Identity, path: Path) -> PartyId:
    """Raises: Misused for an identity that the roster does not have."""
    for who, key in parties.items():
        if key == identity.public:
            return who
    raise Misused(f"{path} is not among the keys of the roster beside it: take the roster of this federation")
