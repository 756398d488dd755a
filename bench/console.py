"""How benchmarks time what they measure, and print it."""

import sys
import time
from collections.abc import Callable

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
