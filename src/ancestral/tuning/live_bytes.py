"""How much memory a computation holds at its peak: its tensors; scratch inside an operation is unseen."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch says no types of it
    """A `with` statement's tensors, those that were there before left out.

    Attributes:
        now: bytes of those that are still there.
        most: the largest that `now` has been.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, operation: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {_place(tensor) for tensor in _tensors((args, kwargs))}
        result = operation(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            if _place(tensor) not in given | self._seen:
                self._come(tensor.untyped_storage())
        return result

    def _come(self, storage: torch.UntypedStorage) -> None:
        place, count = storage._cdata, storage.nbytes()
        self._seen.add(place)
        self.now += count
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, place, count)

    def _gone(self, place: int, count: int) -> None:
        self._seen.discard(place)
        self.now -= count


def peak_bytes(action: Callable[[], object]) -> int:
    """The most bytes of new tensors that `action` holds at once."""
    with LiveBytes() as live:
        action()
    return live.most


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
