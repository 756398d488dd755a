import csv
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from tusrec import poses
from tusrec.calibration import Calibration, from_image_to_probe, from_spacing
from tusrec.errors import OutputError
from tusrec.metrics import Motion
from tusrec.results import Result
from tusrec.scans import Scan
from tusrec.sequences import SequenceScan
from view.exports import CSV_COLUMNS, EXPORTS, export, write_sequence, write_transforms
from view.images import FORMATS, write_volume
from view.space import in_first_frame
from view.volume import Grid, Method, Volume, grid_around, reconstruct

Refused = Callable[..., AbstractContextManager[None]]
SmallDisk = Callable[[int], AbstractContextManager[None]]
Array = NDArray[np.float64]
FRAMES = 5
EXACT = 1e-6  # mm
CALIBRATION = from_spacing(0.229389190673828, 0.220979690551758)
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def result(seed: int, frames: int = FRAMES) -> Result:
    """Motions of any size, tens of mm and any turn."""
    steps = np.random.default_rng(seed).normal(size=(frames - 1, 6)) * [1, 1, 1, 30, 30, 30]
    local = poses.exp(steps)
    return Result(Motion(poses.chain(local), local), np.zeros((frames - 1, 6, 6)), {})


def scan(calibration: Calibration = CALIBRATION, seed: int = 0) -> Scan:
    frames = np.random.default_rng(seed).integers(0, 256, (FRAMES, 12, 17)).astype(np.uint8)
    return Scan("sub1__a", frames, calibration, np.empty((0, 3), np.int64), None)


def noise(shape: tuple[int, int, int]) -> Volume:
    """A volume of voxels that take as much space as they can, and a mask of them."""
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    return Volume(Grid(np.zeros(3), 1.0, (shape[2], shape[1], shape[0])), values, values)


def all_poses(prediction: Result) -> Array:
    return np.concatenate([np.eye(4)[None], prediction.motion.T_first_from_frame])


def sequence_header(path: Path) -> tuple[dict[str, str], bytes]:
    """Fields and pixels of a sequence metafile, read by its published description alone.

    Raises AssertionError for anything that a strict reader would refuse.
    """
    fields: dict[str, str] = {}
    content = path.read_bytes()
    while "ElementDataFile" not in fields:
        line, _, content = content.partition(b"\n")
        name, equals, value = line.decode("ascii").partition(" = ")
        assert equals, f"not `name = value`: {line!r}"
        assert name not in fields, f"twice: {name}"
        fields[name] = value.strip()
    assert fields["ObjectType"] == "Image"
    assert fields["NDims"] == "3"
    assert fields["Kinds"] == "domain domain list"
    assert fields["ElementType"] == "MET_UCHAR"
    assert fields["ElementDataFile"] == "LOCAL"
    assert fields["UltrasoundImageOrientation"] == "MFA"
    assert fields["UltrasoundImageType"] == "BRIGHTNESS"
    assert fields["TrackName"] == "Image"
    assert fields["CompressedData"] == "False"
    width, height, frames = map(int, fields["DimSize"].split())
    assert len(content) == width * height * frames
    per_frame = [name for name in fields if name.startswith("Seq_Frame")]
    assert {name[:13] for name in per_frame} == {f"Seq_Frame{i:04d}" for i in range(frames)}
    times = [float(fields[f"Seq_Frame{i:04d}_Timestamp"]) for i in range(frames)]
    assert times[0] == 0
    assert all(later > earlier for earlier, later in pairwise(times))
    for name in per_frame:
        if name.endswith("Status"):
            assert fields[name] == "OK"
        elif name.endswith("Transform"):
            numbers = [float(number) for number in fields[name].split(" ")]
            assert len(numbers) == 16
            assert numbers[12:] == [0, 0, 0, 1]
            assert fields[f"{name}Status"] == "OK"
    return fields, content


