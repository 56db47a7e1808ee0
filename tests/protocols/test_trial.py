"""One whole round per trial: exact for every seed and every place a client can vanish at, or lost by name."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from protocols import simulate, trial
from protocols.errors import BadPlan, Misused, TooFewClients
from protocols.ideal import Ideal
from protocols.messages import Submit
from protocols.party import PartyId
from protocols.plan import NOTHING, RoundPlan
from protocols.simulate import Encrypted, Exchange, Fate, FaultPlan, Lost, Standing
from protocols.trial import LABEL_VECTOR, Trial, TrialReport, plan_for, run_trial, vector_of
from secagg.graph import GraphMode
from secagg.keys import Seed, derive

DIMENSION = 100
ROOT = Seed(bytes(range(32)))
WALL_CLOCK = {"client_seconds_median", "server_seconds", "peak_rss_bytes"}
# A vector that reached the server counts; what the client does afterwards does not change the sum.
COUNTS_AFTER = {Exchange.WITNESS, Exchange.UNMASK}


def tried(clients: int = 9, dropout: float = 0.0, seed: int | None = 1, dim: int = DIMENSION) -> TrialReport:
    return run_trial(Trial(plan_for(clients, dropout, 16), clients, dim, dropout), seed)


def force(patch: pytest.MonkeyPatch, fates: dict[int, Fate]) -> None:
    """The next trials lose exactly these clients."""
    planned = FaultPlan({PartyId(who): fate for who, fate in fates.items()})

    class Forced(FaultPlan):
        @classmethod
        def seeded(cls, clients: tuple[PartyId, ...], dropout: float, seed: int) -> FaultPlan:
            return planned

    patch.setattr(trial, "FaultPlan", Forced)


# --- exactness


def test_fifty_seeds_are_exact_with_clients_lost_at_every_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    fates: list[Fate] = []
    honest = FaultPlan.seeded.__func__

    def noted(cls: type[FaultPlan], clients: tuple[PartyId, ...], dropout: float, seed: int) -> FaultPlan:
        plan: FaultPlan = honest(cls, clients, dropout, seed)
        fates.extend(plan.fates.values())
        return plan

    monkeypatch.setattr(FaultPlan, "seeded", classmethod(noted))
    for seed in range(50):
        before = len(fates)
        report = tried(10, 0.2, seed)
        lost = sum(fate.exchange not in COUNTS_AFTER for fate in fates[before:])
        assert (report.exact, report.survivors, report.deterministic) == (True, 10 - lost, True), seed
    met = Counter(fates)
    assert len(fates) == 100
    assert set(met) == {Fate(*fate) for fate in product(Exchange, Lost)}


@pytest.mark.parametrize("side", Lost)
@pytest.mark.parametrize("exchange", Exchange)
def test_the_sum_is_exact_when_clients_vanish_here(
    exchange: Exchange, side: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    force(monkeypatch, {who: Fate(exchange, side) for who in (0, 4, 8)})
    report = tried(9, 1 / 3)
    assert report.exact
    assert report.survivors == (9 if exchange in COUNTS_AFTER else 6)


@pytest.mark.parametrize("side", Lost)
@pytest.mark.parametrize("exchange", Exchange)
def test_one_client_too_many_lost_here_ends_the_round_by_name(
    exchange: Exchange, side: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(9, 1 / 3, 16)
    parameters = plan.parameters(9)
    need = {
        Exchange.WITNESS: max(parameters.quorum, plan.min_cohort),
        Exchange.UNMASK: parameters.threshold,
    }.get(exchange, plan.min_cohort)
    force(monkeypatch, {who: Fate(exchange, side) for who in range(9 - need + 1)})
    with pytest.raises(TooFewClients) as lost:
        tried(9, 1 / 3)
    rooms = ["Gathering", "Relaying", "Summing", "Witnessing", "Unmasking"]
    assert lost.value.room == rooms[exchange]
    assert lost.value.have < lost.value.need


def test_without_a_seed_the_sum_is_exact_and_the_secrets_are_the_machine_s() -> None:
    report = tried(6, 0.2, seed=None)
    assert report.exact
    assert not report.deterministic


@pytest.mark.slow
def test_a_large_vector_of_twenty_clients_is_exact_for_ten_seeds() -> None:
    assert all(tried(20, 0.2, seed, 100_000).exact for seed in range(10))


def test_the_comparison_with_the_ideal_sum_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    class OffByOne(Ideal):
        def add(self, who: PartyId, submission: Submit) -> None:
            vector = submission.vector.copy()
            vector[0] = (int(vector[0]) + (who == 3)) % (1 << self.ring.bits)
            super().add(who, dataclasses.replace(submission, vector=vector))

    monkeypatch.setattr(simulate, "Ideal", OffByOne)
    assert not tried(5).exact


# --- the report


def test_a_seed_fixes_everything_but_the_clock() -> None:
    one, two, other = (tried(7, 0.2, seed).to_dict() for seed in (5, 5, 6))
    assert {key: one[key] for key in one if key not in WALL_CLOCK} == {
        key: two[key] for key in two if key not in WALL_CLOCK
    }
    assert other["exact"]


@pytest.mark.parametrize(("clients", "bits"), [(3, 16), (4, 8), (9, 16), (16, 2), (17, 24)])
def test_the_report_says_what_follows_from_the_numbers_asked_for(clients: int, bits: int) -> None:
    report = run_trial(Trial(plan_for(clients, 0, bits), clients, DIMENSION, 0), 1)
    assert report.survivors == clients
    assert report.degree == clients - 1
    assert report.degree // 2 < report.threshold <= report.degree
    assert report.rounds_trips == len(Exchange)
    # The least ring with 2^(b-1) above n * 2^(bits-1), where no sum can wrap.
    assert report.modulus_bits == math.floor(math.log2(clients * 2 ** (bits - 1))) + 2
    assert report.upload_bytes_per_client > DIMENSION * report.modulus_bits / 8


def test_a_longer_vector_costs_its_own_bytes_and_no_more() -> None:
    short, long = tried(5, dim=1000), tried(5, dim=3000)
    assert short.modulus_bits == long.modulus_bits
    assert long.upload_bytes_per_client - short.upload_bytes_per_client == 2000 * short.modulus_bits // 8


def test_seconds_and_memory_are_measured() -> None:
    report = tried(5)
    status = Path("/proc/self/status").read_text("ascii")
    high_water = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    assert 0 < report.client_seconds_median < 60
    assert 0 < report.server_seconds < 60
    assert 0.5 * high_water < report.peak_rss_bytes <= 1.01 * high_water


def test_the_report_has_the_names_the_command_prints() -> None:
    assert list(tried(3).to_dict()) == [
        "exact",
        "survivors",
        "client_seconds_median",
        "server_seconds",
        "upload_bytes_per_client",
        "rounds_trips",
        "peak_rss_bytes",
        "degree",
        "threshold",
        "modulus_bits",
        "deterministic",
    ]


# --- the vectors


@pytest.mark.parametrize("dimension", [1, 2, 7, 100, 40_001])
def test_a_test_vector_is_the_aes_stream_of_its_client(dimension: int) -> None:
    key = derive(ROOT, LABEL_VECTOR, NOTHING, (5).to_bytes(4, "little")).expose()
    stream = Cipher(AES(key), CTR(bytes(16))).encryptor().update(bytes(4 * dimension))
    expected = np.frombuffer(stream, "<i4").astype(np.float32) * np.float32(2.0**-31)
    vector = vector_of(ROOT, PartyId(5), dimension)
    assert vector.dtype == np.float32
    assert np.array_equal(vector, expected)


def test_test_vectors_fill_the_interval_and_differ_between_clients_and_roots() -> None:
    mine = vector_of(ROOT, PartyId(0), 50_000)
    # float32 rounds the largest word up to 1.
    assert -1 <= mine.min() < -0.999
    assert 0.999 < mine.max() <= 1
    assert abs(float(mine.mean())) < 6 * math.sqrt(1 / 3 / 50_000)
    for other in (vector_of(ROOT, PartyId(1), 50_000), vector_of(Seed(bytes(32)), PartyId(0), 50_000)):
        assert abs(float(np.corrcoef(mine, other)[0, 1])) < 6 / math.sqrt(50_000)


# --- the plan


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.2, 0.3])
def test_a_feasible_drop_out_is_assumed_as_asked(dropout: float) -> None:
    plan = plan_for(20, dropout, 12)
    assert float(plan.assumption.dropout) == dropout
    assert plan.bits == 12
    assert plan == RoundPlan.recommend(20, dropout=dropout, bits=12)


@pytest.mark.parametrize("dropout", [0.5, 0.9, 1.0])
def test_an_infeasible_drop_out_gets_the_plan_that_survives_most_and_is_then_lost(dropout: float) -> None:
    plan = plan_for(20, dropout, 16)
    assert 0.3 < plan.assumption.dropout < 0.5
    with pytest.raises(TooFewClients, match="open a new round"):
        tried(20, dropout)


def test_up_to_128_clients_mask_with_everybody_and_more_on_a_sparse_ring() -> None:
    everybody, ring = plan_for(128, 0.1, 16), plan_for(129, 0.1, 16)
    assert (everybody.graph, everybody.parameters(128).degree) == (GraphMode.COMPLETE, 127)
    assert ring.graph is GraphMode.ROSTER
    assert ring.parameters(129).degree < 128
    # The largest drop-out a ring survives is assumed where more is asked for.
    assert 0.3 < plan_for(200, 1.0, 16).assumption.dropout < 0.5


@pytest.mark.slow
def test_a_round_on_a_sparse_ring_is_exact_and_reports_its_degree() -> None:
    report = tried(150, 0.1)
    assert report.exact
    assert report.degree < 149
    assert report.degree // 2 < report.threshold <= report.degree
    with pytest.raises(TooFewClients):
        tried(150, 0.7)


# --- every error by name


@pytest.mark.parametrize("seed", [-1, 1 << 256, 10**100])
def test_a_seed_must_fit_thirty_two_bytes(seed: int) -> None:
    with pytest.raises(Misused, match=r"seed is .*0\.\.2\^256 - 1"):
        tried(3, seed=seed)


def test_the_largest_seed_works() -> None:
    assert tried(3, seed=(1 << 256) - 1).exact


@pytest.mark.parametrize("clients", [-1, 0, 1, 2])
def test_fewer_than_three_clients_hide_nobody(clients: int) -> None:
    with pytest.raises(BadPlan, match="fewer than 3"):
        plan_for(clients, 0, 16)


@pytest.mark.parametrize("dropout", [float("nan"), float("inf"), -0.1, 1.1])
def test_a_drop_out_is_a_fraction(dropout: float) -> None:
    with pytest.raises(Misused, match="dropout is"):
        tried(6, dropout)


@pytest.mark.parametrize("dimension", [0, -5, (1 << 32) + 1])
def test_an_impossible_vector_is_refused_before_anything_is_allocated(dimension: int) -> None:
    with pytest.raises(BadPlan, match="coordinates"):
        tried(3, dim=dimension)


@pytest.mark.parametrize("bits", [0, 1, 60])
def test_an_impossible_precision_is_refused(bits: int) -> None:
    with pytest.raises(BadPlan, match="bits"):
        plan_for(5, 0, bits)


# --- encrypted rounds


def encrypted(clients: int = 9, dropout: float = 0.0, seed: int | None = 1, dim: int = DIMENSION) -> TrialReport:
    return run_trial(Trial(plan_for(clients, dropout, 16, "ckks"), clients, dim, dropout), seed)


def test_twenty_seeds_of_encrypted_rounds_are_exact_with_clients_and_a_holder_lost() -> None:
    survivors = Counter()
    for seed in range(20):
        report = encrypted(10, 0.3, seed)
        assert (report.exact, report.deterministic, report.rounds_trips) == (True, True, 1), seed
        survivors[report.survivors] += 1
    # Whether request or reply is lost, a client that vanishes has sent no update.
    assert survivors == {7: 20}


def test_a_holder_is_lost_with_the_clients_and_the_sum_opened_by_the_others() -> None:
    whole, lossy = encrypted(10, 0.0), encrypted(10, 0.2)
    assert whole.opened is not None
    assert lossy.opened is not None
    # The first set of holders has the lost one in it, so the others are asked twice.
    assert lossy.opened.download_bytes_per_holder > 1.5 * whole.opened.download_bytes_per_holder


def test_it_is_told_of_every_update_that_leaves_and_every_answer() -> None:
    heard: list[Standing] = []
    whole = Trial(plan_for(6, 0.0, 16, "ckks"), 6, DIMENSION, 0.0)
    run_trial(whole, 1, heard.append)
    assert heard == [*(Standing(count, 0) for count in range(1, 7)), *(Standing(6, count) for count in range(1, 5))]


def test_whoever_vanishes_is_not_counted_and_a_second_set_answers_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Standing] = []
    force(monkeypatch, {2: Fate(Encrypted.VECTOR, Lost.REQUEST), 4: Fate(Encrypted.VECTOR, Lost.REPLY)})
    run_trial(Trial(plan_for(6, 0.3, 16, "ckks"), 6, DIMENSION, 0.3), 1, heard.append)
    # One of the first four holders is lost.
    assert heard[-1] == Standing(4, 3 + 4)


def test_masked_rounds_count_updates_and_no_answers() -> None:
    heard: list[Standing] = []
    run_trial(Trial(plan_for(5, 0.0, 16), 5, DIMENSION, 0.0), 1, heard.append)
    assert heard == [Standing(count, 0) for count in range(1, 6)]


def test_encrypted_rounds_repeat_by_seed_and_come_from_the_system_without() -> None:
    one, two = (encrypted(5, 0.2, 3).to_dict() for _ in range(2))
    clock = WALL_CLOCK | {"holder_seconds_median"}
    assert {name: one[name] for name in one.keys() - clock} == {name: two[name] for name in two.keys() - clock}
    assert not encrypted(5, 0.2, None).deterministic


def test_an_encrypted_report_names_the_key() -> None:
    values = encrypted(6).to_dict()
    assert (values["degree"], values["threshold"], values["holders"], values["modulus_bits"]) == (None, 4, 5, 54)
    assert values["mode"] == "threshold"
    assert values["guard_bits"] > values["smudging_log2"] > 10


@pytest.mark.parametrize("dropout", [0.6, 1.0])
def test_more_drop_outs_than_an_encrypted_sum_survives_lose_the_round_by_name(dropout: float) -> None:
    with pytest.raises(TooFewClients) as lost:
        encrypted(10, dropout)
    assert lost.value.room == "Summing"


def test_the_letters_of_an_encrypted_client_are_one() -> None:
    assert list(Encrypted) == [Encrypted.VECTOR]
    assert simulate.letters_of(plan_for(5, 0.0, 16, "ckks")) is Encrypted
    assert simulate.letters_of(plan_for(5, 0.0, 16)) is Exchange
