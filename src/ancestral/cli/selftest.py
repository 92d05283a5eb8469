"""`ancestral selftest`: every formula against closed forms, on this machine; the checks are those of `selftest`."""

import time
from collections.abc import Sequence
from typing import Literal

from ancestral.cli.job_options import asked
from ancestral.cli.output import tell, tell_json
from ancestral.settings import Settings

ABOUT = """\
Check on this machine that every schedule, parameterisation, variance, sampler and term of the bound is what mathematics
says it is: against closed forms, published numbers, integrals and laws, with the error reached and the error allowed.

It needs no data and no network connection. The exit code is 0 when every check held, else 1.
"""
EXAMPLES = ("ancestral selftest", "ancestral selftest --device cuda")


class SelftestSettings(Settings):
    """What `selftest` is asked."""

    device: Literal["cpu", "cuda"] = "cpu"
    """where to compute"""


def run(argv: Sequence[str]) -> int:
    """Prints what every check finds, as it is found: 0 when all held, else 1."""
    job, as_json = asked(argv, "selftest", ABOUT, EXAMPLES, SelftestSettings)
    from ancestral.jobs.running import device_named
    from ancestral.selftest import GROUPS
    from ancestral.selftest import checks as selftest

    width = max(len(each.name) for checks in GROUPS.values() for each in checks)
    start, results = time.monotonic(), list[selftest.CheckResult]()
    for result in selftest.run(GROUPS, device_named(job.device)):
        if not as_json:
            if not results or results[-1].group != result.group:
                tell(f"{result.group:<{width + 2}} {'error':>8} {'allowed':>8}")
            verdict = "ok" if result.held else f"FAILED {' '.join(result.fault.split())}".strip()
            tell(f"  {result.name:<{width}} {result.error:>8.2g} {result.allowed:>8.2g}  {verdict}")
        results.append(result)
    seconds, failed = time.monotonic() - start, sum(not result.held for result in results)
    if as_json:  # an error that is no number is null there
        checks = [{**result._asdict(), "held": result.held} for result in results]
        tell_json({"device": job.device, "seconds": round(seconds, 1), "held": not failed, "checks": checks})
    elif failed:
        tell(f"{failed} of {len(results)} checks FAILED on {job.device}: this copy does not compute what it says.")
    else:
        tell(f"All {len(results)} checks held on {job.device}, in {seconds:.0f} seconds.")
    return int(failed > 0)
