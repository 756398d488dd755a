#!/usr/bin/env python3
"""Plays the organisers: starts the image as they would and checks all that it leaves.

`make judge`. Prints what was checked and PASS, or the reason and a non-zero exit.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
from datasets import open_folder, sample_length, write_dataset
from engine import HOME, ROOT, Run, engine_name, hostile, inspect, mounts, require_image, run
from leaks import leaks

SCANS = {
    "sub900__RH_rotation": slice(None),
    "sub901__LH_rotation": slice(29, None, -1),
    "sub901__RH_rotation": slice(10, 50, 2),
}
METRICS = ["GLE", "GPE", "LLE", "LPE", "time_elapsed"]  # as HDF5 lists them
LARGEST_CPU_IMAGE = 1.8e9  # bytes
LONGEST_START = 3.0  # seconds from `docker run` to the first line
TOLERANCE = 1e-4  # mm, and the unit-free entries of a rotation
LOOP_TOLERANCE = 1e-3  # mm: the loop sums float32 fields
RESERVED = ("test.py", "utils", "baseline_model")  # what the organisers lay over our folder


class VerdictError(Exception):
    """Why the image does not pass."""


def main() -> None:
    """Judge the image; ends with 0 and PASS, or 1 and the reason."""
    options = parser().parse_args()
    require_image(options.image)
    with tempfile.TemporaryDirectory(prefix="judge-") as folder:
        scratch = Path(folder)
        scratch.chmod(0o755)
        try:
            judge_image(options.image, options.torch)
            judge_runs(options.image, scratch)
        except VerdictError as reason:
            sys.exit(f"FAIL: {reason}")
        except subprocess.CalledProcessError as error:
            sys.exit(f"FAIL: {error}")
    say("PASS")


def judge_image(image: str, torch_build: str) -> None:
    """What the image is, before anything is run on data."""
    about, config = inspect(image), inspect(image)["Config"]
    user = config["User"].partition(":")[0]
    require(user.isdigit() and user != "0", f"user is {config['User']!r}, expected a number, not 0")
    require(config["WorkingDir"] == HOME, f"working directory is {config['WorkingDir']}")
    entry = config["Entrypoint"]
    require(entry[-1].endswith("predict.py") and "-c" not in entry, f"entry point is {entry}")
    labels = config["Labels"] or {}
    for label in ("title", "version", "revision", "licenses"):
        require(f"org.opencontainers.image.{label}" in labels, f"no label {label}")
    environment = dict(line.split("=", 1) for line in config["Env"])
    require(environment.get("NVIDIA_VISIBLE_DEVICES") == "all", "NVIDIA_VISIBLE_DEVICES is not all")
    found = python(image, "import torch; print(torch.__version__)").last
    require(found.endswith(torch_build), f"torch is {found}, expected {torch_build}")
    size = about["Size"]
    fits = size <= LARGEST_CPU_IMAGE or not found.endswith("+cpu")
    require(fits, f"{size / 1e9:.2f} GB, expected at most {LARGEST_CPU_IMAGE / 1e9} with CPU torch")
    listing = python(image, "import os; print(*os.listdir())").last.split()
    taken = set(listing) & set(RESERVED)
    require(not taken, f"the organisers' own names are taken: {taken}")
    say(f"image {size / 1e9:.2f} GB, torch {found}, user {config['User']}, engine {engine_name()}")
    left = leaks(image)
    require(not left, "; ".join(left[:5]))
    say("nothing of the build machine is in the image")


def judge_runs(image: str, scratch: Path) -> None:
    """The organisers' command, under hostile conditions too, their loop, and the second door."""
    data = write_dataset(scratch / "data", SCANS)
    outside = open_folder(scratch / "outside")
    predict_outside(data, outside)

    plain, hostile_run, door, across, loop = (
        open_folder(scratch / name) for name in ("plain", "hostile", "door", "across", "loop")
    )
    gpus = ["--gpus", "all"] if engine_name() == "docker" and Path("/dev/nvidia0").exists() else []
    runs = [
        run([*gpus, "--network", "none", *mounts(data, plain)], image),
        run([*hostile(), *mounts(data, hostile_run)], image),
        run([*hostile(), *mounts(data, door, ("/input", "/output"))], image),
        run([*hostile(), *mounts(data, across, ("data", "/output"))], image),
    ]
    ways = (
        "organisers' command",
        "no network, read-only, no rights, foreign user",
        "second door",
        "in by the first door, out by the second",
    )
    for way, ended, results in zip(ways, runs, (plain, hostile_run, door, across), strict=True):
        judge_run(ended)
        judge_results(results)
        difference = largest_difference(results, outside)
        require(difference <= TOLERANCE, f"{way}: {difference:.2g} mm from a run outside")
        say(f"{way}: {ended.seconds:.1f} s, {difference:.1g} mm from a run outside the container")
    judge_start(runs)

    own_files = Path(__file__).parent / "organisers"
    lay_over = [
        option
        for name in ("test.py", "utils")
        for option in ("-v", f"{own_files / name}:{HOME}/{name}:ro")
    ]
    ended = run(
        [*hostile(), *mounts(data, loop), *lay_over, "--entrypoint", "python"], image, "test.py"
    )
    judge_run(ended)
    theirs, ours = read_metrics(loop), read_metrics(plain)
    difference = max(abs(theirs[name] - ours[name]).max() for name in METRICS[:4])
    require(difference <= LOOP_TOLERANCE, f"the loop's errors are {difference:.2g} mm from ours")
    say(f"their loop, calling predict_ddfs: errors {difference:.1g} mm from those of predict.py")


