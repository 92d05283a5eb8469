"""What is said where memory runs out, whichever library asked for it."""

import re

from ancestral.text import size_in_words

SIGNS = (
    "can't allocate memory",
    "Cannot allocate memory",
    "could not create a primitive",
    "could not create a memory",
    "CUDA out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "bad_alloc",
)
"""In the messages of torch, of oneDNN beneath it, of CUDA, of C++ and of the system."""
AMOUNT = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTP]iB)")
REMEDY = (
    "lower what is computed at once (--compute.chunk where images are generated, --compute.micro_batch where a network "
    "is trained), the size, or the number of images"
)


def shortage(fault: Exception) -> str | None:
    """One line on a failure for want of memory: how much was asked for, and what to lower. None: it is another one."""
    said = str(fault)
    if not isinstance(fault, MemoryError) and not any(sign in said for sign in SIGNS):
        return None
    amount = AMOUNT.search(said)
    asked = f"{size_in_words(_bytes(amount[1], amount[2]))} at once" if amount else "more than there is"
    return f"expected work that fits in memory, got one that asks for {asked}; {REMEDY}"


def _bytes(number: str, unit: str) -> int:
    return int(float(number) * 2 ** (10 * "bKMGTP".index(unit[0])))
