import errno
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tusrec.calibration import from_image_to_probe, from_spacing
from tusrec.errors import InputError
from tusrec.layouts import KEY, Dataset, InputOptions, find_scans
from tusrec.scans import Scan

Make = Callable[..., Path]
Refused = Callable[..., AbstractContextManager[None]]

SWEEPS = [
    f"{hand}_{direction}_{shape}_{way}"
    for hand, direction, shape, way in product(("LH", "RH"), ("Par", "Per"), "LCS", ("DtP", "PtD"))
]
SPACING = InputOptions(spacing=(0.1, 0.2))


def keys(dataset: Dataset) -> list[str]:
    return [source.key for source in dataset.scans]


def opened(dataset: Dataset, index: int = 0) -> tuple[Scan, int]:
    """A scan and the sum of its pixels, read while it is open."""
    with dataset.scans[index].open() as scan:
        return scan, int(scan.frames[0 : scan.frames.shape[0]].sum(dtype=np.int64))


def test_the_2025_train_layout_is_recognised(tmp_path: Path, make_train_dataset: Make) -> None:
    scans = {"sub001__LH_rotation": 2, "sub000__RH_rotation": 3, "sub000__LH_rotation": 4}
    dataset = find_scans(make_train_dataset(tmp_path / "data", scans))
    assert dataset.layout == "TUS-REC2025 train"
    assert keys(dataset) == ["sub000__LH_rotation", "sub000__RH_rotation", "sub001__LH_rotation"]
    for index, frames in enumerate((4, 3, 2)):
        scan, _ = opened(dataset, index)
        assert scan.frames.shape == (frames, 480, 640)
        assert scan.landmarks.shape == (100, 3)
        assert scan.T_camera_from_tool is not None


def test_the_2024_train_layout_is_recognised_with_24_scans_of_20_landmarks(
    tmp_path: Path, make_train_dataset: Make
) -> None:
    scans = {f"sub000__{sweep}": 2 for sweep in SWEEPS}
    dataset = find_scans(make_train_dataset(tmp_path / "data", scans, landmarks=20))
    assert dataset.layout == "TUS-REC2024 train"
    assert keys(dataset) == sorted(scans)
    assert opened(dataset)[0].landmarks.shape == (20, 3)


def test_the_2025_validation_layout_is_recognised(
    tmp_path: Path, make_validation_dataset: Make
) -> None:
    scans = {"sub050__RH_rotation": 3, "sub051__LH_rotation": 2}
    folder = make_validation_dataset(tmp_path / "data", scans)
    dataset = find_scans(folder)
    assert dataset.layout == "TUS-REC2025 validation"
    assert keys(dataset) == ["sub050__RH_rotation", "sub051__LH_rotation"]
    scan, pixels = opened(dataset)
    with h5py.File(folder / "frames/050/RH_rotation.h5") as file:
        assert pixels == file["frames"][()].sum(dtype=np.int64)
    with h5py.File(folder / "transfs/050/RH_rotation.h5") as file:
        np.testing.assert_array_equal(scan.T_camera_from_tool, file["tforms"][()])
    with h5py.File(folder / "landmarks/landmark_050.h5") as file:
        np.testing.assert_array_equal(scan.landmarks, file["RH_rotation"][()])


def test_the_2024_validation_layout_is_recognised(
    tmp_path: Path, make_validation_dataset: Make
) -> None:
    """Its archive has `landmark/`, where all others have `landmarks/`."""
    scans = {f"sub050__{sweep}": 2 for sweep in SWEEPS}
    folder = make_validation_dataset(tmp_path / "data", scans, landmarks=20)
    (folder / "landmarks").rename(folder / "landmark")
    dataset = find_scans(folder)
    assert dataset.layout == "TUS-REC2024 validation"
    assert keys(dataset) == sorted(scans)
    assert opened(dataset, 23)[0].landmarks.shape == (20, 3)


