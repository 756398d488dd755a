"""Our volumes of a real sequence against PLUS's own golden ones.

The latter of these PLUS made with a clip rectangle and a fan of which only the result is known;
both were read off the golden volume: the rectangle from its origin, the fan from its outline.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from tusrec.calibration import from_image_to_probe
from tusrec.scans import Scan
from tusrec.sequences import SequenceScan
from view.sector import Clip, Fan, fan, rectangle
from view.space import in_tracker_space
from view.volume import Method, grid_around, reconstruct

PLUS = Path(__file__).parents[3] / "shared" / "real" / "plus"
pytestmark = pytest.mark.skipif(not PLUS.is_dir(), reason="needs shared/real/plus")

IMAGE_TO_PROBE = np.array(
    [
        [-0.00157821, 0.0785919, -0.00803285, 15.3978],
        [-0.0839128, 0.00372697, 0.0153803, 49.5705],
        [0.0159024, 0.00714276, 0.0803604, -8.63446],
        [0, 0, 0, 1],
    ]
)
CLIP = Clip(192, 16, 421, 579)
FAN = Fan(origin=(378, 16), angles=(-44, 44.5), radii=(122.5, 364))


@pytest.fixture(scope="module")
def spine() -> Iterator[Scan]:
    calibration = from_image_to_probe(IMAGE_TO_PROBE, "here")
    with SequenceScan("spine", PLUS / "SpinePhantomFreehand.igs.mha", calibration).open() as scan:
        yield scan


def golden(name: str) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    image = sitk.ReadImage(str(PLUS / f"vtkVolumeReconstructorTestNN{name}volumeRef.mha"))
    return sitk.GetArrayFromImage(image), np.array(image.GetOrigin())


def test_the_mean_of_the_spine_agrees_with_plus_on_the_voxels_hit(spine: Scan) -> None:
    expected, origin = golden("MEAN")
    places, whole = in_tracker_space(spine), np.ones(spine.image_size, np.bool_)
    grid = grid_around(places, whole, 0.5)
    np.testing.assert_allclose(grid.origin, origin, atol=1e-3)
    volume = reconstruct(spine.frames, places, whole, grid, Method("NEAREST_NEIGHBOR", "MEAN"))
    assert volume.values.shape == expected.shape
    hit = volume.mask > 0
    assert np.corrcoef(volume.values[hit], expected[hit])[0, 1] >= 0.998


def test_the_latest_of_the_spine_is_that_of_plus_in_17_of_20_voxels(spine: Scan) -> None:
    expected, origin = golden("LATE")
    places, clipped = in_tracker_space(spine), rectangle(spine.image_size, CLIP)
    grid = grid_around(places, clipped, 0.5)
    np.testing.assert_allclose(grid.origin, origin, atol=1e-3)
    pixels = clipped & fan(spine.image_size, FAN)
    volume = reconstruct(spine.frames, places, pixels, grid, Method("NEAREST_NEIGHBOR", "LATEST"))
    assert volume.values.shape == expected.shape
    hit = volume.mask > 0
    assert (volume.values[hit] == expected[hit]).mean() >= 0.85
    assert hit[expected > 0].mean() > 0.98


def test_without_the_shear_of_its_calibration_the_spine_agrees_less(spine: Scan) -> None:
    """Shows that the bar above rests on placing pixels by the whole given matrix."""
    expected, _ = golden("MEAN")
    whole = np.ones(spine.image_size, np.bool_)
    grid = grid_around(in_tracker_space(spine), whole, 0.5)
    calibration = spine.calibration
    assert spine.T_camera_from_tool is not None
    rigid = spine.T_camera_from_tool @ calibration.T_tool_from_image @ calibration.scale
    volume = reconstruct(spine.frames, rigid, whole, grid, Method())
    hit = volume.mask > 0
    assert np.corrcoef(volume.values[hit], expected[hit])[0, 1] < 0.998
