"""What a whole run leaves beside its results: run.json, and metrics.h5 where there is truth."""

import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.batch import Outcome, versions
from tusrec.errors import TusrecError
from tusrec.files import write_json
from tusrec.layouts import Dataset
from tusrec.metrics import Errors
from tusrec.results import (
    METRICS_FILE,
    read_result,
    require_of_scan,
    result_path,
    write_metrics,
)
from tusrec.scans import ScanSource

RUN_FILE = "run.json"

log = logging.getLogger(__name__)


def write_run(
    output: Path,
    dataset: Dataset,
    outcomes: list[Outcome],
    settings: dict[str, Any],
    exit_code: int,
) -> None:
    """Write run.json into `output`: settings, versions, how the run ends, an entry a scan."""
    run = {
        **settings,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "layout": dataset.layout,
        "versions": versions(),
        "exit_code": exit_code,
        "scans": [asdict(outcome) for outcome in outcomes],
    }
    write_json(output / RUN_FILE, run)


def write_errors(
    output: Path, dataset: Dataset, outcomes: list[Outcome], made_by: tuple[str, str, float]
) -> None:
    """Write metrics.h5 into `output` if any scan has truth; else one of other results goes.

    Where a scan failed it stays, without errors of that scan.

    made_by: `Result.made_by` of this run's results, which earlier ones must share to be listed.
    """
    tried = {outcome.key: outcome for outcome in outcomes}
    rows = _metrics_rows(output, dataset, tried, made_by)
    path = output / METRICS_FILE
    statuses = {outcome.status for outcome in outcomes}
    if any(errors for _, errors, _ in rows) or ("failed" in statuses and path.exists()):
        write_metrics(path, rows)
    elif "done" in statuses:
        path.unlink(missing_ok=True)


def _metrics_rows(
    output: Path, dataset: Dataset, tried: dict[str, Outcome], made_by: tuple[str, str, float]
) -> list[tuple[str, Errors | None, float]]:
    """Rows in key order: the scans of this run, and those that earlier runs left in `output`."""
    rows = []
    for source in dataset.scans:
        if outcome := tried.get(source.key):
            rows.append((source.key, outcome.errors, outcome.seconds))
        elif result_path(output, source.key).exists():
            rows.append((source.key, *_earlier(output, source, made_by)))
    return rows


def _earlier(
    output: Path, source: ScanSource, made_by: tuple[str, str, float]
) -> tuple[Errors | None, float]:
    """Errors and seconds of an earlier run's result; none if it is damaged, as of a failed scan.

    Nor of one by another model, other weights, another probe scale, or whose frames, calibration,
    truth or landmarks were others. Without errors its scan, which may be read whole for that, is
    not opened.
    """
    path = result_path(output, source.key)
    try:
        result = read_result(path)
        if result.errors is None:
            return None, float("nan")
        with source.open() as scan:
            require_of_scan(result, scan, path)
            beside = scan.beside_sha256()
    except TusrecError as error:
        log.warning("%s; left out of %s", error, METRICS_FILE)
        return None, float("nan")
    if result.attributes.get("beside_sha256") not in (None, beside):
        log.warning("%s: errors by other files than now; left out of %s", path, METRICS_FILE)
        return None, float("nan")
    if result.made_by != made_by:
        log.warning("%s: by %s; left out of %s", path, result.made_by[0], METRICS_FILE)
        return None, float("nan")
    return result.errors, result.seconds
