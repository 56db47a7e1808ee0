"""Homes and rosters: keys of one's own, trusted files only, and every wrong one by name."""

from __future__ import annotations

import json
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from dp.errors import Locked, StorageRefused
from protocols.committee import FIRST_HOLDER
from protocols.errors import BadPlan, Misused
from protocols.home import Home, make_homes
from protocols.party import PartyId
from protocols.roster import Roster
from secagg import Identity
from secagg.errors import BadSignature

KEYS = [Identity.fresh().public for _ in range(5)]
ROSTER = Roster(KEYS[0], {PartyId(0): KEYS[1], PartyId(5): KEYS[2]}, {PartyId(FIRST_HOLDER): KEYS[3]})
DEMANDS: dict[str, Any] = {"protocols": frozenset({"oneshot"})}


# --- rosters


def test_a_roster_comes_back_from_its_text() -> None:
    assert Roster.from_json(ROSTER.to_json()) == ROSTER
    assert json.loads(ROSTER.to_json())["clients"]["5"] == KEYS[2].hex()


def test_a_policy_pins_everybody_in_the_roster() -> None:
    policy = ROSTER.policy(min_cohort=4)
    assert dict(policy.identities) == dict(ROSTER.clients)
    assert policy.holders == frozenset(ROSTER.openers.values())
    assert policy.min_cohort == 4
    with pytest.raises(BadPlan, match="fewer than 3"):
        ROSTER.policy(min_cohort=2)


def test_a_roster_does_not_change() -> None:
    with pytest.raises(TypeError):
        ROSTER.clients[PartyId(1)] = KEYS[4]  # type: ignore[index]  # the very thing that must fail


@pytest.mark.parametrize(
    ("server", "clients", "openers", "why"),
    [
        (KEYS[0][1:], {0: KEYS[1]}, {}, "32 bytes"),
        ("key", {0: KEYS[1]}, {}, "32 bytes"),
        (KEYS[0], {0: KEYS[0]}, {}, "a key of its own"),
        (KEYS[0], {0: KEYS[1], 1: KEYS[1]}, {}, "a key of its own"),
        (KEYS[0], {0: KEYS[1]}, {0: KEYS[2]}, "a key of its own"),
        (KEYS[0], {-1: KEYS[1]}, {}, "numbered"),
        (KEYS[0], {1 << 32: KEYS[1]}, {}, "numbered"),
        (KEYS[0], {True: KEYS[1]}, {}, "numbered"),
    ],
)
def test_a_wrong_roster_is_refused(server: Any, clients: Any, openers: Any, why: str) -> None:
    with pytest.raises(Misused, match=why):
        Roster(server, clients, openers)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"version": 1}',
        ROSTER.to_json().replace('"version": 1', '"version": 2'),
        ROSTER.to_json().replace('"version": 1', '"version": 1, "more": 2'),
        ROSTER.to_json().replace('"5"', '"05"'),
        ROSTER.to_json().replace('"5"', '"0"'),
        ROSTER.to_json().replace(KEYS[2].hex(), KEYS[2].hex().upper() + "0"),
        ROSTER.to_json().replace(KEYS[2].hex(), KEYS[2].hex()[:-2]),
        ROSTER.to_json().replace(f'"{KEYS[2].hex()}"', "3"),
    ],
    ids=range(12),
)
def test_text_that_is_no_roster_is_refused(text: str) -> None:
    with pytest.raises(Misused, match="roster"):
        Roster.from_json(text)


# --- homes


def test_homes_have_keys_of_their_own_that_only_their_owner_reads(tmp_path: Path) -> None:
    roster = make_homes(tmp_path / "homes", 3, openers=2)
    homes = [Home.at(tmp_path / "homes" / name) for name in ("server", "site-0", "site-1", "site-2")]
    assert all(home.roster == roster for home in homes)
    assert homes[0].identity.public == roster.server
    assert [home.identity.public for home in homes[1:]] == list(roster.clients.values())
    assert [None if home.opener is None else home.opener.public for home in homes[1:]] == [
        *roster.openers.values(),
        None,
    ]
    for key in (tmp_path / "homes").rglob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    seeds = {key.read_bytes() for key in (tmp_path / "homes").rglob("*.key")}
    assert len(seeds) == 6
    for home in homes:
        assert not any(repr(seed)[2:-1] in repr(home) or seed.hex() in repr(home) for seed in seeds)


