"""Pairs of frames of one scan, several intervals apart: predicted motion beside the true one.

All motions are exponential coordinates (P, 6), rad and mm, of T_i_from_(i+k) about the centre of
the part of the image that moves (`Canvas`), so that every estimator is held to the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.canonical import Canvas
from pipeline.prediction import Prediction
from training.measure import LAPLACE_OVER_SD, Motions
from tusrec import poses

Array = NDArray[np.float64]
ByInterval = dict[int, Motions]

INTERVALS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Pairs:
    """The pairs of one scan.

    true: (N-1, 4, 4) T_first_from_frame. canvas: of its frames. image_centre: (3,) mm.
    """

    true: Array
    canvas: Canvas
    image_centre: Array

    def measured(self, pairs: Mapping[int, tuple[Array, Array]]) -> ByInterval:
        """Pairs as an estimator measured each: by interval xi (P, 6) and Laplace scales (P, 6)."""
        return {k: self._motions(k, *pairs[k]) for k in self._intervals() if k in pairs}

    def fused(self, prediction: Prediction) -> ByInterval:
        """Pairs as they follow from a prediction, which is sure of its steps alone."""
        motions = {}
        for k in self._intervals():
            xi = self._relative(prediction.motion.T_first_from_frame, k)
            unknown = np.full_like(xi, np.nan)
            scale = self._step_scale(prediction.local_covariance) if k == 1 else unknown
            motions[k] = self._motions(k, xi, scale)
        return motions

    def _step_scale(self, covariance: Array) -> Array:
        """Laplace scales (N-1, 6) whose 68 % intervals are those of a Gaussian covariance."""
        matrix = poses.moved_origin(self.canvas.centre_mm - self.image_centre)
        variance = np.einsum("ij,njk,ik->ni", matrix, covariance, matrix)
        return np.asarray(LAPLACE_OVER_SD * np.sqrt(variance))

    def _intervals(self) -> Sequence[int]:
        return [k for k in INTERVALS if k <= len(self.true)]

    def _motions(self, interval: int, xi: Array, scale: Array) -> Motions:
        half_extent = np.tile(self.canvas.half_extent_mm, (len(xi), 1))
        return Motions(self._relative(self.true, interval), xi, scale, half_extent)

    def _relative(self, T_first_from_frame: Array, interval: int) -> Array:
        T = np.concatenate([np.eye(4)[None], T_first_from_frame])
        about_centre = poses.about_point(T, self.canvas.centre_mm)
        return poses.log(poses.inverse(about_centre[:-interval]) @ about_centre[interval:])
