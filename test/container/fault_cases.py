"""The faults that are tried in the running container, and what must come of each.

A preparation changes a folder that holds `data` and `results`, and may add `weights`, which is then
laid over the image's.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from datasets import open_folder, write_dataset
from engine import hostile, mounts, run

SHORT = 12  # frames of a scan where its length is of no account
LONG = 60
FULL_DISK = 56  # KiB: results of one scan fit, of all three they do not

Preparation = Callable[[Path], None]


def nothing(_: Path) -> None:
    """Leave the folder as it is."""


@dataclass(frozen=True)
class Fault:
    """A fault, and what must come of it.

    code: the expected exit code.
    done: the number of scans of which a whole result is there afterwards; None for any number.
    says: a part of the log's last error line.
    signal: sent to the container while it is at its second scan, or at_start.
    """

    name: str
    code: int
    done: int | None
    says: str
    prepare: Preparation = nothing
    command: Sequence[str] = ()
    options: Sequence[str] = field(default_factory=hostile)
    frames: int = SHORT
    data_mounted: bool = True
    writable: bool = True
    signal: str = ""
    at_start: bool = False


def faults(image: str) -> list[Fault]:
    """All faults, in the table's order."""
    return [*of_data(), *of_the_machine(image), *of_weights(), *ends()]


def of_data() -> list[Fault]:
    """What a mount may hold."""
    return [
        Fault("none", 0, 3, "results in"),
        Fault("a truncated scan among 64", 2, 63, "031", one_truncated_among_64),
        Fault("calibration missing", 2, 0, "calib_matrix.csv", removed("calib_matrix.csv")),
        Fault("a key that leaves the dataset", 2, 3, "sub..", added_key("sub../../etc__x")),
        Fault("a key without a file", 2, 3, "904", added_key("sub904__RH_rotation")),
        Fault("list of keys truncated", 2, 0, "dataset_keys.h5", truncated("dataset_keys.h5")),
        Fault("landmarks folder missing", 0, 3, "results in", removed("landmarks")),
        Fault("one scan without landmarks", 2, 2, "902", removed("landmarks/landmark_902.h5")),
        Fault("frames of floats in one scan", 2, 2, "902", float_frames),
        Fault("NaN in the poses of one scan", 2, 2, "902", nan_poses),
        Fault("empty data mount", 2, 0, "no data", emptied),
        Fault("nothing mounted as data", 2, 0, "no data", data_mounted=False),
    ]


def of_the_machine(image: str) -> list[Fault]:
    """What the judge's machine may lack."""
    gpu = ["-v", f"{Path(__file__).resolve()}:/dev/nvidia0:ro"]
    return [
        Fault("results mount read-only", 2, 0, "cannot write", writable=False),
        Fault("results folder of another user", 2, 0, "cannot write", closed_results),
        Fault("results disk full", 2, None, "No space", small_disk),
        Fault("results of another model there", 2, 3, "overwrite", others_results(image)),
        Fault("memory limit 150 MB", 137, 0, "", options=hostile(memory="150m")),
        Fault("memory limit 1 GB", 0, 3, "", options=hostile(memory="1g"), frames=LONG),
        Fault("limit of 4 processes", 1, 0, "", options=hostile(pids=4)),
        Fault("64 MB of shared memory, --jobs 2", 0, 3, "results in", command=["--jobs", "2"]),
        Fault("a GPU that torch cannot use", 2, 0, "GPU", options=[*hostile(), *gpu]),
        Fault("--device cuda without a GPU", 2, 0, "GPU", command=["--device", "cuda"]),
    ]


def of_weights() -> list[Fault]:
    """Weights that are not those of the manifest."""
    of_eight_bytes = manifest(8)
    return [
        Fault(name, 4, 0, says, weights(listing, content), ["--model", "baseline"])
        for name, says, listing, content in (
            ("weights not in the manifest", "no weights", '{"models": {}}', None),
            ("weight file missing", "cannot read", of_eight_bytes, None),
            ("weight file truncated", "4 bytes, expected 8", of_eight_bytes, b"half"),
            ("weight file of another model", "found sha256", of_eight_bytes, b"another!"),
            ("manifest not JSON", "manifest.json", "{", None),
        )
    ]


