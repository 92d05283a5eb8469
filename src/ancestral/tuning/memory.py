"""How much memory generating takes."""

from collections.abc import Callable, MutableMapping
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class Living(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors made in its `with` block that are alive at once; `peak` is the most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes: MutableMapping[UntypedStorage, int] = WeakIdKeyDictionary()
        self.peak = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls `func`, then looks at what it made."""
        result = func(*args, **(kwargs or {}))
        for storage in (leaf.untyped_storage() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)):
            self.bytes[storage] = storage.nbytes()
        self.peak = max(self.peak, sum(self.bytes.values()))
        return result


def peak_bytes(action: Callable[[], object]) -> int:
    """The most bytes of new tensors that `action` holds at once; scratch inside an operation is not seen."""
    with Living() as living:
        action()
    return living.peak
