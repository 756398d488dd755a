"""From point scatterers to B-mode frames.

Scatterers -> complex echoes on the scan lines (range x line) -> beam convolution -> attenuation,
gain and noise -> envelope -> log compression -> scan conversion. Image coordinates are the
challenge's: x lateral, y axial, z elevational, in mm, pixel (1, 1) at (spacing_x, spacing_y).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim import imaging_kernels as kernels
from sim.probe import Probe
from tusrec import poses

ELEVATIONAL_REACH = 2.8  # standard deviations at which the beam is cut off: -34 dB
PUSH_DEPTH_MM = 30.0  # over which a push at the skin dies away; soft tissue of a limb

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class ImageGrid:
    """The pixels of a frame.

    height, width: pixels. spacing: (x, y) mm a pixel.
    contact_mm: (x, y) in image mm of the middle of the array's face.
    """

    height: int
    width: int
    spacing: tuple[float, float]
    contact_mm: tuple[float, float]


@dataclass(frozen=True)
class LineGrid:
    """The scan lines on which echoes are formed.

    lines: number over the field of view; 128-400 (scanners interpolate to about 256).
    range_step_mm: sampling in depth; 0.05-0.2, at most half the pulse's width.
    """

    lines: int
    range_step_mm: float


@dataclass(frozen=True)
class Scatterers:
    """Points (S, 4) float32: limb x, y, z mm and amplitude, sorted by cell.

    starts: (C+1,) int64 bounds of each cell's points. centres: (C, 3) float32 of the cells, mm.
    half_diagonal_mm: of a cell. density: points per cubic mm where the amplitude is 1.
    """

    points: Float32
    starts: NDArray[np.int64]
    centres: Float32
    half_diagonal_mm: float
    density: float


LINES = LineGrid(384, 0.1)


class Beamformer:
    """Echoes and pictures of one probe on one image grid; its tables never change.

    steer_rad: by which all scan lines are turned about the middle of the face, towards +y from +x.
    """

    def __init__(
        self, probe: Probe, image: ImageGrid, grid: LineGrid, steer_rad: float = 0.0
    ) -> None:
        self.probe, self.image, self.grid = probe, image, grid
        to_face = np.eye(4)
        to_face[:2, 3] = image.contact_mm
        turn = poses.exp(np.array([0.0, 0.0, steer_rad, 0.0, 0.0, 0.0]))
        self._T_image_from_lines: Float64 = to_face @ turn @ np.linalg.inv(to_face)
        self._T_lines_from_image = poses.inverse(self._T_image_from_lines)
        self.ranges_mm: Float64 = np.arange(0, probe.depth_mm, grid.range_step_mm)
        self.line_positions: Float64 = np.linspace(-1, 1, grid.lines) * probe.half_width
        self.line_step = 2 * probe.half_width / (grid.lines - 1)
        self.shape = (len(self.ranges_mm), grid.lines)
        self._beam = self._beam_table()
        self._axial_kernel = _gaussian(probe.axial_sigma_mm / grid.range_step_mm)
        self._lateral_kernels = self._make_lateral_kernels()
        self._pixel_index, self._pixel_weight = self._make_scan_conversion()
        x, y = image.contact_mm
        steps = [self.line_step, grid.range_step_mm, probe.depth_mm, 2 / probe.wavelength_mm]
        self.geometry = np.array([x, y, probe.radius_mm, probe.half_width, *steps], np.float32)

    def echoes(self, s: Scatterers, T_image_from_limb: Float64, push_mm: Float32) -> Float32:
        """Complex echoes, (ranges, 2*lines) float32, real and imaginary parts side by side.

        Their RMS is 1 in tissue of echogenicity 1. push_mm (lines,): how far the tissue at the
        face is pushed deeper; the push dies away over PUSH_DEPTH_MM.
        """
        raw = np.zeros((self.shape[0], 2 * self.shape[1]), np.float32)
        T_lines_from_limb = self._T_lines_from_image @ T_image_from_limb
        T = np.ascontiguousarray(T_lines_from_limb[:3], np.float32)
        half = np.float32(s.half_diagonal_mm)
        kernels.splat(
            s.points, s.starts, s.centres, half, T, self.geometry, self._beam, push_mm, raw
        )
        gain = self._rms_gain(s.density)
        echoes: Float32 = kernels.convolve(raw, self._axial_kernel, self._lateral_kernels, gain)
        return echoes

    def scan_convert(self, grey: Float32) -> NDArray[np.uint8]:
        """Bilinear scan conversion of (ranges, lines) grey levels to (height, width) uint8."""
        pixels = np.zeros(self.image.height * self.image.width, np.uint8)
        kernels.interpolate(
            grey.ravel(), self.grid.lines, self._pixel_index, self._pixel_weight, pixels
        )
        return pixels.reshape(self.image.height, self.image.width)

    @property
    def field_of_view(self) -> NDArray[np.bool_]:
        """Pixels (height, width) that show the field of view."""
        view: NDArray[np.bool_] = self._pixel_index.reshape(self.image.height, -1) >= 0
        return view

    def points_on_lines(self, lines: Float64, ranges_mm: Float64) -> Float64:
        """Image mm (..., 4) = (x, y, 0, 1) of lateral positions at ranges, broadcast."""
        x0, y0 = self.image.contact_mm
        if self.probe.radius_mm:
            radius = self.probe.radius_mm + ranges_mm
            x, y = x0 + radius * np.sin(lines), y0 - self.probe.radius_mm + radius * np.cos(lines)
        else:
            x, y = np.broadcast_arrays(x0 + lines, y0 + ranges_mm)
        points = np.stack([x, y, np.zeros_like(x), np.ones_like(x)], axis=-1)
        return np.asarray(points @ self._T_image_from_lines.T)

    def grid_position(self, x_mm: Float64, y_mm: Float64) -> tuple[Float64, Float64]:
        """Fractional (range sample, line) of image mm; the inverse of `points_on_lines`."""
        points = np.stack([x_mm, y_mm, np.zeros_like(x_mm), np.ones_like(x_mm)], axis=-1)
        x, y, *_ = np.moveaxis(points @ self._T_lines_from_image.T, -1, 0)
        x, y = x - self.image.contact_mm[0], y - self.image.contact_mm[1]
        if self.probe.radius_mm:
            y = y + self.probe.radius_mm
            x, y = np.arctan2(x, y), np.hypot(x, y) - self.probe.radius_mm
        return y / self.grid.range_step_mm, (x + self.probe.half_width) / self.line_step

    def _beam_table(self) -> Float32:
        """Rows of depth: reach mm, 1/(2 sigma^2), half the curvature, share of a push."""
        depth = np.arange(0, self.probe.depth_mm + 2, kernels.TABLE_STEP_MM)
        sigma = self.probe.elevational_sigma_mm(depth)
        curvature = self.probe.elevational_curvature(depth)
        share = np.exp(-depth / PUSH_DEPTH_MM)
        columns = [ELEVATIONAL_REACH * sigma, 1 / (2 * sigma**2), curvature / 2, share]
        return np.stack(columns, axis=1).astype(np.float32)

    def _make_lateral_kernels(self) -> Float32:
        sigma = self.probe.lateral_sigma_mm(self.ranges_mm)
        if self.probe.radius_mm:
            sigma = sigma / (self.probe.radius_mm + self.ranges_mm)
        rows = [_gaussian(float(samples)) for samples in sigma / self.line_step]
        half = max(len(row) for row in rows) // 2
        return np.stack([np.pad(row, half - len(row) // 2) for row in rows])

    def _rms_gain(self, density: float) -> Float32:
        """One over the RMS echo of unit scatterers: density times the volume of the beam^2."""
        lateral = self.probe.lateral_sigma_mm(self.ranges_mm)
        elevational = self.probe.elevational_sigma_mm(self.ranges_mm)
        volume = np.pi**1.5 * self.probe.axial_sigma_mm * lateral * elevational
        return np.asarray(1 / np.sqrt(density * volume), np.float32)

    def _make_scan_conversion(self) -> tuple[NDArray[np.int32], Float32]:
        """Upper left sample (-1 outside the field of view) and fractions of every pixel."""
        x_mm = (np.arange(self.image.width) + 1) * self.image.spacing[0]
        y_mm = (np.arange(self.image.height) + 1) * self.image.spacing[1]
        sample, line = self.grid_position(*np.meshgrid(x_mm, y_mm))
        inside = (line >= 0) & (line < self.shape[1] - 1)
        inside &= (sample >= 0) & (sample < self.shape[0] - 1)
        index = np.where(inside, np.floor(sample) * self.shape[1] + np.floor(line), -1)
        weight = np.stack([sample % 1, line % 1], axis=-1)
        return index.astype(np.int32).ravel(), weight.astype(np.float32).reshape(-1, 2)


def _gaussian(sigma: float) -> Float32:
    """Samples of a unit Gaussian of `sigma` samples, narrowed by what bilinear splatting widens.

    A point spread linearly over its two neighbours has a mean variance of 1/6 sample^2.
    """
    narrow = np.sqrt(max(sigma**2 - 1 / 6, 0.05))
    half = int(np.ceil(3.2 * narrow))
    samples = np.exp(-0.5 * (np.arange(-half, half + 1) / narrow) ** 2)
    return np.asarray(samples / samples.sum() * sigma * np.sqrt(2 * np.pi), np.float32)
