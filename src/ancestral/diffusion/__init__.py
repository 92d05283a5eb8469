"""The mathematics: schedules, the process and its posterior, parameterisations, variances, losses. Any tensor."""
