"""Images from disk or network to batches on a device.

Read in this order: images.py (one file), listing.py and folder.py (a folder of them), builtin.py, idx.py and cifar.py
(known data sets), imageset.py (parts), cache.py, datasets.py (`load`), order.py and loader.py (`Loader`), check.py
(`check`). Data sets that are larger than the disk: packing.py (`pack`), shard_index.py, shard_cache.py, shards.py.
"""

from ancestral.data.check import Report, check
from ancestral.data.datasets import BUILT_IN_NAMES, load
from ancestral.data.images import BadImage
from ancestral.data.imageset import ImageSet, Missing, Parts
from ancestral.data.loader import Batch, Loader, batch_indices
from ancestral.data.packing import pack
from ancestral.text import printable

__all__ = [
    "BUILT_IN_NAMES",
    "BadImage",
    "Batch",
    "ImageSet",
    "Loader",
    "Missing",
    "Parts",
    "Report",
    "batch_indices",
    "check",
    "load",
    "pack",
    "printable",
]
