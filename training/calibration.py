"""Scales that hold what they promise: measured on clips that the network was not trained on."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.learned import INTERVALS
from model.pose_net import PoseNet
from training.measure import Motions, nearest_mirror, network_motions
from training.pose_learner import Prepared

SHARE = 0.68
LAPLACE_WIDTH = -float(np.log(1 - SHARE))  # scales to either side that hold this share


def calibrated(network: PoseNet, clips: Iterable[Prepared]) -> dict[str, Tensor]:
    """The network's weights with its scales stretched so that 68 % intervals hold 68 %.

    One factor for each degree of freedom, over the pairs of all intervals of all clips.
    """
    motions = [network_motions(network, clip, INTERVALS) for clip in clips]
    found = Motions.joined([m for by_interval in motions for m in by_interval.values()])
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    last = f"sureness.{len(network.sureness) - 1}.bias"  # what it adds to the logarithms
    weights[last] += torch.from_numpy(np.log(stretch(found))).to(weights[last])
    return weights


def stretch(motions: Motions) -> NDArray[np.float64]:
    """Factors (6,) on the scales by which SHARE of the truth lies within LAPLACE_WIDTH of them."""
    off = np.abs(nearest_mirror(motions) - motions.true) / motions.scale
    return np.asarray(np.quantile(off, SHARE, axis=0) / LAPLACE_WIDTH)
