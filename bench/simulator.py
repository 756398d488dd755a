"""The bars of the simulator: physics, protocol, speed, and the curve of real scans.

`python -m bench.simulator [--real ../shared/real/leg_linear]`; about five minutes on one core.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from bench.console import say
from sim import EVALUATION_SEED, measure
from sim.imaging import LINES, Beamformer
from sim.probe import FWHM_PER_SIGMA, PROBES
from sim.scan import IMAGES, Scan, draw_recipe
from tusrec import poses
from tusrec.calibration import read_calibration
from tusrec.entry import exit_code_of

Float64 = NDArray[np.float64]

TARGETS = {"LP": 0.361, "LL": 0.303, "GP": 28.5, "GL": 19.2}
DISTANCES_MM = np.array([0.0, 0.15, 0.25, 0.35, 0.5, 0.7, 0.9, 1.2, 1.6, 2.2, 3.0])
PATCH, SEARCH = 48, 8  # pixels


def physics() -> None:
    """Rayleigh ratio, widths, decorrelation and shifts of both probes."""
    for name, depths in (("convex", (20.0, 50.0, 80.0)), ("linear", (10.0, 20.0, 32.0))):
        b = Beamformer(PROBES[name], IMAGES[name], LINES)
        for depth in depths:
            say(f"{name} {depth:.0f} mm: {statistics(b, depth)}")
            say(f"{name} {depth:.0f} mm: {decorrelation(b, depth)}")
        say(f"{name}: {in_plane(b)}")


def statistics(b: Beamformer, depth: float) -> str:
    """Mean over standard deviation of envelopes, and widths over the configured ones."""
    rows, _ = measure.window(b, depth, 3.0)
    lines = measure.near_axis(b, 12.0, depth)
    ratios = []
    for seed in range(8):
        block = measure.block(b, (depth - 6, depth + 5), 16.0, seed)
        envelope = np.abs(measure.complex_echoes(b, block, np.eye(4)))[rows, lines]
        ratios.append(envelope.mean() / envelope.std())
    at = np.array([depth])
    sigmas = [b.probe.axial_sigma_mm, b.probe.lateral_sigma_mm(at)[0]]
    sigmas.append(b.probe.elevational_sigma_mm(at)[0])
    widths = np.array(measure.point_widths(b, depth, 0)) / np.array(sigmas) / FWHM_PER_SIGMA
    return f"mean/sd {np.mean(ratios):.3f}; axial, lateral, elevational width / set {shown(widths)}"


def decorrelation(b: Beamformer, depth: float) -> str:
    """Largest departures from the analytic curves against shift and tilt."""
    shifts = np.array([0.1, 0.2, 0.3, 0.5, 0.7, 0.9])
    angles = np.deg2rad([0.1, 0.2, 0.4, 0.6, 0.8])
    found = measure.correlations(b, depth, [measure.shift(z=z) for z in shifts], range(8))
    theory = b.probe.elevational_correlation(depth, shifts, np.zeros(len(shifts)))
    tilted = measure.correlations(b, depth, [measure.tilt(b, a) for a in angles], range(8))
    tilt_theory = np.array([measure.tilt_theory(b, depth, a) for a in angles])
    return (
        f"against shift {departure(found, theory)}; against tilt {departure(tilted, tilt_theory)}"
    )


def departure(found: Float64, theory: Float64) -> str:
    """Largest absolute difference, and largest relative one where the correlation is over 0.4."""
    held = theory > 0.4
    relative = np.abs(found / theory - 1)[held].max()
    return f"{shown(found)} off by at most {np.abs(found - theory).max():.3f} ({relative:.1%})"


def in_plane(b: Beamformer) -> str:
    """Worst error of the registered shift over nine sub-pixel shifts."""
    depth = b.probe.depth_mm
    block = measure.block(b, (0.1 * depth, 0.9 * depth), 0.4 * depth, 1)
    still = measure.picture(b, block, np.eye(4))
    worst = 0.0
    for pixels in np.random.default_rng(0).uniform(-2, 2, (9, 2)):
        x, y = pixels * b.image.spacing
        moved = measure.picture(b, block, measure.shift(x=x, y=y))
        worst = max(worst, float(np.abs(measure.registered_shift(still, moved) - pixels).max()))
    return f"in-plane shifts off by at most {worst:.3f} pixel"


def protocol(count: int = 40, frames: int = 1500) -> str:
    """Identity errors of rotation scans, poses and landmarks alone, over those of the real set."""
    recipes = (draw_recipe((EVALUATION_SEED, n), "rotation", frames) for n in range(count))
    found = np.array([identity_errors(Scan(recipe)) for recipe in recipes])
    mean, target = found.mean(axis=0), np.array(list(TARGETS.values()))
    return (
        f"identity errors of {count} rotation scans: "
        + ", ".join(f"{k} {m:.3f}" for k, m in zip(TARGETS, mean, strict=True))
        + f" mm; over the real set's: {shown(mean / target)}; sd {shown(found.std(axis=0))}"
    )


def identity_errors(scan: Scan) -> Float64:
    """LP, LL, GP, GL, mm, of the prediction that nothing moves; pixels on a grid of 16 x 16."""
    T = scan.T_limb_from_image
    motions = [np.linalg.inv(T[:-1]) @ T[1:], np.linalg.inv(T[:1]) @ T[1:]]
    scale, image = scan.calibration.scale, scan.beamformer.image
    x, y = np.meshgrid(np.arange(8, image.width, 16), np.arange(8, image.height, 16))
    grid = scale @ np.stack([x.ravel(), y.ravel(), 0 * x.ravel(), 1 + 0 * x.ravel()])
    landmarks = scan.landmarks(100)
    frame, u, v = landmarks.T
    places = (scale @ np.stack([u, v, 0 * u, 1 + 0 * u])).T
    errors = []
    for motion in motions:
        D = (motion - np.eye(4))[:, :3]
        errors.append(np.linalg.norm(D @ grid, axis=1).mean())
        moved = np.einsum("nij,nj->ni", D[frame - 1], places)
        errors.append(np.linalg.norm(moved, axis=1).mean())
    return np.array(errors)


def speed(probe: str) -> str:
    """Frames a second of CPU time, once the scatterers are drawn, of five random scans.

    Of each the fastest of five runs of ten frames, since other work on the machine slows a core.
    """
    rates, draws = [], []
    for n in range(5):
        scan = Scan(draw_recipe((EVALUATION_SEED, n), "rotation", 1500, probe=probe))
        start = time.process_time()
        scan.frame(0)
        draws.append(time.process_time() - start)
        seconds = []
        for first in range(100, 1500, 300):
            start = time.process_time()
            for index in range(first, first + 10):
                scan.frame(index)
            seconds.append(time.process_time() - start)
        rates.append(10 / min(seconds))
    image = scan.beamformer.image
    return (
        f"{probe} {image.height}x{image.width}: {np.median(rates):.1f} frames/s a core "
        f"({min(rates):.1f}-{max(rates):.1f}); drawing 1,500 frames' scatterers "
        f"{np.median(draws):.1f} s"
    )


def likeness(
    frames: NDArray[np.uint8],
    T: Float64,
    spacing: tuple[float, float],
    pairs: list[tuple[int, int]],
) -> Float64:
    """(P, 2): elevational distance of a patch, mm, and its best correlation, for frame pairs.

    T (N, 4, 4) takes image mm to anything fixed. Patches are taken after the local mean has been
    removed, where there is speckle, and sought within SEARCH pixels.
    """
    plain = [flattened(frame) for frame in frames]
    rows = []
    for i, j in pairs:
        T_i_from_j = np.linalg.inv(T[i]) @ T[j]
        for top, left in patches(frames[i]):
            centre = np.array([left + PATCH / 2 + 1, top + PATCH / 2 + 1])
            z = (T_i_from_j @ [*(centre * spacing), 0, 1])[2]
            rows.append([abs(z), best_match(plain[i], plain[j], top, left)])
    return np.array(rows)


def flattened(frame: NDArray[np.uint8]) -> Float64:
    """Grey levels less their local mean."""
    grey = frame.astype(np.float64)
    return np.asarray(grey - ndimage.gaussian_filter(grey, 6))


def patches(frame: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Corners (top, left) of patches that hold speckle rather than shadow or saturation."""
    margin = SEARCH + PATCH // 2
    for top in range(margin, frame.shape[0] - PATCH - margin, PATCH):
        for left in range(margin, frame.shape[1] - PATCH - margin, PATCH):
            patch = frame[top : top + PATCH, left : left + PATCH]
            if (patch > 25).mean() > 0.97 and (patch < 230).all():
                yield top, left