def test_scans_without_transfs_have_no_truth(tmp_path: Path, make_validation_dataset: Make) -> None:
    scan, _ = opened(find_scans(make_validation_dataset(tmp_path / "data", with_poses=False)))
    assert scan.T_camera_from_tool is None
    assert scan.true_motion() is None


def test_one_scan_may_lack_the_truth_that_another_has(
    tmp_path: Path, make_validation_dataset: Make
) -> None:
    scans = {"sub050__LH_rotation": 2, "sub050__RH_rotation": 2}
    folder = make_validation_dataset(tmp_path / "data", scans)
    (folder / "transfs/050/LH_rotation.h5").unlink()
    dataset = find_scans(folder)
    assert [opened(dataset, index)[0].true_motion() is None for index in (0, 1)] == [True, False]


def test_a_dataset_without_landmarks_is_read_and_says_so_once(
    tmp_path: Path, make_validation_dataset: Make, caplog: pytest.LogCaptureFixture
) -> None:
    scans = {"sub050__LH_rotation": 2, "sub050__RH_rotation": 2}
    folder = make_validation_dataset(tmp_path / "data", scans)
    find_scans(folder)
    assert not caplog.records
    shutil.rmtree(folder / "landmarks")
    assert opened(find_scans(folder))[0].landmarks.shape == (0, 3)
    (told,) = (record.getMessage() for record in caplog.records)
    assert f"{folder}: found no landmarks/ or landmark/" in told


def test_own_data_in_the_challenges_layout_may_be_of_any_size_and_lack_landmarks_of_some(
    tmp_path: Path, make_train_dataset: Make, make_lone_scan: Make
) -> None:
    scans = {"sub000__RH_rotation": 2, "sub001__RH_rotation": 2}
    folder = make_train_dataset(tmp_path / "data", scans)
    (folder / "landmarks/landmark_001.h5").unlink()
    own = folder / "frames_transfs/001/RH_rotation.h5"
    own.unlink()
    make_lone_scan(own, shape=(60, 80))
    with h5py.File(own, "a") as file:
        frames = len(file["frames"])
        if "tforms" not in file:
            file["tforms"] = np.tile(np.eye(4), (frames, 1, 1))
    first, second = (opened(find_scans(folder), index)[0] for index in (0, 1))
    assert (first.image_size, second.image_size) == ((480, 640), (60, 80))
    assert len(first.landmarks) > len(second.landmarks) == 0


def test_a_link_to_a_scan_of_a_dataset_has_its_landmarks_whatever_it_is_called(
    tmp_path: Path, make_train_dataset: Make
) -> None:
    folder = make_train_dataset(tmp_path / "data", {"sub000__my__scan": 3})
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "patient7.h5").symlink_to(folder / "frames_transfs/000/my__scan.h5")
    (inside, _), (linked, _) = (opened(find_scans(place)) for place in (folder, tmp_path / "some"))
    assert (inside.key, linked.key) == ("sub000__my__scan", "patient7")
    np.testing.assert_array_equal(linked.landmarks, inside.landmarks)
    assert len(inside.landmarks)


def test_the_keys_name_the_scans_and_files_without_a_key_are_left_out(
    tmp_path: Path, make_validation_dataset: Make
) -> None:
    scans = {"sub050__LH_rotation": 2, "sub050__RH_rotation": 2}
    folder = make_validation_dataset(tmp_path / "data", scans)
    with h5py.File(folder / "dataset_keys.h5", "a") as file:
        del file["sub050__LH_rotation"]
    assert keys(find_scans(folder)) == ["sub050__RH_rotation"]


def test_scans_come_in_the_order_in_which_the_organisers_list_the_keys(
    tmp_path: Path, make_validation_dataset: Make
) -> None:
    scans = {"sub051__RH_rotation": 2, "sub050__RH_rotation": 2, "sub050__LH_rotation": 2}
    folder = make_validation_dataset(tmp_path / "data", scans)
    assert keys(find_scans(folder)) == sorted(scans)


