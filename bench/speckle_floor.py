"""What speckle can tell of motion across the picture at best, and what it cannot.

`python -m bench.speckle_floor`. Along one line of the picture a Gaussian beam decorrelates
alike at all depths: by the motion z_f where the lens has its focus and the tilt theta of the line,

    -log |correlation| = (z_f^2 + (theta rayleigh)^2) / waist^2,

see `test/sim/test_simulated_physics.py`. So neither the depth about which a probe is tilted nor the
lens's waist shows in the decorrelation; both are known only as far as motions and lenses are alike.
Here an estimator is told, without noise, the motion within the picture and, with its sign, the
motion at the focus in waists and the turn in waists; tilt, turn and elevation follow by the linear
regression that is best over all scans. Where a screen's persistence mixes frame t - 1 into frame t,
as `sim.scan.Scan.frame` does, it is told the motion so blurred. Its error is no strict bound:
anatomy tells more.
"""

import sys
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.console import say
from sim import EVALUATION_SEED, motion
from sim.probe import Probe
from sim.scan import IMAGES, Scan, draw_recipe
from training.measure import displacements
from tusrec import poses
from tusrec.entry import exit_code_of

Array = NDArray[np.float64]

SCANS, EVERY = 40, 5  # of whole length, and frames from one pair to the next
INTERVALS = (1, 2, 4, 8)
ACROSS = (5, 0, 1)  # elevational, tilt, turn
PROTOCOLS = {"rotation scans": "rotation", "sweeps across the limb": "Per_S_DtP"}


@dataclass(frozen=True)
class Course:
    """Poses (N, 4, 4) of one scan about the middle of the face, its screen, and its probe."""

    T: Array
    persistence: float
    probe: Probe


@dataclass(frozen=True)
class Moved:
    """Pairs of one scan, and its probe.

    xi, shown: (P, 6), rad and mm, about the middle of the face, as it was and as frames show it.
    """

    xi: Array
    shown: Array
    probe: Probe


def main() -> int:
    """Print a line for every protocol and interval."""
    for name, protocol in PROTOCOLS.items():
        courses = [course(number, protocol) for number in range(SCANS)]
        for interval in INTERVALS:
            moved = [moved_pairs(one, interval) for one in courses]
            unknown, known = (floor(moved, lens_is_known=known) for known in (False, True))
            sharp = [replace(one, shown=one.xi) for one in moved]
            sharp_unknown, sharp_known = (floor(sharp, lens_is_known=k) for k in (False, True))
            say(
                f"{name}, interval {interval}: error over identity's {unknown:.3f}, {known:.3f} "
                f"if the lens were known; without persistence {sharp_unknown:.3f}, "
                f"{sharp_known:.3f}"
            )
    return 0


def course(number: int, protocol: str) -> Course:
    """How one scan goes; no picture is needed."""
    recipe = draw_recipe((EVALUATION_SEED + 400, number), protocol, motion.WHOLE_FRAMES[protocol])
    scan = Scan(recipe)
    to_face = np.append(scan.beamformer.image.contact_mm, 0.0)
    T = poses.about_point(scan.T_limb_from_image, to_face)
    return Course(T, recipe.console.persistence, recipe.probe)


def moved_pairs(one: Course, interval: int) -> Moved:
    """True motions of pairs of a scan, and as its frames show them."""
    first = np.arange(1, len(one.T) - interval, EVERY)
    xi, before = (
        poses.log(poses.inverse(one.T[start]) @ one.T[start + interval])
        for start in (first, first - 1)
    )
    shown = (1 - one.persistence) * xi + one.persistence * before
    return Moved(xi, shown, one.probe)


def floor(moved: list[Moved], *, lens_is_known: bool) -> float:
    """Error over identity's, means over the picture, of the best linear guess from `told`."""
    features = [told(one, lens_is_known=lens_is_known) for one in moved]
    motions = [one.xi[:, ACROSS] for one in moved]
    fit, *_ = np.linalg.lstsq(np.concatenate(features), np.concatenate(motions), rcond=None)
    true = np.concatenate([one.xi for one in moved])
    guessed = np.concatenate([one.shown for one in moved])
    guessed[:, ACROSS] = np.concatenate(features) @ fit
    moved_by, guess = (in_picture(xi) for xi in (true, guessed))
    error = np.linalg.norm(guess - moved_by, axis=-1).mean()
    return float(error / np.linalg.norm(moved_by, axis=-1).mean())


def told(one: Moved, *, lens_is_known: bool) -> Array:
    """What the estimator is told (P, n)."""
    focus = one.probe.lens_focus_mm
    at_focus = one.shown[:, 5] + one.shown[:, 0] * focus
    turn = one.shown[:, 1] * (one.probe.radius_mm + focus)
    if lens_is_known:
        return np.column_stack([at_focus, at_focus / focus, at_focus * focus, turn / focus, turn])
    return np.column_stack([at_focus, turn]) / one.probe.lens_waist_mm


def in_picture(xi: Array) -> Array:
    """Displacements (P, 49, 3) mm of a grid over the picture by xi (P, 6) about the face."""
    image = IMAGES["convex"]
    half = np.array([image.width, image.height]) * image.spacing / 2
    shift = np.append(half - image.contact_mm, 0.0)
    about_centre = poses.log(poses.about_point(poses.exp(xi), shift))
    return displacements(about_centre, np.tile(half, (len(xi), 1)))


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
