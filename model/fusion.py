"""Motions measured over several intervals, made into one motion per step."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def fuse_intervals(
    motions: Mapping[int, tuple[Array, Array]], steps: int, prior_sd: Array, pair_sd: Array
) -> tuple[Array, Array]:
    """Least-squares steps (S, 3) and their covariance (S, 3, 3).

    motions: interval k -> (motion (S-k+1, 3), information (S-k+1, 3, 3)) from frame i to i+k;
    small motions add up, so that one over k is the sum of k steps. prior_sd: (3,) of a step about
    zero. pair_sd: (3,) of what is wrong with a pair whatever its interval (persistence of the
    image, tissue that is dragged along); it makes long intervals count, over which it is small
    beside the motion. Each step is solved with those at most the longest interval away, which all
    but decides it.
    """
    reach = max(motions) - 1
    width = 2 * reach + 1
    normal = np.zeros((steps, width, width, 3, 3))
    vector = np.zeros((steps, width, 3))
    for slot in range(width):
        normal[:, slot, slot] += np.diag(prior_sd**-2.0)
    for interval, (motion, precision) in motions.items():
        information = _lowered(precision, pair_sd)
        for first in range(width - interval + 1):
            centres, pairs = _matching(first - reach, len(motion), steps)
            block = slice(first, first + interval)
            normal[centres, block, block] += information[pairs, None, None]
            weighted = np.einsum("nij,nj->ni", information[pairs], motion[pairs])
            vector[centres, block] += weighted[:, None]
    flat = normal.transpose(0, 1, 3, 2, 4).reshape(steps, 3 * width, 3 * width)
    covariance = np.asarray(np.linalg.inv(flat), np.float64)
    solved: Array = np.einsum("nij,nj->ni", covariance, vector.reshape(steps, -1))
    middle = slice(3 * reach, 3 * reach + 3)
    return solved[:, middle], covariance[:, middle, middle]


def _lowered(information: Array, pair_sd: Array) -> Array:
    """Information (n, 3, 3) after an independent error of pair_sd (3,) has been added."""
    return np.asarray(information @ np.linalg.inv(np.eye(3) + np.diag(pair_sd**2) @ information))


def _matching(offset: int, pairs: int, steps: int) -> tuple[slice, slice]:
    """Steps whose window has a pair `offset` from its centre, and those pairs."""
    low, high = max(0, -offset), min(steps, pairs - offset)
    high = max(high, low)
    return slice(low, high), slice(low + offset, high + offset)
