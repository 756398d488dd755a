"""Scales that hold what they promise: measured on clips that the network was not trained on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

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
    covered,
    nearest_mirror,
    network_motions,
)
from training.prepared import Prepared

Found = tuple[dict[int, Motions], Canvas]  # in one clip
Whose = tuple[str, Prepared]  # the subject of a clip, and the clip
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Factors:
    """Factors (6,) on the scales of pairs, by interval, and of the steps that they are fused to."""

    pairs: dict[int, NDArray[np.float64]]
    steps: NDArray[np.float64]

    @classmethod
    def of(cls, found: Sequence[Found]) -> Self:
        """Those by which 68 % intervals hold 68 %, over the pairs of all clips, then over steps."""
        by_interval = {k: Motions.joined([motions[k] for motions, _ in found]) for k in INTERVALS}
        pairs = {k: stretch(motions) for k, motions in by_interval.items()}
        steps = [steps_of(_scaled(motions, pairs), canvas) for motions, canvas in found]
        return cls(pairs, stretch(Motions.joined(steps)))


def calibrated(network: PoseNet, clips: Sequence[Whose]) -> dict[str, Tensor]:
    """The network's weights with scales so stretched that 68 % intervals hold 68 %.

    Of several subjects it is told how much intervals that either half sets hold of the other.
    """
    found = [(network_motions(network, clip, INTERVALS), clip.canvas) for _, clip in clips]
    halves = in_halves([subject for subject, _ in clips])
    if halves.any():
        for what, shares in held_across(found, halves).items():
            told = f"{100 * shares.min():.0f}-{100 * shares.max():.0f} %"
            log.info("%s: 68 %% intervals set on half of them hold %s of the rest", what, told)
    factors = Factors.of(found)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    for row, interval in enumerate(INTERVALS):
        weights["stretch"][row] *= torch.from_numpy(factors.pairs[interval])
    weights["step_stretch"] = torch.from_numpy(factors.steps).float()
    return weights


def in_halves(subjects: Sequence[str]) -> NDArray[np.bool_]:
    """Which clips (N,) are in the second half: of every second subject."""
    order = list(dict.fromkeys(subjects))
    return np.array([order.index(subject) % 2 == 1 for subject in subjects])


def held_across(
    found: Sequence[Found], second: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Shares (2, 6) of the truth in each half of the clips inside intervals set on the other.

    second: (N,) which clips are in the second half.
    """
    halves = [[one for one, of in zip(found, second, strict=True) if of == half] for half in (0, 1)]
    both = [_held(other, Factors.of(one)) for one, other in (halves, halves[::-1])]
    return {what: np.array([shares[what] for shares in both]) for what in both[0]}


def _held(found: Sequence[Found], factors: Factors) -> dict[str, NDArray[np.float64]]:
    scaled = [(_scaled(motions, factors.pairs), canvas) for motions, canvas in found]
    steps = Motions.joined([steps_of(motions, canvas) for motions, canvas in scaled])
    parts = {f"pairs {k} apart": Motions.joined([m[k] for m, _ in scaled]) for k in INTERVALS}
    parts["steps"] = replace(steps, scale=steps.scale * factors.steps)
    return {what: covered(motions, nearest_mirror(motions)) for what, motions in parts.items()}


def stretch(motions: Motions) -> NDArray[np.float64]:
    """Factors (6,) on the scales by which SHARE of the truth lies within LAPLACE_WIDTH of them."""
    off = np.abs(nearest_mirror(motions) - motions.true) / motions.scale
    measured = np.isfinite(motions.scale).all(axis=1)
    return np.asarray(np.quantile(off[measured], SHARE, axis=0) / LAPLACE_WIDTH)


def steps_of(motions: Mapping[int, Motions], canvas: Canvas) -> Motions:
    """The steps of one clip that its pairs are fused to, with scales from their covariance."""
    pairs = {k: (found.predicted, found.scale) for k, found in motions.items()}
    spans = np.ones(len(motions[1].true), np.int64)
    xi, covariance = fused(pairs, canvas, spans)
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    return replace(motions[1], predicted=xi, scale=LAPLACE_OVER_SD * sd)


def _scaled(
    motions: Mapping[int, Motions], factors: Mapping[int, NDArray[np.float64]]
) -> dict[int, Motions]:
    return {k: replace(pairs, scale=pairs.scale * factors[k]) for k, pairs in motions.items()}
