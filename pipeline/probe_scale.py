"""The one number of a probe that frames alone hardly show: how thick its slice is.

Out-of-plane motion is measured in thicknesses of the slice. What the model assumes of a probe is
right on average; a tracked scan tells it exactly, as one factor on elevation, tilt and turn.
"""

import numpy as np
from numpy.typing import NDArray

from model.cells import ACROSS
from model.interface import LocalMotions
from tusrec import poses
from tusrec.metrics import Motion

INTERVAL = 4  # frames over which motion is compared: a tracker's jitter is small beside it


def scaled(local: LocalMotions, centre: NDArray[np.float64], factor: float) -> LocalMotions:
    """Local motions whose part across the image is `factor` times as large, about its centre.

    centre: (3,) mm.
    """
    factors = np.ones(6)
    factors[list(ACROSS)] = factor
    xi = poses.log(poses.about_point(local.T_previous_from_frame, centre)) * factors
    T = poses.about_point(poses.exp(xi), -centre)
    return LocalMotions(T, local.covariance * np.outer(factors, factors))


def sizes_across(
    predicted: Motion, true: Motion, centre: NDArray[np.float64]
) -> tuple[float, float]:
    """How far the image's centre moves across itself, predicted and true, mm, over a scan.

    Summed over all pairs INTERVAL frames apart, so that neither the sign nor a tracker's jitter
    matters much.
    """
    return _size_across(predicted, centre), _size_across(true, centre)


def _size_across(motion: Motion, centre: NDArray[np.float64]) -> float:
    T = np.concatenate([np.eye(4)[None], motion.T_first_from_frame])
    interval = min(INTERVAL, len(T) - 1)
    T_a_from_b = poses.inverse(T[:-interval]) @ T[interval:]
    return float(np.abs(poses.log(poses.about_point(T_a_from_b, centre))[:, 5]).sum())
