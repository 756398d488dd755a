"""Where pixels lie in space, and the one place where conventions change for other programs.

Inside this project a pixel counts from 1, and space is the first frame's image mm (or, for
tracked poses, the tracker's reference). Outside, pixels count from 0. Sequence metafiles are
taken as RAS and images and transforms that ITK writes as LPS; both get the same space, called
RAS, so that a volume and the frames it was made of lie on each other in 3D Slicer.
"""

import numpy as np
from numpy.typing import NDArray

from tusrec import poses
from tusrec.calibration import Calibration
from tusrec.errors import InputError
from tusrec.scans import Scan

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # its own inverse
ONE_PIXEL = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]], np.float64)


def with_first(T_first_from_frame: NDArray[np.float64]) -> NDArray[np.float64]:
    """Poses of all frames (N, 4, 4): frame 0, at identity, before those of frames 1..N-1."""
    return np.concatenate([np.eye(4)[None], T_first_from_frame])


def in_first_frame(
    T_first_from_frame: NDArray[np.float64], calibration: Calibration
) -> NDArray[np.float64]:
    """T_space_from_pixel (N, 4, 4), pixels from 1, in the first frame's image mm."""
    return np.asarray(with_first(T_first_from_frame) @ calibration.T_image_from_pixel)


def in_tracker_space(scan: Scan) -> NDArray[np.float64]:
    """T_space_from_pixel (N, 4, 4), pixels from 1, in the space of the scan's tracked poses.

    Raises InputError if the scan has none.
    """
    T_tool_from_pixel = scan.calibration.T_tool_from_image @ scan.calibration.T_image_from_pixel
    advice = "leave --space tracker out and pass --pred with predict.py's results"
    return np.asarray(_tracked(scan, advice) @ T_tool_from_pixel)


def tracked_in_first_frame(scan: Scan) -> NDArray[np.float64]:
    """T_first_from_frame (N-1, 4, 4) of the tracked poses; InputError if the scan has none."""
    advice = "pass --pred with predict.py's results"
    return poses.relative_to_first(_tracked(scan, advice), scan.calibration.T_tool_from_image)


def from_zero_based(T_space_from_pixel: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same places (..., 4, 4) for pixels that count from 0, as PLUS and ITK count them."""
    return np.asarray(T_space_from_pixel @ ONE_PIXEL)


def itk_transform(T_a_from_b: NDArray[np.float64]) -> NDArray[np.float64]:
    """A pose as ITK's files hold it: in LPS, and from the output to the input (resampling)."""
    return np.asarray(LPS_FROM_RAS @ poses.inverse(T_a_from_b) @ LPS_FROM_RAS)


def _tracked(scan: Scan, advice: str) -> NDArray[np.float64]:
    if scan.T_camera_from_tool is None:
        raise InputError(f"{scan.key}: no tracked poses; {advice}")
    return scan.T_camera_from_tool
