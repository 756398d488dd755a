"""The weights of a run, as the file that the estimators read.

python -m training.export RUN [--weights FOLDER] [--calibrate DIR ...]

Takes the averaged weights of RUN's checkpoint, and writes them and their line of the manifest. With
--calibrate, the pose network's uncertainty is set by clips or tracked data sets that it was not
trained on: of a run with a fold, by the subjects that it held out.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tusrec.entry import exit_code_of, heed_signals

if __name__ == "__main__":
    heed_signals()

from model import baseline, pose_net
from model.weights import (
    WEIGHTS_FOLDER,
    check_weights,
    require_place_for_weights,
    write_weights,
)
from training.calibration import Whose, calibrated
from training.checkpoint import FILE, OF_PEOPLE, Progress, read_average, read_progress
from training.clips import read_training_clip
from training.folds import Fold, Others
from training.prepared import prepare
from training.sources import Source, holds_clips, remembered_as
from training.tracked import cut, of_usable, require_trainable, subject_of
from training.validation import unseen_scans
from tusrec.errors import InputError
from tusrec.frames import evenly_spread
from tusrec.scans import Scan

MODELS = {
    "tusrec": (pose_net.PoseNet, pose_net.ARCHITECTURE),
    "baseline": (baseline.build_network, baseline.ARCHITECTURE),
}
# To set the uncertainty by: of each data set and frames of each, and of each folder of clips.
MOST_SCANS, LONGEST, MOST_CLIPS = 60, 400, 120
SHORTEST = 48  # pictures; of 16 the intervals agree so much less that scales come out twice as wide
log = logging.getLogger("training.export")


def export(run: Path, folder: Path | None = None, unseen: Sequence[Path] = ()) -> Path:
    """Write the weights of a run to `folder`; returns their file.

    unseen: clips and data sets to set the pose network's uncertainty by.
    Raises WeightsError if there is no usable checkpoint, OutputError if they cannot be written,
    InputError where there is nothing to set it by, or for a model without uncertainty.
    """
    path = run / FILE
    progress, weights = read_progress(path), read_average(path)
    build, architecture = MODELS[progress.model]
    network = build()
    check_weights(network, weights, str(path))
    require_place_for_weights(folder)  # first, for to set the uncertainty may take hours
    words = record(progress)
    if unseen:
        if not isinstance(network, pose_net.PoseNet):
            raise InputError(f"--calibrate: found {progress.model}, expected a model of tusrec")
        network.load_state_dict(weights)
        clips = calibration_clips(unseen, progress)
        weights = calibrated(network.eval(), clips)
        names = ", ".join(place.name for place in unseen)
        words += f", uncertainty set by {len(clips)} clips of {names}"
    seen, people = progress.seen, progress.people
    return write_weights(
        progress.model, weights, architecture, words, folder, seen=seen, people=people
    )


def calibration_clips(places: Sequence[Path], progress: Progress) -> list[Whose]:
    """Whose they are, and long clips, laid out, of subjects that a run did not see.

    Scans that are too short or broken are told and left out, and so are short clips. Raises
    InputError for what it saw without a fold, for a broken clip, and if there is none.
    """
    found = [clip for place in places for clip in _unseen_clips(place, _unseen_of(place, progress))]
    if not found:
        raise InputError(
            f"{', '.join(map(str, places))}: found nobody whom the run did not see in {SHORTEST} "
            "pictures and more, expected such as --fold holds out, in whole scans or clips of so "
            "many frames (--length); name other data"
        )
    return found


def _unseen_of(place: Path, progress: Progress) -> Fold | Others:
    """Who of some data was not trained on: people by their numbers, simulated clips by fold."""
    name = remembered_as(place)
    if name.endswith(OF_PEOPLE):
        return Others(frozenset(progress.people))
    fold = progress.seen.get(name)
    if fold == "":
        raise InputError(
            f"--calibrate {place}: found data of that name in the run's --data and no --fold, "
            "expected some that it did not see; name other data"
        )
    return Fold.of(fold or "")


def _unseen_clips(place: Path, unseen: Fold | Others) -> Iterator[Whose]:
    if holds_clips(place):
        yield from _long_clips(Source(place.name, place), unseen)
        return
    require_trainable(place)
    scans = unseen_scans(place, unseen)
    yield from of_usable([scans[n] for n in evenly_spread(len(scans), MOST_SCANS)], _beginning)


def _long_clips(source: Source, unseen: Fold | Others) -> Iterator[Whose]:
    paths = source.unseen(unseen)
    chosen = [paths[number] for number in evenly_spread(len(paths), MOST_CLIPS)]
    short = 0
    for path in chosen:
        clip = prepare(read_training_clip(path))
        if len(clip.levels) < SHORTEST:
            short += 1
        else:
            yield source.subject(path), clip
    if short:
        told = f"{short} of {len(chosen)} clips of fewer than {SHORTEST} pictures"
        log.warning("left out: %s: found %s, too few to set the uncertainty", source.folder, told)


def _beginning(scan: Scan) -> Whose:
    (clip,) = cut(scan, [0], LONGEST)
    prepared = prepare(clip)
    if len(prepared.levels) < SHORTEST:
        raise InputError(
            f"{scan.key}: found {len(prepared.levels)} pictures, expected {SHORTEST} and more to "
            "set the uncertainty by; name longer scans"
        )
    return subject_of(scan.key), prepared


def record(progress: Progress) -> str:
    """A training record in words, for the manifest."""
    words = [
        f"train.py, {progress.minutes:.0f} minutes, {progress.step} steps, {progress.pairs} pairs",
        f"seed {progress.seed}, on {', '.join(progress.data) or 'clips'}",
    ]
    words += [f"from {progress.origin}"] if progress.origin else []
    words += [f"without the subjects of fold {progress.fold}"] if progress.fold else []
    return ", ".join(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 written, 2 no place for them, 4 no usable checkpoint."""
    command = argparse.ArgumentParser(prog="training.export", description=__doc__)
    command.add_argument("run", type=Path, help="a folder that train.py wrote as --output")
    command.add_argument("--weights", type=Path, default=WEIGHTS_FOLDER, metavar="FOLDER")
    command.add_argument(
        "--calibrate",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="clips, or data sets in the challenge's layout",
    )
    return exit_code_of(partial(run, command.parse_args(arguments)))


def run(options: argparse.Namespace) -> int:
    """Export the run that is named, and say where to."""
    log.info("wrote %s", export(options.run, options.weights, options.calibrate))
    return 0


if __name__ == "__main__":
    sys.exit(main())
