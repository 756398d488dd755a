"""One scan under every row of `bench.score`."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from bench.oracles import chained, with_true_bias, with_true_scale, with_true_signs
from bench.pairs import ByInterval, Pairs
from model.block_matching import moving_mask
from model.canonical import Canvas
from model.interface import Estimator
from model.learned import Learned
from model.repeats import pictures
from model.steps import Pairs as LearnedPairs
from pipeline.prediction import predict_motion
from tusrec.calibration import Calibration
from tusrec.comparison import (
    Comparison,
    Truth,
    better_mirror,
    compare,
    constant_motion,
)
from tusrec.errors import InputError
from tusrec.frames import Frames, in_memory_if_it_fits
from tusrec.metrics import Geometry, Motion, identity
from tusrec.protocols import protocol_of
from tusrec.scans import Scan, ScanSource

OURS = "tusrec"
OUR_PAIRS = f"{OURS}, pairs"
ROTATIONS, SWEEPS, OTHERS = "rotation scans", "sweeps", "scans"
CPU = torch.device("cpu")


class Ours(Learned):
    """Keeps the pairs that its last estimate was made of, and their canvas."""

    last_pairs: LearnedPairs
    last_canvas: Canvas

    def pairs(
        self, frames: Frames, spacing_mm: tuple[float, float], device: torch.device
    ) -> tuple[Canvas, LearnedPairs]:
        """As `Learned.pairs`."""
        self.last_canvas, self.last_pairs = super().pairs(frames, spacing_mm, device)
        return self.last_canvas, self.last_pairs


@dataclass(frozen=True)
class Measured:
    """One scan. kind: the group that it is summed up in. All else by row, pairs by interval too."""

    kind: str
    comparisons: dict[str, Comparison]
    seconds: dict[str, float]
    pairs: dict[str, ByInterval]


@dataclass(frozen=True)
class Answer:
    """What an estimator made of a scan, in how many seconds, and its pairs by row."""

    motion: Motion
    seconds: float
    pairs: dict[str, ByInterval]


def measure(source: ScanSource, estimators: Mapping[str, Estimator]) -> Measured:
    """A scan under every row. Raises InputError if it is unusable or has no poses."""
    with source.open() as scan:
        truth = truth_of(scan)
        frames = in_memory_if_it_fits(scan.frames)
        canvas = Canvas.of(frames, moving_mask(frames), scan.calibration.spacing)
        pairs = Pairs(truth.motion.T_first_from_frame, canvas, truth.geometry.centre_mm)
        answers = {
            name: answer(name, estimator, frames, scan.calibration, pairs)
            for name, estimator in estimators.items()
        }
    motions = {"identity": identity(frames.shape[0])}
    motions["constant motion"] = constant_motion(truth.motion)
    for name, found in answers.items():
        motions |= {name: found.motion, mirrored(name): better_mirror(found.motion, truth)}
    if OURS in answers:
        motions |= oracle_rows(answers[OURS].motion, truth)
    return Measured(
        kind_of(scan.key),
        {row: compare(motion, truth) for row, motion in motions.items()},
        {name: found.seconds for name, found in answers.items()},
        {row: by_interval for a in answers.values() for row, by_interval in a.pairs.items()},
    )


def truth_of(scan: Scan) -> Truth:
    """What the scan's predictions are held against; InputError without poses."""
    motion = scan.true_motion()
    if motion is None:
        raise InputError(f"{scan.key}: found no poses, expected tforms to measure against")
    return Truth(motion, Geometry(scan.calibration.scale, *scan.image_size, scan.landmarks))


def answer(
    name: str, estimator: Estimator, frames: Frames, calibration: Calibration, pairs: Pairs
) -> Answer:
    """An estimator's answer; the pairs of one that measures several intervals in two rows.

    Each picture is measured once (`model.repeats`), so these pairs are of pictures, not of frames.
    """
    started = time.perf_counter()
    prediction = predict_motion(estimator, frames, calibration, CPU)
    seconds = time.perf_counter() - started
    rows = {name: pairs.fused(prediction)}
    if isinstance(estimator, Ours):
        shown = pairs.true[pictures(frames)[1:] - 1]
        own = replace(pairs, true=shown, canvas=estimator.last_canvas)
        rows[OUR_PAIRS] = own.measured(estimator.last_pairs)
    return Answer(prediction.motion, seconds, rows)


def mirrored(row: str) -> str:
    """The row of a row's better mirror."""
    return f"{row}, better mirror"


def oracle_rows(motion: Motion, truth: Truth) -> dict[str, Motion]:
    """Our prediction with true signs, then with true scales too, then without bias."""
    true, geometry = truth.motion.T_previous_from_frame, truth.geometry
    signed = with_true_signs(motion.T_previous_from_frame, true, geometry)
    scaled = with_true_scale(signed, true, geometry)
    unbiased = with_true_bias(scaled, true, geometry)
    return {
        f"{OURS}, oracle sign": chained(signed),
        "  + oracle scale": chained(scaled),
        "  + oracle bias": chained(unbiased),
    }


def kind_of(key: str) -> str:
    """The group of a scan, by its protocol."""
    protocol = protocol_of(key)
    if protocol == "rotation":
        return ROTATIONS
    return SWEEPS if "-" in protocol else OTHERS
