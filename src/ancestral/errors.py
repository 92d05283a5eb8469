"""What can go wrong by a user's hand or a machine's, each with the exit code the command line ends in."""

import re

from ancestral.text import printable_lines, size_in_words

OUT_OF_MEMORY = re.compile(
    "[Cc](an't|annot) allocate memory|could not create a (primitive|memory)|CUDA out of memory|"
    "CUDNN_STATUS_ALLOC_FAILED|bad_alloc"
)
"""In the messages of the system, of torch, of oneDNN beneath it, of CUDA and of C++."""
AMOUNT = re.compile(r"allocate ([\d.]+) ?([bKMGTP])(ytes|iB)")


class AncestralError(Exception):
    """An error whose one-line message says what to do."""

    exit_code = 1
    """What the command line returns."""
    rank_local = False
    """Of several processes, this one is known to fail and not the main one, which speaks for all."""

    def __init__(self, message: str) -> None:
        super().__init__(printable_lines(message[:2000]))  # what a file holds may be of any length


class InputError(AncestralError, ValueError):
    """A setting, file or folder that cannot be used: expected what, got what, and the remedy."""

    exit_code = 2


class SettingError(InputError):
    """A setting that cannot be as it was said, at a place such as a file; `setting`: its dotted name, empty where the
    fault is of no single one; `contract`: what was expected and what was got."""

    def __init__(self, where: str, setting: str, contract: str) -> None:
        super().__init__(f"{where}: {setting}: {contract}" if setting else f"{where}: {contract}")
        self.setting, self.contract = setting, contract


class Diverged(AncestralError):
    """Training met non-finite losses or gradients too often to go on; the last good state is kept."""

    exit_code = 3


class NonFinite(AncestralError):
    """NaN or infinity where a network computes: in its weights, in what it says, or in the images on the way."""

    exit_code = 3


class CannotWrite(AncestralError):
    """A checkpoint, picture or log could not be written (disk full, folder gone or read-only)."""

    exit_code = 4


class Lost(AncestralError):
    """Another of the processes that compute together is gone; what was saved is whole."""

    exit_code = 5


def shortage(fault: Exception) -> str:
    """One line on a failure for want of memory: how much was asked for, and what to lower. "": it is another one."""
    if not isinstance(fault, MemoryError) and not OUT_OF_MEMORY.search(str(fault)):
        return ""
    amount = AMOUNT.search(str(fault))
    size = int(float(amount[1]) * 2 ** (10 * "bKMGTP".index(amount[2]))) if amount else 0
    asked = f"{size_in_words(size)} at once" if amount else "more than there is"
    return (
        f"expected work that fits in memory, got one that asks for {asked}; lower what is computed at once "
        "(--compute.chunk where images are generated, --compute.micro_batch where a network is trained), the size, "
        "or the number of images"
    )
