"""One scan from a seed: what is drawn, its frames, its poses and its landmarks."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from sim import imaging_kernels, motion, tissue, tissue_kernels
from sim.console import Console, Developer, draw_console
from sim.imaging import (
    ELEVATIONAL_REACH,
    LINES,
    PUSH_DEPTH_MM,
    Beamformer,
    ImageGrid,
    LineGrid,
    Scatterers,
)
from sim.imperfections import (
    Imperfections,
    draw_imperfections,
    gain_course,
    indentation_course,
    recompressed,
    shown_frames,
    tracked,
)
from sim.probe import PROBES, Probe, vary
from tusrec.calibration import Calibration
from tusrec.errors import InputError

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

LAST = 3  # transmissions that are kept, for persistence and repeated frames
LOSS_STEPS = (6, 4)  # range samples and lines per sample of the map of shadows
SHADOW_DB = 15.0  # a structure behind more loss than this is no landmark
CHALLENGE_RIGID = np.array(
    [
        [0.231064671309448, -0.21805203504134, 0.948189025293473, -70.7413291931152],
        [-0.190847036221471, -0.965787272832032, -0.175591436013112, -80.6505661010742],
        [0.954036962825936, -0.140386087807861, -0.264773903381482, -46.1766223907471],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
"""Image mm -> tool of the TUS-REC2024 set."""
STRATA = {"convex": 5, "linear": 6}
"""Scatterers per cell and axis that give Rayleigh statistics in the probe's focus."""

IMAGES = {
    "convex": ImageGrid(480, 640, (0.229389190673828, 0.220979690551758), (73.5, 11.0)),
    "linear": ImageGrid(480, 640, (0.0875, 0.0875), (28.0, 1.0)),
}
"""The picture of each probe; the convex one's pixels are those of TUS-REC2024."""


@dataclass(frozen=True)
class Recipe:
    """All that was drawn for a scan; with the seed it determines every byte.

    seed: (seed of the data set, number of the scan). protocol: a key of motion.TRAJECTORIES.
    frames: number of frames. anatomy: a key of tissue.ANATOMIES. strata: scatterers per cell
    and axis, 4-6. excerpt: (first, count) of the frames that are made, or None for all.
    """

    seed: tuple[int, int]
    protocol: str
    frames: int
    anatomy: str
    probe: Probe
    console: Console
    imperfections: Imperfections
    strata: int
    excerpt: tuple[int, int] | None = None

    def as_card(self) -> dict[str, object]:
        """Everything as plain numbers and names, for JSON."""
        return asdict(self)


def draw_recipe(
    seed: tuple[int, int],
    protocol: str,
    frames: int,
    *,
    probe: str = "convex",
    anatomy: str | None = None,
) -> Recipe:
    """A scan at random; the anatomy too, mostly a forearm, unless it is given.

    Raises InputError for a name that does not exist or fewer than two frames.
    """
    _require_known("protocol", protocol, motion.TRAJECTORIES)
    _require_known("probe", probe, PROBES)
    if frames < 2:
        raise InputError(f"frames: found {frames}, expected 2 or more")
    rng = np.random.default_rng([*seed, 0])
    names = list(tissue.ANATOMIES)
    drawn = str(rng.choice(names, p=[0.7, 0.12, 0.12, 0.06]))
    _require_known("anatomy", anatomy or drawn, tissue.ANATOMIES)
    varied = vary(PROBES[probe], rng)
    return Recipe(
        seed=seed, protocol=protocol, frames=frames, anatomy=anatomy or drawn, probe=varied,
        console=draw_console(rng, varied.frequency_mhz), imperfections=draw_imperfections(rng),
        strata=STRATA[probe],
    )  # fmt: skip


def _require_known(what: str, name: str, known: Mapping[str, object]) -> None:
    if name not in known:
        raise InputError(f"{what}: found {name}, expected one of {', '.join(known)}")


