"""Every formula of the package against closed forms, on the machine at hand.

To add a check, write a function of the device that returns an error, and a line in `CHECKS` of its file. The oracles,
in oracles.py, share no formula with what is checked.
"""

from ancestral.selftest import (
    bound,
    canvas,
    editing,
    flow,
    guidance,
    levels,
    losses,
    networks,
    noise,
    orders,
    parameterizations,
    process,
    restoring,
    samplers,
    schedules,
    variances,
)

GROUPS = {
    "schedules": schedules.CHECKS,
    "process": process.CHECKS,
    "parameterisations": (*parameterizations.CHECKS, *levels.CHECKS),
    "variances": variances.CHECKS,
    "samplers": (*samplers.CHECKS, *orders.CHECKS),
    "guidance": guidance.CHECKS,
    "editing": (*editing.CHECKS, *restoring.CHECKS, *canvas.CHECKS),
    "bound": bound.CHECKS,
    "losses": losses.CHECKS,
    "flow": flow.CHECKS,
    "networks": networks.CHECKS,
    "noise": noise.CHECKS,
}
"""Group -> its checks, in the order in which they are run and printed."""
