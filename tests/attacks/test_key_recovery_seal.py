"""Somebody solves for the key of the peer's own library: SEAL by itself, and TenSEAL's vectors as NVFlare sets them up.

The peers draw, encrypt, add, decrypt and decode; the villain has their ciphertexts and what they publish. The attack is
the published one of Li and Micciancio (EUROCRYPT 2021), linear algebra on keys that are made here and forgotten here;
nothing is searched for, and nothing of it is shipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tenseal
import tenseal.sealapi
from numpy.typing import NDArray

from benchmarks.peers.tenseal import DEGREE, PRIME_BITS, SCALE_BITS
from secagg.ckks.cipher import encrypt, open_exact
from secagg.ckks.guard import key_recovered, keys_from, keys_from_real, short_share
from secagg.ckks.plan import Keys, Mode, plan
from secagg.ckks.seal import SLOTS, Form, SealEngine, library, slots_encode
from secagg.negacyclic import N, Residues, centred, reduced
from tests.rows import rows
from tests.secagg.ckks.committee import CONTEXT, SINGLE, Single, Threshold, random_values, seed_of

CLIENTS = 3
SCALE = 2.0**SCALE_BITS

Slots = NDArray[Any]
# Python's integers in an array: products modulo 60 bits need 120.
Exact = NDArray[np.object_]


def in_single(published: Slots) -> Slots:
    shortened: Slots = published.astype(np.complex64 if np.iscomplexobj(published) else np.float32)
    return shortened.astype(published.dtype)


def on_a_grid(published: Slots) -> Slots:
    rounded: Slots = np.rint(published * 2**20)
    return rounded / 2**20


fewer_bits = pytest.mark.parametrize("shortened", [in_single, on_a_grid])

# --- SEAL by itself, in the ring of our prime: one sum and its complex slots, or two and their real parts


def polynomials_of(ciphertext: Any) -> Residues:
    """The two polynomials of a ciphertext of values, as coefficients."""
    library().evaluator.transform_from_ntt_inplace(ciphertext)
    residues = np.array([ciphertext[place] for place in range(2 * N)], np.uint64)
    return residues.reshape(2, N)


class Seal:
    """Sums of three clients' slots under a key of SEAL's own, and what its decoder returns for them."""

    def __init__(self, sums: int) -> None:
        names, context = library().names, library().context
        generator, public = names.KeyGenerator(context), names.PublicKey()
        generator.create_public_key(public)
        self._generator, self._encoder = generator, names.CKKSEncoder(context)
        self._encryptor = names.Encryptor(context, public)
        self._decryptor = names.Decryptor(context, generator.secret_key())
        real, imaginary = np.random.default_rng(7).normal(size=(2, CLIENTS, sums, SLOTS))
        vectors = real + 1j * imaginary
        self.exact = vectors.sum(0)
        pairs = [self._sum(vectors[:, number]) for number in range(sums)]
        self.slots = np.array([slots for _, slots in pairs])
        self.c0, self.c1 = np.array([ciphertext for ciphertext, _ in pairs]).swapaxes(0, 1)

    def _sum(self, vectors: Slots) -> tuple[Residues, Slots]:
        names = library().names
        total, opened = self._encrypted(vectors[0]), names.Plaintext()
        for vector in vectors[1:]:
            library().evaluator.add_inplace(total, self._encrypted(vector))
        self._decryptor.decrypt(total, opened)
        return polynomials_of(total), np.array(self._encoder.decode_complex(opened))

    def _encrypted(self, vector: Slots) -> Any:
        names = library().names
        plaintext, ciphertext = names.Plaintext(), names.Ciphertext()
        self._encoder.encode(vector.tolist(), SCALE, plaintext)
        self._encryptor.encrypt(plaintext, ciphertext)
        return ciphertext

    def secret(self) -> Residues:
        """The true key, as coefficients: what the villain is compared with."""
        # Its data is gone as soon as the key is.
        key = self._generator.secret_key()
        data = key.data()
        values = np.array([data[place] for place in range(N)], np.uint64)
        blob = library().format.ciphertext(np.stack([values, values]), Form.VALUES)
        secret: Residues = polynomials_of(library().load("Ciphertext", blob))[0]
        return secret


def plaintexts(slots: Slots) -> Residues:
    return reduced(slots_encode(slots, SCALE))


def traces(slots: Slots) -> Residues:
    """M + M* from real parts."""
    return reduced(slots_encode(slots.real.astype(np.complex128), 2 * SCALE))


def test_seal_is_right_up_to_its_noise_and_its_key_is_ternary() -> None:
    peer = Seal(1)
    assert 0 < np.abs(peer.slots - peer.exact).max() < 2.0**-20
    assert set(centred(peer.secret()).tolist()) == {-1, 0, 1}


@rows("M24")
def test_slots_of_seal_in_doubles_give_its_whole_key_away(row: str) -> None:
    peer = Seal(2)
    secret = peer.secret()
    assert np.array_equal(keys_from(peer.c0, peer.c1, plaintexts(peer.slots)), [secret, secret])
    assert np.array_equal(keys_from_real(peer.c0, peer.c1, traces(peer.slots)), [secret])


@fewer_bits
def test_fewer_bits_of_seals_slots_do_not_give_its_key_to_this_attack(shortened: Callable[[Slots], Slots]) -> None:
    peer = Seal(2)
    published = shortened(peer.slots)
    assert short_share(keys_from(peer.c0, peer.c1, plaintexts(published)), peer.c1) == 0.0
    assert short_share(keys_from_real(peer.c0, peer.c1, traces(published)), peer.c1[1:]) == 0.0


def test_sums_without_seals_noise_do_not_give_its_key_to_this_attack() -> None:
    peer = Seal(1)
    assert short_share(keys_from(peer.c0, peer.c1, plaintexts(peer.exact)), peer.c1) == 0.0


# --- what we publish of sums that SEAL encrypted


@rows("M24")
@pytest.mark.parametrize("deployment", [Single, Threshold])
def test_exact_results_of_what_seal_encrypted_give_nothing_away(
    deployment: type[Single] | type[Threshold], row: str
) -> None:
    each = plan(CLIENTS, 18, 3 * N, SINGLE if deployment is Single else Keys(Mode.THRESHOLD, 5, 4))
    assert each.blocks > 1
    deployed = deployment(each)
    values = [random_values(each, who) for who in range(CLIENTS)]
    uploads = [
        encrypt(each, deployed.key, vector, seed_of("client", who), CONTEXT, SealEngine())
        for who, vector in enumerate(values)
    ]
    c0, c1 = deployed.summed(uploads)
    result = open_exact(each, deployed.plaintext(c0, c1)).values
    assert np.array_equal(result, np.sum(values, axis=0))
    assert key_recovered(each, c0, c1, result) == 0.0


# --- TenSEAL's vectors with the parameters that NVFlare provisions: two sums and their real parts


def conjugate(values: Exact) -> Exact:
    """Values of x(1/X): in SEAL's order, bit-reversed, the root at one end is the inverse of that at the other."""
    return values[..., ::-1]