def test_without_the_file_of_keys_all_scans_are_found(
    tmp_path: Path, make_validation_dataset: Make
) -> None:
    scans = {"sub050__RH_rotation": 2, "sub051__LH_rotation": 2}
    folder = make_validation_dataset(tmp_path / "data", scans)
    (folder / "dataset_keys.h5").unlink()
    dataset = find_scans(folder)
    assert dataset.layout == "TUS-REC2025 validation"
    assert keys(dataset) == list(scans)
    opened(dataset, 1)


def test_a_dataset_one_folder_down_is_found(tmp_path: Path, make_validation_dataset: Make) -> None:
    make_validation_dataset(tmp_path / "data" / "Freehand_US_data_val_2025")
    (tmp_path / "data" / "__MACOSX").mkdir()
    dataset = find_scans(tmp_path / "data")
    assert keys(dataset) == ["sub050__RH_rotation"]
    opened(dataset)


def test_several_datasets_side_by_side_are_refused(
    tmp_path: Path, make_validation_dataset: Make, make_train_dataset: Make, refused: Refused
) -> None:
    make_validation_dataset(tmp_path / "val", {"sub050__RH_rotation": 2})
    make_train_dataset(tmp_path / "train", {"sub000__RH_rotation": 2})
    with refused(str(tmp_path), "train, val", "pass one of them", kind=InputError):
        find_scans(tmp_path)


def test_loose_scans_beside_a_dataset_are_refused(
    tmp_path: Path, make_validation_dataset: Make, make_lone_scan: Make, refused: Refused
) -> None:
    make_validation_dataset(tmp_path / "val")
    for name in ("a.h5", "b.h5"):
        make_lone_scan(tmp_path / name)
    with refused(str(tmp_path), "val, 2 files such as a.h5", "pass one of them", kind=InputError):
        find_scans(tmp_path)


def test_results_and_their_exports_beside_a_dataset_are_no_scans(
    tmp_path: Path, make_validation_dataset: Make, make_hdf5: Make, make_sequence: Make
) -> None:
    make_validation_dataset(tmp_path / "val")
    make_hdf5(tmp_path / "sub050__RH_rotation.h5", {"global": np.zeros((4, 4, 4))})
    make_hdf5(tmp_path / "metrics.h5", {"GPE": np.zeros(1)})
    make_sequence(tmp_path / "sub050__RH_rotation.igs.mha")
    opened(find_scans(tmp_path))


def test_frames_of_both_layouts_in_one_folder_are_refused(
    tmp_path: Path, make_validation_dataset: Make, make_train_dataset: Make, refused: Refused
) -> None:
    make_validation_dataset(tmp_path, {"sub050__RH_rotation": 2})
    make_train_dataset(tmp_path, {"sub000__RH_rotation": 2})
    with refused(str(tmp_path), "frames, frames_transfs", "folder of its own", kind=InputError):
        find_scans(tmp_path)


def test_a_dataset_with_a_bad_calibration_is_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "calib_matrix.csv").write_text("no matter")
    with refused("calib_matrix.csv", "expected 10", kind=InputError):
        find_scans(tmp_path)


@pytest.mark.parametrize("layout", ["frames", "frames_transfs"])
def test_an_empty_layout_is_refused(
    tmp_path: Path, layout: str, make_calibration: Make, refused: Refused
) -> None:
    (tmp_path / layout).mkdir()
    make_calibration(tmp_path / "calib_matrix.csv")
    with refused("no scans", "SUBJECT/SCAN.h5", kind=InputError):
        find_scans(tmp_path)


def test_a_dataset_without_its_calibration_says_what_to_pass(
    tmp_path: Path, make_validation_dataset: Make, refused: Refused
) -> None:
    folder = make_validation_dataset(tmp_path / "data")
    calibration = (folder / "calib_matrix.csv").rename(tmp_path / "elsewhere.csv")
    with refused("calib_matrix.csv", "--calib", kind=InputError):
        find_scans(folder)
    opened(find_scans(folder, InputOptions(calibration=calibration)))


