"""Excerpts of scans, made without a disk, and the seeds that may be trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sim import EVALUATION_SEED, motion
from sim.scan import Recipe, Scan, draw_recipe
from tusrec.errors import InputError


@dataclass(frozen=True)
class Excerpt:
    """Successive frames of one simulated scan.

    frames: (N, H, W) uint8. poses: (N, 4, 4) float64 exact T_camera_from_tool. recipe: all that
    was drawn.
    """

    frames: NDArray[np.uint8]
    poses: NDArray[np.float64]
    recipe: Recipe


def excerpt(seed: tuple[int, int], length: int, protocols: Sequence[str], probe: str) -> Excerpt:
    """`length` frames cut from a whole scan of a new anatomy by one of `protocols`.

    These are keys of motion.TRAJECTORIES. Raises InputError for a name that does not exist, or a
    length under 2 or over a whole scan.
    """
    rng = np.random.default_rng([*seed, 8])
    protocol = str(rng.choice(list(protocols)))
    whole = motion.WHOLE_FRAMES.get(protocol, length)
    if not 2 <= length <= whole:
        raise InputError(f"excerpt: found {length} frames, expected 2 to {whole} for {protocol}")
    recipe = draw_recipe(seed, protocol, whole, probe=probe)
    start = int(rng.integers(whole - length + 1))
    scan = Scan(replace(recipe, excerpt=(start, length)))
    return Excerpt(np.stack(list(scan.frames())), scan.poses(), scan.recipe)


def require_training_seed(seed: int) -> None:
    """Raise InputError if `seed` is one of those kept for evaluation."""
    if seed >= EVALUATION_SEED:
        raise InputError(
            f"seed: found {seed}, expected one under {EVALUATION_SEED}; those from there on are "
            "for evaluation"
        )
