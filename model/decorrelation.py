"""Elevational distance from lost speckle correlation.

Two parallel slices of the same tissue share less speckle the further apart they are (Prager et
al., Ultrasound Med Biol 29, 2003). Each patch gives a distance, and distances over the image give
a plane, |z(x, y)| = |a + b x + c y|: elevation, and with b and c turn and tilt. Its sign cannot be
seen. As in Gee et al. (Med Image Anal 10, 2006) the curve is not one fixed curve of the probe:
it is stretched by the width of the speckle that each patch shows laterally, so that coherent or
coarse texture, frequency and depth correct themselves. What noise takes and what coherent
structure leaves of the correlation is measured on the scan itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import spence

from model.speckle import Speckle

Array = NDArray[np.float64]

ELEVATIONAL_OVER_LATERAL = 1.5
"""Elevational over lateral width of the speckle: the one constant of the probe, not observable.

The textbook resolution cell of a one-dimensional array is 1.5 mm thick where it is 1 mm wide: its
lens has a larger F-number than its dynamic receive focus.
"""

LOWEST_CORRELATION = 0.05  # below it the curve only says "further than two half-widths"
USEFUL_CORRELATION = 0.3  # below it coherent echoes and chance weigh as much as speckle
USEFUL_BAND = (0.3, 0.5)  # where a longer interval begins to count, and where it counts in full
LEAST_CEILING = 0.5  # a patch that even at rest would correlate less shows mostly noise
UNMEASURED_SD_MM = 1e4
LARGEST_SD_MM = 1e3  # a patch with a greater sd has not been measured
CROSSING_COST = 4.0  # chi-squared that a plane through zero must gain over one that is not
HUBER_SD = 2.0
ROUNDS = 8


def _curve_table() -> tuple[Array, Array]:
    distance = np.linspace(0.0, 4.0, 4001)
    half = brentq(lambda rho: spence(1.0 - rho) / spence(0.0) - 0.5, 0.0, 1.0)
    intensity = half ** (distance**2)
    return distance, spence(1.0 - intensity) / spence(0.0)


_DISTANCE, _CORRELATION = _curve_table()


def correlation_at(distance: Array) -> Array:
    """Correlation of log-compressed speckle at `distance` in half-widths.

    Intensities of fully developed speckle under a Gaussian beam have rho = exp(-s z^2); their
    logarithms have Li2(rho) / Li2(1), the dilogarithm being the covariance of the logarithms of
    two correlated exponential variables. s is such that one half is left at distance 1.
    """
    return np.interp(distance, _DISTANCE, _CORRELATION)


def distance_at(correlation: Array) -> Array:
    """Distance in half-widths at which `correlation` is left: the inverse of `correlation_at`."""
    clipped = np.clip(correlation, LOWEST_CORRELATION, 1.0)
    return np.interp(-clipped, -_CORRELATION, _DISTANCE)


def distance_sd(distance: Array, cells: Array) -> Array:
    """Standard deviation in half-widths of a distance measured on `cells` speckle cells.

    That of a sample correlation, (1 - r^2) / sqrt(cells), over the slope of the curve.
    """
    inside = np.clip(distance, 0.05, distance_at(np.array(LOWEST_CORRELATION)))
    slope = (correlation_at(inside + 0.02) - correlation_at(inside - 0.02)) / 0.04
    spread = (1.0 - correlation_at(inside) ** 2) / np.sqrt(np.maximum(cells, 1.0))
    return np.asarray(spread / np.abs(slope))


@dataclass(frozen=True)
class Planes:
    """Elevational displacement of n pairs of frames, each up to its sign.

    coefficients: (n, 3): a in mm at the image centre, b and c in mm/mm along x and y.
    information: (n, 3, 3), the inverse covariance; zero where nothing was measured.
    """

    coefficients: Array
    information: Array


def measure_planes(
    correlations: Mapping[int, Array], speckle: Speckle, centres: Array, prior_sd: Array
) -> dict[int, Planes]:
    """Planes by interval, from the correlation (n, P) of each pair's patches by interval.

    centres: (P, 2) mm from the image centre. prior_sd: (3,) of a plane. A correlation of 0 marks a
    patch without speckle. Interval 1 must be there.
    """
    half_width = speckle.half_width_mm * ELEVATIONAL_OVER_LATERAL
    above = {k: (r - speckle.floor) / (1.0 - speckle.floor) for k, r in correlations.items()}
    ceiling = measure_ceiling(above[1], above.get(2))
    planes = {}
    for interval, correlation in correlations.items():
        left = above[interval] / np.maximum(ceiling, LEAST_CEILING)
        distance = distance_at(left)
        used = (correlation != 0) & (ceiling > LEAST_CEILING) & (half_width > 0)
        sd = np.where(used, distance_sd(distance, speckle.cells) * half_width, UNMEASURED_SD_MM)
        fitted = fit_planes(distance * half_width * used, sd, centres, prior_sd)
        trust = _trust(left, used) if interval > 1 else np.ones(len(left))
        information = trust[:, None, None] * fitted.information
        planes[interval] = Planes(fitted.coefficients, information)
    return planes


def _trust(left: Array, used: NDArray[np.bool_]) -> Array:
    """Weight (n,) from 0 to 1 of pairs whose used patches have a mean correlation in USEFUL_BAND.

    Below it the peaks of chance hide how little is left: the distance is too short.
    """
    mean = (left * used).sum(axis=1) / np.maximum(used.sum(axis=1), 1)
    low, high = USEFUL_BAND
    return np.asarray(np.clip((mean - low) / (high - low), 0.0, 1.0))


def measure_ceiling(one: Array, two: Array | None) -> Array:
    """Correlation (P,) that patches would have at no distance: 1 less their share of noise.

    one, two: (n, P), (n-1, P) correlation over one interval and over twice that. The squared
    distance that noise seems to add is the same in both, d^2 + e and 4 d^2 + e, in smooth motion
    (Prager's offset); its median over the scan is taken, but no less than what the scan's best
    pairs have. 1 where motion is too fast to tell, 0 where a patch never correlates.
    """
    best = np.quantile(one, 0.95, axis=0)
    ceiling = np.where(best > USEFUL_CORRELATION, 1.0, 0.0)
    if two is None:
        return ceiling
    near, far = distance_at(one[:-1]) ** 2, distance_at(two) ** 2
    told = (one[:-1] > USEFUL_CORRELATION) & (two > USEFUL_CORRELATION)
    apparent = np.where(told, np.sqrt(np.clip((4 * near - far) / 3, 0.0, None)), np.nan)
    enough = told.sum(axis=0) >= 3
    extrapolated = correlation_at(np.nanmedian(apparent[:, enough], axis=0))
    ceiling[enough] = np.maximum(best[enough], extrapolated)
    return np.asarray(ceiling)


def fit_planes(distance: Array, sd: Array, centres: Array, prior_sd: Array) -> Planes:
    """Fit |a + b x + c y| to distances (n, P) mm with sd (n, P) at centres (P, 2) mm.

    prior_sd: (3,) of a, b, c, which keeps frames with few patches from steep planes. The sign of
    each patch is that of the plane of the round before, started from a plane that does not cross
    zero and from four that do so along a middle line; the start with the least residual wins.
    Patches off by more than HUBER_SD lose weight.
    """
    basis = np.column_stack([np.ones(len(centres)), centres])
    starts = [np.ones(len(centres)), *centres.T, *_diagonals(centres)]
    fits = [_fit_from(distance, sd, basis, prior_sd, start) for start in starts]
    cost = np.stack([fit[2] for fit in fits])
    cost /= np.maximum(cost.min(axis=0) / _freedom(sd), 1.0)
    cost[0] -= CROSSING_COST
    best, rows = cost.argmin(axis=0), np.arange(len(distance))
    coefficients = np.stack([fit[0] for fit in fits])[best, rows]
    information = np.stack([fit[1] for fit in fits])[best, rows]
    upright = np.where(coefficients[:, :1] < 0, -1.0, 1.0)
    return Planes(coefficients * upright, information)


def _diagonals(centres: Array) -> list[Array]:
    x, y = (centres / np.maximum(centres.std(axis=0), 1e-6)).T
    return [x + y, x - y]


def _freedom(sd: Array) -> Array:
    return np.asarray(np.maximum((sd < LARGEST_SD_MM).sum(axis=1) - 3.0, 1.0))


def _fit_from(
    distance: Array, sd: Array, basis: Array, prior_sd: Array, start: Array
) -> tuple[Array, Array, Array]:
    """Coefficients (n, 3), information (n, 3, 3) and cost (n,) reached from one sign pattern."""
    signed = np.where(start < 0, -distance, distance)
    squares = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), 9)
    prior, weight = np.diag(prior_sd**-2.0), sd**-2.0
    for _ in range(ROUNDS):
        information = (weight @ squares).reshape(-1, 3, 3)
        vector = (weight * signed) @ basis
        coefficients = np.linalg.solve(information + prior, vector[..., None])[..., 0]
        plane = coefficients @ basis.T
        signed = np.where(plane < 0, -distance, distance)
        residual = np.abs(signed - plane) / sd
        weight = np.minimum(1.0, HUBER_SD / np.maximum(residual, 1e-9)) / sd**2
    outside = HUBER_SD * (2 * residual - HUBER_SD)
    cost = np.where(residual < HUBER_SD, residual**2, outside).sum(axis=1)
    excess = np.maximum(cost / _freedom(sd), 1.0)
    return (
        np.asarray(coefficients, np.float64),
        np.asarray(information / excess[:, None, None], np.float64),
        cost,
    )
