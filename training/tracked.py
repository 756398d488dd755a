"""Clips of tracked scans: any data set that `tusrec.layouts` reads, 2024 and 2025 among them.

python -m training.tracked DATASET FOLDER

The clips of one subject's scans go to FOLDER/sub000 and so on, so that folds keep subjects apart.
The challenge's data are CC BY-NC-SA; so are weights that were trained on them.
"""

import argparse
import glob
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from tusrec.entry import GOES_ON, exit_code_of, heed_signals

if __name__ == "__main__":
    heed_signals()

from tqdm import tqdm

from model.repeats import Picked, pictures
from model.screen import Screen
from sim.card import CARD
from sim.stream import require_training_seed
from training import canvases
from training.clips import REAL_SEED, Clip, write_clip
from training.simulated import LENGTH
from tusrec import poses
from tusrec.errors import InputError
from tusrec.files import readable, write_bytes
from tusrec.layouts import find_scans
from tusrec.scans import Scan, ScanSource

T = TypeVar("T")
log = logging.getLogger("training.tracked")


def cut(scan: Scan, firsts: Iterable[int], length: int) -> Iterator[Clip]:
    """Clips of `length` frames, or as many as there are, from some on.

    They remember the screen that the whole scan was shown on, and begin as many frames earlier as
    it takes to undo its persistence. Raises InputError for a scan without tracked poses.
    """
    screen = Screen.of(Picked(scan.frames, pictures(scan.frames)))  # as estimators look at it
    for first in firsts:
        start = max(first - screen.reach, 0)
        yield replace(excerpt(scan, start, first - start + length), screen=screen)


def excerpt(scan: Scan, first: int, length: int) -> Clip:
    """Frames first..first + length - 1 of a scan, or as many as there are.

    Raises InputError for a scan without tracked poses.
    """
    if scan.T_camera_from_tool is None:
        raise InputError(f"{scan.key}: found no tracked poses, expected tforms to train on")
    T_camera_from_tool = scan.T_camera_from_tool[first : first + length]
    T = T_camera_from_tool @ scan.calibration.T_tool_from_image
    frames = scan.frames[first : first + length]
    return Clip(frames, poses.inverse(T[:1]) @ T, scan.calibration.spacing, (REAL_SEED, first))


def starts(scan: Scan, length: int) -> list[int]:
    """The first frames of a scan's clips, each of which shares one frame with the next.

    The last one shares more, to be as long as the others: a few frames would hardly tell what of
    the picture moves.
    """
    count = scan.frames.shape[0]
    return [min(first, max(count - length, 0)) for first in range(0, count - 1, length - 1)]


def subject_of(key: str) -> str:
    """The subject in a scan's key, `sub050` of sub050__RH_rotation."""
    return key.split("__", maxsplit=1)[0]


def require_trainable(dataset: Path) -> None:
    """Raise InputError for a simulated data set whose seed is kept for evaluation.

    It is looked for in the folder and in those in it: `find_scans` goes into one that is alone.
    """
    for card in cards_of(dataset):
        require_training_seed(_seed_on(card))


def cards_of(dataset: Path) -> list[Path]:
    """The cards that say that a data set is simulated."""
    with readable(dataset):
        return [c for c in [dataset / CARD, *sorted(dataset.glob(f"*/{CARD}"))] if c.is_file()]


def _seed_on(card: Path) -> int:
    try:
        return int(json.loads(card.read_text(encoding="utf-8"))["order"]["seed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{card}: found {type(error).__name__} ({error}), expected the card of a simulated "
            "data set; make the set anew, or remove the card if it is none"
        ) from error


def write_tracked_clips(
    dataset: Path, folder: Path, share: tuple[int, int] = (0, 1), *, its_own: bool = False
) -> tuple[int, int]:
    """Write the clips of a data set's scans that are not there yet.

    Returns the number of all clips, and of scans that are unusable, which are told and left out.
    share: (which, of how many) processes divide the scans among themselves. its_own: no other data
    set's clips are in the folder, so that those of scans which this one no longer has are taken
    away.
    """
    require_trainable(dataset)
    which, of = share
    scans = find_scans(dataset).scans
    if its_own:
        _discard_others({scan.key for scan in scans}, folder)
    told = tqdm(scans[which::of], desc=f"{dataset.name} to clips", unit="scan", disable=None)
    written = list(of_usable(told, partial(_write, folder=folder), partial(_discard, folder)))
    return sum(written), len(scans[which::of]) - len(written)


def _discard_others(keys: set[str], folder: Path) -> None:
    """Take away clips of all scans but those of `keys`."""
    for path in folder.glob("*/*.cut"):
        key = path.name.removesuffix(".cut")
        if key not in keys:
            _discard(folder, key)


def of_usable(
    sources: Iterable[ScanSource],
    use: Callable[[Scan], T],
    refused: Callable[[str], None] = lambda _: None,
) -> Iterator[T]:
    """What `use` makes of each scan; those that it or their reader refuses are told.

    refused: told the key of each of these.
    """
    for source in sources:
        try:
            with source.open() as scan:
                yield use(scan)
        except InputError as error:
            log.warning("left out: %s", error)
            refused(source.key)


def _write(scan: Scan, folder: Path) -> int:
    """Each clip appears complete or not at all, so a scan goes on where it was cut short."""
    subject = folder / subject_of(scan.key)
    _discard_stale(scan, subject)
    firsts = starts(scan, LENGTH)
    paths = {first: subject / f"{scan.key}_{first:05d}.safetensors" for first in firsts}
    missing = {first: path for first, path in paths.items() if not path.exists()}
    if missing:
        for path, clip in zip(missing.values(), cut(scan, missing, LENGTH), strict=True):
            write_clip(clip, path)
    return len(paths)


def _discard_stale(scan: Scan, subject: Path) -> None:
    """Take away clips cut before the scan, its calibration, or the code of screens changed."""
    screens = canvases.code_of(canvases.OF_SCREENS)
    digests = f"{scan.frames_sha256()} {scan.beside_sha256()} {screens}"
    now = f"{digests} {scan.calibration.spacing} {LENGTH}".encode()
    path = subject / f"{scan.key}.cut"
    if not path.exists() or path.read_bytes() != now:
        _discard(subject.parent, scan.key)
        write_bytes(path, now, "what clips were cut from")


def _discard(folder: Path, key: str) -> None:
    """Take away a scan's clips, and what says from what they were cut."""
    subject = folder / subject_of(key)
    for clip in subject.glob(f"{glob.escape(key)}_?????.safetensors"):
        canvases.of(clip).unlink(missing_ok=True)
        clip.unlink(missing_ok=True)
    (subject / f"{key}.cut").unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 all written, 2 something was missing or unusable."""
    command = argparse.ArgumentParser(prog="training.tracked", description=__doc__)
    command.add_argument("dataset", type=Path)
    command.add_argument("folder", type=Path)
    return exit_code_of(partial(run, command.parse_args(arguments)), GOES_ON)


def run(options: argparse.Namespace) -> int:
    """Cut the data set into clips, and say into how many; the exit code."""
    _require_recorded(options.dataset)
    clips, left_out = write_tracked_clips(options.dataset, options.folder)
    log.info("%d clips, %d scans left out", clips, left_out)
    return InputError.exit_code if left_out else 0


def _require_recorded(dataset: Path) -> None:
    """Raise InputError for a simulated set: its clips alone would not tell that they are none's."""
    for card in cards_of(dataset):
        raise InputError(
            f"{card}: found the card of a simulated data set, expected tracked scans of people; "
            "train.py takes it as it is (--data)"
        )


if __name__ == "__main__":
    sys.exit(main())
