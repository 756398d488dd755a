"""Work spread over several processes of this machine, which end with the one that began them."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import TypeVar

from tusrec.entry import TERMINATED
from tusrec.errors import OutOfMemoryError

T = TypeVar("T")
R = TypeVar("R")


def spread(work: Callable[[T], R], items: Iterable[T], jobs: int) -> Iterator[R]:
    """Do `work` on every item in so many processes; gives what it returns, in the items' order.

    What one of them raises ends all, and so does what ends the caller; none leaves anything
    half-written. work: a function of a module, or a `partial` of one. One job is done in this
    process. Raises OutOfMemoryError if a process was killed.
    """
    if jobs == 1:
        yield from map(work, items)
        return
    # Forked, they would share locks of libraries' threads, which may be held just then.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _begin) as pool:
        try:
            with without_interrupts(), _on_one_core():
                results = pool.map(partial(_until_told, work), items)
            yield from results
        except BrokenProcessPool as error:
            raise OutOfMemoryError(
                f"found one of {jobs} processes killed, most likely out of memory, expected them "
                "to end by themselves; give fewer --jobs (make: MAKERS=); what is done stays done"
            ) from error
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()
            raise


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Processes that are started meanwhile do not heed Ctrl-C from their first moment.

    All processes of a terminal get it; it is the first one's alone, which ends the others.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _on_one_core() -> Iterator[None]:
    """Processes that are started meanwhile have one core each from their first moment."""
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = threads


def end_with_parent() -> None:
    """Let this process end when the one that spawned it is killed, for which a pool would wait."""
    Thread(target=_end_after_parent, daemon=True).start()


def _begin() -> None:
    """An end when it is told, or with the first process."""
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _end)
    end_with_parent()


def _end(*_: object) -> None:
    """End as an exception does, which leaves nothing half-written."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Where C code calls Python, as compilers do, no exception gets through: so again a bit later.
    sys.unraisablehook = lambda _: None
    signal.alarm(1)
    sys.exit(TERMINATED)


def _until_told(work: Callable[[T], R], item: T) -> R:
    try:
        return work(item)
    except SystemExit:  # which a pool would take for a result, and go on with the next item
        os._exit(TERMINATED)


def _end_after_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent  # of a process that was spawned
    parent.join()
    os._exit(1)
