"""Writers of tiny scans in every layout and format, shared by all tests.

Frames are noise and poses a random freehand sweep; a seed gives the same ones again. Every
fixture gives a function that writes files and returns the path to hand to the code under test.
"""

import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import h5py
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import settings
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

from tusrec import poses
from tusrec.errors import TusrecError

# The same examples in every run, and no clock in any test.
settings.register_profile("tests", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("tests")

CHALLENGE_SIZE = (480, 640)
SCALE = np.diag([0.229389190673828, 0.220979690551758, 1.0, 1.0])
RIGID = np.array(
    [
        [0.231064671309448, -0.21805203504134, 0.948189025293473, -70.7413291931152],
        [-0.190847036221471, -0.965787272832032, -0.175591436013112, -80.6505661010742],
        [0.954036962825936, -0.140386087807861, -0.264773903381482, -46.1766223907471],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
LABELS = (
    "scaling_from_pixel_to_mm",
    "spatial_calibration_from_image_coordinate_system_to_tracking_tool_coordinate_system",
)
ONE_ROTATION = {"sub050__RH_rotation": 5}


def noise(frames: int, shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, *shape))
    return pixels.astype(np.uint8)


def sweep(frames: int, seed: int) -> NDArray[np.float64]:
    """T_camera_from_tool (N, 4, 4): steps of about 0.3 mm and 0.01 rad from a random place."""
    steps = np.random.default_rng(seed).normal(scale=[0.01] * 3 + [0.3] * 3, size=(frames, 6))
    steps[0] *= 100
    return poses.chain(poses.exp(steps))


def random_landmarks(count: int, frames: int, seed: int) -> NDArray[np.int64]:
    height, width = CHALLENGE_SIZE
    upper = [frames, width + 1, height + 1]
    return np.random.default_rng(seed).integers([0, 1, 1], upper, (count, 3))


def write_calibration_file(
    path: Path, scale: NDArray[np.float64] = SCALE, rigid: NDArray[np.float64] = RIGID
) -> Path:
    """A calib_matrix.csv."""
    lines = []
    for label, matrix in zip(LABELS, (scale, rigid), strict=True):
        lines += [label, *(",".join(map(repr, row)) for row in matrix.tolist())]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_hdf5(path: Path, datasets: Mapping[str, object]) -> Path:
    """Datasets into an HDF5 file, added to what it holds already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "a") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values)
    return path


def write_validation_dataset(
    folder: Path,
    scans: Mapping[str, int] = ONE_ROTATION,
    seed: int = 0,
    with_poses: bool = True,
    landmarks: int = 100,
) -> Path:
    """The validation and test layout; `scans` are keys and their numbers of frames."""
    folder.mkdir(parents=True, exist_ok=True)
    write_calibration_file(folder / "calib_matrix.csv")
    for number, (key, frames) in enumerate(scans.items(), seed):
        subject, _, name = key.removeprefix("sub").partition("__")
        place = f"{subject}/{name}.h5"
        write_hdf5(folder / "frames" / place, {"frames": noise(frames, CHALLENGE_SIZE, number)})
        if with_poses:
            tforms = sweep(frames, number).astype(np.float32)
            write_hdf5(folder / "transfs" / place, {"tforms": tforms})
        points = random_landmarks(landmarks, frames, number)
        write_hdf5(folder / "landmarks" / f"landmark_{subject}.h5", {name: points})
        write_hdf5(folder / "dataset_keys.h5", {key: b""})
    return folder


def write_train_dataset(
    folder: Path,
    scans: Mapping[str, int] = ONE_ROTATION,
    seed: int = 0,
    landmarks: int = 100,
) -> Path:
    """The train layout; `scans` are keys and their numbers of frames."""
    folder.mkdir(parents=True, exist_ok=True)
    write_calibration_file(folder / "calib_matrix.csv")
    for number, (key, frames) in enumerate(scans.items(), seed):
        subject, _, name = key.removeprefix("sub").partition("__")
        tforms = sweep(frames, number).astype(np.float32)
        write_hdf5(
            folder / "frames_transfs" / subject / f"{name}.h5",
            {"frames": noise(frames, CHALLENGE_SIZE, number), "tforms": tforms},
        )
        points = random_landmarks(landmarks, frames, number)
        write_hdf5(folder / "landmarks" / f"landmark_{subject}.h5", {name: points})
    return folder


def write_lone_scan(
    path: Path,
    frames: int = 5,
    shape: tuple[int, int] = (60, 80),
    seed: int = 0,
    with_poses: bool = False,
) -> Path:
    """One .h5 of frames of any size, outside a dataset and without a calibration beside it."""
    datasets = {"frames": noise(frames, shape, seed)}
    tforms = {"tforms": sweep(frames, seed).astype(np.float32)} if with_poses else {}
    return write_hdf5(path, {**datasets, **tforms})


def write_sequence(
    path: Path,
    transforms: Mapping[str, NDArray[np.float64]] | None = None,
    pixels: NDArray[np.uint8] | None = None,
    fields: Mapping[str, str] | None = None,
) -> Path:
    """A PLUS sequence metafile, 5 frames of 60x80 unless `pixels` (N, H, W) says otherwise.

    transforms: (N, 4, 4) by name (`ProbeToTracker`), all with status OK.
    fields: further header fields, or others in place of the written ones.
    """
    pixels = noise(5, (60, 80), 0) if pixels is None else pixels
    image = sitk.GetImageFromArray(pixels)
    image.SetMetaData("UltrasoundImageOrientation", "MF")
    for frame in range(len(pixels)):
        prefix = f"Seq_Frame{frame:04d}_"
        image.SetMetaData(f"{prefix}Timestamp", f"{frame / 20}")
        for name, matrices in (transforms or {}).items():
            numbers = " ".join(map(repr, matrices[frame].ravel().tolist()))
            image.SetMetaData(f"{prefix}{name}Transform", numbers)
            image.SetMetaData(f"{prefix}{name}TransformStatus", "OK")
    for name, value in (fields or {}).items():
        image.SetMetaData(name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def write_dicom(
    path: Path,
    pixels: NDArray[np.uint8] | None = None,
    region_cm: Sequence[float] | None = (0.02, 0.03),
    pixel_spacing: Sequence[float] | None = None,
) -> Path:
    """A multi-frame ultrasound DICOM, 5 grey frames of 60x80 unless `pixels` says otherwise.

    pixels: (N, H, W) grey or (N, H, W, 3) RGB.
    region_cm: (x, y) physical deltas of the one region, in cm; None writes no region.
    pixel_spacing: (row, column) in mm, as PixelSpacing orders them; None writes none.
    """
    pixels = noise(5, (60, 80), 0) if pixels is None else pixels
    file = pydicom.Dataset()
    file.SOPClassUID = UltrasoundMultiFrameImageStorage
    file.SOPInstanceUID = generate_uid()
    file.Modality = "US"
    file.NumberOfFrames, file.Rows, file.Columns = pixels.shape[:3]
    file.SamplesPerPixel = pixels.shape[3] if pixels.ndim == 4 else 1
    file.PhotometricInterpretation = "RGB" if pixels.ndim == 4 else "MONOCHROME2"
    if pixels.ndim == 4:
        file.PlanarConfiguration = 0
    file.BitsAllocated, file.BitsStored, file.HighBit = 8, 8, 7
    file.PixelRepresentation = 0
    if region_cm is not None:
        file.SequenceOfUltrasoundRegions = [_region(*region_cm)]
    if pixel_spacing is not None:
        file.PixelSpacing = list(pixel_spacing)
    file.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


def _region(delta_x: float, delta_y: float) -> pydicom.Dataset:
    region = pydicom.Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = delta_x, delta_y
    return region


def damage_attributes(path: Path) -> None:
    """Damage the table of a result's attributes, so that HDF5 cannot tell what is in it."""
    content = bytearray(path.read_bytes())
    content[content.find(b"weights_sha256") - 8] ^= 0xFF  # the version of the message of that name
    path.write_bytes(content)


@contextmanager
def refusal(*words: str, kind: type[TusrecError] = TusrecError) -> Iterator[None]:
    """Requires that the block fails with one line that holds all of the words."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"


@contextmanager
def limit_files(size: int) -> Iterator[None]:
    """No file may grow beyond `size`, which fails a write as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk() -> Callable[[int], AbstractContextManager[None]]:
    return limit_files


@pytest.fixture
def refused() -> Callable[..., AbstractContextManager[None]]:
    return refusal


@pytest.fixture
def damaging_attributes() -> Callable[[Path], None]:
    return damage_attributes


@pytest.fixture
def make_calibration() -> Callable[..., Path]:
    return write_calibration_file


@pytest.fixture
def make_hdf5() -> Callable[..., Path]:
    return write_hdf5


@pytest.fixture
def make_validation_dataset() -> Callable[..., Path]:
    return write_validation_dataset


@pytest.fixture
def make_train_dataset() -> Callable[..., Path]:
    return write_train_dataset


@pytest.fixture
def make_lone_scan() -> Callable[..., Path]:
    return write_lone_scan


@pytest.fixture
def make_sequence() -> Callable[..., Path]:
    return write_sequence


@pytest.fixture
def make_dicom() -> Callable[..., Path]:
    return write_dicom
