"""The sign of elevational motion, which two frames do not show.

They look the same under a motion and its mirror image. What is assumed instead is that motion goes
on as it did, and where that says nothing, that the centre of the image moves towards +z. Turning
points are not found. (The distance over two steps, |z1 + z2| or |z1 - z2|, was tried for that: on
real scans the error of the distances hides the difference.)
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model.decorrelation import Planes

Array = NDArray[np.float64]

FORWARD = 0.25  # weight of a step towards +z against one of perfect continuity


def choose_signs(planes: Mapping[int, Planes], moments: Array) -> dict[int, tuple[Array, Array]]:
    """Interval -> (signed coefficients (n, 3), information (n, 3, 3)).

    moments: (3, 3) mean over the image of (1, x, y)' (1, x, y), so that p' moments q is how alike
    planes p and q move it. The signs of the steps maximise the sum of the likeness of neighbours
    and of FORWARD times the share of +z in each. Longer intervals take the sign of the sum of their
    steps.
    """
    steps = planes[1].coefficients
    size = np.sqrt(np.einsum("ni,ij,nj->n", steps, moments, steps)) + 1e-9
    unit = steps / size[:, None]
    alike = np.einsum("ni,ij,nj->n", unit[:-1], moments, unit[1:])
    signed = _best_signs(alike, FORWARD * unit[:, 0])[:, None] * steps
    return {k: (_align(p, signed, k), p.information) for k, p in planes.items()}


def _best_signs(alike: Array, forward: Array) -> Array:
    """Signs s (S,) that maximise sum s_i s_(i+1) alike_i + sum s_i forward_i (Viterbi, 1967)."""
    signs = np.array([-1.0, 1.0])
    gain = signs * forward[0]
    came_from = np.zeros((len(forward), 2), dtype=int)
    for step in range(1, len(forward)):
        total = gain[:, None] + alike[step - 1] * np.outer(signs, signs)  # (before, now)
        came_from[step] = total.argmax(axis=0)
        gain = total.max(axis=0) + signs * forward[step]
    path = [int(gain.argmax())]
    for step in range(len(forward) - 1, 0, -1):
        path.append(int(came_from[step, path[-1]]))
    return signs[path[::-1]]


def _align(planes: Planes, steps: Array, interval: int) -> Array:
    """Coefficients (n, 3) with the sign that agrees with the sum of the steps."""
    total = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    expected = total[interval:] - total[:-interval]
    agreement = np.einsum("ni,nij,nj->n", planes.coefficients, planes.information, expected)
    return planes.coefficients * np.where(agreement < 0, -1.0, 1.0)[:, None]
