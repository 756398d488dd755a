"""How well a network measures motion on clips that it never saw, the sign left open per pair."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.canonical import network_input
from model.pose_net import PoseNet
from training.pose_learner import MIRROR, Prepared, true_motion
from tusrec import poses
from tusrec.comparison import correlation, slope

Array = NDArray[np.float64]

NAMES = ("tilt", "turn", "rock", "lateral", "axial", "elevational")  # of xi's six numbers


@dataclass(frozen=True)
class Motions:
    """Pairs of frames of one interval: xi (P, 6) rad and mm about a centre, true and predicted.

    half_extent: (P, 2) mm of the picture. scale: (P, 6) Laplace scales of the prediction.
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


def network_motions(network: PoseNet, prepared: Prepared, interval: int) -> Motions:
    """The network's motions of all pairs of a clip at one interval."""
    count = len(prepared.levels) - interval
    pairs = np.column_stack([np.arange(count), np.arange(count) + interval])
    predicted, scale = predict(network, prepared, pairs)
    half_extent = np.tile(prepared.canvas.half_extent_mm, (count, 1))
    return Motions(true_motion(prepared, pairs), predicted, scale, half_extent)


def predict(
    network: PoseNet, prepared: Prepared, pairs: NDArray[np.int64], batch: int = 64
) -> tuple[Array, Array]:
    """xi (P, 6) and Laplace scales (P, 6) of pairs (P, 2), rad and mm about the canvas's centre."""
    canvas, device = prepared.canvas, next(network.parameters()).device
    description = torch.from_numpy(canvas.description()).to(device)
    inputs = network_input(prepared.levels.to(device)).contiguous(memory_format=torch.channels_last)
    results = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        encoded = network.encode(inputs)
        for part in torch.split(torch.from_numpy(pairs).to(device), batch):
            a, b = encoded[part[:, 0]], encoded[part[:, 1]]
            motion, log_scale = network.compare(a, b, description.expand(len(part), -1))
            results.append(torch.stack([motion, log_scale.exp()]).double().cpu().numpy())
    motion, scale = np.concatenate(results, axis=1) * canvas.units()
    return motion, scale


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


def summary(motions: Motions) -> dict[str, float]:
    """Error over identity, and of every freedom slope, correlation and coverage.

    Slopes and correlations hold the better mirror against the truth. `size elevational` compares
    the amounts of the motion across the picture's centre alone: no choice of mirror helps there.
    """
    chosen = nearest_mirror(motions)
    truth = displacements(motions.true, motions.half_extent)
    error = np.linalg.norm(displacements(chosen, motions.half_extent) - truth, axis=-1)
    found = {"error": float(error.mean() / np.linalg.norm(truth, axis=-1).mean())}
    for number, name in enumerate(NAMES):
        x, y = motions.true[:, number], chosen[:, number]
        found |= {f"slope {name}": slope(x, y), f"corr {name}": correlation(x, y)}
        inside = np.abs(y - x) < motions.scale[:, number] * -np.log(1 - 0.68)
        found[f"cover {name}"] = float(inside.mean())
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
    """`summary` by interval over all clips, in evaluation mode."""
    network.eval()
    clips = list(clips)
    return {
        k: summary(Motions.joined([network_motions(network, clip, k) for clip in clips]))
        for k in intervals
    }
