"""What can go wrong by a user's hand or a machine's, each with the exit code the command line ends in."""

from ancestral.text import printable_lines


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
