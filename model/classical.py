"""The estimator without weights: block matching in the plane, speckle decorrelation across it.

Assumed, and nowhere learnt: B-mode images are log-compressed; speckle is
`decorrelation.ELEVATIONAL_OVER_LATERAL` times as wide across the image as in it; motion goes on in
the direction it has, and towards +z (`signs`), since two frames cannot tell a motion from its
mirror image.
"""

from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from model import block_matching, decorrelation, rigid_fit
from model.block_matching import MARGIN, Grid, Patches
from model.device import Batches
from model.fusion import Prior, fuse_intervals, with_error
from model.interface import LocalMotions
from model.repeats import Spans, seen_once
from model.screen import without_screen
from model.signs import choose_signs
from model.speckle import Speckle, measure_speckle
from model.steps import STEP_SD
from tusrec import poses
from tusrec.calibration import Calibration
from tusrec.frames import Frames, evenly_spread

Array = NDArray[np.float64]

INTERVALS = (1, 2, 3)  # .1-.4 mm a frame keeps correlation between .4 and .97 over these
SLICE = 8  # frames read at a time; their spectra take some 40 MB each
SPECKLE_SAMPLES = 8  # frames that speckle is measured on

# Hand motion from one frame to the next: rotation in the plane, x, y; then z and its slopes.
IN_PLANE_PRIOR_SD = STEP_SD[0]
ELEVATION_PRIOR_SD = np.array([0.5, np.radians(0.25), np.radians(0.25)])
# What is wrong with a pair whatever its interval: persistence of the image, dragged tissue.
IN_PLANE_PAIR_SD = np.array([np.radians(0.1), 0.1, 0.1])
ELEVATION_PAIR_SD = np.array([0.1, np.radians(0.2), np.radians(0.2)])
SHIFT_FLOOR_MM = 0.03  # tissue is pressed and slides, so no patch is better than this
SCALE_SD = 0.5  # share of elevational motion that ELEVATIONAL_OVER_LATERAL leaves open
LEAST_HEIGHT = 0.05  # of a peak that says anything
CHANCE_SD = 2.0  # of a sample correlation; by chance the highest of nine places has 1.5
CHANCE_SHARE, SURE_SD = 0.3, 3.0  # of the patches that exceed it in frames of noise, give or take


@dataclass(frozen=True)
class Pairs:
    """Pairs of frames one interval apart, n of them.

    motion, information: (n, 3), (n, 3, 3) in the plane, as of `rigid_fit.fit_in_plane`.
    correlation: (n, P) what is left of each patch's speckle; 0 where it shows none.
    """

    motion: Array
    information: Array
    correlation: Array

    @classmethod
    def room(cls, count: int, places: int) -> Self:
        """Room for `count` pairs of `places` patches."""
        return cls(np.zeros((count, 3)), np.zeros((count, 3, 3)), np.zeros((count, places)))

    def put(self, first: int, some: "Pairs") -> None:
        """Write `some` pairs from the place `first` on."""
        key = slice(first, first + len(some.motion))
        self.motion[key] = some.motion
        self.information[key] = some.information
        self.correlation[key] = some.correlation


class Classical:
    """Block matching and speckle decorrelation; deterministic, for any probe and frame size.

    The covariance is that of the fits (sample correlations, excess of the residuals, what is wrong
    with a pair, hand motion as a prior), and out of the plane also SCALE_SD of the motion itself.
    It takes the sign for granted.
    """

    name = "classical"
    weights_sha256 = ""

    def estimate(
        self, frames: Frames, calibration: Calibration, device: torch.device
    ) -> LocalMotions:
        """Local motions (N-1, 4, 4) of frames (N, H, W)."""
        return seen_once(frames, partial(self._estimate, calibration=calibration, device=device))

    def _estimate(
        self, frames: Frames, spans: Spans, calibration: Calibration, device: torch.device
    ) -> LocalMotions:
        if not len(spans):
            return LocalMotions(np.empty((0, 4, 4)), np.empty((0, 6, 6)))
        sent = without_screen(frames)
        grid = Grid.of((frames.shape[1], frames.shape[2]), calibration.spacing)
        mask = torch.from_numpy(block_matching.moving_mask(frames).astype(np.float32)).to(device)
        speckle = _sample_speckle(sent, mask, grid)
        pairs = _match_all(sent, mask, speckle, grid)
        xi, covariance = _assemble(_in_plane(pairs, spans), _across(pairs, speckle, grid, spans))
        T = poses.about_point(poses.exp(xi), -calibration.centre_mm(*frames.shape[1:]))
        return LocalMotions(T, covariance)


