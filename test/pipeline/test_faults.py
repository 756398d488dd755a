"""Bad input and broken disks: one clear line, the right exit code, nothing half-written."""

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import psutil
import pytest
import torch

import predict
from pipeline import batch, prediction
from tusrec.errors import OutOfMemoryError, WeightsError
from tusrec.layouts import InputOptions, find_scans
from tusrec.results import read_result
from tusrec.scans import Scan

ROOT = Path(__file__).parents[2]
Make = Callable[..., Path]
SCANS = {"sub050__LH_rotation": 4, "sub050__RH_rotation": 4, "sub051__RH_rotation": 4}
BAD = "sub050__RH_rotation"
GOOD = [key for key in SCANS if key != BAD]


@pytest.fixture
def dataset(tmp_path: Path, make_validation_dataset: Make) -> Path:
    return make_validation_dataset(tmp_path / "data", SCANS)


def run(dataset: Path, output: Path, *more: str) -> int:
    common = ["--input", str(dataset), "--output", str(output), "--model", "identity"]
    return predict.main([*common, "--device", "cpu", *more])


def replace(file: Path, name: str, values: object) -> None:
    with h5py.File(file, "a") as content:
        del content[name]
        if values is not None:
            content[name] = values


def frames_of(dataset: Path) -> Path:
    return dataset / "frames/050/RH_rotation.h5"


def bad_frames(values: object) -> Callable[[Path], object]:
    return lambda dataset: replace(frames_of(dataset), "frames", values)


def bad_poses(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], object]:
    def damage(dataset: Path) -> None:
        file = dataset / "transfs/050/RH_rotation.h5"
        with h5py.File(file) as content:
            tforms = content["tforms"][()]
        replace(file, "tforms", change(tforms))

    return damage


def bad_landmark(row: list[int]) -> Callable[[Path], object]:
    return lambda dataset: replace(
        dataset / "landmarks/landmark_050.h5", "RH_rotation", np.array([[1, 1, 1], row])
    )


def truncated(size: int) -> Callable[[Path], object]:
    return lambda dataset: frames_of(dataset).write_bytes(frames_of(dataset).read_bytes()[:size])


def nan_in(tforms: np.ndarray) -> np.ndarray:
    tforms[2, 1, 1] = np.nan
    return tforms


