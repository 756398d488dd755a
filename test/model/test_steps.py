"""Pairs made into steps: exact where they agree, signed up to one mirror, in full."""

import numpy as np

from model.canonical import Canvas
from model.cells import IN_PLANE
from model.fusion import Prior, fuse_intervals, with_shared_error
from model.pose_net import INTERVALS
from model.steps import fused

CANVAS = Canvas((0, 400, 0, 400), (300, 300), (0.2, 0.2), (0.4, 0.2))
MIRROR = np.array([-1, -1, 1, 1, 1, -1])


def pairs_of(true: np.ndarray, scale: float) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Pairs that tell the motion of steps (S, 6), half of them mirrored."""
    rng = np.random.default_rng(1)
    sums = np.concatenate([np.zeros((1, 6)), np.cumsum(true, axis=0)])
    pairs = {}
    for k in INTERVALS:
        motion = sums[k:] - sums[:-k]
        motion[rng.random(len(motion)) < 0.5] *= MIRROR
        pairs[k] = motion, np.full(motion.shape, scale)
    return pairs


def onward(steps: int, change: float) -> np.ndarray:
    true = np.tile([0.004, -0.003, 0.005, 0.1, -0.2, 0.3], (steps, 1))
    rng = np.random.default_rng(0)
    return np.asarray(true + rng.normal(size=(steps, 6)) * np.abs(true) * change)


def least_error(xi: np.ndarray, true: np.ndarray) -> float:
    """In canvas units, so that angles and shifts count alike."""
    errors = [np.abs((found - true) / CANVAS.units()).max() for found in (xi, xi * MIRROR)]
    return float(min(errors))


def test_perfect_pairs_fuse_to_the_steps_up_to_one_mirror() -> None:
    true = onward(20, change=0.1)
    xi, covariance = fused(pairs_of(true, 1e-4), CANVAS, np.ones(len(true), np.int64))
    assert least_error(xi, true) < 1e-2
    assert (np.linalg.eigvalsh(covariance) > 0).all()


def test_pairs_are_believed_in_and_across_the_picture_as_if_they_shared_errors() -> None:
    scale, true = 1e-4, onward(20, change=0.1)
    pairs = pairs_of(true, scale)
    _, covariance = fused(pairs, CANVAS, np.ones(len(true), np.int64))
    alike = {
        k: (motion[:, IN_PLANE], np.tile(np.eye(3) / (2 * scale**2), (len(motion), 1, 1)))
        for k, (motion, _) in pairs.items()
    }
    _, expected = fuse_intervals(with_shared_error(alike), len(true), Prior(np.ones(3)))
    found, each = (np.diagonal(one, axis1=1, axis2=2) for one in (covariance, expected))
    np.testing.assert_allclose(found, np.tile(each, 2), rtol=1e-2)


def test_a_probe_that_slides_on_does_not_tilt_in_proportion_to_its_travel() -> None:
    true = np.tile([0.01, 0, 0, 0, 0, 1.0], (100, 1))
    xi, _ = fused(pairs_of(true, 1e-3), CANVAS, np.ones(len(true), np.int64))
    np.testing.assert_allclose(np.abs(xi), np.abs(true) * [0, 1, 1, 1, 1, 1], atol=1e-3)


def test_steps_come_out_in_full_where_neighbours_show_part_of_their_motion() -> None:
    true = onward(40, change=0.02)
    pairs = pairs_of(true, 0.02)
    shares = np.random.default_rng(3).uniform(0.2, 0.9, (len(true), 1))
    pairs[1] = shares * pairs[1][0], pairs[1][1]
    xi, covariance = fused(pairs, CANVAS, np.ones(len(true), np.int64))
    assert least_error(xi, true) < 0.2 * np.abs(true / CANVAS.units()).max()
    assert (np.linalg.eigvalsh(covariance) > 0).all()


def test_a_step_that_nothing_shows_is_as_unsure_as_the_frames_that_it_spans_are_many() -> None:
    true = onward(20, change=0.1)
    pairs = pairs_of(true, 0.01)
    for k, (_, scale) in pairs.items():
        scale[max(10 - k + 1, 0) : 11] = np.inf  # of all pairs that go over the step
    spans = np.ones(len(true), np.int64)
    _, steady = fused(pairs, CANVAS, spans)
    spans[10] = 12
    _, longer = fused(pairs, CANVAS, spans)
    grown = np.sqrt(np.diagonal(longer[10]) / np.diagonal(steady[10]))
    np.testing.assert_allclose(grown, 12, rtol=1e-3)
    others = np.arange(len(true)) != 10
    np.testing.assert_allclose(longer[others], steady[others], rtol=1e-6, atol=1e-12)
