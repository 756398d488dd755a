"""How unsure the place of a frame is, from how unsure each local motion is."""

import numpy as np
from numpy.typing import NDArray

from tusrec import poses

Array = NDArray[np.float64]


def position_deviation(
    T_previous_from_frame: Array, local_covariance: Array, centre: Array
) -> Array | None:
    """Standard deviation (mm) of the image centre of frames 1..N-1 in the first frame, (N-1,).

    local_covariance (N-1, 6, 6) are of exponential coordinates about `centre` (3,) with
    T_true = T @ exp(xi), taken as independent: covariances add up after transport by the adjoint
    of each motion (Barfoot and Furgale, "Associating uncertainty with three-dimensional poses for
    use in estimation problems", 2014, to first order). None where an estimator gives none.
    """
    if not np.isfinite(local_covariance).all() or not local_covariance.any():
        return None
    adjoints = _adjoint(poses.inverse(poses.about_point(T_previous_from_frame, centre)))
    total, deviations = np.zeros((6, 6)), []
    for A, covariance in zip(adjoints, local_covariance, strict=True):
        total = A @ total @ A.T + covariance
        deviations.append(np.sqrt(np.trace(total[3:, 3:])))
    return np.array(deviations)


def _adjoint(T: Array) -> Array:
    """Adjoints (M, 6, 6) of T (M, 4, 4) for coordinates ordered rotation, translation."""
    R, t = T[:, :3, :3], T[:, :3, 3]
    cross = np.zeros_like(R)
    cross[:, [2, 0, 1], [1, 2, 0]] = t
    cross[:, [1, 2, 0], [2, 0, 1]] = -t
    A = np.zeros((len(T), 6, 6))
    A[:, :3, :3] = A[:, 3:, 3:] = R
    A[:, 3:, :3] = cross @ R
    return A
