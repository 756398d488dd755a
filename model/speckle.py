"""What the speckle of a scan looks like, patch by patch."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from model import block_matching
from model.block_matching import MARGIN, PATCH, Grid, Patches

Array = NDArray[np.float64]

FAR_FRAMES = 10  # apart, frames of a moving probe share no speckle any more
MIN_FAR_PAIRS = 4
HIGHEST_FLOOR = 0.3  # more than that means that the probe came back, or hardly moved


@dataclass(frozen=True)
class Speckle:
    """Speckle of each of P patches.

    half_width_mm: (P,) lateral shift at which half of its correlation is left, 0 if it has none.
    bend: (P, 2) fall of correlation at small shifts x and y, r = 1 - bend d^2 / 2, per mm^2.
    cells: (P,) number of independent speckle cells.
    floor: (P,) correlation left between frames far apart, of coherent structure and of chance.
    """

    half_width_mm: Array
    bend: Array
    cells: Array
    floor: Array


def measure_speckle(samples: Sequence[Patches], indices: Sequence[int], grid: Grid) -> Speckle:
    """Speckle as the mean over sampled frames; `samples` holds one frame each, of `indices`."""
    own = sum(block_matching.correlate(one, one).sum(dim=0) for one in samples)
    surface = np.asarray(own.double().cpu().numpy())  # type: ignore[union-attr]
    peak = surface[:, MARGIN, MARGIN]
    surface = surface / np.maximum(peak, 1e-6)[:, None, None]  # (P, L, L)
    lateral = (surface[:, MARGIN, MARGIN:] + surface[:, MARGIN, MARGIN::-1]) / 2
    axial = (surface[:, MARGIN:, MARGIN] + surface[:, MARGIN::-1, MARGIN]) / 2
    bend = np.stack([2 * (1 - lateral[:, 1]), 2 * (1 - axial[:, 1])], axis=-1)
    shown = peak / len(samples)
    return Speckle(
        np.where(peak > 0, half_width(lateral) * grid.pixel_mm[0], 0.0),
        np.maximum(bend / np.array(grid.pixel_mm) ** 2, 0.01),
        shown * PATCH**2 / np.maximum((surface**2).sum(axis=(1, 2)), 1.0),
        _floor(samples, indices),
    )


def half_width(profile: Array) -> Array:
    """Lag (P,) in pixels at which profiles (P, L), 1 at lag 0, first fall to one half, or L - 1."""
    below = profile < 0.5
    below[:, 0], below[:, -1] = False, True
    after = below.argmax(axis=1)
    rows = np.arange(len(profile))
    high, low = profile[rows, after - 1], np.minimum(profile[rows, after], 0.5)
    return np.asarray(after - 1 + np.clip((high - 0.5) / np.maximum(high - low, 1e-6), 0.0, 1.0))


def _floor(samples: Sequence[Patches], indices: Sequence[int]) -> Array:
    """Median correlation (P,) of pairs of samples at least FAR_FRAMES apart; 0 if too few are."""
    heights = []
    for first, second in combinations(range(len(samples)), 2):
        if indices[second] - indices[first] >= FAR_FRAMES:
            surface = block_matching.correlate(samples[first], samples[second])
            common = block_matching.common_shift(surface)[:, None]
            heights.append(block_matching.find_peaks(surface, common, 1).height[0].cpu().numpy())
    if len(heights) < MIN_FAR_PAIRS:
        return np.zeros(samples[0].valid.shape[1])
    return np.asarray(np.clip(np.median(heights, axis=0), 0.0, HIGHEST_FLOOR), np.float64)
