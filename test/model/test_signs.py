"""Signs of elevational motion: turning points found, up to one mirror image of the whole scan."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.decorrelation import Planes
from model.fusion import sums_of_steps
from model.saturation import Saturation
from model.signs import choose_signs
from model.turning import Seen, find_signs
from sim.motion import Skin, rotation_scan
from tusrec import poses

Array = NDArray[np.float64]

UNITS = np.array([1.0, 60.0, 50.0]) / np.sqrt([1.0, 3.0, 3.0])  # mm by a, b, c; 120 x 100 mm image
MOMENTS = np.diag(UNITS**2)
INTERVALS = (1, 2, 3, 4, 6, 8)
FLOOR = np.array([0.02, *np.radians([0.03, 0.03])]) * UNITS
SEEN_MM = 1.5  # of a longer motion, a pair shows no more


def rotation(seed: int, frames: int = 400) -> dict[int, Array]:
    """True motion (n, 3) mm across the image, by interval, of fans, rocks and a turn."""
    T = rotation_scan(np.random.default_rng(seed), frames, Skin(1 / 30, 1 / 300))
    T = poses.about_point(T, np.array([0.0, 45.0, 0.0]))
    between = {k: poses.inverse(T[:-k]) @ T[k:] for k in INTERVALS}
    return {k: M[:, 2, [3, 0, 1]] * UNITS for k, M in between.items()}


def swings(frames: int = 200) -> dict[int, Array]:
    """A fan with a hand's tremor, to and fro in 50 frames."""
    rng = np.random.default_rng(5)
    place = 4 * np.sin(np.arange(frames) * 2 * np.pi / 50)[:, None] * [1.0, 0.2, 0.6]
    steps = np.diff(place + 0.06 * rng.normal(size=(frames, 3)), axis=0)
    return {k: sums_of_steps(steps, k) for k in INTERVALS}


def seen(true: dict[int, Array], noise: float, seed: int) -> dict[int, Planes]:
    """What a network sees: relative noise with outliers, a floor, saturation, any sign."""
    rng = np.random.default_rng(seed)
    planes = {}
    for k, motion in true.items():
        size = np.linalg.norm(motion, axis=1, keepdims=True)
        share = 1 / (1 + (size / SEEN_MM) ** 4) ** 0.25
        error = noise * size * rng.standard_t(4, size=motion.shape) / 2
        measured = share * (motion + error) + FLOOR * rng.normal(size=motion.shape)
        sd = (noise * np.linalg.norm(measured, axis=1, keepdims=True) + FLOOR) / UNITS
        signs = rng.choice([-1.0, 1.0], size=(len(motion), 1))
        planes[k] = Planes(signs * measured / UNITS, np.eye(3) * sd[:, None] ** -2.0)
    return planes


def exact(true: dict[int, Array]) -> dict[int, Planes]:
    return {k: Planes(m / UNITS, np.tile(1e6 * MOMENTS, (len(m), 1, 1))) for k, m in true.items()}


def error_over_motion(steps: Array, true: Array) -> float:
    """Mean error over mean motion (S, 3), by the better of the two mirror images of the scan."""
    errors = [np.linalg.norm(mirror * steps - true, axis=1).mean() for mirror in (-1.0, 1.0)]
    return float(min(errors) / np.linalg.norm(true, axis=1).mean())


def best_possible(steps: Array, true: Array) -> Array:
    return np.where((steps * true).sum(axis=1, keepdims=True) < 0, -1.0, 1.0) * steps


def excess_error(planes: dict[int, Planes], true: Array) -> float:
    """Error over motion of the signed steps above that of the same steps with true signs."""
    steps = choose_signs(planes, MOMENTS)[1][0] * UNITS
    right = best_possible(steps, true)
    return error_over_motion(steps, true) - error_over_motion(right, true)


@pytest.mark.parametrize("seed", range(4))
def test_fans_rocks_and_a_turn_are_right_up_to_one_mirror_image(seed: int) -> None:
    true = rotation(seed)
    assert excess_error(seen(true, 0.15, seed), true[1]) < 0.02


