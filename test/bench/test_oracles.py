"""What the truth tells a prediction: signs, scales and means, and nothing more."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.oracles import chained, with_true_bias, with_true_scale, with_true_signs
from tusrec import metrics, poses
from tusrec.metrics import Geometry

GEOMETRY = Geometry(np.diag([0.23, 0.22, 1.0, 1.0]), 60, 80, np.empty((0, 3), np.int64))
STEPS = 12
seeds = st.integers(0, 2**32 - 1)


def freedoms(seed: int) -> np.ndarray:
    spread = [0.01] * 3 + [0.3] * 3
    return np.random.default_rng(seed).normal(scale=spread, size=(STEPS, 6))


def motions(xi: np.ndarray) -> np.ndarray:
    """Steps (M, 4, 4) of freedoms about the image's centre."""
    return poses.about_point(poses.exp(xi), -GEOMETRY.centre_mm)


@given(seed=seeds, mirrored=st.lists(st.booleans(), min_size=STEPS, max_size=STEPS))
@settings(max_examples=25)
def test_true_signs_undo_any_pattern_of_mirrored_steps(seed: int, mirrored: list[bool]) -> None:
    true = motions(freedoms(seed))
    turned = np.where(np.array(mirrored)[:, None, None], poses.mirror_elevation(true), true)
    np.testing.assert_allclose(with_true_signs(turned, true, GEOMETRY), true, atol=1e-9)


@given(seed=seeds, scale=st.lists(st.floats(0.2, 5.0), min_size=6, max_size=6))
@settings(max_examples=25)
def test_true_scale_finds_the_number_of_each_freedom(seed: int, scale: list[float]) -> None:
    xi = freedoms(seed)
    found = with_true_scale(motions(xi * scale), motions(xi), GEOMETRY)
    np.testing.assert_allclose(found, motions(xi), atol=1e-9)


def test_no_motion_stays_none_whatever_the_scale() -> None:
    still = np.tile(np.eye(4), (STEPS, 1, 1))
    found = with_true_scale(still, motions(freedoms(0)), GEOMETRY)
    np.testing.assert_allclose(found, still, atol=1e-12)


@given(seed=seeds)
@settings(max_examples=25)
def test_true_bias_takes_away_what_every_step_has_in_common(seed: int) -> None:
    xi = freedoms(seed)
    found = with_true_bias(motions(xi + 0.1 * freedoms(seed + 1)[0]), motions(xi), GEOMETRY)
    np.testing.assert_allclose(found, motions(xi), atol=1e-9)


def test_true_signs_leave_the_sizes_as_they_are() -> None:
    true = motions(freedoms(0))
    found = with_true_signs(motions(0.5 * freedoms(1)), true, GEOMETRY)
    np.testing.assert_allclose(
        np.abs(poses.log(found)), np.abs(poses.log(motions(0.5 * freedoms(1)))), atol=1e-9
    )


def test_a_chain_of_true_steps_has_no_error() -> None:
    true = chained(motions(freedoms(0)))
    assert metrics.errors(chained(motions(freedoms(0))), true, GEOMETRY).GPE == 0.0