def image_to(name: str, fields: dict[str, str], frame: int) -> Array:
    text = fields[f"Seq_Frame{frame:04d}_ImageTo{name}Transform"]
    return np.array([float(number) for number in text.split()]).reshape(4, 4)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_a_sequence_is_read_back_with_the_same_frames_poses_and_pixel_size(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, prediction, original = tmp_path_factory.mktemp("igs"), result(seed), scan(seed=seed)
    export("igs.mha", folder, original, prediction)
    with SequenceScan("a", folder / "sub1__a.igs.mha").open() as found:
        motion = found.true_motion()
        np.testing.assert_array_equal(found.frames[0:FRAMES], original.frames[0:FRAMES])
        np.testing.assert_allclose(found.calibration.spacing, CALIBRATION.spacing, atol=1e-9)
    assert motion is not None
    expected = prediction.motion.T_first_from_frame
    np.testing.assert_allclose(motion.T_first_from_frame, expected, atol=EXACT)


@pytest.mark.parametrize("frames", [2, 3, 12])
def test_a_strict_reader_accepts_every_sequence(tmp_path: Path, frames: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (frames, 7, 9)).astype(np.uint8)
    places = in_first_frame(result(1, frames).motion.T_first_from_frame, CALIBRATION)
    write_sequence(tmp_path / "a.igs.mha", pixels, places)
    fields, content = sequence_header(tmp_path / "a.igs.mha")
    assert content == pixels.tobytes()
    for frame, T in enumerate(places):
        for name in ("Reference", "Physical"):
            # The file's pixel 0 is our pixel 1.
            M = image_to(name, fields, frame)
            np.testing.assert_allclose(M @ [3, 5, 0, 1], T @ [4, 6, 0, 1], atol=EXACT)


@pytest.mark.parametrize(
    "fault", ["Kinds = domain domain list\n", "Seq_Frame0001_Timestamp = 0.05"]
)
def test_the_strict_reader_refuses_a_header_that_lacks_something(
    tmp_path: Path, fault: str
) -> None:
    export("igs.mha", tmp_path, scan(), result(0))
    path = tmp_path / "sub1__a.igs.mha"
    path.write_bytes(path.read_bytes().replace(fault.encode(), b""))
    with pytest.raises((AssertionError, KeyError)):
        sequence_header(path)


def test_the_third_column_of_a_sequence_is_the_unit_normal_of_its_frame(tmp_path: Path) -> None:
    export("igs.mha", tmp_path, scan(), result(3))
    fields, _ = sequence_header(tmp_path / "sub1__a.igs.mha")
    for frame in range(FRAMES):
        x, y, z, _ = image_to("Reference", fields, frame)[:3].T
        normal = np.cross(x / np.linalg.norm(x), y / np.linalg.norm(y))
        np.testing.assert_allclose(z, normal, atol=1e-9)


def test_a_sheared_calibration_keeps_its_pixels_in_place(tmp_path: Path) -> None:
    sheared = np.array([[0.1, 0.005, 0, 5], [0.004, 0.2, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
    export("igs.mha", tmp_path, scan(from_image_to_probe(sheared, "here")), result(0))
    fields, _ = sequence_header(tmp_path / "sub1__a.igs.mha")
    M = image_to("Reference", fields, 0)
    for pixel in ([1, 0, 0, 0], [0, 1, 0, 0]):
        across = [np.linalg.norm((matrix @ pixel)[:3]) for matrix in (M, sheared)]
        assert across[0] == pytest.approx(across[1], abs=1e-9)
    cosines = [matrix[:3, 0] @ matrix[:3, 1] for matrix in (M, sheared)]
    assert cosines[0] == pytest.approx(cosines[1], abs=1e-9)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_itk_transforms_take_a_point_of_the_first_frame_back_to_its_frame_in_lps(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, prediction = tmp_path_factory.mktemp("tfm"), result(seed)
    export("tfm", folder, scan(), prediction)
    files = sorted((folder / "sub1__a_tfm").iterdir())
    assert [file.name for file in files] == [f"{i:04d}.tfm" for i in range(FRAMES)]
    point = np.array([10.0, -20.0, 3.0, 1.0])
    for file, T in zip(files, all_poses(prediction), strict=True):
        there = FLIP @ T @ point
        back = sitk.ReadTransform(str(file)).TransformPoint(there[:3].tolist())
        np.testing.assert_allclose(back, (FLIP @ point)[:3], atol=EXACT)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_tum_and_csv_hold_the_same_poses(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, prediction = tmp_path_factory.mktemp("text"), result(seed)
    expected = all_poses(prediction)
    for kind in ("tum", "csv"):
        export(kind, folder, scan(), prediction)
    rows = np.loadtxt(folder / "sub1__a.tum")
    np.testing.assert_allclose(rows[:, 0], np.arange(FRAMES) / 20)
    np.testing.assert_allclose(rows[:, 1:4], expected[:, :3, 3], atol=EXACT)
    rotations = Rotation.from_quat(rows[:, 4:]).as_matrix()
    np.testing.assert_allclose(rotations, expected[:, :3, :3], atol=1e-9)
    with (folder / "sub1__a.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert tuple(table[0]) == CSV_COLUMNS
    for row, T in zip(table, expected, strict=True):
        matrix = [[float(row[f"m{i}{j}"]) for j in range(4)] for i in range(3)]
        np.testing.assert_allclose(matrix, T[:3], atol=EXACT)
    assert [float(row["time_s"]) for row in table] == rows[:, 0].tolist()


def bright_spot() -> tuple[NDArray[np.uint8], Array, int, tuple[int, int]]:
    """Frames that are black but for one pixel: frames, places, frame, (x, y) from 0."""
    frames = np.zeros((FRAMES, 40, 50), np.uint8)
    frames[3, 21, 34] = 255
    steps = np.tile([0.02, 0.03, 0.01, 0.4, 0.1, 1.5], (FRAMES - 1, 1))
    places = in_first_frame(poses.chain(poses.exp(steps)), CALIBRATION)
    return frames, places, 3, (34, 21)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_voxel_of_the_volume_lies_on_its_pixel_of_the_sequence_in_ras_and_lps(
    tmp_path: Path, suffix: str
) -> None:
    frames, places, frame, (x, y) = bright_spot()
    whole = np.ones(frames.shape[1:], np.bool_)
    grid = grid_around(places, whole, 0.3)
    volume = reconstruct(frames, places, whole, grid, Method("NEAREST_NEIGHBOR", "MAXIMUM"))
    write_sequence(tmp_path / "a.igs.mha", frames, places)
    write_volume(tmp_path / f"a.{suffix}", volume)

    fields, _ = sequence_header(tmp_path / "a.igs.mha")
    ras = (image_to("Reference", fields, frame) @ [x, y, 0, 1])[:3]
    lps = ras * [-1, -1, 1]
    image = sitk.ReadImage(str(tmp_path / f"a.{suffix}"))
    voxels = sitk.GetArrayFromImage(image)
    brightest = np.unravel_index(int(voxels.argmax()), voxels.shape)[::-1]
    assert (voxels > 0).sum() == 1
    # LPS: where ITK puts that voxel. RAS: where 3D Slicer shows it.
    assert image.TransformPhysicalPointToIndex(lps.tolist()) == tuple(map(int, brightest))
    in_slicer = FLIP[:3, :3] @ image.TransformIndexToPhysicalPoint(list(map(int, brightest)))
    assert np.abs(in_slicer - ras).max() <= 0.5 * grid.spacing + 1e-5
    mask = sitk.ReadImage(str(tmp_path / f"a.mask.{suffix}"))
    assert mask[image.TransformPhysicalPointToIndex(lps.tolist())] == 1


def test_an_nrrd_says_that_it_is_lps(tmp_path: Path) -> None:
    frames, places, _, _ = bright_spot()
    grid = grid_around(places, np.ones(frames.shape[1:], np.bool_), 0.5)
    empty = np.zeros(grid.size[::-1], np.uint8)
    write_volume(tmp_path / "a.nrrd", Volume(grid, empty, empty))
    header = (tmp_path / "a.nrrd").read_bytes().partition(b"\n\n")[0].decode()
    lines = dict(line.split(": ", 1) for line in header.splitlines() if ": " in line)
    assert lines["space"] == "left-posterior-superior"
    origin = [float(n) for n in lines["space origin"].strip("()").split(",")]
    np.testing.assert_allclose(origin, grid.origin * [-1, -1, 1])


def test_transforms_of_a_longer_scan_do_not_stay(tmp_path: Path) -> None:
    T = np.tile(np.eye(4), (7, 1, 1))
    (tmp_path / "0006-old.tfm").write_text("somebody's own")
    for count in (7, 4):
        write_transforms(tmp_path, T[:count])
    kept = [*(f"{n:04d}.tfm" for n in range(4)), "0006-old.tfm"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


@pytest.mark.parametrize("kind", sorted(EXPORTS))
def test_an_export_that_cannot_be_written_says_so_and_leaves_nothing(
    kind: str, tmp_path: Path, refused: Refused, small_disk: SmallDisk
) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with refused("taken", "cannot write", kind=OutputError):
        export(kind, tmp_path / "taken", scan(), result(0))
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_volume_that_finds_the_disk_full_says_so_and_leaves_what_was_there(
    suffix: str, tmp_path: Path, refused: Refused, small_disk: SmallDisk
) -> None:
    path, beside = tmp_path / f"a.{suffix}", tmp_path / f"a.mask.{suffix}"
    volume = noise((9, 40, 50))
    write_volume(path, volume)
    whole = path.stat().st_size
    path.write_text("an old volume")
    beside.write_text("its mask")
    for size in (0, 1, whole // 2, whole - 1):
        with small_disk(size), refused(f"a.{suffix}", "cannot write", kind=OutputError):
            write_volume(path, volume)
        assert sorted(tmp_path.iterdir()) == sorted([path, beside])
        assert (path.read_text(), beside.read_text()) == ("an old volume", "its mask")


def test_a_volume_whose_mask_fails_does_not_take_its_name_beside_an_old_mask(
    tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "a.nrrd").write_text("an old volume")
    (tmp_path / "a.mask.nrrd").mkdir()  # in the way
    with refused("a.mask.nrrd", "cannot write", kind=OutputError):
        write_volume(tmp_path / "a.nrrd", noise((2, 3, 4)))
    assert (tmp_path / "a.nrrd").read_text() == "an old volume"


@pytest.mark.parametrize("kind", ["igs.mha", "tfm", "tum", "csv"])
def test_an_export_that_finds_the_disk_full_says_so_and_leaves_no_file(
    kind: str, tmp_path: Path, refused: Refused, small_disk: SmallDisk
) -> None:
    for size in (0, 100):
        with small_disk(size), refused("sub1__a", "cannot write", kind=OutputError):
            export(kind, tmp_path, scan(), result(0))
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_volume_that_itk_finds_no_memory_for_is_told_as_numpy_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(*_: object) -> None:
        raise RuntimeError("Exception thrown:\nFailed to allocate memory for image.")

    monkeypatch.setattr(sitk, "GetImageFromArray", hungry)
    with pytest.raises(MemoryError, match="Failed to allocate memory"):
        write_volume(tmp_path / "a.nrrd", noise((2, 3, 4)))
    assert list(tmp_path.iterdir()) == []


def test_a_sequence_of_more_frames_than_memory_holds_is_written(tmp_path: Path) -> None:
    class Long:
        shape = (200, 300, 400)

        def __getitem__(self, key: slice) -> NDArray[np.uint8]:
            return np.zeros((key.stop - key.start, *self.shape[1:]), np.uint8)

    tracemalloc.start()
    write_sequence(tmp_path / "a.igs.mha", Long(), np.tile(np.eye(4), (200, 1, 1)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6 < 200 * 300 * 400


def test_a_figure_is_a_png_of_some_size(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    export("png", tmp_path, scan(), result(0))
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "sub1__a.png")))
    assert min(picture.shape[:2]) > 1000
    assert len(np.unique(picture)) > 20
