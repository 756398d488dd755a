import fcntl
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tusrec import poses
from tusrec.calibration import from_spacing
from tusrec.errors import InputError
from tusrec.scans import Hdf5Scan, UnusableScan

Refused = Callable[..., AbstractContextManager[None]]
SHAPE = (6, 30, 40)


@pytest.fixture
def source(tmp_path: Path, make_hdf5: Callable[..., Path]) -> Hdf5Scan:
    """A good scan of 6 frames with poses and two landmarks."""
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, SHAPE).astype(np.uint8)
    tforms = poses.exp(random.normal(size=(6, 6))).astype(np.float32)
    return Hdf5Scan(
        key="sub050__RH_rotation",
        frames_path=make_hdf5(tmp_path / "frames.h5", {"frames": frames}),
        calibration=from_spacing(0.1, 0.2),
        poses_path=make_hdf5(tmp_path / "poses.h5", {"tforms": tforms}),
        landmarks_path=make_hdf5(
            tmp_path / "landmarks.h5", {"RH_rotation": np.array([[0, 1, 1], [5, 40, 30]])}
        ),
        landmarks_name="RH_rotation",
    )


def put(path: Path | None, name: str, values: object) -> None:
    """Replace a dataset of a file; None takes it away."""
    assert path is not None
    with h5py.File(path, "a") as file:
        del file[name]
        if values is not None:
            file[name] = values


def test_what_goes_wrong_with_other_files_while_a_scan_is_open_is_not_its_fault(
    source: Hdf5Scan, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError), source.open():
        (tmp_path / "elsewhere").read_bytes()


def read_all(source: Hdf5Scan) -> None:
    with source.open() as scan:
        for frame in range(scan.frames.shape[0]):
            scan.frames[frame : frame + 1]


def complaint(source: Hdf5Scan) -> str | None:
    """The line that a scan is refused with, or None if it is read."""
    try:
        read_all(source)
    except InputError as error:
        return str(error)
    return None


def test_a_good_scan_is_read_as_it_was_written(source: Hdf5Scan) -> None:
    with h5py.File(source.frames_path) as file:
        written = file["frames"][()]
    with source.open() as scan:
        assert scan.key == "sub050__RH_rotation"
        assert scan.image_size == (30, 40)
        assert scan.landmarks.tolist() == [[0, 1, 1], [5, 40, 30]]
        assert scan.T_camera_from_tool is not None
        assert scan.T_camera_from_tool.dtype == np.float64
        np.testing.assert_array_equal(scan.frames[0:6], written)
        np.testing.assert_array_equal(scan.frames[2:4], written[2:4])


def test_true_motion_is_taken_through_the_calibration(source: Hdf5Scan) -> None:
    T_tool_from_image = poses.exp(np.array([0.1, 0.2, 0.3, 10.0, 20.0, 30.0]))
    calibration = replace(source.calibration, T_tool_from_image=T_tool_from_image)
    with replace(source, calibration=calibration).open() as scan:
        motion, tracked = scan.true_motion(), scan.T_camera_from_tool
    assert motion is not None
    assert tracked is not None
    inverse = np.linalg.inv
    for frame in range(1, 6):  # the formula of the challenge, one frame at a time
        for found, other in [
            (motion.T_first_from_frame, 0),
            (motion.T_previous_from_frame, frame - 1),
        ]:
            expected = (
                inverse(T_tool_from_image)
                @ inverse(tracked[other])
                @ tracked[frame]
                @ T_tool_from_image
            )
            np.testing.assert_allclose(found[frame - 1], expected, atol=1e-9)


def test_a_scan_without_poses_or_landmarks_has_no_truth_and_no_landmarks(source: Hdf5Scan) -> None:
    with replace(source, poses_path=None, landmarks_path=None).open() as scan:
        assert scan.true_motion() is None
        assert scan.landmarks.shape == (0, 3)


def test_the_digest_of_what_lies_beside_the_frames_tells_any_part_of_it(source: Hdf5Scan) -> None:
    moved = replace(source.calibration, T_tool_from_image=poses.exp(np.ones(6)))
    others = [
        source,
        replace(source, calibration=moved),
        replace(source, poses_path=None),
        replace(source, landmarks_path=None),
    ]
    digests = set()
    for other in others:
        with other.open() as scan:
            digests.add(scan.beside_sha256())
    assert len(digests) == len(others)


