"""`import ancestral`: quick, and every public name is where it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ancestral


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, ancestral; ancestral.PRESETS; ancestral.__version__; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


FOR_TYPE_CHECKERS = {
    line.split()[-1]: line.split()[1]
    for line in Path(ancestral.__file__).read_text(encoding="utf-8").splitlines()
    if line.startswith("    from ancestral.") and " as " in line
}
"""Public names, with the modules they come from."""


@pytest.mark.parametrize("name", FOR_TYPE_CHECKERS)
def test_every_public_name_is_found_and_listed(name: str) -> None:
    home = FOR_TYPE_CHECKERS[name]
    module = getattr(getattr(ancestral, name), "__module__", home)
    assert home in (module, module.rpartition(".")[0]), "a module, or the folder it lies in"
    assert name in dir(ancestral)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'diffuse'"):
        ancestral.__getattr__("diffuse")


@pytest.mark.parametrize(
    ("given", "turns"), [({}, "10000"), ({"OMP_WAIT_POLICY": "active"}, "None"), ({"GOMP_SPINCOUNT": "7"}, "7")]
)
def test_waiting_threads_soon_leave_their_core_unless_the_user_says_otherwise(given: dict, turns: str) -> None:
    """Trap: OpenMP's default spins for milliseconds, and beside other work a step takes ten times as long."""
    code = (
        "import os; from ancestral.cli.main import main; main(['--version']); print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    rest = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    out = subprocess.run([sys.executable, "-c", code], env=rest | given, capture_output=True, text=True, check=True)
    assert out.stdout.split()[-1] == turns
