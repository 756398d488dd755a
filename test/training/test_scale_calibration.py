"""Calibration of the scales: they come to hold what they promise, and motions stay as they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic import moving_clip

from model.pose_net import INTERVALS, PoseNet
from training.calibration import calibrated, held_across, in_halves, steps_of, stretch
from training.measure import NAMES, Motions, held_out, network_motions, summary
from training.prepared import prepare


def test_stretched_scales_hold_68_percent_of_the_truth() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(4000, 6))
    scale = np.tile([0.1, 0.2, 0.05, 0.1, 0.3, 0.1], (4000, 1))
    error = rng.laplace(size=(4000, 6)) * scale * [0.5, 1, 2, 3, 0.1, 1] * 0.01
    motions = Motions(true, true + error, 0.01 * scale, np.full((4000, 2), 40.0))
    np.testing.assert_allclose(stretch(motions), [0.5, 1, 2, 3, 0.1, 1], rtol=0.1)


def test_a_calibrated_network_moves_as_before_with_scales_that_fit() -> None:
    torch.manual_seed(0)
    network = PoseNet().eval()
    clips = [prepare(moving_clip((1, n))) for n in range(2)]
    before = network_motions(network, clips[0], (1,))[1]
    network.load_state_dict(calibrated(network, [(str(n), clip) for n, clip in enumerate(clips)]))
    again = [network_motions(network, clip, INTERVALS) for clip in clips]
    for interval in INTERVALS:
        joined = Motions.joined([motions[interval] for motions in again])
        np.testing.assert_allclose(stretch(joined), 1.0, rtol=0.05)
    np.testing.assert_array_equal(again[0][1].predicted, before.predicted)
    steps = Motions.joined(
        [steps_of(motions, clip.canvas) for motions, clip in zip(again, clips, strict=True)]
    )
    np.testing.assert_allclose(stretch(steps), network.step_stretch.numpy(), rtol=0.05)


def test_a_half_is_held_against_intervals_that_the_other_has_set(
    caplog: pytest.LogCaptureFixture,
) -> None:
    torch.manual_seed(0)
    network = PoseNet().eval()
    clips = [prepare(moving_clip((1, n), 12)) for n in range(4)]
    found = [(network_motions(network, clip, INTERVALS), clip.canvas) for clip in clips]
    alike = [found[0], found[0]]
    halves = in_halves(["sub001", "sub002"])
    for shares in held_across(alike, halves).values():
        np.testing.assert_allclose(shares, 0.68, atol=0.15)  # quantiles of 4 to 11 pairs
    motions, canvas = found[0]
    larger = {k: replace(pairs, scale=1e6 * pairs.scale) for k, pairs in motions.items()}
    shares = held_across([(larger, canvas), (motions, canvas)], halves)["pairs 1 apart"]
    np.testing.assert_array_equal(shares, [[0] * 6, [1] * 6])
    with caplog.at_level("INFO"):
        calibrated(network, [("sub001", clip) for clip in clips])
        assert not caplog.text  # one person cannot tell of another
        calibrated(network, [(f"sub00{n // 2}", clip) for n, clip in enumerate(clips)])
    assert "steps: 68 % intervals set on half of them hold " in caplog.text


def test_all_clips_of_a_subject_are_in_one_half() -> None:
    subjects = ["sub003", "sub003", "sub001", "sub001", "sub007", "sub003"]
    np.testing.assert_array_equal(in_halves(subjects), [0, 0, 1, 1, 0, 0])


def test_pairs_that_were_not_measured_stretch_nothing_and_are_not_counted_as_covered() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(400, 6))
    scale = np.full((400, 6), 0.01)
    motions = Motions(true, true + rng.laplace(size=true.shape) * scale, scale, np.ones((400, 2)))
    lost = replace(motions, scale=scale.copy(), predicted=motions.predicted.copy())
    lost.scale[::4], lost.predicted[::4] = np.inf, 0.0
    kept = Motions(*(np.delete(part, np.s_[::4], axis=0) for part in vars(motions).values()))
    np.testing.assert_array_equal(stretch(lost), stretch(kept))
    for name in NAMES:
        assert summary(lost)[f"cover {name}"] == summary(kept)[f"cover {name}"]


def test_clips_are_measured_over_the_intervals_that_they_hold() -> None:
    network = PoseNet().eval()
    clips = [prepare(moving_clip((1, n), length)) for n, length in enumerate((3, 6))]
    assert set(network_motions(network, clips[0], (1, 4))) == {1}
    assert set(held_out(network, clips[:1], (1, 4))) == {1}
    assert set(held_out(network, clips, (1, 4))) == {1, 4}
