"""The package `dp`: names resolve, on first use only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dp
from dp import errors


@pytest.mark.parametrize("name", dp.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(dp, name).__name__ == name


def test_every_error_is_public() -> None:
    assert {name for name in vars(errors) if name[0].isupper()} <= set(dp.__all__)


def test_no_public_name_is_hidden_by_a_module() -> None:
    # Importing dp.x sets the attribute x of the package: a function of that name would turn into a module.
    modules = {path.stem for path in Path(dp.__file__).parent.glob("*.py")}
    assert not modules & set(dp.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dp.nothing
    assert dir(dp) == dp.__all__


def test_importing_the_package_and_its_noise_loads_no_scipy() -> None:
    script = (
        "import sys, dp; assert not [m for m in sys.modules if m.startswith(('dp.', 'numpy', 'scipy'))]\n"
        "dp.NoiseShare, dp.Ledger, dp.Budget; assert 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, cwd=Path(dp.__file__).parents[1])