def best_match(a: Float64, b: Float64, top: int, left: int) -> float:
    """Largest normalised correlation of a patch of `a` with `b` nearby."""
    patch = a[top : top + PATCH, left : left + PATCH]
    best = -1.0
    for dy in range(-SEARCH, SEARCH + 1):
        for dx in range(-SEARCH, SEARCH + 1):
            other = b[top + dy : top + dy + PATCH, left + dx : left + dx + PATCH]
            product = np.vdot(patch, other) / np.sqrt(
                np.vdot(patch, patch) * np.vdot(other, other) + 1e-9
            )
            best = max(best, float(product))
    return best


def binned(rows: Float64) -> Float64:
    """Median correlation (D-1,) in the bins of DISTANCES_MM; NaN where under ten patches."""
    bins = np.digitize(rows[:, 0], DISTANCES_MM)
    groups = [rows[bins == k, 1] for k in range(1, len(DISTANCES_MM))]
    return np.array([np.median(group) if len(group) >= 10 else np.nan for group in groups])


def real_curves(folder: Path) -> dict[str, Float64]:
    """Correlation against distance of each real scan."""
    calibration = read_calibration(folder / "calib_matrix.csv")
    curves = {}
    for path in sorted((folder / "frames").glob("*/*.h5")):
        with h5py.File(path, "r", locking=False) as file:
            frames = np.asarray(file["frames"])
        with h5py.File(folder / "transfs" / path.relative_to(folder / "frames"), "r") as file:
            tool = poses.project_to_rigid(np.asarray(file["tforms"], np.float64))
        T = tool @ calibration.T_tool_from_image
        curves[path.stem] = binned(likeness(frames, T, calibration.spacing, near_pairs(len(T))))
    return curves


