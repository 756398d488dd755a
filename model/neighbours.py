"""Motion between neighbours that is not seen in full, told by frames two apart.

A console that shows means of frames, or a grabber that keeps another time than the console, leaves
neighbours more alike than their motion makes them, by amounts that change from frame to frame. Two
frames apart little of that is left. As a motion over two frames is the sum of two, a scan tells
itself by how much those between neighbours fall short.
"""

import numpy as np
from numpy.typing import NDArray

from model.fusion import Motions, sums_of_steps

Array = NDArray[np.float64]

SHORT = 1.15  # factor from which on neighbours are doubted; scans that are seen in full stay below
DOUBT = 4.0  # times as wrong as it says is a motion that falls short
LARGER = 0.7  # share of the motions, the larger ones, that are looked at


def shortfall(motions: Motions, mm: Array) -> float:
    """By what factor motions over two frames exceed the sums of those between neighbours.

    motions: interval k -> (motion (S-k+1, 3), information), of which 1 and 2 are looked at.
    mm: (3,) of each number. 1 where there is nothing to see.
    """
    if 2 not in motions:
        return 1.0
    sums, whole = sums_of_steps(motions[1][0], 2) * mm, motions[2][0] * mm
    length = np.linalg.norm(sums, axis=1)
    larger = length >= np.quantile(length, 1 - LARGER)
    ratio = (whole[larger] ** 2).sum() / max((sums[larger] ** 2).sum(), 1e-12)
    return float(np.sqrt(ratio))


def in_full(pair: tuple[Array, Array], factor: float) -> tuple[Array, Array]:
    """Motions (n, 3) between neighbours made `factor` times as long, and doubted for it."""
    motion, information = pair
    return factor * motion, information / (factor * DOUBT) ** 2
