"""Where data sets lie on this machine: $ANCESTRAL_DATA/<name>, then $ANCESTRAL_DATA itself."""

import os
from pathlib import Path


def data_root() -> Path | None:
    """$ANCESTRAL_DATA, or None where it is not set."""
    root = os.environ.get("ANCESTRAL_DATA")
    return Path(root).expanduser() if root else None


def data_folders(name: str) -> list[Path]:
    """Folders in which the files of the data set `name` may lie, the likeliest first.

    The root itself counts only if it is not another data set's own folder: MNIST and Fashion-MNIST share file names.
    """
    root = data_root()
    if root is None:
        return []
    return [root / name] if root.name in {"mnist", "fashion-mnist", "cifar10"} - {name} else [root / name, root]


def advice(name: str, downloads: Path) -> str:
    """Where a user may put the files of `name`, in words."""
    return f"{downloads}, or into a folder {name} of the folder that ANCESTRAL_DATA names"
