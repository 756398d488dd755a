import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import transforms

from tusrec import metrics, poses
from tusrec.displacements import dense_displacements
from tusrec.metrics import Errors, Geometry, Motion

Array = NDArray[np.float64]
SCALE = np.diag([0.229389190673828, 0.220979690551758, 1.0, 1.0])
NO_LANDMARKS = np.empty((0, 3), np.int64)
LANDMARKS = np.array([[0, 1, 1], [1, 7, 9], [3, 20, 30], [2, 13, 5]])


def translations(*vectors: tuple[float, float, float]) -> Array:
    T = np.tile(np.eye(4), (len(vectors), 1, 1))
    T[:, :3, 3] = vectors
    return T


def brute_force(predicted: Array, true: Array, geometry: Geometry) -> float:
    """The error as it is defined, through float64 points and three distances a pixel."""
    y, x = np.indices((geometry.height, geometry.width)).reshape(2, -1) + 1.0
    points = geometry.scale @ np.stack([x, y, 0 * x, 0 * x + 1])
    difference = (predicted @ points - true @ points)[:, :3]
    return float(np.sqrt((difference**2).sum(axis=1)).mean())


@given(transforms(3), transforms(3), st.integers(1, 30), st.integers(1, 30))
def test_the_pixel_error_is_the_mean_distance_over_all_pixels(
    predicted: Array, true: Array, height: int, width: int
) -> None:
    geometry = Geometry(SCALE, height, width, NO_LANDMARKS)
    found = metrics.pixel_error(predicted, true, geometry)
    assert found == pytest.approx(brute_force(predicted, true, geometry), rel=0, abs=1e-6)


@given(st.floats(1e-9, 1e-2), transforms(1))
def test_small_errors_are_not_lost_in_rounding(size: float, true: Array) -> None:
    predicted = true @ poses.exp(np.full(6, size))
    geometry = Geometry(SCALE, 48, 64, NO_LANDMARKS)
    found = metrics.pixel_error(predicted, true, geometry)
    assert found == pytest.approx(brute_force(predicted, true, geometry), rel=1e-3, abs=1e-6)


def test_four_pixels_turned_by_half_a_circle_err_by_twice_their_distance() -> None:
    half_turn = poses.exp(np.array([0, 0, np.pi, 0, 0, 0]))[None]
    geometry = Geometry(np.eye(4), 2, 2, NO_LANDMARKS)
    found = metrics.pixel_error(half_turn, np.eye(4)[None], geometry)
    assert found == pytest.approx(2 * (math.sqrt(2) + 2 * math.sqrt(5) + math.sqrt(8)) / 4)


def test_translations_of_3_4_5_and_5_12_13_err_by_their_length() -> None:
    still = translations((0, 0, 0), (0, 0, 0), (0, 0, 0))
    true = Motion(
        translations((3, 4, 0), (0, 3, 4), (4, 0, -3)),
        translations((5, 12, 0), (0, 5, 12), (-12, 0, 5)),
    )
    geometry = Geometry(SCALE, 30, 20, LANDMARKS)
    found = metrics.errors(Motion(still, still), true, geometry)
    assert vars(found) == pytest.approx({"GPE": 5, "GLE": 5, "LPE": 13, "LLE": 13})


def test_the_pixel_error_is_the_mean_over_frames_too() -> None:
    still = translations((0, 0, 0), (0, 0, 0))
    geometry = Geometry(SCALE, 30, 20, NO_LANDMARKS)
    found = metrics.pixel_error(still, translations((1, 0, 0), (0, 0, 3)), geometry)
    assert found == pytest.approx(2.0)


def test_a_landmark_on_frame_f_reads_the_row_of_that_frame() -> None:
    still = translations((0, 0, 0), (0, 0, 0), (0, 0, 0))
    true = translations((1, 0, 0), (0, 10, 0), (0, 0, 100))  # frames 1, 2 and 3
    for frame, expected in [(1, 1), (2, 10), (3, 100), (0, 100)]:
        geometry = Geometry(SCALE, 30, 20, np.array([[frame, 5, 5]]))
        assert metrics.landmark_error(still, true, geometry) == pytest.approx(expected)


