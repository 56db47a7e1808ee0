"""Encrypted sums in a plan: under which key, with which numbers.

Bytes are exact (`sizes.py`), seconds an estimate (`encrypted_costs.py`), probabilities proven bounds
(`secagg.ckks.plan`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from protocols.choices import Choice, ProtocolReport, Request, besides, preferred, spared
from protocols.ckks import seeded
from protocols.ckks.keys import keys_for_rounds
from protocols.ckks.modes import weakness
from protocols.ckks.vector import Shape
from protocols.committee import HOLDERS
from protocols.costs import timed_steps
from protocols.encrypted_costs import (
    EncryptedRound,
    EncryptedSteps,
    adding_server,
    encrypting_client,
    keeping_server,
    sample_of,
    timed_cipher_steps,
)
from protocols.errors import BadPlan
from protocols.plan import ENCRYPTED, USUAL_MODES, Agreement, Promise, RoundPlan
from protocols.sizes import encrypted_sizes
from secagg.ckks.ceremony import covering_sets
from secagg.ckks.plan import FAILURE_LOG2, Keys, Mode
from secagg.errors import BadParameters
from secagg.negacyclic import PRIME_BITS

# How the key is held, and how else it may be. In every other way one party more can decrypt single uploads.
KEYS = keys_for_rounds(HOLDERS)
OTHER_KEYS = (Keys(Mode.SINGLE), seeded.KEYS)


def plan_ckks(request: Request) -> ProtocolReport:
    """The key that holders share, if it meets the promise asked for; beside it other keys, and the other promise.

    Keys that protect less are shown, never taken.
    """
    return preferred(
        [encrypted_choice(request, request.promise, KEYS)],
        [
            *(encrypted_choice(request, request.promise, keys) for keys in OTHER_KEYS),
            *(encrypted_choice(request, promise, KEYS) for promise in besides(request.promise)),
        ],
    )


def encrypted_choice(request: Request, promise: Promise, keys: Keys) -> Choice:
    """All numbers of one promise and key, or why there are none."""
    try:
        agreement = request.agreement(request.plan(promise, protocol=ENCRYPTED))
        return met_encrypted(agreement, keys, request.clients)
    except (BadPlan, BadParameters) as error:
        # Bad parameters mean that the library which encrypts is missing.
        return Choice(False, str(error), promise.value, mode=keys.mode.value)


def met_encrypted(agreement: Agreement, keys: Keys, clients: int) -> Choice:
    """The numbers of an encrypted round that can be met."""
    plan, carried = agreement.plan, Shape.of(agreement, keys)
    sizes = encrypted_sizes(agreement, keys, clients)
    shape = EncryptedRound(clients, carried.coding.length, carried.plan, sizes)
    client_seconds, server_seconds = seconds_of(shape, plan)
    return Choice(
        feasible=True,
        why=f"a client speaks once; {opening_of(keys)}",
        promise=plan.promise.value,
        mode=keys.mode.value,
        holders=keys.holders,
        threshold=keys.threshold,
        min_cohort=plan.min_cohort,
        modulus_bits=PRIME_BITS,
        privacy_failure_log2=float(FAILURE_LOG2) if keys.mode is Mode.THRESHOLD else -math.inf,
        completion_failure_log2=float(FAILURE_LOG2),
        exchanges=sizes.client.exchanges,
        round_exchanges=making_exchanges(keys) + sizes.client.exchanges + sizes.holder.exchanges,
        upload_bytes_per_client=sizes.client.upload_bytes,
        download_bytes_per_client=sizes.client.download_bytes,
        client_seconds=client_seconds,
        server_seconds=server_seconds,
        upload_bytes_per_holder=sizes.holder.upload_bytes,
        download_bytes_per_holder=sizes.holder.download_bytes,
        trusts=tuple(trusted_with_keys(plan, keys)),
        survives=f"{spared(plan)}; {needed_to_open(keys)}",
        advice=tuple(consents(plan, keys)),
    )


def making_exchanges(keys: Keys) -> int:
    """Exchanges with the holders before the round, in which its key is made: commit, reveal, check, and each trial."""
    match keys.mode:
        case Mode.THRESHOLD:
            return 3 + len(covering_sets(keys.holders, keys.threshold))
        case Mode.SINGLE:
            return 1
        case Mode.SEEDED:
            return 0


def needed_to_open(keys: Keys) -> str:
    """Who must not vanish."""
    match keys.mode:
        case Mode.THRESHOLD:
            return f"{keys.threshold} of the {keys.holders} holders must answer"
        case Mode.SINGLE:
            return "the decryptor must answer"
        case Mode.SEEDED:
            return "nobody else is needed"


def opening_of(keys: Keys) -> str:
    """Who opens the sum, and with what."""
    match keys.mode:
        case Mode.THRESHOLD:
            return f"{keys.threshold} of {keys.holders} holders open the sum, with a key made for it"
        case Mode.SINGLE:
            return "one decryptor, who is not the server, opens the sum, with a key made for it"
        case Mode.SEEDED:
            return "every client opens the sum, with a key that all of them share, and the server never has it"


def seconds_of(shape: EncryptedRound, plan: RoundPlan) -> tuple[float, float] | tuple[None, None]:
    """CPU seconds of one client and of the server, where they are estimated."""
    mode = shape.plan.keys.mode
    if mode is Mode.SEEDED:
        return None, None
    each = EncryptedSteps(timed_steps(plan.encoding), timed_cipher_steps(sample_of(shape.plan)))
    at_server = adding_server(shape) if mode is Mode.THRESHOLD else keeping_server(shape)
    return encrypting_client(shape).seconds(each), at_server.seconds(each)


def trusted_with_keys(plan: RoundPlan, keys: Keys) -> Iterator[str]:
    """Whom an encrypted round believes."""
    yield believed(keys)
    if keys.mode is Mode.SEEDED:
        helped, lie = "the server", "each of them has the key and can give it away"
    else:
        helped, lie = "whoever sees the opened sum", "one that adds a multiple of the key to its upload gives it away"
    if plan.promise is Promise.ACTIVE:
        yield f"no client may help {helped}: {lie}"
    else:
        yield f"safe only while the server and every client follow the protocol: {lie} to {helped}"


def consents(plan: RoundPlan, keys: Keys) -> Iterator[str]:
    """What a client's policy has to say because it refuses that by default, and what can be done before the round."""
    yield f"clients allow this by Policy(..., {', '.join(allowances(plan, keys))})"
    made = making_exchanges(keys)
    if made:
        yield f"its key is made in {made} of its exchanges, which can be done ahead, while clients train"


def believed(keys: Keys) -> str:
    """How many holders may be corrupt; or, of another key, what is weak about it."""
    if keys.mode is not Mode.THRESHOLD:
        return weakness(keys.mode)
    return (
        f"at most {keys.tolerated} of the {keys.holders} holders may be corrupt: more can open two sums of one round, "
        f"and {keys.threshold} together have the key"
    )


def allowances(plan: RoundPlan, keys: Keys) -> Iterator[str]:
    """What a policy has to say beyond its defaults."""
    yield 'protocols=frozenset({"ckks"})'
    if keys.mode is not Mode.SEEDED:
        yield "holders=..."
    if keys.mode not in USUAL_MODES:
        yield f"modes=frozenset({{Mode.{keys.mode.name}}})"
    if plan.promise is Promise.CURIOUS:
        yield "promise=Promise.CURIOUS"
