"""Pairs of a scan against the truth: of any interval, about the canvas's centre."""

import numpy as np
import pytest

from bench.pairs import INTERVALS, Pairs
from model.canonical import Canvas
from pipeline.prediction import Prediction
from training.measure import NAMES, summary
from tusrec import poses
from tusrec.metrics import Motion

CANVAS = Canvas((10, 110, 20, 180), (200, 300), (0.2, 0.2), (0.4, 0.3))
IMAGE_CENTRE = np.array([16.0, 12.0, 0.0])
SPREAD = np.array([0.004] * 3 + [0.2] * 3)


def local_motions(count: int, seed: int = 0) -> np.ndarray:
    xi = np.random.default_rng(seed).normal(scale=SPREAD, size=(count, 6))
    return poses.about_point(poses.exp(xi), -CANVAS.centre_mm)


def prediction(local: np.ndarray, covariance: np.ndarray) -> Prediction:
    tiled = np.tile(covariance, (len(local), 1, 1))
    return Prediction(Motion(poses.chain(local), local), tiled)


def pairs_of(local: np.ndarray) -> Pairs:
    return Pairs(poses.chain(local), CANVAS, IMAGE_CENTRE)


def test_the_truth_itself_has_no_error_at_any_interval() -> None:
    local = local_motions(20)
    found = pairs_of(local).fused(prediction(local, np.eye(6)))
    assert list(found) == list(INTERVALS)
    assert [len(motions.true) for motions in found.values()] == [20, 19, 17, 13]
    for motions in found.values():
        assert summary(motions)["error"] == pytest.approx(0, abs=1e-9)


def test_a_longer_interval_is_the_product_of_its_steps() -> None:
    local = local_motions(9)
    found = pairs_of(local).fused(prediction(local, np.eye(6)))[8]
    T_first_from_last = np.linalg.multi_dot(local[:8])
    about_centre = poses.about_point(T_first_from_last, CANVAS.centre_mm)
    np.testing.assert_allclose(found.true[0], poses.log(about_centre), atol=1e-9)


def test_a_mirrored_pair_counts_as_right_and_a_measured_one_keeps_its_scale() -> None:
    local = local_motions(6)
    xi = poses.log(poses.about_point(poses.mirror_elevation(local), CANVAS.centre_mm))
    found = pairs_of(local).measured({1: (xi, np.full((6, 6), 0.5)), 3: (xi, xi)})
    assert list(found) == [1]
    assert summary(found[1])["error"] == pytest.approx(0, abs=1e-9)
    assert (found[1].scale == 0.5).all()


def test_intervals_longer_than_the_scan_are_left_out() -> None:
    local = local_motions(3)
    assert list(pairs_of(local).fused(prediction(local, np.eye(6)))) == [1, 2]


def test_intervals_of_a_gaussian_estimate_hold_68_percent() -> None:
    """Errors drawn from the covariance that the prediction claims, about the image's centre."""
    true, spread = local_motions(4000), np.array([0.003] * 3 + [0.05] * 3)
    error = poses.exp(np.random.default_rng(1).normal(scale=spread, size=(4000, 6)))
    wrong = true @ poses.about_point(error, -IMAGE_CENTRE)
    claimed = prediction(wrong, np.diag(spread**2))
    found = summary(pairs_of(true).fused(claimed)[1])
    for name in NAMES:
        assert found[f"cover {name}"] == pytest.approx(0.68, abs=0.05)
