"""The organisers' baseline: EfficientNet-B1 on two stacked frames, six numbers a pair.

Source: the TUS-REC2025 baseline and its published configuration (sequence of 2 frames, prediction
"parameter"). With the same weights it gives the same transforms as their code.
"""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from model.device import Batches, repeatable_float32
from model.efficientnet import EfficientNetB1
from model.interface import LocalMotions
from model.weights import load_into, load_weights
from tusrec.calibration import Calibration
from tusrec.errors import InputError
from tusrec.frames import Frames

log = logging.getLogger(__name__)

ARCHITECTURE = (
    "EfficientNet-B1 on 2 frames 480x640 in 0..1; 6 numbers: Euler angles ZYX (rad), "
    "translation (mm) of T_previous_from_frame"
)
FRAME_SHAPE = (480, 640)
TRAINED_SPACING = (0.229389, 0.220980)  # mm, of the challenge's probe
SPACING_TOLERANCE = 0.02
# One pair at a time keeps a CPU's caches warm (measured); a GPU wants more work per launch.
BATCH_SIZES = {"cpu": 1, "cuda": 16}
# Channels-last convolutions save a CPU a fifth of the time (measured).
MEMORY_FORMATS = {"cpu": torch.channels_last, "cuda": torch.contiguous_format}
PUBLISHED_LPE = 0.214  # mm, of the baseline on the 64 test scans of the TUS-REC2025 leaderboard


class Baseline:
    """Estimator of frames 480x640 by the organisers' network; see `model.interface.Estimator`."""

    name = "baseline"

    def __init__(self, folder: Path | None = None, batch_size: int | None = None) -> None:
        """Read weights "baseline" of `folder`; raises WeightsError as `load_weights` does.

        batch_size: pairs computed at once (default: BATCH_SIZES of the device).
        """
        weights, self.weights_sha256 = load_weights(self.name, folder)
        self._network = build_network()
        load_into(self._network, weights, f"weights of model {self.name}")
        self._batches = {
            kind: Batches(batch_size or default) for kind, default in BATCH_SIZES.items()
        }

    def estimate(
        self, frames: Frames, calibration: Calibration, device: torch.device
    ) -> LocalMotions:
        """Local motions of frames (N, 480, 640) uint8, read and computed one batch at a time.

        Raises InputError for another frame size: resizing would change the size of a pixel, and
        with it, unnoticed, every millimetre. Raises OutOfMemoryError if one pair is too much.
        """
        if frames.shape[1:] != FRAME_SHAPE:
            raise InputError(
                f"baseline: found frames of {'x'.join(map(str, frames.shape[1:]))} pixels, "
                "expected 480x640, on which the network was trained; choose another --model"
            )
        _warn_of_spacing(calibration)
        self._network.to(device)
        work = partial(_predict, self._network, frames, device)
        with torch.inference_mode(), repeatable_float32():
            batches = self._batches[device.type].run(work, frames.shape[0] - 1)
        parameters = np.concatenate(batches)
        T_previous_from_frame = transforms_from_parameters(parameters)
        covariance = np.tile(published_covariance(), (len(parameters), 1, 1))
        return LocalMotions(T_previous_from_frame, covariance)


def build_network() -> EfficientNetB1:
    """The untrained network in evaluation mode: (B, 2, 480, 640) in 0..1 -> (B, 6)."""
    return EfficientNetB1(inputs=2, outputs=6).eval()


def transforms_from_parameters(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Parameters (M, 6) -> T_previous_from_frame (M, 4, 4), image mm.

    The first three are angles in rad about z, y, x, R = Rz Ry Rx, the last three mm along x, y, z.
    """
    T_previous_from_frame = np.tile(np.eye(4), (len(parameters), 1, 1))
    T_previous_from_frame[:, :3, :3] = Rotation.from_euler("ZYX", parameters[:, :3]).as_matrix()
    T_previous_from_frame[:, :3, 3] = parameters[:, 3:]
    return T_previous_from_frame


def published_covariance() -> NDArray[np.float64]:
    """Covariance (6, 6) of every pair, rad and mm about the image centre; the network gives none.

    Isotropic and Gaussian, so that the mean displacement error over the image is the published
    LPE: a mean length m of a Gaussian 3-vector means a mean square of 3 pi / 8 m^2. Half of it is
    given to rotation, an assumption: with standard deviation s about each axis, rotation moves a
    pixel at distance r from the centre by a mean square of 2 s^2 r^2.
    """
    mean_square = 3 * np.pi / 8 * PUBLISHED_LPE**2
    height, width = FRAME_SHAPE[0] * TRAINED_SPACING[1], FRAME_SHAPE[1] * TRAINED_SPACING[0]
    mean_square_radius = (height**2 + width**2) / 12
    rotation_variance = mean_square / 2 / (2 * mean_square_radius)
    translation_variance = mean_square / 2 / 3
    return np.diag(np.repeat([rotation_variance, translation_variance], 3))


def _predict(
    network: EfficientNetB1, frames: Frames, device: torch.device, start: int, stop: int
) -> NDArray[np.float64]:
    """Parameters (stop - start, 6) of the pairs (i, i + 1), start <= i < stop."""
    images = torch.tensor(frames[start : stop + 1]).to(device) / 255  # (B + 1, 480, 640)
    pairs = torch.stack([images[:-1], images[1:]], dim=1)  # (B, 2, 480, 640)
    parameters: Tensor = network(pairs.contiguous(memory_format=MEMORY_FORMATS[device.type]))
    return parameters.cpu().numpy().astype(np.float64)


def _warn_of_spacing(calibration: Calibration) -> None:
    if not np.allclose(calibration.spacing, TRAINED_SPACING, rtol=SPACING_TOLERANCE):
        log.warning(
            "baseline: pixels of %.4f x %.4f mm, but the network was trained on %.4f x %.4f mm; "
            "its millimetres are not to be trusted",
            *calibration.spacing,
            *TRAINED_SPACING,
        )
