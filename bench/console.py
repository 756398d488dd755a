"""How benchmarks time what they measure, in other processes too, and print it."""

import subprocess
import sys
import time
from collections.abc import Callable

from tusrec.errors import TusrecError

GB = 1e9


def say(*lines: str) -> None:
    """Print lines at once: what is measured next may take minutes."""
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock time of a call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def in_child(module: str, *arguments: str) -> str:
    """What a module prints that runs in a process of its own; TusrecError if that fails."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    require_done(module, done.returncode)
    return done.stdout.strip()


def require_done(program: str, exit_code: int) -> None:
    """Raise TusrecError with a program's exit code unless it did all that is measured of it."""
    if exit_code:
        error = TusrecError(
            f"{program}: found exit code {exit_code}, expected 0; mend what it says above"
        )
        error.exit_code = exit_code
        raise error
