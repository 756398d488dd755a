"""The held-out simulated set of `bench.score`, in the challenge's validation layout.

python -m bench.held_out [--output DIR] [--jobs N]

Rotation scans and sweeps of 400 frames, cut from whole ones: one drawn as short as that would make
a small excursion only. All else is drawn as `simulate.py` does; poses are exact. A run that was
stopped goes on where it was, and a set that is there is left alone.
"""

import argparse
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sim import EVALUATION_SEED, SIMULATOR
from sim.card import write_card
from sim.dataset import holds, write_calibration
from sim.scan import Scan, draw_recipe
from sim.stream import Excerpt, excerpt
from tusrec.entry import GOES_ON, exit_code_of
from tusrec.files import atomic_path
from tusrec.hdf5 import create_hdf5
from tusrec.layouts import IMAGE_SIZE, find_scans
from tusrec.names import CALIBRATION_FILE, KEYS_FILE
from tusrec.options import whole_number
from tusrec.scans import ScanSource
from tusrec.spread import spread

SEED = EVALUATION_SEED + 300
FRAMES = 400
SWEEPS = ("Per_L_DtP", "Per_C_PtD", "Per_S_DtP", "Par_L_PtD", "Par_C_DtP", "Par_S_PtD")
PROTOCOLS = ("rotation",) * 12 + SWEEPS
LANDMARKS = {"rotation": 100}  # as in 2025; sweeps have 20, as in 2024
FIRST_SUBJECT = 900
FOLDER = Path(".cache/score") / f"seed_{SEED}_simulator_{SIMULATOR}"


@dataclass(frozen=True)
class Item:
    """One scan of the set: its number, protocol and frames."""

    number: int
    protocol: str
    frames: int

    @property
    def key(self) -> str:
        """Its key in dataset_keys.h5."""
        return f"sub{FIRST_SUBJECT + self.number}__RH_{self.protocol}"


def items(protocols: Sequence[str] = PROTOCOLS, frames: int = FRAMES) -> list[Item]:
    """The scans of the set."""
    return [Item(number, protocol, frames) for number, protocol in enumerate(protocols)]


def make(folder: Path, scans: Sequence[Item], jobs: int = 1) -> Path:
    """Make the set in `folder` unless it is there; dataset_keys.h5 comes last.

    Raises InputError for a folder that holds another data set or an older simulator's, OutputError
    if it cannot be written.
    """
    # Training knows by the card not to use the set.
    write_card(folder, {"seed": SEED}, {})
    if (folder / KEYS_FILE).exists():
        return folder
    made = spread(partial(write_scan, folder), scans, jobs)
    deque(tqdm(made, total=len(scans), unit="scan", desc="held-out set"), maxlen=0)
    calibration = Scan(draw_recipe((SEED, 0), "rotation", frames=2)).calibration  # of all alike
    write_calibration(folder / CALIBRATION_FILE, calibration)
    with atomic_path(folder / KEYS_FILE) as path, create_hdf5(path) as file:
        for item in scans:
            file[item.key] = item.key
    return folder


def sources() -> dict[str, ScanSource]:
    """The scans of the set by their keys; they are made unless they are there."""
    folder = make(FOLDER, items(), jobs=2)
    return {source.key: source for source in find_scans(folder).scans}


def write_scan(folder: Path, item: Item) -> None:
    """Write one scan unless it is there: its frames come last."""
    subject, name = item.key.removeprefix("sub").split("__")
    frames_file, poses_file = (folder / p / subject / f"{name}.h5" for p in ("frames", "transfs"))
    frames, tforms = (item.frames, *IMAGE_SIZE), (item.frames, 4, 4)
    if holds(frames_file, {"frames": frames}) and holds(poses_file, {"tforms": tforms}):
        return
    made = excerpt((SEED, item.number), item.frames, [item.protocol], "convex")
    with atomic_path(poses_file) as path, create_hdf5(path) as file:
        file["tforms"] = made.poses.astype(np.float32)
        file["tforms"].attrs["truth"] = "exact"
    landmarks_file = folder / "landmarks" / f"landmark_{subject}.h5"
    with atomic_path(landmarks_file) as path, create_hdf5(path) as file:
        file[name] = _landmarks(made, item)
    with atomic_path(frames_file) as path, create_hdf5(path) as file:
        file["frames"] = made.frames


def _landmarks(made: Excerpt, item: Item) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return Scan(made.recipe).landmarks(LANDMARKS.get(item.protocol, 20))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 the set is there, 2 another is or it cannot be written, 3 memory."""
    command = argparse.ArgumentParser(prog="bench.held_out", description=__doc__)
    command.add_argument("--output", type=Path, default=FOLDER)
    command.add_argument("--jobs", type=whole_number(1), default=2)
    options = command.parse_args(arguments)
    return exit_code_of(partial(run, options), GOES_ON)


def run(options: argparse.Namespace) -> int:
    """Make the set where it is asked for."""
    make(options.output, items(), options.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