def predict_outside(data: Path, output: Path) -> None:
    """The same prediction by this machine's own Python."""
    command = [sys.executable, "predict.py", "--input", str(data), "--output", str(output)]
    subprocess.run(command, check=True, cwd=ROOT, stderr=subprocess.DEVNULL)


def judge_run(ended: Run) -> None:
    """A run ends with 0 and says on what it ran."""
    require(ended.code == 0, f"exit code {ended.code}: {' / '.join(ended.lines[-3:])}")


def judge_start(runs: list[Run]) -> None:
    """The quickest start of several counts: a busy machine delays any one of them."""
    starts = [ended.first_line for ended in runs]
    require(min(starts) < LONGEST_START, f"first line after {min(starts):.1f} s, expected under 3")
    say(f"first line after {', '.join(f'{start:.1f}' for start in starts)} s")
    device = [line for line in runs[0].lines if "torch" in line]
    require(bool(device), "the log does not tell the device and the torch build")
    say(f"log says: {device[0]}")


def judge_results(results: Path) -> None:
    """Every file that must be there, whole and of the right shapes, and no other."""
    expected = {f"{key}.h5" for key in SCANS} | {"metrics.h5", "run.json"}
    found = {path.name for path in results.iterdir()}
    require(found == expected, f"results hold {sorted(found)}, expected {sorted(expected)}")
    listed = json.loads((results / "run.json").read_text(encoding="utf-8"))["scans"]
    told = [(scan["key"], scan["status"]) for scan in listed]
    require(told == [(key, "done") for key in SCANS], f"run.json tells {told}")
    for name, values in read_metrics(results).items():
        require(values.shape == (len(SCANS),), f"metrics.h5: {name} has shape {values.shape}")
        require(bool(np.isfinite(values).all()), f"metrics.h5: {name} is not finite")
    for key, part in SCANS.items():
        judge_scan(results / f"{key}.h5", len(range(sample_length())[part]))


def judge_scan(path: Path, frames: int) -> None:
    """Shapes, types, finiteness and rigidity of one scan's file."""
    shapes = {
        "global": ((frames - 1, 4, 4), np.float64),
        "local": ((frames - 1, 4, 4), np.float64),
        "local_covariance": ((frames - 1, 6, 6), np.float64),
        "GL": ((3, 100), np.float32),
        "LL": ((3, 100), np.float32),
    }
    with h5py.File(path) as file:
        require(set(file) == set(shapes), f"{path.name} holds {sorted(file)}")
        for name, (shape, kind) in shapes.items():
            values = file[name][()]
            found = f"{path.name}: {name} is {values.shape} {values.dtype}"
            require(values.shape == shape and values.dtype == kind, f"{found}, expected {shape}")
            require(bool(np.isfinite(values).all()), f"{path.name}: {name} is not finite")
        rotations = file["global"][:, :3, :3]
    drift = abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max()
    require(drift < 1e-9, f"{path.name}: global poses are {drift:.1g} from rigid")


def read_metrics(results: Path) -> dict[str, np.ndarray]:
    """metrics.h5, which must hold the organisers' names and no other."""
    with h5py.File(results / "metrics.h5") as file:
        require(list(file) == METRICS, f"metrics.h5 holds {list(file)}, expected {METRICS}")
        return {name: file[name][()] for name in file}


def largest_difference(results: Path, others: Path) -> float:
    """Largest difference of any number in two folders of results, the times left out."""
    largest = 0.0
    for path in sorted(results.glob("*.h5")):
        with h5py.File(path) as one, h5py.File(others / path.name) as other:
            for name in set(one) - {"time_elapsed"}:
                largest = max(largest, float(abs(one[name][()] - other[name][()]).max()))
    return largest


def python(image: str, code: str) -> Run:
    """Run a line of Python in the image."""
    ended = run([*hostile(), "--entrypoint", "python"], image, "-c", code)
    judge_run(ended)
    return ended


def require(condition: bool, reason: str) -> None:
    """Complain with the reason unless the condition holds."""
    if not condition:
        raise VerdictError(reason)


def say(line: str) -> None:
    """One line of the judge's report."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("image", nargs="?", default="tusrec")
    command.add_argument(
        "--torch", default="", metavar="BUILD", help="require a torch whose version ends so: +cpu"
    )
    return command


if __name__ == "__main__":
    main()