def test_the_folders_above_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    make_homes(tmp_path / "x" / "y" / "homes", 2)
    for folder in ("x", "x/y", "x/y/homes"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700


def test_a_folder_under_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file")
    with pytest.raises(StorageRefused, match="cannot create the directory"):
        make_homes(tmp_path / "x" / "homes", 2)


@pytest.mark.parametrize(("protocol", "openers"), [("pairwise", 0), ("oneshot", 10), ("ckks", 5)])
def test_as_many_open_as_the_protocol_usually_has(protocol: str, openers: int, tmp_path: Path) -> None:
    assert len(make_homes(tmp_path, 12, protocol).openers) == openers
    with pytest.raises(Misused, match="not empty"):
        make_homes(tmp_path, 12, protocol)


def test_a_site_has_the_numbers_of_who_lives_there(tmp_path: Path) -> None:
    roster = make_homes(tmp_path, 3, openers=1)
    policy = roster.policy(**DEMANDS)
    with Home.at(tmp_path / "site-0").site(policy) as first, Home.at(tmp_path / "site-1").site(policy) as second:
        assert first.numbers == (0, FIRST_HOLDER)
        assert second.numbers == (1,)
        assert not first.needs_update
        with pytest.raises(Locked):
            Home.at(tmp_path / "site-0").site(policy)
    Home.at(tmp_path / "site-0").site(policy).close()


def test_the_folder_of_a_client_is_given_up_when_its_opener_cannot_live(tmp_path: Path) -> None:
    roster = make_homes(tmp_path, 3, openers=1)
    both = roster.policy(protocols=frozenset({"oneshot", "ckks"}))
    with pytest.raises(Misused, match="serves one protocol"):
        Home.at(tmp_path / "site-0").site(both)
    Home.at(tmp_path / "site-0").site(roster.policy(**DEMANDS)).close()


def test_nobody_trains_in_the_home_of_the_server(tmp_path: Path) -> None:
    roster = make_homes(tmp_path, 3)
    with pytest.raises(Misused, match="not among those the policy pins"):
        Home.at(tmp_path / "server").site(roster.policy(**DEMANDS))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"clients": 0}, "clients is 0"),
        ({"clients": True}, "clients is True"),
        ({"clients": "3"}, "clients is '3'"),
        ({"clients": 3, "openers": 4}, "openers is 4"),
        ({"clients": 3, "openers": -1}, "openers is -1"),
        ({"clients": 70, "openers": 65}, "at most 64"),
        ({"clients": 3, "protocol": "plain"}, "protocol is 'plain'"),
    ],
)
def test_homes_that_cannot_be_are_refused(arguments: Any, why: str, tmp_path: Path) -> None:
    with pytest.raises(Misused, match=why):
        make_homes(tmp_path / "homes", **arguments)
    assert not (tmp_path / "homes").exists()


def test_a_relative_folder_that_is_missing_is_named_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Misused, match=rf"^{re.escape(str(tmp_path))}/homes/server is no home"):
        Home.at("homes/server")


def test_a_folder_that_is_no_home_is_refused(tmp_path: Path) -> None:
    make_homes(tmp_path / "homes", 3, openers=1)
    other = make_homes(tmp_path / "other", 3, openers=1)
    home = tmp_path / "homes" / "site-0"
    with pytest.raises(Misused, match="is no home"):
        Home.at(tmp_path)
    (home / "identity.key").chmod(0o640)
    with pytest.raises(Misused, match="read by others"):
        Home.at(home)
    (home / "identity.key").chmod(0o600)
    shutil.copy(tmp_path / "other" / "site-0" / "opener.key", home / "opener.key")
    with pytest.raises(Misused, match=r"opener\.key is not among the keys of the roster"):
        Home.at(home)
    (home / "roster.json").write_text(other.to_json())
    with pytest.raises(Misused, match=r"identity\.key is not among the keys of the roster"):
        Home.at(home)
    (home / "opener.key").write_bytes(bytes(31))
    with pytest.raises(Misused, match="must hold 32 bytes"):
        Home.at(home)


def test_a_roster_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    make_homes(tmp_path, 3, "pairwise")
    (tmp_path / "site-0" / "roster.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Misused, match="a roster is a JSON object"):
        Home.at(tmp_path / "site-0")


def test_who_lives_in_a_home_signs_where_it_is(tmp_path: Path) -> None:
    roster = make_homes(tmp_path, 3, openers=1)
    said = Home.at(tmp_path / "site-0").introductions("node 7")
    assert list(said) == [0, FIRST_HOLDER]
    for who, signature in said.items():
        roster.check_place(who, "node 7", signature)
        for wrong in ("node 8", "node 7 "):
            with pytest.raises(BadSignature):
                roster.check_place(who, wrong, signature)
    for who in (1, 2, 99, FIRST_HOLDER + 1):
        with pytest.raises(BadSignature):
            roster.check_place(PartyId(who), "node 7", said[PartyId(0)])


def test_the_server_lives_nowhere_among_the_sites(tmp_path: Path) -> None:
    make_homes(tmp_path, 3)
    with pytest.raises(Misused, match="not among the keys of the roster"):
        Home.at(tmp_path / "server").introductions("node 7")


@pytest.mark.parametrize("least", [2, 3, 5])
def test_who_opens_sums_insists_on_what_its_client_does(least: int, tmp_path: Path) -> None:
    """Against: a site whose client refuses a weak committee, and whose opener serves in it for others."""
    demands = {"min_cohort": 4, "min_opening_threshold": least}
    roster = make_homes(tmp_path / "members", 3, openers=1)
    with Home.at(tmp_path / "members/site-0").site(roster.policy(**DEMANDS, **demands)) as site:
        serving = site._opener._opener.policy
        assert (serving.min_cohort, serving.min_corrupted) == (4, least - 1)
    roster = make_homes(tmp_path / "holders", 3, "ckks", openers=1)
    with Home.at(tmp_path / "holders/site-0").site(roster.policy(protocols=frozenset({"ckks"}), **demands)) as site:
        holding = site._opener._opener.policy
        assert (holding.min_cohort, holding.min_threshold) == (4, least)
