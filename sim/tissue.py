"""Tissue: anatomies as functions of position, and the point scatterers drawn from them.

Limb coordinates in mm: x along the limb, y across, z inwards from the skin under the probe.
Everything that is seen is computed from (x, y, z) and the tissue's numbers, so a place looks the
same whichever way, and however often, the probe comes back to it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sim import tissue_kernels as kernels
from sim.imaging import Scatterers
from sim.tissue_kernels import BONE, CELL_MM, NOISE_SIZE, SOLID, VESSEL

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

X_END_MM = 260  # tubes reach from -X_END_MM to X_END_MM


class Layers(NamedTuple):
    """The limb's outline and the layers under its skin.

    across, along: curvature of the skin, 1/mm; across 1/90-1/35 (a limb's girth), along < 1/200.
    skin: thickness 0.8-2.5 mm; fat: 1-15 mm (ultrasound surveys of subcutaneous tissue).
    thickness: of the whole limb, 50-200 mm. All are zero in a phantom but the last.
    """

    across: float
    along: float
    skin: float
    fat: float
    thickness: float


class Texture(NamedTuple):
    """What the tissue between the layers looks like. Amplitudes are over homogeneous tissue of 1.

    level: between the brighter structures, 0.3-1. spread: of log amplitude, 0.1-0.4 (contrast
    within one muscle, 2-6 dB).
    fascicle_mm: spacing of the perimysium across the fibres, 1.5-5 mm (anatomy atlases).
    fascicle_gain: its brightness, 0.5-3. pennation: slope of fibres to the limb, 0-0.35.
    septum_mm: spacing of the septa between muscles, 12-30 mm; septum_gain: 0-4.
    solid_gain: tendons, nerves or lesions, 0.3-3. bone_gain: bone's face, 8-25 (20 dB over
    muscle). fascia_gain: between fat and muscle, 3-8. bone_haze: reverberation behind a bone's
    face, 0-0.6; bone_loss: by which it and the shadow fade, 1.5-8 dB/mm one way (cortical bone
    loses 5-20 at these frequencies, but what is seen there has not passed it).
    fibre_share: scatterers that lie in line along the limb with equal echoes, as muscle fibres and
    connective strands do, 0-0.5; fibre_mm: over how much, 4-16 mm (in vivo speckle decorrelates
    more slowly than a phantom's: Gee et al., "Sensorless freehand 3D ultrasound in real tissue",
    Medical Image Analysis 10, 2006).
    loss_spread: unevenness of attenuation, 0-0.08 dB/mm one way (0.5 dB/cm/MHz +- 20 %).
    """

    level: float
    spread: float
    fascicle_mm: float
    fascicle_gain: float
    pennation: float
    septum_mm: float
    septum_gain: float
    solid_gain: float
    bone_gain: float
    fascia_gain: float
    bone_haze: float
    bone_loss: float
    fibre_share: float
    fibre_mm: float
    loss_spread: float


class Tissue(NamedTuple):
    """The numbers of one anatomy.

    noise: (64, 64, 64) float32 smooth random field of unit variance, periodic.
    tubes: (T, X, 4) float32 centre y, z and half widths y, z at every mm of x from x_start; a
        width of 0 ends a tube. lobes: (T, 2) float32 depth and direction (rad, times three) of a
        tube's three corners. kinds: (T,) int64, BONE, VESSEL or SOLID.
    branches: (B, 3) float32, mm, where vessels fork.
    """

    layers: Layers
    texture: Texture
    noise: Float32
    tubes: Float32
    lobes: Float32
    kinds: NDArray[np.int64]
    branches: Float32
    x_start: float


PLAIN = Texture(1.0, 0.0, 3.0, 0.0, 0.0, 20.0, 0.0, 1.0, 10.0, 1.0, 0.0, 8.0, 0.0, 4.0, 0.0)


def homogeneous(rng: np.random.Generator) -> Tissue:
    """A phantom without any structure, below z = 0; it has no landmarks."""
    return _assemble(rng, Layers(0.0, 0.0, 0.0, 0.0, 1e6), PLAIN, [])


def phantom(rng: np.random.Generator) -> Tissue:
    """A quality-assurance phantom: even speckle, anechoic cysts, bright and dark solid rods."""
    layers = Layers(0.0, 0.0, 0.5, 0.0, 160.0)
    texture = PLAIN._replace(solid_gain=rng.uniform(0.3, 3))
    cysts = [
        _tube(rng, VESSEL, (-40, 40), (10, 75), (1.5, 5), straight=True) for _ in range(7)
    ]  # fmt: skip
    rods = [_tube(rng, SOLID, (-40, 40), (10, 75), (0.4, 5), straight=True) for _ in range(6)]
    return _assemble(rng, layers, texture, cysts + rods)


def forearm(rng: np.random.Generator) -> Tissue:
    """A forearm near the elbow: radius and ulna, two groups of muscles, arteries, tendons."""
    thickness = rng.uniform(58, 85)
    layers = Layers(
        1 / rng.uniform(45, 80), 1 / rng.uniform(250, 900),
        rng.uniform(1.0, 2.0), rng.uniform(1.5, 7.0), thickness,
    )  # fmt: skip
    side = rng.choice([-1, 1])
    tubes = [
        _tube(rng, BONE, (14 * side, 22 * side), (0.35 * thickness, 0.5 * thickness), (6, 9)),
        _tube(rng, BONE, (-24 * side, -12 * side), (0.45 * thickness, 0.6 * thickness), (6, 9)),
    ]
    tubes += _vessels(rng, 3, (-30, 30), (9, 30), (1.0, 2.2))
    tubes += _vessels(rng, 3, (-35, 35), (4, 9), (0.6, 1.6))
    tubes += [_tube(rng, SOLID, (-30, 30), (7, 35), (1.2, 3.0)) for _ in range(4)]
    return _assemble(rng, layers, _muscle(rng), tubes)


def calf(rng: np.random.Generator) -> Tissue:
    """A lower leg from behind: thick muscle, tibia and fibula deep, large veins."""
    layers = Layers(
        1 / rng.uniform(55, 90), 1 / rng.uniform(300, 900),
        rng.uniform(1.2, 2.2), rng.uniform(3.0, 12.0), rng.uniform(90, 130),
    )  # fmt: skip
    tubes = [
        _tube(rng, BONE, (-15, 5), (48, 65), (10, 14)),
        _tube(rng, BONE, (22, 38), (40, 55), (5, 7.5)),
    ]
    tubes += _vessels(rng, 4, (-25, 30), (25, 45), (1.2, 3.0))
    tubes += _vessels(rng, 2, (-35, 35), (6, 12), (0.8, 2.2))
    tubes += [_tube(rng, SOLID, (-20, 20), (10, 35), (1.5, 4.0)) for _ in range(2)]
    return _assemble(rng, layers, _muscle(rng), tubes)


def organ(rng: np.random.Generator) -> Tissue:
    """A parenchymal organ under its wall: fine even texture, many forking vessels, cysts."""
    layers = Layers(
        1 / rng.uniform(120, 300), 1 / rng.uniform(300, 900),
        rng.uniform(1.2, 2.5), rng.uniform(5.0, 15.0), rng.uniform(140, 200),
    )  # fmt: skip
    texture = Texture(
        level=rng.uniform(0.6, 1), spread=rng.uniform(0.1, 0.25), fascicle_mm=rng.uniform(3, 5),
        fascicle_gain=rng.uniform(0.2, 0.5), pennation=0.0, septum_mm=rng.uniform(20, 30),
        septum_gain=rng.uniform(0, 1), solid_gain=rng.uniform(0.4, 2.5), bone_gain=12.0,
        fascia_gain=rng.uniform(3, 6), bone_haze=0.0, bone_loss=8.0,
        fibre_share=rng.uniform(0, 0.1), fibre_mm=4.0, loss_spread=rng.uniform(0.02, 0.06),
    )  # fmt: skip
    tubes = _vessels(rng, 9, (-45, 45), (22, 85), (1.2, 5.0))
    tubes += [_tube(rng, SOLID, (-40, 40), (25, 75), (2, 7), straight=True) for _ in range(3)]
    return _assemble(rng, layers, texture, tubes)


ANATOMIES: dict[str, Callable[[np.random.Generator], Tissue]] = {
    "forearm": forearm, "calf": calf, "organ": organ, "phantom": phantom,
}  # fmt: skip


class _Tube(NamedTuple):
    """One tube: kind, (X, 4) course, (2,) lobes, (B, 3) forks."""

    kind: int
    course: Float64
    lobes: Float64
    forks: Float64


def _assemble(
    rng: np.random.Generator, layers: Layers, texture: Texture, tubes: list[_Tube]
) -> Tissue:
    count = 2 * X_END_MM + 1
    return Tissue(
        layers=layers,
        texture=texture,
        noise=smooth_noise(rng),
        tubes=np.array([t.course for t in tubes], np.float32).reshape(-1, count, 4),
        lobes=np.array([t.lobes for t in tubes], np.float32).reshape(-1, 2),
        kinds=np.array([t.kind for t in tubes], np.int64),
        branches=np.concatenate([np.zeros((0, 3)), *(t.forks for t in tubes)]).astype(np.float32),
        x_start=-float(X_END_MM),
    )


def _muscle(rng: np.random.Generator) -> Texture:
    return Texture(
        level=rng.uniform(0.3, 0.7), spread=rng.uniform(0.15, 0.4),
        fascicle_mm=rng.uniform(1.5, 4.5),
        fascicle_gain=rng.uniform(0.8, 3), pennation=rng.uniform(-0.3, 0.3),
        septum_mm=rng.uniform(14, 28), septum_gain=rng.uniform(1, 4),
        solid_gain=rng.uniform(1.2, 3), bone_gain=rng.uniform(8, 25),
        fascia_gain=rng.uniform(3, 8), bone_haze=rng.uniform(0, 0.6),
        bone_loss=rng.uniform(1.5, 8), fibre_share=rng.uniform(0, 0.5),
        fibre_mm=rng.uniform(4, 16), loss_spread=rng.uniform(0.02, 0.08),
    )  # fmt: skip


def _tube(
    rng: np.random.Generator,
    kind: int,
    y: tuple[float, float],
    z: tuple[float, float],
    size: tuple[float, float],
    *,
    straight: bool = False,
) -> _Tube:
    """A tube whose middle passes x = 0 within y and z (mm) with a half width within `size`.

    A `straight` one lies at any angle and ends after 5-30 mm, like a cyst or a rod.
    """
    x = np.arange(-X_END_MM, X_END_MM + 1.0)
    wander = ndimage.gaussian_filter1d(rng.normal(size=(len(x), 4)), 25, axis=0, mode="wrap") * 9
    slope = rng.normal(0, 0.3 if straight else 0.06, 2)
    start = np.array([rng.uniform(*np.sort(y)), rng.uniform(*z)])
    course = np.empty((len(x), 4))
    course[:, :2] = start + x[:, None] * slope * [1, 0.5]
    course[:, :2] += 0.0 if straight else wander[:, :2] * [1.5, 1.0]
    course[:, 2:] = rng.uniform(*size) * np.exp(0.12 * wander[:, 2:])
    if straight:
        middle, half = rng.uniform(-40, 40), rng.uniform(2.5, 15)
        course[:, 2:] *= np.sqrt(np.clip(1 - ((x - middle) / half) ** 2, 0, None))[:, None]
    lobes = [rng.uniform(0.06, 0.16), rng.uniform(0, 2 * np.pi)] if kind == BONE else [0, 0]
    return _Tube(kind, course, np.array(lobes), np.zeros((0, 3)))


def _vessels(
    rng: np.random.Generator,
    count: int,
    y: tuple[float, float],
    z: tuple[float, float],
    size: tuple[float, float],
) -> list[_Tube]:
    """`count` vessels; from each a thinner one forks off somewhere near the middle."""
    x = np.arange(-X_END_MM, X_END_MM + 1.0)
    tubes = []
    for _ in range(count):
        parent = _tube(rng, VESSEL, y, z, size)
        side = _tube(rng, VESSEL, (0, 0), (0, 0), size).course
        at, direction = int(rng.integers(-35, 36)), rng.choice([-1, 1])
        along = np.clip((x - at) * direction, 0, None)
        course = parent.course.copy()
        course[:, :2] += along[:, None] * rng.uniform(0.15, 0.6, 2) * rng.choice([-1, 1], 2)
        course[:, :2] += (side[:, :2] - side[at + X_END_MM, :2]) * (along > 0)[:, None]
        course[:, 2:] *= 0.7 * (along > 0)[:, None]
        fork = np.array([[at, *parent.course[at + X_END_MM, :2]]])
        tubes += [parent, _Tube(VESSEL, course, np.zeros(2), fork)]
    return tubes


def landmark_curves(anatomy: Tissue) -> list[Float32]:
    """Curves (X, 3) of limb mm that are seen as a distinct point where a frame cuts them.

    The middles of vessels and of solid strands, and the corners of each bone.
    """
    x = np.arange(anatomy.tubes.shape[1], dtype=np.float32) + np.float32(anatomy.x_start)
    curves = []
    for tube, lobe, kind in zip(anatomy.tubes, anatomy.lobes, anatomy.kinds, strict=True):
        present = tube[:, 2:].min(axis=1) > 0.3
        corners = (lobe[1] + 2 * np.pi * np.arange(3)) / 3 if kind == BONE else np.zeros(1)
        reach = (1 + lobe[0]) if kind == BONE else 0.0
        for angle in corners:
            y = tube[:, 0] + reach * tube[:, 2] * np.cos(angle)
            z = tube[:, 1] + reach * tube[:, 3] * np.sin(angle)
            curves.append(np.column_stack([x, y, z])[present].astype(np.float32))
    return [curve for curve in curves if len(curve) > 1]


def smooth_noise(rng: np.random.Generator) -> Float32:
    """A periodic Gaussian random field (64, 64, 64) of unit variance, correlated over 1.5."""
    white = rng.normal(size=(NOISE_SIZE,) * 3).astype(np.float32)
    field = ndimage.gaussian_filter(white, 1.5, mode="wrap")
    return np.asarray(field / field.std(), np.float32)


def draw_scatterers(
    anatomy: Tissue, cells: NDArray[np.int64], seed: int, strata: int
) -> Scatterers:
    """The scatterers of cells (C, 3), integer multiples of CELL_MM.

    Each cell's depend on the seed and the cell alone, not on which others are drawn. One lies in
    each of strata^3 cubes of a cell: 4 give 8 a cubic mm, 5 give 15.6, 8 give 64.
    """
    points = np.empty((len(cells) * strata**3, 4), np.float32)
    counts = np.zeros(len(cells), np.int64)
    total = kernels.fill_cells(anatomy, cells, np.uint64(seed), strata, points, counts)
    starts = np.concatenate([[0], np.cumsum(counts)])
    centres = ((cells + 0.5) * CELL_MM).astype(np.float32)
    density = (strata / CELL_MM) ** 3
    # An interface moves its scatterers by up to half its thickness, out of their cell.
    half_diagonal = CELL_MM * 3**0.5 / 2 + 0.4
    return Scatterers(points[:total], starts, centres, half_diagonal, density)
