"""How much of a motion a pair of frames still shows, measured on the scan itself.

Speckle decorrelates within a millimetre or so; of a longer motion only "further than that" is
left, and its measured size falls short. A scan tells by how much: the same motion is the sum of
shorter ones, which are measured in full.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.fusion import Motions, sums_of_steps

Array = NDArray[np.float64]

BINS = 16
LEAST_PAIRS = 8  # of a bin
IN_FULL_MM = 0.5  # up to which all of a motion is seen, whatever the probe
LEAST_SHARE = 0.05  # of a motion, that a pair is taken to show
STEP = 0.05  # relative, over which the slope of the measured size is taken


@dataclass(frozen=True)
class Saturation:
    """Share (B,) that is measured of motions of a size (B,) mm; it goes on as it ends."""

    size: Array
    share: Array

    @classmethod
    def none(cls) -> "Saturation":
        """All of every motion is measured."""
        return cls(np.array([np.inf]), np.ones(1))

    @classmethod
    def measure(cls, pairs: Motions, steps: Array) -> "Saturation":
        """Of pairs by interval k, beside the sums of steps (S, 3).

        pairs: motions (S-k+1, 3) mm, up to sign, and information (S-k+1, 3, 3), 0 where nothing was
        measured. A motion smaller than those of which most is seen is noise, of a hand at rest, and
        so is a short one that falls short: were that believed, a still probe would travel.
        """
        longer = {k: known.any(axis=(1, 2)) for k, (_, known) in pairs.items() if k > 1}
        if not any(known.any() for known in longer.values()):
            return cls.none()
        size = np.concatenate(
            [_length(sums_of_steps(steps, k))[known] for k, known in longer.items()]
        )
        measured = np.concatenate([_length(pairs[k][0])[known] for k, known in longer.items()])
        bins = max(min(BINS, len(size) // LEAST_PAIRS), 1)
        parts = np.array_split(size.argsort(kind="stable"), bins)
        middle = np.array([np.median(size[part]) for part in parts])
        ratio = measured / np.maximum(size, 1e-6)
        seen = np.array([min(np.median(ratio[part]), 1.0) for part in parts])
        seen[middle < IN_FULL_MM] = seen.max()
        most = int(seen.argmax())
        share = np.minimum.accumulate(seen[most:])
        return cls(*_as_far_as(float(size.max()), middle[most:], share))

    def at(self, size: Array) -> Array:
        """Share that is measured of motions of any size (...) mm."""
        return np.asarray(np.maximum(np.interp(size, self.size, self.share), LEAST_SHARE))

    def undone(self, motion: Array, information: Array, expected: Array) -> tuple[Array, Array]:
        """Signed motions (n, 3) in full and their information (n, 3, 3).

        motion: (n, 3) mm, up to sign. expected: (n, 3), near which the measurement, share times
        motion, is taken as linear: what hardly grows with the motion any more has little
        information along it.
        """
        size = np.maximum(_length(expected), 1e-9)
        along = expected / size[:, None]
        growth = (1 + STEP) * self.at((1 + STEP) * size) - (1 - STEP) * self.at((1 - STEP) * size)
        slope = np.clip(growth / (2 * STEP), LEAST_SHARE, 1.0)
        share = self.at(size)
        across = share[:, None, None] * np.eye(3)
        jacobian = across + (slope - share)[:, None, None] * along[:, :, None] * along[:, None, :]
        agreement = np.einsum("ni,nij,nj->n", motion, information, expected)
        rest = np.where(agreement < 0, -1.0, 1.0)[:, None] * motion - share[:, None] * expected
        full = expected + np.linalg.solve(jacobian, rest[..., None])[..., 0]
        return full, jacobian @ information @ jacobian


def _as_far_as(longest: float, size: Array, share: Array) -> tuple[Array, Array]:
    """Sizes and shares with the longest motion added, whose measured size goes on growing."""
    if len(size) < 2 or longest <= size[-1]:
        return size, share
    measured = size * share
    growth = (measured[-1] - measured[-2]) / max(size[-1] - size[-2], 1e-9)
    there = measured[-1] + np.clip(growth, 0.0, share[-1]) * (longest - size[-1])
    return np.append(size, longest), np.append(share, there / longest)


def _length(vectors: Array) -> Array:
    return np.asarray(np.linalg.norm(vectors, axis=-1))
