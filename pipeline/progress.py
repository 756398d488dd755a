"""What a person sees while a batch runs: one line a scan, and a bar on a terminal."""

import logging
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from pipeline.batch import Outcome

GIB = 2**30

log = logging.getLogger(__name__)


def reported(outcomes: Iterable[Outcome], total: int) -> Iterator[Outcome]:
    """Pass outcomes on, logging a line for each and moving a progress bar on a terminal."""
    started = time.time()
    with logging_redirect_tqdm(), tqdm(total=total, unit="scan", disable=None) as bar:
        for number, outcome in enumerate(outcomes, start=1):
            end = started + (time.time() - started) * total / number
            level = logging.ERROR if outcome.status == "failed" else logging.INFO
            log.log(level, "[%*d/%d] %s", len(str(total)), number, total, _line(outcome, end))
            bar.update()
            yield outcome


def _line(outcome: Outcome, end: float) -> str:
    if outcome.status == "failed":
        return f"failed: {outcome.message}"
    rate = (outcome.frames - 1) / outcome.seconds if outcome.seconds > 0 else float("inf")
    errors = outcome.errors
    scored = f", GPE {errors.GPE:.2f} LPE {errors.LPE:.3f} mm" if errors else ""
    return (
        f"{outcome.key} {outcome.status}: {outcome.frames} frames in {outcome.seconds:.1f} s "
        f"({rate:.0f} frames/s), peak {outcome.peak_bytes / GIB:.2f} GiB{scored}, "
        f"end about {time.strftime('%H:%M:%S', time.localtime(end))}"
    )
