"""The bars of the pose model held against what `bench.score` measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from bench.measured import OUR_PAIRS, OURS, ROTATIONS, mirrored
from bench.score_tables import Group, Measures
from training.measure import NAMES

BASELINE = "baseline"
MEASURED = OUR_PAIRS, OURS  # as the network sees pairs, and as the steps that are written tell them


@dataclass(frozen=True)
class Bar:
    """Numbers that shall all lie between two bounds."""

    what: str
    found: Sequence[float]
    low: float
    high: float

    @property
    def held(self) -> bool:
        """Whether all do; a NaN does not."""
        return all(self.low <= value <= self.high for value in self.found)

    def line(self) -> str:
        """`held` or `NOT held`, what was found, and the bounds."""
        ends = (np.min(self.found), np.max(self.found))
        found = " to ".join(f"{value:.3f}" for value in ends[: len(self.found)])
        sides = [f"at least {self.low:g}", f"at most {self.high:g}"]
        bounds = " and ".join(
            side
            for side, bound in zip(sides, (self.low, self.high), strict=True)
            if np.isfinite(bound)
        )
        return f"{'held    ' if self.held else 'NOT held'}  {self.what}: {found} ({bounds})"


def at_most(what: str, found: float, high: float) -> Bar:
    """One number that shall be no more."""
    return Bar(what, [found], -np.inf, high)


def at_least(what: str, found: float, low: float) -> Bar:
    """One number that shall be no less."""
    return Bar(what, [found], low, np.inf)


def simulated_bars(found: Mapping[str, Group]) -> Iterator[Bar]:
    """The bars on the held-out simulated set, of those parts of it that are there."""
    if ROTATIONS in found:
        yield from _rotation_bars(found[ROTATIONS])
    for kind, group in found.items():
        yield from _uncertainty_bars(kind, group)
        yield from _baseline_bars(kind, group)


def _measured(group: Group) -> list[str]:
    """Those of MEASURED that some scan of a group has."""
    return [row for row in MEASURED if row in group.pairs]


def _rotation_bars(group: Group) -> Iterator[Bar]:
    for row, (interval, bound) in product(_measured(group), ((1, 0.12), (4, 0.10))):
        found, where = group.pairs[row][interval], f"{ROTATIONS}, {row}, interval {interval}"
        yield at_most(f"{where}, error over identity's", found["error"], bound)
        slopes = [found[f"slope {name}"] for name in NAMES]
        yield Bar(f"{where}, slopes of the six freedoms", slopes, 0.9, 1.1)
    plain, better = (group.rows[row]["local"] for row in (OURS, mirrored(OURS)))
    what = f"{ROTATIONS}, local score, better mirror of each scan (plain {plain:.3f})"
    yield at_least(what, better, 0.7)


def _uncertainty_bars(kind: str, group: Group) -> Iterator[Bar]:
    for row, interval in ((OUR_PAIRS, 1), (OUR_PAIRS, 4), (OURS, 1)):
        if row not in group.pairs:
            continue
        what = f"{kind}, {row} {interval}: share inside 68 % intervals, six freedoms"
        yield Bar(what, _coverage(group.pairs[row][interval]), 0.60, 0.76)


def _coverage(found: Measures) -> list[float]:
    return [found[f"cover {name}"] for name in NAMES]


def _baseline_bars(kind: str, group: Group) -> Iterator[Bar]:
    if BASELINE not in group.rows:
        return
    for row in (str, mirrored):
        ours, theirs = (group.rows[row(name)]["LPE"] for name in (OURS, BASELINE))
        what = f"{kind}, LPE of {row(OURS)} over that of {row(BASELINE)}"
        yield at_most(what, ours / theirs, 0.5)


def real_bars(name: str, found: Mapping[str, Group]) -> Iterator[Bar]:
    """The bars on real scans, whose truth jitters."""
    for group in found.values():
        for row, (interval, rank) in product(_measured(group), ((1, 0.60), (4, 0.75))):
            pairs, where = group.pairs[row][interval], f"{name}, {row}, interval {interval}"
            slope = f"{where}, |z| slope (mean size over true: {pairs['size ratio']:.2f})"
            yield Bar(slope, [pairs["size slope"]], 0.75, 1.25)
            yield at_least(f"{where}, |z| rank correlation", pairs["size rank"], rank)
            yield at_most(f"{where}, in-plane error over identity's", pairs["in-plane error"], 1.0)
