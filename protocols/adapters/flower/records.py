"""What travels in Flower's records, and a model's way between them and one flat vector.

    content = the app's own records
            + ConfigRecord "secagg"          version, kind: for dispatch only
            + ArrayRecord "secagg.frames"    party number -> bundle of signed frames, as bytes

Whatever matters stands inside the signed frames; what the marker says may be forged, and then a frame does not fit.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from protocols.errors import BadPlan, Malformed, WrongUpdate
from protocols.party import MAX_CLIENT_ID, PartyId
from protocols.plan import Metric
from protocols.tensors import Floats, Layout

LABEL_INSTRUCTION = b"secagg/v1/flower/instruction"
MARKER, FRAMES = "secagg", "secagg.frames"
VERSION = 1
MAX_LETTERS = 64

Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]


class Kind(enum.StrEnum):
    """What a node is asked to do."""

    INTRODUCE = "introduce"  # say which parties it hosts
    EXCHANGE = "exchange"  # hear letters and answer them
    TRAIN = "train"  # the same, and run the app's function
    EVALUATE = "evaluate"  # the same, where metrics alone are summed


@dataclass(frozen=True, slots=True)
class Parcel:
    """Our part of a message: what for, and a bundle for, or from, each party of a node.

    `weight_key` names the metric that weighs a client. `metrics` are those an evaluation sums. A node that introduces
    itself sends for each party there, in place of a bundle, its signature of where it lives.
    Raises: Malformed from `taken_from`, naming nobody but the given peer.
    """

    kind: Kind
    letters: Mapping[PartyId, bytes] = field(default_factory=dict)
    weight_key: str = ""
    metrics: tuple[Metric, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all bundles."""
        return sum(map(len, self.letters.values()))

    def beside(self, content: RecordDict) -> RecordDict:
        """A new record with the content's records, which stay shared, and ours."""
        marker = {
            "version": VERSION,
            "kind": self.kind.value,
            "weight-key": self.weight_key,
            "metrics": [metric.name for metric in self.metrics],
            "clips": [str(metric.clip) for metric in self.metrics],
        }
        # Strategies give all nodes one and the same RecordDict: written into, a letter would go to everybody.
        whole = RecordDict(dict(content.items()))
        whole[MARKER] = ConfigRecord(marker)
        whole[FRAMES] = ArrayRecord({str(who): _as_array(bundle) for who, bundle in self.letters.items()})
        return whole

    @classmethod
    def taken_from(cls, content: RecordDict, peer: int) -> Parcel | None:
        """Our part of a content, None where there is none; the content keeps it (`without_ours`)."""
        if MARKER not in content and FRAMES not in content:
            return None
        marker, frames = content.get(MARKER), content.get(FRAMES)
        if not isinstance(marker, ConfigRecord) or not isinstance(frames, ArrayRecord):
            raise Malformed(peer, f"sends {MARKER!r} or {FRAMES!r} alone, or as records of another type")
        if marker.get("version") != VERSION:
            raise Malformed(peer, f"speaks version {marker.get('version')!r} of these records, here is {VERSION}")
        if len(frames) > MAX_LETTERS:
            raise Malformed(peer, f"sends {len(frames)} bundles at once, at most {MAX_LETTERS} are taken")
        try:
            return cls(
                kind=Kind(_text(marker, "kind")),
                letters={_number(key): _as_bytes(array) for key, array in frames.items()},
                weight_key=_text(marker, "weight-key"),
                metrics=_metrics(marker),
            )
        except (ValueError, ZeroDivisionError, BadPlan) as error:
            raise Malformed(peer, f"sends a marker that says nothing: {error}") from error


def without_ours(content: RecordDict) -> RecordDict:
    """The app's own records: mods further in count them."""
    return RecordDict({name: record for name, record in content.items() if name not in (MARKER, FRAMES)})


@dataclass(frozen=True, slots=True)
class Terms:
    """What a node is asked beside the app's records: which function, weighed by what, which metrics on which scale."""

    message_type: str
    weight_key: str
    metrics: tuple[Metric, ...] = ()


def instruction_digest(content: RecordDict, terms: Terms) -> bytes:
    """SHA-256 of all that a node is told: model, integers and settings, name by name, and the terms.

    Against: a server that tells one client to learn and the others to stand still, or to weigh themselves by what it
        knows, whose sum would then be that client's. Each client hashes what it received itself, and sums only with
        those told the same.
    """
    digest = hashlib.sha256(LABEL_INSTRUCTION)
    _put(digest, terms.message_type, terms.weight_key, len(terms.metrics))
    for metric in terms.metrics:
        _put(digest, metric.name, str(metric.clip))
    for name in sorted(content.keys()):
        record = content[name]
        _put(digest, name, type(record).__name__, len(record))
        for key in sorted(record.keys()):
            value = record[key]
            if isinstance(value, Array):
                _put(digest, key, value.dtype, tuple(value.shape), value.stype, value.data)
            else:
                _put(digest, key, value)
    return digest.digest()