FAULTS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "missing file": (lambda d: frames_of(d).unlink(), ["frames/050/RH_rotation.h5", "no such"]),
    "missing key": (bad_frames(None), ["RH_rotation.h5", "no dataset 'frames'"]),
    "empty file": (truncated(0), ["RH_rotation.h5", "HDF5"]),
    "cut in the header": (truncated(700), ["RH_rotation.h5", "HDF5"]),
    "cut in the frames": (truncated(500_000), ["RH_rotation.h5", "HDF5"]),
    "wrong shape": (bad_frames(np.zeros((4, 10, 20), np.uint8)), ["(4, 10, 20)", "480, 640"]),
    "wrong type": (bad_frames(np.zeros((4, 480, 640), np.float32)), ["float32", "uint8"]),
    "no frames": (bad_frames(np.zeros((0, 480, 640), np.uint8)), ["(0, 480, 640)", "2 frames"]),
    "one frame": (bad_frames(np.zeros((1, 480, 640), np.uint8)), ["(1, 480, 640)", "2 frames"]),
    "landmark past the last frame": (bad_landmark([4, 1, 1]), ["landmark 1", "[4, 1, 1]"]),
    "landmark at x 0": (bad_landmark([1, 0, 1]), ["landmark 1", "x 1..640"]),
    "NaN in a pose": (bad_poses(nan_in), ["tforms 2", "NaN"]),
    "pose not rigid": (bad_poses(lambda t: t * [[2], [1], [1], [1]]), ["tforms 0", "rigid"]),
    "pose missing": (bad_poses(lambda t: t[:3]), ["(3, 4, 4)", "(4, 4, 4)"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_scan_is_told_in_one_line_and_costs_only_itself(
    fault: str, dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage, words = FAULTS[fault]
    damage(dataset)
    assert run(dataset, tmp_path / "out") == 2
    told = [r.getMessage() for r in caplog.records if "failed:" in r.getMessage()]
    assert len(told) == 1
    assert "\n" not in told[0]
    assert all(word in told[0] for word in words), told[0]
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == sorted([f"{key}.h5" for key in GOOD] + ["metrics.h5", "run.json"])
    with h5py.File(tmp_path / "out/metrics.h5") as file:
        assert np.isnan(file["GPE"][()]).tolist() == [False, True, False]


def test_a_bad_scan_costs_only_itself_with_several_jobs(dataset: Path, tmp_path: Path) -> None:
    frames_of(dataset).unlink()
    assert run(dataset, tmp_path / "out", "--jobs", "2") == 2
    assert len(list((tmp_path / "out").glob("sub*.h5"))) == 2


def test_two_frames_are_enough(tmp_path: Path, make_validation_dataset: Make) -> None:
    dataset = make_validation_dataset(tmp_path / "data", {"sub050__RH_rotation": 2})
    assert run(dataset, tmp_path / "out", "--ddf", "full") == 0
    assert len(read_result(tmp_path / "out/sub050__RH_rotation.h5").motion.T_first_from_frame) == 1


def test_a_key_that_leaves_the_dataset_reads_and_writes_nothing_outside(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with h5py.File(dataset / "dataset_keys.h5", "a") as file:
        file["sub../../etc__x"] = 0
    before = sorted(path.name for path in tmp_path.iterdir())
    assert run(dataset, tmp_path / "out") == 2
    assert "is not a scan of this dataset" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "out"])
    assert len(list((tmp_path / "out").glob("sub*.h5"))) == 3


CALIBRATIONS: dict[str, Callable[[str], str]] = {
    "too few lines": lambda text: "\n".join(text.splitlines()[:8]),
    "letters": lambda text: text.replace("0.2293", "O.2293"),
    "NaN": lambda text: text.replace("0.229389190673828", "nan"),
    "singular scale": lambda text: text.replace("0.229389190673828", "0.0"),
    "not rigid": lambda text: text.replace("0.954036962825936", "2.954036962825936"),
    "empty": lambda text: "",
}


@pytest.mark.parametrize("fault", CALIBRATIONS)
def test_a_bad_calibration_stops_the_run_in_one_line(
    fault: str, dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = dataset / "calib_matrix.csv"
    changed = CALIBRATIONS[fault](file.read_text())
    assert changed != file.read_text()
    file.write_text(changed)
    assert run(dataset, tmp_path / "out") == 2
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert "calib_matrix.csv" in told[0]
    assert "\n" not in told[0]
    assert not (tmp_path / "out").exists()


def test_a_missing_input_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(tmp_path / "nowhere", tmp_path / "out") == 2
    assert "nowhere: no such file or folder" in caplog.text


def test_an_output_that_takes_no_files_stops_before_any_work(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(dataset, tmp_path / "file" / "out") == 2
    assert len(caplog.records) == 1
    assert "cannot write" in caplog.text


def in_subprocess(code: str, dataset: Path, output: Path, *more: str) -> tuple[int, str]:
    """predict.py in a process of its own, after `code`; gives exit code and standard error."""
    options = ["--input", dataset, "--output", output, "--model", "identity", "--device", "cpu"]
    script = f"{code}\nimport predict, sys\nsys.exit(predict.main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, *map(str, options), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


# A limit on file size fails a write just as a full disk does, and needs no rights.
FULL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))
"""


def test_a_full_disk_is_told_and_leaves_nothing_half_written(dataset: Path, tmp_path: Path) -> None:
    code, told = in_subprocess(FULL_DISK, dataset, tmp_path / "out", "--ddf", "full")
    assert code == 2
    assert told.count("cannot write") == 3
    assert "Traceback" not in told
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.json"]


# Dies in the middle of the second scan's file, when one of its dense fields is written.
KILLED = """
import os, signal
from tusrec import results
write = results._write_dense
calls = []
def dying(*arguments):
    calls.append(1)
    write(*arguments)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
results._write_dense = dying
"""


def test_a_killed_run_leaves_whole_files_and_goes_on_where_it_was(
    dataset: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    code, _ = in_subprocess(KILLED, dataset, output, "--ddf", "full")
    assert code == -signal.SIGKILL
    assert [path.name for path in output.glob("[!.]*")] == ["sub050__LH_rotation.h5"]
    finished = output / "sub050__LH_rotation.h5"
    read_result(finished)
    written = finished.stat().st_mtime_ns
    assert run(dataset, output, "--ddf", "full") == 0
    assert finished.stat().st_mtime_ns == written
    assert not [path.name for path in output.iterdir() if path.name.startswith(".")]
    assert len(list(output.glob("sub*.h5"))) == 3


def test_memory_that_runs_out_is_exit_code_3_and_costs_no_other_scan(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def failing_once(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return prediction.predict_motion(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(batch, "predict_motion", failing_once)
    assert run(dataset, tmp_path / "out") == OutOfMemoryError.exit_code
    assert len(list((tmp_path / "out").glob("sub*.h5"))) == 2


def test_a_defect_in_one_scan_costs_no_other_scan(
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(batch, "predict_motion", lambda *_: 1 / 0)
    assert run(dataset, tmp_path / "out") == batch.UNEXPECTED
    assert caplog.text.count("unexpected ZeroDivisionError") == 3


class Deadly:
    """A scan whose opening kills its process, as the kernel does when memory runs out."""

    paths: ClassVar[list[Path]] = []

    def __init__(self, key: str) -> None:
        self.key = key

    def open(self) -> AbstractContextManager[Scan]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_scan_whose_process_is_killed_costs_no_other(dataset: Path, tmp_path: Path) -> None:
    settings = batch.Settings(tmp_path, "identity", device="cpu")
    good = find_scans(dataset).scans
    scans = [Deadly("sub001__x"), *good, Deadly("sub002__x")]
    outcomes = {outcome.key: outcome for outcome in batch.predict_all(scans, settings, 2)}
    assert outcomes.keys() == {scan.key for scan in scans}
    assert all(outcomes[scan.key].exit_code == 0 for scan in good)
    killed = [outcomes[f"sub00{number}__x"] for number in (1, 2)]
    assert [outcome.status for outcome in killed] == ["failed"] * 2
    assert {outcome.exit_code for outcome in killed} == {OutOfMemoryError.exit_code}
    assert "its process was killed" in killed[0].message


class Lasting(Deadly):
    """A scan that says so when it is opened, and takes for ever."""

    def open(self) -> AbstractContextManager[Scan]:
        Path(self.key).touch()
        time.sleep(1200)
        raise AssertionError


def test_jobs_share_the_threads_that_the_run_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1000)
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    monkeypatch.setattr(batch, "end_with_parent", lambda: None)
    monkeypatch.setattr(batch, "_worker", (0, 1))
    batch._start_worker(multiprocessing.Value("i", 0), 2)
    assert taken == [500]


def test_several_jobs_without_shared_memory_are_refused_in_one_line(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def without(*_: object) -> None:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(BaseContext, "RLock", without)
    assert run(dataset, tmp_path / "out", "--jobs", "2") == 2
    assert "/dev/shm: found no shared memory (No such file or directory)" in caplog.text


def test_memory_of_a_device_that_runs_out_is_told_with_the_scan(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OutOfMemoryError("out of memory with a batch of 1; pass --device cpu")

    monkeypatch.setattr(batch, "predict_motion", full)
    assert run(dataset, tmp_path / "out") == OutOfMemoryError.exit_code
    assert f"{BAD}: out of memory with a batch of 1" in caplog.text


def test_weights_that_are_not_there_are_exit_code_4(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if (ROOT / "weights/baseline.safetensors").exists():
        pytest.skip("this checkout has converted the baseline's weights")
    options = ["--input", str(dataset), "--output", str(tmp_path / "out"), "--model", "baseline"]
    assert predict.main(options) == WeightsError.exit_code
    assert "convert-baseline" in caplog.text


def test_a_read_only_dataset_is_enough(dataset: Path, tmp_path: Path) -> None:
    for path in [dataset, *dataset.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(dataset.rglob("*"))
    assert run(dataset, tmp_path / "out") == 0
    assert sorted(dataset.rglob("*")) == before
    for path in [dataset, *dataset.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(dataset)


# Writes its first scan slowly, and says so by a file.
SLOW = """
import pathlib, sys, time
from tusrec import results
write = results._write_dense
def slow(*arguments):
    write(*arguments)
    pathlib.Path(sys.argv[4], "writing").touch()
    time.sleep(1200)
results._write_dense = slow
"""
AS_COMMAND = """
import runpy, sys
sys.argv[0] = "predict.py"
runpy.run_path("predict.py", run_name="__main__")
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_and_leaves_whole_files_only(
    sent: signal.Signals, dataset: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    options = ["--input", dataset, "--output", output, "--ddf", "full", "--model", "identity"]
    command = [sys.executable, "-c", SLOW + AS_COMMAND, *map(str, options), "--device", "cpu"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        wait_for(output / "writing")
        process.send_signal(sent)
        _, told = process.communicate(timeout=300)
    assert process.returncode == 128 + sent
    assert "Traceback" not in told
    assert [path.name for path in output.iterdir()] == ["writing"]


def test_ending_a_run_of_several_jobs_ends_its_workers(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "wait", stop)
    assert run(dataset, tmp_path / "out", "--jobs", "2") == 128 + signal.SIGINT
    assert multiprocessing.active_children() == []
    assert not list((tmp_path / "out").glob(".*"))


def test_jobs_end_with_a_run_that_is_killed(dataset: Path, tmp_path: Path) -> None:
    code = (
        "if __name__ == '__main__':\n"
        "    place = Path(sys.argv[1])\n"
        "    scans = [Lasting(str(place / name)) for name in 'ab']\n"
        "    list(batch.predict_all(scans, batch.Settings(place, 'identity'), 2))\n"
    )
    with started(code, tmp_path) as first:
        for name in "ab":
            wait_for(tmp_path / name)
        workers = psutil.Process(first.pid).children(recursive=True)
        first.kill()
    _, alive = psutil.wait_procs(workers, timeout=300)
    assert not alive


def test_an_interrupt_from_a_terminal_is_told_by_the_first_process_alone(tmp_path: Path) -> None:
    """All processes of a terminal get it: here one that works, and one that waits for work."""
    code = (
        "from tusrec.entry import exit_code_of, heed_signals\n"
        "from tusrec.scans import UnusableScan\n"
        "def work():\n"
        "    place = Path(sys.argv[1])\n"
        "    scans = [Lasting(str(place / 'a')), UnusableScan('b', 'bad')]\n"
        "    for outcome in batch.predict_all(scans, batch.Settings(place, 'identity'), 2):\n"
        "        (place / outcome.key).touch()\n"
        "if __name__ == '__main__':\n"
        "    heed_signals()\n"
        "    exit_code_of(work)\n"
    )
    with started(code, tmp_path) as first:
        for name in "ab":
            wait_for(tmp_path / name)
        os.killpg(first.pid, signal.SIGINT)
        _, told = first.communicate(timeout=300)
    assert told == "interrupted\n"


def started(code: str, folder: Path) -> "subprocess.Popen[str]":
    """A Python script that is given `folder`, and leads the processes that it starts."""
    script = folder / "script.py"
    script.write_text(
        "import sys; from pathlib import Path\n"
        "from pipeline import batch\n"
        "from test_faults import Lasting\n" + code
    )
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    return subprocess.Popen(
        [sys.executable, script, folder],
        env={**os.environ, "PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(path: Path, seconds: float = 300.0) -> None:
    for _ in range(int(seconds / 0.05)):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


def test_sixty_four_scans_leak_no_memory(tmp_path: Path, make_lone_scan: Make) -> None:
    """Resident memory after the 16th and after the 64th scan, within 2 %."""
    for number in range(64):
        make_lone_scan(tmp_path / f"data/scan{number:02d}.h5", frames=6, seed=number)
    options = InputOptions(spacing=(0.2, 0.2))
    sources = find_scans(tmp_path / "data", options).scans
    settings = batch.Settings(tmp_path / "out", "classical", device="cpu")
    sizes = []
    for outcome in batch.predict_all(sources, settings, jobs=1):
        assert outcome.status == "done"
        sizes.append(psutil.Process().memory_info().rss)
    assert sizes[-1] < 1.02 * sizes[15]


def mount_points(folder: Path) -> list[tuple[Path, Path]]:
    """Two doors, of folders that are there."""
    doors = [(folder / f"in{number}", folder / f"out{number}") for number in range(2)]
    for folders in doors:
        for place in folders:
            place.mkdir()
    return doors


@pytest.mark.parametrize("door", [0, 1])
def test_data_at_either_mount_point_is_found_without_options(
    door: int, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors = mount_points(tmp_path)
    doors[door][0].rmdir()
    dataset.rename(doors[door][0])
    monkeypatch.setattr(predict, "DOORS", tuple(doors))
    assert predict.main(["--model", "identity", "--device", "cpu"]) == 0
    assert (doors[door][1] / "run.json").exists()
    assert not list(doors[1 - door][1].iterdir())


@pytest.mark.parametrize("door", [0, 1])
def test_data_in_a_folder_of_a_mount_point_leave_their_results_beside_it(
    door: int, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors = mount_points(tmp_path)
    inside = dataset.rename(doors[door][0] / "data")
    monkeypatch.setattr(predict, "DOORS", tuple(doors))
    options = ["--input", str(inside), "--model", "identity", "--device", "cpu"]
    assert predict.main(options) == 0
    assert (doors[door][1] / "run.json").exists()
    assert not list(doors[1 - door][1].iterdir())


def test_data_from_elsewhere_leave_their_results_at_the_mount_point(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(predict, "DOORS", ((tmp_path / "in", tmp_path / "results"),))
    options = ["--input", str(dataset), "--model", "identity", "--device", "cpu"]
    assert predict.main(options) == 0
    assert (tmp_path / "results/run.json").exists()


def test_results_go_where_something_is_mounted_rather_than_into_the_images_own_folder(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    doors = mount_points(tmp_path)
    doors[0][0].rmdir()
    dataset.rename(doors[0][0])
    monkeypatch.setattr(predict, "DOORS", tuple(doors))
    table = tmp_path / "mountinfo"
    table.write_text(f"36 35 98:0 /results {doors[1][1]} rw - ext4 /dev/sda1 rw\n")
    monkeypatch.setattr(predict, "MOUNTS", table)
    assert predict.main(["--model", "identity", "--device", "cpu"]) == 0
    assert (doors[1][1] / "run.json").exists()
    assert not list(doors[0][1].iterdir())
    assert "nothing is mounted" not in caplog.text


def test_results_that_would_end_with_the_container_are_warned_of(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    doors = mount_points(tmp_path)
    monkeypatch.setattr(predict, "DOORS", tuple(doors))
    options = ["--input", str(dataset), "--model", "identity", "--device", "cpu"]
    assert predict.main(options) == 0
    assert f"nothing is mounted at {doors[0][1]} or {doors[1][1]}" in caplog.text
    caplog.clear()
    assert predict.main([*options, "--output", str(tmp_path / "out")]) == 0
    assert "nothing is mounted" not in caplog.text


def test_a_container_without_data_says_where_to_mount_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(predict, "DOORS", ((tmp_path / "in", tmp_path / "out"),))
    assert predict.main([]) == 2
    assert f"nothing is mounted at {tmp_path / 'in'}" in caplog.text
