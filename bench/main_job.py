"""The bars of the main job: displacements against the organisers' way, and peak memory.

`python -m bench.main_job`. Memory is measured in fresh processes; that of predict_ddfs with the
identity model, so that it is the pipeline's own. Needs 12 GB under TMPDIR.
"""

import contextlib
import io
import sys
import tempfile
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from bench.console import GB, in_child, require_done, say, seconds
from bench.sample import SAMPLE, sample_calibration
from tusrec import poses
from tusrec.displacements import dense_displacements
from tusrec.entry import exit_code_of
from tusrec.layouts import IMAGE_SIZE
from tusrec.memory import peak_bytes

FRAMES = 1500


def main() -> int:
    """Run every measurement and print one line for each."""
    say(displacement_speed())
    say(child_memory("displacement_memory"))
    with tempfile.TemporaryDirectory(prefix="tusrec-bench-") as folder:
        dataset = long_dataset(Path(folder) / "data")
        say(child_memory("function_memory", str(dataset)))
        results = str(Path(folder) / "results")
        for ddf in ("landmarks", "full"):
            say(child_memory("command_memory", str(dataset), results, ddf))
        say(child_memory("evaluation_memory", str(dataset), results))
    return 0


def measured_here(measure: str, *arguments: str) -> int:
    """Run one measurement of this module in this process and print its line."""
    say(globals()[measure](*arguments))
    return 0


def displacement_speed(frames: int = 300, times: int = 5) -> str:
    """Our dense step against the organisers' formula in float32 torch, taken in turn."""
    transforms, scale = random_motions(frames), sample_calibration().scale
    theirs, ours = np.transpose(
        [
            (
                seconds(lambda: organisers_displacements(transforms, scale)),
                seconds(lambda: dense_displacements(transforms, scale)),
            )
            for _ in range(times)
        ]
    )
    return (
        f"displacements of {frames} frames: {np.median(ours):.3f} s, organisers' way "
        f"{np.median(theirs):.3f} s: {np.median(theirs / ours):.1f} times faster, at best "
        f"{(theirs / ours).max():.1f} (medians of {times}; bar: 20)"
    )


def displacement_memory() -> str:
    """Peak of the dense step over its output."""
    transforms, scale = random_motions(300), sample_calibration().scale
    before = peak_bytes()
    size = dense_displacements(transforms, scale).nbytes
    extra = 100 * (peak_bytes() - before - size) / size
    return f"their peak memory: the {size / GB:.2f} GB output {extra:+.1f} % (bar: 10)"


def function_memory(dataset: str) -> str:
    """Peak of predict_ddfs over the four fields that it returns."""
    import predict_ddfs  # noqa: PLC0415 - its imports belong to the measured process alone

    setattr(predict_ddfs, "DEFAULT_MODEL", "identity")  # noqa: B010 - not a public name
    with h5py.File(Path(dataset) / "frames/900/RH_rotation.h5") as file:
        frames = file["frames"][()]
    landmarks = np.ones((100, 3), np.int64)
    before = peak_bytes()
    fields = predict_ddfs.predict_ddfs(
        frames, landmarks, str(Path(dataset) / "calib_matrix.csv"), torch.device("cpu")
    )
    size = sum(field.nbytes for field in fields)
    extra = (peak_bytes() - before - size) / GB
    return (
        f"predict_ddfs on {FRAMES} frames: peak is the returned {size / GB:.2f} GB "
        f"{extra:+.2f} GB (bar: 1), on {before / GB:.2f} GB of frames and imports"
    )


def command_memory(dataset: str, output: str, ddf: str) -> str:
    """Peak of the whole predict.py process with the default model."""
    import predict  # noqa: PLC0415

    command = ["--input", dataset, "--output", output, "--ddf", ddf]
    time_taken = seconds(lambda: require_done("predict.py", predict.main(command)))
    return (
        f"predict.py --ddf {ddf} on {FRAMES} frames: peak {peak_bytes() / GB:.2f} GB (bar: 2.5) "
        f"in {time_taken:.0f} s"
    )


def evaluation_memory(dataset: str, output: str) -> str:
    """Peak of evaluate.py on a result of that length."""
    import evaluate  # noqa: PLC0415

    with contextlib.redirect_stdout(io.StringIO()):
        require_done("evaluate.py", evaluate.main(["--truth", dataset, "--pred", output]))
    return f"evaluate.py on {FRAMES} frames: peak {peak_bytes() / GB:.2f} GB (bar: 1)"


def organisers_displacements(
    transforms: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float32]:
    """matmul(T, matmul(S, points)) minus the points, float32, as the contract describes it."""
    height, width = IMAGE_SIZE
    rows, columns = torch.arange(1.0, height + 1), torch.arange(1.0, width + 1)
    y, x = (grid.flatten() for grid in torch.meshgrid(rows, columns, indexing="ij"))
    points = torch.stack([x, y, torch.zeros_like(x), torch.ones_like(x)])
    in_mm = torch.matmul(torch.tensor(scale, dtype=torch.float32), points)
    moved = torch.matmul(torch.tensor(transforms, dtype=torch.float32), in_mm)
    return np.asarray((moved[:, 0:3] - in_mm[0:3].expand(len(moved), -1, -1)).numpy())


def random_motions(frames: int) -> NDArray[np.float64]:
    """Rigid transforms of a challenge scan's size."""
    spread = np.array([0.1, 0.1, 0.1, 20.0, 20.0, 20.0])
    return poses.exp(np.random.default_rng(0).normal(size=(frames, 6)) * spread)


def long_dataset(folder: Path) -> Path:
    """The sample's frames and poses repeated to FRAMES, in the validation layout."""
    (folder / "landmarks").mkdir(parents=True)
    for name in ("calib_matrix.csv", "dataset_keys.h5", "landmarks/landmark_900.h5"):
        (folder / name).write_bytes((SAMPLE / name).read_bytes())
    for part, dataset in (("frames", "frames"), ("transfs", "tforms")):
        place = f"{part}/900/RH_rotation.h5"
        with h5py.File(SAMPLE / place) as file:
            values = file[dataset][()]
        (folder / place).parent.mkdir(parents=True)
        with h5py.File(folder / place, "w") as file:
            repeats = (FRAMES // len(values) + 1, *[1] * (values.ndim - 1))
            file[dataset] = np.tile(values, repeats)[:FRAMES]
    return folder


def child_memory(measure: str, *arguments: str) -> str:
    """Run a measurement of this module in a process of its own; TusrecError if that fails."""
    return in_child("bench.main_job", measure, *arguments)


if __name__ == "__main__":
    work = partial(measured_here, *sys.argv[1:]) if len(sys.argv) > 1 else main
    sys.exit(exit_code_of(work))
