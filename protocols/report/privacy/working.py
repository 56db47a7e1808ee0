"""Parts 5 and 6: how the noise was made, in exact numbers, and whom and what the figures trust."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from fractions import Fraction

from dp.accountant import DRAW_DISTANCE, View
from dp.events import Event, FixedSize, Poisson, Sampled, Sampling, leaves, takes_everyone, without_sampling
from dp.ledger.charge import Setting
from protocols.report.markup import Markup, Piece, element, join
from protocols.report.parts import (
    LISTED,
    SHOWN,
    code,
    facts,
    hexadecimal,
    left_out,
    listing,
    paragraph,
    quiet,
    remark,
    section,
)
from protocols.report.privacy.facts import Facts, Mechanism, Span, either
from protocols.report.privacy.noise import laws_of, sampled_by
from protocols.report.privacy.words import WHO_LOOKS, above, count, counted, near, rational

NO_RELEASE = "No release is on record."
# An installer rewrites RECORD, so that of the wheel itself has another hash.
RECORD = "Compare a hash with the SHA-256 of the file RECORD where you installed, in the same way, a wheel you trust."
NO_HASH = (
    "without a hash, for it was not installed from a wheel: which code made the noise cannot be checked. Installed "
    "from a wheel, the next releases carry one."
)
FIELDS = {
    "sigma2": "variance, steps squared",
    "l2_squared": "squared L2 bound",
    "l1": "L1 bound",
    "d": "coordinates",
    "components": "independent parts",
    "draws": "draws from tables",
    "rng": "randomness",
    "total": "variance fixed by",
    "lattice_step": "lattice step",
    "clip": "clip, L2",
    "modulus_bits": "modulus, bits",
    "min_survivors": "fewest survivors",
    "colluders": "colluders assumed",
    "layers": "removable layers",
    "mu": "variance mu, steps squared",
    "scale": "scale, steps",
}


def mechanisms(known: Facts) -> Markup:
    """Part 5."""
    found = known.mechanisms
    return section(
        5,
        "mechanisms",
        "Mechanisms, in exact numbers",
        paragraph(
            "Lengths and variances are in steps of the integer lattice on which updates are added and noise is drawn; "
            "the bounds are those of one unit's contribution, doubled by the accountants under replace-one."
        ),
        element("div", *map(_mechanism, found[:SHOWN]), cls="stack"),
        left_out(len(found), SHOWN, "mechanisms"),
        remark(known.only_before()) if found else paragraph(known.of_all(NO_RELEASE)),
    )


def _mechanism(mechanism: Mechanism) -> Markup:
    parts = laws_of(mechanism.event)
    laws = [pair for law, times in parts[:SHOWN] for pair in _law(law, times)]
    return element(
        "div",
        element("h3", code(mechanism.name)),
        facts([*_use(mechanism), *laws, *_setting(mechanism.setting), *_utility(mechanism)]),
        left_out(len(parts), SHOWN, "parts"),
        cls="card",
    )


def _use(mechanism: Mechanism) -> Iterator[tuple[str, Piece]]:
    rounds = mechanism.rounds
    where = f"round {rounds.least}" if rounds.least == rounds.most else f"rounds {rounds.least} to {rounds.most}"
    yield "releases", f"{count(mechanism.releases)}, {where}"
    yield "clients invited", either(mechanism.cohorts)
    yield "survivors", either(mechanism.survivors)


def _law(law: Event, times: int) -> Iterator[tuple[str, Piece]]:
    inner = laws_of(law.event) if isinstance(law, Sampled) else [(law, 1)]
    if isinstance(law, Sampled):
        yield "cohort drawn", sampling(law.sampling)
    for part, repeated in inner[:SHOWN]:
        often = times * repeated
        yield "law", part.tag if often == 1 else f"{part.tag}, {counted(often, 'time')} in each release"
        yield from _written(part)


def _setting(setting: Setting | None) -> Iterable[tuple[str, Piece]]:
    return [("setting", "not recorded")] if setting is None else _written(setting)


def _written(value: Event | Setting) -> Iterator[tuple[str, Piece]]:
    for each in fields(value):  # type: ignore[arg-type]  # every event of dp.events is a dataclass, their base is none
        if each.init:
            written = getattr(value, each.name)
            exact = rational(written) if isinstance(written, int | Fraction) else str(written)
            yield FIELDS.get(each.name, each.name), code(exact)


def _utility(mechanism: Mechanism) -> Iterator[tuple[str, Piece]]:
    noise = mechanism.noise
    if noise is not None and noise.multiplier is not None:
        yield "noise multiplier", near(noise.multiplier)
    if mechanism.mean_noise is not None and mechanism.noise_to_clip is not None:
        yield "noise on the mean", f"{near(mechanism.mean_noise)} per coordinate: charged, over the fewest allowed"
        yield "noise to signal", f"{near(mechanism.noise_to_clip)}: the length of that noise over the clip"


def sampling(scheme: Sampling) -> str:
    """How a cohort was drawn, with the exact rate."""
    if takes_everyone(scheme):
        return "everyone, no sampling"
    match scheme:
        case Poisson(q):
            return f"Poisson, each with probability {rational(Fraction(q))}"
        case FixedSize(m, population):
            return f"{count(m)} of {count(population)}, without replacement"


# --- 6 trust ----------------------------------------------------------------------------------------


def trust(known: Facts) -> Markup:
    """Part 6."""
    return section(
        6,
        "trust",
        "Trust model and side channels",
        facts(
            [
                ("Who looks", _viewers(known)),
                ("Before the noise", _before_the_noise(known)),
                ("Sampling", _samplings(known)),
                ("Randomness", _randomness(known)),
                ("Floating point", _floating_point(known)),
                (
                    "Timing",
                    "Not covered by epsilon. Python does not run in constant time, and when a message comes tells who "
                    "was slow; no figure here counts that.",
                ),
                ("Data access", _policy(known.statement.policy)),
                ("Code", _code(known)),
            ]
        ),
    )


def _viewers(known: Facts) -> Piece:
    views = sorted({budget.terms.view for budget in known.statement.budgets}, key=list(View).index)
    if not views:
        return known.of_all("No budget was opened, so no viewer is named.")
    return join([paragraph(f"Limits are set against {WHO_LOOKS[view]}.") for view in views])


def _before_the_noise(known: Facts) -> Piece:
    if not known.mechanisms:
        return known.of_all(NO_RELEASE)
    said = []
    settings = [mechanism.setting for mechanism in known.mechanisms if mechanism.setting is not None]
    if any(_is_distributed(law) for law in _laws(known)):
        said.append(
            "The clients make the noise in shares, so the sum that is opened already holds it. That single updates "
            "stay hidden until then rests on secure aggregation and its own assumptions, which no ledger records."
        )
    if adds_in_one_place(known):
        said.append("Where the noise is added in one place, whoever adds it sees the exact result.")
    if settings:
        fewest, colluders = Span.of([s.min_survivors for s in settings]), Span.of([s.colluders for s in settings])
        said.append(
            f"Epsilon rests on at least {either(fewest)} survivors in each sum, of whom {either(colluders)} may tell "
            "the server what they know."
        )
    else:
        said.append(known.of_all("How many survivors were required and how many colluders assumed is not recorded."))
    return join([paragraph(sentence) for sentence in said])


def adds_in_one_place(known: Facts) -> bool:
    """Whether some release had its noise added by somebody, who then saw the exact result."""
    return any(not _is_distributed(law) for law in _laws(known))


def _laws(known: Facts) -> list[Event]:
    return [law for mechanism in known.mechanisms for law, _ in leaves(without_sampling(mechanism.event))]


def _is_distributed(law: Event) -> bool:
    components: int = getattr(law, "components", 1)
    return components > 1


def _samplings(known: Facts) -> Piece:
    schemes = {sampling(scheme) for mechanism in known.mechanisms for scheme in sampled_by(mechanism.event)}
    if not known.mechanisms:
        return known.of_all(NO_RELEASE)
    if not schemes:
        return known.of_all("No amplification by sampling is claimed for any release.")
    drawn = "; ".join(sorted(schemes)[:SHOWN])
    return f"Cohorts were drawn at random: {drawn}. The server knows each of them, a reader of the results none."


def _randomness(known: Facts) -> Piece:
    insecure = known.exceptions.insecure
    if insecure:
        return f"{counted(len(insecure), 'release')} took noise from a known seed: such noise protects nobody."
    if not known.statement.releases:
        return known.of_all(NO_RELEASE)
    return known.of_all("Every release says that its noise came from the operating system's generator.")


def _floating_point(known: Facts) -> Piece:
    laws = _laws(known)
    if any(getattr(law, "components", 1) == 0 for law in laws):
        return "Some releases are stated with a law on the real numbers, which no computer draws exactly."
    if not laws:
        return known.of_all(NO_RELEASE)
    parts = f"at most {above(DRAW_DISTANCE)} for each of up to {count(known.most_draws)} draws in a release"
    return f"Noise is drawn as integers on a lattice; the sampler's distance from its law, {parts}, is paid from delta."


def _policy(policy: str) -> Piece:
    if not policy:
        return "Nothing is declared about access to the data outside these releases."
    said = element("span", policy, cls="pre")
    return join([element("p", said), quiet("Declared by the owner of the ledger, not checked.")])


def _code(known: Facts) -> Piece:
    found = dict.fromkeys((release.software, release.code) for release in known.statement.releases)
    if not found:
        return known.of_all(NO_RELEASE)
    items = [
        join([code(software), " ", hexadecimal(digest) if any(digest) else NO_HASH])
        for software, digest in list(found)[:LISTED]
    ]
    hashed = any(any(digest) for _, digest in found)
    compare = RECORD if hashed else ""
    return join(
        [listing(items), remark(compare), left_out(len(found), LISTED, "versions"), remark(known.only_before())]
    )
