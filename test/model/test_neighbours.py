"""Neighbours that fall short: told by frames two apart, made longer, and hardly believed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.fusion import sums_of_steps
from model.neighbours import DOUBT, in_full, shortfall

Array = NDArray[np.float64]
MM = np.array([20.0, 1.0, 1.0])


def measured(share: float, seed: int = 0, noise: float = 0.0) -> dict[int, tuple[Array, Array]]:
    """Motions of a hand over one frame and two, of which neighbours show a share."""
    rng = np.random.default_rng(seed)
    steps = np.array([0.005, 0.2, 0.1]) * rng.normal(size=(60, 3))
    motions = {1: share * steps, 2: sums_of_steps(steps, 2)}
    known = {k: np.tile(np.eye(3), (len(m), 1, 1)) for k, m in motions.items()}
    noisy = {k: m + noise * rng.normal(size=m.shape) / MM for k, m in motions.items()}
    return {k: (noisy[k], known[k]) for k in motions}


@given(st.floats(0.3, 1.2), st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_the_factor_is_what_neighbours_lack(share: float, seed: int) -> None:
    assert shortfall(measured(share, seed), MM) == pytest.approx(1 / share, rel=1e-9)


def test_the_sign_of_motions_over_two_frames_does_not_matter() -> None:
    motions = measured(0.6)
    motions[2][0][::3] *= -1
    assert shortfall(motions, MM) == pytest.approx(1 / 0.6)


def test_noise_is_not_taken_for_a_shortfall() -> None:
    for seed in range(10):
        assert shortfall(measured(1.0, seed, noise=0.2), MM) < 1.05


def test_a_frame_with_a_fault_makes_no_neighbours_fall_short() -> None:
    motions = measured(1.0)
    motions[1][0][30:32, 1] += [4.0, -4.0]
    motions[2][0][29, 1] += 9.0
    motions[2][0][31, 1] -= 9.0
    assert shortfall(motions, MM) == pytest.approx(1.0, abs=0.01)


def test_pairs_that_show_nothing_say_nothing_of_neighbours() -> None:
    motions = measured(0.6)
    for k, (motion, known) in motions.items():
        motion[20:55], known[20:55] = 0 if k == 2 else 5.0, 0
    assert shortfall(motions, MM) == pytest.approx(1 / 0.6)
    nothing = {k: (motion, 0 * known) for k, (motion, known) in motions.items()}
    assert shortfall(nothing, MM) == 1.0


def test_where_no_two_frames_are_two_apart_nothing_falls_short() -> None:
    assert shortfall({1: measured(0.5)[1]}, MM) == 1.0


def test_a_scan_that_stands_still_gives_a_finite_factor() -> None:
    motions = {k: (0 * motion, known) for k, (motion, known) in measured(0.5).items()}
    assert np.isfinite(shortfall(motions, MM))


def test_motions_that_are_made_longer_are_doubted_more_than_in_proportion() -> None:
    motion, known = measured(0.5)[1]
    longer, doubted = in_full((motion, known), 2.0)
    np.testing.assert_allclose(longer, 2 * motion)
    np.testing.assert_allclose(doubted, known / (2 * DOUBT) ** 2)