def test_a_given_calibration_takes_the_place_of_the_datasets_own(
    tmp_path: Path, make_validation_dataset: Make, make_calibration: Make
) -> None:
    folder = make_validation_dataset(tmp_path / "data")
    other = make_calibration(tmp_path / "other.csv", scale=np.diag([0.5, 0.25, 1.0, 1.0]))
    scan, _ = opened(find_scans(folder, InputOptions(calibration=other)))
    assert scan.calibration.spacing == (0.5, 0.25)


@pytest.mark.parametrize("content", [b"", b"no HDF5" * 100])
def test_an_unusable_file_of_keys_is_refused(
    tmp_path: Path, content: bytes, make_validation_dataset: Make, refused: Refused
) -> None:
    folder = make_validation_dataset(tmp_path / "data")
    (folder / "dataset_keys.h5").write_bytes(content)
    with refused("dataset_keys.h5", kind=InputError):
        find_scans(folder)


@pytest.mark.parametrize(
    ("bad", "listed"),
    [
        ("sub../../etc__x", "sub.."),  # HDF5 makes nested groups of it
        ("sub..__x", "sub..__x"),
        ("sub050__..", "sub050__.."),
        ("sub050__.RH_rotation", "sub050__.RH_rotation"),
        ("RH_rotation", "RH_rotation"),
        ("sub__RH_rotation", "sub__RH_rotation"),
    ],
)
def test_a_key_that_names_a_path_outside_the_dataset_fails_alone(
    tmp_path: Path,
    bad: str,
    listed: str,
    make_validation_dataset: Make,
    refused: Refused,
) -> None:
    folder = make_validation_dataset(tmp_path / "data")
    with h5py.File(folder / "dataset_keys.h5", "a") as file:
        file[bad] = b""
    dataset = find_scans(folder)
    sources = {source.key: source for source in dataset.scans}
    assert set(sources) == {"sub050__RH_rotation", listed}
    with refused("dataset_keys.h5", repr(listed), "sub<digits>", kind=InputError):
        sources[listed].open().__enter__()
    with sources["sub050__RH_rotation"].open() as scan:
        assert scan.frames.shape[0] == 5


@pytest.mark.parametrize(
    "key",
    [
        "sub../../etc__x",
        "sub050/__x",
        "sub050__../x",
        "sub050__x/../y",
        "sub050__/etc/passwd",
        "sub050__\\x",
        "sub050__x\n",
        "sub050__x\0",
        "sub050__",
        "sub-1__x",
        "",
    ],
)
def test_no_key_can_hold_a_path(key: str) -> None:
    assert KEY.fullmatch(key) is None


@pytest.mark.parametrize("key", ["sub050__RH_rotation", "sub7__LH_Par_C_DtP", "sub1234__a.b-c"])
def test_ordinary_keys_are_keys(key: str) -> None:
    assert KEY.fullmatch(key) is not None


def test_a_key_without_frames_fails_when_it_is_opened(
    tmp_path: Path, make_validation_dataset: Make, make_hdf5: Make, refused: Refused
) -> None:
    folder = make_validation_dataset(tmp_path / "data")
    make_hdf5(folder / "dataset_keys.h5", {"sub099__RH_rotation": b""})
    dataset = find_scans(folder)
    opened(dataset, 0)
    with refused("frames/099/RH_rotation.h5", "no such file", kind=InputError):
        opened(dataset, 1)


def test_frames_of_another_size_are_refused_inside_a_dataset(
    tmp_path: Path, make_validation_dataset: Make, make_lone_scan: Make, refused: Refused
) -> None:
    folder = make_validation_dataset(tmp_path / "data")
    (folder / "frames/050/RH_rotation.h5").unlink()
    make_lone_scan(folder / "frames/050/RH_rotation.h5", shape=(60, 80))
    with refused("(5, 60, 80)", "(frames, 480, 640)", kind=InputError):
        opened(find_scans(folder))


