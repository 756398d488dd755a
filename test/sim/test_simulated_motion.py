"""Trajectories: rigid, repeatable, and what the protocols say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import motion
from tusrec import poses

SKIN = motion.Skin(1 / 60, 1 / 500)


def trajectory(name: str, seed: int, frames: int) -> motion.Float64:
    return motion.TRAJECTORIES[name](np.random.default_rng(seed), frames, SKIN)


def local_motions(T: motion.Float64) -> motion.Float64:
    return np.linalg.inv(T[:-1]) @ T[1:]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(motion.TRAJECTORIES)), st.integers(0, 10**6), st.integers(2, 200))
def test_every_pose_of_every_protocol_is_rigid_and_finite(
    name: str, seed: int, frames: int
) -> None:
    T = trajectory(name, seed, frames)
    assert T.shape == (frames, 4, 4)
    poses.require_rigid(T, name)


@pytest.mark.parametrize("name", list(motion.TRAJECTORIES))
def test_the_same_seed_gives_the_same_trajectory_and_another_one_another(name: str) -> None:
    np.testing.assert_array_equal(trajectory(name, 3, 90), trajectory(name, 3, 90))
    assert np.abs(trajectory(name, 3, 90) - trajectory(name, 4, 90)).max() > 1e-3


def test_a_rotation_scan_stays_at_its_contact_point_and_turns_about_90_degrees() -> None:
    T = trajectory("rotation", 0, 1500)
    assert np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1).max() < 2
    assert np.abs(T[:, :2, 3]).max() < 25
    turned = poses.log(np.linalg.inv(T[0]) @ T[-1])[:3]
    assert 60 < np.rad2deg(np.abs(turned[1])) < 115


def test_a_perpendicular_sweep_moves_out_of_plane_and_a_parallel_one_in_plane() -> None:
    for name, axis in (("Per_L_DtP", 2), ("Par_L_DtP", 0)):
        step = local_motions(trajectory(name, 1, 550))[:, :3, 3]
        along = np.abs(step.mean(axis=0))
        assert along.argmax() == axis
        assert along[axis] > 0.2


@pytest.mark.parametrize("shape", ["L", "C", "S"])
@pytest.mark.parametrize("plane", ["Par", "Per"])
def test_a_sweep_goes_along_the_limb_in_the_direction_named(shape: str, plane: str) -> None:
    there = trajectory(f"{plane}_{shape}_DtP", 5, 550)[:, 0, 3]
    back = trajectory(f"{plane}_{shape}_PtD", 5, 550)[:, 0, 3]
    assert there[-1] - there[0] > 100
    assert back[-1] - back[0] < -100


def test_sweeps_are_straight_bowed_to_one_side_or_to_both() -> None:
    y = {s: trajectory(f"Per_{s}_DtP", 2, 550)[:, 1, 3] for s in "LCS"}
    assert np.ptp(y["L"]) < np.ptp(y["C"])
    early, late = y["S"][100:180].mean(), y["S"][-180:-100].mean()
    assert early * late < 0
    assert y["C"][100:180].mean() * y["C"][-180:-100].mean() > 0


@pytest.mark.parametrize("direction", ["DtP", "PtD"])
@pytest.mark.parametrize("shape", ["C", "S"])
@pytest.mark.parametrize(("plane", "ahead"), [("Par", 0), ("Per", 2)])
def test_in_a_bowed_sweep_the_probe_follows_the_direction_of_the_path(
    plane: str, ahead: int, shape: str, direction: str
) -> None:
    slopes, headings = [], []
    for seed in range(20):
        T = trajectory(f"{plane}_{shape}_{direction}", seed, 550)[::50]
        steps = np.diff(T[:, :2, 3], axis=0)
        slopes += list(steps[:, 1] / steps[:, 0])
        headings += list(T[:-1, 1, ahead] / T[:-1, 0, ahead])
    assert np.corrcoef(slopes, headings)[0, 1] > 0.4


@pytest.mark.parametrize("plane", ["ACROSS", "ALONG"])
def test_the_probe_axes_are_right_handed_and_look_into_the_limb(plane: str) -> None:
    axes = getattr(motion, plane)
    assert np.linalg.det(axes) == pytest.approx(1)
    np.testing.assert_array_equal(axes[:, 1], [0, 0, 1])


@pytest.mark.parametrize("frames", [60, 299, 300, 400, 700, 749, 750, 949, 950, 1349])
def test_a_shorter_rotation_scan_moves_as_fast_as_a_whole_one_and_leans_no_further(
    frames: int,
) -> None:
    (speed, lean), (usual, furthest) = (pace_and_lean(count) for count in (frames, 1500))
    assert speed == pytest.approx(usual, rel=0.4)
    assert lean < 1.15 * furthest


def pace_and_lean(frames: int) -> tuple[float, float]:
    """Mean rotation from frame to frame, and how far the probe's axis leans, rad, 12 scans."""
    scans = [trajectory("rotation", seed, frames) for seed in range(12)]
    steps = [np.linalg.norm(poses.log(local_motions(T))[:, :3], axis=1).mean() for T in scans]
    leans = [np.arccos(T[:, 2, 1].clip(-1, 1)).max() for T in scans]
    return float(np.mean(steps)), float(np.mean(leans))


@pytest.mark.parametrize("frames", [20, 60, 200])
def test_a_short_sweep_moves_no_faster_than_a_whole_one(frames: int) -> None:
    fastest = [
        max(np.linalg.norm(local_motions(trajectory("Per_L_DtP", seed, n))[:, :3, 3], axis=1).max()
            for seed in range(12))
        for n in (frames, motion.SWEEP_FRAMES)
    ]  # fmt: skip
    assert fastest[0] < 1.3 * fastest[1]
