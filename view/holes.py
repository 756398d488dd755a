"""Fills the holes between frames: voxels without data that lie between voxels with data.

Along thirteen directions through a hole, the nearest data on either side span a stick; the
shortest stick fills the hole with the value between its ends. PLUS calls this method STICK.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from view.volume import AT_ONCE, Volume

MEASURED, FILLED = 1, 2  # in a volume's mask
Array = NDArray[np.float32]


def fill_holes(volume: Volume, reach: int) -> Volume:
    """The volume with holes filled whose stick has ends at most `reach` voxels away.

    Filled voxels are FILLED in the mask; `volume` is left as it is.
    """
    near = ndimage.maximum_filter(volume.mask, 2 * reach + 1) > 0
    # A margin, so that a stick which leaves the volume finds nothing there.
    values, mask = np.pad(volume.values, reach), np.pad(volume.mask, reach)
    empty = np.pad(near, reach)
    empty &= mask == 0
    for start in range(0, empty.size, AT_ONCE):
        holes = start + np.flatnonzero(empty.reshape(-1)[start : start + AT_ONCE])
        _fill(values, mask, holes, reach)
    inner = (slice(reach, -reach),) * 3
    return Volume(volume.grid, values[inner].copy(), mask[inner].copy())


def _fill(
    values: NDArray[np.uint8], mask: NDArray[np.uint8], holes: NDArray[np.intp], reach: int
) -> None:
    """Fill those of `holes`, flat indices, that have a stick."""
    known, grey = mask.reshape(-1), values.reshape(-1)
    shortest = np.full(len(holes), np.inf, np.float32)
    filling = np.zeros(len(holes), np.float32)
    for direction in _directions():
        step = int(np.dot(direction, values.strides))  # one byte a voxel
        ahead, there = _nearest_data(known, grey, holes, step, reach)
        behind, here = _nearest_data(known, grey, holes, -step, reach)
        length = (ahead + behind) * np.float32(np.linalg.norm(direction))
        better = length < shortest
        shortest[better] = length[better]
        weight = behind[better] / (ahead[better] + behind[better])
        filling[better] = here[better] + weight * (there[better] - here[better])
    found = np.isfinite(shortest)
    grey[holes[found]] = np.rint(filling[found])
    known[holes[found]] = FILLED


def _directions() -> list[tuple[int, ...]]:
    """Half of the 26 neighbours of a voxel."""
    return [d for d in product((-1, 0, 1), repeat=3) if d > (0, 0, 0)]


def _nearest_data(
    known: NDArray[np.uint8],
    grey: NDArray[np.uint8],
    holes: NDArray[np.intp],
    step: int,
    reach: int,
) -> tuple[Array, Array]:
    """Steps to the nearest data from each hole, infinite beyond `reach`, and its value."""
    distance = np.full(len(holes), np.inf, np.float32)
    value = np.zeros(len(holes), np.float32)
    searching = np.arange(len(holes))
    for count in range(1, reach + 1):
        places = holes[searching] + count * step
        hit = known[places] == MEASURED
        distance[searching[hit]] = count
        value[searching[hit]] = grey[places[hit]]
        searching = searching[~hit]
    return distance, value