def test_a_lone_file_of_a_dataset_keeps_its_poses_landmarks_and_calibration(
    tmp_path: Path, make_validation_dataset: Make
) -> None:
    folder = make_validation_dataset(tmp_path / "data")
    (from_folder, _), (alone, _) = (
        opened(find_scans(path)) for path in (folder, folder / "frames/050/RH_rotation.h5")
    )
    assert alone.key == "RH_rotation"
    np.testing.assert_array_equal(alone.landmarks, from_folder.landmarks)
    np.testing.assert_array_equal(alone.T_camera_from_tool, from_folder.T_camera_from_tool)
    np.testing.assert_array_equal(alone.calibration.scale, from_folder.calibration.scale)


def test_a_lone_file_of_the_train_layout_keeps_its_poses_and_landmarks(
    tmp_path: Path, make_train_dataset: Make
) -> None:
    folder = make_train_dataset(tmp_path / "data", {"sub000__LH_rotation": 3})
    dataset = find_scans(folder / "frames_transfs/000/LH_rotation.h5")
    assert dataset.layout == "single file LH_rotation.h5"
    scan, _ = opened(dataset)
    assert scan.key == "LH_rotation"
    assert scan.true_motion() is not None
    assert len(scan.landmarks) == 100


def test_a_lone_file_that_only_lies_near_a_dataset_is_no_scan_of_it(
    tmp_path: Path, make_train_dataset: Make, make_lone_scan: Make, make_calibration: Make
) -> None:
    make_train_dataset(tmp_path, {"sub000__RH_rotation": 5})
    file = make_lone_scan(tmp_path / "cropped/000/RH_rotation.h5", seed=7, with_poses=True)
    scan, _ = opened(find_scans(file, InputOptions(make_calibration(tmp_path / "own.csv"))))
    assert len(scan.landmarks) == 0
    with h5py.File(file) as content:
        np.testing.assert_array_equal(scan.T_camera_from_tool, content["tforms"][()])


def test_a_lone_file_alone_needs_a_spacing_and_takes_any_size(
    tmp_path: Path, make_lone_scan: Make, refused: Refused
) -> None:
    file = make_lone_scan(tmp_path / "mine.h5", shape=(61, 83))
    with refused(str(file), "--calib FILE", "--spacing X Y", kind=InputError):
        find_scans(file)
    scan, _ = opened(find_scans(file, SPACING))
    assert scan.key == "mine"
    assert scan.image_size == (61, 83)
    assert scan.calibration.spacing == (0.1, 0.2)
    assert scan.true_motion() is None


def test_a_lone_file_takes_the_calibration_beside_it_or_a_given_one(
    tmp_path: Path, make_lone_scan: Make, make_calibration: Make
) -> None:
    file = make_lone_scan(tmp_path / "mine.h5", with_poses=True)
    given = make_calibration(tmp_path / "given.csv", scale=np.diag([0.5, 0.5, 1.0, 1.0]))
    scan, _ = opened(find_scans(file, InputOptions(calibration=given)))
    assert scan.calibration.spacing == (0.5, 0.5)
    make_calibration(tmp_path / "calib_matrix.csv", scale=np.diag([0.3, 0.4, 1.0, 1.0]))
    scan, _ = opened(find_scans(file))
    assert scan.calibration.spacing == (0.3, 0.4)
    assert scan.T_camera_from_tool is not None