def test_turning_points_are_found_where_going_on_is_assumed_without_longer_intervals() -> None:
    true = swings()
    planes = seen(true, 0.15, 0)
    assert excess_error(planes, true[1]) < 0.02
    assert excess_error({1: planes[1]}, true[1]) > 0.2


def test_noise_of_a_hand_at_rest_says_nothing_of_how_much_is_seen_of_larger_motions() -> None:
    """Noise is as large over any interval, and sums of noisy steps are larger."""
    steps = np.zeros((200, 3))
    steps[:, 0] = np.where(np.arange(200) < 60, 0.05, 0.3)
    pairs = {}
    for k in (1, 2, 4):
        motion = sums_of_steps(steps, k)
        motion[: 61 - k] = steps[: 61 - k]
        pairs[k] = motion, np.tile(np.eye(3), (len(motion), 1, 1))
    np.testing.assert_allclose(Saturation.measure(pairs, steps).at(np.array([0.5, 1.1])), 1.0)


def test_short_motions_are_seen_in_full_even_where_noise_says_less() -> None:
    rng = np.random.default_rng(0)
    sizes = {k: 0.045 * rng.normal(size=(160 - k, 3)) for k in INTERVALS}
    pairs = {k: (motion, np.tile(np.eye(3), (len(motion), 1, 1))) for k, motion in sizes.items()}
    one_way = np.tile([0.045, 0.0, 0.0], (159, 1))  # as which noise of a still probe may be read
    share = Saturation.measure(pairs, one_way).at(np.array([0.1, 0.4]))
    np.testing.assert_allclose(share, share[0])
    assert share[0] > 0.5


def test_a_probe_that_is_lifted_for_a_while_does_not_spoil_the_rest_of_the_scan() -> None:
    """A pair without speckle tells nothing, and shows no motion."""
    true = swings()
    planes = seen(true, 0.15, 0)
    for k, plane in planes.items():
        ends = np.arange(len(plane.coefficients))[:, None] + [0, k]
        lifted = ((ends >= 90) & (ends < 120)).any(axis=1)
        plane.coefficients[lifted], plane.information[lifted] = 0, 0
    require_right_parts(planes, true[1], [slice(0, 89), slice(120, None)])


def require_right_parts(planes: dict[int, Planes], true: Array, parts: Iterable[slice]) -> None:
    """Each right up to a mirror image of its own: nothing ties one to the other."""
    steps = choose_signs(planes, MOMENTS)[1][0] * UNITS
    for part in parts:
        right = best_possible(steps[part], true[part])
        excess = error_over_motion(steps[part], true[part])
        assert excess - error_over_motion(right, true[part]) < 0.02


def test_a_number_that_is_hardly_known_does_not_drown_the_others() -> None:
    true, rng = swings(), np.random.default_rng(4)
    noise = {k: [0, 0, 1] * rng.normal(size=m.shape) for k, m in true.items()}
    known = np.diag([1e3, 1e3, 1.0]) * UNITS**2
    planes = {
        k: Planes((m + noise[k]) / UNITS, np.tile(known, (len(m), 1, 1))) for k, m in true.items()
    }
    steps = choose_signs(planes, MOMENTS)[1][0] * UNITS
    steps[:, 2] = true[1][:, 2] * np.sign((steps * true[1])[:, :2].sum(axis=1))
    assert error_over_motion(steps, true[1]) < 0.05


