"""The sign of elevational motion, which two frames do not show.

They look the same under a motion and its mirror image. Motions over several intervals must add up,
though, and a hand moves smoothly but for its tremor: this settles all signs of a scan but one
(`turning`). For that one it is assumed that the centre of the image moves towards +z on the whole.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model.decorrelation import Planes
from model.fusion import Prior, fuse_intervals, sums_of_steps, with_error
from model.saturation import Saturation
from model.turning import REACH, Seen, find_signs

Array = NDArray[np.float64]
Motions = dict[int, tuple[Array, Array]]

# The longest interval looked at, and the share that all intervals have in the size of a step.
PASSES = ((4, 0.0), (REACH, 0.0), (REACH, 0.5))
PRIOR = Prior(np.full(3, 0.5))  # mm, of a step,
PAIR_SD = np.full(3, 0.03)  # and of what is wrong with a pair whatever its interval
LEAST_MOMENTS = np.diag([0.0, 1.0, 1.0])  # mm^2: no image counts as smaller than that
UNKNOWN_INFORMATION = 0.1 * np.eye(3)  # 1/mm^2, of what has not been measured


def choose_signs(planes: Mapping[int, Planes], moments: Array) -> Motions:
    """Interval -> (signed coefficients (n, 3), information (n, 3, 3)).

    moments: (3, 3) mean over the image of (1, x, y)' (1, x, y), so that p' moments p is the mean
    square of plane p over it. Interval 1 must be there. Motions too long to be seen in full are
    made as long as their steps say, and lose information (`Saturation`).
    """
    root = np.linalg.cholesky(moments + LEAST_MOMENTS)
    inverse = np.linalg.inv(root)
    motion = {k: p.coefficients @ root for k, p in planes.items()}
    information = {k: inverse @ p.information @ inverse.T for k, p in planes.items()}
    settled = _settled(motion, information)
    mirror = -1.0 if (settled[1][0] @ inverse)[:, 0].sum() < 0 else 1.0
    return {k: (mirror * m @ inverse, root @ known @ root.T) for k, (m, known) in settled.items()}


def _settled(motion: dict[int, Array], information: dict[int, Array]) -> Motions:
    """Signed motions (n, 3) mm in full and their information, by interval, up to one sign."""
    seen = {k: Seen(m, _covariance(information[k])) for k, m in motion.items()}
    steps, saturation = motion[1], Saturation.none()
    size = steps
    for longest, share in PASSES:
        used = {k: pairs for k, pairs in seen.items() if k <= longest}
        doubted = Seen((1 - share) * steps + share * size, seen[1].covariance)
        steps = find_signs(used, doubted, saturation)[:, None] * steps
        saturation = Saturation.measure({k: (m, information[k]) for k, m in motion.items()}, steps)
        pairs = _in_full(motion, information, steps, steps, saturation)
        size = fuse_intervals(with_error(pairs, PAIR_SD), len(steps), PRIOR)[0]
    return _in_full(motion, information, steps, size, saturation)


def _in_full(
    motion: dict[int, Array],
    information: dict[int, Array],
    steps: Array,
    expected: Array,
    saturation: Saturation,
) -> Motions:
    longer = {
        k: saturation.undone(m, information[k], sums_of_steps(expected, k))
        for k, m in motion.items()
        if k > 1
    }
    return {1: (steps, information[1]), **longer}


def _covariance(information: Array) -> Array:
    """Covariance (n, 3, 3) from information (n, 3, 3), of which there may be none."""
    return np.asarray(np.linalg.inv(information + UNKNOWN_INFORMATION))
