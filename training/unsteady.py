"""Speckle that is lost without any motion across the picture.

Tissue that gives way and pulses, and noise, change every frame; fat and muscle near the skin bend
the beam otherwise wherever the probe slides to (Flax and O'Donnell, IEEE UFFC 35, 1988), so that
speckle is lost to motion along the picture, too. On real limbs two frames 4 apart of a hand at rest
differ as if it had moved by half a millimetre. Who has never seen that takes it all for motion.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

ECHO_LEVELS = 30.0  # grey levels by which echoes grow e-fold: 255 for some 70 dB
FLEETING, LASTING = 0.7, 1.4  # at most, of what changes with every frame, and with the place
PLACE_MM = (0.8, 8.0)  # along the skin, from one beam to another
GRAIN = (0.5, 4.0)  # pixels, of the speckle along either side
VICINITY = 5.0  # pixels about a place whose echoes tell how strong such an echo is there
LEFT = (0.15, 0.7)  # of that, what is left where echoes cancel: pixels are means of several
MARGIN = 64  # pixels, of which the grain is larger than the picture

Array = NDArray[np.float64]
Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Unsteadiness:
    """By how much echoes change, RMS over those of the vicinity.

    fleeting: with every frame. lasting: with the place, over place_mm along the skin.
    """

    fleeting: float
    lasting: float
    place_mm: float
    left: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """At random within the ranges above; either is often small."""
        return cls(
            FLEETING * rng.random() ** 2,
            LASTING * rng.random() ** 1.5,
            float(np.exp(rng.uniform(*np.log(PLACE_MM)))),
            rng.uniform(*LEFT),
        )

    def shown(
        self,
        frames: Frames,
        T_first_from_frame: Array,
        spacing: tuple[float, float],
        rng: np.random.Generator,
    ) -> Frames:
        """Frames (N, H, W) whose echoes change so. Black stays black.

        T_first_from_frame: (N, 4, 4) image mm. spacing: (x, y) mm a pixel. What changes with the
        place moves along with the tissue, by whole pixels.
        """
        places = T_first_from_frame[:, 0, 3] / self.place_mm
        shifts = np.rint(T_first_from_frame[:, :2, 3] / spacing).astype(np.int64)
        grains = _Grains(frames.shape[1:], grain_of(frames[0]), rng)
        shown = np.empty_like(frames)
        for number, (frame, place, shift) in enumerate(zip(frames, places, shifts, strict=True)):
            added = self.lasting * grains.at(float(place), shift) + self.fleeting * grains.new()
            shown[number] = _with_echoes(frame, added, self.left)
        return shown


def grain_of(frame: NDArray[np.uint8]) -> tuple[float, float]:
    """Pixels (y, x) of the speckle of a frame (H, W): deviations of a Gaussian beam.

    Echoes of such a beam are correlated by exp(-lag^2 / 4 deviation^2), and their sizes by about
    the square of that (Wagner et al., IEEE SU 30, 1983). Wide grain comes out a little too small,
    as what varies over the vicinity is taken for anatomy.
    """
    grey = frame.astype(np.float32)
    fine = np.where(frame > 0, grey - ndimage.gaussian_filter(grey, VICINITY), 0)
    power = float((fine * fine).sum()) + 1e-6
    alike = float((fine[1:] * fine[:-1]).sum()) / power, float((fine[:, 1:] * fine[:, :-1]).sum())
    down, along = (np.clip(part, 0.01, 0.99) for part in (alike[0], alike[1] / power))
    y, x = (float(np.clip((-2 * np.log(part)) ** -0.5, *GRAIN)) for part in (down, along))
    return y, x


def _with_echoes(frame: Frames, added: NDArray[np.complex64], left: float) -> Frames:
    """A frame (H, W) with echoes `added`, in units of those of the vicinity, as is `left`."""
    grey = frame.astype(np.float32)
    relative = np.exp((grey - ndimage.gaussian_filter(grey, VICINITY)) / ECHO_LEVELS)
    power = np.abs(relative + added) ** 2 + left**2
    level = grey + ECHO_LEVELS * (0.5 * np.log(power / (relative**2 + left**2)))
    return np.where(frame > 0, np.rint(level).clip(0, 255), 0).astype(np.uint8)


class _Grains:
    """Fields (H, W) of complex speckle of unit power."""

    def __init__(
        self, shape: tuple[int, ...], grain: tuple[float, float], rng: np.random.Generator
    ) -> None:
        self._shape, self._grain, self._rng = shape, grain, rng
        self._bank = self._made()
        self._at: dict[int, NDArray[np.complex64]] = {}

    def new(self) -> NDArray[np.complex64]:
        """A field like no other: the bank's, from elsewhere and turned."""
        y, x = self._rng.integers(MARGIN, size=2)
        field = self._bank[y : y + self._shape[0], x : x + self._shape[1]]
        field = field[:: self._rng.choice((-1, 1)), :: self._rng.choice((-1, 1))]
        return np.asarray(field * np.exp(2j * np.pi * self._rng.random()), np.complex64)

    def at(self, place: float, shift: NDArray[np.int64]) -> NDArray[np.complex64]:
        """The field at a place along the skin, with what lies `shift` (x, y) pixels further."""
        before = int(np.floor(place))
        share = place - before
        field = (1 - share) * self._of(before) + share * self._of(before + 1)
        field = np.roll(field, -shift[::-1], axis=(0, 1))[: self._shape[0], : self._shape[1]]
        return np.asarray(field / np.hypot(1 - share, share), np.complex64)

    def _of(self, place: int) -> NDArray[np.complex64]:
        if place not in self._at:
            self._at[place] = self._made()
        return self._at[place]

    def _made(self) -> NDArray[np.complex64]:
        size = [side + MARGIN for side in self._shape]
        parts = self._rng.standard_normal((2, *size), np.float32)
        field = np.asarray(
            ndimage.gaussian_filter(parts, (0, *self._grain), mode="wrap"), np.float32
        )
        return np.asarray((field[0] + 1j * field[1]) / np.sqrt(2) / field.std(), np.complex64)
