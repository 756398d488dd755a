"""Calibration of the scales: they come to hold what they promise, and motions stay as they are."""

import numpy as np
import torch
from synthetic import moving_clip

from model.pose_net import INTERVALS, PoseNet
from training.calibration import calibrated, steps_of, stretch
from training.measure import Motions, network_motions
from training.pose_learner import prepare


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
    network.load_state_dict(calibrated(network, clips))
    again = [network_motions(network, clip, INTERVALS) for clip in clips]
    for interval in INTERVALS:
        joined = Motions.joined([motions[interval] for motions in again])
        np.testing.assert_allclose(stretch(joined), 1.0, rtol=0.05)
    np.testing.assert_array_equal(again[0][1].predicted, before.predicted)
    steps = Motions.joined(
        [steps_of(motions, clip.canvas) for motions, clip in zip(again, clips, strict=True)]
    )
    np.testing.assert_allclose(stretch(steps), network.step_stretch.numpy(), rtol=0.05)
