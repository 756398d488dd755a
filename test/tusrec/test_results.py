from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import h5py
import numpy as np
import pytest

from tusrec import poses
from tusrec.displacements import dense_displacements, landmark_displacements
from tusrec.errors import InputError, OutputError
from tusrec.metrics import Errors, Geometry, Motion
from tusrec.results import (
    DDF_KINDS,
    Result,
    holds_displacements,
    read_result,
    result_path,
    write_metrics,
    write_result,
)

Refused = Callable[..., AbstractContextManager[None]]
SmallDisk = Callable[[int], AbstractContextManager[None]]

SCALE = np.diag([0.2, 0.3, 1.0, 1.0])
GEOMETRY = Geometry(SCALE, 12, 16, np.array([[0, 1, 1], [3, 16, 12], [7, 4, 9]]))
MEMBERS = {
    "none": {"global", "local", "local_covariance"},
    "landmarks": {"global", "local", "local_covariance", "GL", "LL"},
    "full": {"global", "local", "local_covariance", "GL", "LL", "GP", "LP"},
}


def a_result(steps: int = 20, seed: int = 0) -> Result:
    random = np.random.default_rng(seed)
    local = poses.exp(random.normal(size=(steps, 6)))
    attributes = {"model": "identity", "weights_sha256": "", "seconds": 1.5, "frames": steps + 1}
    return Result(Motion(poses.chain(local), local), random.normal(size=(steps, 6, 6)), attributes)


def test_the_file_of_a_scan_is_named_after_its_key(tmp_path: Path) -> None:
    path = result_path(tmp_path, "sub050__RH_rotation")
    assert path == tmp_path / "sub050__RH_rotation.h5"
    assert result_path(tmp_path, "a.b").name == "a.b.h5"


def test_a_result_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = a_result()
    write_result(tmp_path / "a.h5", written, GEOMETRY, "landmarks")
    read = read_result(tmp_path / "a.h5")
    for name in ("T_first_from_frame", "T_previous_from_frame"):
        np.testing.assert_array_equal(getattr(read.motion, name), getattr(written.motion, name))
    np.testing.assert_array_equal(read.local_covariance, written.local_covariance)
    assert read.attributes == written.attributes
    assert read.errors is None


def test_errors_against_truth_come_back_from_the_attributes(tmp_path: Path) -> None:
    written = a_result()
    errors = {"GPE": 1.5, "GLE": float("nan"), "LPE": 0.25, "LLE": 0.125}
    written.attributes.update(errors)
    write_result(tmp_path / "a.h5", written, GEOMETRY, "none")
    found = read_result(tmp_path / "a.h5").errors
    assert found is not None
    assert vars(found) == pytest.approx(errors, nan_ok=True)


@pytest.mark.parametrize("ddf", DDF_KINDS)
def test_a_file_holds_the_displacements_that_were_asked_for(tmp_path: Path, ddf: str) -> None:
    path = tmp_path / "a.h5"
    write_result(path, a_result(), GEOMETRY, ddf)
    with h5py.File(path) as file:
        assert set(file) == MEMBERS[ddf]
    for kind in DDF_KINDS:
        assert holds_displacements(path, kind) == (DDF_KINDS.index(kind) <= DDF_KINDS.index(ddf))


def test_displacements_are_those_of_the_transforms(tmp_path: Path) -> None:
    result = a_result(steps=20)  # more than one block, and no whole number of blocks
    write_result(tmp_path / "a.h5", result, GEOMETRY, "full")
    with h5py.File(tmp_path / "a.h5") as file:
        for letter, T in [
            ("G", result.motion.T_first_from_frame),
            ("L", result.motion.T_previous_from_frame),
        ]:
            points, field = file[f"{letter}L"], file[f"{letter}P"]
            assert (points.shape, points.dtype) == ((3, 3), np.float32)
            assert (field.shape, field.dtype) == ((20, 3, 192), np.float32)
            np.testing.assert_array_equal(
                points[()], landmark_displacements(T, SCALE, GEOMETRY.landmarks)
            )
            np.testing.assert_array_equal(field[()], dense_displacements(T, SCALE, 12, 16))
        for name in ("global", "local"):
            assert (file[name].shape, file[name].dtype) == ((20, 4, 4), np.float64)


def test_every_dataset_says_what_it_is_and_in_which_unit(tmp_path: Path) -> None:
    write_result(tmp_path / "a.h5", a_result(), GEOMETRY, "full")
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(file) == MEMBERS["full"]
        for name, dataset in file.items():
            assert "mm" in dataset.attrs["unit"], name
            assert len(dataset.attrs["description"]) > 20, name


