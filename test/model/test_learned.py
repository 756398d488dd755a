"""The learned estimator: every pair measured once, in any slicing, and fused with its signs."""

import numpy as np
import pytest
import torch

from model import learned, surroundings
from model.block_matching import moving_mask
from model.canonical import Canvas
from model.cells import BLOCKS
from model.compared import Compared
from model.encoded import STEP, Encoded
from model.interface import LocalMotions
from model.learned import Learned
from model.pose_net import INTERVALS, PoseNet
from model.steps import Pairs, fused
from tusrec import poses
from tusrec.calibration import from_spacing

CPU = torch.device("cpu")
CALIBRATION = from_spacing(0.2, 0.25)


def frames(count: int = 11) -> np.ndarray:
    rng = np.random.default_rng(0)
    picture = rng.integers(1, 255, (60, 80 + count)).astype(np.uint8)
    return np.stack([picture[:, i : i + 80] for i in range(count)])


def estimator() -> Learned:
    torch.manual_seed(0)
    return Learned(PoseNet(), precision=torch.float32)


@pytest.mark.parametrize(("size", "part"), [(1, 12), (3, 32), (16, 12)])
def test_pairs_do_not_depend_on_how_many_frames_are_read_at_a_time(
    size: int, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "PART", part)
    monkeypatch.setattr(learned, "SLICE", size)
    video = frames(24)
    _, found = estimator().pairs(video, CALIBRATION.spacing, CPU)
    monkeypatch.setattr(learned, "SLICE", 4)
    _, expected = estimator().pairs(video, CALIBRATION.spacing, CPU)
    assert list(found) == list(INTERVALS)
    for interval, (motion, scale) in found.items():
        assert motion.shape == scale.shape == (len(video) - interval, 6)
        np.testing.assert_allclose(motion, expected[interval][0], atol=1e-5)
        np.testing.assert_allclose(scale, expected[interval][1], rtol=1e-4)


def test_motion_is_measured_in_frames_without_what_the_screen_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown, sent = frames(), frames()[::-1].copy()
    expected = estimator().estimate(sent, CALIBRATION, CPU)
    monkeypatch.setattr(learned, "without_screen", lambda seen: sent if seen is shown else seen)
    found = estimator().estimate(shown, CALIBRATION, CPU)
    np.testing.assert_array_equal(found.T_previous_from_frame, expected.T_previous_from_frame)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_short_scans_have_one_motion_a_step(count: int) -> None:
    found = estimator().estimate(frames(count), CALIBRATION, CPU)
    assert found.T_previous_from_frame.shape == (count - 1, 4, 4)
    assert found.covariance.shape == (count - 1, 6, 6)
    poses.require_rigid(found.T_previous_from_frame, "motions")
    assert (np.linalg.eigvalsh(found.covariance) > 0).all() if count > 1 else True


def test_the_covariance_of_steps_is_stretched_as_calibration_found() -> None:
    plain, stretched = estimator(), estimator()
    stretched._network.step_stretch[:] = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 1.0])
    found, expected = (
        one.estimate(frames(6), from_spacing(1.0, 1.0), CPU) for one in (stretched, plain)
    )
    np.testing.assert_allclose(found.T_previous_from_frame, expected.T_previous_from_frame)
    ratio = found.covariance[:, range(3), range(3)] / expected.covariance[:, range(3), range(3)]
    np.testing.assert_allclose(ratio, np.tile([1.0, 4.0, 0.25], (5, 1)), rtol=1e-6)


OFF_CENTRE = np.pad(frames(10), ((0, 0), (40, 0), (0, 30)))
OFF_CENTRE_CANVAS = Canvas.of(OFF_CENTRE, moving_mask(OFF_CENTRE), CALIBRATION.spacing)