def simulated_curves(count: int = 3, frames: int = 60) -> dict[str, Float64]:
    """The same of simulated perpendicular sweeps of legs."""
    curves = {}
    for n in range(count):
        recipe = draw_recipe(
            (EVALUATION_SEED + 1, n), "Per_L_DtP", frames, probe="linear", anatomy="calf"
        )
        scan = Scan(recipe)
        pictures = np.stack(list(scan.frames()))
        spacing = scan.beamformer.image.spacing
        rows = likeness(pictures, scan.T_limb_from_image, spacing, near_pairs(frames))
        curves[f"simulated {n}"] = binned(rows)
    return curves


def near_pairs(count: int) -> list[tuple[int, int]]:
    """Some hundred pairs of frames one to six apart."""
    starts = np.unique(np.linspace(0, count - 7, 20).astype(int))
    return [(int(i), int(i + k)) for i in starts for k in range(1, 7)]


def plot(path: Path, curves: dict[str, Float64]) -> None:
    """All curves on one PNG: distance 0-3 mm to the right, correlation 0-1 upwards."""
    width, height, margin = 640, 420, 40
    picture = Image.new("RGB", (width + 2 * margin, height + 2 * margin), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle([margin, margin, margin + width, margin + height], outline="black")
    centres = (DISTANCES_MM[:-1] + DISTANCES_MM[1:]) / 2
    for n, (name, curve) in enumerate(curves.items()):
        colour = f"hsl({n * 330 // len(curves)}, 90%, 42%)"
        held = ~np.isnan(curve)
        x = margin + centres[held] / DISTANCES_MM[-1] * width
        y = margin + (1 - curve[held]) * height
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=colour, width=2)
        draw.text((margin + width - 150, margin + 8 + 14 * n), name, fill=colour)
    draw.text(
        (margin, margin + height + 10), "elevational distance 0-3 mm; correlation 0-1", "black"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def shown(values: Float64) -> str:
    """Numbers on one line."""
    return " ".join(f"{value:.3f}" for value in values)


def against_real(folder: Path) -> None:
    """Curves of real and simulated linear scans, as lines and as a plot."""
    say("correlation at " + shown((DISTANCES_MM[:-1] + DISTANCES_MM[1:]) / 2) + " mm")
    curves = simulated_curves()
    if folder.exists():
        curves = {**real_curves(folder), **curves}
    else:
        say(f"{folder} is absent: simulated scans only")
    for name, curve in curves.items():
        say(f"{name}: {shown(curve)}")
    plot(Path("out/bench/correlation.png"), curves)


def main() -> int:
    """Run every measurement and print its line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, default=Path("../shared/real/leg_linear"))
    options = parser.parse_args()
    physics()
    say(protocol())
    for probe in PROBES:
        say(speed(probe))
    against_real(options.real)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
