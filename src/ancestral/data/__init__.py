"""Images from disk or network to batches on a device.

Read in this order: images.py (one file), listing.py and folder.py (a folder of them), builtin.py and cifar.py (known
data sets), imageset.py (parts), cache.py, datasets.py (`load`), order.py and loader.py (`Loader`), check.py (`check`).
Data sets that are larger than the disk: packing.py (`pack`), shard_index.py, shards.py.
"""

from ancestral.data.check import check
from ancestral.data.datasets import load
from ancestral.data.imageset import ImageSet
from ancestral.data.loader import Loader
from ancestral.data.packing import pack

__all__ = ["ImageSet", "Loader", "check", "load", "pack"]