def test_writing_again_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_result(path, a_result(seed=0), GEOMETRY, "full")
    write_result(path, a_result(seed=1), GEOMETRY, "none")
    with h5py.File(path) as file:
        assert set(file) == MEMBERS["none"]
    motion = read_result(path).motion
    np.testing.assert_array_equal(
        motion.T_previous_from_frame, a_result(seed=1).motion.T_previous_from_frame
    )
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_while_writing_leaves_the_old_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    write_result(path, a_result(), GEOMETRY, "none")
    old = path.read_bytes()

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tusrec.results.displacement_blocks", fail)
    with pytest.raises(KeyboardInterrupt):
        write_result(path, a_result(seed=1), GEOMETRY, "full")
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("size", [0, 100, 3000, 40_000, 200_000])
def test_a_disk_that_fills_up_gives_one_line_and_leaves_the_old_result(
    tmp_path: Path, size: int, refused: Refused, small_disk: SmallDisk
) -> None:
    path = tmp_path / "a.h5"
    write_result(path, a_result(), GEOMETRY, "none")
    old = path.read_bytes()
    large = Geometry(SCALE, 120, 160, GEOMETRY.landmarks)
    with refused(str(path), "cannot write", "another place", kind=OutputError), small_disk(size):
        write_result(path, a_result(seed=1), large, "full")
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
    write_result(path, a_result(seed=1), GEOMETRY, "none")
    assert read_result(path).attributes == a_result().attributes


def test_a_file_in_place_of_the_output_folder_is_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "output").write_text("I am a file")
    with refused(str(tmp_path / "output"), "cannot write", kind=OutputError):
        write_result(tmp_path / "output" / "a.h5", a_result(), GEOMETRY, "none")


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_result_is_refused(tmp_path: Path, keep: float, refused: Refused) -> None:
    path = tmp_path / "a.h5"
    write_result(path, a_result(), GEOMETRY, "full")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with refused(str(path), "not a readable HDF5 file", kind=InputError):
        read_result(path)


def put(path: Path, name: str, values: object) -> None:
    with h5py.File(path, "a") as file:
        del file[name]
        if values is not None:
            file[name] = values


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("global", None, "no dataset 'global'"),
        ("local", None, "no dataset 'local'"),
        ("local_covariance", None, "no dataset 'local_covariance'"),
        ("global", np.zeros((20, 3, 4)), "(frames - 1, 4, 4)"),
        ("local", np.ones((20, 4, 4), np.int64), "(frames - 1, 4, 4)"),
        ("global", np.full((20, 4, 4), np.nan), "global 0: found NaN"),
        ("local", np.ones((20, 4, 4)), "local 0: not rigid"),
    ],
)
def test_a_file_that_is_no_whole_result_is_refused(
    tmp_path: Path, name: str, values: object, words: str, refused: Refused
) -> None:
    path = tmp_path / "a.h5"
    write_result(path, a_result(), GEOMETRY, "none")
    put(path, name, values)
    with refused(str(path), words, kind=InputError):
        read_result(path)


def test_a_result_whose_attributes_are_damaged_is_refused(
    tmp_path: Path, damaging_attributes: Callable[[Path], None], refused: Refused
) -> None:
    path = tmp_path / "a.h5"
    write_result(path, a_result(), GEOMETRY, "none")
    damaging_attributes(path)
    with refused(str(path), "not a readable HDF5 file", kind=InputError):
        read_result(path)


ROWS = [
    ("sub051__RH_rotation", Errors(10.5, 9.25, 0.5, 0.25), 12.5),
    ("sub050__RH_rotation", Errors(20.5, float("nan"), 0.75, float("nan")), 11.0),
    ("sub052__RH_rotation", None, 0.0),
]


def test_metrics_are_written_as_the_organisers_write_them(tmp_path: Path) -> None:
    path = tmp_path / "metrics.h5"
    write_metrics(path, ROWS)
    with h5py.File(path) as file:
        assert set(file) == {"GPE", "GLE", "LPE", "LLE", "time_elapsed"}
        for name, expected in {
            "GPE": [10.5, 20.5, np.nan],
            "GLE": [9.25, np.nan, np.nan],
            "LPE": [0.5, 0.75, np.nan],
            "LLE": [0.25, np.nan, np.nan],
        }.items():
            assert file[name].dtype == np.float32
            np.testing.assert_array_equal(file[name][()], expected)
        assert file["time_elapsed"].dtype == np.float64
        assert file["time_elapsed"][()].tolist() == [12.5, 11.0, 0.0]
        assert list(file.attrs["scans"]) == [key for key, _, _ in ROWS]


def test_metrics_hold_as_many_scans_as_there_are(tmp_path: Path) -> None:
    rows = [(f"sub{number:03d}__RH_Per_S_DtP", None, 0.0) for number in range(5000)]
    write_metrics(tmp_path / "metrics.h5", rows)
    with h5py.File(tmp_path / "metrics.h5") as file:
        assert file.attrs["scans"][-1] == "sub4999__RH_Per_S_DtP"


def test_metrics_of_a_second_run_replace_those_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "metrics.h5"
    write_metrics(path, ROWS)
    write_metrics(path, ROWS[:1])
    with h5py.File(path) as file:
        assert file["GPE"][()].tolist() == [10.5]
    assert list(tmp_path.iterdir()) == [path]


def test_metrics_on_a_full_disk_leave_the_old_ones(
    tmp_path: Path, refused: Refused, small_disk: SmallDisk
) -> None:
    path = tmp_path / "metrics.h5"
    write_metrics(path, ROWS)
    old = path.read_bytes()
    with refused(str(path), "cannot write", kind=OutputError), small_disk(500):
        write_metrics(path, ROWS[:1])
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