class Scan:
    """A simulated scan. Poses and landmarks are cheap; frames come in any order.

    image, grid: of what is shown, unless it is the usual picture of the recipe's probe.
    T_limb_from_image: (N, 4, 4) exact, image mm. An excerpt's frames are those of the whole scan.
    """

    def __init__(
        self, recipe: Recipe, image: ImageGrid | None = None, grid: LineGrid = LINES
    ) -> None:
        self.recipe = recipe
        self.beamformer = Beamformer(recipe.probe, image or IMAGES[recipe.probe.name], grid)
        self.anatomy = tissue.ANATOMIES[recipe.anatomy](self._rng(1))
        rng = self._rng(2)
        # By frames of the whole scan, as is all that follows from them.
        self._T_limb_from_image = self._draw_poses(rng)
        self._gain_db = gain_course(recipe.imperfections, recipe.frames, rng)
        self._last_grey: dict[int, Float32] = {}
        self._shown = shown_frames(recipe.frames, recipe.imperfections.duplicates, rng)
        self._first, count = recipe.excerpt or (0, recipe.frames)
        self.T_limb_from_image = self._T_limb_from_image[self._first : self._first + count]

    def __len__(self) -> int:
        return len(self.T_limb_from_image)

    @cached_property
    def scatterers(self) -> Scatterers:
        """The scatterers that any frame sees."""
        seed = int(self._rng(3).integers(2**62))
        return tissue.draw_scatterers(self.anatomy, self._cells_seen(), seed, self.recipe.strata)

    @cached_property
    def developer(self) -> Developer:
        """The scanner's processing of this scan."""
        return Developer(self.recipe.console, self.beamformer, self._rng(4))

    @property
    def calibration(self) -> Calibration:
        """Pixel size of the picture, and the challenge's image-to-tool matrix."""
        return Calibration(np.diag([*self.beamformer.image.spacing, 1.0, 1.0]), CHALLENGE_RIGID)

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Frame `index`, (height, width) uint8; the same whenever it is asked for."""
        number = int(self._shown[self._first + index])
        grey = self._grey(number)
        persistence = np.float32(self.recipe.console.persistence)
        if persistence and number > 0:
            grey = (1 - persistence) * grey + persistence * self._grey(number - 1)
        frame = self.beamformer.scan_convert(grey)
        quality = self.recipe.imperfections.jpeg_quality
        return recompressed(frame, quality) if quality else frame

    def look(self, index: int, steered: Beamformer) -> NDArray[np.uint8]:
        """What lines that are turned see of frame `index`, without persistence; black beyond."""
        return steered.scan_convert(self._grey_along(self._first + index, steered))

    def _grey(self, number: int) -> Float32:
        """Grey levels (ranges, lines) of one transmission, before persistence; the last are kept.

        A cache around this method would be a cycle, and hold all scatterers of a scan that is done.
        """
        if number not in self._last_grey:
            if len(self._last_grey) == LAST:
                self._last_grey.pop(next(iter(self._last_grey)))
            self._last_grey[number] = self._grey_along(number, self.beamformer)
        return self._last_grey[number]

    def _grey_along(self, number: int, b: Beamformer) -> Float32:
        T_limb_from_image = self._T_limb_from_image[number]
        push = self._push(T_limb_from_image)
        echoes = b.echoes(self.scatterers, np.linalg.inv(T_limb_from_image), push)
        loss = imaging_kernels.enlarge(self._losses(T_limb_from_image, b), *b.shape, *LOSS_STEPS)
        noise_seed = int(self._rng(5, number).integers(2**62))
        return self.developer.grey(echoes, loss, float(self._gain_db[number]), noise_seed)

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """All frames in order."""
        return (self.frame(index) for index in range(len(self)))

    def poses(self) -> Float64:
        """Exact T_camera_from_tool (N, 4, 4); the camera sits at the limb's origin."""
        return self.T_limb_from_image @ np.linalg.inv(CHALLENGE_RIGID)

    def tracked_poses(self) -> Float64:
        """T_camera_from_tool (N, 4, 4) as a tracker reports it, late and jittering."""
        return tracked(self.poses(), self.recipe.imperfections, self._rng(6))

    def landmarks(self, count: int) -> NDArray[np.int64]:
        """Landmarks (count, 3): frame from 1 (never frame 0), pixel x and y from 1.

        Each is a corner of a bone, a vessel or its fork, or a strand of tendon, where it crosses
        its frame in plain view. Fewer than `count` different ones are repeated. A short scan that
        crosses none has places of plain speckle instead.
        """
        rng = self._rng(7)
        found = self._spread(np.concatenate([self._forks(), self._crossings()]), rng)
        plain = self._plain(found[: 20 * count], count)
        if not len(plain):
            plain = self._speckle(count, rng)
        rows = np.resize(plain, (count, 3))
        return rows[np.argsort(rows[:, 0], kind="stable")]

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([*self.recipe.seed, *purpose])

    def _draw_poses(self, rng: np.random.Generator) -> Float64:
        recipe = self.recipe
        layers = self.anatomy.layers
        trajectory = motion.TRAJECTORIES[recipe.protocol]
        poses = trajectory(rng, recipe.frames, motion.Skin(layers.across, layers.along))
        pressed = indentation_course(recipe.imperfections, recipe.frames, PUSH_DEPTH_MM, rng)
        poses[:, :3, 3] += pressed[:, None] * poses[:, :3, 1]
        contact = np.eye(4)
        contact[:2, 3] = self.beamformer.image.contact_mm
        return poses @ np.linalg.inv(contact)

    def _cells_seen(self) -> NDArray[np.int64]:
        """Cells (C, 3) within the elevational beam of any frame and not above the skin."""
        b = self.beamformer
        depths = np.linspace(0, b.probe.depth_mm, 10)
        reach = ELEVATIONAL_REACH * b.probe.elevational_sigma_mm(depths).max() + 2
        outline = b.points_on_lines(b.line_positions[:, None], depths)
        outline = np.concatenate([outline + np.array([0, 0, z, 0]) for z in (-reach, reach)])
        limb = np.einsum("nij,pj->npi", self.T_limb_from_image[::4], outline.reshape(-1, 4)[::7])
        cell = tissue_kernels.CELL_MM
        low = np.floor(limb[..., :3].min((0, 1)) / cell).astype(np.int64) - 2
        high = np.ceil(limb[..., :3].max((0, 1)) / cell).astype(np.int64) + 3
        low[2], high[2] = max(low[2], -1), max(high[2], 0)
        seen = np.zeros(high - low, np.bool_)
        T = np.ascontiguousarray(np.linalg.inv(self.T_limb_from_image)[:, :3], np.float32)
        imaging_kernels.mark_cells(seen, low, cell, T, b.geometry, reach)
        return np.asarray(np.argwhere(seen) + low, np.int64)

    def _push(self, T_limb_from_image: Float64) -> Float32:
        """How far the tissue is pushed deeper at the face of each line (lines,), mm."""
        b = self.beamformer
        face = b.points_on_lines(b.line_positions, np.zeros(1)) @ T_limb_from_image.T
        depth = np.empty(len(face), np.float32)
        tissue_kernels.skin_depths(self.anatomy, face, depth)
        return np.clip(depth, -self.recipe.imperfections.bulge_mm, 3.5)

    def _losses(self, T_limb_from_image: Float64, b: Beamformer) -> Float32:
        """Shadows and lost contact along lines on a coarse grid of LOSS_STEPS, two-way dB.

        Lines may be turned, but the face touches the skin as it does. The push is left out: shadow
        and enhancement begin up to .7 mm before or behind the face that is shown, 0 to 2.5 dB.
        """
        range_step, line_step = LOSS_STEPS
        lines, ranges = b.line_positions[::line_step], b.ranges_mm[::range_step]
        points = b.points_on_lines(lines[None], ranges[:, None]) @ T_limb_from_image.T
        loss = np.empty(points.shape[:2], np.float32)
        tissue_kernels.losses(self.anatomy, points, loss)
        loss = np.cumsum(loss, axis=0) * np.float32(2 * range_step * b.grid.range_step_mm)
        skin = np.empty(len(lines), np.float32)
        face = self.beamformer.points_on_lines(lines, np.zeros(1)) @ T_limb_from_image.T
        tissue_kernels.skin_depths(self.anatomy, face, skin)
        gap = -skin - self.recipe.imperfections.bulge_mm - self.recipe.console.gel_mm
        return np.asarray(loss + np.clip(20 * gap, 0, 60), np.float32)

    def _crossings(self) -> NDArray[np.int64]:
        """Every (frame, x, y) where a landmark curve crosses a frame within its view."""
        found = [np.zeros((0, 3))]
        T_image_from_limb = np.linalg.inv(self.T_limb_from_image)
        for curve in tissue.landmark_curves(self.anatomy):
            points = np.column_stack([curve, np.ones(len(curve))])
            xyz = points @ T_image_from_limb[:, :3].swapaxes(1, 2)
            z = xyz[..., 2]
            frame, i = np.nonzero((z[:, :-1] < 0) != (z[:, 1:] < 0))
            f = (z[frame, i] / (z[frame, i] - z[frame, i + 1]))[:, None]
            xy = xyz[frame, i, :2] * (1 - f) + xyz[frame, i + 1, :2] * f
            found.append(np.column_stack([frame, xy]))
        return self._as_pixels(np.concatenate(found))

    def _forks(self) -> NDArray[np.int64]:
        """Every (frame, x, y) within 0.5 mm of whose plane a vessel forks."""
        points = np.column_stack([self.anatomy.branches, np.ones(len(self.anatomy.branches))])
        xyz = points @ np.linalg.inv(self.T_limb_from_image)[:, :3].swapaxes(1, 2)
        frame, fork = np.nonzero(np.abs(xyz[..., 2]) < 0.5)
        return self._as_pixels(np.column_stack([frame, xyz[frame, fork, :2]]))

    def _pushed(self, found: Float64) -> Float64:
        """(frame, x mm, y mm) of tissue at rest -> where the frame shows it."""
        b = self.beamformer
        sample, line = b.grid_position(found[:, 1], found[:, 2])
        depth = sample * b.grid.range_step_mm
        push = np.zeros(len(found))
        for frame in np.unique(found[:, 0]).astype(np.int64):
            here = found[:, 0] == frame
            at_face = self._push(self.T_limb_from_image[frame])
            push[here] = np.interp(line[here], np.arange(len(at_face)), at_face)
        depth += push * np.exp(-depth.clip(0) / PUSH_DEPTH_MM)
        places = b.points_on_lines(b.line_step * line - b.probe.half_width, depth)
        return np.column_stack([found[:, 0], places[:, :2]])

    def _as_pixels(self, found: Float64) -> NDArray[np.int64]:
        """(frame, x mm, y mm) of tissue -> those in view and not in frame 0, in pixels from 1."""
        image = self.beamformer.image
        rows = np.rint(self._pushed(found) / [1, *image.spacing]).astype(np.int64)
        frame, x, y = rows.T
        inside = (frame > 0) & (x >= 1) & (x <= image.width) & (y >= 1) & (y <= image.height)
        rows = rows[inside]
        in_view = self.beamformer.field_of_view[rows[:, 2] - 1, rows[:, 1] - 1]
        return np.asarray(rows[in_view], np.int64)

    def _speckle(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Places (count, 3) anywhere in view, in any frame but the first."""
        rows, columns = np.nonzero(self.beamformer.field_of_view)
        pick = rng.integers(len(rows), size=count)
        frames = rng.integers(1, len(self), size=count)
        return np.column_stack([frames, columns[pick] + 1, rows[pick] + 1])

    def _plain(self, found: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """The first `count` candidates (P, 3) in plain view."""
        plain = (candidate for candidate in found if self._is_plain(candidate))
        return np.array(list(islice(plain, count)), np.int64).reshape(-1, 3)

    def _spread(self, found: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Candidates (P, 3) in random order, likelier first the farther they are from the face.

        So they spread over the picture, as a person's choice would; most structures are shallow.
        Weighted sampling by exponential keys (Efraimidis and Spirakis, 2006).
        """
        image = self.beamformer.image
        distance = np.hypot(*(found[:, 1:] * image.spacing - image.contact_mm).T)
        return found[np.argsort(rng.exponential(size=len(found)) / (distance**2 + 1))]

    def _is_plain(self, landmark: NDArray[np.int64]) -> bool:
        """Whether no shadow, lost contact or fading hides the place of a landmark."""
        frame, x, y = landmark
        b = self.beamformer
        spacing = b.image.spacing
        sample, line = b.grid_position(np.array(x * spacing[0]), np.array(y * spacing[1]))
        losses = self._losses(self.T_limb_from_image[frame], b)
        row = min(int(sample) // LOSS_STEPS[0], len(losses) - 1)
        loss = losses[row, min(int(line) // LOSS_STEPS[1], losses.shape[1] - 1)]
        return bool(loss < SHADOW_DB)