def estimate_of(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> LocalMotions:
    """What is made of pairs of a picture that is shown beside the image's centre."""
    found = estimator()
    monkeypatch.setattr(found, "pairs", lambda *_: (OFF_CENTRE_CANVAS, pairs))
    return found.estimate(OFF_CENTRE, CALIBRATION, CPU)


def test_a_rotation_about_the_canvas_centre_leaves_that_point_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    xi = np.array([0.01, -0.02, 0.015, 0, 0, 0])
    pairs = {1: (np.tile(xi, (9, 1)), np.full((9, 6), 1e-5))}
    motions = estimate_of(pairs, monkeypatch)
    centre = np.append(OFF_CENTRE_CANVAS.centre_mm, 1.0)
    np.testing.assert_allclose(motions.T_previous_from_frame @ centre, np.tile(centre, (9, 1)),
                               atol=1e-2)  # fmt: skip


def test_the_covariance_is_that_of_motion_about_the_centre_of_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scales = np.array([1e-4, 2e-4, 3e-4, 0.01, 0.02, 0.03])
    pairs = {1: (np.zeros((9, 6)), np.tile(scales, (9, 1)))}
    found = estimate_of(pairs, monkeypatch).covariance
    _, about_canvas = fused(pairs, OFF_CENTRE_CANVAS, np.ones(9, np.int64))
    shift = CALIBRATION.centre_mm(*OFF_CENTRE.shape[1:]) - OFF_CENTRE_CANVAS.centre_mm
    small = 1e-6
    moved = poses.log(poses.about_point(poses.exp(small * np.eye(6)), shift)).T / small
    np.testing.assert_allclose(found, moved @ about_canvas @ moved.T, rtol=1e-4, atol=1e-10)


def test_pairs_are_as_sure_as_intervals_agree_times_what_calibration_found_of_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        learned,
        "in_agreement",
        lambda pairs, _: {
            k: (motion, np.full_like(motion, 5.0)) for k, (motion, _) in pairs.items()
        },
    )
    found = estimator()
    found._network.stretch[:] = torch.tensor([[1.0], [2.0], [0.5], [3.0]])
    _, pairs = found.pairs(frames(9), CALIBRATION.spacing, CPU)
    assert [np.unique(scale).tolist() for _, scale in pairs.values()] == [[5], [10], [2.5], [15]]


def test_motion_over_twice_the_interval_is_that_to_a_frame_and_that_from_it_on() -> None:
    places = torch.arange(10.0).square()[:, None].expand(-1, 6)
    over_two, over_four = places[2:] - places[:-2], places[4:] - places[:-4]
    torch.testing.assert_close(learned._twice(over_two, 1, 4, 2), over_four[1:5])


@pytest.mark.parametrize(("shift", "again"), [(0.4 * STEP, False), (0.6 * STEP, True)])
def test_what_moved_further_than_features_span_is_looked_at_again(
    shift: float, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        learned, "block_shifts", lambda motion, _: torch.full((len(motion), BLOCKS**2, 2), shift)
    )
    found = estimator()
    guessed: list[bool] = []
    compare = found._network.compare

    def listening(
        encoded: Encoded, pairs: torch.Tensor, guess: torch.Tensor | None = None
    ) -> Compared:
        guessed.append(guess is not None)
        compared: Compared = compare(encoded, pairs, guess)
        return compared

    monkeypatch.setattr(found._network, "compare", listening)
    found.pairs(frames(2), CALIBRATION.spacing, CPU)
    each = [False, True] if again else [False]  # of the stretches, and then of the pair
    assert guessed == 2 * each


def test_the_steps_to_and_from_a_repeated_frame_share_the_motion_between_its_neighbours() -> None:
    video = frames(12)
    video[5] = video[4]
    found = estimator().estimate(video, CALIBRATION, CPU)
    steps = np.abs(poses.log(found.T_previous_from_frame))
    np.testing.assert_allclose(steps[4], steps[5], rtol=1e-6)
    assert np.isfinite(found.covariance).all()


def test_a_black_frame_is_not_taken_for_a_probe_at_rest() -> None:
    video = frames(12)
    video[6] = 0
    _, found = estimator().pairs(video, CALIBRATION.spacing, CPU)
    motion, scale = found[1]
    shown = np.delete(scale, [5, 6], axis=0)
    assert (motion[5:7] == 0).all()
    assert (scale[5:7] > shown.max(axis=0)).all()