class Vectors:
    """Sums of three clients' vectors, one for each slot a number, and the means that `decrypt` returns.

    Shapes of `ciphertexts`: sums, two polynomials, primes of the level, values.
    """

    def __init__(self, sums: int) -> None:
        self._context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=list(PRIME_BITS))
        self._context.global_scale = SCALE
        chain = self._context.seal_context().data
        level = chain.first_context_data()
        self.primes = [prime.value() for prime in level.parms().coeff_modulus()]
        vectors = np.random.default_rng(5).normal(size=(sums, CLIENTS, DEGREE // 2))
        self.exact = vectors.mean(1)
        totals = [self._sum(each) for each in vectors]
        self.means = np.array([total.decrypt() for total in totals]) / CLIENTS
        self.ciphertexts = np.array([self._values(total) for total in totals])

    def _sum(self, vectors: Slots) -> Any:
        total = tenseal.ckks_vector(self._context, vectors[0])
        for vector in vectors[1:]:
            total += tenseal.ckks_vector(self._context, vector)
        return total

    def _values(self, vector: Any) -> Exact:
        (ciphertext,) = vector.ciphertext()
        shape = ciphertext.size(), ciphertext.coeff_modulus_size(), ciphertext.poly_modulus_degree()
        return np.array([ciphertext[place] for place in range(np.prod(shape))], object).reshape(shape)

    def secret(self) -> Exact:
        """The true key modulo each prime, as values: what the villain is compared with."""
        key = self._context.secret_key().data
        data = key.data()
        everything = np.array([data[place] for place in range(data.coeff_count())], object)
        return everything.reshape(len(PRIME_BITS), DEGREE)[: len(self.primes)]


def traces_of(means: Slots) -> Exact:
    """M + M* of each sum modulo each prime, by SEAL's own encoder in a context of the villain's.

    Shapes: sums, primes of the level, values.
    """
    names = tenseal.sealapi
    parameters = names.EncryptionParameters(names.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(DEGREE)
    parameters.set_coeff_modulus(names.CoeffModulus.Create(DEGREE, list(PRIME_BITS)))
    encoder = names.CKKSEncoder(names.SEALContext(parameters, True, names.SEC_LEVEL_TYPE.TC128))
    found = []
    for mean in means:
        plaintext = names.Plaintext()
        encoder.encode((CLIENTS * mean).tolist(), 2 * SCALE, plaintext)
        found.append([plaintext[place] for place in range(plaintext.coeff_count())])
    return np.array(found, object).reshape(len(means), -1, DEGREE)


def solved(peer: Vectors, means: Slots) -> Exact:
    """The key modulo each prime, by Cramer's rule at each root: c1_k s + c1_k* s* = M_k + M_k* - c0_k - c0_k*.

    Some determinant is 0 modulo the smaller prime, which has no inverse, once in 2^27 runs.
    """
    c0, c1 = peer.ciphertexts[:, 0], peer.ciphertexts[:, 1]
    right, turned = traces_of(means) - c0 - conjugate(c0), conjugate(c1)
    numerators = right[0] * turned[1] - right[1] * turned[0]
    determinants = c1[0] * turned[1] - c1[1] * turned[0]
    return np.array(
        [
            [number * pow(determinant, -1, prime) % prime for number, determinant in zip(*each, strict=True)]
            for *each, prime in zip(numerators, determinants, peer.primes, strict=True)
        ],
        object,
    )


@rows("M24")
def test_two_means_of_tenseals_vectors_give_the_whole_key_away(row: str) -> None:
    peer = Vectors(2)
    assert 0 < np.abs(peer.means - peer.exact).max() < 2.0**-20
    assert np.array_equal(solved(peer, peer.means), peer.secret())


@fewer_bits
def test_fewer_bits_of_tenseals_means_do_not_give_the_key_to_this_attack(
    shortened: Callable[[Slots], Slots],
) -> None:
    peer = Vectors(2)
    assert not np.any(solved(peer, shortened(peer.means)) == peer.secret())


def test_means_without_tenseals_noise_do_not_give_the_key_to_this_attack() -> None:
    peer = Vectors(2)
    assert not np.any(solved(peer, peer.exact) == peer.secret())
