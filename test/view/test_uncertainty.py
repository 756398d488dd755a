import numpy as np
import pytest
from numpy.typing import NDArray

from tusrec import poses
from view.uncertainty import position_deviation

Array = NDArray[np.float64]
CENTRE = np.array([70.0, 50.0, 0.0])


def motions(count: int, seed: int) -> Array:
    steps = np.random.default_rng(seed).normal(size=(count, 6)) * [0.05, 0.05, 0.05, 1, 1, 1]
    return poses.exp(steps)


def test_position_errors_alone_add_up_as_the_root_of_the_number_of_frames() -> None:
    covariance = np.tile(np.diag([0, 0, 0, 0.01, 0.04, 0.04]), (9, 1, 1))
    deviation = position_deviation(motions(9, 1), covariance, CENTRE)
    assert deviation is not None
    np.testing.assert_allclose(deviation, 0.3 * np.sqrt(np.arange(1, 10)))


def test_a_turn_in_doubt_swings_all_that_follows() -> None:
    covariance = np.zeros((4, 6, 6))
    covariance[0, 1, 1] = 0.01**2  # only the first motion, about y
    steps = np.zeros((4, 6))
    steps[:, 5] = 10.0  # mm along z
    deviation = position_deviation(poses.exp(steps), covariance, CENTRE)
    assert deviation is not None
    np.testing.assert_allclose(deviation, [0.0, 0.1, 0.2, 0.3], atol=1e-12)


def test_the_deviation_is_that_of_sampled_trajectories() -> None:
    random = np.random.default_rng(3)
    root = random.normal(size=(6, 6, 6)) * np.array([2e-3] * 3 + [0.05] * 3)[:, None]
    covariance = root @ root.transpose(0, 2, 1)
    local = motions(6, 2)
    expected = position_deviation(local, covariance, CENTRE)
    about_centre = poses.about_point(local, CENTRE)
    places = []
    for _ in range(4000):
        errors = np.einsum("nij,nj->ni", root, random.normal(size=(6, 6)))
        places.append(poses.chain(about_centre @ poses.exp(errors))[:, :3, 3])
    spread = np.sqrt(np.var(places, axis=0).sum(axis=1))
    assert expected is not None
    np.testing.assert_allclose(expected, spread, rtol=0.04)


@pytest.mark.parametrize("value", [0.0, np.inf, np.nan])
def test_an_estimator_that_does_not_say_how_sure_it_is_gets_no_deviation(value: float) -> None:
    assert position_deviation(motions(3, 0), np.full((3, 6, 6), value), CENTRE) is None
