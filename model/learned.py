"""The learned estimator: every frame encoded once, pairs at several intervals, one motion a step.

The network gives each pair six numbers and how sure it is of each; the sign of those across the
image, which two frames do not show, is chosen as for the classical estimator (`signs`), and the
intervals are fused as there (`fusion`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import block_matching
from model.canonical import Canvas, network_input, to_canvas
from model.decorrelation import Planes
from model.device import Batches
from model.fusion import fuse_intervals
from model.interface import LocalMotions
from model.pose_net import Encoded, PoseNet
from model.signs import choose_signs
from model.weights import load_into, load_weights
from tusrec import poses
from tusrec.calibration import Calibration
from tusrec.frames import Frames

Array = NDArray[np.float64]
Pairs = Mapping[int, tuple[Array, Array]]

INTERVALS = (1, 2, 3, 4, 6, 8)
SLICES = {"cpu": 8, "cuda": 64}  # frames encoded at a time; a frame's features take 0.5 MB

# Places in xi (rotations about x, y, z, then translations along them).
IN_PLANE = (2, 3, 4)
ACROSS = (5, 1, 0)
ACROSS_SIGNS = np.array([1.0, -1.0, 1.0])  # a rotation w moves (x, y, 0) by w_x y - w_y x along z
# Hand motion from one frame to the next, and what is wrong with a pair whatever its interval.
PRIOR_SD = np.array([np.radians(0.5), 0.3, 0.3]), np.array([0.5, np.radians(0.5), np.radians(0.5)])
PAIR_SD = np.array([np.radians(0.02), 0.02, 0.02]), np.array([0.03, *np.radians([0.04, 0.04])])


class Learned:
    """Estimator by a `PoseNet`, for any probe and frame size; see `model.interface.Estimator`.

    Its covariance is that of the network's scales, fused; it takes the sign for granted.
    """

    name = "tusrec"

    def __init__(
        self,
        network: PoseNet,
        weights_sha256: str = "",
        precision: torch.dtype = torch.bfloat16,
    ) -> None:
        self.weights_sha256 = weights_sha256
        self._precision = precision
        self._network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._batches = {kind: Batches(size) for kind, size in SLICES.items()}

    @classmethod
    def from_weights(cls, folder: Path | None = None) -> Self:
        """Read weights "tusrec" of `folder`; raises WeightsError as `load_weights` does."""
        weights, sha256 = load_weights(cls.name, folder)
        network = PoseNet()
        load_into(network, weights, f"weights of model {cls.name}")
        return cls(network, sha256)

    def estimate(
        self, frames: Frames, calibration: Calibration, device: torch.device
    ) -> LocalMotions:
        """Local motions (N-1, 4, 4) of frames (N, H, W), read a slice at a time.

        Raises OutOfMemoryError if one frame at a time is too much.
        """
        steps = frames.shape[0] - 1
        if steps < 1:
            return LocalMotions(np.empty((0, 4, 4)), np.empty((0, 6, 6)))
        canvas = Canvas.of(frames, calibration.spacing)
        xi, covariance = fused(self.pairs(frames, canvas, device), canvas, steps)
        T = poses.about_point(poses.exp(xi), -canvas.centre_mm)
        image_centre = np.array(calibration.spacing) * (np.array(frames.shape[:0:-1]) + 1) / 2
        to_centre = moved_origin(np.append(image_centre, 0.0) - canvas.centre_mm)
        return LocalMotions(T, to_centre @ covariance @ to_centre.T)

    def pairs(self, frames: Frames, canvas: Canvas, device: torch.device) -> Pairs:
        """Interval -> xi (N-k, 6), rad and mm about the canvas's centre, and Laplace scales."""
        mask = torch.from_numpy(block_matching.moving_mask(frames).astype(np.float32)).to(device)
        self._network.to(device)
        description = torch.from_numpy(canvas.description()).to(device)
        intervals = [k for k in INTERVALS if k < frames.shape[0]]
        before: list[Encoded] = []  # of the last frames, as many as the longest interval reaches

        def work(start: int, stop: int) -> dict[int, Array]:
            image = torch.from_numpy(np.asarray(frames[start:stop], np.float32)).to(device)
            inputs = network_input(to_canvas(image, mask, canvas))
            new = self._network.encode(inputs.contiguous(memory_format=torch.channels_last))
            joined = Encoded.joined([*before, new])
            found = {k: self._compare(joined, k, stop - start, description) for k in intervals}
            before[:] = [joined[-max(INTERVALS) :]]
            return found

        reduced = self._precision != torch.float32
        with torch.inference_mode(), torch.autocast(device.type, self._precision, enabled=reduced):
            parts = self._batches[device.type].run(work, frames.shape[0])
        units = canvas.units()
        joined = {k: np.concatenate([part[k] for part in parts], axis=1) for k in intervals}
        return {k: (motion * units, scale * units) for k, (motion, scale) in joined.items()}

    def _compare(self, frames: Encoded, interval: int, new: int, description: Tensor) -> Array:
        """Motions and scales (2, B, 6) of the pairs that end in one of the `new` last frames."""
        count = max(min(len(frames) - interval, new), 0)
        if not count:
            return np.empty((2, 0, 6))
        first = len(frames) - count
        a, b = frames[first - interval : first - interval + count], frames[first:]
        motion, log_scale = self._network.compare(a, b, description.expand(count, -1))
        return np.asarray(torch.stack([motion, log_scale.exp()]).double().cpu().numpy())


def fused(pairs: Pairs, canvas: Canvas, steps: int) -> tuple[Array, Array]:
    """Steps (S, 6) about the canvas's centre and their covariance (S, 6, 6)."""
    half_x, half_y = canvas.half_extent_mm
    moments = np.diag([1.0, half_x**2 / 3, half_y**2 / 3])
    in_plane = {k: _part(pair, IN_PLANE) for k, pair in pairs.items()}
    planes = {k: Planes(*_part(pair, ACROSS, ACROSS_SIGNS)) for k, pair in pairs.items()}
    parts = (
        fuse_intervals(in_plane, steps, PRIOR_SD[0], PAIR_SD[0]),
        fuse_intervals(choose_signs(planes, moments), steps, PRIOR_SD[1], PAIR_SD[1]),
    )
    xi, covariance = np.zeros((steps, 6)), np.zeros((steps, 6, 6))
    for (motion, spread), places, signs in zip(
        parts, (IN_PLANE, ACROSS), (np.ones(3), ACROSS_SIGNS), strict=True
    ):
        xi[:, places] = motion * signs
        covariance[np.ix_(range(steps), places, places)] = spread * np.outer(signs, signs)
    return xi, covariance


def moved_origin(shift: Array) -> Array:
    """Matrix (6, 6) that takes small xi about a point to xi about that point + shift (3,) mm."""
    matrix = np.eye(6)
    x, y, z = shift
    matrix[3:, :3] = [[0, z, -y], [-z, 0, x], [y, -x, 0]]  # w x shift
    return matrix


def _part(
    pair: tuple[Array, Array], places: tuple[int, ...], signs: Array | float = 1.0
) -> tuple[Array, Array]:
    """Some of xi (n, 3), with `signs`, and its information (n, 3, 3) by Laplace's variance."""
    motion, scale = (part[:, places] for part in pair)
    information = np.zeros((len(motion), 3, 3))
    information[:, range(3), range(3)] = 1 / (2 * scale**2)
    return motion * signs, information