def test_a_folder_of_files_lists_every_kind_and_nothing_else(
    tmp_path: Path, make_lone_scan: Make, make_sequence: Make, make_dicom: Make
) -> None:
    make_lone_scan(tmp_path / "a.h5")
    make_sequence(tmp_path / "b.igs.mha")
    make_dicom(tmp_path / "c.dcm")
    make_dicom(tmp_path / "IM0001")
    (tmp_path / "notes.txt").write_text("not a scan")
    make_lone_scan(tmp_path / "dataset_keys.h5")  # a copied list of keys, which is no scan
    make_dicom(tmp_path / "DICOMDIR")  # a list of images, which is none
    make_sequence(tmp_path / "d.mhd")
    (tmp_path / "volume.mha").write_text("ObjectType = Image\nNDims = 3\n")
    dataset = find_scans(tmp_path, SPACING)
    assert dataset.layout == "folder of files"
    assert keys(dataset) == ["IM0001", "a", "b", "c", "d"]
    for index in range(5):
        assert opened(dataset, index)[0].frames.shape == (5, 60, 80)


def test_one_bad_file_of_a_folder_costs_no_other(
    tmp_path: Path, make_lone_scan: Make, refused: Refused
) -> None:
    (tmp_path / "a.h5").write_bytes(b"")
    make_lone_scan(tmp_path / "b.h5")
    dataset = find_scans(tmp_path, SPACING)
    with refused("a.h5", "0 bytes", kind=InputError):
        opened(dataset, 0)
    opened(dataset, 1)


def test_an_empty_folder_is_refused(tmp_path: Path, refused: Refused) -> None:
    with refused(str(tmp_path), "no scans", "frames_transfs/", kind=InputError):
        find_scans(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path, refused: Refused) -> None:
    with refused(str(tmp_path / "nothing"), "no such", "name others", kind=InputError):
        find_scans(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("name", "content"), [("scan.txt", b"frames"), ("scan", b""), ("scan.dcm", b"\0" * 132)]
)
def test_an_unknown_kind_of_file_is_refused(
    tmp_path: Path, name: str, content: bytes, refused: Refused
) -> None:
    (tmp_path / name).write_bytes(content)
    with refused(name, "unknown kind", "DICOM", kind=InputError):
        find_scans(tmp_path / name)


def test_the_options_reach_a_sequence(tmp_path: Path, make_sequence: Make) -> None:
    file = make_sequence(tmp_path / "a.igs.mha")
    scan, _ = opened(find_scans(file, SPACING))
    assert scan.calibration.spacing == (0.1, 0.2)
    calibration = from_image_to_probe(np.diag([0.3, 0.4, 1.0, 1.0]), "here")
    scan, _ = opened(find_scans(file, InputOptions(image_to_probe=calibration)))
    assert scan.calibration is calibration


def test_two_files_of_one_name_are_told_and_the_first_is_kept(
    tmp_path: Path, make_lone_scan: Make, make_sequence: Make, refused: Refused
) -> None:
    make_lone_scan(tmp_path / "a.h5")
    make_sequence(tmp_path / "a.igs.mha")
    scans = find_scans(tmp_path, InputOptions(spacing=(0.1, 0.1))).scans
    assert [scan.key for scan in scans] == ["a", "a.igs.mha"]
    with refused("a.igs.mha", "rename"), scans[1].open():
        pass


def test_the_hidden_files_of_an_archive_are_not_scans(
    tmp_path: Path, make_train_dataset: Make
) -> None:
    dataset = make_train_dataset(tmp_path)
    (dataset / "frames_transfs/050/._RH_rotation.h5").write_bytes(b"\0" * 100)
    assert [scan.key for scan in find_scans(dataset).scans] == ["sub050__RH_rotation"]


def test_a_spacing_alone_gives_a_lone_scan_no_truth(tmp_path: Path, make_lone_scan: Make) -> None:
    file = make_lone_scan(tmp_path / "a.h5", with_poses=True)
    with find_scans(file, InputOptions(spacing=(0.1, 0.2))).scans[0].open() as scan:
        assert scan.true_motion() is None
        assert scan.calibration.spacing == (0.1, 0.2)


