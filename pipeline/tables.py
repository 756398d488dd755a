"""The evaluation as people read it: a text table, and the same as JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.evaluation import SCORES, Entry
from tusrec.comparison import FREEDOMS

ERRORS = ("GPE", "GLE", "LPE", "LLE", "drift mm", "drift %")


def text_report(entries: Sequence[Entry]) -> str:
    """Scores, errors and where the error is, of all scans, then by protocol."""
    protocols = _protocols(entries)
    groups = {"all scans": entries} | (protocols if len(protocols) > 1 else {})
    tables = []
    for title, group in groups.items():
        scans = len({entry.key for entry in group})
        tables.append(_table(f"scores, {title} ({scans}; mean ± sd over scans)", group, SCORES))
        tables.append(_table(f"errors in mm, {title}", group, ERRORS))
        tables.append(_freedoms_table(title, group))
    truth = " and ".join(sorted({entry.truth for entry in entries}))
    return "\n\n".join([f"truth: {truth} poses", *tables])


def json_report(entries: Sequence[Entry]) -> dict[str, Any]:
    """Every number of the text report, and every scan's own."""
    return {
        "rows": _summaries(entries),
        "protocols": {name: _summaries(group) for name, group in _protocols(entries).items()},
        "scans": [
            {"row": e.row, "scan": e.key, "protocol": e.protocol}
            | {"truth": e.truth, "message": e.message}
            | e.measures()
            for e in entries
        ],
    }


def _table(title: str, entries: Sequence[Entry], measures: Sequence[str]) -> str:
    lines = [["", *measures]]
    for row, group in _rows(entries):
        summary = _summary(group)
        numbers = (_plus_minus(summary.get(name)) for name in measures)
        lines.append([_label(row, group, measures[0]), *numbers])
    return f"{title}\n{_aligned(lines)}"


def _freedoms_table(title: str, entries: Sequence[Entry]) -> str:
    lines = [["slope / correlation", *FREEDOMS]]
    for row, group in _rows(entries):
        summary = _summary(group)
        pairs = [(summary.get(f"slope {n}"), summary.get(f"correlation {n}")) for n in FREEDOMS]
        numbers = (f"{_mean(slope)} / {_mean(corr)}" for slope, corr in pairs)
        lines.append([_label(row, group, f"slope {FREEDOMS[0]}"), *numbers])
    what = "local motion about the image centre, predicted against true"
    return f"{what}, {title} (mean over scans)\n{_aligned(lines)}"


def _label(row: str, entries: Sequence[Entry], measure: str) -> str:
    """A row's name, with how many of its scans have a measure where some failed."""
    having = sum(measure in entry.measures() for entry in entries)
    return row if having == len(entries) else f"{row} ({having} of {len(entries)})"


def _protocols(entries: Sequence[Entry]) -> dict[str, Sequence[Entry]]:
    names = sorted({entry.protocol for entry in entries})
    return {name: [entry for entry in entries if entry.protocol == name] for name in names}


def _rows(entries: Sequence[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    for row in dict.fromkeys(entry.row for entry in entries):
        yield row, [entry for entry in entries if entry.row == row]


def _summaries(entries: Sequence[Entry]) -> dict[str, Any]:
    return {
        row: {"scans": len(group), "failed": sum(e.failed for e in group)} | _summary(group)
        for row, group in _rows(entries)
    }


def _summary(entries: Sequence[Entry]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over scans of every measure, leaving out NaN."""
    table = [entry.measures() for entry in entries]
    names = dict.fromkeys(name for measures in table for name in measures)
    return {
        name: _mean_and_sd([measures[name] for measures in table if name in measures])
        for name in names
    }


def _mean_and_sd(values: Sequence[float]) -> dict[str, float]:
    present = [value for value in values if not np.isnan(value)] or [float("nan")]
    return {"mean": float(np.mean(present)), "sd": float(np.std(present))}


def _plus_minus(summary: dict[str, float] | None) -> str:
    if summary is None or np.isnan(summary["mean"]):
        return "-"
    return f"{summary['mean']:.3f} ± {summary['sd']:.3f}"


def _mean(summary: dict[str, float] | None) -> str:
    return "-" if summary is None or np.isnan(summary["mean"]) else f"{summary['mean']:.2f}"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )
