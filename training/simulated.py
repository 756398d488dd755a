"""Simulated clips to train on, of probes and consoles far more varied than one scanner's.

A network learns the one speckle that it is shown; what it shall measure is decorrelation against
motion for any speckle. So array, depth, frequency, pulse, apertures, lens, picture size, frame
rate and what a screen and a grabber make of frames are drawn here; the ranges of a probe are those
that `sim.probe.Probe` states.
"""

import argparse
import json
import logging
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from tusrec.entry import GOES_ON, exit_code_of, heed_signals

if __name__ == "__main__":
    heed_signals()

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model.persistence import averaged
from model.screen import Screen
from sim import SIMULATOR
from sim.card import read_card, require_alike
from sim.console import Console, draw_console
from sim.imaging import Beamformer, ImageGrid, LineGrid
from sim.motion import SWEEPS, WHOLE_FRAMES
from sim.probe import CONVEX, LINEAR, Probe, lens_waist_mm
from sim.scan import IMAGES, Recipe, Scan, draw_recipe
from sim.stream import require_training_seed
from training.clips import Clip, write_clip
from training.grabber import grabbed
from tusrec import poses
from tusrec.errors import BusyError, InputError
from tusrec.files import write_bytes
from tusrec.options import whole_number
from tusrec.spread import spread

DEFAULT = "(default: %(default)s)"
LENGTH = 16  # frames of a clip
LONGEST_STEP = 4  # of a clip, in frames of the scan: slower frame rates and faster hands
PACES = (1.0, 3.0)  # mean step of a clip
# In most clips the hand's pace changes: that one scan's fast and slow motions lose speckle by one
# law shows only where both are seen.
CHANGING_SHARE, CHANGE, CHANGE_FRAMES = 0.7, 0.6, 6.0  # its log's deviation, smooth over frames
WARM_UP = 8  # frames before the first, which persistence mixes into it
# What screens show, and in which share of the clips: frames as they are, or lingering, for scanners
# are sold with persistence switched on; means of several frames; means of looks from several sides,
# of which each frame takes one, so that frames differ by the side too and not by motion alone.
SCREENS = {"plain": 0.25, "lingering": 0.25, "means": 0.25, "compounded": 0.25}
PERSISTENCE = (0.1, 0.7)  # of a screen that lingers
MEANS = (3, 3, 5)  # frames, mostly 3
SIDES, WIDEST_DEG = (3, 3, 5, 7), (8.0, 20.0)  # looks, and how far the last ones are turned
LONGEST_MEAN = max(*MEANS, *SIDES)
UNEVEN_SHARE = 0.3  # of the clips that a grabber takes at another pace than the scanner's
# Half the clips look deeper than echoes carry: at the end of the picture tissue is so many dB above
# the scanner's noise. In the others it has the noise of `sim.console`, which is hardly seen.
NOISY_SHARE, ABOVE_NOISE_DB = 0.5, (-10.0, 30.0)
LINES = {"convex": LineGrid(320, 0.12), "linear": LineGrid(320, 0.08)}
WAISTS_MM = (0.3, 1.5)
LINEAR_SHARE = 0.4
# Of rotation scans, free ones and sweeps: what speckle leaves open is guessed by what is usual.
PROTOCOLS = (0.25, 0.35, 0.4)
USUAL_SHARE = 0.1  # of the clips that show the challenge's own probe and preset
USUAL = {"rotation": ("rotation",), "sweeps": tuple(SWEEPS)}  # the protocols of 2025 and of 2024
KINDS = 2  # counts up when clips of all kinds change where `sim.SIMULATOR` does not
ORDER = ("length", "usual", "grabbed", "screen")  # options that decide what a clip of a seed is
Array = NDArray[np.float64]
Maker = Callable[[tuple[int, int], int], Clip]  # of a seed, and so many frames
log = logging.getLogger("training.simulated")


def simulated_clip(seed: tuple[int, int], length: int = LENGTH, screen: str | None = None) -> Clip:
    """Clip number seed[1] of the set seed[0]; the same for the same seed.

    screen: one of SCREENS, in place of one that is drawn.
    """
    rng = np.random.default_rng([*seed, 9])
    scan = _draw(seed, rng, length)
    shown = _frame_numbers(len(scan) - LONGEST_MEAN // 2, length, rng)
    drawn = str(rng.choice(list(SCREENS), p=list(SCREENS.values())))
    made = _on_screen(scan, shown, screen or drawn, rng)[-length:]
    frames, T = grabbed(made, scan.T_limb_from_image[shown[-length:]], rng)
    return Clip(frames, poses.inverse(T[:1]) @ T, scan.beamformer.image.spacing, seed)


def usual_clip(
    seed: tuple[int, int], length: int = LENGTH, kind: str = "rotation", by_grabber: bool = False
) -> Clip:
    """A clip of a scan of one `kind` of USUAL exactly as `simulate.py` makes it, flaws and all.

    by_grabber: recorded as some grabber does.
    """
    rng = np.random.default_rng([*seed, 9])
    protocol = USUAL[kind][seed[1] % len(USUAL[kind])]
    whole = WHOLE_FRAMES[protocol]
    recipe = draw_recipe(seed, protocol, whole)
    start = int(rng.integers(whole - length + 1))
    scan = Scan(replace(recipe, excerpt=(start, length)))
    T = scan.T_limb_from_image
    frames = np.stack(list(scan.frames()))
    if by_grabber:
        frames, T = grabbed(frames, T, rng)
    share = recipe.console.persistence
    screen = Screen(undoing=averaged(share)) if share else Screen()
    return Clip(frames, poses.inverse(T[:1]) @ T, scan.beamformer.image.spacing, seed, screen)


def _draw(seed: tuple[int, int], rng: np.random.Generator, length: int) -> Scan:
    """An excerpt long enough for the clip at any step."""
    protocol = str(rng.choice(["rotation", "free", str(rng.choice(SWEEPS))], p=PROTOCOLS))
    whole = WHOLE_FRAMES[protocol]
    kind = "linear" if rng.random() < LINEAR_SHARE else "convex"
    recipe = draw_recipe(seed, protocol, whole, probe=kind)
    image = IMAGES[kind]
    if rng.random() > USUAL_SHARE:
        probe = draw_probe(kind, rng)
        recipe = replace(recipe, probe=probe, console=draw_console(rng, probe.frequency_mhz))
        image = fitting_picture(probe)
    if rng.random() < NOISY_SHARE:
        recipe = replace(recipe, console=_noisy(recipe, rng.uniform(*ABOVE_NOISE_DB)))
    needed = LONGEST_STEP * (length - 1) + 1 + WARM_UP + LONGEST_MEAN // 2
    start = int(rng.integers(whole - needed + 1))
    flaws = replace(recipe.imperfections, duplicates=0.0)
    changed = replace(recipe, imperfections=flaws, excerpt=(start, needed), strata=5)
    return Scan(changed, image, LINES[kind])


def draw_probe(kind: str, rng: np.random.Generator) -> Probe:
    """A probe anywhere in the market: convex for depth, linear for what is near the skin."""
    usual = {"convex": CONVEX, "linear": LINEAR}[kind]
    convex = kind == "convex"
    frequency = rng.uniform(3.0, 8.0) if convex else rng.uniform(6.0, 13.0)
    focus = rng.uniform(30, 80) if convex else rng.uniform(12, 32)
    height = rng.uniform(7, 14) if convex else rng.uniform(3.5, 7)
    blur = rng.uniform(0.9, 1.6)  # by aberration: no lens in tissue reaches its diffraction limit
    probe = replace(
        usual,
        depth_mm=rng.uniform(60, 120) if convex else rng.uniform(28, 55),
        frequency_mhz=frequency,
        axial_fwhm_mm=max(1.54 / frequency * rng.uniform(1.0, 2.2), 0.17),
        f_number=rng.uniform(1.5, 4.5),
        aperture_mm=rng.uniform(14, 30) if convex else rng.uniform(10, 20),
        lens_focus_mm=focus,
        lens_waist_mm=float(np.clip(blur * lens_waist_mm(height, focus, frequency), *WAISTS_MM)),
    )
    if not convex:
        return replace(probe, half_width=rng.uniform(15, 25))
    radius = rng.uniform(30, 50)
    half_face = rng.uniform(18, min(26, 0.6 * radius))  # more would lose contact with a limb
    return replace(probe, radius_mm=radius, half_width=float(np.arcsin(half_face / radius)))


def _noisy(recipe: Recipe, above_db: float) -> Console:
    """Its console, with noise so far below the echoes from tissue at the end of the picture."""
    lost = recipe.console.attenuation_db_mm * recipe.probe.depth_mm
    return replace(recipe.console, noise_db=-lost - above_db)


def fitting_picture(probe: Probe) -> ImageGrid:
    """A 480x640 picture with square pixels that just holds the field of view."""
    if probe.radius_mm:
        width = 2 * (probe.radius_mm + probe.depth_mm) * np.sin(probe.half_width)
        top = probe.radius_mm * (1 - np.cos(probe.half_width))
    else:
        width, top = 2 * probe.half_width, 0.0
    pixel = float(max(width / 620, (probe.depth_mm + top) / 460))
    return ImageGrid(480, 640, (pixel, pixel), (320.5 * pixel, top + 10 * pixel))


def _frame_numbers(count: int, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers (WARM_UP + length,) of the frames shown, some way apart that mostly changes."""
    pace = rng.uniform(*np.log(PACES))
    if rng.random() < CHANGING_SHARE:
        white = rng.standard_normal(WARM_UP + length)
        smooth = ndimage.gaussian_filter1d(white, CHANGE_FRAMES)
        pace = pace + CHANGE * (smooth - smooth.mean()) / smooth.std()
    steps = np.exp(pace + np.zeros(WARM_UP + length)).clip(1, LONGEST_STEP)
    places = np.cumsum(steps)
    if rng.random() < UNEVEN_SHARE:
        places = places - (steps - 1) * rng.random(len(steps))
    numbers = np.round(places - places[WARM_UP])
    first = rng.integers(max(count - numbers[-1], 1))
    return np.asarray(np.maximum(numbers + first, 0), np.int64)


def _on_screen(
    scan: Scan, numbers: NDArray[np.int64], screen: str, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Frames (N, H, W) as one of SCREENS shows them.

    numbers: (WARM_UP + length,) of `_frame_numbers`; the last `length` frames at least are made.
    """
    if screen == "means":
        return _means(scan, numbers[WARM_UP:], int(rng.choice(MEANS)))
    if screen == "compounded":
        count, widest = int(rng.choice(SIDES)), np.radians(rng.uniform(*WIDEST_DEG))
        sides = rng.permutation(np.linspace(-widest, widest, count))
        return _compounded(scan, numbers[WARM_UP:], sides)
    share = rng.uniform(*PERSISTENCE) if screen == "lingering" else 0.0
    return _with_persistence([scan.frame(i) for i in numbers], share)


def _means(scan: Scan, numbers: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
    """Means (N, H, W) of `count` frames about each."""
    near = _about(numbers, count)
    made = {int(number): scan.frame(int(number)) for number in np.unique(near)}
    means = [np.mean([made[int(number)] for number in row], axis=0) for row in near]
    return np.rint(means).astype(np.uint8)


def _compounded(scan: Scan, numbers: NDArray[np.int64], sides: Array) -> NDArray[np.uint8]:
    """Means (N, H, W) of the looks about each, of which each takes the next of `sides`, rad.

    Trahey, Smith and von Ramm, IEEE UFFC 33, 1986. Where lines of a side do not reach, the others
    are shown alone.
    """
    own, count = scan.beamformer, len(sides)
    lines = [Beamformer(own.probe, own.image, own.grid, side) for side in sides]
    near = _about(numbers, count)
    looks = {int(n): scan.look(int(n), lines[n % count]) for n in np.unique(near)}
    shown = np.zeros((len(near), *own.field_of_view.shape), np.uint8)
    for frame, row in zip(shown, near, strict=True):
        total = np.sum([looks[int(n)] for n in row], axis=0, dtype=np.float32)
        seen = np.sum([lines[n % count].field_of_view for n in row], axis=0)
        np.copyto(frame, np.rint(total / np.maximum(seen, 1)), "unsafe", where=own.field_of_view)
    return shown


def _about(numbers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Numbers (N, count) of the frames about each that a mean is made of."""
    return np.asarray(np.maximum(numbers[:, None] + np.arange(count) - count // 2, 0))


def _with_persistence(frames: Sequence[NDArray[np.uint8]], share: float) -> NDArray[np.uint8]:
    """Frames (N, H, W), each mixed with `share` of what was on the screen before it."""
    screen = frames[0].astype(np.float32)
    shown = []
    for frame in frames:
        screen = share * screen + (1 - share) * frame
        shown.append(np.rint(screen).astype(np.uint8))
    return np.stack(shown)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 all clips are there, 2 they cannot be made or written."""
    command = parser()
    options = command.parse_args(arguments)
    if options.grabbed and not options.usual:
        command.error("--grabbed goes with --usual: clips of all kinds are as grabbers record them")
    if options.screen and options.usual:
        command.error("--screen does not go with --usual: those show their scans' own")
    return exit_code_of(partial(write_clips, options), GOES_ON)


def write_clips(options: argparse.Namespace) -> int:
    """Write clips first..first+count-1 of one set, going on where an earlier run ended.

    Raises InputError for a seed kept for evaluation, clips longer than scans or a folder with other
    clips of the seed, OutputError, and OutOfMemoryError if one of several processes was killed.
    """
    require_training_seed(options.seed)
    longest = longest_clip(options.usual)
    if options.length > longest:
        raise InputError(f"--length: found {options.length}, expected {longest} frames at most")
    _require_alike(options)
    usual = partial(usual_clip, kind=options.usual, by_grabber=options.grabbed)
    make = usual if options.usual else partial(simulated_clip, screen=options.screen)
    write = partial(_write, make, options.folder, options.seed, options.length)
    numbers = range(options.first, options.first + options.count, options.step)
    deque(spread(write, numbers, options.jobs), maxlen=0)
    return 0


def _require_alike(options: argparse.Namespace) -> None:
    """Raise InputError if the folder has clips of the seed that were ordered otherwise.

    The files' names do not tell, so what was ordered stands beside them.
    """
    order = {"simulator": SIMULATOR, **{name: getattr(options, name) for name in ORDER}}
    if not options.usual:
        order["kinds"] = KINDS
    path = options.folder / f"{options.seed}.order.json"
    with suppress(BusyError):  # of another machine that shares the work
        if not path.exists():
            write_bytes(path, json.dumps(order).encode(), "the clips' order")
    if path.exists():
        require_alike(path, read_card(path), order)


def _write(make: Maker, folder: Path, seed: int, length: int, number: int) -> None:
    path = folder / f"{seed}_{number:06d}.safetensors"
    if not path.exists():
        write_clip(make((seed, number), length), path)


def longest_clip(kind: str | None) -> int:
    """Frames that any scan of a kind of USUAL has, or at the slowest pace one of all kinds."""
    if kind:
        return min(WHOLE_FRAMES[protocol] for protocol in USUAL[kind])
    shortest = min(WHOLE_FRAMES.values())
    return (shortest - 1 - WARM_UP - LONGEST_MEAN // 2) // LONGEST_STEP + 1


def parser() -> argparse.ArgumentParser:
    """The command line; argparse exits with 2 when it is wrong."""
    command = argparse.ArgumentParser(prog="training.simulated", description=__doc__)
    add = command.add_argument
    add("folder", type=Path)
    add("--seed", type=whole_number(0), default=1, help=f"of all clips {DEFAULT}")
    add("--first", type=whole_number(0), default=0, help=f"number of the first clip {DEFAULT}")
    add("--count", type=whole_number(1), default=1000, help=f"of clips from there on {DEFAULT}")
    sharers = f"number of machines that share them {DEFAULT}"
    add("--step", type=whole_number(1), default=1, help=sharers)
    add("--jobs", type=whole_number(1), default=1, help=f"processes {DEFAULT}")
    add("--usual", choices=tuple(USUAL), help="as simulate.py makes them")
    add("--grabbed", action="store_true", help="these, as grabbers record them")
    add("--screen", choices=tuple(SCREENS), help="of clips of all kinds (default: all, by share)")
    add("--length", type=whole_number(2), default=LENGTH, help=f"frames of a clip {DEFAULT}")
    return command


if __name__ == "__main__":
    sys.exit(main())
