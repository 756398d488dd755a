"""Trajectories of the probe: T_limb_from_probe of every frame, exact.

Probe coordinates in mm: x lateral, y axial, z elevational, origin at the middle of the face.
Limb coordinates as in `sim.tissue`: x along the limb from distal to proximal, y across it,
z inwards; the skin is z = (across y^2 + along x^2) / 2.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

Float64 = NDArray[np.float64]
Rng = np.random.Generator

FRAME_RATE = 20.0  # frames a second, TUS-REC2024 and 2025
ROTATION_FRAMES = 1500  # of a whole scan, TUS-REC2025: 1,400-1,600
SWEEP_FRAMES = 550  # of a whole sweep, TUS-REC2024
ROTATION_PACE = float(np.deg2rad(0.45))  # a frame, of a whole rotation scan but for its pauses

TREMOR_RAD = float(np.deg2rad(0.07))  # of a resting hand: below 0.1 degrees and 0.1 mm
TREMOR_MM = 0.05

# Columns: the probe's x, y, z axes in the limb, imaging across the limb and along it.
ACROSS = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
ALONG = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


class Skin(NamedTuple):
    """Curvature of the skin across and along the limb, 1/mm."""

    across: float
    along: float


Trajectory = Callable[[Rng, int, Skin], Float64]


def rotation_scan(rng: Rng, frames: int, skin: Skin) -> Float64:
    """TUS-REC2025's protocol: fan, rock, turn about 90 degrees, fan, rock, at one contact point.

    Tilts of 12-20 and rocks of 8-14 degrees to either side, two or three times; a turn of 75-95
    degrees to either side; the contact point drifts by 3 mm (standard deviation, within seconds)
    and all angles by 1.5-2.5 degrees; three pauses of up to 1.5 s. The ranges were chosen so that
    the errors of a prediction of no motion are those of the challenge's test set, of which no
    more is known. A shorter scan swings less often, and less far if need be, at about the usual
    speed. Returns (frames, 4, 4).
    """
    whole = frames >= ROTATION_FRAMES / 2
    angles = _glide(rng, _rotation_waypoints(rng, frames), frames, pauses=3 if whole else 0)
    reach = min(1.0, frames / ROTATION_FRAMES)
    angles += np.deg2rad(_wander(rng, frames, 4.0, (1.5, 1.5, 2.5))) * np.sqrt(reach)
    angles += _tremor(rng, frames, TREMOR_RAD)
    contact = _wander(rng, frames, 4.0, (3.0, 3.0)) * np.sqrt(reach)
    contact += _tremor(rng, frames, TREMOR_MM)[:, :2]
    start = ACROSS if rng.random() < 0.5 else ALONG
    return _poses(start, contact, angles, skin, lean=0.0)


def sweep(rng: Rng, frames: int, skin: Skin, *, plane: str, shape: str, direction: str) -> Float64:
    """TUS-REC2024's sweep along the limb. Returns (frames, 4, 4).

    plane: `Par` images along the limb, `Per` across it. shape: `L`, `C` or `S`. direction: `DtP`
    from distal to proximal, `PtD` back. 130-190 mm long, as an adult's forearm allows, bowed by
    8-16 % of that; the probe follows the skin's slope and, in part, the direction of the path. A
    short one covers less at the usual speed.
    """
    length = rng.uniform(130, 190) * min(1.0, frames / SWEEP_FRAMES)
    width = length * rng.uniform(0.08, 0.16) * rng.choice([-1, 1])
    pauses = int(frames >= SWEEP_FRAMES / 2)  # one could take most of the time of a short sweep
    t = _glide(rng, np.array([[0.0], [1.0]]), frames, pauses)[:, 0]
    bow = {"L": 0 * t, "C": np.sin(np.pi * t), "S": np.sin(2 * np.pi * t)}[shape]
    x, y = (t - 0.5) * length, width * bow
    yaw = np.arctan2(np.gradient(y), np.gradient(x) + 1e-9) * rng.uniform(0, 0.8)
    if direction == "PtD":
        x, y, yaw = x[::-1], y[::-1], yaw[::-1]
    reach = min(1.0, frames / SWEEP_FRAMES)
    angles = np.deg2rad(_wander(rng, frames, 3.0, (4, 3, 3))) * np.sqrt(reach)
    angles += _tremor(rng, frames, TREMOR_RAD)
    angles[:, 2] += yaw
    contact = np.column_stack([x, y]) + _wander(rng, frames, 3.0, (1.0, 2.0)) * np.sqrt(reach)
    return _poses(ALONG if plane == "Par" else ACROSS, contact, angles, skin, lean=0.7)


def free_scan(rng: Rng, frames: int, skin: Skin) -> Float64:
    """A wandering examination: position and all angles drift smoothly.

    Each within 2-5 s: 2-17 mm along the limb, 2-11 mm across, 2-26 degrees of each angle (standard
    deviations), starting at any turn. Returns (frames, 4, 4).
    """
    pace = rng.uniform(0.5, 1.3)
    seconds = rng.uniform(2.0, 5.0)
    contact = _wander(rng, frames, seconds, (8 * pace * seconds / 3, 5 * pace * seconds / 3))
    angles = np.deg2rad(_wander(rng, frames, seconds, (7, 6, 12))) * pace * seconds / 3
    angles += _tremor(rng, frames, TREMOR_RAD)
    angles[:, 2] += rng.uniform(0, 2 * np.pi)
    return _poses(ACROSS, contact, angles, skin, lean=0.7)


SWEEPS = [f"{p}_{s}_{d}" for p in ("Per", "Par") for s in "LCS" for d in ("DtP", "PtD")]
TRAJECTORIES: dict[str, Trajectory] = {
    "rotation": rotation_scan,
    "free": free_scan,
    **{name: partial(sweep, plane=name[:3], shape=name[4], direction=name[6:]) for name in SWEEPS},
}
WHOLE_FRAMES = {name: SWEEP_FRAMES if name in SWEEPS else ROTATION_FRAMES for name in TRAJECTORIES}


def _rotation_waypoints(rng: Rng, frames: int) -> Float64:
    """Turning points (W, 3) of tilt, rock and turn, rad, for so many frames."""
    if frames >= 0.9 * ROTATION_FRAMES:
        return _turning_points(rng, int(rng.integers(2, 4)), 1.0)
    swings = 0 if frames < 300 else 1 if frames < 950 else 2
    waypoints = _turning_points(rng, swings, 1.0 if frames >= ROTATION_FRAMES / 2 else 0.4)
    way = np.linalg.norm(np.diff(waypoints, axis=0), axis=1).sum()
    return waypoints * min(1.0, ROTATION_PACE * frames / float(way))


def _turning_points(rng: Rng, swings: int, turn_share: float) -> Float64:
    """Turning points (W, 3), rad, of `swings` full swings each and so much of the usual turn."""
    turn = rng.uniform(75, 95) * rng.choice([-1, 1]) * turn_share
    steps = [(0, _to_and_fro(rng, (12, 20), swings)), (1, _to_and_fro(rng, (8, 14), swings))]
    steps += [(2, [turn])]
    steps += [(0, _to_and_fro(rng, (12, 20), swings)), (1, _to_and_fro(rng, (8, 14), swings))]
    angles, waypoints = np.zeros(3), [np.zeros(3)]
    for axis, targets in steps:
        for target in targets:
            angles = angles.copy()
            angles[axis] = np.deg2rad(target)
            waypoints.append(angles)
    return np.array(waypoints)


def _to_and_fro(rng: Rng, degrees: tuple[float, float], swings: int) -> list[float]:
    """Turning points of full swings, or without one of a single excursion to one side."""
    side = float(rng.choice([-1, 1]))
    if not swings:
        return [side * rng.uniform(*degrees), 0.0]
    leans = [[rng.uniform(*degrees), -rng.uniform(*degrees)] for _ in range(swings)]
    return [*(side * np.ravel(leans)), 0.0]


def _glide(rng: Rng, waypoints: Float64, frames: int, pauses: int) -> Float64:
    """Pass the waypoints (W, D) in `frames` steps at an uneven pace, resting now and then."""
    length = np.linalg.norm(np.diff(waypoints, axis=0), axis=1)
    ends = np.concatenate([[0], np.cumsum(length)]) / length.sum()
    pace = np.exp(0.25 * _wander(rng, frames, 1.5, (1.0,))[:, 0])
    for _ in range(pauses):
        start = int(rng.integers(frames))
        pace[start : start + int(rng.uniform(0.2, 1.5) * FRAME_RATE)] *= 0.05
    progress = np.concatenate([[0], np.cumsum(pace[1:])]) / pace[1:].sum()
    path = np.stack([np.interp(progress, ends, column) for column in waypoints.T], axis=1)
    smoothing = min(4.0, frames / 40)
    return np.asarray(ndimage.gaussian_filter1d(path, smoothing, axis=0, mode="nearest"))


def _wander(rng: Rng, frames: int, seconds: float, spread: tuple[float, ...]) -> Float64:
    """Smooth random walks (frames, D) of standard deviation `spread`, starting from zero."""
    sigma = seconds * FRAME_RATE / 2
    margin = int(4 * sigma)
    white = rng.normal(size=(frames + 2 * margin, len(spread)))
    smooth = ndimage.gaussian_filter1d(white, sigma, axis=0)[margin : margin + frames]
    smooth *= np.sqrt(2 * sigma * np.sqrt(np.pi)) * np.asarray(spread)
    return np.asarray(smooth - smooth[0], np.float64)


def _tremor(rng: Rng, frames: int, spread: float) -> Float64:
    """Physiological tremor (frames, 3): 8-12 Hz, which 20 frames a second alias."""
    return np.asarray(spread * rng.normal(size=(frames, 3)), np.float64)


def _poses(axes: Float64, contact: Float64, angles: Float64, skin: Skin, lean: float) -> Float64:
    """The probe on the skin at `contact` (N, 2), by angles (N, 3) of tilt, rock and turn.

    Turned about its own y, then tilted about its x, then rocked about its z axis, all through
    the middle of its face. `lean` is how far it follows the skin's slope.
    """
    slope_x, slope_y = lean * skin.along * contact[:, 0], lean * skin.across * contact[:, 1]
    follow = np.column_stack([-slope_y, slope_x, np.zeros(len(contact))])
    rotation = (
        Rotation.from_rotvec(-follow)
        * Rotation.from_matrix(axes)
        * Rotation.from_rotvec(np.outer(angles[:, 2], [0, 1, 0]))
        * Rotation.from_rotvec(np.outer(angles[:, 0], [1, 0, 0]))
        * Rotation.from_rotvec(np.outer(angles[:, 1], [0, 0, 1]))
    )
    poses = np.tile(np.eye(4), (len(contact), 1, 1))
    poses[:, :3, :3] = rotation.as_matrix()
    poses[:, :2, 3] = contact
    poses[:, 2, 3] = 0.5 * (skin.along * contact[:, 0] ** 2 + skin.across * contact[:, 1] ** 2)
    return poses
