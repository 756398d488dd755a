"""Frames that show the same picture as the one before: the screen stood still, not the hand.

A grabber that is faster than its console takes a picture twice, and between two alike the hand
moved on unseen. So a pair with such a frame tells nothing, and the motion from the picture before
it to the one after it is shared out between the two steps.
"""

import numpy as np
from numpy.typing import NDArray

from model.fusion import Motions
from tusrec.frames import Frames

Array = NDArray[np.float64]

AT_ONCE = 8  # frames, for a picture may be large


def fresh_frames(frames: Frames) -> NDArray[np.bool_]:
    """Which of frames (N, H, W) differ from the one before, (N,); the first one does."""
    count = frames.shape[0]
    fresh = np.ones(count, bool)
    for start in range(0, count - 1, AT_ONCE):
        part = frames[start : start + AT_ONCE + 1]
        fresh[start + 1 : start + len(part)] = (part[1:] != part[:-1]).any(axis=(1, 2))
    return fresh


def telling_pairs(fresh: NDArray[np.bool_], interval: int) -> NDArray[np.bool_]:
    """Which pairs (N-k,) of frames k apart have no frame (N,) that is not fresh."""
    return fresh[:-interval] & fresh[interval:]


def bridged(motions: Motions) -> dict[int, tuple[Array, Array]]:
    """Motions with steps to and from a single frame that tells nothing halves of what bridges them.

    motions: interval k -> (motion (S-k+1, 3), information (S-k+1, 3, 3)), of which the information
    is 0 where nothing was measured. A half is taken to be no surer than the whole, for the hand may
    have hurried or lingered.
    """
    filled = dict(motions)
    if 2 in motions:
        (step, known), (whole, of_whole) = ((part.copy() for part in motions[k]) for k in (1, 2))
        nothing = np.all(known == 0, axis=(1, 2))
        places = np.flatnonzero(nothing[:-1] & nothing[1:])
        for place in (places, places + 1):
            step[place], known[place] = whole[places] / 2, of_whole[places]
        filled[1] = step, known
    return filled
