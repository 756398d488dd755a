"""Motions measured over several intervals, made into one motion per step.

The places along the scan are solved together (a chain of frames, each tied to those at most the
longest interval away), so that the cost is linear in the frames. Golub and Van Loan, Matrix
Computations, 4.3 (banded Cholesky); Takahashi et al., 8th PICA conference, 1973 (those entries of
the inverse that lie in the band).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve_banded, cholesky_banded

Array = NDArray[np.float64]
Motions = Mapping[int, tuple[Array, Array]]

ROUNDS = 3  # in which pairs that disagree lose weight
ANYWHERE = 1000.0  # frames, after which a hand may be anywhere; of much more digits are lost
OUTLIER_SD = 3.0  # beyond which a pair pulls no harder: Huber's function of all three numbers


@dataclass(frozen=True)
class Prior:
    """Standard deviations (3,) of steps about zero, and of the change from each to the next.

    step: that of all, or (S, 3) of each. spans: (S,) frames that the hand had for each step, or
    (1,) for all. In more of them it may have come further, so that the covariance is the larger; a
    step that no pair shows stays at zero.
    """

    step: Array
    change: Array = field(default_factory=lambda: np.full(3, np.inf))
    spans: NDArray[np.int64] = field(default_factory=lambda: np.ones(1, np.int64))


def fuse_intervals(motions: Motions, steps: int, prior: Prior) -> tuple[Array, Array]:
    """Robust least-squares steps (S, 3) and their covariance (S, 3, 3).

    motions: interval k -> (motion (S-k+1, 3), information (S-k+1, 3, 3)) from frame i to i+k, whose
    errors are taken to be independent; small motions add up, so that one over k is the sum of k
    steps. The covariance leaves out what is believed of changes: smoothness was not measured, and
    over second differences `_step_covariance` loses its digits.
    """
    weighted = motions
    solved, factor = _solve(motions, steps, prior)
    for _ in range(ROUNDS - 1):
        weighted = _without_outliers(motions, solved)
        solved, factor = _solve(weighted, steps, prior)
    if np.isfinite(prior.change).any() or (prior.spans > 1).any():
        share = min(1.0, ANYWHERE / float(np.linalg.norm(prior.spans)))
        spans = np.maximum(prior.spans * share, 1.0)
        _, factor = _solve(weighted, steps, Prior(prior.step * spans[:, None]))
    return solved, _step_covariance(factor)


def with_error(motions: Motions, pair_sd: Array) -> Motions:
    """Motions with less information, as of an independent error of pair_sd (3,) in each pair.

    That is what is wrong with a pair whatever its interval (persistence of the image, tissue that
    is dragged along); it makes long intervals count, over which it is small beside the motion.
    """
    lost = np.diag(pair_sd**2)
    return {
        k: (motion, known @ np.linalg.inv(np.eye(3) + lost @ known))
        for k, (motion, known) in motions.items()
    }


def with_shared_error(motions: Motions) -> Motions:
    """Motions with less information, as pairs over k frames see every step k times.

    What is wrong with one of them (motion that is not seen in full, speckle that is lost) is wrong
    with those beside it, so that k of them tell no more than one.
    """
    return {k: (motion, known / k) for k, (motion, known) in motions.items()}


def sums_of_steps(steps: Array, interval: int) -> Array:
    """Motion (S-k+1, 3) over every `interval` k successive steps (S, 3)."""
    places = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    return np.asarray(places[interval:] - places[: len(places) - interval])


def _without_outliers(pairs: Motions, steps: Array) -> Motions:
    weighted = {}
    for interval, (motion, information) in pairs.items():
        error = motion - sums_of_steps(steps, interval)
        off = np.sqrt(np.einsum("ni,nij,nj->n", error, information, error).clip(0.0))
        weight = np.minimum(1.0, OUTLIER_SD / np.maximum(off, 1e-9))
        weighted[interval] = (motion, weight[:, None, None] * information)
    return weighted


def _solve(pairs: Motions, steps: int, prior: Prior) -> tuple[Array, Array]:
    """Steps (S, 3) and the banded Cholesky factor (3K+3, 3S) of the places' information."""
    band, vector = _normal_equations(pairs, steps, prior)
    factor = cholesky_banded(band, lower=True, check_finite=False)
    places = cho_solve_banded((factor, True), vector, check_finite=False).reshape(steps, 3)
    return np.diff(places, axis=0, prepend=0.0), factor


def _normal_equations(pairs: Motions, steps: int, prior: Prior) -> tuple[Array, Array]:
    """Information of the places of frames 1..S, its lower band (3K+3, 3S), and vector (3S,).

    K is the longest interval, or 2 that a change of steps spans. Row d of the band's column c is
    the entry (c + d, c). Frame 0 is the origin.
    """
    own, vector = np.zeros((steps + 1, 3, 3)), np.zeros((steps + 1, 3))
    band = np.zeros((3 * max(*pairs, 2) + 3, 3 * (steps + 1)))
    for interval, (motion, measured) in pairs.items():
        count = len(motion)
        weighted = np.einsum("nij,nj->ni", measured, motion)
        vector[interval:] += weighted
        vector[:count] -= weighted
        information = measured
        if interval == 1:
            information = measured + prior.step[..., None] ** -2.0 * np.eye(3)
        own[interval:] += information
        own[:count] += information
        for row, column in np.ndindex(3, 3):
            place = 3 * interval + row - column
            band[place, column : 3 * count : 3] -= information[:, row, column]
    for row, column in zip(*np.tril_indices(3), strict=True):
        band[row - column, column::3] += own[:, row, column]
    _add_changes(band, prior.change**-2.0)
    return band[:, 3:], vector[1:].ravel()


def _add_changes(band: Array, information: Array) -> None:
    """Add that (3,) of the second differences of the places of frames 0..S to their band."""
    frames = band.shape[1] // 3
    by_frame = band.reshape(len(band), frames, 3)
    for later, weights in enumerate(((1, 4, 1), (-2, -2), (1,))):
        for first, weight in enumerate(weights):
            by_frame[3 * later, first : first + max(frames - 2, 0)] += weight * information


def _step_covariance(factor: Array) -> Array:
    """Covariance (S, 3, 3) of each step from the factor (3K+3, 3S) of the places' information.

    From the last frame to the first, that of frame i follows from `later`, the covariance of the
    K frames after it.
    """
    diagonal, below = _blocks(factor)
    later = np.zeros((below.shape[1], below.shape[1]))
    covariance = np.zeros_like(diagonal)
    for frame in range(len(diagonal) - 1, -1, -1):
        cross = -below[frame].T @ later
        own = diagonal[frame] - cross @ below[frame]
        if frame + 1 < len(diagonal):
            covariance[frame + 1] = own + later[:3, :3] - cross[:, :3] - cross[:, :3].T
        later[3:, 3:] = later[:-3, :-3].copy()
        later[:3, :3], later[:3, 3:], later[3:, :3] = own, cross[:, :-3], cross[:, :-3].T
    covariance[0] = later[:3, :3]
    return covariance


def _blocks(factor: Array) -> tuple[Array, Array]:
    """D^-1 (S, 3, 3) and the K blocks of L below it (S, 3K, 3) of information = L D L'."""
    height = len(factor)
    columns = np.zeros((factor.shape[1] // 3, height, 3))
    for column in range(3):
        columns[:, column:, column] = factor[: height - column, column::3].T
    inverse = np.linalg.inv(columns[:, :3])
    return inverse.swapaxes(1, 2) @ inverse, columns[:, 3:] @ inverse
