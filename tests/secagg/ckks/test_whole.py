"""whole: one party's key opens what both engines encrypted under it, and is a secret; a shared key differs by round."""

from __future__ import annotations

import copy
import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from secagg.ckks.cipher import RESIDUAL_MARGIN, Fft, add_into, check_opened, encrypt, encrypt_seeded, open_exact
from secagg.ckks.plan import plan
from secagg.ckks.seal import SealEngine
from secagg.ckks.share import common_polynomial
from secagg.ckks.whole import SecretKey, SharedKey, decrypt, public_key
from secagg.ckks.wire import unpack
from secagg.errors import BadCiphertext, BadParameters, BadShare
from secagg.keys import Seed
from secagg.negacyclic import PRIME, N, Residues, big_product, centred
from secagg.workers import Workers
from tests.secagg.ckks.committee import (
    CONTEXT,
    EPOCH,
    SEEDED,
    SINGLE,
    expanded,
    random_residues,
    random_values,
    seed_of,
    slow_product,
    summed,
)

ROOT = seed_of("decryptor")
OTHER = hashlib.sha256(b"another context").digest()


def test_the_public_key_is_what_the_equation_says_with_products_by_python_integers() -> None:
    secret = SecretKey.of(ROOT, EPOCH)
    key = public_key(secret, ROOT, EPOCH)
    assert np.array_equal(key.a, common_polynomial(EPOCH))
    product = slow_product(key.a, secret.residues)
    error = [(int(b) + p + PRIME // 2) % PRIME - PRIME // 2 for b, p in zip(key.b, product, strict=True)]
    # 42 fair bits less 21: variance 21/2, of N samples within 20 %.
    assert max(map(abs, error)) <= 21
    assert np.var(error) == pytest.approx(21 / 2, rel=0.2)


def test_the_secret_is_ternary_and_each_sign_a_third() -> None:
    signs = centred(SecretKey.of(ROOT, EPOCH).residues)
    counts = [int(np.sum(signs == sign)) for sign in (-1, 0, 1)]
    assert sum(counts) == N
    # Six deviations of a binomial of N and 1/3.
    assert all(abs(count - N / 3) < 6 * np.sqrt(N * 2 / 9) for count in counts)


def test_a_decryption_is_what_the_equation_says_with_products_by_python_integers() -> None:
    secret = SecretKey.of(ROOT, EPOCH)
    c0, c1 = random_residues("c0", rows=2), random_residues("c1", rows=2)
    found = decrypt(secret, c0, c1)
    for row, one, other in zip(found, c0, c1, strict=True):
        product = slow_product(other, secret.residues)
        assert [int(value) for value in row] == [(int(x) + y) % PRIME for x, y in zip(one, product, strict=True)]


@pytest.mark.parametrize("extreme", [0, 1, PRIME // 2, PRIME // 2 + 1, PRIME - 1])
def test_a_decryption_of_extreme_residues_is_exact(extreme: int) -> None:
    secret = SecretKey.of(ROOT, EPOCH)
    c1 = np.full((1, N), extreme, np.uint64)
    expected = big_product(c1, secret.residues)
    add_into(expected, c1)
    assert np.array_equal(decrypt(secret, c1, c1), expected)


def test_two_threads_decrypt_to_the_same_as_one() -> None:
    secret, c0, c1 = SecretKey.of(ROOT, EPOCH), random_residues("c0", rows=1100), random_residues("c1", rows=1100)
    with ThreadPoolExecutor(2) as pool:
        assert np.array_equal(decrypt(secret, c0, c1, Workers(pool, 2)), decrypt(secret, c0, c1))


def test_the_decryptor_opens_what_both_engines_encrypted_with_noise_as_planned() -> None:
    agreed = plan(4, 20, 30_000, SINGLE)
    secret = SecretKey.of(ROOT, EPOCH)
    key = public_key(secret, ROOT, EPOCH)
    vectors = [random_values(agreed, who) for who in range(4)]
    uploads = [
        encrypt(agreed, key, values, seed_of("client", who), CONTEXT, engine)
        for who, (values, engine) in enumerate(zip(vectors, [Fft(), SealEngine(), Fft(), SealEngine()], strict=True))
    ]
    opened = open_exact(agreed, decrypt(secret, *summed(uploads, agreed)))
    assert np.array_equal(opened.values, np.sum(vectors, axis=0))
    check_opened(agreed, opened)
    assert opened.residual == pytest.approx(agreed.noise.std, rel=0.1)


def seeded_sum(shared: SharedKey, contexts: list[bytes], vectors: list[np.ndarray]) -> tuple[Residues, Residues]:
    agreed = plan(3, 20, 30_000, SEEDED)
    c0, c1 = (np.zeros((agreed.blocks, N), np.uint64) for _ in range(2))
    for who, (context, values) in enumerate(zip(contexts, vectors, strict=True)):
        public = hashlib.sha256(bytes([who])).digest()
        root, transformed = seed_of("client", who), shared.of(context).transformed
        packed = encrypt_seeded(agreed, transformed, values, root, context, public)
        add_into(c0, unpack(packed, c0.size, agreed.width0).reshape(c0.shape))
        add_into(c1, expanded(public, agreed.blocks))
    return c0, c1


def test_whoever_shares_the_key_opens_the_sum_with_noise_as_planned() -> None:
    agreed, shared = plan(3, 20, 30_000, SEEDED), SharedKey(seed_of("owner"))
    vectors = [random_values(agreed, who) for who in range(3)]
    opened = open_exact(agreed, decrypt(shared.of(CONTEXT), *seeded_sum(shared, [CONTEXT] * 3, vectors)))
    assert np.array_equal(opened.values, np.sum(vectors, axis=0))
    check_opened(agreed, opened)
    assert opened.residual == pytest.approx(agreed.noise.std, rel=0.1)


@pytest.mark.parametrize("odd", range(3))
def test_an_upload_of_another_round_makes_garbage_that_is_seen(odd: int) -> None:
    agreed, shared = plan(3, 20, 30_000, SEEDED), SharedKey(seed_of("owner"))
    contexts = [OTHER if who == odd else CONTEXT for who in range(3)]
    sums = seeded_sum(shared, contexts, [random_values(agreed, who) for who in range(3)])
    opened = open_exact(agreed, decrypt(shared.of(CONTEXT), *sums))
    assert opened.worst_residual > RESIDUAL_MARGIN * agreed.noise.std
    with pytest.raises(BadCiphertext):
        check_opened(agreed, opened)


def test_keys_are_functions_of_root_and_context() -> None:
    assert SecretKey.of(ROOT, EPOCH) == SecretKey.of(ROOT, EPOCH)
    shared, again = SharedKey(seed_of("owner")), SharedKey(seed_of("owner"))
    assert shared.of(CONTEXT) == again.of(CONTEXT)
    assert shared.name == again.name
    assert shared.name != SharedKey(seed_of("another owner")).name
    one = SecretKey.of(ROOT, EPOCH).residues
    for other in (SecretKey.of(ROOT, OTHER), SecretKey.of(seed_of("another"), EPOCH), shared.of(EPOCH)):
        # Of two independent ternary polynomials a third of the coefficients agree.
        assert np.mean(one == other.residues) == pytest.approx(1 / 3, abs=0.07)


def test_keys_hide_and_can_be_erased() -> None:
    root = seed_of("owner")
    secret, shared = SecretKey.of(ROOT, EPOCH), SharedKey(root)
    for hidden in (secret, shared):
        assert repr(hidden) == f"<{type(hidden).__name__}: secret>"
        for leak in (pickle.dumps, copy.deepcopy):
            with pytest.raises(BadParameters, match="never pickled or copied"):
                leak(hidden)
    secret.erase()
    root.erase()
    for use in (lambda: secret.residues, lambda: secret.transformed, lambda: shared.of(CONTEXT)):
        with pytest.raises(BadParameters, match="erased"):
            use()


@pytest.mark.parametrize(
    ("residues", "error"),
    [
        (np.full(N, 2, np.uint64), BadParameters),
        (np.full(N, PRIME - 2, np.uint64), BadParameters),
        (np.ones(N - 1, np.uint64), BadParameters),
        (np.full(N, PRIME, np.uint64), BadShare),
        (np.ones(N, np.int64), BadShare),
    ],
)
def test_what_is_no_ternary_key_is_refused(residues: Residues, error: type[Exception]) -> None:
    with pytest.raises(error):
        SecretKey(residues)


def test_halves_of_two_shapes_are_refused() -> None:
    secret = SecretKey.of(ROOT, EPOCH)
    rows = random_residues("c0", rows=2)
    for c0, c1 in ((rows, rows[:1]), (rows[0], rows[0])):
        with pytest.raises(BadParameters, match="halves of a ciphertext"):
            decrypt(secret, c0, c1)
    with pytest.raises(BadParameters):
        SecretKey.of(Seed(bytes(32)), b"short")
