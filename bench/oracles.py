"""What a prediction would be worth if the truth told it one thing: where the error is.

Local motions are (M, 4, 4), T_previous_from_frame, image mm; freedoms are the six numbers of a
motion about the image's centre.
"""

import numpy as np
from numpy.typing import NDArray

from tusrec import poses
from tusrec.displacements import affine_displacements
from tusrec.metrics import Geometry, Motion

Array = NDArray[np.float64]

GRID = 9  # places a side at which a step is held against its mirror image


def chained(local: Array) -> Motion:
    """Local motions with the global ones that they add up to."""
    return Motion(poses.chain(local), local)


def with_true_signs(local: Array, true: Array, geometry: Geometry) -> Array:
    """Each step or its elevational mirror, whichever displaces the image more like the truth."""
    mirrored = poses.mirror_elevation(local)
    as_it_is, as_mirrored = (_step_errors(steps, true, geometry) for steps in (local, mirrored))
    return np.where((as_it_is <= as_mirrored)[:, None, None], local, mirrored)


def with_true_scale(local: Array, true: Array, geometry: Geometry) -> Array:
    """Each freedom times the one number a scan that fits the truth best (least squares)."""
    found, truth = _freedoms(local, geometry), _freedoms(true, geometry)
    energy = (found**2).sum(axis=0)
    scale = np.divide((found * truth).sum(axis=0), energy, out=np.ones(6), where=energy > 0)
    return _motions(found * scale, geometry)


def with_true_bias(local: Array, true: Array, geometry: Geometry) -> Array:
    """Each freedom less its mean error over the scan."""
    found, truth = _freedoms(local, geometry), _freedoms(true, geometry)
    return _motions(found - (found - truth).mean(axis=0), geometry)


def _step_errors(local: Array, true: Array, geometry: Geometry) -> Array:
    """Mean distance (M,) mm between the displacements of a grid over the image."""
    line = np.linspace(0, 1, GRID)
    x, y = np.meshgrid(1 + line * (geometry.width - 1), 1 + line * (geometry.height - 1))
    pixels = np.stack([x.ravel(), y.ravel(), np.ones(GRID**2)])
    affine, expected = (affine_displacements(steps, geometry.scale) for steps in (local, true))
    return np.asarray(np.linalg.norm((affine - expected) @ pixels, axis=1).mean(axis=1))


def _freedoms(local: Array, geometry: Geometry) -> Array:
    return poses.log(poses.about_point(local, geometry.centre_mm))


def _motions(freedoms: Array, geometry: Geometry) -> Array:
    return poses.about_point(poses.exp(freedoms), -geometry.centre_mm)
