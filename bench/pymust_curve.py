"""Make test/sim/pymust_curve.csv: elevational decorrelation by an independent simulator.

PyMUST 0.1.9 (`pip install PyMUST==0.1.9`; Garcia, "SIMUS: an open-source simulator for medical
ultrasound imaging", 2022) with its convex C5-2v: 3.57 MHz, radius 49.57 mm, 13.5 mm high lens
focused at 60 mm. All elements transmit at once; delay and sum, f-number 2.

The echoes h(y) of one scatterer at elevations y are beamformed to pictures. Scatterers being
independent, tissue moved by d correlates with itself as sum_y <h(y), h(y + d)> / sum_y |h(y)|^2,
which is free of the sampling noise that random scatterers would bring. Takes half a minute.
"""

from pathlib import Path

import numpy as np
import pymust  # type: ignore[import-not-found, import-untyped, unused-ignore]
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

OUTPUT = Path(__file__).parents[1] / "test" / "sim" / "pymust_curve.csv"
STEP_MM = 0.2
SHIFTS = (1, 2, 3, 4, 5, 6)  # in steps
DEPTHS_MM = (30.0, 45.0, 60.0, 80.0)
ELEVATIONS_MM = np.arange(-45, 46) * STEP_MM

Complex = NDArray[np.complex128]


def probe() -> pymust.utils.Param:
    """The C5-2v, sampled at four times its centre frequency."""
    param = pymust.getparam("C5-2v")
    param.fs, param.fnumber = 4 * param.fc, 2.0
    return param


def echo(depth_mm: float, elevation_mm: float) -> Complex:
    """I/Q signals (samples, elements) of a scatterer on the axis."""
    options = pymust.utils.Options()
    options.dBThresh, options.WaitBar = -60, False
    param = probe()
    # A second, silent scatterer makes all recordings equally long, and lies off the axis, since
    # PyMUST leaves elevation out where every y is 0.
    z = np.array([depth_mm, depth_mm + 8]) * 1e-3 + sagitta(param)
    y = np.array([elevation_mm, 1.0]) * 1e-3
    delays = np.zeros((1, param.Nelements))
    rf, _ = pymust.simus(np.zeros(2), y, z, np.array([1.0, 0.0]), delays, param, options)
    return np.asarray(pymust.rf2iq(rf, param.fs, param.fc), np.complex128)


def sagitta(param: pymust.utils.Param) -> float:
    """Height of the array's middle over the chord, from which PyMUST counts depth, m."""
    half_angle = (param.Nelements - 1) * np.arcsin(param.pitch / 2 / param.radius)
    return float(param.radius * (1 - np.cos(half_angle)))


def beamformer(shape: tuple[int, ...], depth_mm: float) -> csr_matrix:
    """Delay and sum on a patch of 12 x 6 mm about a depth."""
    param = probe()
    x, z = np.meshgrid(np.linspace(-6, 6, 49), depth_mm + np.linspace(-3, 3, 61))
    delays = np.zeros((1, param.Nelements))
    z_m = z * 1e-3 + sagitta(param)
    return pymust.dasmtx(1j * np.array(shape), x * 1e-3, z_m, delays, param)


def curve(depth_mm: float) -> NDArray[np.float64]:
    """|Correlation| after each of SHIFTS."""
    signals = [echo(depth_mm, y) for y in ELEVATIONS_MM]
    rows = min(len(s) for s in signals)
    das = beamformer((rows, signals[0].shape[1]), depth_mm)
    h = np.stack([das @ s[:rows].flatten(order="F") for s in signals])
    power = np.vdot(h, h).real
    return np.array([abs(np.vdot(h[:-k], h[k:])) / power for k in SHIFTS])


def main() -> None:
    """Write the curve of each depth."""
    rows = ["depth_mm,shift_mm,correlation"]
    for depth in DEPTHS_MM:
        found = zip(SHIFTS, curve(depth), strict=True)
        rows += [f"{depth},{k * STEP_MM:.1f},{c:.4f}" for k, c in found]
    OUTPUT.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
