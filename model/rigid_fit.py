"""Rigid in-plane motion from the shifts of patches."""

import numpy as np
from numpy.typing import NDArray

HUBER_SD = 2.0
ROUNDS = 5
LARGEST_SD_MM = 1e3  # a patch with a greater sd has not been measured


def fit_in_plane(
    shifts: NDArray[np.float64],
    sd: NDArray[np.float64],
    centres: NDArray[np.float64],
    prior_sd: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation and translation that explain how patches moved, weighted and robust.

    shifts: (n, P, 2) mm, how far the content of each patch went from the first to the second
    frame. sd: (n, P, 2) mm. centres: (P, 2) mm from the image centre. prior_sd: (3,) of the motion.
    Returns (theta rad, x mm, y mm) (n, 3) of T_first_from_second about the image centre, and its
    information (n, 3, 3) without the prior. A patch at c goes to c + d, so T (c + d) = c, which
    is linear for the small angles between frames: -d = theta (-y, x) + t. Iteratively reweighted
    least squares with Huber's weights (Holland and Welsch, 1977); the information is lowered by
    the excess of the residuals over sd.
    """
    moved = centres + shifts
    rows = np.zeros((*shifts.shape, 3))
    rows[..., 0, 0], rows[..., 1, 0] = -moved[..., 1], moved[..., 0]
    rows[..., 0, 1] = rows[..., 1, 2] = 1.0
    rows = rows.reshape(len(shifts), -1, 3)
    target, spread = -shifts.reshape(len(shifts), -1), sd.reshape(len(shifts), -1)
    prior, weight = np.diag(prior_sd**-2.0), spread**-2.0
    for _ in range(ROUNDS):
        weighted = (weight[..., None] * rows).swapaxes(1, 2)  # (n, 3, 2P)
        information = weighted @ rows
        motion = np.linalg.solve(information + prior, weighted @ target[..., None])
        residual = np.abs(target - (rows @ motion)[..., 0])
        weight = np.minimum(1.0, HUBER_SD * spread / np.maximum(residual, 1e-9)) / spread**2
    used = np.maximum((spread < LARGEST_SD_MM).sum(axis=1) - 3.0, 1.0)
    excess = np.maximum((weight * residual**2).sum(axis=1) / used, 1.0)
    return np.asarray(motion[..., 0], np.float64), np.asarray(
        information / excess[:, None, None], np.float64
    )


def predicted_shifts(
    motion: NDArray[np.float64], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shifts (n, P, 2) mm of patch content that motions (n, 3) of `fit_in_plane` cause."""
    theta, translation = motion[:, None, :1], motion[:, None, 1:]
    crossed = np.stack([-centres[:, 1], centres[:, 0]], axis=-1)
    return np.asarray(-(theta * crossed + translation))
