"""The reference that the challenge normalises by: nothing moves."""

import numpy as np
import torch

from model.interface import LocalMotions
from tusrec.calibration import Calibration
from tusrec.frames import Frames

ROTATION_SD_RAD = np.radians(1.0)  # a hand seldom turns a probe faster than this in 1/20 s
TRANSLATION_SD_MM = 0.5  # twice the usual freehand step of .1-.4 mm


class Identity:
    """Every local motion is I, its covariance that of hand motion between two frames.

    The covariance is diagonal and the same for every frame: ROTATION_SD_RAD about each axis and
    TRANSLATION_SD_MM along each.
    """

    name = "identity"
    weights_sha256 = ""

    def estimate(
        self, frames: Frames, calibration: Calibration, device: torch.device
    ) -> LocalMotions:
        """Identity motions (N-1, 4, 4) of frames (N, H, W); reads no pixel."""
        steps = max(frames.shape[0] - 1, 0)
        variance = np.repeat([ROTATION_SD_RAD**2, TRANSLATION_SD_MM**2], 3)
        return LocalMotions(
            np.tile(np.eye(4), (steps, 1, 1)), np.tile(np.diag(variance), (steps, 1, 1))
        )
