"""How commands end by signals: for what a command does first, before imports that take seconds."""

import signal
import sys
from types import TracebackType

TERMINATED = 128 + signal.SIGTERM  # exit codes, as shells give them
INTERRUPTED = 128 + signal.SIGINT
GOES_ON = "interrupted; the same command goes on where this run stopped"


def heed_signals() -> None:
    """End on SIGTERM as by an exception, which leaves no half-written file; on Ctrl-C in one line.

    Process 1 of a container would ignore SIGTERM. A command may catch KeyboardInterrupt itself, to
    say more; else the exit code is 130 as shells give it.
    """
    signal.signal(signal.SIGTERM, _end)
    sys.excepthook = _tell


def _end(*_: object) -> None:
    sys.exit(TERMINATED)


def _tell(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
    else:
        sys.__excepthook__(kind, error, traceback)