def test_dicom_files_named_by_their_uid_keep_the_whole_name(
    tmp_path: Path, make_dicom: Make
) -> None:
    for name in ("1.2.840.1", "1.2.840.2", "c.DCM"):
        make_dicom(tmp_path / "a.dcm").rename(tmp_path / name)
    assert keys(find_scans(tmp_path)) == ["1.2.840.1", "1.2.840.2", "c"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (InputOptions(spacing=(9.0, 9.0)), "--spacing"),
        (InputOptions(image_to_probe=from_spacing(0.2, 0.2)), "--image-to-probe"),
    ],
)
def test_an_option_that_a_dataset_would_not_heed_is_refused(
    option: InputOptions,
    said: str,
    tmp_path: Path,
    make_validation_dataset: Make,
    refused: Refused,
) -> None:
    dataset = make_validation_dataset(tmp_path / "data")
    with refused(str(dataset), said, "--calib", "leave it out", kind=InputError):
        find_scans(dataset, option)


def test_a_spacing_beside_an_option_that_says_it_better_is_refused(
    tmp_path: Path,
    make_sequence: Make,
    make_lone_scan: Make,
    make_calibration: Make,
    refused: Refused,
) -> None:
    sequence, scan = make_sequence(tmp_path / "a.mha"), make_lone_scan(tmp_path / "b.h5")
    both = InputOptions(image_to_probe=from_spacing(1, 1), spacing=(1.0, 1.0))
    with refused(str(sequence), "--spacing", "leave it out", kind=InputError):
        find_scans(sequence, both)
    calibration = make_calibration(tmp_path / "calib_matrix.csv")
    with refused(str(scan), "--spacing", "leave it out", kind=InputError):
        find_scans(scan, InputOptions(calibration=calibration, spacing=(1.0, 1.0)))
    assert len(find_scans(tmp_path, both).scans) == 2


def test_other_poses_are_for_hdf5_files_alone(
    tmp_path: Path,
    make_sequence: Make,
    make_lone_scan: Make,
    make_calibration: Make,
    refused: Refused,
) -> None:
    other = InputOptions(poses="tforms_exact", spacing=(1.0, 1.0))
    with refused("--poses", "leave it out", kind=InputError):
        find_scans(make_sequence(tmp_path / "a.mha"), other)
    scan = make_lone_scan(tmp_path / "b.h5", with_poses=True)
    with h5py.File(scan, "a") as file:
        file.move("tforms", "tforms_exact")
    make_calibration(tmp_path / "calib_matrix.csv")
    with find_scans(scan, InputOptions(poses="tforms_exact")).scans[0].open() as opened:
        assert opened.true_motion() is not None
    (lacking,) = find_scans(scan, InputOptions(poses="tforms_tracked")).scans
    with refused(str(scan), "no dataset 'tforms_tracked'", "tforms_exact"), lacking.open():
        pass


