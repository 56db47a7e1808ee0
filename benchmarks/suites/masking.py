"""Masking a vector beside the bare keystream: AES-256-CTR over as many bytes, and nothing done with them."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from benchmarks.rows import Effort, Row, alternate, on_cores, timed
from secagg.keys import Seed
from secagg.masks import mask_into
from secagg.ring import Ring

LIMIT_RATIO = 1.5
CONTEXT = bytes(32)
CHUNK_BYTES = 1 << 18
BLOCK_BYTES = 16


def rows(effort: Effort) -> Iterator[Row]:
    with on_cores(1):
        for bits in (23, 36):
            for neighbours in (10, 50):
                yield measure(Ring(bits), neighbours, effort)


def measure(ring: Ring, neighbours: int, effort: Effort) -> Row:
    dimension, masks = effort.dimension, neighbours + 1
    total = ring.zeros(dimension)
    seeds = {peer: Seed(peer.to_bytes(32, "little")) for peer in range(1, masks)}
    own = Seed(bytes(32))
    size = total.nbytes

    def mask() -> None:
        mask_into(total, ring, own, seeds, 0, CONTEXT, 0, dimension)

    def keystreams() -> None:
        for _ in range(masks):
            keystream(size)

    ours, bare = alternate(timed(mask), timed(keystreams), effort.repeats)
    nanoseconds = dimension * masks * 1e-9
    return Row(
        suite="masking",
        case=f"{masks} masks, {ring.bits}-bit ring, d = {dimension:,}",
        unit="ns per element and mask",
        ours=ours.per(nanoseconds),
        peer_name="bare AES-256-CTR keystream",
        peer=bare.per(nanoseconds),
        limit=LIMIT_RATIO,
        judged="ratio",
        note="CPU seconds",
    )


ZEROS = memoryview(bytes(CHUNK_BYTES))
SCRATCH = memoryview(bytearray(CHUNK_BYTES + BLOCK_BYTES))


def keystream(size: int) -> None:
    """`size` bytes of one keystream, a chunk at a time over the same memory: what no masking can undercut."""
    encryptor = Cipher(AES(bytes(32)), CTR(bytes(BLOCK_BYTES))).encryptor()
    for start in range(0, size, CHUNK_BYTES):
        encryptor.update_into(ZEROS[: min(CHUNK_BYTES, size - start)], SCRATCH)
