"""Images from disk or network to batches on a device.

Read in this order: images.py (one file), listing.py and folder.py (a folder of them), builtin.py, idx.py and cifar.py
(known data sets), imageset.py (parts), cache.py, datasets.py (`load`), loader.py (`Loader`), check.py (`check`).
"""

from ancestral.data.check import Report, check
from ancestral.data.datasets import BUILT_IN_NAMES, load
from ancestral.data.images import BadImage, printable
from ancestral.data.imageset import ImageSet, Parts
from ancestral.data.loader import Batch, Loader, batch_indices

__all__ = [
    "BUILT_IN_NAMES",
    "BadImage",
    "Batch",
    "ImageSet",
    "Loader",
    "Parts",
    "Report",
    "batch_indices",
    "check",
    "load",
    "printable",
]
