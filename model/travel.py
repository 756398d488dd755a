"""Tilt that goes on with the travel of a probe, which the skin does not let it have.

How a motion across the picture is shared between tilt and elevation speckle does not tell
(`bench.speckle_floor`): a probe that is fanned about its contact and one that slides on look the
same, and the network answers somewhere between the two. Over a scan they part. A fan turns back
before the middle of its picture has moved by two thirds of the picture's depth; what has travelled
further slid on, and a tilt in proportion to the travel would by then have turned the probe over.
That is so on a limb; round a belly a probe does tilt as it goes, and is taken to slide straight on.
"""

import numpy as np
from numpy.typing import NDArray

from model.canonical import Canvas

Array = NDArray[np.float64]

TILT, ELEVATIONAL = 0, 5  # places in xi
REACHED = 1.2, 1.6  # travels, in halves of the picture's height, between which it is no more a fan
PIVOTING = 0.6, 0.8  # tilts, over that of a fan, between which it is one all the same


def without_steady_tilt(xi: Array, covariance: Array, canvas: Canvas) -> tuple[Array, Array]:
    """Steps (S, 6) about the canvas's centre, less the tilt in proportion to a long travel.

    Their covariance (S, 6, 6) follows.
    """
    if len(xi) < 2:
        return xi, covariance
    tilt, travel = (np.cumsum(xi[:, place]) for place in (TILT, ELEVATIONAL))
    lever = canvas.half_extent_mm[1]  # the contact is about so far above the centre
    spread = travel - travel.mean()
    steady = float((tilt * spread).sum() / max((spread**2).sum(), 1e-12))  # rad / mm
    far = np.interp(np.ptp(travel) / lever, REACHED, (0, 1))
    sliding = np.interp(steady * lever, PIVOTING, (1, 0))
    upright = np.eye(6)
    upright[TILT, ELEVATIONAL] = -far * sliding * steady
    return xi @ upright.T, upright @ covariance @ upright.T
