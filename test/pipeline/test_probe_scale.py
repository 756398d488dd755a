"""The probe scale: what it changes, and that a fit finds what was put in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.interface import LocalMotions
from pipeline.probe_scale import scaled, sizes_across
from tusrec import poses
from tusrec.metrics import Motion

CENTRE = np.array([70.0, 50.0, 0.0])
small = st.floats(-0.5, 0.5)
xi_of_a_step = st.tuples(*[st.floats(-0.02, 0.02)] * 3, *[small] * 3).map(np.array)


def local_motions(xi: np.ndarray) -> LocalMotions:
    T = poses.about_point(poses.exp(np.atleast_2d(xi)), -CENTRE)
    return LocalMotions(T, np.tile(np.eye(6), (len(T), 1, 1)))


@given(xi=xi_of_a_step, factor=st.floats(0.3, 3))
@settings(max_examples=30, deadline=None)
def test_a_probe_scale_stretches_motion_across_and_leaves_motion_within(
    xi: np.ndarray, factor: float
) -> None:
    T = scaled(local_motions(xi), CENTRE, factor).T_previous_from_frame
    found = poses.log(poses.about_point(T, CENTRE))[0]
    np.testing.assert_allclose(found[[2, 3, 4]], xi[[2, 3, 4]], atol=1e-9)
    np.testing.assert_allclose(found[[0, 1, 5]], factor * xi[[0, 1, 5]], atol=1e-9)


def test_a_probe_scale_stretches_the_uncertainty_too() -> None:
    covariance = scaled(local_motions(np.zeros(6)), CENTRE, 2.0).covariance[0]
    np.testing.assert_allclose(np.diag(covariance), [4, 4, 1, 1, 1, 4])


def test_sizes_tell_the_factor_whatever_the_signs() -> None:
    rng = np.random.default_rng(0)
    xi = np.zeros((40, 6))
    xi[:, 5] = 0.2 + 0.05 * rng.random(40)
    true, shrunk = (poses.about_point(poses.exp(f * xi), -CENTRE) for f in (1.0, 0.5))
    mirrored = poses.mirror_elevation(shrunk)
    predicted, tracked = (Motion(poses.chain(T), T) for T in (mirrored, true))
    sizes = sizes_across(predicted, tracked, CENTRE)
    assert sizes[1] / sizes[0] == pytest.approx(2.0, rel=1e-6)
