"""Frames with poses into a volume, with the names and the rules that PLUS has for it.

Each pixel is put where its pose says: into the nearest voxel, or shared among the eight around
it. A voxel that many pixels hit takes their mean, the latest, or the largest. Source: Boisvert,
Gobbi, Vikal, Rohling, Fichtinger and Abolmaesumi, "An open-source solution for interactive
acquisition, processing and transfer of interventional ultrasound images" (2008); Lasso et al.,
"PLUS: open-source toolkit for ultrasound-guided intervention systems" (2014).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tusrec import memory
from tusrec.errors import InputError, OutOfMemoryError
from tusrec.frames import Frames

INTERPOLATIONS = ("NEAREST_NEIGHBOR", "LINEAR")
COMPOUNDINGS = ("MEAN", "LATEST", "MAXIMUM")
GB = 1e9
MOST_HITS = (2**32 - 1) // 255  # whose whole sums a voxel holds
WRITING = 4  # bytes a voxel that ITK takes at most: its copy, and what it compresses for .mha
ROUNDING = 1e-3  # of a voxel; what lies nearer to a voxel's centre than that lies on it
AT_ONCE = 200_000  # voxels or holes, which bounds the memory beside them to some 20 MB

Indices = NDArray[np.int64]
Places = list[NDArray[np.float64]]
Size = tuple[int, int, int]


@dataclass(frozen=True)
class Grid:
    """Voxels: origin (3,) mm is the centre of the first, spacing mm, size (nx, ny, nz)."""

    origin: NDArray[np.float64]
    spacing: float
    size: Size

    @property
    def voxels(self) -> int:
        """How many there are."""
        return math.prod(self.size)  # of Python, whose numbers hold any grid


@dataclass(frozen=True)
class Volume:
    """values (nz, ny, nx) uint8; mask of the same shape: 0 no data, 1 measured, 2 filled."""

    grid: Grid
    values: NDArray[np.uint8]
    mask: NDArray[np.uint8]


@dataclass(frozen=True)
class Method:
    """One of INTERPOLATIONS, one of COMPOUNDINGS, and how far holes are filled, in voxels."""

    interpolation: str = "NEAREST_NEIGHBOR"
    compounding: str = "MEAN"
    fill_holes: int = 0

    def bytes_for(self, grid: Grid) -> int:
        """Peak memory: two results with two counters, padded as filling needs them, or written."""
        counts = self.compounding == "MEAN" or self.interpolation == "LINEAR"
        made = (8 if counts else WRITING) * grid.voxels
        padded = math.prod(side + 2 * self.fill_holes for side in grid.size)
        return 2 * grid.voxels + max(made, 6 * padded if self.fill_holes else 0)


def grid_around(
    T_space_from_pixel: NDArray[np.float64], pixels: NDArray[np.bool_], spacing: float
) -> Grid:
    """The voxels that hold the rectangle around `pixels` (H, W) of every frame.

    T_space_from_pixel (N, 4, 4) takes pixels that count from 1.
    """
    rows, columns = (np.flatnonzero(pixels.any(axis=axis)) + 1 for axis in (1, 0))
    corners = np.array([[x, y, 0, 1] for x in columns[[0, -1]] for y in rows[[0, -1]]]).T
    places = (T_space_from_pixel @ corners)[:, :3]
    low, high = places.min(axis=(0, 2)), places.max(axis=(0, 2))
    with np.errstate(over="ignore"):
        steps = np.floor((high - low) / spacing + 0.5)
    if not np.isfinite(steps).all():
        raise OutOfMemoryError(
            f"voxels of {spacing:g} mm are too many to count; give a larger --voxel"
        )
    nx, ny, nz = (int(number) + 1 for number in steps.tolist())
    return Grid(low, spacing, (nx, ny, nz))


def require_memory(grid: Grid, method: Method) -> int:
    """Bytes that a reconstruction will take; OutOfMemoryError if there are not as many."""
    needed, free = method.bytes_for(grid), memory.available_bytes()
    if needed > free:
        raise OutOfMemoryError(
            f"a volume of {' x '.join(map(str, grid.size))} voxels takes {needed / GB:.1f} GB and "
            f"{free / GB:.1f} GB are free; give a larger --voxel, or --clip the frames"
        )
    return needed


def reconstruct(
    frames: Frames,
    T_space_from_pixel: NDArray[np.float64],
    pixels: NDArray[np.bool_],
    grid: Grid,
    method: Method,
) -> Volume:
    """Put `pixels` (H, W) of frames (N, H, W) into the voxels of `grid`.

    T_space_from_pixel (N, 4, 4) takes pixels that count from 1; what falls outside is left out.
    Holes are not filled yet; see `view.holes`.
    """
    chosen = np.flatnonzero(pixels)
    y, x = (axis[chosen] + 1.0 for axis in np.indices(pixels.shape).reshape(2, -1))
    voxel_from_space = np.eye(4) / grid.spacing
    voxel_from_space[:3, 3] = -grid.origin / grid.spacing
    affine = (voxel_from_space @ T_space_from_pixel)[:, :3, [0, 1, 3]]

    splat = _linear if method.interpolation == "LINEAR" else _nearest
    accumulator = _accumulator(grid.voxels, method)
    for frame, rows in enumerate(affine):
        values = frames[frame : frame + 1].reshape(-1)[chosen]
        places = [a * x + (b * y + c) for a, b, c in rows]
        accumulator.add(splat(*_inside(places, values, grid.size), grid.size))
    shape = grid.size[::-1]
    values, hit = accumulator.result()
    return Volume(grid, values.reshape(shape), hit.view(np.uint8).reshape(shape))


@dataclass(frozen=True)
class _Splat:
    """Where the pixels of a frame go.

    voxels: (P,) flat indices; values: (P,) grey values.
    shares: pairs of an offset to `voxels` and the weights (P,) there; empty where each pixel goes
        whole to its own voxel.
    """

    voxels: Indices
    values: NDArray[np.uint8]
    shares: list[tuple[int, NDArray[np.float32]]]


class _Accumulator(Protocol):
    def add(self, splat: _Splat) -> None: ...

    def result(self) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Values, and which voxels were hit."""
        ...


