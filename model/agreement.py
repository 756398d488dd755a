"""What the intervals of a scan tell of each other, within the picture.

A motion over 2k frames is the sum of two over k, so that a scan tells itself two things. A console
that smooths speckle leaves shifts of a pixel or so between neighbours a tenth too short, all along
a scan, and half as much of those over two frames: neighbours' are made as long as these say
(`model.neighbours` takes over where much more is missing). And where two intervals disagree by more
than the network was unsure of either, it was too sure: over 63 simulated scans that explains half
of what its scales are wrong by from scan to scan.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.canonical import Canvas
from model.cells import IN_PLANE
from model.neighbours import SHORT
from model.steps import Pair, Pairs, fall_short_by

Array = NDArray[np.float64]

SHIFTS = [3, 4]  # places in xi of the motion along x and y
NOISE = 0.015  # of the factor on shifts, in scans that show all of them
SPREAD = 0.1  # standard deviation of that factor among scans
ROUNDS, OUTLIER_SD = 5, 2.0  # of its fit, in which pairs that disagree lose weight
MEAN_TO_SD = float(np.sqrt(np.pi / 2))  # of a Gaussian's size
USUAL = 0.45  # median of the disagreements of two intervals over what they are unsure by
TRUST = 0.75  # power of a scan's disagreement by which its scales follow it
LEAST, MOST = 0.3, 10.0  # of a disagreement over the usual one
FEW = 4  # independent pairs with which half of that is believed


def in_agreement(pairs: Pairs, canvas: Canvas) -> dict[int, Pair]:
    """Pairs of which neighbours' shifts are seen in full, and as sure as the intervals agree."""
    whole = dict(pairs)
    if 2 in pairs and fall_short_by(pairs, canvas) < SHORT:
        factor = ratio(pairs[1], pairs[2])
        factor = np.where(factor < 1 + NOISE, 1.0, factor)
        whole[1] = _times(pairs[1], SHIFTS, factor, factor)
    doubts = {k: doubt(pair, whole[2 * k], k) for k, pair in whole.items() if 2 * k in whole}
    nothing_known = np.ones(len(IN_PLANE))
    return {
        k: _times(pair, IN_PLANE, 1.0, doubts.get(max(k // 2, 1), nothing_known))
        for k, pair in whole.items()
    }


def ratio(neighbours: Pair, two_apart: Pair) -> Array:
    """How much longer (2,) shifts over two frames are than the sums of those between neighbours.

    Robust least squares; the less the scan's motion tells beside its errors, the nearer to 1.
    """
    sums, whole, unsure = (part[:, SHIFTS] for part in _sums_and_whole(neighbours, two_apart, 1))
    independent = len(whole) / 2  # each shares its steps with two others
    if independent <= 1:
        return np.ones(len(SHIFTS))
    found, off = np.ones(len(SHIFTS)), np.abs(whole - sums)
    for _ in range(ROUNDS):
        sd = MEAN_TO_SD * off.mean(axis=0) + np.median(unsure, axis=0)
        weight = np.minimum(1.0, OUTLIER_SD * sd / np.maximum(off, 1e-9))
        energy = (weight * sums**2).sum(axis=0) + 1e-12
        found = (weight * sums * whole).sum(axis=0) / energy
        off = np.abs(whole - found * sums)
    variance = sd**2 / energy * len(whole) / (independent - 1)
    return np.asarray(1 + (found - 1) * SPREAD**2 / (SPREAD**2 + variance))


def doubt(pair: Pair, doubled: Pair, interval: int) -> Array:
    """Factors (3,) on the scales of motion within the picture, by how two intervals disagree."""
    sums, whole, unsure = _sums_and_whole(pair, doubled, interval)
    if not len(sums):
        return np.ones(len(IN_PLANE))
    apart = np.median((np.abs(sums - whole) / unsure)[:, IN_PLANE], axis=0)
    independent = len(sums) / (2 * interval)
    power = TRUST * independent / (independent + FEW)
    return np.asarray(np.clip(apart / USUAL, LEAST, MOST) ** power)


def _sums_and_whole(pair: Pair, doubled: Pair, interval: int) -> tuple[Array, Array, Array]:
    """Sums of two successive motions, those over both (P, 6), and how unsure both are together."""
    (motion, scale), (whole, whole_scale) = pair, doubled
    sums = motion[:-interval] + motion[interval:]
    unsure = np.sqrt(scale[:-interval] ** 2 + scale[interval:] ** 2 + whole_scale**2)
    measured = np.all(np.isfinite(unsure), axis=1)
    return sums[measured], whole[measured], unsure[measured]


def _times(pair: Pair, places: Sequence[int], longer: Array | float, doubt: Array) -> Pair:
    """A pair with some of its motions `longer` and their scales as much larger as `doubt` says."""
    motion, scale = (part.copy() for part in pair)
    motion[:, places] *= longer
    scale[:, places] *= doubt
    return motion, scale
