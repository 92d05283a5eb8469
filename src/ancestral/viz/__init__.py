"""Pixels or numbers in, pictures out: grids, strips and films of images (`pictures`), curves and charts (`plots`)."""
