"""errors: one tree, every name documented; and the package's own surface."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import secagg
from secagg import errors

NAMES = {
    "BadBox",
    "BadCiphertext",
    "BadParameters",
    "BadPoint",
    "BadShare",
    "BadSignature",
    "ClipExceeded",
    "EntropyUnavailable",
    "NoParameters",
    "NonFinite",
    "Overflow",
    "WrongContext",
}


def test_every_error_hangs_under_secagg_error_and_says_whose_it_is() -> None:
    found = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}
    assert set(found) == NAMES | {"SecaggError"}
    for name in NAMES:
        assert found[name].__bases__ == (errors.SecaggError,)
        assert name in errors.__doc__
        assert "Yours: " in found[name].__doc__ or "Blame " in found[name].__doc__
    assert errors.SecaggError.__bases__ == (Exception,)


def test_the_surface_is_pinned() -> None:
    assert secagg.__all__ == sorted(
        [
            *NAMES, "SecaggError",
            "Ring", "Encoding", "Hit", "OnExcess", "Rounding", "Stream", "expand", "expand_into",
            "AgreementKey", "Context", "Identity", "Secret", "Seed", "check_point", "derive", "public_of", "verify",
            "open_box", "seal", "Share", "combine", "split", "Correction", "mask_into", "unmask_into",
            "Against", "Assumption", "Graph", "GraphMode", "Parameters", "find_parameters", "largest_feasible_dropout",
            "Workers", "Quorum", "Selection",
        ]
    )  # fmt: skip
    for name in secagg.__all__:
        assert getattr(secagg, name).__name__ == name
    assert dir(secagg) == secagg.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        secagg.Nothing  # noqa: B018


def test_importing_the_package_loads_nothing_and_its_modules_nothing_heavy() -> None:
    script = """
import sys
import secagg
assert not [name for name in sys.modules if name.startswith(("numpy", "cryptography", "secagg."))]
for name in secagg.__all__:
    getattr(secagg, name)
heavy = {"torch", "tenseal", "scipy", "matplotlib", "flwr", "random", "pickle", "dp", "protocols"}
print(*sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    # numpy itself imports pickle.
    assert set(done.stdout.split()) <= {"pickle", "random"}
