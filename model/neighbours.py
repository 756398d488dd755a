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
LEAST_MM = 1e-6  # of a motion, to divide by


def shortfall(motions: Motions, mm: Array) -> float:
    """By what factor motions over two frames exceed the sums of those between neighbours.

    motions: interval k -> (motion (S-k+1, 3), information (S-k+1, 3, 3), 0 where nothing was
    measured), of which 1 and 2 are looked at. mm: (3,) of each number. The median over pairs, as a
    frame with a fault makes several as long as it likes; 1 where there is nothing to see.
    """
    if 2 not in motions:
        return 1.0
    neighbours, two_apart = (np.any(motions[k][1] != 0, axis=(1, 2)) for k in (1, 2))
    measured = neighbours[:-1] & neighbours[1:] & two_apart
    if not measured.any():
        return 1.0
    sums = np.linalg.norm(sums_of_steps(motions[1][0], 2)[measured] * mm, axis=1)
    whole = np.linalg.norm(motions[2][0][measured] * mm, axis=1)
    larger = sums >= np.quantile(sums, 1 - LARGER)
    return float(np.median(whole[larger] / np.maximum(sums[larger], LEAST_MM)))


def in_full(pair: tuple[Array, Array], factor: float) -> tuple[Array, Array]:
    """Motions (n, 3) between neighbours made `factor` times as long, and doubted for it."""
    motion, information = pair
    return factor * motion, information / (factor * DOUBT) ** 2
