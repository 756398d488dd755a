"""What predict.py leaves for people and for other programs, beside its results."""

import logging
from collections.abc import Sequence
from pathlib import Path

from tusrec.errors import TusrecError
from tusrec.results import read_scan_result
from tusrec.scans import ScanSource
from view.exports import export
from view.report import write_report

REPORT_FILE = "report.html"

log = logging.getLogger(__name__)


def present(
    results: Path,
    sources: Sequence[ScanSource],
    failures: dict[str, str],
    kinds: Sequence[str],
    run: dict[str, str] | None,
) -> int:
    """Write exports of the given kinds, and the report unless `run`, its facts, is None.

    failures: why a scan has no result, by key. A scan whose export fails is told and costs only
    itself; gives the worst exit code.
    """
    exit_code = 0
    for source in sources:
        if kinds and source.key not in failures:
            exit_code = max(exit_code, _export(results, source, kinds))
    if run is not None:
        write_report(results / REPORT_FILE, results, sources, failures, run)
        log.info("report: %s", results / REPORT_FILE)
    return exit_code


def _export(results: Path, source: ScanSource, kinds: Sequence[str]) -> int:
    try:
        with source.open() as scan:
            prediction = read_scan_result(results, scan.key, scan.frames.shape[0])
            for kind in kinds:
                export(kind, results, scan, prediction)
        log.info("%s exported as %s", source.key, ", ".join(kinds))
        return 0
    except TusrecError as error:
        log.error("error: %s", error)
        return error.exit_code