def test_exact_pairs_give_back_the_scan() -> None:
    true = swings()
    found = choose_signs(exact(true), MOMENTS)
    mirror = np.sign(true[1][:, 0].sum())
    for interval, motion in true.items():
        np.testing.assert_allclose(found[interval][0] * UNITS, mirror * motion, atol=1e-6)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_signs_that_pairs_come_with_do_not_matter(seed: int) -> None:
    planes = seen(swings(80), 0.1, 1)
    rng = np.random.default_rng(seed)
    flipped = {
        k: Planes(p.coefficients * rng.choice([-1.0, 1.0], (len(p.coefficients), 1)), p.information)
        for k, p in planes.items()
    }
    for one, other in zip(found(planes), found(flipped), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


@settings(max_examples=8, deadline=None)
@given(size=st.floats(0.5, 2.0), tilted=st.floats(-1.0, 1.0))
def test_the_signs_hold_for_any_probe_scale_and_any_axes(size: float, tilted: float) -> None:
    true = swings(80)
    turn = np.array(
        [[np.cos(tilted), np.sin(tilted), 0], [-np.sin(tilted), np.cos(tilted), 0], [0, 0, 1]]
    )
    true = {k: size * m @ turn for k, m in true.items()}
    assert excess_error(seen(true, 0.08, 3), true[1]) < 0.03


def alike(variance: Array) -> Array:
    """Covariance (n, 3, 3) of numbers that are all as uncertain."""
    return variance[:, None, None] * np.eye(3)


def found(planes: dict[int, Planes]) -> Iterable[Array]:
    return [part for pair in choose_signs(planes, MOMENTS).values() for part in pair]


def test_the_scan_as_a_whole_goes_towards_positive_z() -> None:
    for seed in range(3):
        assert choose_signs(seen(rotation(seed, 200), 0.1, 0), MOMENTS)[1][0][:, 0].sum() > 0


def test_a_motion_played_backwards_turns_at_the_same_frames() -> None:
    planes = seen(swings(), 0.1, 2)
    back = {k: Planes(p.coefficients[::-1], p.information[::-1]) for k, p in planes.items()}
    one, other = (choose_signs(each, MOMENTS)[1][0] for each in (planes, back))
    alike = np.sign((one * other[::-1]).sum(axis=1))
    assert abs(alike.mean()) > 0.97


def test_a_long_interval_decides_what_short_ones_cannot() -> None:
    steps = np.zeros((28, 3))
    steps[:12, 0], steps[16:, 0] = 0.05, 0.05
    unknown = Seen(steps, alike(np.where(np.abs(steps).sum(axis=1) > 0, 1e-5, 1e-2)))
    for turned in (-1.0, 1.0):
        true = steps * np.where(np.arange(28) < 14, 1.0, turned)[:, None]
        pairs = {k: Seen(sums_of_steps(true, k), alike(np.full(29 - k, 1e-5))) for k in (2, 4, 8)}
        signs = find_signs(pairs, unknown, Saturation.none())
        assert (signs[:12] == 1).all()
        assert (signs[16:] == turned).all()


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
@pytest.mark.parametrize("information", [0.0, 1e12])
def test_short_scans_of_any_information_give_finite_motions(steps: int, information: float) -> None:
    true = {k: np.ones((steps - k + 1, 3)) for k in INTERVALS if k <= steps}
    planes = {
        k: Planes(m, np.tile(information * np.eye(3), (len(m), 1, 1))) for k, m in true.items()
    }
    for motion, told in choose_signs(planes, MOMENTS).values():
        assert np.isfinite(motion).all()
        assert np.isfinite(told).all()


def test_a_scan_without_motion_has_none() -> None:
    planes = exact({k: np.zeros((20 - k + 1, 3)) for k in INTERVALS})
    for motion, _ in choose_signs(planes, MOMENTS).values():
        np.testing.assert_allclose(motion, 0.0, atol=1e-9)


def test_a_motion_too_long_to_be_seen_in_full_is_as_long_as_its_steps() -> None:
    true = swings()
    shown = {k: m / (1 + (np.linalg.norm(m, axis=1, keepdims=True) / 2.0)) for k, m in true.items()}
    pairs = {k: (m, np.tile(np.eye(3), (len(m), 1, 1))) for k, m in shown.items()}
    saturation = Saturation.measure(pairs, true[1])
    known = pairs[8][1]
    full, information = saturation.undone(-shown[8], known, true[8])
    size, before = (np.linalg.norm(m, axis=1) for m in (true[8], shown[8]))
    assert np.abs(np.linalg.norm(full, axis=1) - size).mean() < 0.1 * np.abs(before - size).mean()
    long = size > np.median(size)
    trace = np.trace(information, axis1=1, axis2=2)
    assert trace[long].mean() < 0.6 * trace[~long].mean() < 1.8