def _in_plane(pairs: dict[int, Pairs], spans: Spans) -> tuple[Array, Array]:
    """Steps (S, 3) rotation, x, y and their covariance (S, 3, 3); spans: (S,) frames of each."""
    measured = {k: (p.motion, p.information) for k, p in pairs.items()}
    believed = with_error(measured, IN_PLANE_PAIR_SD)
    return fuse_intervals(believed, len(spans), Prior(IN_PLANE_PRIOR_SD, spans=spans))


def _across(
    pairs: dict[int, Pairs], speckle: Speckle, grid: Grid, spans: Spans
) -> tuple[Array, Array]:
    """Steps (S, 3) z mm, slopes along x and y, and their covariance (S, 3, 3), as `_in_plane`."""
    centres = grid.centres_mm()
    correlations = {k: p.correlation for k, p in pairs.items()}
    planes = decorrelation.measure_planes(correlations, speckle, centres, 4 * ELEVATION_PRIOR_SD)
    basis = np.column_stack([np.ones(len(centres)), centres])
    signed = choose_signs(planes, basis.T @ basis / len(basis))
    believed = with_error(signed, ELEVATION_PAIR_SD)
    prior = Prior(ELEVATION_PRIOR_SD, spans=spans)
    solved, covariance = fuse_intervals(believed, len(spans), prior)
    return solved, covariance + SCALE_SD**2 * solved[:, :, None] * solved[:, None, :]


def _assemble(planar: tuple[Array, Array], across: tuple[Array, Array]) -> tuple[Array, Array]:
    """Exponential coordinates (S, 6) and covariance (S, 6, 6), about the image's centre.

    A rotation w moves (x, y, 0) by w_x y - w_y x out of the plane.
    """
    to_xi = np.zeros((6, 6))
    to_xi[[2, 3, 4], [0, 1, 2]] = 1.0
    to_xi[[5, 1, 0], [3, 4, 5]] = [1.0, -1.0, 1.0]
    joint = np.zeros((len(planar[0]), 6, 6))
    joint[:, :3, :3], joint[:, 3:, 3:] = planar[1], across[1]
    return np.hstack([planar[0], across[0]]) @ to_xi.T, to_xi @ joint @ to_xi.T


def _sample_speckle(frames: Frames, mask: torch.Tensor, grid: Grid) -> Speckle:
    picks = evenly_spread(frames.shape[0], SPECKLE_SAMPLES)
    samples = [_patches(frames[pick : pick + 1], mask, grid) for pick in picks]
    return measure_speckle(samples, picks, grid)


def _match_all(
    frames: Frames, mask: torch.Tensor, speckle: Speckle, grid: Grid
) -> dict[int, Pairs]:
    """All pairs of frames, by interval, a slice at a time; smaller slices if memory runs out.

    Room for all is taken at once: what is kept from each slice would break up the heap.
    """
    count, places = frames.shape[0], len(grid.tops) * len(grid.lefts)
    found = {k: Pairs.room(count - k, places) for k in INTERVALS if k < count}
    before: Patches | None = None

    def match(start: int, stop: int) -> None:
        nonlocal before
        new = _patches(frames[start:stop], mask, grid)
        patches = new if before is None else block_matching.join(before, new)
        for interval, pairs in found.items():
            first = max(len(patches) - len(new) - interval, 0)
            if first + interval < len(patches):
                a, b = patches[first : len(patches) - interval], patches[first + interval :]
                pairs.put(stop - interval - len(a), _match(a, b, speckle, grid))
        before = patches[max(len(patches) - max(INTERVALS), 0) :]

    Batches(SLICE).run(match, count)
    return found


