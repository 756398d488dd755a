"""Measurements that show the simulated speckle to be right; used by tests and `bench/simulator.py`.

Motions are those of the tissue as the image sees it: a point p of the first frame is at
T_second_from_first @ p in the second.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sim import tissue
from sim.imaging import ELEVATIONAL_REACH, Beamformer, Scatterers
from sim.scan import STRATA
from sim.tissue_kernels import CELL_MM

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def block(
    beamformer: Beamformer, depths_mm: tuple[float, float], half_width_mm: float, seed: int
) -> Scatterers:
    """Homogeneous tissue in image mm between two depths under the face, |x| < half_width_mm."""
    probe = beamformer.probe
    reach = ELEVATIONAL_REACH * probe.elevational_sigma_mm(np.array(depths_mm)).max() + 2.5
    x0, y0 = beamformer.image.contact_mm
    low = np.array([x0 - half_width_mm, y0 + depths_mm[0] - 2, -reach])
    high = np.array([x0 + half_width_mm, y0 + depths_mm[1] + 2, reach])
    first = np.floor(low / CELL_MM).astype(np.int64)
    last = np.ceil(high / CELL_MM).astype(np.int64)
    lift = np.array([0, 0, 1000])  # far below the homogeneous tissue's surface
    cells = np.argwhere(np.ones(last - first)) + first + lift
    plain = tissue.homogeneous(np.random.default_rng(seed))
    drawn = tissue.draw_scatterers(plain, cells, seed, STRATA[probe.name])
    drawn.points[:, 2] -= 1000 * CELL_MM
    drawn.centres[:, 2] -= 1000 * CELL_MM
    return drawn


def complex_echoes(
    beamformer: Beamformer, s: Scatterers, T: Float64, push_mm: Float32 | None = None
) -> NDArray[np.complex64]:
    """Echoes (ranges, lines) of tissue moved by T (4, 4), image mm, and pushed at the face."""
    none = np.zeros(beamformer.grid.lines, np.float32)
    echoes = beamformer.echoes(s, T, none if push_mm is None else push_mm)
    pairs: NDArray[np.complex64] = echoes.view(np.complex64)
    return pairs


def correlation(a: NDArray[np.complex64], b: NDArray[np.complex64]) -> float:
    """|Correlation| of two complex pictures."""
    return float(abs(np.vdot(a, b)) / np.sqrt(np.vdot(a, a).real * np.vdot(b, b).real))


def shift(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Float64:
    """A translation (4, 4), mm."""
    T = np.eye(4)
    T[:3, 3] = x, y, z
    return T


def tilt(beamformer: Beamformer, angle_rad: float) -> Float64:
    """A rotation (4, 4) about the lateral axis through the middle of the face."""
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    T = np.eye(4)
    T[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]
    pivot = shift(y=beamformer.image.contact_mm[1])
    return np.asarray(pivot @ T @ np.linalg.inv(pivot), np.float64)


def window(beamformer: Beamformer, depth_mm: float, half_depth_mm: float) -> tuple[slice, slice]:
    """The samples within half_depth_mm of a depth, on all but the outermost lines."""
    step = beamformer.grid.range_step_mm
    rows = slice(round((depth_mm - half_depth_mm) / step), round((depth_mm + half_depth_mm) / step))
    margin = beamformer.grid.lines // 16
    return rows, slice(margin, beamformer.grid.lines - margin)


def correlations(
    beamformer: Beamformer, depth_mm: float, motions: list[Float64], seeds: range
) -> Float64:
    """|Correlation| of homogeneous tissue near a depth before and after each motion (M,)."""
    radius, half_width = beamformer.probe.radius_mm, beamformer.probe.half_width
    outer = (radius + depth_mm + 3) * np.sin(half_width) if radius else half_width
    sagging = (radius + depth_mm) * (1 - np.cos(half_width)) if radius else 0.0
    part = window(beamformer, depth_mm, 2.0)
    found = []
    for seed in seeds:
        s = block(beamformer, (depth_mm - 4 - sagging, depth_mm + 4), outer, seed)
        still = complex_echoes(beamformer, s, np.eye(4))[part]
        moved = [complex_echoes(beamformer, s, T)[part] for T in motions]
        found.append([correlation(still, echoes) for echoes in moved])
    return np.asarray(np.mean(found, axis=0), np.float64)


def tilt_theory(beamformer: Beamformer, depth_mm: float, angle_rad: float) -> float:
    """The analytic |correlation| near a depth after a tilt, the mean over the lines."""
    probe = beamformer.probe
    rows, lines = window(beamformer, depth_mm, 2.0)
    ranges, theta = beamformer.ranges_mm[rows, None], beamformer.line_positions[None, lines]
    slope = np.cos(theta) if probe.radius_mm else np.ones_like(theta)
    below = beamformer.points_on_lines(theta, ranges)[..., 1] - beamformer.image.contact_mm[1]
    shifts, tilts = angle_rad * below, angle_rad * slope + 0 * below
    return float(probe.elevational_correlation(depth_mm, shifts, tilts).mean())


def point_widths(beamformer: Beamformer, depth_mm: float, seed: int) -> tuple[float, float, float]:
    """Full widths at half maximum (axial, lateral, elevational) of point echoes, mm.

    From second moments of the mean echo amplitude of 40 points, one at a time.
    """
    rng = np.random.default_rng(seed)
    moments = np.zeros((40, 2))
    for n in range(len(moments)):
        place = rng.uniform(-1, 1, 2) * [1.0, 0.5]
        moments[n] = _point_moments(beamformer, depth_mm, place)
    axial, lateral = np.sqrt(moments.mean(axis=0))
    offsets = (
        np.linspace(0, 2.5, 60) * beamformer.probe.elevational_sigma_mm(np.array([depth_mm])).item()
    )
    sums = np.array(
        [np.abs(_point_echo(beamformer, depth_mm, (0.0, 0.0), z)).sum() for z in offsets]
    )
    elevational = np.sqrt(np.sum(sums * offsets**2) / np.sum(sums))
    fwhm = np.sqrt(8 * np.log(2))
    # 2.5 standard deviations hold all but this share of a Gaussian's variance
    kept = 1 - 2 * 2.5 * np.exp(-(2.5**2) / 2) / np.sqrt(2 * np.pi) / 0.98758
    return fwhm * axial, fwhm * lateral, fwhm * elevational / np.sqrt(kept)


def _point_echo(
    beamformer: Beamformer, depth_mm: float, place: tuple[float, float], z: float
) -> NDArray[np.complex64]:
    x0, y0 = beamformer.image.contact_mm
    x, y = x0 + place[0], y0 + depth_mm + place[1]
    point = np.array([[x, y, z, 1.0]], np.float32)
    s = Scatterers(point, np.array([0, 1]), point[:, :3].copy(), 1.0, 1.0)
    return complex_echoes(beamformer, s, np.eye(4))


def _point_moments(beamformer: Beamformer, depth_mm: float, place: Float64) -> Float64:
    """Variances in depth and across (2,), mm^2, of the amplitude of one point's echo."""
    amplitude = np.abs(_point_echo(beamformer, depth_mm, (place[0], place[1]), 0.0))
    axial, lateral = amplitude.sum(axis=1), amplitude.sum(axis=0)
    step = beamformer.line_step * (beamformer.probe.radius_mm + depth_mm + place[1])
    step = step if beamformer.probe.radius_mm else beamformer.line_step
    return np.array(
        [_variance(axial, beamformer.grid.range_step_mm), _variance(lateral, step)], np.float64
    )