def test_frames_are_read_only_where_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "huge.h5"
    with h5py.File(path, "w") as file:  # 307 GB, of which nothing but one frame is on the disk
        frames = file.create_dataset(
            "frames", (1_000_000, 480, 640), np.uint8, chunks=(1, 480, 640), fillvalue=7
        )
        frames[500_000] = 9
    with Hdf5Scan("huge", path, from_spacing(1, 1)).open() as scan:
        block = scan.frames[499_999:500_001]
        assert block.shape == (2, 480, 640)
        assert block[:, 0, 0].tolist() == [7, 9]


def test_a_file_that_somebody_else_has_locked_is_read_all_the_same(source: Hdf5Scan) -> None:
    with source.frames_path.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="lock"):
            h5py.File(source.frames_path, "r", locking=True)
        read_all(source)


@pytest.mark.parametrize("frames", [0, 1])
def test_fewer_than_two_frames_are_refused(source: Hdf5Scan, frames: int, refused: Refused) -> None:
    put(source.frames_path, "frames", np.zeros((frames, 30, 40), np.uint8))
    with refused("frames.h5", f"({frames}, 30, 40)", "at least 2 frames", kind=InputError):
        read_all(source)


def test_two_frames_are_enough(source: Hdf5Scan) -> None:
    put(source.frames_path, "frames", np.zeros((2, 30, 40), np.uint8))
    with replace(source, poses_path=None, landmarks_path=None).open() as scan:
        assert scan.frames.shape == (2, 30, 40)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.zeros((6, 30, 40), np.float32), "float32"),
        (np.zeros((6, 30, 40), np.int16), "int16"),
        (np.zeros((6, 30, 40), np.uint16), "uint16"),
        (np.zeros((6, 30, 40), np.int8), "int8"),
        (np.zeros((6, 30, 40), bool), "bool"),
        (np.zeros((30, 40), np.uint8), "(30, 40)"),
        (np.zeros((6, 30, 40, 3), np.uint8), "(6, 30, 40, 3)"),
        (np.zeros((6, 0, 40), np.uint8), "(6, 0, 40)"),
        (np.uint8(3), "()"),
        (h5py.Empty("u1"), "uint8"),
        ("frames", "object"),
        (None, "no dataset 'frames'"),
        (h5py.SoftLink("/nowhere"), "no dataset 'frames'"),
        (h5py.ExternalLink("nowhere.h5", "/frames"), "no dataset 'frames'"),
    ],
)
def test_frames_of_a_wrong_shape_or_type_are_refused(
    source: Hdf5Scan, values: object, found: str, refused: Refused
) -> None:
    put(source.frames_path, "frames", values)
    with refused(str(source.frames_path), "frames", found, kind=InputError):
        read_all(source)


def test_a_number_type_that_numpy_cannot_hold_is_refused(
    source: Hdf5Scan, refused: Refused
) -> None:
    with h5py.File(source.frames_path, "w") as file:
        strange = h5py.h5t.IEEE_F64LE.copy()
        strange.set_ebias(2**20)
        h5py.h5d.create(file.id, b"frames", strange, h5py.h5s.create_simple(SHAPE))
    with refused("frames.h5", "Insufficient precision", kind=InputError):
        read_all(source)


def test_a_group_in_place_of_the_frames_is_refused(source: Hdf5Scan, refused: Refused) -> None:
    put(source.frames_path, "frames", None)
    with h5py.File(source.frames_path, "a") as file:
        file.create_group("frames")
    with refused("no dataset 'frames'", kind=InputError):
        read_all(source)


def test_another_image_size_is_refused_where_one_is_required(
    source: Hdf5Scan, refused: Refused
) -> None:
    with refused("(6, 30, 40)", "(frames, 480, 640) uint8", kind=InputError):
        read_all(replace(source, image_size=(480, 640)))
    read_all(replace(source, image_size=(30, 40)))