def _patches(raw: NDArray[np.uint8], mask: torch.Tensor, grid: Grid) -> Patches:
    image = torch.from_numpy(np.asarray(raw, np.float32)).to(mask.device)
    return block_matching.cut(*block_matching.normalise(image, mask, grid), grid)


def _match(a: Patches, b: Patches, speckle: Speckle, grid: Grid) -> Pairs:
    """Match frames `a` with frames `b`, pairwise.

    All patches together say where to look; each patch's own peak within reach then enters the
    rigid fit; what correlation is left is read near the place the fit gives. Pairs that may have
    moved further than is searched tell nothing of their motion in the plane.
    """
    pixel_mm, centres = np.array(grid.pixel_mm), grid.centres_mm()
    surface = block_matching.correlate(a, b)
    common = block_matching.common_shift(surface)
    peaks = block_matching.find_peaks(surface, common[:, None], block_matching.GLOBAL_REACH)
    shifts = peaks.shift.double().cpu().numpy() * pixel_mm
    sd = _shift_sd(peaks.height.double().cpu().numpy(), speckle)
    motion, information = rigid_fit.fit_in_plane(shifts, sd, centres, 2 * IN_PLANE_PRIOR_SD)
    expected = rigid_fit.predicted_shifts(motion, centres) / pixel_mm
    near = torch.from_numpy(np.clip(expected.round(), 1 - MARGIN, MARGIN - 1)).to(surface.device)
    height = block_matching.find_peaks(surface, near, 1).height.double().cpu().numpy()
    seen = _within_search(common) & _above_chance(height, speckle)
    return Pairs(motion, seen[:, None, None] * information, height)


def _within_search(common: torch.Tensor) -> NDArray[np.bool_]:
    """Which pairs (n,) have their common shift (n, 2) inside of what is searched."""
    return np.asarray((common.abs() < MARGIN).all(dim=1).cpu().numpy())


def _above_chance(height: Array, speckle: Speckle) -> NDArray[np.bool_]:
    """Which pairs (n,) are alike in more patches that show texture than chance makes them.

    height: (n, P). Peaks of chance agree on a shift too, with each other and not with the motion.
    Below where echoes carry, noise shows texture, so that of many patches most may be alike by
    chance alone; of a few, half must be.
    """
    chance = np.maximum(speckle.floor, CHANCE_SD / np.sqrt(np.maximum(speckle.cells, 1.0)))
    shown, alike = (height != 0).sum(axis=1), (height > chance).sum(axis=1)
    spread = np.sqrt(CHANCE_SHARE * (1 - CHANCE_SHARE) * shown)
    return np.asarray(alike > np.minimum(CHANCE_SHARE * shown + SURE_SD * spread, shown / 2))


def _shift_sd(height: Array, speckle: Speckle) -> Array:
    """Standard deviation (n, P, 2) mm of the place of a peak of `height` (n, P).

    The noise of a sample correlation, (1 - r^2) / cells, over the sharpness of the peak, r^2 bend.
    """
    r = np.clip(height, LEAST_HEIGHT, 0.999)[..., None]
    cells = np.maximum(speckle.cells, 1.0)[:, None]
    variance = (1 - r**2) / (r**2 * cells * speckle.bend) + SHIFT_FLOOR_MM**2
    shown = height[..., None] > LEAST_HEIGHT
    return np.where(shown, np.sqrt(variance), 10 * rigid_fit.LARGEST_SD_MM)
