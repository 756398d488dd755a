"""Clips of tracked scans: any data set that `tusrec.layouts` reads, 2024 and 2025 among them.

python -m training.tracked DATASET FOLDER

The clips of one subject's scans go to FOLDER/sub000 and so on, so that folds keep subjects apart.
The challenge's data are CC BY-NC-SA; so are weights that were trained on them.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sim.dataset import CARD
from sim.stream import require_training_seed
from training.clips import Clip, write_clip
from training.simulated import LENGTH
from tusrec import poses
from tusrec.errors import InputError, TusrecError
from tusrec.layouts import find_scans
from tusrec.scans import Scan

REAL_SEED = -1  # of clips that no seed made
log = logging.getLogger("training.tracked")


def tracked_clips(scan: Scan, length: int = LENGTH) -> Iterator[Clip]:
    """A scan cut into clips of at most `length` frames, each sharing one frame with the next.

    Raises InputError for a scan without tracked poses.
    """
    if scan.T_camera_from_tool is None:
        raise InputError(f"{scan.key}: found no tracked poses, expected tforms to train on")
    T_camera_from_image = scan.T_camera_from_tool @ scan.calibration.T_tool_from_image
    for first in range(0, scan.frames.shape[0] - 1, length - 1):
        T = T_camera_from_image[first : first + length]
        frames = scan.frames[first : first + length]
        seed = (REAL_SEED, first)
        yield Clip(frames, poses.inverse(T[:1]) @ T, scan.calibration.spacing, seed)


def require_trainable(dataset: Path) -> None:
    """Raise InputError for a simulated data set whose seed is kept for evaluation."""
    card = dataset / CARD
    if card.is_file():
        require_training_seed(json.loads(card.read_text(encoding="utf-8"))["order"]["seed"])


def write_tracked_clips(dataset: Path, folder: Path) -> int:
    """Write the clips of all scans of a data set; returns their number."""
    require_trainable(dataset)
    count = 0
    for source in find_scans(dataset).scans:
        with source.open() as scan:
            subject = scan.key.split("__")[0]
            for clip in tracked_clips(scan):
                write_clip(clip, folder / subject / f"{scan.key}_{clip.seed[1]:05d}.safetensors")
                count += 1
    return count


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 all written, 2 something was missing or unusable."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    command = argparse.ArgumentParser(prog="training.tracked", description=__doc__)
    command.add_argument("dataset", type=Path)
    command.add_argument("folder", type=Path)
    options = command.parse_args(arguments)
    try:
        log.info("%d clips", write_tracked_clips(options.dataset, options.folder))
    except TusrecError as error:
        log.error("error: %s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
