"""Training that can be stopped anywhere: the loop, averaged weights, checkpoints and logs."""