def arrays_of(record: ArrayRecord) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """A record's arrays as numpy's.  Raises: WrongUpdate for one that is serialised in another way."""
    try:
        return {str(name): array.numpy() for name, array in record.items()}
    except (TypeError, ValueError, EOFError) as error:
        raise WrongUpdate(f"an array of the model cannot be read as numpy's: {error}") from error


def summed(arrays: Arrays) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """The arrays that have a mean: all but integers and booleans, which every party keeps its own of."""
    return {name: array for name, array in arrays.items() if array.dtype.kind not in "iub"}


def flattened(layout: Layout, arrays: Arrays) -> Floats:
    """The summed arrays in the layout's order, in float64 whatever floats they are.

    Raises: WrongUpdate for a missing, further or reshaped array; nothing is broadcast.
    """
    found = summed(arrays)
    names = {slot.name for slot in layout.slots}
    if found.keys() != names:
        raise WrongUpdate(f"the arrays differ from the model's: {sorted(found.keys() ^ names)} on one side only")
    flat = np.empty(layout.length, np.float64)
    start = 0
    for slot in layout.slots:
        array = found[slot.name]
        if array.shape != slot.shape or array.dtype.kind != "f":
            raise WrongUpdate(f"array {slot.name!r}: expected {slot.described()}, got {array.dtype} of {array.shape}")
        flat[start : start + slot.size] = array.reshape(-1)
        start += slot.size
    return flat


def restored(layout: Layout, vector: Floats, own: Arrays) -> ArrayRecord:
    """The model with the vector's numbers, its dtypes, its order, and its own integers put back.

    Raises: WrongUpdate for a number too large for its array's dtype.
    """
    floats = layout.unflatten(vector)
    return ArrayRecord({name: Array(np.asarray(floats.get(name, array))) for name, array in own.items()})


def layout_of_metrics(metrics: tuple[Metric, ...]) -> Layout:
    """An evaluation as a vector: one number per metric, in this order."""
    return Layout.of_update({metric.name: np.zeros((), np.float64) for metric in metrics})


def scales(metrics: tuple[Metric, ...], clip: Fraction) -> Floats:
    """By what each metric is multiplied so that all of them together stay within the L2 norm `clip`."""
    return np.array([float(clip / metric.clip) / math.sqrt(len(metrics)) for metric in metrics], np.float64)


def only_record(content: RecordDict, kind: type[Any]) -> Any:
    """The one record of this type.  Raises: WrongUpdate when there is none, or are several."""
    found = [record for record in content.values() if isinstance(record, kind)]
    if len(found) != 1:
        raise WrongUpdate(f"expected exactly one {kind.__name__}, got {len(found)}")
    return found[0]


def scalar(record: MetricRecord, name: str) -> float:
    """Raises: WrongUpdate for a metric that is missing, or is a list."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongUpdate(f"metric {name!r} is to be one number in the reply's MetricRecord")
    return float(value)


def weight(record: MetricRecord, name: str) -> int:
    """A client's weight: a whole number.  Raises: WrongUpdate otherwise."""
    value = scalar(record, name)
    if not value.is_integer():
        raise WrongUpdate(f"metric {name!r} weighs this client: a whole number, such as the count of its examples")
    return int(value)


def _as_array(bundle: bytes) -> Array:
    # Of a type of its own nothing is copied or parsed; as a numpy array it would be saved and loaded again.
    return Array(dtype="uint8", shape=(len(bundle),), stype=FRAMES, data=bundle)


def _as_bytes(array: Array) -> bytes:
    if array.stype != FRAMES:
        raise ValueError(f"a bundle of type {array.stype!r}")
    return bytes(array.data)


def _number(value: object) -> PartyId:
    number = int(value) if isinstance(value, str | int) else -1
    if not 0 <= number <= MAX_CLIENT_ID or str(number) != str(value):
        raise ValueError("a party without a number")
    return PartyId(number)


def _text(marker: ConfigRecord, name: str) -> str:
    value = marker.get(name)
    if not isinstance(value, str) or len(value) > 256:
        raise ValueError(f"{name} is no short text")
    return value


def _listed(marker: ConfigRecord, name: str) -> list[Any]:
    value = marker.get(name)
    if not isinstance(value, list) or len(value) > MAX_LETTERS:
        raise ValueError(f"{name} is no short list")
    return value


def _metrics(marker: ConfigRecord) -> tuple[Metric, ...]:
    names, clips = _listed(marker, "metrics"), _listed(marker, "clips")
    return tuple(Metric(str(name), Fraction(str(clip))) for name, clip in zip(names, clips, strict=True))


def _put(digest: Any, *parts: object) -> None:
    for part in parts:
        data = part if isinstance(part, bytes) else f"{type(part).__name__}:{part!r}".encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
