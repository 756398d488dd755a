"""How commands begin and end: signals, before imports that take seconds, and exit codes."""

import logging
import os
import signal
import sys
from collections.abc import Callable

from tusrec import __version__
from tusrec.errors import TusrecError

TERMINATED = 128 + signal.SIGTERM  # exit codes, as shells give them
INTERRUPTED = 128 + signal.SIGINT
GOES_ON = "interrupted; the same command goes on where this run stopped"
log = logging.getLogger(__name__)


def exit_code_of(work: Callable[[], int], interrupted: str = "interrupted") -> int:
    """The exit code of a command's work, of which an expected failure is told in one line.

    Where signals are heeded (`heed_signals`), they end the work as an exception does, which leaves
    no half-written file. interrupted: what is told on Ctrl-C.
    """
    _log_to_stderr()
    try:
        _heed_by_exceptions()
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
    """End on SIGTERM and, in one line, on Ctrl-C: until `exit_code_of` is called, at once.

    Process 1 of a container would ignore SIGTERM. Libraries that are being imported may take an
    exception for a fault of their own and go on, and nothing is half-written yet. Where Ctrl-C is
    ignored, as by what a script runs in the background, it stays so.
    """
    signal.signal(signal.SIGTERM, _end_at_once)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)


def _heed_by_exceptions() -> None:
    if signal.getsignal(signal.SIGTERM) is _end_at_once:
        signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)


def _end(*_: object) -> None:
    sys.exit(TERMINATED)


def _end_at_once(number: int, _: object) -> None:
    if number == signal.SIGINT and sys.stderr is not None:
        os.write(sys.stderr.fileno(), b"interrupted\n")  # the stream may be in use just now
    os._exit(128 + number)
