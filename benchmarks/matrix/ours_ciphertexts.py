"""Checks N1 to T6 against this library's encrypted rounds, through its endpoints."""

from __future__ import annotations

import io
import logging
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.matrix import ciphertexts
from benchmarks.matrix.child import Ending, ending_of
from benchmarks.matrix.ciphertexts import HOLLOW, LENET, NO_CIPHERTEXTS, Floats
from benchmarks.matrix.finding import Answer
from benchmarks.matrix.ours_stage import CLIENTS, VILLAIN, Stage, plan
from protocols import secure_mean
from protocols.ckks import epoch as names
from protocols.durable import DurableOpener
from protocols.storage import Kind
from secagg.ckks.cipher import open_exact
from secagg.ckks.share import combine
from secagg.ckks.wire import unpack
from secagg.errors import NonFinite
from secagg.negacyclic import N, big_product

LENGTH = 4096
# Too many for one ciphertext of the usual size.
LONG = 5000
CLAIMED = 60_000
LARGE = 900


def vectors(length: int, clients: int = CLIENTS) -> dict[int, Floats]:
    return {who: np.linspace(-0.7123456, 0.6543211, length) * (who + 1) / clients for who in range(clients)}


def anothers() -> Answer:
    """What one holder has, which is more than any client has, against one client's upload."""
    stage = Stage(vectors(100))
    letter = stage.letter(stage.upload(1))
    shape = stage.key_plan
    c0, c1 = (
        unpack(half, shape.blocks * N, width).reshape(shape.blocks, N)
        for half, width in ((letter.c0, shape.width0), (letter.c1, shape.width1))
    )
    holder = next(iter(stage.cohort.holders.values()))
    share = names.from_bytes(holder._party.state.share.expose())
    values = open_exact(shape, combine(c0, [big_product(c1, share)])).values[:100].astype(np.float64)
    ring = stage.server.plan.encoding.ring
    truth = ring.centre(ring.reduce(stage.submitted[1].vector)).astype(np.float64)
    whose = f"what one of {len(stage.cohort.holders)} holders has"
    with tempfile.TemporaryDirectory() as folder, DurableOpener(holder, Path(folder) / "own", Kind.HOLDER) as kept:
        kept.resend()
        files = [file for file in (Path(folder) / "own").iterdir() if file.is_file()]
        return ciphertexts.opens_anothers(values, truth, files, whose)


def print_refusal(c0: str, c1: str) -> None:
    """A client's upload of these halves to a real server, which then sums the others."""
    stage = Stage(vectors(100))
    refusal = stage.refusal_of(stage.signed(bytes.fromhex(c0), bytes.fromhex(c1)))
    mean = stage.finish(but=[VILLAIN])
    right = np.mean([stage.vectors[who] for who in stage.vectors if who != VILLAIN], axis=0)
    if np.abs(mean - right).max() > ciphertexts.CLOSE:
        raise RuntimeError("the sum of the others is wrong")
    print(refusal or "taken")


def refused(message: bytes) -> Ending | str:
    ending = ending_of(__spec__.name, "print_refusal", message.hex(), message.hex())
    return ending if ending.status else f"{ending.stdout.split()[-1]}, and the others are summed"


def layers() -> Answer:
    """One round of the flat vector, one of the ten tensors."""
    sizes = [int(np.prod(shape)) for shape in LENET]
    flat, cut = (
        secure_mean(dict.fromkeys(range(CLIENTS), update), plan(), round=0).costs.upload_bytes_per_client
        for update in ([np.zeros(sum(sizes))], [np.zeros(shape) for shape in LENET])
    )
    return ciphertexts.layered(flat, cut, sum(sizes))


def poisoned() -> Answer:
    """The client whose update it is refuses; the others' round is none the worse."""
    updates = {who: [np.full(2, 0.5)] for who in range(4)}
    try:
        mean = secure_mean(updates | {4: [np.array([np.nan, 1e300])]}, plan(), round=0).mean
    except NonFinite as refusal:
        mean = secure_mean(updates, plan(), round=0).mean
        return ciphertexts.poisoned(np.asarray(mean[0]), f"{type(refusal).__name__} at that client, nothing is sent")
    return ciphertexts.poisoned(np.asarray(mean[0]), "nobody refuses")


def logs() -> Answer:
    text, values = io.StringIO(), vectors(100)
    handler, root = logging.StreamHandler(text), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        Stage(values).finish()
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    return ciphertexts.told_in_logs(text.getvalue(), values[CLIENTS - 1])


def forged_size() -> Answer:
    """No number in a letter says how many values it holds; one that is longer than the plan says is refused."""
    stage = Stage(vectors(LENGTH))
    letter = stage.letter(stage.upload(VILLAIN))
    grown = -(-CLAIMED // LENGTH)
    refusal = stage.refusal_of(stage.signed(bytes(letter.c0) * grown, bytes(letter.c1) * grown))
    return ciphertexts.believed(CLAIMED, LENGTH, None if refusal else CLAIMED, refusal)


def flips() -> Answer:
    stage = Stage(vectors(100))
    upload, image = stage.upload(VILLAIN), stage.server.freeze()

    def read(frame: bytes) -> Floats | None:
        """What is taken counts as a wrong sum: no signature covers two frames."""
        refusal = stage.refusal_of(frame)
        stage.server.thaw(image)
        return None if refusal else np.zeros(0)

    return ciphertexts.flipped(read, upload, stage.vectors[VILLAIN])


def released() -> Answer:
    """The integers that the round releases, and the sum of what the clients submitted."""
    stage = Stage(vectors(LENGTH))
    stage.finish()
    opened, ring = stage.server.aggregate, stage.server.plan.encoding.ring
    if opened is None:
        raise RuntimeError("the round ended without a sum")
    total = ring.zeros(LENGTH)
    for who in opened.survivors:
        ring.add_into(total, stage.submitted[who].vector)
    exact, found = (ring.centre(ring.reduce(each)).astype(np.float64) for each in (total, opened.total))
    return ciphertexts.carries_noise(found, exact)


def overflow() -> Answer:
    """The ring is chosen for the sum: what is clipped to 900 has room five times."""
    stage = Stage({who: np.full(4, float(LARGE)) for who in range(CLIENTS)}, plan(clip=LARGE))
    opened = float(stage.finish()[0]) * CLIENTS
    return ciphertexts.wraps(opened, CLIENTS * LARGE, f"{CLIENTS} times {LARGE}, in the ring that was planned")


def encrypt_long() -> None:
    Stage(vectors(LONG)).upload(VILLAIN)


def notes() -> Answer:
    ending = ending_of(__spec__.name, "encrypt_long")
    if ending.status:
        raise RuntimeError(str(ending))
    return ciphertexts.talks(ending.stdout, f"a vector of {LONG:,} numbers")


PROBES = {
    "N1": anothers,
    "N2": lambda: ciphertexts.survives([("three bytes from one client", refused(HOLLOW))]),
    "N3": layers,
    "N4": poisoned,
    "N5": logs,
    "T1": lambda: ciphertexts.survives([(what, refused(message)) for what, message in NO_CIPHERTEXTS.items()]),
    "T2": forged_size,
    "T3": flips,
    "T4": released,
    "T5": overflow,
    "T6": notes,
}
