"""Rigid transforms of column vectors, (..., 4, 4) float64, lengths in mm, angles in rad.

`T_a_from_b` takes points of frame b to frame a, so a product is checked by its names:
`T_a_from_c = T_a_from_b @ T_b_from_c`. Exponential coordinates are ordered as in
`scipy.spatial.transform.RigidTransform`: rotation (3) first, then translation (3).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import RigidTransform

from tusrec.errors import InputError

MEND = "export the poses again, or leave the scan out"
RIGID_TOLERANCE = 1e-3  # trackers store float32 quaternions or matrices with 4-6 digits


def inverse(T_a_from_b: NDArray[np.float64]) -> NDArray[np.float64]:
    """T_b_from_a. Exact for affine matrices too, as the challenge's own code inverts."""
    return np.asarray(np.linalg.inv(T_a_from_b), np.float64)


def exp(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transforms (..., 4, 4) of exponential coordinates (..., 6)."""
    flat = np.asarray(coordinates, np.float64).reshape(-1, 6)
    matrices: NDArray[np.float64] = RigidTransform.from_exp_coords(flat).as_matrix()
    return matrices.reshape(*np.shape(coordinates)[:-1], 4, 4)


def log(T: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exponential coordinates (..., 6) of rigid transforms (..., 4, 4); rotation below pi."""
    flat = np.asarray(T, np.float64).reshape(-1, 4, 4)
    coordinates: NDArray[np.float64] = RigidTransform.from_matrix(flat).as_exp_coords()
    return coordinates.reshape(*np.shape(T)[:-2], 6)


def project_to_rigid(T: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest rigid transform in the Frobenius norm of its rotation (Kabsch, 1976)."""
    projected = np.zeros_like(np.asarray(T, np.float64))
    u, _, vt = np.linalg.svd(T[..., :3, :3])
    u[..., :, 2] *= np.linalg.det(u @ vt)[..., None]
    projected[..., :3, :3] = u @ vt
    projected[..., :3, 3] = T[..., :3, 3]
    projected[..., 3, 3] = 1.0
    return projected


def require_rigid(T: NDArray[np.float64], what: str) -> None:
    """Raise InputError naming `what` and the first bad matrix unless all of T are rigid."""
    matrices = np.asarray(T, np.float64).reshape(-1, 4, 4)
    broken = ~np.isfinite(matrices).all(axis=(1, 2))
    if broken.any():
        raise InputError(
            f"{what} {_first(broken)}: found NaN or infinity, expected a rigid matrix; {MEND}"
        )
    rotation = matrices[:, :3, :3]
    deviation = np.abs(rotation.transpose(0, 2, 1) @ rotation - np.eye(3)).max(axis=(1, 2))
    last_row = (matrices[:, 3] != [0, 0, 0, 1]).any(axis=1)
    bad = (deviation > RIGID_TOLERANCE) | last_row | (np.linalg.det(rotation) < 0)
    if bad.any():
        index = _first(bad)
        raise InputError(
            f"{what} {index}: not rigid (R'R differs from I by {deviation[index]:.2g}, "
            f"det {np.linalg.det(rotation[index]):.3f}, last row {matrices[index, 3].tolist()}), "
            f"expected a rotation, a translation and 0 0 0 1; {MEND}"
        )


def relative_to_first(
    T_camera_from_tool: NDArray[np.float64], T_tool_from_image: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Tracked poses (N, 4, 4) -> T_first_from_frame (N-1, 4, 4) of frames 1..N-1, image mm."""
    T_camera_from_image = T_camera_from_tool @ T_tool_from_image
    return inverse(T_camera_from_image[:1]) @ T_camera_from_image[1:]


def relative_to_previous(
    T_camera_from_tool: NDArray[np.float64], T_tool_from_image: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Tracked poses (N, 4, 4) -> T_previous_from_frame (N-1, 4, 4) of frames 1..N-1, image mm."""
    T_camera_from_image = T_camera_from_tool @ T_tool_from_image
    return inverse(T_camera_from_image[:-1]) @ T_camera_from_image[1:]


def chain(T_previous_from_frame: NDArray[np.float64]) -> NDArray[np.float64]:
    """Local motions (M, 4, 4) -> T_first_from_frame (M, 4, 4), their running product."""
    T_first_from_frame = np.empty_like(T_previous_from_frame, dtype=np.float64)
    T = np.eye(4)
    for index, step in enumerate(T_previous_from_frame):
        T = T @ step
        T_first_from_frame[index] = T
    return T_first_from_frame


def unchain(T_first_from_frame: NDArray[np.float64]) -> NDArray[np.float64]:
    """T_first_from_frame (M, 4, 4) -> local motions (M, 4, 4); the inverse of `chain`."""
    T_first_from_previous = np.concatenate([np.eye(4)[None], T_first_from_frame[:-1]])
    return inverse(T_first_from_previous) @ T_first_from_frame


def tracked_from_relative(
    T_first_from_frame: NDArray[np.float64], T_tool_from_image: NDArray[np.float64]
) -> NDArray[np.float64]:
    """T_first_from_frame (N-1, 4, 4) -> T_camera_from_tool (N, 4, 4), the camera at frame 0's tool.

    The inverse of `relative_to_first` up to the camera's place, which frames cannot tell.
    """
    with_first = np.concatenate([np.eye(4)[None], T_first_from_frame])
    return np.asarray(T_tool_from_image @ with_first @ inverse(T_tool_from_image), np.float64)


def mirror_elevation(T_a_from_b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same motion with elevational direction reversed; both give the same images."""
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    return flip @ T_a_from_b @ flip


def about_point(T_a_from_b: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same motion (..., 4, 4) in coordinates whose origin is `point` (3,) of both frames."""
    shift = np.eye(4)
    shift[:3, 3] = point
    return inverse(shift) @ T_a_from_b @ shift


def moved_origin(shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix (6, 6) that does as `about_point` to small coordinates; shift (3,) mm to the point."""
    matrix = np.eye(6)
    x, y, z = shift
    matrix[3:, :3] = [[0, z, -y], [-z, 0, x], [y, -x, 0]]  # w x shift
    return matrix


def _first(mask: NDArray[np.bool_] | np.bool_) -> int:
    return int(np.flatnonzero(mask)[0])
