from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tusrec.dicom import DicomScan, is_dicom
from tusrec.errors import InputError
from tusrec.scans import Scan

Make = Callable[..., Path]
Refused = Callable[..., AbstractContextManager[None]]


def opened(path: Path, spacing: tuple[float, float] | None = None) -> Scan:
    with DicomScan("key", path, spacing).open() as scan:
        return scan


def change(path: Path, edit: Callable[[pydicom.Dataset], None]) -> None:
    file = pydicom.dcmread(path)
    edit(file)
    file.save_as(path)


def test_grey_frames_are_read_as_they_were_written(tmp_path: Path, make_dicom: Make) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 31, 57)).astype(np.uint8)
    scan = opened(make_dicom(tmp_path / "a.dcm", pixels=pixels))
    np.testing.assert_array_equal(scan.frames[0:4], pixels)
    assert scan.true_motion() is None
    assert scan.landmarks.shape == (0, 3)


def test_colour_frames_become_grey_by_their_luma(tmp_path: Path, make_dicom: Make) -> None:
    pixels = np.zeros((2, 4, 5, 3), np.uint8)
    pixels[0, 0, :4] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]
    pixels[1] = 100
    scan = opened(make_dicom(tmp_path / "a.dcm", pixels=pixels))
    assert scan.frames[0:1][0, 0].tolist() == [76, 150, 29, 255, 0]
    assert (scan.frames[1:2] == 100).all()


def test_the_spacing_of_a_region_is_turned_from_centimetres(
    tmp_path: Path, make_dicom: Make
) -> None:
    scan = opened(make_dicom(tmp_path / "a.dcm", region_cm=(0.012, -0.034)))
    assert scan.calibration.spacing == pytest.approx((0.12, 0.34))


def test_pixel_spacing_is_ordered_row_first(tmp_path: Path, make_dicom: Make) -> None:
    path = make_dicom(tmp_path / "a.dcm", region_cm=None, pixel_spacing=(0.3, 0.2))
    assert opened(path).calibration.spacing == pytest.approx((0.2, 0.3))


def test_a_region_goes_before_pixel_spacing(tmp_path: Path, make_dicom: Make) -> None:
    path = make_dicom(tmp_path / "a.dcm", region_cm=(0.01, 0.02), pixel_spacing=(9, 9))
    assert opened(path).calibration.spacing == pytest.approx((0.1, 0.2))


def test_a_region_in_other_units_is_passed_over(tmp_path: Path, make_dicom: Make) -> None:
    path = make_dicom(tmp_path / "a.dcm", region_cm=(0.01, 0.02), pixel_spacing=(0.3, 0.2))

    def in_seconds(file: pydicom.Dataset) -> None:
        file.SequenceOfUltrasoundRegions[0].PhysicalUnitsXDirection = 4

    change(path, in_seconds)
    assert opened(path).calibration.spacing == pytest.approx((0.2, 0.3))


def test_a_given_spacing_overrides_the_file(tmp_path: Path, make_dicom: Make) -> None:
    path = make_dicom(tmp_path / "a.dcm", pixel_spacing=(9, 9))
    assert opened(path, (0.5, 0.6)).calibration.spacing == (0.5, 0.6)


def test_without_any_spacing_the_option_is_named(
    tmp_path: Path, make_dicom: Make, refused: Refused
) -> None:
    path = make_dicom(tmp_path / "a.dcm", region_cm=None)
    with refused(str(path), "no pixel spacing", "--spacing X Y", kind=InputError):
        opened(path)
    assert opened(path, (0.5, 0.6)).frames.shape == (5, 60, 80)


def without_delta(file: pydicom.Dataset) -> None:
    del file.SequenceOfUltrasoundRegions[0].PhysicalDeltaX


def with_empty_delta(file: pydicom.Dataset) -> None:
    file.SequenceOfUltrasoundRegions[0].PhysicalDeltaY = None


def with_zero_delta(file: pydicom.Dataset) -> None:
    file.SequenceOfUltrasoundRegions[0].PhysicalDeltaX = 0.0


def with_nan_delta(file: pydicom.Dataset) -> None:
    file.SequenceOfUltrasoundRegions[0].PhysicalDeltaX = np.nan


def with_empty_pixel_spacing(file: pydicom.Dataset) -> None:
    del file.SequenceOfUltrasoundRegions
    file.PixelSpacing = None


def with_one_pixel_spacing(file: pydicom.Dataset) -> None:
    del file.SequenceOfUltrasoundRegions
    file.PixelSpacing = 0.1


@pytest.mark.parametrize(
    "spoil",
    [
        without_delta,
        with_empty_delta,
        with_zero_delta,
        with_nan_delta,
        with_empty_pixel_spacing,
        with_one_pixel_spacing,
    ],
)
def test_an_unusable_spacing_is_refused(
    tmp_path: Path, spoil: Callable[[pydicom.Dataset], None], make_dicom: Make, refused: Refused
) -> None:
    path = make_dicom(tmp_path / "a.dcm")
    change(path, spoil)
    with refused(str(path), "spacing", "--spacing X Y", kind=InputError):
        opened(path)


@pytest.mark.parametrize("shape", [(1, 60, 80), (1, 60, 80, 3)])
def test_one_frame_is_refused(
    tmp_path: Path, shape: tuple[int, ...], make_dicom: Make, refused: Refused
) -> None:
    path = make_dicom(tmp_path / "a.dcm", pixels=np.zeros(shape, np.uint8))
    with refused(str(path), "at least 2 frames", kind=InputError):
        opened(path)


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.02, 0.05, 0.5, 0.99])
def test_a_truncated_file_is_refused(
    tmp_path: Path, keep: float, make_dicom: Make, refused: Refused
) -> None:
    path = make_dicom(tmp_path / "a.dcm")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with refused(str(path), kind=InputError):
        opened(path)
    with refused(str(path), "truncated", kind=InputError):
        opened(path, (0.5, 0.6))


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_header_is_refused_or_read_and_nothing_else(
    tmp_path: Path, make_dicom: Make, data: st.DataObject
) -> None:
    path = make_dicom(tmp_path / "a.dcm")
    content = bytearray(path.read_bytes()[: data.draw(st.integers(150, 1500))])
    for place in data.draw(st.lists(st.integers(140, len(content) - 1), max_size=6)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(InputError), DicomScan("a", path).open():
        pass


def test_a_file_that_is_not_dicom_is_refused(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "a.dcm"
    path.write_text("hello" * 100)
    assert not is_dicom(path)
    with refused(str(path), "not a readable DICOM file", kind=InputError):
        opened(path)
    with refused(str(tmp_path / "b.dcm"), "not a readable DICOM file", kind=InputError):
        opened(tmp_path / "b.dcm")


def test_dicom_is_known_by_its_prefix_whatever_its_name(tmp_path: Path, make_dicom: Make) -> None:
    assert is_dicom(make_dicom(tmp_path / "IM0001"))
