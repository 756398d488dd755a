from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from strategies import coordinates, transforms

from tusrec import poses
from tusrec.errors import InputError

Array = NDArray[np.float64]
Refused = Callable[..., AbstractContextManager[None]]
TOLERANCE = 1e-8  # of float64 products of lengths up to some 1,000 mm


def rotation_about_z(angle: float) -> Array:
    return poses.exp(np.array([0, 0, angle, 0, 0, 0]))


@given(coordinates(4))
def test_log_undoes_exp(xi: Array) -> None:
    np.testing.assert_allclose(poses.log(poses.exp(xi)), xi, atol=1e-6)


@given(transforms(4, rotation=np.pi))
def test_exp_undoes_log_for_any_rotation(T: Array) -> None:
    np.testing.assert_allclose(poses.exp(poses.log(T)), T, atol=1e-6)


@given(transforms(4, rotation=np.pi))
def test_exp_gives_rigid_transforms(T: Array) -> None:
    R = T[:, :3, :3]
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.tile(np.eye(3), (4, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(R), 1.0)
    np.testing.assert_array_equal(T[:, 3], np.tile([0.0, 0.0, 0.0, 1.0], (4, 1)))


def test_exp_orders_rotation_before_translation() -> None:
    T = poses.exp(np.array([0, 0, np.pi / 2, 0, 0, 5]))
    np.testing.assert_allclose(T @ [1, 0, 0, 1], [0, 1, 5, 1], atol=1e-12)


def test_exp_and_log_keep_leading_axes() -> None:
    xi = np.random.default_rng(0).normal(size=(2, 3, 6))
    T = poses.exp(xi)
    assert T.shape == (2, 3, 4, 4)
    np.testing.assert_allclose(poses.log(T), xi, atol=1e-9)
    assert poses.log(T[0, 0]).shape == (6,)


@given(transforms(6))
def test_unchain_undoes_chain(T_previous_from_frame: Array) -> None:
    local = poses.unchain(poses.chain(T_previous_from_frame))
    np.testing.assert_allclose(local, T_previous_from_frame, atol=TOLERANCE)


@given(transforms(6))
def test_chain_undoes_unchain(T_first_from_frame: Array) -> None:
    chained = poses.chain(poses.unchain(T_first_from_frame))
    np.testing.assert_allclose(chained, T_first_from_frame, atol=TOLERANCE)


def test_chain_applies_the_last_motion_first() -> None:
    step = np.eye(4)
    step[0, 3] = 2.0
    chained = poses.chain(np.stack([rotation_about_z(np.pi / 2), step]))
    np.testing.assert_allclose(chained[1] @ [0, 0, 0, 1], [0, 2, 0, 1], atol=1e-12)


@given(transforms(5), transforms(1))
def test_global_truth_is_the_chain_of_local_truth(tracked: Array, rigid: Array) -> None:
    chained = poses.chain(poses.relative_to_previous(tracked, rigid[0]))
    np.testing.assert_allclose(poses.relative_to_first(tracked, rigid[0]), chained, atol=1e-7)


@given(transforms(5), transforms(1))
def test_relative_transforms_lead_to_the_same_place_in_the_room(
    tracked: Array, rigid: Array
) -> None:
    T_camera_from_image = tracked @ rigid[0]
    point = np.array([12.0, -34.0, 5.0, 1.0])
    in_room = T_camera_from_image[1:] @ point
    for T_other_from_frame, others in [
        (poses.relative_to_first(tracked, rigid[0]), T_camera_from_image[[0] * 4]),
        (poses.relative_to_previous(tracked, rigid[0]), T_camera_from_image[:-1]),
    ]:
        moved = np.einsum("mij,mj->mi", others, T_other_from_frame @ point)
        np.testing.assert_allclose(moved, in_room, atol=1e-7)


@given(transforms(5), transforms(1))
def test_tracked_poses_come_back_from_relative_ones(relative: Array, rigid: Array) -> None:
    tracked = poses.tracked_from_relative(relative, rigid[0])
    assert tracked.shape == (6, 4, 4)
    np.testing.assert_allclose(tracked[0], np.eye(4), atol=TOLERANCE)
    np.testing.assert_allclose(poses.relative_to_first(tracked, rigid[0]), relative, atol=1e-7)


@given(transforms(5), transforms(1))
def test_tracked_poses_come_back_up_to_the_place_of_the_camera(
    tracked: Array, rigid: Array
) -> None:
    relative = poses.relative_to_first(tracked, rigid[0])
    back = poses.tracked_from_relative(relative, rigid[0])
    np.testing.assert_allclose(tracked[0] @ back, tracked, atol=1e-6)


@given(transforms(3))
def test_projection_leaves_rigid_transforms_alone(T: Array) -> None:
    np.testing.assert_allclose(poses.project_to_rigid(T), T, atol=1e-12)


@given(arrays(np.float64, (3, 4, 4), elements=st.floats(-3, 3)))
def test_projection_gives_rigid_transforms_and_is_idempotent(matrices: Array) -> None:
    projected = poses.project_to_rigid(matrices)
    poses.require_rigid(projected, "projection")
    np.testing.assert_allclose(poses.project_to_rigid(projected), projected, atol=1e-9)
    np.testing.assert_array_equal(projected[:, :3, 3], matrices[:, :3, 3])


@given(arrays(np.float64, (4, 4), elements=st.floats(-3, 3)), transforms(8, rotation=np.pi))
def test_no_other_rotation_is_nearer_than_the_projection(matrix: Array, others: Array) -> None:
    nearest = poses.project_to_rigid(matrix)[:3, :3]
    close = poses.exp(0.01 * poses.log(others))[:, :3, :3] @ nearest
    distances = [np.linalg.norm(R - matrix[:3, :3]) for R in (nearest, *close, *others[:, :3, :3])]
    assert distances[0] <= min(distances[1:]) + 1e-9


@given(transforms(3))
def test_the_elevational_mirror_is_its_own_inverse(T: Array) -> None:
    np.testing.assert_array_equal(poses.mirror_elevation(poses.mirror_elevation(T)), T)


@given(coordinates(3))
def test_the_mirror_turns_elevation_tilt_and_turn_and_keeps_the_rest(xi: Array) -> None:
    mirrored = poses.log(poses.mirror_elevation(poses.exp(xi)))
    np.testing.assert_allclose(mirrored, xi * [-1, -1, 1, 1, 1, -1], atol=1e-6)


@given(transforms(5))
def test_a_mirrored_chain_is_the_chain_of_mirrored_motions(local: Array) -> None:
    mirrored = poses.chain(poses.mirror_elevation(local))
    np.testing.assert_allclose(mirrored, poses.mirror_elevation(poses.chain(local)), atol=TOLERANCE)


@given(transforms(1), arrays(np.float64, (2, 3), elements=st.floats(-100, 100)))
def test_about_point_describes_the_same_motion_from_another_origin(T: Array, points: Array) -> None:
    origin, point = points
    moved = T[0] @ [*point, 1.0]
    moved_about = poses.about_point(T[0], origin) @ [*(point - origin), 1.0]
    np.testing.assert_allclose(moved_about[:3] + origin, moved[:3], atol=TOLERANCE)


def test_a_turn_about_a_point_has_no_translation_there() -> None:
    centre = np.array([70.0, 50.0, 0.0])
    T = poses.about_point(rotation_about_z(0.3), -centre)
    assert np.linalg.norm(T[:3, 3]) > 20
    expected = rotation_about_z(0.3)
    np.testing.assert_allclose(poses.about_point(T, centre), expected, atol=1e-12)


@given(arrays(np.float64, 3, elements=st.floats(-50, 50)))
def test_a_moved_origin_changes_a_small_motion_as_the_full_transform_does(shift: Array) -> None:
    xi = np.array([2e-5, -1e-5, 3e-5, 1e-4, 2e-4, -1e-4])
    expected = poses.log(poses.about_point(poses.exp(xi), shift))
    np.testing.assert_allclose(poses.moved_origin(shift) @ xi, expected, atol=1e-6)


@given(transforms(3, rotation=np.pi))
def test_tracked_poses_rounded_to_four_digits_pass_as_rigid(T: Array) -> None:
    poses.require_rigid(T.round(4), "poses")


def not_a_number(T: Array) -> None:
    T[2, 0, 3] = np.nan


def infinite(T: Array) -> None:
    T[2, 1, 1] = np.inf


def scaled(T: Array) -> None:
    T[2, :3, :3] *= 1.01


def not_homogeneous(T: Array) -> None:
    T[2, 3, 3] = 1.0001


def reflected(T: Array) -> None:
    T[2, :3, 2] *= -1


def transposed(T: Array) -> None:
    T[2] = T[2].T


def zero(T: Array) -> None:
    T[2] = 0.0


@pytest.mark.parametrize(
    "spoil", [not_a_number, infinite, scaled, not_homogeneous, reflected, transposed, zero]
)
def test_a_matrix_that_is_not_rigid_is_refused_by_its_index(
    spoil: Callable[[Array], None], refused: Refused
) -> None:
    T = poses.exp(np.random.default_rng(0).normal(size=(4, 6)))
    poses.require_rigid(T, "poses")
    spoil(T)
    with refused("poses 2", "rigid", "expected", kind=InputError):
        poses.require_rigid(T, "poses")
