"""How commands begin and end: signals, before imports that take seconds, and exit codes."""

import logging
import signal
import sys
from collections.abc import Callable
from types import TracebackType

from tusrec import __version__
from tusrec.errors import TusrecError

TERMINATED = 128 + signal.SIGTERM  # exit codes, as shells give them
INTERRUPTED = 128 + signal.SIGINT
GOES_ON = "interrupted; the same command goes on where this run stopped"
log = logging.getLogger(__name__)


def exit_code_of(work: Callable[[], int], interrupted: str = "interrupted") -> int:
    """The exit code of a command's work, of which an expected failure is told in one line.

    interrupted: what is told on Ctrl-C.
    """
    _log_to_stderr()
    try:
        return work()
    except TusrecError as error:
        log.error("error: %s", error)
        return error.exit_code
    except KeyboardInterrupt:
        log.error(interrupted)
        return INTERRUPTED


def announce() -> None:
    """The first line of the log, for whoever waits: imports take seconds on a slow machine."""
    _log_to_stderr()
    log.info("tusrec %s", __version__)


def heed_signals() -> None:
    """End on SIGTERM as by an exception, which leaves no half-written file; on Ctrl-C in one line.

    Process 1 of a container would ignore SIGTERM.
    """
    signal.signal(signal.SIGTERM, _end)
    sys.excepthook = _tell


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


def _end(*_: object) -> None:
    sys.exit(TERMINATED)


def _tell(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
    else:
        sys.__excepthook__(kind, error, traceback)
