"""Scales that hold what they promise: measured on clips that the network was not trained on."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.pose_net import INTERVALS, PoseNet
from training.measure import Motions, nearest_mirror, network_motions
from training.pose_learner import Prepared

SHARE = 0.68
LAPLACE_WIDTH = -float(np.log(1 - SHARE))  # scales to either side that hold this share


def calibrated(network: PoseNet, clips: Iterable[Prepared]) -> dict[str, Tensor]:
    """The network's weights with its scales stretched so that 68 % intervals hold 68 %.

    One factor for each degree of freedom and interval, over the pairs of all clips.
    """
    found = [network_motions(network, clip, INTERVALS) for clip in clips]
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    for row, interval in enumerate(INTERVALS):
        motions = Motions.joined([by_interval[interval] for by_interval in found])
        weights["stretch"][row] *= torch.from_numpy(stretch(motions))
    return weights


def stretch(motions: Motions) -> NDArray[np.float64]:
    """Factors (6,) on the scales by which SHARE of the truth lies within LAPLACE_WIDTH of them."""
    off = np.abs(nearest_mirror(motions) - motions.true) / motions.scale
    return np.asarray(np.quantile(off, SHARE, axis=0) / LAPLACE_WIDTH)
