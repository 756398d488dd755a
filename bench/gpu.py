"""The pose model on a GPU against the CPU: what it finds, its pace and memory, and training's pace.

`python -m bench.gpu`, on a machine with a GPU. Frames are the sample's over and over, read from an
HDF5 file a slice at a time; training's batches lie ready in the host's memory.
"""

import sys
from functools import partial

import numpy as np
import torch

from bench.console import GB, say, seconds
from bench.pose_model import CPU, our_estimator, scan_on_disk, seconds_to_estimate
from bench.sample import sample_calibration, sample_frames
from model.device import choose_device, describe_device, repeatable_float32
from model.interface import LocalMotions
from model.learned import Learned
from model.pose_net import PoseNet
from model.weights import load_into, load_weights
from train import descend
from training.checkpoint import Progress, begun
from training.clips import Clip
from training.pose_learner import PoseLearner
from training.prepared import prepare
from tusrec.entry import exit_code_of

CLIPS = (3, 12, 24)  # in a batch
CLIP_FRAMES = 32


def main() -> int:
    """Run every measurement and print one line for each."""
    device = choose_device("cuda")
    say(describe_device(device))
    say(agreement(device))
    for frames in (400, 1500):
        say(speed(device, frames))
    for clips in CLIPS:
        say(training_pace(device, clips))
    return 0


def agreement(device: torch.device) -> str:
    """Steps of the sample by float32 there and here, and by what is fast there."""
    network = PoseNet()
    load_into(network, load_weights("tusrec")[0], "weights")
    exact = Learned(network, precision=torch.float32)
    with repeatable_float32():
        here, there = (_steps_of_sample(exact, where) for where in (CPU, device))
    fast = _steps_of_sample(our_estimator(), device)
    return (
        f"sample, motion over one step: GPU against CPU, both float32, {_difference(there, here)}; "
        f"GPU as it is used against that, {_difference(fast, there)}"
    )


def speed(device: torch.device, frames: int) -> str:
    """The whole estimate of a scan, and the most of the GPU's memory that it took."""
    estimator = our_estimator()
    with scan_on_disk(frames) as path:
        seconds_to_estimate(estimator, path, device)
        torch.cuda.reset_peak_memory_stats(device)
        taken = seconds_to_estimate(estimator, path, device)
    peak = torch.cuda.max_memory_allocated(device) / GB
    return (
        f"{frames} frames: {taken:.2f} s, {frames / taken:.0f} frames/s; {peak:.2f} GB of the GPU"
    )


def training_pace(device: torch.device, clips: int, steps: int = 20) -> str:
    """Steps of training on batches of so many clips."""
    learner = PoseLearner(device)
    state = begun(learner.network, Progress("tusrec", 0))
    prepared = [prepare(_clip())] * clips
    batches = [learner.draw(prepared, np.random.default_rng(n)) for n in range(4)]

    def train(steps: int) -> None:
        for step in range(steps):
            loss, _ = learner.loss(batches[step % len(batches)])
            descend(loss, learner.network, state, 1e-4)
        torch.cuda.synchronize(device)

    torch.cuda.reset_peak_memory_stats(device)
    train(5)  # which choose their algorithms
    each = seconds(partial(train, steps)) / steps
    pairs = len(batches[0].pairs)
    peak = torch.cuda.max_memory_allocated(device) / GB
    return (
        f"training, {clips} clips a batch: {1000 * each:.0f} ms a step of {pairs} pairs, "
        f"{pairs / each:.0f} pairs/s; {peak:.1f} GB of the GPU"
    )


def _steps_of_sample(estimator: Learned, device: torch.device) -> LocalMotions:
    return estimator.estimate(sample_frames(), sample_calibration(), device)


def _difference(found: LocalMotions, other: LocalMotions) -> str:
    """Largest and mean difference of the translations, mm."""
    away = (found.T_previous_from_frame - other.T_previous_from_frame)[:, :3, 3]
    lengths = np.linalg.norm(away, axis=1)
    return f"{lengths.max():.4f} mm at most, {lengths.mean():.4f} mm in the mean"


def _clip() -> Clip:
    T = np.tile(np.eye(4), (CLIP_FRAMES, 1, 1))
    T[:, 2, 3] = 0.3 * np.arange(CLIP_FRAMES)
    return Clip(sample_frames()[:CLIP_FRAMES], T, sample_calibration().spacing, (1, 0))


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