def test_a_calibration_that_a_sequence_would_not_heed_is_refused(
    tmp_path: Path, make_sequence: Make, make_lone_scan: Make, refused: Refused
) -> None:
    sequence = make_sequence(tmp_path / "a.mha")
    with refused(str(sequence), "--calib", "leave it out", kind=InputError):
        find_scans(sequence, InputOptions(calibration=tmp_path / "nowhere.csv"))
    scan = make_lone_scan(tmp_path / "b.h5")
    with refused(str(scan), "--image-to-probe", kind=InputError):
        find_scans(scan, InputOptions(image_to_probe=from_spacing(1, 1), spacing=(1.0, 1.0)))


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a folder or file one that this user may not read, which root always may."""

    def make(place: Path) -> None:
        def refusing(name: str, below: bool) -> None:
            own = getattr(Path, name)

            def method(self: Path, *arguments: Any, **options: Any) -> Any:
                if place in self.parents if below else place == self:
                    raise PermissionError(errno.EACCES, "Permission denied", str(self))
                return own(self, *arguments, **options)

            monkeypatch.setattr(Path, name, method)

        for name, below in (("iterdir", False), ("open", False), ("stat", True)):
            refusing(name, below)
        access = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: path != place and access(path, mode))

    return make


@pytest.mark.parametrize("inside", ["", "frames/050"])
def test_a_folder_that_may_not_be_read_is_told(
    inside: str,
    tmp_path: Path,
    make_validation_dataset: Make,
    forbid: Callable[[Path], None],
    refused: Refused,
) -> None:
    dataset = make_validation_dataset(tmp_path / "data")
    (dataset / "dataset_keys.h5").unlink()
    forbid(dataset / inside)
    with refused(str(dataset / inside), "Permission denied", "permissions", kind=InputError):
        find_scans(dataset)


def test_poses_that_may_not_be_read_cost_their_scans_alone(
    tmp_path: Path,
    make_validation_dataset: Make,
    forbid: Callable[[Path], None],
    refused: Refused,
) -> None:
    scans = {"sub050__RH_rotation": 4, "sub051__RH_rotation": 4}
    dataset = make_validation_dataset(tmp_path / "data", scans)
    forbid(dataset / "transfs/051")
    found = find_scans(dataset)
    assert keys(found) == list(scans)
    opened(found, 0)
    with refused("transfs/051", "Permission denied", kind=InputError):
        opened(found, 1)


def test_what_may_not_be_read_beside_a_dataset_does_not_stop_it(
    tmp_path: Path, make_validation_dataset: Make, forbid: Callable[[Path], None]
) -> None:
    """The lost+found of a disk, and the archive from which the dataset was unpacked."""
    make_validation_dataset(tmp_path / "val")
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "val.zip").touch()
    for name in ("lost+found", "val.zip"):
        forbid(tmp_path / name)
    opened(find_scans(tmp_path))


def test_a_folder_that_may_not_be_looked_into_costs_no_loose_file(
    tmp_path: Path, make_lone_scan: Make, forbid: Callable[[Path], None], refused: Refused
) -> None:
    (tmp_path / "lost+found").mkdir()
    forbid(tmp_path / "lost+found")
    with refused("lost+found", "Permission denied", kind=InputError):
        find_scans(tmp_path)
    make_lone_scan(tmp_path / "a.h5")
    assert keys(find_scans(tmp_path, SPACING)) == ["a"]


def test_a_file_whose_name_is_not_utf8_costs_no_other(
    tmp_path: Path, make_lone_scan: Make, refused: Refused
) -> None:
    make_lone_scan(tmp_path / "a.h5")
    make_lone_scan(tmp_path / os.fsdecode(b"b\xe4.h5"))
    found = find_scans(tmp_path, SPACING)
    assert keys(found) == ["a", r"b\xe4"]
    opened(found, 0)
    with refused(r"b\xe4.h5", "not UTF-8", "rename it", kind=InputError):
        opened(found, 1)


def test_a_key_that_is_not_utf8_costs_no_other(
    tmp_path: Path, make_validation_dataset: Make, refused: Refused
) -> None:
    folder = make_validation_dataset(tmp_path / "data")
    with h5py.File(folder / "dataset_keys.h5", "a") as file:
        file[b"sub051__b\xe4"] = b""
    found = find_scans(folder)
    assert keys(found) == ["sub050__RH_rotation", r"sub051__b\xe4"]
    with refused("dataset_keys.h5", "mend the key", kind=InputError):
        opened(found, 1)


def test_a_file_that_may_not_be_read_costs_no_other(
    tmp_path: Path, make_lone_scan: Make, forbid: Callable[[Path], None], refused: Refused
) -> None:
    make_lone_scan(tmp_path / "a.h5")
    (tmp_path / "b.dcm").touch()
    forbid(tmp_path / "b.dcm")
    found = find_scans(tmp_path, InputOptions(spacing=(0.2, 0.2)))
    assert keys(found) == ["a", "b"]
    with refused("b.dcm", "Permission denied", kind=InputError):
        opened(found, 1)
