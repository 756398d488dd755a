"""What a person sees while a batch runs: one line a scan, and a bar on a terminal."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from pipeline.batch import Outcome

GIB = 2**30
T = TypeVar("T")

log = logging.getLogger(__name__)


def on_a_bar(scans: Iterable[T], total: int) -> Iterator[T]:
    """Pass scans, or what became of them, on, moving a progress bar on a terminal."""
    with logging_redirect_tqdm():
        yield from tqdm(scans, total=total, unit="scan", disable=None)


def reported(outcomes: Iterable[Outcome], total: int) -> Iterator[Outcome]:
    """Pass outcomes on, logging a line for each and moving a progress bar on a terminal."""
    done, spent, before = 0, 0.0, time.time()
    for number, outcome in enumerate(on_a_bar(outcomes, total), start=1):
        now = time.time()
        if outcome.status == "done":  # kept and failed ones take next to no time
            done, spent = done + 1, spent + now - before
        before = now
        end = now + (total - number) * spent / done if done else None
        level = logging.ERROR if outcome.status == "failed" else logging.INFO
        log.log(level, "[%*d/%d] %s", len(str(total)), number, total, _line(outcome, end))
        yield outcome


def _line(outcome: Outcome, end: float | None) -> str:
    if outcome.status == "failed":
        return f"failed: {outcome.message}"
    rate = (outcome.frames - 1) / outcome.seconds if outcome.seconds > 0 else float("inf")
    errors = outcome.errors
    scored = f", GPE {errors.GPE:.2f} LPE {errors.LPE:.3f} mm" if errors else ""
    ending = f", end about {time.strftime('%H:%M:%S', time.localtime(end))}" if end else ""
    return (
        f"{outcome.key} {outcome.status}: {outcome.frames} frames in {outcome.seconds:.1f} s "
        f"({rate:.0f} frames/s), peak {outcome.peak_bytes / GIB:.2f} GiB{scored}{ending}"
    )
