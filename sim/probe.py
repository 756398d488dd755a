"""Ultrasound probes: array geometry, pulse, and lateral and elevational beams.

The two-way beam is a product of Gaussians. Axial: the pulse envelope. Lateral: dynamic focusing
at a constant f-number until the aperture is used up. Elevational: a Gaussian beam through the lens
(Kogelnik and Li, "Laser beams and resonators", Applied Optics 5, 1966), squared for two ways.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

SOUND_SPEED = 1.54  # mm/us in soft tissue (Szabo, Diagnostic Ultrasound Imaging, 2014)
FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))


@dataclass(frozen=True)
class Probe:
    """An array transducer and the sector or rectangle that it images.

    name: as `--probe` takes it.
    radius_mm: radius of curvature, 0 for a linear array; 10-60 mm (data sheets).
    half_width: half the field of view, rad for a convex array, mm for a linear one.
    depth_mm: imaged depth; 30-160 mm (operator's choice).
    frequency_mhz: centre frequency; 2-15 MHz (data sheets).
    axial_fwhm_mm: full width at half maximum of the pulse's amplitude envelope in depth;
        about 1.4 wavelengths, 0.1-0.6 mm (Szabo 2014).
    f_number: of receive focusing; 1.5-4 (usual presets).
    aperture_mm: largest lateral aperture; 10-30 mm (64 elements of a usual array).
    lens_focus_mm: elevational focus; 15-80 mm (data sheets).
    lens_waist_mm: 1/e radius of the one-way amplitude at that focus, 0.3-1.5 mm; see the function
        `lens_waist_mm`. The convex one is that of a lens 10.2 mm high.
    """

    name: str
    radius_mm: float
    half_width: float
    depth_mm: float
    frequency_mhz: float
    axial_fwhm_mm: float
    f_number: float
    aperture_mm: float
    lens_focus_mm: float
    lens_waist_mm: float

    @property
    def wavelength_mm(self) -> float:
        """Wavelength in soft tissue, mm."""
        return SOUND_SPEED / self.frequency_mhz

    @property
    def axial_sigma_mm(self) -> float:
        """Standard deviation of the pulse's amplitude envelope, mm."""
        return self.axial_fwhm_mm / FWHM_PER_SIGMA

    def lateral_sigma_mm(self, depth_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard deviation of the two-way lateral amplitude at each depth, mm.

        Full width at half maximum = 0.9 wavelength x f-number: the two-way amplitude sinc^2 of a
        rectangular aperture on transmission and reception (Szabo 2014, chapter 7).
        """
        f_number = np.maximum(self.f_number, depth_mm / self.aperture_mm)
        return 0.89 * self.wavelength_mm * f_number / FWHM_PER_SIGMA

    def rayleigh_mm(self) -> float:
        """Distance from the focus at which the elevational beam is sqrt(2) wider, mm."""
        return float(np.pi * self.lens_waist_mm**2 / self.wavelength_mm)

    def elevational_sigma_mm(self, depth_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard deviation of the two-way elevational amplitude at each depth, mm."""
        off_focus = (depth_mm - self.lens_focus_mm) / self.rayleigh_mm()
        return 0.5 * self.lens_waist_mm * np.sqrt(1 + off_focus**2)

    def elevational_curvature(self, depth_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Curvature of the elevational wavefront at each depth, 1/mm; positive beyond the focus."""
        off_focus = depth_mm - self.lens_focus_mm
        return off_focus / (off_focus**2 + self.rayleigh_mm() ** 2)

    def elevational_correlation(
        self, depth_mm: float, shift_mm: NDArray[np.float64], tilt_rad: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """|Correlation| of the complex echo with itself after an elevational motion.

        shift_mm: elevational displacement of the tissue at this depth, tilt included.
        tilt_rad: rotation about the lateral axis, positive where it moves deep tissue forwards.
        The autocorrelation of exp(-z^2/(2 sigma^2) - j k z^2/R) under z -> z + shift with a
        wavefront tilted by tilt_rad: exp(-shift^2/(4 sigma^2) - (k sigma)^2 (tilt - shift/R)^2).
        """
        depth = np.asarray([depth_mm], np.float64)
        sigma = float(self.elevational_sigma_mm(depth)[0])
        curvature = float(self.elevational_curvature(depth)[0])
        wavenumber = 2 * np.pi / self.wavelength_mm
        mismatch = np.asarray(tilt_rad - shift_mm * curvature, np.float64)
        return np.exp(-(shift_mm**2) / (4 * sigma**2) - (wavenumber * sigma * mismatch) ** 2)


def lens_waist_mm(height_mm: float, focus_mm: float, frequency_mhz: float) -> float:
    """`lens_waist_mm` of a rectangular lens, whose two-way amplitude in its focus is sinc^2.

    The Gaussian of the same full width at half maximum, 0.89 wavelength x focus / height.
    """
    width = 0.89 * SOUND_SPEED / frequency_mhz * focus_mm / height_mm
    return float(2 * width / FWHM_PER_SIGMA)


CONVEX = Probe(
    name="convex",  # Ultrasonix 4DC7-3/40 as TUS-REC used it: radius 40 mm, 6 MHz, depth 9 cm
    radius_mm=40.0,
    half_width=float(np.deg2rad(34.0)),
    depth_mm=90.0,
    frequency_mhz=6.0,
    axial_fwhm_mm=0.35,
    f_number=2.5,
    aperture_mm=24.0,
    lens_focus_mm=50.0,
    lens_waist_mm=0.95,
)

LINEAR = Probe(
    name="linear",  # a 38 mm wide musculoskeletal array, such as L14-5 or L12-5, lens 4 mm high
    radius_mm=0.0,
    half_width=19.0,
    depth_mm=40.0,
    frequency_mhz=7.5,
    axial_fwhm_mm=0.3,
    f_number=2.0,
    aperture_mm=15.0,
    lens_focus_mm=22.0,
    lens_waist_mm=0.85,
)

PROBES = {probe.name: probe for probe in (CONVEX, LINEAR)}


def vary(probe: Probe, rng: np.random.Generator) -> Probe:
    """The same array with another pulse, lens and beam, as presets and aberration make them."""
    return replace(
        probe,
        frequency_mhz=probe.frequency_mhz * rng.uniform(0.85, 1.1),
        axial_fwhm_mm=probe.axial_fwhm_mm * rng.uniform(0.85, 1.4),
        f_number=probe.f_number * rng.uniform(0.95, 1.6),
        aperture_mm=probe.aperture_mm * rng.uniform(0.7, 1.05),
        lens_focus_mm=probe.lens_focus_mm * rng.uniform(0.85, 1.25),
        lens_waist_mm=probe.lens_waist_mm * rng.uniform(0.85, 1.4),
    )
