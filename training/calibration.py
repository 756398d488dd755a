"""Scales that hold what they promise: measured on clips that the network was not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.canonical import Canvas
from model.pose_net import INTERVALS, PoseNet
from model.steps import fused
from training.measure import (
    LAPLACE_OVER_SD,
    LAPLACE_WIDTH,
    SHARE,
    Motions,
    nearest_mirror,
    network_motions,
)
from training.pose_learner import Prepared


def calibrated(network: PoseNet, clips: Sequence[Prepared]) -> dict[str, Tensor]:
    """The network's weights with scales so stretched that 68 % intervals hold 68 %.

    One factor for each degree of freedom and interval, over the pairs of all clips, and then one
    for each freedom of the steps that these are fused to.
    """
    found = [network_motions(network, clip, INTERVALS) for clip in clips]
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    for row, interval in enumerate(INTERVALS):
        factors = stretch(Motions.joined([motions[interval] for motions in found]))
        weights["stretch"][row] *= torch.from_numpy(factors)
        for motions in found:
            pairs = motions[interval]
            motions[interval] = replace(pairs, scale=pairs.scale * factors)
    steps = [steps_of(motions, clip.canvas) for motions, clip in zip(found, clips, strict=True)]
    weights["step_stretch"] = torch.from_numpy(stretch(Motions.joined(steps))).float()
    return weights


def stretch(motions: Motions) -> NDArray[np.float64]:
    """Factors (6,) on the scales by which SHARE of the truth lies within LAPLACE_WIDTH of them."""
    off = np.abs(nearest_mirror(motions) - motions.true) / motions.scale
    measured = np.isfinite(motions.scale).all(axis=1)
    return np.asarray(np.quantile(off[measured], SHARE, axis=0) / LAPLACE_WIDTH)


def steps_of(motions: Mapping[int, Motions], canvas: Canvas) -> Motions:
    """The steps of one clip that its pairs are fused to, with scales from their covariance."""
    pairs = {k: (found.predicted, found.scale) for k, found in motions.items()}
    xi, covariance = fused(pairs, canvas, len(motions[1].true))
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    return replace(motions[1], predicted=xi, scale=LAPLACE_OVER_SD * sd)
