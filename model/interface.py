"""What every estimator takes and gives."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tusrec.calibration import Calibration
from tusrec.frames import Frames


@dataclass(frozen=True)
class LocalMotions:
    """Motion of every frame but the first, relative to the frame before it.

    T_previous_from_frame: (N-1, 4, 4) float64, rigid, image mm.
    covariance: (N-1, 6, 6) float64 of the exponential coordinates xi (rotation rad, translation
        mm) with T_true = T_estimated @ exp(xi), taken about the centre of the image.
    """

    T_previous_from_frame: NDArray[np.float64]
    covariance: NDArray[np.float64]


class Estimator(Protocol):
    """Frames -> local motions. `name` names it in results, `weights_sha256` its weights ("")."""

    name: str
    weights_sha256: str

    def estimate(
        self, frames: Frames, calibration: Calibration, device: torch.device
    ) -> LocalMotions:
        """Local motions of frames (N, H, W) uint8, N >= 2, read in slices of bounded size."""
        ...
