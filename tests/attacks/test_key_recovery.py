"""Somebody solves for the decryption key: from approximate results, from ours, and by a ciphertext of its own.

The attack is the published one of Li and Micciancio (EUROCRYPT 2021), linear algebra on keys that are made here and
forgotten here; nothing is searched for, and nothing of it is shipped but the guard that runs it on our own releases.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from secagg.ckks import cipher
from secagg.ckks.cipher import Fft, Part, Upload, add_into, check_opened, messages, open_exact
from secagg.ckks.guard import (
    SAMPLE,
    conjugate,
    exposed,
    key_recovered,
    keys_from,
    keys_from_real,
    short_share,
    with_conjugate,
)
from secagg.ckks.plan import CkksPlan, Keys, Mode, plan
from secagg.ckks.share import scaled
from secagg.ckks.wire import pack_into, packed_bytes
from secagg.errors import BadCiphertext, BadParameters
from secagg.negacyclic import PRIME, N, Residues, big_product, centred, reduced
from tests.rows import rows
from tests.secagg.ckks.committee import (
    CONTEXT,
    SEEDED,
    SINGLE,
    Single,
    Threshold,
    deployed,
    random_residues,
    random_values,
    seed_of,
)

FIVE = Keys(Mode.THRESHOLD, 5, 4)
each_mode = pytest.mark.parametrize("keys", [FIVE, SINGLE, SEEDED], ids=lambda keys: keys.mode.value)

# --- a peer that publishes approximate results: slots in doubles, as CKKS libraries decode them

SCALE = 2.0**40
_TWIST = np.exp(1j * np.pi / N * np.arange(N))
_POWERS = np.array([pow(3, j, 2 * N) for j in range(N // 2)])
_SLOTS, _MIRRORED = (_POWERS - 1) // 2, (2 * N - _POWERS - 1) // 2

Slots = NDArray[Any]


def decoded(plaintext: Residues) -> Slots:
    """m(zeta^(3^j)) / scale for each row."""
    return (np.fft.ifft(centred(plaintext) * _TWIST) * N)[..., _SLOTS] / SCALE


def encoded(slots: Slots) -> NDArray[np.float64]:
    """The real polynomials with these slots, times the scale."""
    whole = np.zeros((*slots.shape[:-1], N), np.complex128)
    whole[..., _SLOTS], whole[..., _MIRRORED] = slots, np.conj(slots)
    return (np.fft.fft(whole) / N * np.conj(_TWIST)).real * SCALE


class Approximate:
    """Sums of three clients' real vectors, and what is published of them."""

    def __init__(self, sums: int) -> None:
        single = Single(plan(3, 20, N, SINGLE))
        self.secret = single.secret
        self.c0, self.c1 = (np.zeros((sums, N), np.uint64) for _ in range(2))
        self.exact = np.zeros((sums, N // 2))
        generator = np.random.default_rng(7)
        for who in range(3):
            values = generator.normal(size=(sums, N // 2))
            c0, c1 = Fft().zeros(single.key, Part(0, sums), seed_of("client", who), CONTEXT)
            add_into(c0, reduced(np.rint(encoded(values)).astype(np.int64)))
            add_into(self.c0, c0)
            add_into(self.c1, c1)
            self.exact += values
        plaintext = big_product(self.c1, self.secret)
        add_into(plaintext, self.c0)
        self.slots = decoded(plaintext)


def rounded(polynomials: NDArray[np.float64]) -> Residues:
    return reduced(np.rint(polynomials).astype(np.int64))


def test_the_peer_is_right_up_to_its_noise() -> None:
    peer = Approximate(2)
    assert 0 < np.abs(peer.slots - peer.exact).max() < 2.0**-22


@rows("M24")
def test_approximate_results_in_doubles_give_the_whole_key_away(row: str) -> None:
    peer = Approximate(2)
    keys = keys_from(peer.c0, peer.c1, rounded(encoded(peer.slots)))
    assert np.array_equal(keys, [peer.secret, peer.secret])
    assert short_share(keys, peer.c1) == 1.0


def test_real_parts_of_two_sums_give_the_whole_key_away() -> None:
    """What a library returns that decrypts vectors of reals."""
    peer = Approximate(3)
    traces = rounded(2 * encoded(peer.slots.real))
    keys = keys_from_real(peer.c0, peer.c1, traces)
    assert np.array_equal(keys, [peer.secret, peer.secret])
    assert short_share(keys, peer.c1[1:]) == 1.0
    # Half of the equations are missing from any one of them.
    assert short_share(keys_from(peer.c0, peer.c1, rounded(encoded(peer.slots.real))), peer.c1) == 0.0
    with pytest.raises(BadParameters, match="two sums"):
        keys_from_real(peer.c0[:1], peer.c1[:1], traces[:1])


@pytest.mark.parametrize("kind", ["float32", "grid", "truth"])
def test_fewer_bits_of_the_result_do_not_give_the_key_to_this_attack(kind: str) -> None:
    peer = Approximate(2)
    published = {
        "float32": peer.slots.astype(np.complex64).astype(np.complex128),
        "grid": np.rint(peer.slots * 2**20) / 2**20,
        "truth": peer.exact.astype(np.complex128),
    }[kind]
    assert short_share(keys_from(peer.c0, peer.c1, rounded(encoded(published))), peer.c1) == 0.0
    assert short_share(keys_from_real(peer.c0, peer.c1, rounded(2 * encoded(published.real))), peer.c1[1:]) == 0.0


# --- what we publish


@rows("M24")
@each_mode
def test_exact_results_of_fifty_rounds_give_nothing_away(keys: Keys, row: str) -> None:
    each = plan(3, 18, 3 * N, keys)
    assert each.blocks > 1
    deployment = deployed(each)
    sums, known = [], []
    for number in range(50):
        uploads = [
            deployment.upload(random_values(each, number, who), who, context=bytes([number]) * 32) for who in range(3)
        ]
        c0, c1 = deployment.summed(uploads)
        result = open_exact(each, deployment.plaintext(c0, c1))
        check_opened(each, result)
        assert key_recovered(each, c0, c1, result.values) == 0.0
        assert not exposed(each, c0[:SAMPLE], c1[:SAMPLE], result.values)
        sums.append((c0, c1))
        known.append(reduced(messages(each, result.values, Part(0, each.blocks))))
    c0, c1 = (np.concatenate(rows) for rows in zip(*sums, strict=True))
    assert short_share(keys_from_real(c0, c1, with_conjugate(np.concatenate(known))), c1[1:]) == 0.0


@pytest.mark.parametrize("dimension", [N, 3 * N])
def test_the_guard_sees_a_build_whose_noise_is_missing(dimension: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.secagg.ckks.committee.cbd21", lambda stream, count: np.zeros(count, np.int64))
    monkeypatch.setattr(cipher, "cbd21", lambda stream, count: np.zeros(count, np.int64))
    each = replace(plan(3, 18, dimension, SINGLE), digits=1, width0=7, width1=7)
    single = Single(each)
    c0, c1 = single.summed([single.upload(random_values(each, who), who) for who in range(3)])
    values = open_exact(each, single.plaintext(c0, c1)).values
    assert key_recovered(each, c0, c1, values) == 1.0
    assert exposed(each, c0[:SAMPLE], c1[:SAMPLE], values)
    values[0] += 1
    # One block of a spoilt result does not hide the others.
    assert key_recovered(each, c0, c1, values) == float(dimension > N)


def test_the_guard_sees_real_parts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that is left in imaginary parts alone."""
    each = replace(plan(3, 18, 2 * N, SINGLE), digits=1, width0=7, width1=7)
    secret = Single(each).secret
    values = random_values(each)
    c1 = random_residues("c1", rows=2)
    plaintext = reduced((values << each.guard).reshape(2, N))
    noise = random_residues("noise", rows=2) % np.uint64(100)
    for sign, part in ((1, noise), (-1, conjugate(noise))):
        add_into(plaintext, np.stack([scaled(row, sign) for row in part]))
    c0 = plaintext
    for row, product in enumerate(big_product(c1, secret)):
        add_into(c0[row], scaled(product, -1))
    assert short_share(keys_from(c0, c1, reduced((values << each.guard).reshape(2, N))), c1) == 0.0
    assert key_recovered(each, c0, c1, values) == 1.0


def test_what_the_decryptor_rounds_away_is_what_protects_its_key() -> None:
    each = plan(3, 18, N, SINGLE)
    single = Single(each)
    c0, c1 = single.summed([single.upload(random_values(each, who), who) for who in range(3)])
    plaintext = single.plaintext(c0, c1)
    assert np.array_equal(keys_from(c0, c1, plaintext)[0], single.secret)
    shifted = centred(plaintext) + (1 << (each.guard - 1))
    without = reduced(shifted - shifted % (1 << each.guard))
    assert short_share(keys_from(c0, c1, without), c1) == 0.0


def test_what_holders_combine_hides_their_key_even_before_it_is_rounded() -> None:
    each = plan(3, 18, 2 * N, FIVE)
    committee = Threshold(each)
    c0, c1 = committee.summed([committee.upload(random_values(each, who), who) for who in range(3)])
    plaintext = committee.plaintext(c0, c1)
    assert short_share(keys_from(c0, c1, plaintext), c1) == 0.0
    assert short_share(keys_from_real(c0, c1, with_conjugate(plaintext)), c1[1:]) == 0.0


def test_a_sum_without_a_key_in_it_gives_none_away() -> None:
    each = plan(1, 18, 2 * N, SINGLE)
    zeros = np.zeros((each.blocks, N), np.uint64)
    assert key_recovered(each, zeros, zeros, np.zeros(each.dimension, np.int64)) == 0.0


def test_conjugation_turns_slots_around() -> None:
    row = random_residues("x", rows=2)
    slots, turned = decoded(row), decoded(conjugate(row))
    assert np.allclose(turned, np.conj(slots), rtol=1e-9)
    assert np.array_equal(conjugate(conjugate(row)), row)
    assert np.array_equal(with_conjugate(row), conjugate(with_conjugate(row)))


def test_the_guard_wants_matching_rows() -> None:
    good = random_residues("x", rows=2)
    for bad in (good[0], good[:1], good[:, 1:], good.astype(np.int64), good + np.uint64(PRIME)):
        for three in ((bad, good, good), (good, bad, good), (good, good, bad)):
            with pytest.raises(BadParameters):
                keys_from(*three)
            with pytest.raises(BadParameters):
                keys_from_real(*three)


# --- a client's own ciphertext: the limit that SECURITY.md states


def poison(each: CkksPlan, power: int) -> Upload:
    """(0, 2^k) in every block: opened, it is 2^k s."""
    count = each.blocks * N
    c1 = np.zeros((each.blocks, N), np.uint64)
    c1[:, 0] = 1 << power
    upload = Upload(bytearray(packed_bytes(count, each.width0)), bytearray(packed_bytes(count, each.width1)))
    pack_into(upload.c1, c1, each.width1)
    return upload


class Poisoned:
    """Nine honest uploads of small updates, and the villain's."""

    def __init__(self, each: CkksPlan, power: int) -> None:
        self.committee = Threshold(each)
        generator = np.random.default_rng(3)
        self.vectors = np.rint(generator.normal(0, 50, (9, each.dimension))).astype(np.int64)
        self.uploads = [self.committee.upload(values, who) for who, values in enumerate(self.vectors)]
        c0, c1 = self.committee.summed([*self.uploads, poison(each, power)])
        self.plaintext = self.committee.plaintext(c0, c1)


POISONABLE = plan(10, 20, 40 * N, FIVE)


def test_who_sees_the_opened_blocks_reads_the_key_that_a_client_asked_for() -> None:
    """A client that colludes with the combiner: fresh keys and smudging do not help in the same round."""
    case = Poisoned(POISONABLE, 47)
    read = reduced((centred(case.plaintext[0]) + (1 << 46)) >> 47)
    assert np.array_equal(read, case.committee.secret)
    # With it every upload of the epoch opens, here one victim's.
    c0, c1 = case.committee.summed(case.uploads[:1])
    victim = big_product(c1, read)
    add_into(victim, c0)
    assert np.array_equal(open_exact(POISONABLE, victim).values, case.vectors[0])


def test_an_honest_combiner_sees_a_key_that_leaves_the_range_and_releases_nothing() -> None:
    case = Poisoned(POISONABLE, 47)
    with pytest.raises(BadCiphertext, match="larger than its clients"):
        check_opened(POISONABLE, open_exact(POISONABLE, case.plaintext))


def test_within_the_range_the_published_sum_itself_carries_the_key() -> None:
    """No check of sizes helps: averaged over blocks, small updates leave the key behind."""
    assert POISONABLE.digits == 1
    case = Poisoned(POISONABLE, POISONABLE.guard + 9)
    result = open_exact(POISONABLE, case.plaintext)
    check_opened(POISONABLE, result)
    average = result.values.reshape(POISONABLE.blocks, N).mean(axis=0) / 2**9
    assert np.array_equal(reduced(np.rint(average).astype(np.int64)), case.committee.secret)


def test_without_the_poison_the_same_averages_hold_no_key() -> None:
    case = Poisoned(POISONABLE, POISONABLE.guard + 9)
    honest = case.vectors.sum(axis=0).reshape(POISONABLE.blocks, N).mean(axis=0) / 2**9
    assert np.mean(reduced(np.rint(honest).astype(np.int64)) == case.committee.secret) < 0.1
