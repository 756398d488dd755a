"""What the pose network is taught: true motions, a loss no mirror changes, exact flips."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import SPACING, moving_clip

from model.canonical import SIDE, network_input
from model.cells import CELLS, block_shifts, cell_shifts
from model.compared import WIDTH
from model.encoded import STEP
from model.persistence import averaged
from model.pose_net import DESCRIPTION, PoseNet, Seen
from model.screen import Screen
from training.measure import Motions, displacements, network_motions, summary
from training.pose_learner import (
    FLIP,
    MIRROR,
    WINDOWS,
    PairBatch,
    PoseLearner,
    draw_batch,
    guess,
    pose_loss,
)
from training.pose_learner import displacements as first_order_displacements
from training.prepared import prepare, true_motion
from training.tracked import cut
from tusrec import poses
from tusrec.calibration import Calibration
from tusrec.scans import Scan

small = st.floats(-0.5, 0.5)
xi_of_a_step = st.tuples(*[st.floats(-0.02, 0.02)] * 3, *[small] * 3).map(np.array)


def batch_of(motion: torch.Tensor) -> PairBatch:
    count = len(motion)
    nothing = torch.zeros(0)
    told, half_extent = torch.zeros(count, DESCRIPTION), torch.full((count, 2), 5.0)
    units = torch.ones(count, 6)
    return PairBatch(nothing, nothing, nothing, told, motion, units, half_extent, nothing)


def seen_as(motion: torch.Tensor, log_scale: torch.Tensor) -> Seen:
    """What a network says that saw `motion` in every cell, with cells of scale one."""
    shifts = cell_shifts(motion, torch.zeros(len(motion), DESCRIPTION))
    shifts = torch.cat([shifts[..., :2], shifts[..., 2:].abs()], dim=-1)
    count, weights = len(motion), torch.zeros_like(shifts)
    considered = torch.zeros(count, WIDTH, CELLS, CELLS)
    ones = torch.ones(count, CELLS**2)
    return Seen(motion, log_scale, shifts, weights, ones, considered)


def test_motion_is_that_of_the_clip_about_the_canvas_centre() -> None:
    clip = moving_clip()
    xi = true_motion(prepare(clip), np.array([[0, 1], [3, 7], [7, 3]]))
    expected = np.array([-SPACING[0], -4 * SPACING[0], 4 * SPACING[0]])
    np.testing.assert_allclose(xi[:, 3], expected, atol=1e-9)
    np.testing.assert_allclose(np.delete(xi, 3, axis=1), 0, atol=1e-9)


def test_persistence_is_undone_before_a_clip_comes_to_the_canvas() -> None:
    clip, share = moving_clip(), 0.3
    sent = clip.frames.astype(np.float64)
    mixed = (1 - share) * sent + share * np.concatenate([sent[:1], sent[:-1]])
    shown = replace(clip, frames=np.rint(mixed).astype(np.uint8))
    whole = prepare(clip).levels.float()
    freed = prepare(replace(shown, screen=Screen(undoing=averaged(share)))).levels.float()
    assert (freed - whole).abs().mean() < 0.2 * (prepare(shown).levels.float() - whole).abs().mean()


def test_a_clip_is_laid_out_without_frames_that_dropped_out_as_estimators_see_scans() -> None:
    clip = moving_clip()
    frames = clip.frames.copy()
    frames[5], frames[8] = 0, frames[7]
    seen = [0, 1, 2, 3, 4, 6, 7, 9]
    undoing = averaged(0.3)
    found = prepare(replace(clip, frames=frames, screen=Screen(undoing=undoing)))
    alone = replace(
        clip,
        frames=frames[seen],
        T_first_from_frame=clip.T_first_from_frame[seen],
        screen=Screen(undoing=undoing),
    )
    assert torch.equal(found.levels, prepare(alone).levels)
    np.testing.assert_allclose(found.T_first_from_frame, prepare(alone).T_first_from_frame)


@pytest.mark.parametrize("first", [0, 3, 40])
def test_clips_from_within_a_scan_are_freed_of_persistence_as_the_whole_scan_is(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, share = moving_clip(length=60), 0.4
    sent = whole.frames.astype(np.float64)
    mixed = (1 - share) * sent + share * np.concatenate([sent[:1], sent[:-1]])
    screen = Screen(undoing=averaged(share))
    shown = np.rint(mixed).astype(np.uint8)
    calibration = Calibration(np.diag([*SPACING, 1, 1]), np.eye(4))
    scan = Scan("a", shown, calibration, np.empty((0, 3), np.int64), whole.T_first_from_frame)
    monkeypatch.setattr(Screen, "of", lambda _: screen)
    (clip,) = cut(scan, [first], 8)
    prepared = prepare(clip)
    begins = first + 8 - len(prepared.levels)
    assert begins == (first if first > screen.reach else 0)
    found = screen.taken_out(clip.frames)[clip.lead_in : len(clip.frames)].astype(float)
    expected = screen.taken_out(shown)[begins : first + 8].astype(float)
    assert np.abs(found - expected).max() <= 2
    xi = true_motion(prepared, np.array([[0, len(found) - 1]]))
    np.testing.assert_allclose(xi[0, 3], -SPACING[0] * (len(found) - 1), atol=1e-9)


def test_a_rotation_about_the_canvas_centre_has_no_translation() -> None:
    clip = moving_clip()
    centre = prepare(clip).canvas.centre_mm
    turn = poses.about_point(poses.exp(np.array([0, 0, 0.01, 0, 0, 0.0])), -centre)
    T = np.stack([np.linalg.matrix_power(turn, i) for i in range(len(clip.frames))])
    xi = true_motion(prepare(replace(clip, T_first_from_frame=T)), np.array([[2, 5]]))
    np.testing.assert_allclose(xi, [[0, 0, 0.03, 0, 0, 0]], atol=1e-9)


@given(xi=xi_of_a_step)
@settings(max_examples=25, deadline=None)
def test_mirror_and_flip_are_reflections_of_the_motion(xi: np.ndarray) -> None:
    for signs, axis in ((MIRROR, 2), (FLIP, 0)):
        reflection = np.eye(4)
        reflection[axis, axis] = -1
        expected = poses.log(reflection @ poses.exp(xi) @ reflection)
        np.testing.assert_allclose(xi * np.array(signs), expected, atol=1e-9)


@given(xi=xi_of_a_step)
@settings(max_examples=25, deadline=None)
def test_first_order_displacements_are_those_of_small_motions(xi: np.ndarray) -> None:
    half = np.array([[30.0, 40.0]])
    exact = displacements(xi[None], half)
    close = first_order_displacements(torch.tensor(xi[None]).float(), torch.tensor(half).float())
    np.testing.assert_allclose(close.numpy(), exact, atol=2e-2)


def test_the_loss_is_the_same_for_a_motion_and_its_mirror() -> None:
    generator = torch.Generator().manual_seed(0)
    truth, found, scale = (torch.randn(5, 6, generator=generator) for _ in range(3))
    mirrored = batch_of(truth * torch.tensor(MIRROR))
    torch.testing.assert_close(
        pose_loss(seen_as(found, scale), batch_of(truth)),
        pose_loss(seen_as(found, scale), mirrored),
    )


def test_the_loss_is_least_at_the_truth_and_grows_with_every_freedoms_error() -> None:
    truth = torch.full((1, 6), 0.3)
    scale = torch.zeros(1, 6)
    least = pose_loss(seen_as(truth, scale), batch_of(truth))
    for number in range(6):
        wrong = truth.clone()
        wrong[0, number] += 0.05
        assert pose_loss(seen_as(wrong, scale), batch_of(truth)) > least + 1e-3


def test_a_flipped_picture_keeps_its_pixels_and_reflects_its_motion() -> None:
    one = prepare(moving_clip())
    for seed in range(8):
        batch = draw_batch([one], np.random.default_rng(seed))
        first, second = network_input(batch.levels)[batch.pairs[0, :2], 0]
        pixels = batch.motion[0, 3].round().int()
        moved = torch.roll(second, int(pixels), dims=1)
        inner = (slice(120, 200), slice(140, 180))
        likeness = np.corrcoef(first[inner].ravel(), moved[inner].ravel())[0, 1]
        assert likeness > 0.6


def test_a_batch_holds_all_pairs_of_its_frames_within_the_longest_interval() -> None:
    prepared = [prepare(moving_clip((1, n), length=16)) for n in range(2)]
    batch = draw_batch(prepared, np.random.default_rng(0))
    windows = 2 * WINDOWS
    assert batch.levels.shape == (5 * windows, SIDE, SIDE)
    assert batch.pairs.shape == (10 * windows, 3)
    window = torch.arange(windows).repeat_interleave(10)
    assert (batch.pairs[:, :2] // 5 == window[:, None]).all()
    assert (batch.scan == window // WINDOWS).all()
    steps = (batch.motion[:, 3] * batch.units[:, 3] / SPACING[0]).abs().round()
    assert steps.min() >= 1
    assert steps.max() <= 8
    assert (steps == batch.pairs[:, 2]).all()


def test_a_few_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    learner = PoseLearner(torch.device("cpu"))
    prepared = [prepare(moving_clip((1, n))) for n in range(2)]
    optimizer = torch.optim.AdamW(learner.network.parameters(), lr=2e-3)
    losses = []
    for step in range(12):
        loss, pairs = learner.loss(learner.draw(prepared, np.random.default_rng(step)))
        assert pairs == 80
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


def test_a_perfect_prediction_up_to_its_mirror_has_no_error() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(20, 6)) * [0.01, 0.01, 0.01, 0.2, 0.2, 0.2]
    signs = np.where(rng.random((20, 1)) < 0.5, np.array(MIRROR), 1.0)
    found = summary(Motions(true, true * signs, np.ones((20, 6)), np.full((20, 2), 40.0)))
    assert found["error"] == pytest.approx(0, abs=1e-9)
    assert found["slope tilt"] == pytest.approx(1)
    assert found["size slope"] == pytest.approx(1)


def test_identity_has_an_error_of_one_and_half_the_motion_one_half() -> None:
    true = np.random.default_rng(0).normal(size=(20, 6)) * [0, 0, 0, 0.2, 0.2, 0.2]
    half = np.full((20, 2), 40.0)
    assert summary(Motions(true, 0 * true, true, half))["error"] == pytest.approx(1)
    assert summary(Motions(true, 0.5 * true, true, half))["error"] == pytest.approx(0.5)


def test_predictions_come_in_millimetres_and_radians_of_the_clip() -> None:
    torch.manual_seed(0)
    network = PoseNet().eval()
    clip = moving_clip()
    larger = replace(clip, spacing=(3 * SPACING[0], 3 * SPACING[1]))
    near, far = (network_motions(network, prepare(c), (1, 4))[4] for c in (clip, larger))
    assert near.predicted.shape == near.scale.shape == (len(clip.frames) - 4, 6)
    assert (near.scale > 0).all()
    assert np.abs(far.predicted[:, 3:]).max() > np.abs(near.predicted[:, 3:]).max()


def test_what_is_known_beforehand_is_near_the_truth_or_nothing() -> None:
    one = prepare(moving_clip(length=16))
    batch = draw_batch([one], np.random.default_rng(0))
    known = guess(batch.motion, batch.description, np.random.default_rng(1))
    true = block_shifts(batch.motion, batch.description)
    told = known.abs().amax(dim=(1, 2)) > 0
    assert 0.4 < told.float().mean() < 0.95
    assert ((known - true).abs()[told] < 0.7 * true.abs()[told] + STEP / 8).all()
