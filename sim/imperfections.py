"""What hands, trackers and video cards do to a scan."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tusrec import poses

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Imperfections:
    """Departures from the ideal, drawn once a scan.

    strain: compression of the tissue at the contact; 0.01-0.05 (light to firm contact).
    strain_change: its slow change during the scan; 0-0.02.
    bulge_mm: how far skin beside the contact bulges up to the array's face; 0-2.5.
    jitter_mm: tracker noise of the tool's position, all axes together; 0.05-0.25 (optical
        trackers' data sheets). jitter_deg: of its rotation; 0.01-0.05.
    latency_frames: by which reported poses are late; 0-2 (20 frames a second).
    duplicates: share of frames that repeat the one before; 0-0.02 (frame grabbers).
    gain_step_db: size of the operator's gain changes; 0-2. gain_steps: their number; 0-3.
    jpeg_quality: of lossy compression, 0 for none; 55-95.
    """

    strain: float
    strain_change: float
    bulge_mm: float
    jitter_mm: float
    jitter_deg: float
    latency_frames: float
    duplicates: float
    gain_step_db: float
    gain_steps: int
    jpeg_quality: int


NONE = Imperfections(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0)


def draw_imperfections(rng: np.random.Generator) -> Imperfections:
    """Imperfections at random within the ranges stated; the rarer ones are often absent."""
    lossy = rng.random() < 0.2
    return Imperfections(
        strain=rng.uniform(0.01, 0.05),
        strain_change=rng.uniform(0, 0.02),
        bulge_mm=rng.uniform(0, 2.5),
        jitter_mm=rng.uniform(0.05, 0.25),
        jitter_deg=rng.uniform(0.01, 0.05),
        latency_frames=rng.uniform(0, 2),
        duplicates=float(rng.choice([0.0, rng.uniform(0, 0.02)])),
        gain_step_db=rng.uniform(0, 2),
        gain_steps=int(rng.integers(0, 4)),
        jpeg_quality=int(rng.integers(55, 96)) if lossy else 0,
    )


def tracked(
    T_camera_from_tool: Float64, imperfections: Imperfections, rng: np.random.Generator
) -> Float64:
    """Poses (N, 4, 4) as a tracker reports them: late by `latency_frames`, and jittering."""
    late = delayed(T_camera_from_tool, imperfections.latency_frames)
    noise = rng.normal(size=(len(late), 6))
    noise[:, :3] *= np.deg2rad(imperfections.jitter_deg) / np.sqrt(3)
    noise[:, 3:] *= imperfections.jitter_mm / np.sqrt(3)
    return late @ poses.exp(noise)


def delayed(T: Float64, frames: float) -> Float64:
    """Poses (N, 4, 4) of `frames` frames ago, on the screw between neighbours."""
    time = np.clip(np.arange(len(T)) - frames, 0, len(T) - 1)
    before = np.minimum(time.astype(np.int64), max(len(T) - 2, 0))
    after = np.minimum(before + 1, len(T) - 1)
    screw = poses.log(poses.inverse(T[before]) @ T[after])
    return np.asarray(T[before] @ poses.exp(screw * (time - before)[:, None]), np.float64)


def shown_frames(count: int, duplicates: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """The frame (N,) whose picture each frame shows: its own, or that of the one before it."""
    own = np.arange(count)
    repeated = (rng.random(count) < duplicates) & (own > 0)
    return np.asarray(np.maximum.accumulate(np.where(repeated, 0, own)), np.int64)


def gain_course(imperfections: Imperfections, count: int, rng: np.random.Generator) -> Float64:
    """Gain of every frame (N,), dB: steps at random frames."""
    steps = np.zeros(count)
    for _ in range(imperfections.gain_steps):
        steps[rng.integers(count)] += rng.choice([-1, 1]) * imperfections.gain_step_db
    return np.asarray(np.cumsum(steps))


def indentation_course(
    imperfections: Imperfections, count: int, depth_mm: float, rng: np.random.Generator
) -> Float64:
    """How far the face is pressed into the skin in every frame (N,), mm.

    The strain at the face is indentation / depth_mm.
    """
    change = ndimage.gaussian_filter1d(rng.normal(size=count + 200), 25)[100 : 100 + count]
    change *= np.sqrt(50 * np.sqrt(np.pi)) * imperfections.strain_change
    return np.asarray(np.clip(imperfections.strain + change, 0, 0.08) * depth_mm)


def recompressed(frame: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """The frame (height, width) after lossy compression in 8 x 8 blocks (JPEG)."""
    stream = BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream), np.uint8)
