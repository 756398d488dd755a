"""The report: one HTML page for a run, which needs nothing beside it and no network."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tusrec.errors import InputError
from tusrec.files import atomic_path
from tusrec.results import read_scan_result
from tusrec.scans import ScanSource
from view import leaderboard
from view.report_data import scan_data

PAGE = Path(__file__).with_name("report.html")
MARK = "<!-- data -->"
PICTURES = 4000  # in a page of many scans; a scan has between these two numbers
FEWEST, MOST = 30, 240


def write_report(
    path: Path,
    results: Path,
    sources: Iterable[ScanSource],
    failures: dict[str, str],
    run: dict[str, str],
) -> list[InputError]:
    """Write the report on the scans of `sources` that have a result in the folder `results`.

    failures: why a scan has none, by its key. run: facts about the run, of which `input` is shown.
    Scans are written one after the other, so memory holds one. Returns what was wrong with those
    that could not be read. Raises OutputError if the page cannot be written.
    """
    left_out: list[InputError] = []
    scans = [source for source in sources if source.key not in failures]
    most_pictures = min(MOST, max(FEWEST, PICTURES // max(len(scans), 1)))
    head, tail = PAGE.read_text(encoding="utf-8").split(MARK)
    table = {"columns": leaderboard.COLUMNS, "title": leaderboard.TITLE, "rows": leaderboard.ROWS}
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8") as page:
        page.write(head)
        overviews = []
        for number, source in enumerate(scans):
            try:
                with source.open() as scan:
                    data = scan_data(scan, read_scan_result(results, scan), most_pictures)
            except InputError as error:
                failures = failures | {source.key: str(error)}
                left_out.append(error)
                continue
            page.write(_script(f"scan-{number}", data))
            overviews.append(_overview(number, data))
        page.write(
            _script(
                "run",
                {"run": run, "scans": overviews, "failures": failures, "leaderboard": table},
            )
        )
        page.write(tail)
    return left_out


def _overview(number: int, data: dict[str, Any]) -> dict[str, Any]:
    """A scan's line in the table of all scans."""
    scores = data["scores"]
    return {
        "id": f"scan-{number}",
        "key": data["key"],
        "frames": data["frames"],
        "scores": scores["prediction"] if scores else None,
    }


def _script(name: str, content: dict[str, Any]) -> str:
    """A block of JSON; `<` is escaped, so that no text in it can end the block."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>\n'
