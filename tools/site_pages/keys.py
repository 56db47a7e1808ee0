"""The keys of each command's one JSON object: the page lists them, and tests hold every command to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TRUTH, INTEGER, NUMBER, TEXT = "true or false", "integer", "number", "text"
LIST, OBJECTS, OBJECT = "list", "list of objects", "object"
NONE = "null where there is none"


@dataclass(frozen=True, slots=True)
class Key:
    """One name in an object: of which kinds its value may be, and which names the objects in it have.

    `besides` says in words which other names these objects may have.
    """

    name: str
    kinds: tuple[str, ...]
    inner: tuple[str, ...] = ()
    besides: str = ""

    def __str__(self) -> str:
        within = f" of {', '.join(f'`{name}`' for name in self.inner)}" if self.inner else ""
        return f"`{self.name}`: {', '.join(self.kinds)}{within}{self.besides}"

    def problems(self, value: object) -> Iterator[str]:
        """What of a value is not as it is said here."""
        if not any(is_of(kind, value) for kind in self.kinds):
            yield f"{self.name} is {value!r}"
        for each in objects_in(value) if self.inner else ():
            if not (set(self.inner) <= set(each) if self.besides else set(self.inner) == set(each)):
                yield f"{self.name} has an object of {sorted(each)}"


@dataclass(frozen=True, slots=True)
class When:
    """Keys that stand beside the others in this case."""

    case: str
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The keys of one command's object; where there are cases, exactly one of them is given."""

    always: tuple[Key, ...]
    cases: tuple[When, ...] = (When("", ()),)

    def __str__(self) -> str:
        listed = [f"- {key}\n" for key in self.always]
        return "".join([*listed, *(f"- {case.case}, {key}\n" for case in self.cases for key in case.keys)])

    @property
    def usual(self) -> set[str]:
        """The names in the first case."""
        return {key.name for key in (*self.always, *self.cases[0].keys)}

    def problems(self, values: Mapping[str, Any]) -> list[str]:
        """What of an object that the command printed is not as it is said here."""
        ways = [(*FIXED, *self.always, *case.keys) for case in self.cases]
        fitting = [way for way in ways if {key.name for key in way} == set(values)]
        if not fitting:
            return [f"the keys are {sorted(values)}"]
        return [problem for key in fitting[0] for problem in key.problems(values[key.name])]


def is_of(kind: str, value: object) -> bool:
    """Whether a value of JSON is of a kind."""
    match kind, value:
        case ("true or false", bool()) | ("text", str()) | ("list", list()) | ("object", dict()):
            return True
        case ("integer" | "number", int()):
            return not isinstance(value, bool)
        case ("number", float()) | ("null where there is none", None):
            return True
        case ("list of objects", list()):
            return all(isinstance(each, dict) for each in value)
    return False


def objects_in(value: object) -> list[dict[str, Any]]:
    """The value itself, or what is listed in it, where those are objects."""
    listed = value if isinstance(value, list) else [value]
    return [each for each in listed if isinstance(each, dict)]


def of(kind: str, *names: str) -> tuple[Key, ...]:
    """Keys whose values are of one kind."""
    return tuple(Key(name, (kind,)) for name in names)


def if_any(kind: str, *names: str) -> tuple[Key, ...]:
    """Keys whose values are of one kind, or null."""
    return tuple(Key(name, (kind, NONE)) for name in names)


FIXED = (*of(INTEGER, "version"), *of(TEXT, "command"))

