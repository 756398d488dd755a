"""A scan's prediction held against its truth: errors, scores, and where the error is."""

from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tusrec import metrics, poses
from tusrec.metrics import STILL, Errors, Geometry, Motion, Scores

# A local motion about the image centre, as people in the field name its parts: translation along
# x, y, z and rotation about z, x, y of the image.
FREEDOMS = ("lateral", "axial", "elevational", "rock", "tilt", "turn")
_COORDINATES = [3, 4, 5, 2, 0, 1]  # their places in poses.log


@dataclass(frozen=True)
class Comparison:
    """One scan under one prediction.

    slopes, correlations: by FREEDOMS, of predicted against true local motion; NaN where the truth
        does not vary.
    final_drift_mm: distance between predicted and true centre of the last frame.
    drift_percent: that, of the true length of the centre's path.
    """

    errors: Errors
    scores: Scores
    slopes: dict[str, float]
    correlations: dict[str, float]
    final_drift_mm: float
    drift_percent: float

    def measures(self) -> dict[str, float]:
        """All of it by name: `GPE`, `final`, `global`, `drift mm`, `slope tilt`, and so on."""
        scores = {name.rstrip("_"): value for name, value in asdict(self.scores).items()}
        drift = {"drift mm": self.final_drift_mm, "drift %": self.drift_percent}
        slopes = {f"slope {name}": value for name, value in self.slopes.items()}
        correlations = {f"correlation {name}": value for name, value in self.correlations.items()}
        return scores | asdict(self.errors) | drift | slopes | correlations


@dataclass(frozen=True)
class Truth:
    """What the predictions of a scan are held against."""

    motion: Motion
    geometry: Geometry

    @cached_property
    def largest_errors(self) -> Errors:
        """The errors of identity, which normalise the scores."""
        frames = len(self.motion.T_first_from_frame) + 1
        return metrics.errors(metrics.identity(frames), self.motion, self.geometry)


def compare(predicted: Motion, truth: Truth, errors: Errors | None = None) -> Comparison:
    """All measures of a prediction of N-1 motions; its errors may be given where they are known."""
    true, geometry = truth.motion, truth.geometry
    found = errors or metrics.errors(predicted, true, geometry)
    centre = geometry.centre_mm
    x, y = (freedoms(m.T_previous_from_frame, centre) for m in (true, predicted))
    drift = np.linalg.norm(_places(predicted, centre)[-1] - _places(true, centre)[-1])
    path = np.linalg.norm(np.diff(_places(true, centre), axis=0), axis=1).sum()
    return Comparison(
        errors=found,
        scores=metrics.scores(found, truth.largest_errors),
        slopes=dict(zip(FREEDOMS, map(slope, x.T, y.T), strict=True)),
        correlations=dict(zip(FREEDOMS, map(correlation, x.T, y.T), strict=True)),
        final_drift_mm=float(drift),
        drift_percent=float(100 * drift / path) if path > STILL else float("nan"),
    )


def freedoms(T_a_from_b: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Motions (M, 4, 4) as FREEDOMS about `centre`: (M, 6), mm and rad."""
    return poses.log(poses.about_point(T_a_from_b, centre))[:, _COORDINATES]


def constant_motion(true: Motion) -> Motion:
    """A reference that knows one thing: the scan's mean true motion, repeated in every frame."""
    mean = poses.log(true.T_previous_from_frame).mean(axis=0)
    local = np.tile(poses.exp(mean), (len(true.T_previous_from_frame), 1, 1))
    return Motion(poses.chain(local), local)


def better_mirror(predicted: Motion, truth: Truth) -> Motion:
    """The prediction or its elevational mirror, whichever has the lower local pixel error.

    Frames alone cannot tell the two apart, so this shows what the sign of the scan costs. Where
    the sign changes within a scan, the other mirror may have the higher final score.
    """
    mirrored = Motion(
        poses.mirror_elevation(predicted.T_first_from_frame),
        poses.mirror_elevation(predicted.T_previous_from_frame),
    )
    true = truth.motion.T_previous_from_frame
    return min(
        (predicted, mirrored),
        key=lambda m: metrics.pixel_error(m.T_previous_from_frame, true, truth.geometry),
    )


def slope(true: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Least-squares slope of predicted against true; 1 is right, below 1 is shrunk."""
    if np.std(true) < STILL:
        return float("nan")
    return float(np.cov(true, predicted, bias=True)[0, 1] / np.var(true))


def correlation(true: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Pearson correlation; NaN where either does not vary."""
    if min(np.std(true), np.std(predicted)) < STILL:
        return float("nan")
    return float(np.corrcoef(true, predicted)[0, 1])


def _places(motion: Motion, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the image centre of every frame is, in the first frame: (N, 3) mm."""
    moved = motion.T_first_from_frame @ np.append(centre, 1.0)
    return np.vstack([centre, moved[:, :3]])
