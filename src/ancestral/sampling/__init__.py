"""Going backwards: denoisers, guidance, samplers and the loop that yields every step."""