class _Mean:
    """Sums and weights; whole numbers, and so exact, where no pixel is shared."""

    def __init__(self, voxels: int, exact: bool) -> None:
        kind = np.uint32 if exact else np.float32
        self.sums, self.weights = np.zeros(voxels, kind), np.zeros(voxels, kind)

    def add(self, splat: _Splat) -> None:
        values = splat.values.astype(self.sums.dtype)
        if not splat.shares:
            np.add.at(self.sums, splat.voxels, values)
            np.add.at(self.weights, splat.voxels, self.weights.dtype.type(1))
        for offset, weights in splat.shares:
            np.add.at(self.sums[offset:], splat.voxels, values * weights)
            np.add.at(self.weights[offset:], splat.voxels, weights)

    def result(self) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        hit = self.weights > 0
        values = np.zeros(len(hit), np.uint8)
        for start in range(0, len(hit), AT_ONCE):
            some = start + np.flatnonzero(hit[start : start + AT_ONCE])
            values[some] = self.means(some)
        if self.weights.dtype == np.uint32 and self.weights.max(initial=0) > MOST_HITS:
            raise InputError(
                f"--voxel: found a voxel that more than {MOST_HITS} pixels hit, expected fewer; "
                "give a smaller --voxel"
            )
        return values, hit

    def means(self, voxels: Indices) -> NDArray[np.uint8]:
        """The mean of some voxels, to the nearest whole number."""
        return np.asarray(np.rint(self.sums[voxels] / self.weights[voxels]), np.uint8)


class _Picked:
    """The latest or the largest value."""

    def __init__(self, voxels: int, largest: bool) -> None:
        self.values, self.hit = np.zeros(voxels, np.uint8), np.zeros(voxels, np.bool_)
        self.largest = largest

    def add(self, splat: _Splat) -> None:
        self.pick(splat.voxels, splat.values)

    def pick(self, voxels: Indices, values: NDArray[np.uint8]) -> None:
        if self.largest:
            np.maximum.at(self.values, voxels, values)
        else:
            self.values[voxels] = values  # of equal indices numpy keeps the last
        self.hit[voxels] = True

    def result(self) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        return self.values, self.hit


class _PickedMean(_Picked):
    """The latest or the largest of what single frames give, each the mean of its shared pixels."""

    def __init__(self, voxels: int, largest: bool) -> None:
        super().__init__(voxels, largest)
        self.frame = _Mean(voxels, exact=False)

    def add(self, splat: _Splat) -> None:
        self.frame.add(splat)
        changes = np.diff(splat.voxels, prepend=-1) != 0  # neighbours often share their voxel
        lowest = splat.voxels[changes]
        for offset, _ in splat.shares:
            voxels = lowest + offset
            touched = voxels[self.frame.weights[voxels] > 0]
            self.pick(touched, self.frame.means(touched))
            # Emptied at once, so that the next offset does not take them a second time.
            self.frame.sums[touched] = self.frame.weights[touched] = 0


def _accumulator(voxels: int, method: Method) -> _Accumulator:
    exact = method.interpolation != "LINEAR"
    if method.compounding == "MEAN":
        return _Mean(voxels, exact)
    return (_Picked if exact else _PickedMean)(voxels, method.compounding == "MAXIMUM")


def _inside(
    places: Places, values: NDArray[np.uint8], size: Size
) -> tuple[Places, NDArray[np.uint8]]:
    """The places, in voxels, that belong to a voxel of the grid, and their values."""
    inside = np.ones(len(values), np.bool_)
    for place, count in zip(places, size, strict=True):
        inside &= (place >= -0.5) & (place < count - 0.5)
    if inside.all():
        return places, values
    return [place[inside] for place in places], values[inside]


def _nearest(places: Places, values: NDArray[np.uint8], size: Size) -> _Splat:
    """The voxel of every pixel; halves go up, as in PLUS."""
    return _Splat(_flat([(place + 0.5).astype(np.int64) for place in places], size), values, [])


def _linear(places: Places, values: NDArray[np.uint8], size: Size) -> _Splat:
    """The eight voxels around every pixel, with trilinear weights."""
    lower, shares = [], []
    for place, count in zip(places, size, strict=True):
        # Half a voxel around the grid belongs to its outermost voxels alone.
        kept = np.clip(place, 0, count - 1)
        lower.append(np.minimum(kept.astype(np.int64), max(count - 2, 0)))
        upper = (kept - lower[-1]).astype(np.float32)
        # Else what poses are off by in their last digits would be data in the next layer.
        upper[upper < ROUNDING], upper[upper > 1 - ROUNDING] = 0, 1
        shares.append([1 - upper, upper] if count > 1 else [1 - upper])
    weights = []
    for k, z in enumerate(shares[2]):
        for j, y in enumerate(shares[1]):
            yz = y * z
            for i, x in enumerate(shares[0]):
                weights.append((i + size[0] * (j + size[1] * k), x * yz))
    return _Splat(_flat(lower, size), values, weights)


def _flat(corners: list[Indices], size: Size) -> Indices:
    x, y, z = corners
    return x + size[0] * (y + size[1] * z)
