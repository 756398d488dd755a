"""How well a network measures motion on clips that it never saw, the sign left open per pair."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor

from model.learned import Learned
from model.pose_net import PoseNet
from training.pose_learner import MIRROR
from training.prepared import Prepared, true_motion
from tusrec import poses
from tusrec.comparison import correlation, slope

Array = NDArray[np.float64]

NAMES = ("tilt", "turn", "rock", "lateral", "axial", "elevational")  # of xi's six numbers
SHARE = 0.68  # of the truth that an interval shall hold
LAPLACE_WIDTH = -float(np.log(1 - SHARE))  # scales to either side that hold it
LAPLACE_OVER_SD = float(norm.ppf((1 + SHARE) / 2)) / LAPLACE_WIDTH
"""Laplace scale whose interval is a Gaussian's of standard deviation 1."""


@dataclass(frozen=True)
class Motions:
    """Pairs of frames of one interval: xi (P, 6) rad and mm about a centre, true and predicted.

    half_extent: (P, 2) mm of the picture. scale: (P, 6) Laplace scales of the prediction, infinite
    where nothing was measured, which no coverage counts.
    """

    true: Array
    predicted: Array
    scale: Array
    half_extent: Array

    @classmethod
    def joined(cls, parts: Sequence["Motions"]) -> "Motions":
        """All pairs of several."""
        names = cls.__dataclass_fields__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def network_motions(
    network: PoseNet, prepared: Prepared, intervals: Sequence[int]
) -> dict[int, Motions]:
    """The network's motions of all pairs of a clip, by those intervals that it holds."""
    count, levels = len(prepared.levels), prepared.levels
    device = next(network.parameters()).device

    def shown(start: int, stop: int) -> Tensor:
        return levels[start:stop].to(device)

    found = Learned(network).pairs_on_canvas(shown, count, prepared.canvas, device)
    motions = {}
    for k in (interval for interval in intervals if interval < count):
        first = np.arange(count - k)
        true = true_motion(prepared, np.column_stack([first, first + k]))
        half_extent = np.tile(prepared.canvas.half_extent_mm, (count - k, 1))
        motions[k] = Motions(true, *found[k], half_extent)
    return motions


def nearest_mirror(motions: Motions) -> Array:
    """Each prediction (P, 6) or its mirror, whichever displaces the picture more like the truth."""
    mirrored = motions.predicted * np.array(MIRROR)
    truth = displacements(motions.true, motions.half_extent)
    errors = [
        np.linalg.norm(displacements(xi, motions.half_extent) - truth, axis=-1).mean(axis=1)
        for xi in (motions.predicted, mirrored)
    ]
    return np.where((errors[0] <= errors[1])[:, None], motions.predicted, mirrored)


def displacements(xi: Array, half_extent: Array) -> Array:
    """Displacements (P, 49, 3) mm of a grid over the picture, exact for any angle."""
    line = np.linspace(-1, 1, 7)
    x, y = (grid.ravel() for grid in np.meshgrid(line, line))
    points = np.zeros((len(xi), 49, 4))
    points[..., 0], points[..., 1] = half_extent[:, :1] * x, half_extent[:, 1:] * y
    points[..., 3] = 1.0
    moved = points @ poses.exp(xi).swapaxes(1, 2)
    return np.asarray((moved - points)[..., :3])


def covered(motions: Motions, chosen: Array) -> Array:
    """Share (6,) of the truth that intervals about the chosen mirrors (P, 6) hold."""
    measured = ~np.isinf(motions.scale)
    inside = np.abs(chosen - motions.true) < motions.scale * LAPLACE_WIDTH
    return np.asarray((inside & measured).sum(axis=0) / np.maximum(measured.sum(axis=0), 1))


def summary(motions: Motions) -> dict[str, float]:
    """Error over identity, and of every freedom slope, correlation and coverage.

    Slopes and correlations hold the better mirror against the truth. `size elevational` compares
    the amounts of the motion across the picture's centre alone: no choice of mirror helps there.
    """
    chosen = nearest_mirror(motions)
    truth = displacements(motions.true, motions.half_extent)
    error = np.linalg.norm(displacements(chosen, motions.half_extent) - truth, axis=-1)
    found = {"error": float(error.mean() / np.linalg.norm(truth, axis=-1).mean())}
    found |= {
        f"cover {name}": float(share)
        for name, share in zip(NAMES, covered(motions, chosen), strict=True)
    }
    for number, name in enumerate(NAMES):
        x, y = motions.true[:, number], chosen[:, number]
        found |= {f"slope {name}": slope(x, y), f"corr {name}": correlation(x, y)}
    sizes = [np.abs(part[:, 5]) for part in (motions.true, chosen)]
    found |= {"size slope": slope(*sizes), "size corr": correlation(*sizes)}
    in_plane = np.abs(motions.true[:, 3:5] - motions.predicted[:, 3:5]).mean(axis=0)
    found["in-plane error"] = float(
        np.linalg.norm(in_plane) / np.linalg.norm(np.abs(motions.true[:, 3:5]).mean(axis=0))
    )
    return found


def held_out(
    network: PoseNet, clips: Iterable[Prepared], intervals: Sequence[int]
) -> dict[int, dict[str, float]]:
    """`summary` by interval over all clips that are long enough for it, in evaluation mode."""
    network.eval()
    found = [network_motions(network, clip, intervals) for clip in clips]
    by_interval = {k: [motions[k] for motions in found if k in motions] for k in intervals}
    return {k: summary(Motions.joined(parts)) for k, parts in by_interval.items() if parts}
