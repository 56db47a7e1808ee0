"""What a run keeps on disk: it comes back bit for bit, belongs to one run and one process, and is never executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.errors import Locked
from protocols.errors import Misused
from protocols.learning import (
    FedAdam,
    FedAvg,
    FedAvgM,
    Federation,
    Local,
    Progress,
    Rounds,
    RunFolder,
    plain_mean,
    softmax_regression,
)
from protocols.learning.checkpoint import Checkpoint
from protocols.learning.folders import differing
from protocols.learning.reduction import Latest
from tests.protocols.learning.test_loop import toy

ARRAYS = [np.arange(6.0).reshape(2, 3), np.array([1e-300, -0.0])]


def same(one: Any, two: Any) -> bool:
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(one, two, strict=True))


@given(
    losses=st.lists(st.floats(allow_nan=False), max_size=5),
    invited=st.none() | st.lists(st.integers(0, 2**32 - 2)).map(tuple),
    travelled=st.sampled_from([None, ARRAYS, {"a@ff": ARRAYS[0], "b/ü": ARRAYS[1]}, []]),
    parts=st.integers(0, 2),
)
@settings(max_examples=25, deadline=None)
def test_a_checkpoint_comes_back_bit_for_bit(
    losses: list[float], invited: Any, travelled: Any, parts: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    progress = Progress(7, tuple(losses), (0.1,) * 3)
    latest = None if travelled is None else Latest(5, travelled, ARRAYS, (1, 3))
    before = Checkpoint(ARRAYS, (ARRAYS,) * parts, progress, latest, invited)
    with RunFolder(tmp_path_factory.mktemp("run")) as folder:
        before.save(folder, "run")
        after = Checkpoint.load(folder, "run")
    assert after is not None
    assert (after.progress, after.invited, after.number) == (progress, invited, 7)
    assert same(after.parameters, ARRAYS)
    assert len(after.state) == parts
    assert all(same(part, ARRAYS) for part in after.state)
    if latest is None:
        assert after.latest is None
        return
    assert after.latest is not None
    assert (after.latest.round, after.latest.survivors) == (5, (1, 3))
    assert same(after.latest.mean, ARRAYS)
    assert type(after.latest.travelled) is type(travelled)
    if isinstance(travelled, dict):
        assert list(after.latest.travelled) == list(travelled)
        assert same(after.latest.travelled.values(), travelled.values())
    else:
        assert same(after.latest.travelled, travelled)


def run(folder: RunFolder, strategy: Any, rounds: int) -> Any:
    federation = Federation(softmax_regression(2, 3), strategy, toy(), (Rounds(rounds),), seed=1)
    return federation.run(plain_mean, folder)


@pytest.mark.parametrize("strategy", [FedAvg(Local(0.3)), FedAvgM(Local(0.3)), FedAdam(Local(0.3, 2, 3))], ids=repr)
def test_two_halves_of_a_run_are_the_run(strategy: Any, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "halves") as folder:
        list(run(folder, strategy, 3))
    with RunFolder(tmp_path / "halves") as folder:
        second = run(folder, strategy, 6)
        records = list(second)
    with RunFolder(tmp_path / "whole") as folder:
        whole = run(folder, strategy, 6)
        expected = list(whole)
    assert [record.round for record in records] == [3, 4, 5]
    assert [record.loss for record in records] == [record.loss for record in expected[3:]]
    assert same(second.parameters, whole.parameters)


def test_a_finished_run_has_no_more_rounds_and_says_why(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        list(run(folder, FedAvg(Local(0.3)), 2))
        again = run(folder, FedAvg(Local(0.3)), 2)
        assert list(again) == []
        assert again.stop == Rounds(2)


def test_a_folder_of_other_settings_is_refused_and_named(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        list(run(folder, FedAvg(Local(0.3)), 1))
        with pytest.raises(Misused, match=r"belongs to a run with other settings than FedAvgM"):
            run(folder, FedAvgM(Local(0.3)), 2)


@pytest.mark.parametrize(
    ("known", "given", "apart"),
    [
        ("A(b=1, c=C(d=2, e=3)), seed 1", "A(b=1, c=C(d=2, e=4)), seed 1", ("A(c=C(d=2, e=3))", "A(c=C(d=2, e=4))")),
        ("A(b=1), seed 1", "B(b=1), seed 2", ("A(b=1), seed 1", "B(b=1), seed 2")),
        ("A(b=1)", "A(b=1, c=2)", ("A(b=1)", "A(b=1, c=2)")),
        ("a" * 64, "b" * 64, ("a model of layout aaaaaaaa", "a model of layout bbbbbbbb")),
        ("A(b='(')", "A(b=')')", ("A(b='(')", "A(b=')')")),
    ],
)
def test_settings_are_told_apart_by_the_fields_that_differ(known: str, given: str, apart: tuple[str, str]) -> None:
    assert differing(known, given) == apart


def test_a_folder_that_knows_the_digest_of_its_settings_alone_is_refused_with_those_given(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        Checkpoint(ARRAYS, (), Progress()).save(folder, "A(b=1)")
        about, arrays = folder.load("checkpoint") or ({}, {})
        del about["settings"]
        folder.save("checkpoint", about, arrays)
        assert Checkpoint.load(folder, "A(b=1)") is not None
        with pytest.raises(Misused, match=r"other settings than A\(b=2\): name another folder"):
            Checkpoint.load(folder, "A(b=2)")


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    with RunFolder(tmp_path), pytest.raises(Locked, match="another run goes on"):
        RunFolder(tmp_path)
    RunFolder(tmp_path).close()


def test_a_closed_folder_keeps_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.close()
    for act in (lambda: folder.save("x", {}, {}), lambda: folder.load("x")):
        with pytest.raises(Misused, match="was closed: open it again"):
            act()


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "no words", "other words", "words that are none"])
def test_a_damaged_checkpoint_is_refused_by_name(damage: str, tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        Checkpoint(ARRAYS, (), Progress()).save(folder, "run")
        path = tmp_path / "checkpoint.npz"
        whole = path.read_bytes()
        if damage == "no words":
            np.savez(path, parameter=ARRAYS[0])
        elif damage == "other words":
            folder.save("checkpoint", {"run": "x"}, {})
        elif damage == "words that are none":
            np.savez(path, about=np.frombuffer(b"{", np.uint8))
        else:
            middle = len(whole) // 2
            flipped = whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]
            path.write_bytes({"empty": b"", "cut": whole[:middle], "flipped": flipped}[damage])
        with pytest.raises(Misused):
            Checkpoint.load(folder, "run")


def test_a_mean_of_something_else_than_arrays_is_not_kept(tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder, pytest.raises(Misused, match="a mean is kept as numpy arrays"):
        Checkpoint(ARRAYS, (), Progress(), Latest(0, [1.0], ARRAYS, ())).save(folder, "run")


def test_settings_that_no_second_process_could_name_are_refused_at_the_start(tmp_path: Path) -> None:
    class Whoever:
        def choose(self, clients: Any, draws: Any) -> tuple[int, ...]:
            return tuple(clients)

        def sampling(self, population: int) -> None:
            return

    federation = Federation(
        softmax_regression(2, 3), FedAvg(Local(0.3)), toy(), (Rounds(1),), selection=Whoever(), seed=1
    )
    with RunFolder(tmp_path) as folder, pytest.raises(Misused, match="does not say what its settings are"):
        federation.run(plain_mean, folder)
    assert len(list(federation.run(plain_mean))) == 1
