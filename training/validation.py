"""How a network does on subjects that it is not trained on, by the challenge's own measures."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.baseline import ARCHITECTURE, Baseline
from model.interface import Estimator
from model.learned import Learned
from model.pose_net import PoseNet
from model.weights import write_weights
from pipeline.evaluation import Entry
from pipeline.prediction import predict_motion
from pipeline.tables import json_report, text_report
from training.clips import REAL_SEED, Clip, named, read_clip
from training.folds import Fold, Others
from training.learner import Learner
from training.measure import held_out
from training.sources import Source, holds_clips, shows_people
from training.tracked import cut, of_usable, subject_of
from tusrec import poses
from tusrec.calibration import from_spacing
from tusrec.comparison import Truth, better_mirror, compare
from tusrec.errors import InputError
from tusrec.frames import evenly_spread
from tusrec.layouts import find_scans
from tusrec.metrics import Geometry, Motion, identity
from tusrec.scans import TRACKED, Scan, ScanSource

T = TypeVar("T")
INTERVALS = (1, 4)
CLIPS_A_SCAN = 3  # a clip is so much shorter than a scan
SCORES = ("final", "global", "local", "pixel", "landmark", "GPE", "GLE", "LPE", "LLE")


@dataclass(frozen=True)
class Amount:
    """How much is measured: scans of each set, and frames of each, 0 for all of them."""

    scans: int
    frames: int


@dataclass(frozen=True)
class HeldOut:
    """Frames of one scan that is not trained on, from its first.

    landmarks: (L, 3) as in `tusrec.scans.Scan`. prepared: what the learner keeps of the clip.
    """

    key: str
    clip: Clip
    landmarks: NDArray[np.integer]
    truth_kind: str
    prepared: Any

    @cached_property
    def truth(self) -> Truth:
        """What predictions are held against."""
        T_first_from_frame = self.clip.T_first_from_frame
        local = poses.inverse(T_first_from_frame[:-1]) @ T_first_from_frame[1:]
        scale = from_spacing(*self.clip.spacing).scale
        _, height, width = self.clip.frames.shape
        geometry = Geometry(scale, height, width, self.landmarks)
        return Truth(Motion(T_first_from_frame[1:], local), geometry)


@dataclass(frozen=True)
class HeldOutSet:
    """Held-out scans of one source."""

    name: str
    scans: list[HeldOut]


def held_out_sets(
    training: Sequence[Source],
    others: Sequence[Path],
    unseen: tuple[Fold, Others],
    amount: Amount,
    learner: Learner,
) -> list[HeldOutSet]:
    """What a fold holds out of the sources of training, and other folders or data sets.

    unseen: the fold, and all people but those who have been trained on, of which alone the other
    data sets are, as one number may mean one person. Raises InputError for another folder that is
    trained on, and where nothing is held out.
    """
    fold, strangers = unseen
    trained = [path for source in training for path in (source.dataset, source.folder) if path]
    require_others(others, trained)
    divided = training if str(fold) else []
    names = _told_apart([*(s.dataset or s.folder for s in divided), *others])
    sets = [
        _of_source(replace(source, name=name), fold, amount, learner)
        for source, name in zip(divided, names, strict=False)
    ]
    some = [held for held in sets if held.scans]
    if sets and not some:
        empty = ", ".join(held.name for held in sets)
        raise InputError(f"{empty}: found no scan that is held out; choose another --fold")
    return some + [
        _of_folder(path, name, strangers, amount, learner)
        for path, name in zip(others, names[len(divided) :], strict=True)
    ]


def _told_apart(places: Sequence[Path]) -> list[str]:
    """Names of folders, and of those named alike also the folders that they are in."""
    whole = [place.resolve() for place in places]
    alike = Counter(place.name for place in whole)
    return ["/".join(place.parts[-2 if alike[place.name] > 1 else -1 :]) for place in whole]


def require_others(others: Sequence[Path], trained: Sequence[Path]) -> None:
    """Raise InputError for folders to validate on with anything in them that is trained on."""
    seen = {place: _files_in(place) for place in trained} if others else {}
    for path, (place, files) in product(others, seen.items()):
        if files & _files_in(path):
            raise InputError(
                f"--validate {path}: found it in --data too, in {place}, expected unseen scans; "
                "name other data, or hold out some with --fold"
            )


def _files_in(path: Path) -> set[Path]:
    """All clips, or what the scans of a data set are made of."""
    if holds_clips(path):
        return {clip.resolve() for clip in Source(path.name, path).clips()}
    return {file.resolve() for scan in find_scans(path).scans for file in scan.paths}


def _of_source(source: Source, by: Fold | Others, amount: Amount, learner: Learner) -> HeldOutSet:
    if source.dataset is None:
        return _of_clips(source.name, source.unseen(by), amount, learner)
    return _of_scans(source.name, unseen_scans(source.dataset, by), amount, learner)


def unseen_scans(dataset: Path, by: Fold | Others) -> list[ScanSource]:
    """Scans of the subjects that a fold holds out, all where there is none, or of others."""
    return by.unseen(find_scans(dataset).scans, lambda scan: subject_of(scan.key))


def _of_folder(
    path: Path, name: str, strangers: Others, amount: Amount, learner: Learner
) -> HeldOutSet:
    """What a folder or data set shows of people who were not trained on, or of simulated ones."""
    unseen = strangers if shows_people(path) else Others(frozenset())
    source = Source(name, path, None if holds_clips(path) else path)
    held = _of_source(source, unseen, amount, learner)
    if not held.scans:
        raise InputError(
            f"--validate {path}: found no usable scan of a subject that is not trained on, "
            "expected one with poses; name other data, or hold some out with --fold"
        )
    return held


def _of_clips(name: str, paths: Sequence[Path], amount: Amount, learner: Learner) -> HeldOutSet:
    no_landmarks = np.empty((0, 3), np.int64)
    scans = []
    for path in _spread(paths, CLIPS_A_SCAN * amount.scans):
        clip = _beginning(read_clip(path), amount.frames)
        kind = TRACKED if clip.seed[0] == REAL_SEED else "exact"
        with named(path):
            scans.append(HeldOut(path.stem, clip, no_landmarks, kind, learner.prepare(clip)))
    return HeldOutSet(name, scans)


def _beginning(clip: Clip, frames: int) -> Clip:
    """The first frames of a clip, or all of it for 0."""
    kept = slice(frames or None)
    return replace(clip, frames=clip.frames[kept], T_first_from_frame=clip.T_first_from_frame[kept])


def _of_scans(
    name: str, sources: Sequence[ScanSource], amount: Amount, learner: Learner
) -> HeldOutSet:
    def beginning(scan: Scan) -> HeldOut:
        (clip,) = cut(scan, [0], amount.frames or scan.frames.shape[0])
        shown = scan.landmarks[scan.landmarks[:, 0] < len(clip.frames)]
        with named(scan.key):
            return HeldOut(scan.key, clip, shown, scan.truth, learner.prepare(clip))

    return HeldOutSet(name, list(of_usable(_spread(sources, amount.scans), beginning)))


def _spread(found: Sequence[T], count: int) -> list[T]:
    """At most `count` of what was found, from its first to its last."""
    return [found[number] for number in evenly_spread(len(found), count)]


def estimator_of(network: nn.Module) -> Estimator:
    """The estimator that goes with a network."""
    if isinstance(network, PoseNet):
        return Learned(network)
    with tempfile.TemporaryDirectory() as folder:  # the baseline's estimator reads files alone
        write_weights(Baseline.name, network.state_dict(), ARCHITECTURE, "", Path(folder))
        return Baseline(Path(folder))


def scored(scans: Sequence[HeldOut], estimator: Estimator, device: torch.device) -> list[Entry]:
    """Entries of each scan: identity, the estimator, and the better of its two mirrors."""
    entries = []
    for scan in scans:
        frames, calibration = scan.clip.frames, from_spacing(*scan.clip.spacing)
        predicted = predict_motion(estimator, frames, calibration, device).motion
        rows = {
            "identity": identity(len(frames)),
            estimator.name: predicted,
            f"{estimator.name}, better mirror": better_mirror(predicted, scan.truth),
        }
        entries += [
            Entry(row, scan.key, scan.truth_kind, compare(motion, scan.truth))
            for row, motion in rows.items()
        ]
    return entries


def pair_lines(held: HeldOutSet, network: nn.Module) -> Iterator[dict[str, Any]]:
    """Log lines of the pose network's pairs at INTERVALS, sign left open; none of another's."""
    if isinstance(network, PoseNet):
        clips = [scan.prepared for scan in held.scans]
        for interval, found in held_out(network, clips, INTERVALS).items():
            yield {"held_out": held.name, "interval": interval, **found}


def score_lines(name: str, entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """Log lines of each row's mean errors and scores."""
    for row, found in json_report(entries)["rows"].items():
        means = {measure: found[measure]["mean"] for measure in SCORES}
        yield {"scored": name, "row": row, "scans": found["scans"], **means}


def report(held: HeldOutSet, entries: Sequence[Entry]) -> str:
    """The scores as people read them."""
    return f"{held.name}, held out, {len(held.scans)} scans\n{text_report(entries)}"