# Of each protocol of a plan, and of each other way to run it.
PLANNED = (
    *("feasible", "why", "promise", "graph", "mode", "committee", "holders", "degree", "threshold", "window", "quorum"),
    *("min_cohort", "modulus_bits", "privacy_failure_log2", "completion_failure_log2", "exchanges", "round_exchanges"),
    *("upload_bytes_per_client", "download_bytes_per_client", "client_seconds", "server_seconds"),
    *("upload_bytes_per_holder", "download_bytes_per_holder", "trusts", "survives", "advice", "way", "round_seconds"),
)
PROBLEMS = Key("problems", (OBJECTS,), ("line", "error"))
REASONS = of(LIST, "reasons")
ENDED = (*of(TRUTH, "ok"), *of(INTEGER, "entries"), *of(TEXT, "head"))
HEAD = (*ENDED, *of(TEXT, "ledger_id", "signer", "signature"), *if_any(TEXT, "pin"))
JUDGED = (
    *of(TRUTH, "ok"),
    *of(INTEGER, "entries", "erased"),
    *if_any(TEXT, "head", "randomness"),
    *if_any(NUMBER, "epsilon_lower", "epsilon_upper"),
    PROBLEMS,
)
BUDGETS = Key(
    "budgets",
    (OBJECTS,),
    ("budget", "terms", "view", "epsilon_lower", "epsilon_upper", "epsilon_released_upper", "closed"),
)
OPINIONS = Key(
    "budgets",
    (OBJECTS,),
    ("budget", "recorded", "own", "own_lower", "foreign", "agrees", "why"),
    ", and what each accountant says under its name",
)
VERDICT = (*of(TEXT, "verdict"), *if_any(INTEGER, "audits_refuted"))
CHECKS = Key("checks", (OBJECTS,), ("name", "passed", "value"))
CLAIM = (*of(TRUTH, "ok"), *if_any(NUMBER, "claimed", "lower_bound", "confidence"), *of(NUMBER, "delta"), CHECKS)
AUDIT = Answer(
    (
        *CLAIM,
        *of(TEXT, "subject"),
        *of(INTEGER, "trials"),
        Key("readings", (OBJECTS,), ("name", "value")),
        Key("findings", (OBJECTS,), ("subject", "verdict", "claimed", "lower_bound")),
    )
)
COMMITTEE = (
    *of(INTEGER, "members", "corrupted_members", "offline_members", "values_per_coefficient"),
    *of(NUMBER, "member_seconds_median"),
    *of(INTEGER, "download_bytes_per_member"),
)
ENCRYPTED = (
    *of(TEXT, "mode"),
    *of(INTEGER, "holders", "guard_bits"),
    *if_any(NUMBER, "smudging_log2"),
    *of(LIST, "residue_bytes"),
    *if_any(TEXT, "binding"),
    *of(TEXT, "weakness"),
    *of(NUMBER, "holder_seconds_median"),
    *of(INTEGER, "download_bytes_per_holder"),
)

