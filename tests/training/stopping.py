"""`ancestral` in a process that signals itself in the middle of a save: stopping.py SIGNAL TIMES WORDS..."""

import os
import signal
import sys

from ancestral.cli.main import main


def signal_inside_a_save(number: int, times: int) -> None:
    """Sends itself a signal just before the rename that makes the second checkpoint exist."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event == "os.rename" and str(arguments[0]).rpartition("/")[2].startswith(".building-"):
            seen += 1
            if seen == 2:
                for _ in range(times):
                    os.kill(os.getpid(), number)

    sys.addaudithook(hook)


if __name__ == "__main__":
    signal_inside_a_save(int(signal.Signals[sys.argv[1]]), int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