@pytest.mark.parametrize("which", ["frames_path", "poses_path", "landmarks_path"])
def test_each_missing_or_damaged_file_of_a_scan_is_named(
    source: Hdf5Scan, which: str, refused: Refused
) -> None:
    path: Path = getattr(source, which)
    content = path.read_bytes()
    for damaged, words in [
        (b"", "0 bytes"),
        (b"hello, I am not HDF5\n" * 500, "not a readable HDF5 file"),
        (content[: len(content) // 2], "truncated"),
    ]:
        path.write_bytes(damaged)
        with refused(str(path), words, "copy it again", kind=InputError):
            read_all(source)
    path.unlink()
    with refused(str(path), "no such file", kind=InputError):
        read_all(source)
    path.mkdir()
    with refused(str(path), "no such file", kind=InputError):
        read_all(source)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(source: Hdf5Scan, refused: Refused, share: float) -> None:
    content = source.frames_path.read_bytes()
    cut = source.frames_path.with_name("cut.h5")
    cut.write_bytes(content[: int(share * len(content))])
    with refused("cut.h5", "copy it again", kind=InputError):
        read_all(replace(source, frames_path=cut))


def test_a_file_whose_head_is_whole_but_whose_last_frames_are_gone_is_refused(
    source: Hdf5Scan, refused: Refused
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    with h5py.File(source.frames_path, "w") as file:
        file.create_dataset("frames", data=frames, chunks=(1, 30, 40), compression="gzip")
    content = source.frames_path.read_bytes()
    source.frames_path.write_bytes(content[:-400] + bytes(400))
    with source.open() as scan:
        assert scan.frames.shape == SHAPE
        np.testing.assert_array_equal(scan.frames[0:1], frames[:1])
    with refused(str(source.frames_path), "copy it again", kind=InputError):
        read_all(source)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(place=st.integers(0, 1600), damage=st.binary(min_size=1, max_size=64))
def test_damage_in_the_head_of_a_file_gives_a_scan_or_one_clear_line(
    source: Hdf5Scan, place: int, damage: bytes
) -> None:
    content = bytearray(source.frames_path.read_bytes())
    content[place : place + len(damage)] = damage
    damaged = source.frames_path.with_name("damaged.h5")
    damaged.write_bytes(content)
    message = complaint(replace(source, frames_path=damaged))
    assert message is None or (str(damaged) in message and "\n" not in message)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([[0, 1, 1], [6, 1, 1]]), "landmark 1 is [6, 1, 1]"),
        (np.array([[0, 41, 1]]), "x 1..40"),
        (np.array([[0, 1, 31]]), "y 1..30"),
        (np.array([[0, 0, 1]]), "landmark 0"),
        (np.array([[0, 2**63, 1]], np.uint64), "landmark 0"),
        (np.ones((5, 2), np.int64), "(landmarks, 3) integers"),
        (np.ones(3, np.int64), "(landmarks, 3) integers"),
        (np.ones((5, 3), np.float64), "(landmarks, 3) integers"),
        (None, "no dataset 'RH_rotation'"),
    ],
)
def test_unusable_landmarks_are_refused(
    source: Hdf5Scan, values: object, words: str, refused: Refused
) -> None:
    put(source.landmarks_path, "RH_rotation", values)
    with refused(str(source.landmarks_path), words, kind=InputError):
        read_all(source)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64, np.uint8])
def test_landmarks_may_be_any_integers(source: Hdf5Scan, kind: type[np.integer]) -> None:
    put(source.landmarks_path, "RH_rotation", np.array([[5, 40, 30]], kind))
    with source.open() as scan:
        assert scan.landmarks.tolist() == [[5, 40, 30]]


def tracked(frames: int = 6, spoil: float = 1.0) -> object:
    tforms = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    tforms[-1, 0, 0] = spoil
    return tforms


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (tracked(spoil=np.nan), "tforms 5: found NaN"),
        (tracked(spoil=np.inf), "tforms 5: found NaN or infinity"),
        (tracked(spoil=1.5), "tforms 5: not rigid"),
        (tracked(spoil=-1.0), "tforms 5: not rigid"),
        (tracked(frames=5), "(6, 4, 4) floats"),
        (tracked(frames=7), "(6, 4, 4) floats"),
        (np.zeros((6, 3, 4), np.float32), "(6, 4, 4) floats"),
        (np.zeros((6, 4, 4), np.int64), "(6, 4, 4) floats"),
        (np.zeros((6, 4, 4), np.float32), "tforms 0: not rigid"),
        (None, "no dataset 'tforms'"),
    ],
)
def test_unusable_poses_are_refused(
    source: Hdf5Scan, values: object, words: str, refused: Refused
) -> None:
    put(source.poses_path, "tforms", values)
    with refused(str(source.poses_path), words, kind=InputError):
        read_all(source)


def test_double_precision_poses_are_welcome(source: Hdf5Scan) -> None:
    put(source.poses_path, "tforms", np.tile(np.eye(4), (6, 1, 1)))
    read_all(source)


def test_an_unusable_scan_says_why_when_it_is_opened(refused: Refused) -> None:
    with refused("because", kind=InputError), UnusableScan("key", "because").open():
        pass
