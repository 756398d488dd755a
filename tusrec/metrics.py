"""The challenge's four errors, in mm, from transforms; and what identity gives.

GPE and LPE are mean distances over all pixels of frames 1..N-1, GLE and LLE over landmarks.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from tusrec.calibration import image_centre
from tusrec.displacements import affine_displacements, landmark_displacements

STILL = 1e-9  # mm or rad; less is rounding, not motion
THREADS = min(4, os.cpu_count() or 1)  # numpy lets go of the interpreter's lock


@dataclass(frozen=True)
class Motion:
    """Global and local transforms of frames 1..N-1, each (N-1, 4, 4) float64."""

    T_first_from_frame: NDArray[np.float64]
    T_previous_from_frame: NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Mean distances in mm; landmark errors are NaN where there are no landmarks."""

    GPE: float
    GLE: float
    LPE: float
    LLE: float


@dataclass(frozen=True)
class Geometry:
    """What turns transforms into errors: scale (4, 4), image size in pixels, landmarks (L, 3)."""

    scale: NDArray[np.float64]
    height: int
    width: int
    landmarks: NDArray[np.integer]

    @property
    def centre_mm(self) -> NDArray[np.float64]:
        """The centre of the image, (3,) image mm."""
        return image_centre(self.scale, self.height, self.width)


def errors(predicted: Motion, true: Motion, geometry: Geometry) -> Errors:
    """The four errors of a prediction."""
    pairs = [
        (predicted.T_first_from_frame, true.T_first_from_frame),
        (predicted.T_previous_from_frame, true.T_previous_from_frame),
    ]
    (gpe, gle), (lpe, lle) = [
        (pixel_error(*pair, geometry), landmark_error(*pair, geometry)) for pair in pairs
    ]
    return Errors(gpe, gle, lpe, lle)


def identity(frames: int) -> Motion:
    """No motion at all in a scan of `frames` frames: the challenge's largest error."""
    still = np.tile(np.eye(4), (frames - 1, 1, 1))
    return Motion(still, still)


def pixel_error(
    predicted: NDArray[np.float64], true: NDArray[np.float64], geometry: Geometry
) -> float:
    """Mean distance (mm) between the displacements of all pixels by two stacks (M, 4, 4)."""
    difference = affine_displacements(predicted, geometry.scale) - affine_displacements(
        true, geometry.scale
    )
    with ThreadPoolExecutor(THREADS) as pool:
        distances = pool.map(lambda A: _mean_length(A, geometry), difference)
        return float(np.mean(list(distances)))


def _mean_length(A: NDArray[np.float64], geometry: Geometry) -> float:
    """Mean over all pixels of |A (x, y, 1)|, A (3, 3).

    Its square is the quadratic form of A'A, which needs one value a pixel instead of three.
    """
    (xx, xy, x1), (_, yy, y1), (_, _, one) = A.T @ A
    x = np.arange(1, geometry.width + 1, dtype=np.float64)
    y = np.arange(1, geometry.height + 1, dtype=np.float64)[:, None]
    squared = np.add(xx * x, 2 * (xy * y + x1))
    squared *= x
    squared += (yy * y + 2 * y1) * y + one
    # Rounding can leave a tiny negative where the displacements agree.
    np.maximum(squared, 0.0, out=squared)
    return float(np.sqrt(squared, out=squared).mean())


def landmark_error(
    predicted: NDArray[np.float64], true: NDArray[np.float64], geometry: Geometry
) -> float:
    """Mean distance (mm) between the displacements of the landmarks."""
    if len(geometry.landmarks) == 0:
        return float("nan")
    moved = [
        landmark_displacements(stack, geometry.scale, geometry.landmarks).astype(np.float64)
        for stack in (predicted, true)
    ]
    return float(np.linalg.norm(moved[0] - moved[1], axis=0).mean())


@dataclass(frozen=True)
class Scores:
    """Normalised scores of a scan, 1 for the truth and 0 for identity, as the leaderboard's."""

    final: float
    global_: float
    local: float
    pixel: float
    landmark: float


def scores(found: Errors, largest: Errors) -> Scores:
    """Scores of errors `found`, `largest` being those of identity.

    An error that is NaN (no landmarks) or whose largest is none (nothing moved) is left out.
    """
    gp, gl, lp, ll = (
        1.0 - error / bound if bound > STILL else float("nan")
        for error, bound in zip(astuple(found), astuple(largest), strict=True)
    )
    return Scores(
        final=_mean(gp, gl, lp, ll),
        global_=_mean(gp, gl),
        local=_mean(lp, ll),
        pixel=_mean(gp, lp),
        landmark=_mean(gl, ll),
    )


def _mean(*values: float) -> float:
    present = [value for value in values if not np.isnan(value)]
    return float(np.mean(present)) if present else float("nan")
