"""What `bench.score` measured, summed up over scans, as numbers for JSON and as tables to read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from bench.measured import Measured
from bench.pairs import ByInterval
from training.measure import NAMES, Motions, summary
from tusrec.comparison import FREEDOMS, correlation

Measures = dict[str, float]

ERRORS = ("GPE", "GLE", "LPE", "LLE")
SCORES = ("final", "global", "local", "pixel", "landmark")
ALL = "all scans"


@dataclass(frozen=True)
class Group:
    """Scans of one kind. rows: means over them by row; pairs: of all their pairs by interval."""

    scans: int
    rows: dict[str, Measures]
    pairs: dict[str, dict[int, Measures]]


def groups(measured: Sequence[Measured]) -> dict[str, Group]:
    """The scans by kind, and where there are several kinds, all together."""
    kinds = dict.fromkeys(one.kind for one in measured)
    found = {kind: _group([one for one in measured if one.kind == kind]) for kind in kinds}
    return found | ({ALL: _group(measured)} if len(kinds) > 1 else {})


def _group(measured: Sequence[Measured]) -> Group:
    rows = {row: _row(measured, row) for row in measured[0].comparisons}
    with_pairs = dict.fromkeys(row for one in measured for row in one.pairs)
    pairs = {row: _pairs([m.pairs[row] for m in measured if row in m.pairs]) for row in with_pairs}
    return Group(len(measured), rows, pairs)


def _row(measured: Sequence[Measured], row: str) -> Measures:
    table = [one.comparisons[row].measures() for one in measured]
    means = {name: _mean([measures[name] for measures in table]) for name in table[0]}
    seconds = [one.seconds[row] for one in measured if row in one.seconds]
    spread = float(np.std([measures["final"] for measures in table]))
    return means | {"final sd": spread, "seconds": _mean(seconds)}


def _mean(values: Sequence[float]) -> float:
    present = [value for value in values if not np.isnan(value)]
    return float(np.mean(present)) if present else float("nan")


def _pairs(scans: Sequence[ByInterval]) -> dict[int, Measures]:
    intervals = sorted({k for scan in scans for k in scan})
    joined = {k: Motions.joined([scan[k] for scan in scans if k in scan]) for k in intervals}
    return {k: _pair_measures(motions) for k, motions in joined.items()}


def _pair_measures(motions: Motions) -> Measures:
    """`training.measure.summary`; of the sizes across the image also rank correlation and ratio."""
    found = summary(motions)
    if np.isnan(motions.scale).any():
        found |= {f"cover {name}": float("nan") for name in NAMES}
    true, predicted = (np.abs(xi[:, 5]) for xi in (motions.true, motions.predicted))
    ratio = predicted.mean() / true.mean() if true.any() else float("nan")
    rank = correlation(rankdata(true), rankdata(predicted))
    return found | {"size rank": rank, "size ratio": float(ratio)}


def text(name: str, found: Mapping[str, Group]) -> Iterator[str]:
    """The lines of all tables of a data set."""
    for kind, group in found.items():
        yield f"\n{name}, {kind} ({group.scans}): errors in mm, scores, seconds a scan"
        yield from _score_lines(group)
    for kind, group in found.items():
        yield f"\n{name}, {kind}: slope/correlation of local motion, the row's own signs"
        yield from _freedom_lines(group)
    for kind, group in found.items():
        if kind != ALL:
            yield (
                f"\n{name}, {kind}: pairs, sign left open in each; errors over identity's; "
                "|z| across the centre; slope/correlation; 68 % intervals"
            )
            yield from _pair_lines(group)


def _score_lines(group: Group) -> Iterator[str]:
    heads = [f"{name:>9}" for name in (*ERRORS, *SCORES)]
    yield f"{'':26}{''.join(heads)}{'final sd':>10}{'seconds':>9}"
    for row, found in group.rows.items():
        cells = "".join(_cell(found[name], 9) for name in (*ERRORS, *SCORES))
        yield f"{row:26}{cells}{_cell(found['final sd'], 10)}{_cell(found['seconds'], 9, 1)}"


def _freedom_lines(group: Group) -> Iterator[str]:
    yield f"{'':26}" + "".join(f"{name:>14}" for name in FREEDOMS)
    for row, found in group.rows.items():
        pairs = [(found[f"slope {n}"], found[f"correlation {n}"]) for n in FREEDOMS]
        yield f"{row:26}" + "".join(f"{_pair(*values):>14}" for values in pairs)


def _pair_lines(group: Group) -> Iterator[str]:
    heads = "".join(f"{name:>12}" for name in NAMES)
    yield f"{'':17}{'error':>6}{'in-plane':>9}{'|z|':>6}{'rank':>6}{heads}  inside, %"
    for row, intervals in group.pairs.items():
        for interval, found in intervals.items():
            sizes = f"{_cell(found['size slope'], 6, 2)}{_cell(found['size rank'], 6, 2)}"
            slopes = [(found[f"slope {n}"], found[f"corr {n}"]) for n in NAMES]
            freedoms = "".join(f"{_pair(*values):>12}" for values in slopes)
            inside = "".join(_cell(100 * found[f"cover {n}"], 4, 0) for n in NAMES)
            errors = f"{_cell(found['error'], 6)}{_cell(found['in-plane error'], 9)}"
            yield f"{f'{row} {interval}':17}{errors}{sizes}{freedoms}{inside}"


def _pair(slope: float, correlation: float) -> str:
    return f"{_cell(slope, 0, 2)}/{_cell(correlation, 0, 2)}"


def _cell(value: float, width: int, digits: int = 3) -> str:
    return f"{'-' if np.isnan(value) else f'{value:.{digits}f}':>{width}}"
