"""The engine by Microsoft SEAL, and the slots of its encoder; the only file that imports tenseal.

    collective key (b, a)   --our blob, NTT-->      PublicKey of SEAL
    encrypt_zero            --inverse NTT, read-->  (b u + e0, a u + e1) as residues        messages are added in numpy

SEAL draws u and the errors itself, with the same distributions as `Fft` in the same ring, so that either engine's
uploads go into one sum. Whatever SEAL loads this process wrote a moment before, to memory that has no name: its
parser crashes on strangers' bytes, and sees none. Keys that open sums never enter SEAL.

TenSEAL passes SEAL's data by file alone, or by one residue and call. A ciphertext that is saved comes compressed; with
the package zstandard (extra `seal-fast`) it is read so, in a quarter of the time. TenSEAL never releases the
interpreter's lock, so threads gain nothing: `SealPool` draws in processes.

Source: Cheon, Kim, Kim, Song, ASIACRYPT 2017 (scheme, slots); Microsoft SEAL 4.1 and 4.3 (`serialization.h`,
`ciphertext.cpp`, `plaintext.h`: the layouts below).
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import struct
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_all_start_methods, get_context
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.ckks.cipher import Part, PublicKey
from secagg.errors import BadParameters, NonFinite, Overflow
from secagg.keys import Seed
from secagg.negacyclic import PRIME, PRIME_BITS, Complexes, Integers, N, Residues, interpolate, transform

LEAST_TENSEAL = (0, 3, 15)
SLOTS = N // 2

_MAGIC, _UNCOMPRESSED = 0xA15E, 0
_HEADER = struct.Struct("<HBBBBHQ")
_PARAMETERS = struct.Struct("<4Q")
_CIPHERTEXT = struct.Struct("<BQQQdQ")
_PLAINTEXT = struct.Struct("<Qd")
_COUNT = struct.Struct("<Q")
_CORRECTION = 1
# So many keys stay loaded.
_KEYS = 4


class SealEngine:
    """The engine by SEAL, in the calling thread: SEAL's generator draws, seeded by the system for each encryption."""

    def zeros(self, key: PublicKey, part: Part, root: Seed, context: bytes) -> tuple[Residues, Residues]:
        """As `Engine.zeros`; root and context are left unused.

        Raises: BadParameters where tenseal is missing or too old.
        """
        return _zeros(key.a.tobytes(), key.b.tobytes(), part.size)


class SealPool:
    """The engine by SEAL in forked processes, for as many threads as there are processes.

        with SealPool(2) as engine, ThreadPoolExecutor(2) as threads:
            encrypt(..., engine, Workers(threads, 2))

    Each thread waits for a part from some process; the processes are told public keys and counts, and answer
    encryptions of zero through pipes that only they and their parent hold. They are forked at once, each with what
    memory holds at that time: make the pool before threads are started, and before secrets are drawn.
    Raises: BadParameters for no process, for a system that cannot fork, or as `SealEngine`.
    """

    def __init__(self, processes: int) -> None:
        if type(processes) is not int or processes < 1:
            raise BadParameters(f"a pool has at least one process, not {processes!r}")
        if "fork" not in get_all_start_methods():
            raise BadParameters("this system cannot fork: use SealEngine, or threads with Fft")
        library()
        self._executor = ProcessPoolExecutor(processes, get_context("fork"))
        # The first job starts every process.
        self._executor.submit(os.getpid).result()

    def __enter__(self) -> SealPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown()

    def zeros(self, key: PublicKey, part: Part, root: Seed, context: bytes) -> tuple[Residues, Residues]:
        """As `SealEngine.zeros`.

        Raises: BrokenProcessPool when a process was killed.
        """
        return self._executor.submit(_zeros, key.a.tobytes(), key.b.tobytes(), part.size).result()


# --- SEAL's library and its formats ---------------------------------------------------------------------------


class Form(IntEnum):
    """What a polynomial's residues are: its coefficients, or its values at SEAL's order of the roots."""

    COEFFICIENTS = 0
    VALUES = 1


