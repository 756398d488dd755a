"""Pairs of frames, several intervals apart, made into one motion a step.

The sign of those across the picture, which two frames do not show, is chosen as for the classical
estimator (`signs`), neighbours that fall short are doubted and, within the picture, made longer
(`neighbours`), the intervals are fused (`fusion`), and a probe that slides on is kept upright
(`travel`).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model.canonical import Canvas
from model.cells import IN_PLANE
from model.decorrelation import Planes
from model.fusion import Prior, fuse_intervals, with_shared_error
from model.neighbours import SHORT, in_full, shortfall
from model.repeats import Spans
from model.signs import choose_signs
from model.travel import without_steady_tilt

Array = NDArray[np.float64]
Pair = tuple[Array, Array]  # xi (n, 6) and its Laplace scales
Pairs = Mapping[int, Pair]  # by interval k, (N-k, 6)
Motions = dict[int, tuple[Array, Array]]

PLANE = (5, 1, 0)  # places in xi of what makes a plane of the motion across the picture
PLANE_SIGNS = np.array([1.0, -1.0, 1.0])  # a rotation w moves (x, y, 0) by w_x y - w_y x along z
# Hand motion from one frame to the next, within the picture and across it, and where neighbours do
# not show it the change of it, which is then all that holds single steps together. At half of that
# across, fast motion is made slower: in 8 simulated clips whose neighbours fall short, sizes over
# four frames then had a slope of .63 instead of .67.
STEP_SD = np.array([np.radians(0.5), 0.3, 0.3]), np.array([1.0, np.radians(1.0), np.radians(1.0)])
CHANGE_SD = STEP_SD[0], 2 * STEP_SD[1]
LOOSER = 4.0  # times STEP_SD, of single steps where their change is known


def fused(pairs: Pairs, canvas: Canvas, spans: Spans) -> tuple[Array, Array]:
    """Steps (S, 6) about the canvas's centre and their covariance (S, 6, 6).

    spans: (S,) frames that the hand had for each.
    """
    steps = len(spans)
    in_plane = _in_plane(pairs)
    planes = {k: Planes(*_part(pair, PLANE, PLANE_SIGNS)) for k, pair in pairs.items()}
    in_plane, across, short = _believed(in_plane, planes, canvas)
    prior = [
        Prior(LOOSER * step, change, spans) if short else Prior(step, spans=spans)
        for step, change in zip(STEP_SD, CHANGE_SD, strict=True)
    ]
    parts = (
        fuse_intervals(with_shared_error(in_plane), steps, prior[0]),
        fuse_intervals(with_shared_error(across), steps, prior[1]),
    )
    xi, covariance = np.zeros((steps, 6)), np.zeros((steps, 6, 6))
    for (motion, spread), places, signs in zip(
        parts, (IN_PLANE, PLANE), (np.ones(3), PLANE_SIGNS), strict=True
    ):
        xi[:, places] = motion * signs
        covariance[np.ix_(range(steps), places, places)] = spread * np.outer(signs, signs)
    return without_steady_tilt(xi, covariance, canvas)


def fall_short_by(pairs: Pairs, canvas: Canvas) -> float:
    """By what factor motions over two frames exceed those between neighbours, in the picture."""
    return shortfall(_in_plane(pairs), _in_mm(canvas))


def _believed(
    in_plane: Motions, planes: Mapping[int, Planes], canvas: Canvas
) -> tuple[Motions, Motions, bool]:
    """Motions within the picture and, signed, across it, and whether neighbours fell short.

    If they did, they are hardly believed. Within the picture they are made as long as frames two
    apart say; across it the network, which has seen such screens, makes them longer itself.
    """
    factor, moments = shortfall(in_plane, _in_mm(canvas)), _moments(canvas)
    if factor < SHORT:
        return in_plane, choose_signs(planes, moments), False
    neighbours = planes[1].coefficients, planes[1].information
    doubted = {**planes, 1: Planes(*in_full(neighbours, 1.0))}
    return {**in_plane, 1: in_full(in_plane[1], factor)}, choose_signs(doubted, moments), True


def _in_plane(pairs: Pairs) -> Motions:
    return {k: _part(pair, IN_PLANE) for k, pair in pairs.items()}


def _in_mm(canvas: Canvas) -> Array:
    """How far (3,) one unit of each motion within the picture moves it, typically."""
    return np.array([np.sqrt(np.trace(_moments(canvas)[1:, 1:])), 1.0, 1.0])


def _moments(canvas: Canvas) -> Array:
    """Mean (3, 3) over the picture of (1, x, y)' (1, x, y), mm about its centre."""
    half_x, half_y = canvas.half_extent_mm
    return np.diag([1.0, half_x**2 / 3, half_y**2 / 3])


def _part(
    pair: tuple[Array, Array], places: tuple[int, ...], signs: Array | float = 1.0
) -> tuple[Array, Array]:
    """Some of xi (n, 3), with `signs`, and its information (n, 3, 3) by Laplace's variance."""
    motion, scale = (part[:, places] for part in pair)
    information = np.zeros((len(motion), 3, 3))
    information[:, range(3), range(3)] = 1 / (2 * scale**2)
    return motion * signs, information
