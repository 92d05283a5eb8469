"""Every formula of the package against closed forms, on the machine at hand.

To add a check, write a function of the device that gives what should be 0 under `@CHECKS(name, allowed)`. The
oracles, in `ancestral.oracles`, share no formula with what is checked.
"""

from ancestral.selftest import (
    batches,
    bound,
    canvas,
    editing,
    evaluation,
    guidance,
    networks,
    orders,
    parameterizations,
    plans,
    process,
    randomness,
    restoring,
    samplers,
    schedules,
    straight_path,
    training,
)

GROUPS = {
    "schedules": schedules.CHECKS,
    "process": process.CHECKS,
    "parameterisations": parameterizations.CHECKS,
    "variances": process.VARIANCES,
    "samplers": (*samplers.CHECKS, *orders.CHECKS),
    "guidance": guidance.CHECKS,
    "plans": plans.CHECKS,
    "editing": (*editing.CHECKS, *restoring.CHECKS, *canvas.CHECKS),
    "bound": bound.CHECKS,
    "losses": parameterizations.LOSSES,
    "probability flow": bound.FLOW,
    "flow matching": straight_path.CHECKS,
    "networks": networks.CHECKS,
    "noise": randomness.NOISE,
    "batches": batches.CHECKS,
    "training": (*randomness.CHECKS, *training.CHECKS),
    "evaluation": evaluation.CHECKS,
}
"""Group -> its checks, in the order in which they are run and printed."""