@dataclass(frozen=True, slots=True)
class Format:
    """What SEAL writes, uncompressed, for polynomials of our ring: its version, and its name for the parameters.

    SEAL refuses a blob whose minor version is above its own.
    """

    major: int
    minor: int
    parameters: tuple[int, int, int, int]

    def ciphertext(self, polynomials: Residues, form: Form) -> bytes:
        """A Ciphertext at scale 1; one of values is a PublicKey as well.  Shapes: rows of N residues."""
        count = len(polynomials)
        head = _CIPHERTEXT.pack(form, count, N, 1, 1.0, _CORRECTION)
        return self._blob(_PARAMETERS.pack(*self.parameters) + head + self._array(polynomials))

    def plaintext(self, values: Residues, scale: float) -> bytes:
        """A Plaintext in values; at scale 1 it is a SecretKey as well.  Shapes: N residues."""
        return self._blob(_PARAMETERS.pack(*self.parameters) + _PLAINTEXT.pack(N, scale) + self._array(values))

    def _array(self, residues: Residues) -> bytes:
        return self._blob(_COUNT.pack(residues.size) + residues.astype("<u8").tobytes())

    def _blob(self, body: bytes) -> bytes:
        size = _HEADER.size + len(body)
        return _HEADER.pack(_MAGIC, _HEADER.size, self.major, self.minor, _UNCOMPRESSED, 0, size) + body


@dataclass(frozen=True, slots=True)
class Library:
    """SEAL's names, and its context for our ring."""

    names: Any
    context: Any
    evaluator: Any
    format: Format = field(repr=False)

    def load(self, kind: str, blob: bytes) -> Any:
        """An object of SEAL from bytes that this process wrote, and no others.

        Raises: RuntimeError by SEAL for a blob of a later version, ValueError for one that does not fit the ring.
        """
        loaded = getattr(self.names, kind)()
        with _scratch() as scratch:
            scratch.write(blob)
            loaded.load(self.context, scratch.path)
        return loaded

    def values_of(self, polynomials: Residues) -> Residues:
        """Coefficients to values in SEAL's order.  Shapes: two or more rows of N residues, as a ciphertext has."""
        ciphertext = self.load("Ciphertext", self.format.ciphertext(polynomials, Form.COEFFICIENTS))
        self.evaluator.transform_to_ntt_inplace(ciphertext)
        return _read_each(ciphertext).reshape(polynomials.shape)


@cache
def library() -> Library:
    """SEAL with the ring of N = 2048 and our prime at 128 bits of security, made once in a process.

    Raises: BadParameters where tenseal is missing, too old, or has another prime.
    """
    names = _tenseal()
    (prime,) = names.CoeffModulus.Create(N, [PRIME_BITS])
    if prime.value() != PRIME:
        raise BadParameters(f"this SEAL works modulo {prime.value()}, not {PRIME}: choose the engine fft")
    parameters = names.EncryptionParameters(names.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(N)
    parameters.set_coeff_modulus([prime])
    context = names.SEALContext(parameters, True, names.SEC_LEVEL_TYPE.TC128)
    header = names.Serialization.SEALHeader()
    written = Format(header.version_major, header.version_minor, tuple(context.first_parms_id()))
    return Library(names, context, names.Evaluator(context), written)


def _tenseal() -> Any:
    """SEAL's own interface in tenseal.  Raises: BadParameters where it is missing or too old."""
    wanted = ".".join(map(str, LEAST_TENSEAL))
    advice = f"the engine seal needs tenseal {wanted} or later: install it, or choose the engine fft"
    try:
        import tenseal.sealapi as names
    except ImportError as error:
        raise BadParameters(f"tenseal cannot be imported; {advice}") from error
    found = version("tenseal")
    if tuple(int(number) for number in re.findall(r"\d+", found)[:3]) < LEAST_TENSEAL:
        raise BadParameters(f"tenseal {found} is installed; {advice}")
    return names


# --- encryptions of zero ----------------------------------------------------------------------------------------


def _zeros(a: bytes, b: bytes, count: int) -> tuple[Residues, Residues]:
    """So many encryptions of zero under the key (b, a), as coefficients.  Shapes: count rows of N residues."""
    seal, encryptor = library(), _encryptor(a, b)
    ciphertext = seal.names.Ciphertext()
    rows = np.empty((2, count, N), np.uint64)
    with _reader() as read:
        for block in range(count):
            encryptor.encrypt_zero(ciphertext)
            seal.evaluator.transform_from_ntt_inplace(ciphertext)
            rows[:, block] = read(ciphertext)
    return rows[0], rows[1]


@lru_cache(maxsize=_KEYS)
def _encryptor(a: bytes, b: bytes) -> Any:
    """SEAL's encryptor with the key, given as the bytes of its residues."""
    seal = library()
    values = seal.values_of(np.frombuffer(b + a, np.uint64).reshape(2, N))
    key = seal.load("PublicKey", seal.format.ciphertext(values, Form.VALUES))
    return seal.names.Encryptor(seal.context, key)


@contextlib.contextmanager
def _reader() -> Iterator[Callable[[Any], Residues]]:
    """What reads the two polynomials of a ciphertext.

    An encryption of zero gives its message away once that is added, so none goes to a file that has a name.
    """
    if find_spec("zstandard") is None or not hasattr(os, "memfd_create"):
        yield _read_each
        return
    with _scratch() as scratch:
        yield _Saved(scratch).read


def _read_each(ciphertext: Any) -> Residues:
    """One residue and call: slow, and always possible."""
    array = ciphertext.dyn_array()
    count = array.size()
    return np.fromiter(map(array.__getitem__, range(count)), np.uint64, count).reshape(-1, N)


class _Saved:
    """Reads ciphertexts that SEAL has compressed into scratch memory."""

    def __init__(self, scratch: _Scratch) -> None:
        import zstandard

        self._scratch = scratch
        self._decompressor = zstandard.ZstdDecompressor()
        empty = library().format.ciphertext(np.zeros((2, N), np.uint64), Form.COEFFICIENTS)
        self._body = len(empty) - _HEADER.size

    def read(self, ciphertext: Any) -> Residues:
        ciphertext.save(self._scratch.path)
        compressed = memoryview(self._scratch.read())[_HEADER.size :]
        body = self._decompressor.decompress(compressed, max_output_size=self._body)
        residues: NDArray[Any] = np.frombuffer(body, "<u8", 2 * N, self._body - 16 * N)
        return residues.reshape(2, N)


@dataclass(frozen=True, slots=True)
class _Scratch:
    """A file of this process alone, by descriptor and by the path that SEAL wants."""

    descriptor: int
    path: str

    def write(self, blob: bytes) -> None:
        with open(self.path, "wb") as file:
            file.write(blob)

    def read(self) -> bytes:
        return os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)


