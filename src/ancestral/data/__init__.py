"""Images from disk or network to batches on a device.

Read in this order: images.py (one file), listing.py and folder.py (a folder of them), builtin.py and cifar.py (known
data sets), imageset.py (parts), cache.py, datasets.py (`load`), order.py and loader.py (`Loader`), check.py (`check`).
Data sets that are larger than the disk: packing.py (`pack`), shard_index.py, shards.py.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ancestral.data.check import check as check
    from ancestral.data.datasets import load as load
    from ancestral.data.imageset import ImageSet as ImageSet
    from ancestral.data.loader import Loader as Loader
    from ancestral.data.packing import pack as pack

_HOME = {"ImageSet": "imageset", "Loader": "loader", "check": "check", "load": "datasets", "pack": "packing"}
__all__ = ["ImageSet", "Loader", "check", "load", "pack"]


def __getattr__(name: str) -> Any:
    """Fetched when it is first used: to read one image takes no torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
