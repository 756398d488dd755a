"""Random rigid transforms for property tests."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tusrec import poses

MAX_MM = 200.0
BELOW_PI = 1.8  # of each part of a rotation vector, whose length then stays below pi


def coordinates(count: int, rotation: float = BELOW_PI) -> st.SearchStrategy[NDArray[np.float64]]:
    """Exponential coordinates (count, 6): rad, mm."""
    unit = arrays(np.float64, (count, 6), elements=st.floats(-1, 1, allow_subnormal=False))
    return unit.map(lambda values: values * ([rotation] * 3 + [MAX_MM / 2] * 3))


def transforms(count: int, rotation: float = BELOW_PI) -> st.SearchStrategy[NDArray[np.float64]]:
    """Rigid transforms (count, 4, 4)."""
    return coordinates(count, rotation).map(poses.exp)
