"""Which way a scan goes at every step: signs of steps that only their sizes and axes tell.

Two steps that were measured up to sign, and the motion over both, tell whether the motion went on
or turned: their sum or their difference is the longer one, in three dimensions. All intervals vote
on the signs of the steps they span, and the hand moves as hands do; the signs with the most votes
are found by dynamic programming (Viterbi, 1967) over those of the last REACH steps.

Motions are (n, 3) in mm: their square is the mean square over the image.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from model.saturation import Saturation

Array = NDArray[np.float64]

REACH = 8
STATES = 2**REACH
SIGNS = 2.0 * (np.arange(STATES)[:, None] >> np.arange(REACH)[::-1] & 1) - 1.0
"""Signs (STATES, REACH) of the last steps by state; the last column is the newest step's."""

FLOOR_MM = 0.02  # what is wrong with a pair besides what it tells,
RELATIVE = 0.2  # and what of its size
TAILS = 8.0  # degrees of freedom of Student's distribution of what is wrong with a pair
HAND_TAILS = 10.0  # and of how the hand departs from what it was expected to do
HAND_SPEEDS_MM = (0.05, 0.4)  # a step, standard deviation: at rest or turning, and on its way
HAND_FRAMES = 8.0  # in which its speed changes
TREMOR_MM = 0.055  # of its place, in each of three numbers, independent from frame to frame


@dataclass(frozen=True)
class Seen:
    """Motions (n, 3) up to sign over one interval, and their covariance (n, 3, 3)."""

    motion: Array
    covariance: Array


@dataclass(frozen=True)
class _Doubted:
    """Pairs (n, 3), and what whitens (n, 3, 3) their difference from the sums of their steps."""

    motion: Array
    whitening: Array

    def likelihood(self, sums: Array, saturation: Saturation) -> Array:
        """Log likelihood (n, P) of each pair where one of P sums (n, 3, P), up to sign, is true."""
        share = saturation.at(np.linalg.norm(sums, axis=1))
        expected = self.whitening @ sums
        seen = np.einsum("nij,nj->ni", self.whitening, self.motion)
        agreement = np.abs(np.einsum("ni,nip->np", seen, expected))
        size2 = np.einsum("nip,nip->np", expected, expected)
        error2 = share**2 * size2 - 2 * share * agreement + (seen**2).sum(axis=1)[:, None]
        return _student(np.maximum(error2, 0.0), TAILS)


def find_signs(seen: Mapping[int, Seen], steps: Seen, saturation: Saturation) -> Array:
    """Signs (S,) of steps (S, 3), of which the first keeps its own.

    seen: by interval k, at most REACH, (S-k+1) pairs; interval 1 is not looked at.
    """
    score = _hand_score(steps)
    for interval, pairs in seen.items():
        if interval > 1:
            doubted = _doubted(pairs, steps, interval)
            score[interval - 1 :] += _pair_score(doubted, steps.motion, interval, saturation)
    return _best_signs(score)


def _doubted(pairs: Seen, steps: Seen, interval: int) -> _Doubted:
    summed = sliding_window_view(steps.covariance, interval, axis=0).sum(axis=-1)
    besides = FLOOR_MM**2 + RELATIVE**2 * (pairs.motion**2).sum(axis=1)
    spread = pairs.covariance + summed + besides[:, None, None] * np.eye(3)
    return _Doubted(pairs.motion, np.linalg.inv(np.linalg.cholesky(spread)))


def _pair_score(pairs: _Doubted, steps: Array, interval: int, saturation: Saturation) -> Array:
    """Log likelihood (n, STATES) of the pairs that end in each step."""
    half = pairs.likelihood(_signed_sums(steps, np.ones(interval)), saturation)
    return np.tile(_mirrored(half), (1, STATES >> interval))


def _student(error2: Array, tails: float) -> Array:
    """Log density, but for a constant, of three whitened numbers by the sum of their squares."""
    return np.asarray(-(tails + 3) / 2 * np.log1p(error2 / tails))


def _hand_score(steps: Seen) -> Array:
    """Log likelihood (S, STATES) of each step after those before it, at either speed."""
    before = REACH - 1
    motion = np.concatenate([np.zeros((before, 3)), steps.motion])
    covariance = np.concatenate([np.zeros((before, 3, 3)), steps.covariance])
    last = sliding_window_view(covariance, REACH, axis=0)
    scores = []
    for speed in HAND_SPEEDS_MM:
        weights, own = _hand_predictor(speed)
        root = np.linalg.cholesky(own * np.eye(3) + last @ weights**2)
        error = np.linalg.inv(root) @ _signed_sums(motion, weights)
        tails = _student(np.einsum("nip,nip->np", error, error), HAND_TAILS)
        volume = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
        scores.append(tails - volume[:, None])
    return _mirrored(np.asarray(np.logaddexp.reduce(scores)))


def _hand_predictor(speed: float) -> tuple[Array, float]:
    """Weights (REACH,) whose sum with the last steps is the newest one's surprise; its variance.

    Least squares for a velocity that wanders smoothly, with tremor of the place added: each step
    holds the difference of two tremors.
    """
    apart = np.abs(np.subtract.outer(np.arange(REACH), np.arange(REACH)))
    covariance = speed**2 * np.exp(-(apart**2) / (2 * HAND_FRAMES**2))
    covariance += TREMOR_MM**2 * (2.0 * (apart == 0) - 1.0 * (apart == 1))
    weights = np.linalg.solve(covariance[:-1, :-1], covariance[:-1, -1])
    return np.append(-weights, 1.0), float(covariance[-1, -1] - weights @ covariance[:-1, -1])


def _signed_sums(steps: Array, weights: Array) -> Array:
    """Weighted sums (n, 3, 2^(k-1)) of every k steps (S, 3), the oldest one's sign being -."""
    interval = len(weights)
    patterns = SIGNS[: 2 ** (interval - 1), REACH - interval :]
    return np.asarray(sliding_window_view(steps, interval, axis=0) @ (patterns * weights).T)


def _mirrored(half: Array) -> Array:
    """Scores (n, 2P) of all patterns from those (n, P) of one half: a mirror image scores alike."""
    return np.concatenate([half, half[:, ::-1]], axis=1)


def _best_signs(score: Array) -> Array:
    """Signs (S,) of the path of the highest score; score: (S, STATES) of the state at each step."""
    total = np.where(np.arange(STATES) & 1 == 1, score[0], -np.inf)
    came_from = np.zeros((len(score), STATES), dtype=np.int16)
    for step in range(1, len(score)):
        # Onward the sign that drops out was + or -, and the newest one may be either.
        older = np.repeat(total, 2).reshape(2, STATES)
        dropped = older.argmax(axis=0)
        came_from[step] = (np.arange(STATES) >> 1) + STATES // 2 * dropped
        total = older.max(axis=0) + score[step]
    path = [int(total.argmax())]
    for step in range(len(score) - 1, 0, -1):
        path.append(int(came_from[step, path[-1]]))
    return np.asarray(SIGNS[path[::-1], -1])
