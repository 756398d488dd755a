"""The six degrees of freedom of the image centre, as the report and the figure draw them."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tusrec import poses
from tusrec.comparison import freedoms
from tusrec.metrics import Motion
from view.space import with_first

Array = NDArray[np.float64]


def from_first(motion: Motion, centre: Array) -> Array:
    """Where the centre of every frame lies and how far it is turned: (N, 6) FREEDOMS, mm, degrees.

    Both from the first frame: displacement, and rotation vector, which goes on beyond half a turn.
    """
    T = with_first(motion.T_first_from_frame)
    curves = freedoms(T, centre)
    curves[:, 3:] = _unwrapped(curves[:, 3:])
    curves = _in_degrees(curves)
    # The logarithm's translation is that along a screw, and no displacement once frames turn far.
    curves[:, :3] = poses.about_point(T, centre)[:, :3, 3]
    return curves


def from_previous(motion: Motion, centre: Array) -> Array:
    """The motion of every frame from the one before: (N, 6) FREEDOMS, mm, degrees."""
    return _in_degrees(freedoms(with_first(motion.T_previous_from_frame), centre))


def _unwrapped(rotations: Array) -> Array:
    """Rotation vectors (N, 3), rad, each with whole turns added that bring it nearest the last."""
    found = rotations.copy()
    for last, rotation in pairwise(found):
        angle = np.linalg.norm(rotation)
        if angle > 0:
            axis = rotation / angle
            rotation[:] += 2 * np.pi * np.round((last @ axis - angle) / (2 * np.pi)) * axis
    return found


def _in_degrees(values: Array) -> Array:
    return np.column_stack([values[:, :3], np.degrees(values[:, 3:])])
