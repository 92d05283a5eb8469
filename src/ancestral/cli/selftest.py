"""`ancestral selftest`: every formula against closed forms, on this machine."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ancestral.cli.options import Options

if TYPE_CHECKING:
    from ancestral.selftest.checks import CheckResult, Groups

ABOUT = """\
Check on this machine that every schedule, parameterisation, variance, sampler and term of the bound is what mathematics
says it is: against closed forms, published numbers, integrals and laws, with the error reached and the error allowed.

It needs no data and no network connection. The exit code is 0 when every check held, else 1.
"""


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    options = Options("ancestral selftest", "", ABOUT, ("ancestral selftest", "ancestral selftest --device cuda"))
    options.option("--device", choices=("cpu", "cuda"), help="where to compute [cpu]")
    options.option("--json", action="store_true", help="print the result as JSON")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    found = options.words(argv)
    return check(found.device or "cpu", found.json)


def check(device: str, as_json: bool) -> int:
    """Runs every check and prints what it finds, as it is found: 0 when all held, else 1."""
    from ancestral.cli.output import tell, tell_json
    from ancestral.jobs.running import device_named as device_of
    from ancestral.selftest import GROUPS
    from ancestral.selftest.checks import CheckResult
    from ancestral.selftest.checks import run as outcomes

    width, start, found = longest_name(GROUPS), time.monotonic(), list[CheckResult]()
    for outcome in outcomes(GROUPS, device_of(device)):
        if not as_json:
            if not found or found[-1].group != outcome.group:
                tell(heading(outcome, width))
            tell(line(outcome, width))
        found.append(outcome)
    seconds = time.monotonic() - start
    if as_json:
        tell_json(as_tree(found, device, seconds))
    else:
        tell(sentence(found, device, seconds))
    return int(not all(outcome.held for outcome in found))


def longest_name(groups: "Groups") -> int:
    """Characters."""
    return max(len(each.name) for checks in groups.values() for each in checks)


def heading(outcome: "CheckResult", width: int) -> str:
    """The line above the first check of a group."""
    return f"{outcome.group:<{width + 2}} {'error':>8} {'allowed':>8}"


def line(outcome: "CheckResult", width: int) -> str:
    """One check: name, error, what is allowed, and the verdict."""
    verdict = "ok" if outcome.held else f"FAILED {' '.join(outcome.fault.split())}".strip()
    return f"  {outcome.name:<{width}} {outcome.error:>8.2g} {outcome.allowed:>8.2g}  {verdict}"


def sentence(found: "Sequence[CheckResult]", device: str, seconds: float) -> str:
    """The end."""
    failed = [outcome for outcome in found if not outcome.held]
    if failed:
        return f"{len(failed)} of {len(found)} checks FAILED on {device}: this copy does not compute what it says."
    return f"All {len(found)} checks held on {device}, in {seconds:.0f} seconds."


def as_tree(found: "Sequence[CheckResult]", device: str, seconds: float) -> dict[str, object]:
    """The same for programs; an error that is no number is null there."""
    checks = [{**outcome._asdict(), "held": outcome.held} for outcome in found]
    held = all(outcome.held for outcome in found)
    return {"device": device, "seconds": round(seconds, 1), "held": held, "checks": checks}
