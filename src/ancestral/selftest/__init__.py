"""Every formula of the package against closed forms, on the machine at hand.

To add a check, write a function of the device that returns an error, and a line in `CHECKS` of its file. The oracles,
in oracles.py, share no formula with what is checked.
"""

from ancestral.selftest import (
    bound,
    flow,
    levels,
    losses,
    networks,
    noise,
    parameterizations,
    process,
    samplers,
    schedules,
    variances,
)

GROUPS = {
    "schedules": schedules.CHECKS,
    "process": process.CHECKS,
    "parameterisations": (*parameterizations.CHECKS, *levels.CHECKS),
    "variances": variances.CHECKS,
    "samplers": samplers.CHECKS,
    "bound": bound.CHECKS,
    "losses": losses.CHECKS,
    "flow": flow.CHECKS,
    "networks": networks.CHECKS,
    "noise": noise.CHECKS,
}
"""Group -> its checks, in the order in which they are run and printed."""
