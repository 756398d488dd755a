"""The sample scan, which benchmarks take their frames and their probe from."""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tusrec.calibration import Calibration, read_calibration

SAMPLE = Path("sample")


def sample_frames() -> NDArray[np.uint8]:
    """The sample's frames (N, H, W)."""
    with h5py.File(next((SAMPLE / "frames").glob("*/*.h5"))) as file:
        frames: NDArray[np.uint8] = file["frames"][()]
    return frames


def sample_calibration() -> Calibration:
    """The calibration of the sample's probe, as the challenge gives it."""
    return read_calibration(SAMPLE / "calib_matrix.csv")