def ends() -> list[Fault]:
    """Ended from outside; each is followed by the same command once more."""
    jobs = ["--jobs", "2"]
    return [
        Fault("SIGTERM", 143, None, "", signal="TERM", frames=LONG),
        Fault("SIGTERM, --jobs 2", 143, None, "", command=jobs, signal="TERM", frames=LONG),
        Fault("SIGINT", 130, None, "interrupted", signal="INT", frames=LONG),
        Fault("SIGTERM at its start", 143, 0, "", signal="TERM", at_start=True),
        Fault("SIGINT at its start", 130, 0, "interrupted", signal="INT", at_start=True),
        Fault("kill -9", 137, None, "", signal="KILL", frames=LONG),
    ]


def removed(name: str) -> Preparation:
    """Without a file or folder of the dataset."""

    def prepare(folder: Path) -> None:
        path = folder / "data" / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    return prepare


def truncated(name: str) -> Preparation:
    """With the second half of a file of the dataset cut off."""

    def prepare(folder: Path) -> None:
        path = folder / "data" / name
        os.truncate(path, path.stat().st_size // 2)

    return prepare


def one_truncated_among_64(folder: Path) -> None:
    """64 scans of few frames, one of them cut off."""
    emptied(folder)
    scans = {f"sub{number:03d}__LH_rotation": slice(4) for number in range(64)}
    write_dataset(folder / "data", scans)
    truncated("frames/031/LH_rotation.h5")(folder)


def added_key(key: str) -> Preparation:
    """With a key of which there is no scan."""

    def prepare(folder: Path) -> None:
        with h5py.File(folder / "data" / "dataset_keys.h5", "a") as file:
            file[key] = 0

    return prepare


def float_frames(folder: Path) -> None:
    """With frames of the wrong type in the second scan."""
    with h5py.File(folder / "data/frames/902/RH_rotation.h5", "a") as file:
        frames = file["frames"][()].astype(np.float32)
        del file["frames"]
        file["frames"] = frames


def nan_poses(folder: Path) -> None:
    """With a tracked pose of NaN in the second scan."""
    with h5py.File(folder / "data/transfs/902/RH_rotation.h5", "a") as file:
        file["tforms"][3] = np.nan


def emptied(folder: Path) -> None:
    """With an empty folder of data."""
    shutil.rmtree(folder / "data")
    (folder / "data").mkdir()


def closed_results(folder: Path) -> None:
    """With results that only their owner may write."""
    (folder / "results").chmod(0o755)


def small_disk(folder: Path) -> None:
    """With results on a disk that has no room for all; needs root."""
    options = f"size={FULL_DISK}k,mode=777"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder / "results")]
    subprocess.run(command, check=True)


def others_results(image: str) -> Preparation:
    """With finished results of the identity model."""

    def prepare(folder: Path) -> None:
        places = mounts(folder / "data", folder / "results")
        run([*hostile(), *places], image, "--model", "identity")

    return prepare


def weights(listing: str, content: bytes | None) -> Preparation:
    """With a folder of weights of its own: the manifest, and the baseline's file if any."""

    def prepare(folder: Path) -> None:
        place = open_folder(folder / "weights")
        (place / "manifest.json").write_text(listing, encoding="utf-8")
        if content is not None:
            (place / "baseline.safetensors").write_bytes(content)

    return prepare


def manifest(size: int) -> str:
    """A manifest that lists the baseline with this size and a sha256 that no file has."""
    entry = f'"file": "baseline.safetensors", "sha256": "{"0" * 64}", "size": {size}'
    return f'{{"models": {{"baseline": {{{entry}, "architecture": "", "training": ""}}}}}}'
