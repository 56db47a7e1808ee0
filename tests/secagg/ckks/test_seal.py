"""SEAL beside our own arithmetic: each opens what the other made, and neither knows anything of the other's code."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secagg.ckks import seal
from secagg.ckks.cipher import CHUNK, Engine, Fft, Part, PublicKey, add_into, encrypt, open_exact
from secagg.ckks.plan import CkksPlan, Keys, Mode, plan
from secagg.ckks.sample import CBD_BITS, CBD_SIGMA, key_gaussian, uniform_mod_q
from secagg.ckks.seal import SLOTS, Form, SealEngine, SealPool, library, slots_decode, slots_encode
from secagg.ckks.share import public_share
from secagg.ckks.wire import unpack
from secagg.errors import BadParameters, NonFinite, Overflow
from secagg.keys import Seed
from secagg.negacyclic import PRIME, PRIME_BITS, Integers, N, Residues, big_product, centred, reduced
from secagg.prg import Stream
from secagg.workers import Workers

ROOT = Path(__file__).resolve().parents[3]
CONTEXT = bytes(32)
# Statistics of SEAL's own draws fail a right engine once in so many runs.
ONCE_IN = 1e9


def seed(number: int) -> Seed:
    return Seed(number.to_bytes(32, "little"))


A = uniform_mod_q(Stream(seed(1)), N)
SECRET = reduced(key_gaussian(Stream(seed(2)), N))
KEY = PublicKey(A, public_share(SECRET, A, Stream(seed(3))))


def constant(value: int) -> Residues:
    """The polynomial that is a number."""
    polynomial = np.zeros(N, np.uint64)
    polynomial[0] = value
    return polynomial


def zeros(engine: Engine, key: PublicKey = KEY, size: int = 2) -> tuple[Residues, Residues]:
    return engine.zeros(key, Part(0, size), seed(4), CONTEXT)


def opened(c0: Residues, c1: Residues) -> Residues:
    """c0 + s c1 by our own products."""
    total = big_product(c1, SECRET)
    add_into(total, c0)
    return total


def decrypted(c0: Residues, c1: Residues) -> Residues:
    """The same of one block, by SEAL alone: its loader, its NTT, its decryptor."""
    ours = library()
    key = ours.load("SecretKey", ours.format.plaintext(ours.values_of(np.stack([SECRET, SECRET]))[0], 1.0))
    ciphertext = ours.load("Ciphertext", ours.format.ciphertext(np.stack([c0, c1]), Form.COEFFICIENTS))
    ours.evaluator.transform_to_ntt_inplace(ciphertext)
    plaintext = ours.names.Plaintext()
    ours.names.Decryptor(ours.context, key).decrypt(ciphertext, plaintext)
    values = residues_of(plaintext)
    back = ours.load("Ciphertext", ours.format.ciphertext(np.stack([values, values]), Form.VALUES))
    ours.evaluator.transform_from_ntt_inplace(back)
    return residues_of(back)[:N]


def residues_of(thing: Any) -> Residues:
    array = thing.dyn_array()
    return np.array([array[place] for place in range(array.size())], np.uint64)


# --- the ring is the same -----------------------------------------------------------------------------------


def test_the_prime_is_the_one_that_seal_picks() -> None:
    import tenseal.sealapi

    assert [m.value() for m in tenseal.sealapi.CoeffModulus.Create(N, [PRIME_BITS])] == [PRIME]


def test_seal_finds_the_ring_good_for_128_bits() -> None:
    assert library().context.parameters_set()
    assert library().context.key_parms_id() == list(library().format.parameters)


def test_a_ciphertext_keeps_its_residues_in_order() -> None:
    rows = uniform_mod_q(Stream(seed(5)), 2 * N).reshape(2, N)
    loaded = library().load("Ciphertext", library().format.ciphertext(rows, Form.COEFFICIENTS))
    assert (loaded.size(), loaded.poly_modulus_degree(), loaded.coeff_modulus_size()) == (2, N, 1)
    assert not loaded.is_ntt_form()
    assert np.array_equal(residues_of(loaded).reshape(2, N), rows)


def test_values_are_those_at_every_primitive_root_and_multiply_one_by_one() -> None:
    x, y = uniform_mod_q(Stream(seed(6)), 2 * N).reshape(2, N)
    identity = np.zeros(N, np.uint64)
    identity[1] = 1
    left, right, product, roots = (
        [int(value) for value in row]
        for row in library().values_of(np.stack([x, y, big_product(x[None], y)[0], identity]))
    )
    assert product == [a * b % PRIME for a, b in zip(left, right, strict=True)]
    assert len(set(roots)) == N
    assert {pow(root, N, PRIME) for root in roots} == {PRIME - 1}
    # Bit-reversed: neighbours are a root and its negative.
    assert all(first + second == PRIME for first, second in zip(roots[::2], roots[1::2], strict=True))


# --- each opens what the other made -------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [Fft(), SealEngine()], ids=["fft", "seal"])
def test_seal_and_we_open_the_same_integers_whoever_encrypted(engine: Engine) -> None:
    message = reduced(np.arange(-N // 2, N // 2, dtype=np.int64) << 20)
    c0, c1 = zeros(engine)
    add_into(c0, message)
    ours = opened(c0, c1)
    assert np.array_equal(decrypted(c0[0], c1[0]), ours[0])
    # What is left above the message is small, however it was made: 14 deviations of key and errors.
    spread = np.sqrt(N * (2 / 3 + CBD_SIGMA**2) * 4.6**2)
    assert int(np.abs(centred(ours) - centred(message)).max()) < 14 * spread < 2**19


def mixed(agreed: CkksPlan, values: Integers, engines: list[Engine]) -> Residues:
    """The plaintext of the sum of one upload by each engine."""
    count = agreed.blocks * N
    sums = [np.zeros(count, np.uint64) for _ in range(2)]
    for client, (row, engine) in enumerate(zip(values, engines, strict=True)):
        upload = encrypt(agreed, KEY, row, seed(100 + client), CONTEXT, engine)
        add_into(sums[0], unpack(upload.c0, count, agreed.width0))
        add_into(sums[1], unpack(upload.c1, count, agreed.width1))
    return opened(*(total.reshape(agreed.blocks, N) for total in sums))


@pytest.mark.parametrize(
    "agreed",
    [
        plan(4, 18, 5000, Keys(Mode.THRESHOLD, 3, 2, 1)),
        plan(4, 10, 2 * N * CHUNK + 1, Keys(Mode.THRESHOLD, 3, 2, 1)),
        plan(4, 18, N, Keys(Mode.THRESHOLD, 3, 2, 1)),
    ],
    ids=["padded", "several chunks", "full block"],
)
def test_engines_mixed_in_one_sum_open_exactly(agreed: CkksPlan) -> None:
    bound = agreed.largest_sum // agreed.clients
    values = np.random.default_rng(0).integers(-bound, bound, (4, agreed.dimension), endpoint=True)
    values[:, 0], values[:, -1] = bound, -bound
    result = open_exact(agreed, mixed(agreed, values, [Fft(), SealEngine(), SealEngine(), Fft()]))
    assert np.array_equal(result.values, values.sum(0))
    assert result.plausible


def test_the_mean_is_that_of_tenseals_own_vectors_within_their_error() -> None:
    import tenseal

    clients, dimension, step = 3, 4000, 2.0**-15
    levels = np.random.default_rng(1).integers(-(2**15), 2**15, (clients, dimension), endpoint=True)
    agreed = plan(clients, 18, dimension, Keys(Mode.THRESHOLD, 3, 2, 1))
    ours = open_exact(agreed, mixed(agreed, levels, [SealEngine(), Fft(), SealEngine()])).values * step / clients
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40])
    context.global_scale = 2.0**40
    theirs = tenseal.ckks_vector(context, (levels[0] * step).tolist())
    for row in levels[1:]:
        theirs += tenseal.ckks_vector(context, (row * step).tolist())
    assert np.array_equal(ours, (levels * step).sum(0) / clients)
    assert np.abs(np.array(theirs.decrypt()) / clients - ours).max() < 1e-7


# --- what SEAL draws ----------------------------------------------------------------------------------------


def chi_square(counts: list[int], expected: list[float]) -> float:
    return sum((count - mean) ** 2 / mean for count, mean in zip(counts, expected, strict=True))


def test_seal_draws_what_our_own_engine_draws() -> None:
    """Under the key (2^30, 1): c0 = 2^30 u + e0 and c1 = u + e1."""
    from scipy.stats import binom, chi2

    size = CHUNK
    c0, c1 = (centred(part).ravel() for part in zeros(SealEngine(), PublicKey(constant(1), constant(1 << 30)), size))
    u = (c0 + (1 << 29)) >> 30
    assert set(u.tolist()) == {-1, 0, 1}
    draws = u.size
    counts = np.unique(u, return_counts=True)[1].tolist()
    assert chi_square(counts, [draws / 3] * 3) < chi2.isf(1 / ONCE_IN, 2)
    for errors in (c0 - (u << 30), c1 - u):
        assert np.abs(errors).max() <= CBD_BITS
        inner = range(-11, 12)
        observed = [int((errors == place).sum()) for place in inner]
        expected = [draws * binom.pmf(place + CBD_BITS, 2 * CBD_BITS, 0.5) for place in inner]
        observed.append(draws - sum(observed))
        expected.append(draws - sum(expected))
        assert chi_square(observed, expected) < chi2.isf(1 / ONCE_IN, len(observed) - 1)


def test_no_encryption_of_zero_comes_twice() -> None:
    c1 = np.concatenate([zeros(SealEngine(), size=3)[1] for _ in range(3)])
    assert len({row.tobytes() for row in c1}) == 9


def test_both_ways_of_reading_give_the_same_residues() -> None:
    pytest.importorskip("zstandard")
    encryption = library().names.Ciphertext()
    seal._encryptor(KEY.a.tobytes(), KEY.b.tobytes()).encrypt_zero(encryption)
    with seal._reader() as read:
        assert read is not seal._read_each
        assert np.array_equal(read(encryption), seal._read_each(encryption))


def test_without_zstandard_every_residue_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "find_spec", lambda name: None)
    with seal._reader() as read:
        assert read is seal._read_each
    assert int(np.abs(centred(opened(*zeros(SealEngine())))).max()) < 2**19


# --- processes ----------------------------------------------------------------------------------------------


def test_a_pool_encrypts_in_its_processes_and_none_repeats_another() -> None:
    agreed = plan(4, 18, 3 * N * CHUNK, Keys(Mode.THRESHOLD, 3, 2, 1))
    values = np.random.default_rng(2).integers(-1000, 1000, agreed.dimension)
    before = set(active_children())
    with SealPool(2) as pool, ThreadPoolExecutor(2) as threads:
        # Forked before there were threads, none later.
        assert len(set(active_children()) - before) == 2
        upload = encrypt(agreed, KEY, values, seed(7), CONTEXT, pool, Workers(threads, 2))
    count = agreed.blocks * N
    c0, c1 = unpack(upload.c0, count, agreed.width0), unpack(upload.c1, count, agreed.width1)
    shape = agreed.blocks, N
    assert np.array_equal(open_exact(agreed, opened(c0.reshape(shape), c1.reshape(shape))).values, values)
    assert len({row.tobytes() for row in c1.reshape(shape)}) == agreed.blocks


@pytest.mark.parametrize("processes", [0, -1, 1.5, True])
def test_a_pool_has_processes(processes: Any) -> None:
    with pytest.raises(BadParameters, match="at least one process"):
        SealPool(processes)


def test_a_system_that_cannot_fork_is_told_what_else_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(BadParameters, match="cannot fork: use SealEngine, or threads with Fft"):
        SealPool(2)


# --- bytes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"minor": 1}, {"major": 1}], ids=["minor", "major"])
@pytest.mark.parametrize("kind", ["Ciphertext", "PublicKey", "Plaintext", "SecretKey"])
def test_a_blob_of_a_later_version_is_refused(kind: str, change: dict[str, int]) -> None:
    ours = library()
    later = replace(ours.format, **{name: getattr(ours.format, name) + more for name, more in change.items()})
    rows = np.stack([constant(1), constant(1)])

    def blob(written: seal.Format) -> bytes:
        if kind in ("Plaintext", "SecretKey"):
            return written.plaintext(rows[0], 1.0)
        return written.ciphertext(rows, Form.VALUES)

    ours.load(kind, blob(ours.format))
    with pytest.raises(RuntimeError, match="incompatible version"):
        ours.load(kind, blob(later))


def test_a_blob_of_other_parameters_is_refused() -> None:
    other = replace(library().format, parameters=(1, 2, 3, 4))
    with pytest.raises((RuntimeError, ValueError), match="invalid"):
        library().load("Ciphertext", other.ciphertext(np.stack([A, A]), Form.COEFFICIENTS))


def test_the_version_in_our_blobs_is_what_this_seal_writes(tmp_path: Path) -> None:
    ours = library()
    ours.load("Plaintext", ours.format.plaintext(constant(1), 1.0)).save(str(tmp_path / "saved"))
    saved = (tmp_path / "saved").read_bytes()
    assert saved[:5] == ours.format.plaintext(constant(1), 1.0)[:5]


def test_files_are_without_a_name_or_for_this_user_alone_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    with seal._scratch() as scratch:
        assert scratch.path == f"/proc/self/fd/{scratch.descriptor}"
    made: list[str] = []

    def mkstemp(**how: Any) -> tuple[int, str]:
        descriptor, path = make(**how)
        made.append(path)
        assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600
        return descriptor, path

    make = tempfile.mkstemp
    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    monkeypatch.delattr(os, "memfd_create")
    seal._encryptor.cache_clear()
    encrypted = zeros(SealEngine())
    # Two for the key; what SEAL encrypted is read without a file.
    assert len(made) == 2
    assert not any(Path(path).exists() for path in made)
    assert int(np.abs(centred(opened(*encrypted))).max()) < 2**19


def test_nothing_is_printed() -> None:
    script = (
        "import numpy as np\n"
        "from secagg.ckks.cipher import Part, PublicKey\n"
        "from secagg.ckks.seal import SealEngine, SealPool\n"
        "from secagg.keys import Seed\n"
        "key = PublicKey(np.ones(2048, np.uint64), np.ones(2048, np.uint64))\n"
        "for engine in SealEngine(), SealPool(1):\n"
        "    engine.zeros(key, Part(0, 2), Seed(bytes(32)), bytes(32))\n"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


# --- slots --------------------------------------------------------------------------------------------------


def some_slots(number: int) -> np.ndarray[Any, np.dtype[np.complex128]]:
    real, imaginary = np.random.default_rng(number).normal(size=(2, 2, SLOTS))
    return real + 1j * imaginary


def test_slots_are_those_of_seals_decoder() -> None:
    ours, scale = library(), 2.0**40
    polynomials = slots_encode(some_slots(3), scale)
    values = ours.values_of(reduced(polynomials))
    decoder = ours.names.CKKSEncoder(ours.context)
    for row, mine in zip(values, slots_decode(polynomials, scale), strict=True):
        plaintext = ours.load("Plaintext", ours.format.plaintext(row, scale))
        assert np.abs(np.array(decoder.decode_complex(plaintext)) - mine).max() < 1e-13


def test_polynomials_are_those_of_seals_encoder() -> None:
    ours, scale = library(), 2.0**20
    slots = some_slots(4)
    encoded = ours.values_of(reduced(slots_encode(slots, scale)))
    for row, values in zip(slots, encoded, strict=True):
        plaintext = ours.names.Plaintext()
        ours.names.CKKSEncoder(ours.context).encode(row.tolist(), scale, plaintext)
        assert np.array_equal(residues_of(plaintext), values)


def test_slots_come_back_within_what_rounding_leaves() -> None:
    slots, scale = some_slots(5), 2.0**45
    # Rounded coefficients are off by 1/sqrt(12); a slot adds N of them: 14 deviations.
    assert np.abs(slots_decode(slots_encode(slots, scale), scale) - slots).max() < 14 * np.sqrt(N / 12) / scale


@pytest.mark.parametrize(
    ("change", "error"), [(np.nan, NonFinite), (1j * np.inf, NonFinite), (2.0**13, Overflow)], ids=str
)
def test_slots_that_fit_no_residue_are_refused(change: complex, error: type[Exception]) -> None:
    slots = some_slots(6)
    slots[1, 7] = change
    with pytest.raises(error):
        slots_encode(slots, 2.0**40)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_is_positive(scale: float) -> None:
    with pytest.raises(BadParameters, match="scale"):
        slots_encode(some_slots(7), scale)
    with pytest.raises(BadParameters, match="scale"):
        slots_decode(np.zeros(N, np.int64), scale)


def test_slots_and_polynomials_of_another_shape_are_refused() -> None:
    for slots in (np.zeros(N, np.complex128), np.zeros(SLOTS), np.array(0j)):
        with pytest.raises(BadParameters, match="expected rows"):
            slots_encode(slots, 1.0)  # type: ignore[arg-type]
    for polynomials in (np.zeros(SLOTS, np.int64), np.zeros(N)):
        with pytest.raises(BadParameters, match="expected rows"):
            slots_decode(polynomials, 1.0)  # type: ignore[arg-type]


# --- which tenseal ------------------------------------------------------------------------------------------


def test_a_missing_tenseal_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tenseal.sealapi", None)
    with pytest.raises(BadParameters, match=r"tenseal cannot be imported; .*0\.3\.15 or later.* engine fft"):
        library.__wrapped__()


@pytest.mark.parametrize("installed", ["0.3.14", "0.2.99", "0.3.9rc1"])
def test_a_tenseal_that_is_too_old_is_refused(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "version", lambda name: installed)
    with pytest.raises(BadParameters, match=f"tenseal {installed} is installed; .*0\\.3\\.15 or later"):
        library.__wrapped__()


@pytest.mark.parametrize("installed", ["0.3.15", "0.3.15.post1", "0.4.0", "1.0"])
def test_a_later_tenseal_is_taken(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "version", lambda name: installed)
    assert library.__wrapped__().format == library().format


def test_a_seal_with_another_prime_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "PRIME", PRIME + 2)
    with pytest.raises(BadParameters, match=f"works modulo {PRIME}, not {PRIME + 2}"):
        library.__wrapped__()


def test_the_other_engine_does_without_tenseal() -> None:
    script = (
        "import sys\n"
        "sys.modules['tenseal'] = None\n"
        "import numpy as np\n"
        "from secagg.ckks.cipher import Fft, Part, PublicKey\n"
        "from secagg.keys import Seed\n"
        "key = PublicKey(np.ones(2048, np.uint64), np.ones(2048, np.uint64))\n"
        "Fft().zeros(key, Part(0, 2), Seed(bytes(32)), bytes(32))\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=ROOT, check=True)
