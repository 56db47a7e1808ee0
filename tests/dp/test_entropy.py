"""dp.entropy: one stream, one owner; a seed repeats it, nothing else does."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dp.alias import LABEL_WORDS
from dp.entropy import CHUNK_WORDS, Entropy, keystream
from dp.errors import BadParameters, EntropyUnavailable
from dp.noise import discrete_gaussian
from secagg.keys import Seed
from secagg.prg import Stream
from tests.dp.noise_kit import seeded
from tests.rows import rows

ROOT = Path(__file__).resolve().parents[2]


# known answers


def test_the_keystream_is_that_of_the_masks() -> None:
    key, words = bytes(range(32)), 3 * CHUNK_WORDS
    assert keystream(key).update(bytes(8 * words)) == Stream(Seed(key)).words(0, words).tobytes()


# streams


@rows("N7")
@pytest.mark.parametrize(
    "other",
    [
        seeded(2),
        seeded(1, b"other"),
        seeded(1, b"tes", b"t"),
        seeded(1, b"test", b"x"),
        Entropy.derived(bytes(32), b"test", b""),
    ],
)
def test_seed_label_and_context_each_separate_streams(row: str, other: Entropy) -> None:
    first = discrete_gaussian(Fraction(10**6), 64, seeded(1))
    assert (first == discrete_gaussian(Fraction(10**6), 64, other)).sum() < 8


@rows("N3")
def test_two_streams_of_the_system_share_no_word(row: str) -> None:
    first, second = (Entropy.system(b"same", b"same").borrow(CHUNK_WORDS, LABEL_WORDS) for _ in range(2))
    assert not np.intersect1d(first, second).size


def test_the_source_of_randomness_is_named() -> None:
    assert Entropy.system(b"a", b"").rng == Entropy.derived(bytes(32), b"a", b"").rng == "system"
    assert Entropy.insecure(0, b"a", b"").rng == "insecure"


@rows("K3", "N3")
def test_a_forked_child_cannot_draw_and_the_parent_goes_on(row: str) -> None:
    script = """
import os, sys
from fractions import Fraction
from dp.errors import EntropyUnavailable
from dp.noise import Entropy, discrete_gaussian
stream, mirror = (Entropy.insecure(1, b"t", b"") for _ in range(2))
discrete_gaussian(Fraction(9), 10, stream), discrete_gaussian(Fraction(9), 10, mirror)
child = os.fork()
if child == 0:
    wiped = not stream._root and not stream._buffer.any() and not stream._streams
    try:
        discrete_gaussian(Fraction(9), 10, stream)
    except EntropyUnavailable:
        os._exit(0 if wiped else 2)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert (discrete_gaussian(Fraction(9), 10, stream) == discrete_gaussian(Fraction(9), 10, mirror)).all()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=60)


@rows("K3")
def test_another_process_id_is_noticed_even_without_the_fork_hook(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = seeded(1)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(EntropyUnavailable, match="fork"):
        discrete_gaussian(Fraction(1), 1, stream)


def test_a_closed_stream_is_zeroed_and_silent() -> None:
    with seeded(1) as stream:
        discrete_gaussian(Fraction(1), 100, stream)
        root, buffer = stream._root, stream._buffer
        assert any(root)
        assert buffer.any()
    assert not any(root)
    assert not buffer.any()
    with pytest.raises(EntropyUnavailable, match="closed"):
        discrete_gaussian(Fraction(1), 1, stream)


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy], ids=lambda f: f.__name__)
def test_a_stream_is_neither_pickled_nor_copied(take) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadParameters, match="equal noise"):
        take(seeded(1))


def test_a_stream_prints_nothing_of_itself() -> None:
    stream = Entropy.derived(b"s" * 32, b"label", b"context")
    assert repr(stream) == "<Entropy rng=system>"
    assert stream._root.hex() not in f"{stream!r}{stream!s}"


def test_a_stream_cannot_be_relabelled_or_looked_into() -> None:
    stream = seeded(1)
    with pytest.raises(AttributeError):
        stream.rng = "system"  # type: ignore[misc]
    with pytest.raises(BadParameters, match="shows its state"):
        stream.__getstate__()


# errors


def test_more_words_than_the_buffer_holds_raise() -> None:
    with pytest.raises(BadParameters, match="count"):
        seeded(1).borrow(CHUNK_WORDS + 1, LABEL_WORDS)


@pytest.mark.parametrize("secret", [b"", bytes(31), bytearray(32), "x" * 32], ids=repr)
def test_a_secret_of_the_wrong_kind_raises(secret: bytes) -> None:
    with pytest.raises(BadParameters, match="secret"):
        Entropy.derived(secret, b"label", b"")
    with pytest.raises(BadParameters, match="secret"):
        Entropy(secret, b"label", b"", "system")


@pytest.mark.parametrize(("label", "context"), [(b"", b""), ("label", b""), (b"label", "")], ids=repr)
def test_a_label_or_context_that_is_not_bytes_raises(label: bytes, context: bytes) -> None:
    with pytest.raises(BadParameters, match="label"):
        Entropy.system(label, context)


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True], ids=repr)
def test_a_seed_that_is_no_natural_number_raises(seed: int) -> None:
    with pytest.raises(BadParameters, match="seed"):
        Entropy.insecure(seed, b"label", b"")


@rows("K4")
@pytest.mark.parametrize("refusal", [OSError, NotImplementedError])
def test_a_system_without_randomness_raises(
    row: str, refusal: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(count: int) -> bytes:
        raise refusal

    monkeypatch.setattr(os, "urandom", refuse)
    with pytest.raises(EntropyUnavailable, match="refused"):
        Entropy.system(b"label", b"")


@rows("K4")
def test_a_short_read_of_randomness_raises(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda count: bytes(count - 1))
    with pytest.raises(EntropyUnavailable, match="31 bytes"):
        Entropy.system(b"label", b"")
