"""Whole scans: repeatable, with landmarks on structures and with every flaw."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from sim import imperfections, motion, tissue
from sim.imaging import PUSH_DEPTH_MM, Beamformer, Scatterers
from sim.scan import CHALLENGE_RIGID, LOSS_STEPS, Recipe, Scan, draw_recipe
from sim.stream import excerpt, require_training_seed
from sim.tissue_kernels import BONE
from tusrec import poses
from tusrec.errors import InputError

SEED = (900_001, 0)


def small(**changes: object) -> Recipe:
    """Five frames of a forearm with few scatterers, without imperfections."""
    recipe = draw_recipe(SEED, "rotation", 5, anatomy="forearm")
    flawless = replace(recipe, imperfections=imperfections.NONE, strata=3)
    return replace(flawless, **changes)  # type: ignore[arg-type]


def test_a_frame_is_the_same_in_whatever_order_it_is_asked_for() -> None:
    forwards, backwards = Scan(small()), Scan(small())
    first = [forwards.frame(i) for i in range(5)]
    second = [backwards.frame(i) for i in reversed(range(5))]
    np.testing.assert_array_equal(first, second[::-1])


def test_a_scan_is_gone_with_its_last_user_and_not_when_python_looks_for_cycles() -> None:
    scan = Scan(small())
    scan.frame(1)
    left = weakref.ref(scan)
    gc.disable()
    try:
        del scan
        assert left() is None
    finally:
        gc.enable()


def test_frames_are_pictures_of_the_challenges_size_with_a_black_surround() -> None:
    scan = Scan(small())
    frame = scan.frame(0)
    assert frame.shape == (480, 640)
    assert frame.dtype == np.uint8
    assert frame[~scan.beamformer.field_of_view].max() == 0
    assert 5 < frame[scan.beamformer.field_of_view].mean() < 235


def test_successive_frames_resemble_each_other_less_the_farther_they_are_apart() -> None:
    scan = Scan(small(protocol="Per_L_DtP", frames=40))
    frames = [scan.frame(i).astype(float).ravel() for i in (0, 1, 4, 39)]
    likeness = [np.corrcoef(frames[0], other)[0, 1] for other in frames[1:]]
    assert 1 > likeness[0] > likeness[1] > likeness[2]


def test_duplicated_frames_repeat_the_picture_but_not_the_pose() -> None:
    flaws = replace(imperfections.NONE, duplicates=0.5)
    scan = Scan(small(imperfections=flaws, frames=8))
    frames = list(scan.frames())
    same = [i for i in range(1, 8) if np.array_equal(frames[i], frames[i - 1])]
    assert same
    for i in same:
        assert not np.allclose(scan.poses()[i], scan.poses()[i - 1])


@pytest.mark.parametrize("anatomy", list(tissue.ANATOMIES))
@pytest.mark.parametrize("probe", ["convex", "linear"])
def test_landmarks_lie_on_structures_in_view_and_never_on_frame_0(probe: str, anatomy: str) -> None:
    scan = Scan(draw_recipe((900_005, 1), "rotation", 1500, probe=probe, anatomy=anatomy))
    landmarks = scan.landmarks(100)
    assert landmarks.shape == (100, 3)
    frame, x, y = landmarks.T
    assert frame.min() >= 1
    assert frame.max() <= 1499
    assert scan.beamformer.field_of_view[y - 1, x - 1].all()
    limb = np.array([at_rest(scan, *landmark) for landmark in landmarks])
    places = np.concatenate([*tissue.landmark_curves(scan.anatomy), scan.anatomy.branches])
    for point in limb:
        assert np.linalg.norm(places - point, axis=1).min() < 1.0


def at_rest(scan: Scan, frame: int, x: int, y: int) -> NDArray[np.float64]:
    """Where in the limb (3,) the tissue lies when nothing pushes it that pixel (x, y) shows."""
    b, T = scan.beamformer, scan.T_limb_from_image[frame]
    sample, line = b.grid_position(
        *(np.array([x, y])[:, None] * np.array(b.image.spacing)[:, None])
    )
    push = np.interp(line, np.arange(b.grid.lines), scan._push(T))
    shown = depth = sample * b.grid.range_step_mm
    for _ in range(20):
        depth = shown - push * np.exp(-depth / PUSH_DEPTH_MM)
    place = b.points_on_lines(b.line_positions[0] + b.line_step * line, depth)[0]
    return np.asarray(T @ place)[:3]


def test_exact_poses_give_back_the_probes_motion_through_the_calibration() -> None:
    scan = Scan(small())
    found = poses.relative_to_first(scan.poses(), scan.calibration.T_tool_from_image)
    T = scan.T_limb_from_image
    np.testing.assert_allclose(found, np.linalg.inv(T[0]) @ T[1:], atol=1e-9)
    np.testing.assert_array_equal(scan.calibration.T_tool_from_image, CHALLENGE_RIGID)


def test_tracked_poses_differ_from_exact_ones_by_little() -> None:
    scan = Scan(draw_recipe(SEED, "rotation", 100))
    error = np.linalg.norm((scan.poses() - scan.tracked_poses())[:, :3, 3], axis=1)
    assert 0.01 < error.mean() < 3


@pytest.mark.parametrize(
    ("protocol", "frames", "options"),
    [("spiral", 9, {}), ("rotation", 1, {}), ("free", 9, {"probe": "phased"})],
)
def test_an_impossible_scan_is_refused(protocol: str, frames: int, options: dict[str, str]) -> None:
    with pytest.raises(InputError, match="expected"):
        draw_recipe(SEED, protocol, frames, **options)


def test_a_scan_without_structures_has_landmarks_on_speckle_in_view() -> None:
    scan = Scan(small())
    scan.anatomy = tissue.homogeneous(np.random.default_rng(0))
    frame, x, y = scan.landmarks(10).T
    assert frame.min() >= 1
    assert scan.beamformer.field_of_view[y - 1, x - 1].all()


def test_an_excerpt_is_a_cut_from_the_whole_scan_flaws_and_all() -> None:
    flaws = replace(imperfections.NONE, duplicates=0.3, gain_steps=3, gain_step_db=2.0)
    recipe = small(protocol="free", frames=40, imperfections=flaws)
    recipe = replace(recipe, console=replace(recipe.console, persistence=0.4))
    whole, part = Scan(recipe), Scan(replace(recipe, excerpt=(20, 6)))
    assert len(part) == 6
    np.testing.assert_array_equal(part.poses(), whole.poses()[20:26])
    for index in range(6):
        np.testing.assert_array_equal(part.frame(index), whole.frame(20 + index))


def test_excerpts_are_cut_from_scans_of_the_usual_length() -> None:
    part = excerpt((7, 0), 3, ("free",), "linear")
    assert part.recipe.frames == motion.WHOLE_FRAMES["free"]
    assert part.frames.shape == (3, 480, 640)


@pytest.mark.parametrize("seed", [900_000, 900_001, 2**40])
def test_seeds_kept_for_evaluation_are_refused_for_training(seed: int) -> None:
    with pytest.raises(InputError, match="evaluation"):
        require_training_seed(seed)
    require_training_seed(899_999)


def test_persistence_lets_the_frame_before_linger() -> None:
    plain = small(protocol="Per_L_DtP", frames=40)
    lasting = replace(plain, console=replace(plain.console, persistence=0.5))
    before = Scan(plain).frame(19).ravel()
    likeness = [np.corrcoef(before, Scan(r).frame(20).ravel())[0, 1] for r in (plain, lasting)]
    assert likeness[1] > likeness[0] + 0.01


def test_pressing_pushes_tissue_at_the_face_deeper_and_deep_tissue_less() -> None:
    b = Scan(small()).beamformer
    rows = []
    for depth in (1.0, 60.0):
        x, y = b.image.contact_mm
        point = np.array([[x, y + depth, 0, 1]], np.float32)
        s = Scatterers(point, np.array([0, 1]), point[:, :3].copy(), 1.0, 1.0)
        for push in (0.0, 2.0):
            echoes = b.echoes(s, np.eye(4), np.full(b.grid.lines, push, np.float32))
            rows.append(np.abs(echoes).max(axis=1).argmax() * b.grid.range_step_mm)
    assert rows[1] - rows[0] == pytest.approx(2 * np.exp(-1 / 30), abs=0.2)
    assert rows[3] - rows[2] == pytest.approx(2 * np.exp(-60 / 30), abs=0.2)


def turned(scan: Scan, degrees: float) -> Beamformer:
    b = scan.beamformer
    return Beamformer(b.probe, b.image, b.grid, np.radians(degrees))


def test_lines_that_are_not_turned_see_the_frame_itself() -> None:
    recipe = small()
    scan = Scan(replace(recipe, console=replace(recipe.console, persistence=0.0)))
    np.testing.assert_array_equal(scan.look(2, turned(scan, 0.0)), scan.frame(2))


@pytest.mark.parametrize("probe", ["convex", "linear"])
def test_a_place_on_turned_lines_is_found_where_it_is(probe: str) -> None:
    b = turned(Scan(draw_recipe(SEED, "rotation", 5, probe=probe)), 12.0)
    line, sample = np.array([20, 200, 370]), np.array([0, 100, 350])
    x, y, *_ = b.points_on_lines(b.line_positions[line], b.ranges_mm[sample]).T
    np.testing.assert_allclose(b.grid_position(x, y), [sample, line], atol=1e-6)


def test_turned_lines_see_the_same_structures_in_other_speckle() -> None:
    recipe = small(strata=4)
    scan = Scan(replace(recipe, console=replace(recipe.console, persistence=0.0)))
    sides = [turned(scan, degrees) for degrees in (0.0, 15.0)]
    looks = [scan.look(2, side).astype(float) for side in sides]
    both = ndimage.binary_erosion(sides[0].field_of_view & sides[1].field_of_view, iterations=30)
    smooth = [ndimage.gaussian_filter(look, 12) for look in looks]
    fine = [look - ndimage.gaussian_filter(look, 3) for look in looks]
    assert np.corrcoef(smooth[0][both], smooth[1][both])[0, 1] > 0.8
    assert np.corrcoef(fine[0][both], fine[1][both])[0, 1] < 0.4


def test_bone_casts_a_shadow() -> None:
    scan = Scan(small(protocol="Per_L_DtP"))
    tube = int(np.flatnonzero(scan.anatomy.kinds == BONE)[0])
    T = np.linalg.inv(scan.T_limb_from_image[0])
    places = T @ np.array([0.0, *scan.anatomy.tubes[tube, tissue.X_END_MM, :2], 1.0])
    sample, line = scan.beamformer.grid_position(places[:1], places[1:2])
    losses = scan._losses(scan.T_limb_from_image[0], scan.beamformer)
    column = losses[:, int(line[0]) // LOSS_STEPS[1]]
    face = int(sample[0]) // LOSS_STEPS[0]
    above = column[face - 25]
    assert column[-1] - above > 20
    assert above - column[0] < 5