@contextlib.contextmanager
def _scratch() -> Iterator[_Scratch]:
    """Memory without a name; where the system has none, a file of mode 0600 that is removed afterwards."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("secagg-seal")
        path = f"/proc/self/fd/{descriptor}"
    else:
        descriptor, path = tempfile.mkstemp(prefix="secagg-seal-")
    try:
        yield _Scratch(descriptor, path)
    finally:
        os.close(descriptor)
        if not path.startswith("/proc/"):
            os.unlink(path)


# --- slots ------------------------------------------------------------------------------------------------------


def slots_encode(slots: Complexes, scale: float) -> Integers:
    """The integer polynomial m nearest to the one with m(zeta^(3^j)) = scale slot_j, zeta = exp(i pi / N).

    The embedding of SEAL and TenSEAL (generator 3). No protocol here uses slots: integers go into coefficients.
    Shapes: rows of N/2 complex numbers; rows of N integers within q/2.
    Raises: BadParameters, NonFinite, Overflow.
    """
    _check_rows(slots, np.complex128, SLOTS, scale)
    largest = float(np.abs(slots).max(initial=0.0)) * scale
    if not math.isfinite(largest):
        raise NonFinite("a slot is not finite")
    if largest > PRIME // 2:
        raise Overflow(f"a slot of {largest:g} at this scale does not fit the modulus")
    places, conjugated = _roots()
    values, scaled = np.empty_like(slots), slots * scale
    np.conjugate(scaled, out=scaled, where=conjugated)
    values[..., places] = scaled
    return interpolate(values)


def slots_decode(polynomials: Integers, scale: float) -> Complexes:
    """m(zeta^(3^j)) / scale for j = 0 .. N/2 - 1: what SEAL's decoder gives.

    Shapes: rows of N centred integers; rows of N/2 complex numbers.
    Raises: BadParameters.
    """
    _check_rows(polynomials, np.int64, N, scale)
    places, conjugated = _roots()
    slots: Complexes = transform(polynomials.astype(np.float64))[..., places]
    np.conjugate(slots, out=slots, where=conjugated)
    slots /= scale
    return slots


@cache
def _roots() -> tuple[Integers, NDArray[np.bool_]]:
    """For each slot, where `transform` has its root or the root's conjugate, and whether it has the conjugate.

    Place t of a transform is the value at zeta^(1 - 4t); of 3^j and -3^j one is 1 modulo 4.
    """
    exponents = np.array([pow(3, slot, 2 * N) for slot in range(SLOTS)])
    conjugated = exponents % 4 == 3
    places = (1 - np.where(conjugated, -exponents, exponents)) // 4 % SLOTS
    return places, conjugated


def _check_rows(rows: NDArray[Any], dtype: type, width: int, scale: float) -> None:
    if rows.dtype != dtype or rows.ndim < 1 or rows.shape[-1] != width:
        raise BadParameters(f"expected rows of {width} in {dtype.__name__}, got {rows.dtype} {rows.shape}")
    if not (math.isfinite(scale) and scale > 0):
        raise BadParameters(f"scale is {scale!r}, it must be positive")