def _variance(weights: NDArray[np.floating], step: float) -> float:
    at = np.arange(len(weights)) * step
    mean = float(np.sum(weights * at) / np.sum(weights))
    return float(np.sum(weights * (at - mean) ** 2) / np.sum(weights))


def registered_shift(fixed: NDArray[np.uint8], moving: NDArray[np.uint8]) -> Float64:
    """Pixels (x, y) by which the middle of `moving` is shifted against `fixed`.

    Least squares on the grey levels by Gauss and Newton (Lucas and Kanade, 1981), the pictures
    smoothed over a pixel so that they can be interpolated.
    """
    a = ndimage.gaussian_filter(fixed.astype(np.float64), 1.0)
    b = ndimage.gaussian_filter(moving.astype(np.float64), 1.0)
    rows, columns = (slice(size // 4, 3 * size // 4) for size in a.shape)
    found = np.zeros(2)
    for _ in range(12):
        warped = ndimage.shift(b, (-found[1], -found[0]), order=3)
        dy, dx = np.gradient(warped)
        normal = np.stack([dx[rows, columns].ravel(), dy[rows, columns].ravel()], axis=1)
        rest = (a - warped)[rows, columns].ravel()
        found += np.linalg.lstsq(normal, rest, rcond=None)[0]
    return found


def near_axis(beamformer: Beamformer, half_width_mm: float, depth_mm: float) -> slice:
    """The lines within half_width_mm of the middle one at a depth."""
    radius = beamformer.probe.radius_mm
    reach = half_width_mm / (radius + depth_mm) if radius else half_width_mm
    lines = np.flatnonzero(np.abs(beamformer.line_positions) < reach)
    return slice(int(lines[0]), int(lines[-1]) + 1)


def picture(beamformer: Beamformer, s: Scatterers, T: Float64) -> NDArray[np.uint8]:
    """A frame (height, width) uint8 of tissue moved by T, over 60 dB, without noise or loss."""
    decibels = 20 * np.log10(np.abs(complex_echoes(beamformer, s, T)) + 1e-6)
    grey = np.clip((decibels + 45) * (255 / 60), 0, 255).astype(np.float32)
    return beamformer.scan_convert(grey)
