"""Measured comparisons of Ancestral with its peers and with the machine itself; `python -m benchmarks` runs them.

Read `pairs` first (how a ratio is measured), then `workloads` (what is computed) and `peers` (who else computes it);
each other module is one benchmark: a function that yields cases. Nothing here is part of the installed package.
"""
