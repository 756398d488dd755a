"""Pairs of frames measured by each estimator on data that none was trained on.

python -m bench.score --clips HELD_OUT --real DATASET --checkpoint FILE --classical

Sign left open per pair; error is over that of identity. Of the classical estimator, whose public
answer are local motions, longer intervals are chained.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from model.classical import Classical
from model.pose_net import PoseNet
from model.weights import load_into
from training.checkpoint import read_average
from training.clips import Clip, find_clips, read_clip
from training.measure import NAMES, Motions, network_motions, summary
from training.pose_learner import Prepared, prepare, true_motion
from training.tracked import tracked_clips
from tusrec import poses
from tusrec.calibration import from_spacing
from tusrec.layouts import find_scans

INTERVALS = (1, 4)
Measure = Callable[[Clip, Prepared, int], Motions]


def network_row(checkpoint: Path) -> Measure:
    """Pairs as the network of a checkpoint measures them."""
    network = PoseNet()
    load_into(network, read_average(checkpoint), str(checkpoint))
    network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return lambda _, prepared, interval: network_motions(network, prepared, interval)


def classical(clip: Clip, prepared: Prepared, interval: int) -> Motions:
    """Pairs as chained from the classical estimator's local motions."""
    calibration = from_spacing(*clip.spacing)
    local = Classical().estimate(clip.frames, calibration, torch.device("cpu"))
    T = np.concatenate([np.eye(4)[None], poses.chain(local.T_previous_from_frame)])
    about_centre = poses.about_point(T, prepared.canvas.centre_mm)
    found = poses.log(poses.inverse(about_centre[:-interval]) @ about_centre[interval:])
    first = np.arange(len(found))
    true = true_motion(prepared, np.column_stack([first, first + interval]))
    half_extent = np.tile(prepared.canvas.half_extent_mm, (len(found), 1))
    return Motions(true, found, np.full_like(found, np.nan), half_extent)


def real_clips(dataset: Path) -> Iterator[Clip]:
    """Each tracked scan of a data set as one clip."""
    for source in find_scans(dataset).scans:
        with source.open() as scan:
            yield from tracked_clips(scan, scan.frames.shape[0])


def table(name: str, clips: Iterable[Clip], rows: dict[str, Measure]) -> Iterator[str]:
    """Lines that tell each row's error, slopes and correlations at each interval."""
    pairs = [(clip, prepare(clip)) for clip in clips]
    yield f"{name}: {len(pairs)} clips"
    head = " ".join(f"{part[:11]:>13}" for part in NAMES)
    yield f"{'':24}{'error':>6} {'in-plane':>8} {'|z| slope rank':>15}  slope (correlation): {head}"
    for row, measure in rows.items():
        for interval in INTERVALS:
            motions = [measure(c, p, interval) for c, p in pairs if len(c.frames) > interval]
            yield _line(f"{row}, interval {interval}", Motions.joined(motions))


def _line(label: str, motions: Motions) -> str:
    found = summary(motions)
    rank = spearmanr(*(np.abs(part[:, 5]) for part in (motions.true, motions.predicted))).statistic
    cells = " ".join(f"{found[f'slope {n}']:6.2f} ({found[f'corr {n}']:4.2f})" for n in NAMES)
    size = f"{found['size slope']:8.2f} {rank:6.2f}"
    return f"{label:24}{found['error']:6.3f} {found['in-plane error']:8.3f} {size:>15} {cells:>98}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each folder of clips and each real data set."""
    command = argparse.ArgumentParser(prog="bench.score", description=__doc__)
    command.add_argument("--clips", type=Path, nargs="*", default=[])
    command.add_argument("--real", type=Path, nargs="*", default=[])
    command.add_argument("--checkpoint", type=Path, nargs="*", default=[])
    command.add_argument("--classical", action="store_true", help="a row of the classical one too")
    options = command.parse_args(arguments)
    rows: dict[str, Measure] = {"classical": classical} if options.classical else {}
    rows |= {path.parent.name: network_row(path) for path in options.checkpoint}
    for folder in options.clips:
        clips = map(read_clip, find_clips(folder))
        sys.stdout.writelines(f"{line}\n" for line in table(folder.name, clips, rows))
    for dataset in options.real:
        lines = table(dataset.name, real_clips(dataset), rows)
        sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
