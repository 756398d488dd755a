"""Intervals of a scan held against each other, within the picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.agreement import SHIFTS, TRUST, doubt, in_agreement, ratio
from model.canonical import Canvas
from model.cells import ACROSS, IN_PLANE

Array = NDArray[np.float64]
Pairs = dict[int, tuple[Array, Array]]

NOISE = np.array([0.001, 0.001, 0.0002, 0.005, 0.003, 0.02])  # rad and mm, Laplace scales
LATERAL, AXIAL = SHIFTS


@pytest.fixture
def canvas() -> Canvas:
    frames = np.random.default_rng(0).integers(0, 256, (8, 120, 160)).astype(np.uint8)
    return Canvas.of(frames, np.ones((120, 160), bool), (0.5, 0.5))


def measured(frames: int = 400, seed: int = 0, claimed: float = 1.0) -> Pairs:
    """Motions over 1, 2, 4 and 8 frames of a hand that goes on and sways, with noise.

    claimed: the scales given, over those of the noise.
    """
    rng = np.random.default_rng(seed)
    sway = np.sin(np.arange(frames - 1)[:, None] / rng.uniform(8, 15, 6))
    steps = np.array([0.004, 0.003, 0.003, 0.2, 0.1, 0.15]) * (0.5 + sway)
    places, pairs = np.concatenate([np.zeros((1, 6)), steps.cumsum(axis=0)]), {}
    for k in (1, 2, 4, 8):
        if k < frames:
            motion = places[k:] - places[:-k]
            noisy = motion + NOISE * rng.laplace(size=motion.shape)
            pairs[k] = noisy, np.tile(claimed * NOISE, (len(motion), 1))
    return pairs


def shortened(pairs: Pairs, share: float, place: int = LATERAL) -> Pairs:
    """With neighbours that show a share of one of their motions."""
    motion, scale = pairs[1]
    motion = motion.copy()
    motion[:, place] *= share
    return {**pairs, 1: (motion, scale)}


@given(st.floats(0.88, 0.97), st.sampled_from(SHIFTS), st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_the_factor_is_what_neighbours_lack_along_one_axis(
    share: float, place: int, seed: int
) -> None:
    pairs = shortened(measured(seed=seed), share, place)
    expected = [1 / share if shift == place else 1.0 for shift in SHIFTS]
    np.testing.assert_allclose(ratio(pairs[1], pairs[2]), expected, rtol=0.01)


def test_neighbours_that_fall_short_are_made_longer_and_no_other_motion_is(canvas: Canvas) -> None:
    pairs = measured()
    found = in_agreement(shortened(pairs, 0.9), canvas)
    np.testing.assert_allclose(found[1][0], pairs[1][0], rtol=0.01)
    for k in (2, 4, 8):
        np.testing.assert_array_equal(found[k][0], pairs[k][0])


def test_motions_that_are_seen_in_full_stay_as_they_are(canvas: Canvas) -> None:
    for seed in range(5):
        pairs = measured(seed=seed)
        for k, (motion, _) in in_agreement(pairs, canvas).items():
            np.testing.assert_array_equal(motion, pairs[k][0])


def test_neighbours_that_show_half_are_left_to_those_who_doubt_them(canvas: Canvas) -> None:
    pairs = shortened(shortened(measured(), 0.5), 0.5, AXIAL)
    np.testing.assert_array_equal(in_agreement(pairs, canvas)[1][0], pairs[1][0])


def test_a_few_pairs_that_are_far_off_do_not_change_the_factor() -> None:
    pairs = shortened(measured(), 0.9)
    pairs[2][0][::20, LATERAL] += 5.0
    assert ratio(pairs[1], pairs[2])[0] == pytest.approx(1 / 0.9, rel=0.02)


def test_a_scan_of_few_frames_hardly_tells_what_neighbours_lack() -> None:
    few = shortened(measured(frames=6), 0.9)
    assert 1 <= ratio(few[1], few[2])[0] < 1 / 0.9
    pairs = shortened(measured(frames=4), 0.9)
    np.testing.assert_array_equal(ratio(pairs[1], pairs[2]), 1)


@pytest.mark.parametrize("interval", [1, 2, 4])
def test_intervals_that_disagree_more_than_they_were_unsure_by_are_doubted(interval: int) -> None:
    right, too_sure = (measured(claimed=claimed) for claimed in (1.0, 1 / 3))
    doubts = [doubt(pairs[interval], pairs[2 * interval], interval) for pairs in (right, too_sure)]
    np.testing.assert_allclose(doubts[1] / doubts[0], 3**TRUST, rtol=0.1)


def test_the_motion_across_the_picture_keeps_its_scales(canvas: Canvas) -> None:
    pairs = measured(claimed=0.2)
    for k, (_, scale) in in_agreement(pairs, canvas).items():
        np.testing.assert_array_equal(scale[:, ACROSS], pairs[k][1][:, ACROSS])
        assert (scale[:, IN_PLANE] > pairs[k][1][:, IN_PLANE]).all()


def test_pairs_that_tell_nothing_go_on_telling_nothing_and_change_nothing_else(
    canvas: Canvas,
) -> None:
    pairs = shortened(measured(), 0.9)
    for motion, scale in pairs.values():
        motion[50:60], scale[50:60] = 9.0, np.inf
    found = in_agreement(pairs, canvas)
    for _, scale in found.values():
        assert np.isinf(scale[50:60]).all()
        assert np.isfinite(np.delete(scale, np.s_[50:60], axis=0)).all()
    assert found[1][0][0, LATERAL] == pytest.approx(pairs[1][0][0, LATERAL] / 0.9, rel=0.02)


@pytest.mark.parametrize("frames", [2, 3, 4, 9, 17])
def test_scans_of_any_length_are_taken(frames: int, canvas: Canvas) -> None:
    pairs = measured(frames=frames)
    found = in_agreement(pairs, canvas)
    assert found.keys() == pairs.keys()
    for k, (motion, scale) in found.items():
        assert motion.shape == scale.shape == pairs[k][0].shape
        assert np.isfinite(motion).all()
        assert (scale > 0).all()


def test_a_scan_that_stands_still_keeps_scales_above_nought(canvas: Canvas) -> None:
    still = {k: (0 * motion, scale) for k, (motion, scale) in measured().items()}
    for k, (motion, scale) in in_agreement(still, canvas).items():
        assert (motion == 0).all()
        assert (scale > 0.3 * still[k][1]).all()
