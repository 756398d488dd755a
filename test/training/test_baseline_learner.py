"""The baseline's learner: the organisers' parameters, their corners, and the right frame size."""

import numpy as np
import pytest
import torch
from synthetic import moving_clip
from torch import nn

from model.baseline import transforms_from_parameters
from training.baseline_learner import BaselineLearner, transforms
from training.clips import Clip
from tusrec.errors import InputError


class Constant(nn.Module):
    """Answers every pair alike."""

    def __init__(self, parameters: list[float]) -> None:
        super().__init__()
        self.parameters_ = nn.Parameter(torch.tensor(parameters))

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        assert pairs.shape[1:] == (2, 480, 640)
        assert 0 <= pairs.min() <= pairs.max() <= 1
        return self.parameters_.expand(len(pairs), -1)


@pytest.fixture(scope="module")
def learner() -> BaselineLearner:
    return BaselineLearner(torch.device("cpu"))


@pytest.fixture(scope="module")
def clip() -> Clip:
    small = moving_clip()
    frames = np.tile(small.frames, (1, 5, 7))[:, :480, :640]
    return Clip(frames, small.T_first_from_frame, small.spacing, (1, 0))


def test_parameters_mean_what_the_estimator_reads_in_them() -> None:
    parameters = np.random.default_rng(0).normal(size=(5, 6))
    found = transforms(torch.tensor(parameters))
    np.testing.assert_allclose(found.numpy(), transforms_from_parameters(parameters), atol=1e-12)


def test_the_loss_is_the_mean_square_of_the_corners_error(
    learner: BaselineLearner, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = [0, 0, 0, -clip.spacing[0], 0, 0]
    for extra, expected in ((0.0, 0.0), (0.6, 0.6**2 / 3)):
        network = Constant([*right[:5], right[5] + extra])
        monkeypatch.setattr(learner, "network", network)
        loss, pairs = learner.loss(learner.draw([clip], np.random.default_rng(0)))
        assert pairs == 5
        assert loss.item() == pytest.approx(expected, abs=1e-4)


def test_frames_of_another_size_are_refused(learner: BaselineLearner) -> None:
    with pytest.raises(InputError, match="480"):
        learner.prepare(moving_clip())
