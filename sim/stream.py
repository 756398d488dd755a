"""Sequences for training, made on the fly and never written to a disk."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim import EVALUATION_SEED, motion
from sim.scan import Recipe, Scan, draw_recipe
from tusrec.calibration import Calibration
from tusrec.errors import InputError


@dataclass(frozen=True)
class Excerpt:
    """Successive frames of one simulated scan.

    frames: (N, H, W) uint8. poses: (N, 4, 4) float64 exact T_camera_from_tool; tracked_poses: the
    same as a tracker reports them. recipe: all that was drawn.
    """

    frames: NDArray[np.uint8]
    poses: NDArray[np.float64]
    tracked_poses: NDArray[np.float64]
    calibration: Calibration
    recipe: Recipe


def excerpts(
    seed: int,
    length: int,
    protocols: Sequence[str] = ("rotation",),
    *,
    probe: str = "convex",
    half: bool = True,
    first: int = 0,
    step: int = 1,
) -> Iterator[Excerpt]:
    """Excerpts of `length` frames, without end; number n depends on (seed, n) alone.

    Each is cut from a whole scan of a new anatomy by one of `protocols` (keys of
    motion.TRAJECTORIES). W workers share the work by first = 0..W-1 and step = W. `half` makes
    240 x 320 pixels, the training resolution. Raises InputError for a seed kept for evaluation, a
    name that does not exist, or a length under 2 or over a whole scan.
    """
    require_training_seed(seed)
    number = first
    while True:
        yield excerpt((seed, number), length, protocols, probe, half)
        number += step


def excerpt(
    seed: tuple[int, int], length: int, protocols: Sequence[str], probe: str, half: bool
) -> Excerpt:
    """One excerpt, as `excerpts` makes it, for any seed."""
    rng = np.random.default_rng([*seed, 8])
    protocol = str(rng.choice(list(protocols)))
    whole = motion.WHOLE_FRAMES.get(protocol, length)
    if not 2 <= length <= whole:
        raise InputError(f"excerpt: found {length} frames, expected 2 to {whole} for {protocol}")
    recipe = draw_recipe(seed, protocol, whole, probe=probe, half=half)
    start = int(rng.integers(whole - length + 1))
    scan = Scan(replace(recipe, excerpt=(start, length)))
    frames = np.stack(list(scan.frames()))
    return Excerpt(frames, scan.poses(), scan.tracked_poses(), scan.calibration, scan.recipe)


def require_training_seed(seed: int) -> None:
    """Raise InputError if `seed` is one of those kept for evaluation."""
    if seed >= EVALUATION_SEED:
        raise InputError(
            f"seed: found {seed}, expected one under {EVALUATION_SEED}; those from there on are "
            "for evaluation"
        )
