"""Where windows lie that cover a length, of images that are computed part by part."""


def starts(length: int, window: int, stride: int, wraps: bool = False) -> list[int]:
    """Where windows begin along one side: every `stride` pixels, and one that ends at the edge unless it wraps.

    A side of a window's length that wraps has windows at every stride too: that is what closes its seam.
    """
    if wraps:
        return list(range(0, length, stride))
    return [*range(0, length - window, stride), length - window]