@given(transforms(3), transforms(3))
def test_landmark_errors_are_those_of_the_dense_fields_at_the_landmarks(
    predicted: Array, true: Array
) -> None:
    geometry = Geometry(SCALE, 30, 20, LANDMARKS)
    fields = [dense_displacements(T, SCALE, 30, 20).astype(float) for T in (predicted, true)]
    frame, x, y = LANDMARKS.T
    found, expected = (field[frame - 1, :, (y - 1) * 20 + x - 1] for field in fields)
    distances = np.linalg.norm(found - expected, axis=1)
    error = metrics.landmark_error(predicted, true, geometry)
    assert error == pytest.approx(distances.mean(), abs=2e-4)


def test_without_landmarks_their_errors_are_nan() -> None:
    geometry = Geometry(SCALE, 30, 20, NO_LANDMARKS)
    still = metrics.identity(4)
    found = metrics.errors(still, still, geometry)
    assert math.isnan(found.GLE)
    assert math.isnan(found.LLE)
    assert found.GPE == found.LPE == 0.0


def test_identity_has_one_motion_less_than_frames() -> None:
    still = metrics.identity(4)
    for T in (still.T_first_from_frame, still.T_previous_from_frame):
        np.testing.assert_array_equal(T, np.tile(np.eye(4), (3, 1, 1)))


@given(transforms(3))
def test_the_truth_scores_one_and_identity_scores_zero(local: Array) -> None:
    local = local @ translations((0.5, 0, 0))  # never no motion at all
    truth = Motion(poses.chain(local), local)
    geometry = Geometry(SCALE, 30, 20, LANDMARKS)
    largest = metrics.errors(metrics.identity(4), truth, geometry)
    of_truth = metrics.errors(truth, truth, geometry)
    assert max(vars(of_truth).values()) < 1e-3
    scores = metrics.scores(of_truth, largest)
    assert min(vars(scores).values()) == pytest.approx(1.0, abs=5e-4)
    assert set(vars(metrics.scores(largest, largest)).values()) == {0.0}


def test_scores_are_means_of_the_errors_they_are_named_after() -> None:
    found = Errors(GPE=1.0, GLE=2.0, LPE=0.3, LLE=0.8)
    largest = Errors(GPE=10.0, GLE=10.0, LPE=1.0, LLE=1.0)  # scores .9 .8 .7 .2
    assert vars(metrics.scores(found, largest)) == pytest.approx(
        {"final": 0.65, "global_": 0.85, "local": 0.45, "pixel": 0.8, "landmark": 0.5}
    )


@given(transforms(1))
def test_a_scan_that_was_tracked_at_one_place_has_no_scores(place: Array) -> None:
    """Rounding leaves some 1e-14 mm of the way from a pose to itself."""
    tracked = np.tile(place, (4, 1, 1))
    still = poses.inverse(tracked[:1]) @ tracked[1:]
    geometry = Geometry(SCALE, 30, 20, LANDMARKS)
    largest = metrics.errors(metrics.identity(4), Motion(still, still), geometry)
    drifted = metrics.errors(
        Motion(*[translations((1, 0, 0), (2, 0, 0), (3, 0, 0))] * 2), Motion(still, still), geometry
    )
    assert np.isnan(list(vars(metrics.scores(drifted, largest)).values())).all()


def test_an_error_above_that_of_identity_scores_below_zero() -> None:
    scores = metrics.scores(Errors(30, 5, 1, 1), Errors(10, 10, 1, 1))
    assert scores.global_ == pytest.approx((-2 + 0.5) / 2)


def test_missing_landmarks_are_left_out_of_the_scores() -> None:
    nan = float("nan")
    scores = metrics.scores(Errors(1.0, nan, 0.3, nan), Errors(10.0, nan, 1.0, nan))
    assert (scores.final, scores.global_, scores.local) == pytest.approx((0.8, 0.9, 0.7))
    assert scores.pixel == pytest.approx(0.8)
    assert math.isnan(scores.landmark)


def test_a_scan_that_did_not_move_has_no_score() -> None:
    scores = metrics.scores(Errors(1, 1, 1, 1), Errors(0, 0, 0, 0))
    assert all(math.isnan(score) for score in vars(scores).values())
