"""One scan: frames -> local motions -> one trajectory."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.interface import Estimator
from pipeline.probe_scale import scaled
from tusrec import poses
from tusrec.calibration import Calibration
from tusrec.frames import Frames
from tusrec.metrics import Motion


@dataclass(frozen=True)
class Prediction:
    """Global and local transforms of frames 1..N-1, and the covariance of the local ones."""

    motion: Motion
    local_covariance: NDArray[np.float64]


def predict_motion(
    estimator: Estimator,
    frames: Frames,
    calibration: Calibration,
    device: torch.device,
    probe_scale: float = 1.0,
) -> Prediction:
    """Run `estimator` over frames (N, H, W) and chain its local motions.

    probe_scale: factor on motion across the image, see `pipeline.probe_scale`.
    """
    with torch.inference_mode():
        local = estimator.estimate(frames, calibration, device)
    if probe_scale != 1.0:
        local = scaled(local, calibration.centre_mm(*frames.shape[1:]), probe_scale)
    T_first_from_frame = poses.chain(local.T_previous_from_frame)
    return Prediction(Motion(T_first_from_frame, local.T_previous_from_frame), local.covariance)
