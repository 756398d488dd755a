"""Intervals fused into steps: the dense least squares, in a band; a wrong pair loses its say."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from model import fusion
from model.fusion import Prior, fuse_intervals, sums_of_steps, with_error, with_shared_error

Array = NDArray[np.float64]

PRIOR = Prior(np.array([0.5, 0.3, 0.2]))
SMOOTH = Prior(np.array([1.5, 0.9, 0.6]), np.array([0.2, 0.4, 0.3]))
K = (1, 2, 5, 9)


def measured(steps: Array, noise: float = 0.0) -> dict[int, tuple[Array, Array]]:
    """Pairs over intervals K, of random information."""
    rng = np.random.default_rng(3)
    motions = {}
    for interval in (k for k in K if k <= len(steps)):
        total = sums_of_steps(steps, interval)
        factor = rng.normal(size=(len(total), 3, 3))
        information = 100 * factor @ factor.swapaxes(1, 2) + np.eye(3)
        motions[interval] = (total + noise * rng.normal(size=total.shape), information)
    return motions


def dense(motions: dict[int, tuple[Array, Array]], steps: int, prior: Prior) -> tuple[Array, Array]:
    """The same least squares with full matrices over all steps."""
    changes = np.diff(np.eye(steps), axis=0)
    each = np.broadcast_to(prior.step, (steps, 3))
    information: Array = np.zeros((3 * steps, 3 * steps))
    np.fill_diagonal(information, each.ravel() ** -2.0)
    information += np.kron(changes.T @ changes, np.diag(prior.change**-2.0))
    vector = np.zeros(3 * steps)
    for interval, (motion, known) in motions.items():
        for first in range(len(motion)):
            spans = np.zeros((3, 3 * steps))
            spans[:, 3 * first : 3 * (first + interval)] = np.tile(np.eye(3), interval)
            information += spans.T @ known[first] @ spans
            vector += spans.T @ known[first] @ motion[first]
    covariance: Array = np.asarray(np.linalg.inv(information), np.float64)
    blocks = covariance.reshape(steps, 3, steps, 3)
    return (covariance @ vector).reshape(steps, 3), blocks[range(steps), :, range(steps)]


@pytest.mark.parametrize("prior", [PRIOR, SMOOTH])
@pytest.mark.parametrize("span", [1, 7])
@pytest.mark.parametrize("steps", [1, 2, 3, 9, 30])
def test_steps_and_covariance_are_those_of_dense_least_squares(
    steps: int, prior: Prior, span: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusion, "ROUNDS", 1)
    spans = np.ones(steps, np.int64)
    spans[steps // 2] = span
    motions = measured(np.random.default_rng(1).normal(size=(steps, 3)), noise=0.1)
    expected, _ = dense(motions, steps, prior)
    _, spread = dense(motions, steps, Prior(prior.step * spans[:, None]))
    solved, covariance = fuse_intervals(motions, steps, replace(prior, spans=spans))
    np.testing.assert_allclose(solved, expected, atol=1e-9)
    np.testing.assert_allclose(covariance, spread, atol=1e-9)


def test_the_covariance_of_a_long_scan_that_is_held_together_by_smoothness_is_sound() -> None:
    rng, pairs = np.random.default_rng(0), {}
    for k, known in ((1, 0.05), (2, 0.3), (4, 0.2), (8, 0.02)):
        factor = np.sqrt(known) * rng.normal(size=(201 - k, 3, 3)) * [1.0, 15.0, 30.0]
        pairs[k] = np.zeros((201 - k, 3)), factor.swapaxes(1, 2) @ factor
    sd = np.array([0.5, 0.01, 0.01])
    _, covariance = fuse_intervals(pairs, 200, Prior(4 * sd, sd))
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    assert (np.diagonal(covariance, axis1=1, axis2=2) <= (4 * sd) ** 2).all()


def test_a_pair_that_nothing_agrees_with_hardly_counts() -> None:
    steps = np.random.default_rng(2).normal(size=(30, 3)) * 0.1
    motions = {k: (sums_of_steps(steps, k), np.tile(1e4 * np.eye(3), (31 - k, 1, 1))) for k in K}
    motions[5][0][12] += 1.0
    solved, _ = fuse_intervals(motions, 30, Prior(np.full(3, 10.0)))
    plain, _ = dense(motions, 30, PRIOR)
    assert np.abs(solved - steps).max() < 0.25 * np.abs(plain - steps).max()


def test_steps_of_which_nothing_is_known_stay_at_zero_with_the_variance_of_the_prior() -> None:
    nothing = {k: (np.ones((12 - k + 1, 3)), np.zeros((12 - k + 1, 3, 3))) for k in (1, 2)}
    solved, covariance = fuse_intervals(nothing, 12, PRIOR)
    np.testing.assert_allclose(solved, 0.0, atol=1e-12)
    np.testing.assert_allclose(covariance, np.tile(np.diag(PRIOR.step**2), (12, 1, 1)), atol=1e-9)


def test_a_screen_that_stood_still_for_hours_leaves_the_covariance_sound() -> None:
    spans = np.ones(300, np.int64)
    spans[150] = 10**9
    pairs = {k: (0 * m, known) for k, (m, known) in measured(np.zeros((300, 3))).items()}
    for k, (_, known) in pairs.items():
        known[151 - k : 151] = 0
    steps, covariance = fuse_intervals(pairs, 300, Prior(np.full(3, 0.5), spans=spans))
    np.testing.assert_allclose(steps, 0.0, atol=1e-9)
    assert np.linalg.eigvalsh(covariance).min() > 0
    assert covariance[150, 0, 0] > 100**2


def test_many_screens_that_stood_still_leave_the_covariance_sound() -> None:
    """Pairs may be very sure, and where neighbours fall short single steps are hardly held."""
    count, sure = 1500, np.diag([0.003, 5e-5, 5e-5]) ** 2
    spans = np.ones(count, np.int64)
    spans[30::35] = 1000
    pairs = {}
    for k in (1, 2, 4, 8):
        beside = np.convolve(spans > 1, np.ones(k), "valid") > 0
        known = np.where(beside[:, None, None], 0.0, np.linalg.inv(sure) / k)
        pairs[k] = np.zeros((len(known), 3)), known
    step = np.array([1.0, np.radians(1.0), np.radians(1.0)])
    _, covariance = fuse_intervals(pairs, count, Prior(4 * step, 2 * step, spans))
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_an_error_of_every_pair_adds_its_variance_to_theirs() -> None:
    motions = measured(np.random.default_rng(4).normal(size=(12, 3)))
    sd = np.array([0.1, 0.2, 0.3])
    for k, (motion, known) in with_error(motions, sd).items():
        np.testing.assert_array_equal(motion, motions[k][0])
        lost = np.linalg.inv(known) - np.linalg.inv(motions[k][1])
        np.testing.assert_allclose(lost, np.tile(np.diag(sd**2), (len(known), 1, 1)), atol=1e-8)


def test_pairs_that_share_their_error_tell_no_more_than_pairs_side_by_side() -> None:
    """Of 40 steps, 33 pairs over 8 count as 33 / 8, about as many as fit side by side."""
    known = {k: (np.zeros((41 - k, 3)), np.tile(np.eye(3), (41 - k, 1, 1))) for k in (1, 8)}
    shared = with_shared_error(known)
    np.testing.assert_array_equal(shared[1][1], known[1][1])
    np.testing.assert_allclose(shared[8][1].sum(axis=0), 33 / 8 * np.eye(3))
