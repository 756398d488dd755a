"""The scanner's settings: gains, noise, log compression, speckle reduction."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim import imaging_kernels as kernels
from sim.imaging import Beamformer

Float32 = NDArray[np.float32]
NATS_PER_DB = np.float32(np.log(10) / 20)


@dataclass(frozen=True)
class Console:
    """What the operator and the maker have set. Levels in dB are over homogeneous tissue.

    dynamic_range_db: shown from black to white; 50-85 (83 in TUS-REC2025).
    white_db: the envelope that is white; 20-36 (operator's gain).
    noise_db: electronic noise at the face; -90 to -70 (Szabo 2014: 100-120 dB before compression).
    attenuation_db_mm: two-way loss in tissue; 0.4-0.9 (0.35-0.6 dB/cm/MHz).
    tgc_db_mm: gain over depth that makes up for it; 0.3-0.9. tgc_limit_db: its end; 28-55.
    tgc_sliders_db: the eight sliders from near to far; -4 to 4 each.
    ringing_db: the array's own ringing at the face, the same in all frames; -20 to 10.
    ringing_mm: over which it dies away; 0.5-2.
    gel_mm: gap to the skin that coupling gel fills; 1-8.
    speckle_reduction: share of each sample taken from its neighbours; 0 (off) to 0.8.
    persistence: share of the frame before that lingers on; 0 (off) to 0.5.
    """

    dynamic_range_db: float
    white_db: float
    noise_db: float
    attenuation_db_mm: float
    tgc_db_mm: float
    tgc_limit_db: float
    tgc_sliders_db: tuple[float, ...]
    ringing_db: float
    ringing_mm: float
    gel_mm: float
    speckle_reduction: float
    persistence: float


def draw_console(rng: np.random.Generator, frequency_mhz: float) -> Console:
    """Settings at random within the ranges that Console states."""
    per_mhz = rng.uniform(0.35, 0.6)
    attenuation = float(np.clip(0.2 * per_mhz * frequency_mhz, 0.4, 0.9))
    return Console(
        dynamic_range_db=float(rng.choice([rng.uniform(50, 85), 83.0])),
        white_db=rng.uniform(20, 36),
        noise_db=rng.uniform(-90, -70),
        attenuation_db_mm=attenuation,
        tgc_db_mm=attenuation * rng.uniform(0.7, 1.0),
        tgc_limit_db=rng.uniform(28, 55),
        tgc_sliders_db=tuple(rng.uniform(-4, 4, 8).tolist()),
        ringing_db=rng.uniform(-20, 10),
        ringing_mm=rng.uniform(0.5, 2),
        gel_mm=rng.uniform(1, 8),
        speckle_reduction=float(rng.choice([0.0, rng.uniform(0.2, 0.8)])),
        persistence=float(rng.choice([0.0, 0.0, 0.0, rng.uniform(0.1, 0.5)])),
    )


class Developer:
    """Turns echoes into grey levels, (ranges, lines) float32, as one console does."""

    def __init__(self, console: Console, beamformer: Beamformer, rng: np.random.Generator) -> None:
        self.console = console
        depth = beamformer.ranges_mm
        tgc = np.minimum(console.tgc_db_mm * depth, console.tgc_limit_db)
        knobs = np.linspace(0, beamformer.probe.depth_mm, len(console.tgc_sliders_db))
        tgc += np.interp(depth, knobs, console.tgc_sliders_db)
        self.gain_db: Float32 = (tgc - console.attenuation_db_mm * depth).astype(np.float32)
        noise = np.exp(NATS_PER_DB * (console.noise_db + tgc).astype(np.float32))
        self._noise_scale: Float32 = noise[:, None]
        self._shape = beamformer.shape
        self._bank = _noise_bank(rng, beamformer.shape)
        self._ringing = self._make_ringing(beamformer.ranges_mm)

    def grey(self, echoes: Float32, loss_db: Float32, gain_db: float, seed: int) -> Float32:
        """Grey levels of echoes (ranges, 2*lines) after loss_db (ranges, lines) and a gain."""
        console = self.console
        gain = np.exp(NATS_PER_DB * (self.gain_db[:, None] - loss_db))
        noise = self._noise(np.random.default_rng(seed))
        white, contrast = np.float32(console.white_db - gain_db), console.dynamic_range_db
        grey: Float32 = kernels.log_compress(echoes, gain, noise, np.float32(contrast), white)
        if console.speckle_reduction:
            grey = kernels.smooth_speckle(grey, np.float32(console.speckle_reduction))
        return grey

    def _noise(self, rng: np.random.Generator) -> Float32:
        rows, lines = self._shape
        top, left = rng.integers(rows), 2 * rng.integers(lines)
        noise = self._bank[top : top + rows, left : left + 2 * lines] * self._noise_scale
        noise[: len(self._ringing)] += self._ringing
        return noise

    def _make_ringing(self, ranges_mm: NDArray[np.float64]) -> Float32:
        """Bands along the face (few ranges, 2*lines) that never move."""
        near = ranges_mm[ranges_mm < 8 * self.console.ringing_mm]
        level = np.exp(NATS_PER_DB * self.console.ringing_db - near / self.console.ringing_mm)
        bands = self._bank[: len(near), :2] + 0.2 * self._bank[: len(near), 2:4]
        bands = (
            np.tile(bands, (1, self._shape[1]))
            + 0.3 * self._bank[: len(near)][:, : 2 * self._shape[1]]
        )
        return np.asarray(bands * level[:, None], np.float32)


def _noise_bank(rng: np.random.Generator, shape: tuple[int, int]) -> Float32:
    """Complex noise of RMS 1, band-limited in depth, twice as large as a frame needs."""
    white = rng.standard_normal((2 * shape[0], 4 * shape[1]), dtype=np.float32)
    smooth = white.copy()
    smooth[1:-1] += 0.5 * (white[:-2] + white[2:])
    return smooth / np.float32(np.sqrt(3))
