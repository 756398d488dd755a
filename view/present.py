"""What predict.py leaves for people and for other programs, beside its results."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tusrec.errors import OutOfMemoryError, TusrecError
from tusrec.results import Result, read_scan_result
from tusrec.scans import Scan, ScanSource
from view.exports import export
from view.report import write_report

REPORT_FILE = "report.html"
ADVICE = "end what else runs, or make it on a machine with more"

log = logging.getLogger(__name__)


def present(
    results: Path,
    sources: Sequence[ScanSource],
    failures: dict[str, str],
    kinds: Sequence[str],
    run: dict[str, str] | None,
) -> int:
    """Write exports of the given kinds, and the report unless `run`, its facts, is None.

    failures: why a scan has no result, by key. An export that fails is told and costs only itself,
    and so does the report; gives the worst exit code.
    """
    exit_code = 0
    for source in sources:
        if kinds and source.key not in failures:
            exports = partial(_export, results, source, kinds)
            exit_code = max(exit_code, attempt(source.key, exports))
    if run is not None:
        report = partial(_report, results, sources, failures, run)
        exit_code = max(exit_code, attempt(REPORT_FILE, report))
    return exit_code


def _export(results: Path, source: ScanSource, kinds: Sequence[str]) -> int:
    with source.open() as scan:
        prediction = read_scan_result(results, scan)
        return max(
            attempt(f"{scan.key} as {kind}", partial(_export_as, kind, results, scan, prediction))
            for kind in kinds
        )


def _export_as(kind: str, results: Path, scan: Scan, prediction: Result) -> int:
    export(kind, results, scan, prediction)
    log.info("%s exported as %s", scan.key, kind)
    return 0


def _report(
    results: Path, sources: Sequence[ScanSource], failures: dict[str, str], run: dict[str, str]
) -> int:
    left_out = write_report(results / REPORT_FILE, results, sources, failures, run)
    log.info("report: %s", results / REPORT_FILE)
    return max([_told(error) for error in left_out], default=0)


def attempt(what: str, make: Callable[[], int], advice: str = ADVICE) -> int:
    """The exit code of `make`, which fails without costing anything else.

    advice: how it may find more memory.
    """
    try:
        return make()
    except TusrecError as error:
        return _told(error)
    except MemoryError:
        return _told(OutOfMemoryError(f"{what}: out of memory; {advice}"))


def _told(error: TusrecError) -> int:
    log.error("error: %s", error)
    return error.exit_code
