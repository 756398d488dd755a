import math

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray
from strategies import transforms

from tusrec import comparison, metrics, poses
from tusrec.comparison import FREEDOMS, Truth, compare
from tusrec.metrics import Geometry, Motion

Array = NDArray[np.float64]
GEOMETRY = Geometry(np.diag([0.2, 0.3, 1.0, 1.0]), 40, 60, np.array([[1, 5, 5], [4, 50, 30]]))
CENTRE = np.array([6.1, 6.15, 0.0])  # pixel (30.5, 20.5)


def moved(local: Array) -> Motion:
    return Motion(poses.chain(local), local)


def translations(steps: int, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Motion:
    T = np.tile(np.eye(4), (steps, 1, 1))
    T[:, :3, 3] = [x, y, z]
    return moved(T)


def wandering(steps: int = 30, seed: int = 0) -> Motion:
    mean, spread = [0, 0, 0, 0, 0, 0.2], [0.01, 0.01, 0.01, 0.3, 0.3, 0.3]
    xi = np.random.default_rng(seed).normal(mean, spread, size=(steps, 6))
    return moved(poses.exp(xi))


def about_centre(xi: Array) -> Array:
    """Motions (M, 4, 4) of exponential coordinates (M, 6) about the image centre."""
    return poses.about_point(poses.exp(xi), -CENTRE)


def test_the_truth_scores_one_with_slopes_and_correlations_of_one() -> None:
    truth = wandering()
    found = compare(truth, Truth(truth, GEOMETRY))
    assert max(vars(found.errors).values()) < 1e-3
    assert list(vars(found.scores).values()) == pytest.approx([1.0] * 5, abs=5e-4)
    assert list(found.slopes.values()) == pytest.approx([1.0] * 6)
    assert list(found.correlations.values()) == pytest.approx([1.0] * 6)
    assert found.final_drift_mm == 0.0


def test_identity_scores_zero_and_drifts_by_the_whole_way() -> None:
    found = compare(metrics.identity(11), Truth(translations(10, z=1.0), GEOMETRY))
    assert set(vars(found.scores).values()) == {0.0}
    assert found.final_drift_mm == pytest.approx(10.0)
    assert found.drift_percent == pytest.approx(100.0)


def test_a_scan_shrunk_by_a_tenth_drifts_by_a_tenth() -> None:
    found = compare(translations(10, z=0.9), Truth(translations(10, z=1.0), GEOMETRY))
    assert found.final_drift_mm == pytest.approx(1.0)
    assert found.drift_percent == pytest.approx(10.0)
    assert found.scores.final == pytest.approx(0.9)


def test_drift_is_taken_of_the_path_and_not_of_the_way_as_the_crow_flies() -> None:
    there_and_back = np.concatenate(
        [translations(5, x=s).T_previous_from_frame for s in (1.0, -1.0)]
    )
    found = compare(translations(10, x=0.1), Truth(moved(there_and_back), GEOMETRY))
    assert found.final_drift_mm == pytest.approx(1.0)
    assert found.drift_percent == pytest.approx(10.0)


def test_a_scan_without_motion_has_no_drift_in_percent() -> None:
    found = compare(translations(5, x=1.0), Truth(metrics.identity(6), GEOMETRY))
    assert found.final_drift_mm == pytest.approx(5.0)
    assert math.isnan(found.drift_percent)


@pytest.mark.parametrize(
    ("name", "place"),
    [("lateral", 3), ("axial", 4), ("elevational", 5), ("rock", 2), ("tilt", 0), ("turn", 1)],
)
def test_each_freedom_is_named_after_its_axis_about_the_image_centre(name: str, place: int) -> None:
    xi = np.zeros((1, 6))
    xi[0, place] = 0.25
    expected = np.zeros(6)
    expected[FREEDOMS.index(name)] = 0.25
    assert GEOMETRY.centre_mm == pytest.approx(CENTRE)
    found = comparison.freedoms(about_centre(xi), CENTRE)[0]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_slope_of_one_freedom_is_found_apart_from_the_others() -> None:
    xi = np.random.default_rng(0).normal(size=(40, 6)) * ([0.01] * 3 + [0.3] * 3)
    shrunk = xi * [0.1, 1, 1, 1, 1, 0.6]  # of tilt a tenth is seen, of elevation 0.6
    found = compare(moved(about_centre(shrunk)), Truth(moved(about_centre(xi)), GEOMETRY))
    expected = dict.fromkeys(FREEDOMS, 1.0) | {"tilt": 0.1, "elevational": 0.6}
    assert found.slopes == pytest.approx(expected)
    assert list(found.correlations.values()) == pytest.approx([1.0] * 6)


def test_slope_and_correlation_have_their_textbook_values() -> None:
    x, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0, 5.0])
    assert comparison.slope(x, y) == pytest.approx(1.1)  # 5.5 / 5
    assert comparison.correlation(x, y) == pytest.approx(5.5 / math.sqrt(5 * 8.75))
    assert comparison.correlation(x, -y) == pytest.approx(-5.5 / math.sqrt(5 * 8.75))


def test_a_freedom_that_does_not_vary_has_no_slope_and_no_correlation() -> None:
    still, varied = np.full(4, 0.3), np.array([0.0, 1.0, 2.0, 4.0])
    assert math.isnan(comparison.slope(still, varied))
    assert math.isnan(comparison.correlation(still, varied))
    assert comparison.slope(varied, still) == pytest.approx(0.0)
    assert math.isnan(comparison.correlation(varied, still))
    rounding = 1e-12 * varied
    assert math.isnan(comparison.slope(rounding, varied))
    assert math.isnan(comparison.correlation(rounding, varied))
    assert math.isnan(comparison.correlation(varied, rounding))


def test_constant_motion_of_a_steady_scan_is_the_truth() -> None:
    steady = moved(np.tile(poses.exp(np.array([0.01, 0.02, -0.01, 0.1, 0.2, 0.5])), (8, 1, 1)))
    found = comparison.constant_motion(steady)
    np.testing.assert_allclose(found.T_previous_from_frame, steady.T_previous_from_frame, atol=1e-9)
    np.testing.assert_allclose(found.T_first_from_frame, steady.T_first_from_frame, atol=1e-9)


def test_constant_motion_repeats_the_mean_motion() -> None:
    uneven = np.concatenate([translations(2, z=s).T_previous_from_frame for s in (0.1, 0.5)])
    found = comparison.constant_motion(moved(uneven))
    np.testing.assert_allclose(found.T_previous_from_frame[:, 2, 3], 0.3)
    np.testing.assert_allclose(found.T_first_from_frame[:, 2, 3], [0.3, 0.6, 0.9, 1.2])


@given(transforms(4, rotation=0.5))
def test_the_better_mirror_finds_the_truth_from_either_side(local: Array) -> None:
    truth = moved(local)
    mirrored = moved(poses.mirror_elevation(local))
    for predicted in (truth, mirrored):
        found = comparison.better_mirror(predicted, Truth(truth, GEOMETRY))
        assert max(vars(metrics.errors(found, truth, GEOMETRY)).values()) < 1e-3


def test_the_measures_carry_the_leaderboards_names() -> None:
    measures = compare(wandering(seed=1), Truth(wandering(), GEOMETRY)).measures()
    assert list(measures)[:9] == [
        *("final", "global", "local", "pixel", "landmark"),
        *("GPE", "GLE", "LPE", "LLE"),
    ]
    assert {"drift mm", "drift %", "slope tilt", "correlation elevational"} <= set(measures)
    assert len(measures) == 5 + 4 + 2 + 6 + 6