KEYS: Mapping[str, Answer] = {
    "secagg demo": Answer(
        (
            *of(TEXT, "protocol"),
            *of(NUMBER, "accuracy", "accuracy_plain"),
            *if_any(NUMBER, "epsilon", "epsilon_released", "delta"),
            *of(INTEGER, "rounds", "lost_rounds"),
            *of(LIST, "survivors"),
            *of(INTEGER, "bytes_up_per_client"),
            *of(NUMBER, "seconds"),
            *of(TRUTH, "exact"),
            *of(INTEGER, "seen_bytes"),
            *if_any(NUMBER, "chi_square_p"),
            *if_any(TEXT, "ledger_tail"),
            *of(TEXT, "folder"),
        ),
        (
            When("without `--no-dp`", (*of(TEXT, "ledger_verdict", "report"), *of(TRUTH, "ledger_replayed"))),
            When("with `--no-dp`", ()),
        ),
    ),
    "secagg simulate": Answer(
        (
            *of(TEXT, "protocol"),
            *of(TRUTH, "exact"),
            *of(INTEGER, "survivors"),
            *of(NUMBER, "client_seconds_median", "server_seconds"),
            *of(INTEGER, "upload_bytes_per_client", "rounds_trips", "peak_rss_bytes"),
            *if_any(INTEGER, "degree"),
            *of(INTEGER, "threshold", "modulus_bits"),
            *of(TRUTH, "deterministic"),
        ),
        (
            When("with `--protocol pairwise`", ()),
            When("with `--protocol oneshot`", COMMITTEE),
            When("with `--protocol ckks`", ENCRYPTED),
        ),
    ),
    "secagg plan": Answer(
        (
            *of(TEXT, "recommended"),
            *REASONS,
            *of(INTEGER, "clients"),
            *of(NUMBER, "dropout", "corrupt"),
            *of(INTEGER, "dimension", "bits"),
            *of(TEXT, "promise"),
            *of(NUMBER, "exchange_seconds"),
            Key("protocols", (OBJECT,), ("pairwise", "oneshot", "ckks")),
        )
    ),
    "secagg epsilon": Answer(
        (*of(NUMBER, "epsilon_lower", "epsilon_upper"), *of(TEXT, "accountant"), *of(NUMBER, "epsilon_aggregator_view"))
    ),
    "secagg calibrate": Answer(
        of(NUMBER, "epsilon"),
        (
            When("without `--noise-multiplier`", of(NUMBER, "noise_multiplier")),
            When("without `--steps`", of(INTEGER, "steps")),
            When("without `--sampling-rate` and `--cohort`", of(NUMBER, "sampling_rate")),
        ),
    ),
    "secagg bench": Answer(
        (
            *of(LIST, "suite"),
            *of(TEXT, "effort", "date"),
            *if_any(TEXT, "commit"),
            *of(OBJECT, "machine", "versions"),
            *of(NUMBER, "seconds"),
            *of(OBJECTS, "modules", "scoreboard"),
            *of(LIST, "skipped", "failed"),
            *of(OBJECTS, "rows"),
        )
    ),
    "secagg ledger show": Answer((*JUDGED, BUDGETS)),
    "secagg ledger verify": Answer(
        (*JUDGED, BUDGETS, *VERDICT, *if_any(INTEGER, "vouched"), *of(INTEGER, "witnesses"), *REASONS)
    ),
    "secagg ledger replay": Answer((*JUDGED, OPINIONS, *of(INTEGER, "compared"), *REASONS)),
    "secagg ledger report": Answer((*JUDGED, *VERDICT, *of(TEXT, "out"), *if_any(TEXT, "json_out"))),
    "secagg ledger head": Answer(HEAD),
    "secagg ledger prove": Answer(
        (
            *ENDED,
            *of(INTEGER, "position"),
            Key(
                "proof",
                (OBJECT,),
                ("ledger_id", "seq", "kind", "prev", "body", "position", "pseudonym", "salt", "path", "after"),
            ),
        )
    ),
    "secagg ledger check": Answer((*ENDED, *of(INTEGER, "seq", "position"), *of(TEXT, "pseudonym"))),
    "secagg ledger init": Answer(HEAD),
    "secagg ledger budget": Answer((*HEAD, *of(INTEGER, "budget"), *of(TEXT, "terms"))),
    "secagg ledger close": Answer(HEAD),
    "secagg ledger settle": Answer((*HEAD, *of(INTEGER, "open"))),
    "secagg ledger rotate": Answer(HEAD),
    "secagg ledger erase": Answer((*HEAD, *of(INTEGER, "erased"))),
    "secagg ledger export": Answer((*HEAD, *of(TEXT, "file"))),
    "secagg ledger import": Answer((*JUDGED, BUDGETS)),
    "secagg ledger copy": Answer((*HEAD, *of(TEXT, "file"))),
    "secagg audit selftest": AUDIT,
    "secagg audit one-run": AUDIT,
    "secagg audit canary": AUDIT,
    "secagg audit membership": AUDIT,
    "secagg audit invert": Answer(
        (
            *CLAIM,
            *REASONS,
            *of(TEXT, "source"),
            *of(INTEGER, "seed"),
            *of(NUMBER, "baseline_psnr"),
            Key(
                "rows",
                (OBJECTS,),
                ("clients", "noise_multiplier", "epsilon", "recovered", "best_psnr", "median_psnr"),
            ),
            Key(
                "rounds",
                (OBJECTS,),
                ("server", "protocol", "clients", "noise_multiplier", "exact", "recovered", "best_psnr"),
            ),
        )
    ),
}
EACH_WAY = (
    f"Each protocol is an object of {', '.join(f'`{name}`' for name in PLANNED)}, and of `variants`, a list of objects "
    "of the same keys: the other ways to run it."
)


def unlisted_in(values: Mapping[str, Any]) -> list[str]:
    """What of an object that some command printed is not on the page."""
    return KEYS[f"secagg {values['command']}"].problems(values)
