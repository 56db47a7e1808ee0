"""What everybody derives alike about a committee: its parameters, its context, its texts, its letters' sizes."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from protocols import wire
from protocols.errors import BadPlan
from protocols.oneshot import epoch as names
from protocols.oneshot.epoch import Epoch
from secagg.errors import BadShare
from secagg.keys import Context, Seed
from tests.protocols.oneshot.kit import PATIENT, QUORUM, WIDE, Company, identity
from tests.rows import rows

CONTEXT = Context(bytes(range(32)))


@pytest.fixture(scope="module")
def epoch() -> Epoch:
    return Company().epoch


# --- parameters


@rows("M4", "M6", "M11", "M21")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"members": (b"\1" * 32,) * 5}, "two members of the committee are one identity"),
        ({"min_cohort": 2}, "sums over 2..6 clients; at least 3"),
        ({"min_cohort": 7}, "sums over 7..6 clients"),
        ({"rounds": 0}, "for no round at all"),
        ({"corrupted": 0}, "corrupted"),
        ({"corrupted": 2}, "corrupted \\+ 3 \\* offline must stay below members"),
        ({"offline": 2}, "corrupted \\+ 3 \\* offline must stay below members"),
        ({"members": ()}, "members is an integer from 2 to 100"),
        ({"members": (b"\1" * 32,), "offline": 0}, "members is an integer from 2 to 100"),
    ],
    ids=["twice", "pair", "nobody", "no round", "none corrupt", "more corrupt", "more away", "empty", "one"],
)
def test_a_committee_that_no_quorum_keeps_safe_is_none(
    row: str, epoch: Epoch, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadPlan, match=said):
        replace(epoch, **changes)


def test_members_beyond_a_hundred_are_no_committee(epoch: Epoch) -> None:
    members = tuple(n.to_bytes(32, "little") for n in range(101))
    with pytest.raises(BadPlan, match="from 2 to 100"):
        replace(epoch, members=members)
    assert replace(epoch, members=members[:100]).quorum.needed == 99


@pytest.mark.parametrize(("quorum", "rows"), [(QUORUM, 2048), (WIDE, 1024), (PATIENT, 2048)], ids=str)
def test_the_sizes_are_those_that_travel(quorum: Any, rows: int) -> None:
    company = Company(quorum)
    server, asked = company.opening()
    epoch, letter = company.epoch, company.upload(company.ids[0])
    assert (epoch.rows, epoch.share_bytes, epoch.box_bytes) == (rows, 4 * rows, 4 * rows + 16)
    assert {len(box) for box in letter.boxes} == {epoch.box_bytes}
    assert len(company.answer(1, asked[1]).shares or b"") == epoch.share_bytes
    most = epoch.largest_question(len(company.ids))
    assert most - 1024 < len(wire.encode(asked[1])) + 100 * len(company.ids)
    assert len(wire.encode(asked[1])) <= most
    assert server.state.epoch == epoch


# --- names


def test_the_context_covers_every_field(epoch: Epoch) -> None:
    changes: dict[str, Any] = {
        "task": "other",
        "number": 1,
        "members": (*epoch.members[1:], epoch.members[0]),
        "corrupted": 2,
        "offline": 0,
        "min_cohort": 4,
        "clients": 7,
        "rounds": 4,
    }
    assert set(changes) == {field.name for field in fields(Epoch)}
    safe = replace(epoch, offline=0)
    others = [replace(safe, **{name: value}) for name, value in changes.items() if name != "offline"]
    contexts = {epoch.context, safe.context, *(each.context for each in others)}
    assert len(contexts) == len(changes) + 1
    assert epoch.context == hashlib.sha256(names.LABEL_EPOCH + wire.encode(epoch)).digest()


def test_the_certificate_s_digest_covers_every_signature() -> None:
    certificate = Company().certificate
    bent = replace(certificate.members[4], signature=bytes(64))
    others = [
        replace(certificate, members=(*certificate.members[:4], bent)),
        replace(certificate, members=certificate.members[:4]),
        replace(certificate, members=certificate.members[::-1]),
        replace(certificate, epoch=replace(certificate.epoch, number=1)),
    ]
    assert len({certificate.digest, *(each.digest for each in others)}) == 5


def test_labels_are_distinct_and_none_is_the_beginning_of_another() -> None:
    labels = sorted(value for name, value in vars(names).items() if name.startswith("LABEL_"))
    assert len(labels) == 14
    for label in labels:
        assert label.startswith(names.PREFIX)
    sealing = {names.LABEL_BOX, names.LABEL_BOX_KEY}
    beginnings = {(one, other) for one in labels for other in labels if one != other and other.startswith(one)}
    # A label ends with a byte of zero where it is used, or the text behind it has one length.
    assert beginnings == {(names.LABEL_BOX, names.LABEL_BOX_KEY)} == {tuple(sorted(sealing))}


def test_every_part_of_a_text_counts() -> None:
    other = Context(bytes(32))
    uploads = [(CONTEXT, other, 1, bytes(32)), (other, CONTEXT, 1, bytes(32)), (CONTEXT, other, 2, bytes(32))]
    uploads += [(CONTEXT, other, 1, b"\1" * 32), (CONTEXT, CONTEXT, 1, bytes(32)), (CONTEXT, other, 256, bytes(32))]
    assert len({names.upload_text(*each) for each in uploads}) == len(uploads)
    enlisted = [(CONTEXT, 1, bytes(32)), (other, 1, bytes(32)), (CONTEXT, 2, bytes(32)), (CONTEXT, 1, b"\1" * 32)]
    assert len({names.enlisted_text(*each) for each in enlisted}) == len(enlisted)
    bound = [(CONTEXT, 1, 2), (CONTEXT, 2, 1), (other, 1, 2), (CONTEXT, 1, 258), (CONTEXT, 513, 0)]
    assert len({names.box_binding(*each) for each in bound}) == len(bound)
    seed = Seed(bytes(32))
    keys = [names.box_key(seed, *each).expose() for each in bound]
    assert len({*keys, names.box_key(Seed(b"\1" * 32), *bound[0]).expose()}) == len(bound) + 1


def test_a_text_of_a_client_is_no_text_of_a_member_or_server() -> None:
    other = Context(bytes(32))
    texts = [names.upload_text(CONTEXT, other, 1, bytes(32)), names.enlisted_text(CONTEXT, 1, bytes(32))]
    assert not any(one.startswith(label) for one in texts for label in (names.LABEL_BOX + CONTEXT, names.LABEL_EPOCH))
    assert texts[0] == names.LABEL_UPLOAD + CONTEXT + other + b"\1\0\0\0" + bytes(32)
    assert texts[1] == names.LABEL_ENLISTED + CONTEXT + b"\1\0\0\0" + bytes(32)


def test_a_member_s_key_is_one_of_its_root_and_epoch() -> None:
    root, other = Seed(bytes(32)), Seed(b"\1" * 32)
    keys = [
        names.member_key(root, CONTEXT),
        names.member_key(other, CONTEXT),
        names.member_key(root, Context(bytes(32))),
    ]
    assert len({key.expose() for key in keys}) == 3


def test_a_question_is_that_of_its_texts_in_order_and_length() -> None:
    one, other, joined = b"a" * 100, b"b" * 100, b"a" * 100 + b"b" * 100
    questions = [names.question_of(CONTEXT, CONTEXT, texts) for texts in ([one, other], [other, one], [joined], [one])]
    assert len(set(questions)) == 4


# --- shares as bytes


@rows("C8")
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_no_whole_number_of_elements_is_no_share(row: str, size: int) -> None:
    with pytest.raises(BadShare, match="no whole number"):
        names.share_from_bytes(bytes(size))


def test_a_share_is_four_bytes_an_element_little_end_first() -> None:
    share = names.share_from_bytes(bytes([1, 2, 0, 0, 255, 255, 255, 127]))
    assert share.dtype == np.uint32
    assert share.tolist() == [513, 2**31 - 1]
    assert names.share_to_bytes(share) == bytes([1, 2, 0, 0, 255, 255, 255, 127])
    assert identity("any", 0).public not in names.share_to_bytes(share)
