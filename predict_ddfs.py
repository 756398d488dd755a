"""The function that the TUS-REC organisers import and score."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.registry import DEFAULT_MODEL, load_estimator
from pipeline.prediction import predict_motion
from tusrec.calibration import read_calibration
from tusrec.displacements import check_landmarks, dense_displacements, landmark_displacements
from tusrec.errors import InputError

DDFs = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def predict_ddfs(
    frames: NDArray[np.uint8],
    landmark: NDArray[np.integer],
    data_path_calib: str,
    device: torch.device | str,
) -> DDFs:
    """Predict the four displacement fields of a scan, in mm.

    frames: (N, H, W) uint8, the whole scan, N >= 2; 480 x 640 in the challenge.
    landmark: (L, 3) int: frame from 0, x from 1, y from 1.
    data_path_calib: path of calib_matrix.csv.
    device: where the model runs.

    Gives GP (N-1, 3, H*W), GL (3, L), LP (N-1, 3, H*W), LL (3, L), float32: global (to the first
    frame) and local (to the previous frame) displacements of pixels and of landmarks. The model
    is loaded in the first call and kept. Raises InputError for anything else.
    """
    if frames.ndim != 3 or frames.dtype != np.uint8 or len(frames) < 2 or not frames.size:
        raise InputError(
            f"predict_ddfs: frames are {frames.shape} {frames.dtype}, expected (N >= 2, H, W) uint8"
        )
    check_landmarks(landmark, frames.shape, "predict_ddfs: landmark")
    calibration = read_calibration(Path(data_path_calib))
    estimator = load_estimator(DEFAULT_MODEL)
    motion = predict_motion(estimator, frames, calibration, torch.device(device)).motion
    GP, LP = (
        dense_displacements(transforms, calibration.scale, *frames.shape[1:])
        for transforms in (motion.T_first_from_frame, motion.T_previous_from_frame)
    )
    GL, LL = (
        landmark_displacements(transforms, calibration.scale, landmark)
        for transforms in (motion.T_first_from_frame, motion.T_previous_from_frame)
    )
    return GP, GL, LP, LL
