"""The bars of the pose model's speed and memory, on two threads of the CPU.

`python -m bench.pose_model`; with random weights where there are none, since speed does not depend
on them. Frames are the sample's over and over, read from an HDF5 file a slice at a time. The
organisers' network is run as they run it: one pair after another in float32.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch

from bench.console import GB, in_child, say, seconds
from bench.sample import sample_calibration, sample_frames
from model.baseline import build_network
from model.learned import Learned
from model.pose_net import INTERVALS, PoseNet
from tusrec.entry import exit_code_of
from tusrec.errors import WeightsError
from tusrec.hdf5 import Hdf5Frames, find_dataset, open_hdf5
from tusrec.memory import peak_bytes

THREADS = 2
CPU = torch.device("cpu")


def main() -> int:
    """Run every measurement and print one line for each."""
    torch.set_num_threads(THREADS)
    say(speed())
    say(memory())
    say(linearity())
    return 0


def speed(frames: int = 200, pairs: int = 6, times: int = 3) -> str:
    """All intervals of a scan against the organisers' network on a few pairs, taken in turn."""
    network, estimator = build_network(), our_estimator()
    with scan_on_disk(frames) as path:
        taken = [
            (seconds_a_pair(network, path, pairs), seconds_to_estimate(estimator, path) / frames)
            for _ in range(times)
        ]
    theirs, ours = np.transpose(taken)
    return (
        f"tusrec, intervals {', '.join(map(str, INTERVALS))}: {1 / np.median(ours):.1f} frames/s; "
        f"organisers' network {1 / np.median(theirs):.1f} pairs/s: "
        f"{np.median(theirs / ours):.1f} times faster (medians of {times}; bar: 5)"
    )


def memory(frames: int = 1500) -> str:
    """Peak of a process that estimates a scan."""
    with scan_on_disk(frames) as path:
        found = in_child("bench.pose_model", str(path))
    imported, peak = map(float, found.split())
    return (
        f"{frames} frames: peak {peak / GB:.2f} GB, of which imports and weights "
        f"{imported / GB:.2f} (bar: 2.5)"
    )


def measured_here(path: str) -> int:
    """Print the peak bytes of this process before and after estimating a scan."""
    torch.set_num_threads(THREADS)
    estimator = our_estimator()
    before = peak_bytes()
    seconds_to_estimate(estimator, Path(path))
    say(f"{before} {peak_bytes()}")
    return 0


def linearity(lengths: tuple[int, int, int] = (200, 800, 3000)) -> str:
    """What one more frame costs, from a short scan to a middling and from that to a long one."""
    estimator, taken = our_estimator(), []
    for frames in lengths:
        with scan_on_disk(frames) as path:
            taken.append(seconds_to_estimate(estimator, path))
    each = np.diff(taken) / np.diff(lengths)
    listed = ", ".join(f"{s:.1f} s for {n}" for s, n in zip(taken, lengths, strict=True))
    return (
        f"{listed} frames: one more costs {1000 * each[0]:.1f}, then {1000 * each[1]:.1f} ms, "
        f"{each[1] / each[0]:.2f} as much (linear: 0.8 to 1.25)"
    )


def our_estimator() -> Learned:
    """The shipped estimator, or where there are no weights one of random ones."""
    try:
        return Learned.from_weights()
    except WeightsError:
        return Learned(PoseNet())


def seconds_to_estimate(estimator: Learned, path: Path, device: torch.device = CPU) -> float:
    """Wall-clock time of the whole estimate of a scan on disk."""
    calibration = sample_calibration()
    with open_hdf5(path) as file:
        frames = Hdf5Frames(find_dataset(file, "frames"))
        return seconds(lambda: estimator.estimate(frames, calibration, device))


def seconds_a_pair(network: torch.nn.Module, path: Path, pairs: int) -> float:
    """Median wall-clock time of one pair of the organisers' network, after a first one."""
    with open_hdf5(path) as file:
        frames = Hdf5Frames(find_dataset(file, "frames"))[0 : pairs + 2]

    def compare(first: int) -> torch.Tensor:
        pair = torch.from_numpy(frames[first : first + 2]).float() / 255
        compared: torch.Tensor = network(pair[None])
        return compared

    with torch.inference_mode():
        taken = [seconds(partial(compare, first)) for first in range(pairs + 1)]
    return float(np.median(taken[1:]))


@contextmanager
def scan_on_disk(frames: int) -> Iterator[Path]:
    """An HDF5 file of the sample's frames over and over, to and fro, while the block runs."""
    sample = sample_frames()
    there_and_back = np.concatenate([sample, sample[::-1]])
    with tempfile.TemporaryDirectory(prefix="tusrec-bench-") as folder:
        path = Path(folder) / "frames.h5"
        with h5py.File(path, "w") as file:
            written = file.create_dataset("frames", (frames, *sample.shape[1:]), np.uint8)
            for start in range(0, frames, len(there_and_back)):
                rest = min(len(there_and_back), frames - start)
                written[start : start + rest] = there_and_back[:rest]
        yield path


if __name__ == "__main__":
    work = partial(measured_here, *sys.argv[1:]) if len(sys.argv) > 1 else main
    sys.exit(exit_code_of(work))
