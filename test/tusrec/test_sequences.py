from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import transforms

from tusrec.calibration import from_image_to_probe
from tusrec.errors import InputError, OutOfMemoryError
from tusrec.scans import Scan
from tusrec.sequences import SequenceScan, is_sequence

Array = NDArray[np.float64]
Make = Callable[..., Path]
Refused = Callable[..., AbstractContextManager[None]]

FRAMES = 5
PIXEL = np.diag([0.1, 0.2, 0.3, 1.0])
IMAGE_TO_PROBE = from_image_to_probe(PIXEL, "here")
REAL = Path(__file__).parents[3] / "shared" / "real" / "plus"


def opened(path: Path, **options: object) -> Scan:
    with SequenceScan("key", path, **options).open() as scan:  # type: ignore[arg-type]
        return scan


def translations(x: Array) -> Array:
    """(N, 4, 4), along x."""
    T = np.tile(np.eye(4), (len(x), 1, 1))
    T[:, 0, 3] = x
    return T


STEPS = translations(np.arange(FRAMES, dtype=np.float64))


def poses_of(scan: Scan) -> Array:
    assert scan.T_camera_from_tool is not None
    return scan.T_camera_from_tool


def places(scan: Scan, x: float, y: float) -> Array:
    """Where the 0-based pixel of every frame lies, (N, 3) mm, by poses and calibration."""
    pixel = scan.calibration.T_image_from_pixel @ [x + 1, y + 1, 0, 1]
    moved = poses_of(scan) @ scan.calibration.T_tool_from_image @ pixel
    return np.asarray(moved[:, :3])


@pytest.mark.parametrize("suffix", [".mha", ".igs.mha"])
def test_frames_are_read_as_they_were_written(
    tmp_path: Path, suffix: str, make_sequence: Make
) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (4, 31, 57)).astype(np.uint8)
    path = make_sequence(tmp_path / f"a{suffix}", pixels=pixels)
    scan = opened(path, spacing=(0.1, 0.2))
    np.testing.assert_array_equal(scan.frames[0:4], pixels)
    assert scan.image_size == (31, 57)
    assert scan.landmarks.shape == (0, 3)


def test_a_chain_through_the_tracker_gives_the_probe_in_the_reference(
    tmp_path: Path, make_sequence: Make
) -> None:
    probe = np.tile(np.eye(4), (FRAMES, 1, 1))
    probe[:, :3, 3] = [10, 5, 7]
    probe[:, 0, 3] += np.arange(FRAMES)
    quarter_turn = np.array([[0, -1, 0, 10], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
    path = make_sequence(
        tmp_path / "a.mha",
        {
            "ProbeToTracker": probe,
            "ReferenceToTracker": np.tile(quarter_turn, (FRAMES, 1, 1)),
            "StylusToTracker": np.tile(quarter_turn.T, (FRAMES, 1, 1)),
        },
    )
    scan = opened(path, image_to_probe=IMAGE_TO_PROBE)
    # By hand: minus (10, 0, 0) leaves (i, 5, 7), and a quarter turn back makes that (5, -i, 7).
    expected = np.tile([[0, 1, 0, 5], [-1, 0, 0, 0], [0, 0, 1, 7], [0, 0, 0, 1]], (FRAMES, 1, 1))
    expected[:, 1, 3] = -np.arange(FRAMES)
    np.testing.assert_allclose(poses_of(scan), expected, atol=1e-12)
    assert scan.calibration is IMAGE_TO_PROBE


@pytest.mark.parametrize(
    "names",
    [
        ("ProbeToReference", None),
        ("ProbeToTracker", None),
        ("ProbeToPhysical", None),
        ("ProbeToTracker", "TrackerToReference"),
        ("ProbeToMarker", "MarkerToWorld"),
    ],
)
def test_the_probe_is_followed_to_whichever_world_there_is(
    tmp_path: Path, names: tuple[str, str | None], make_sequence: Make
) -> None:
    first, second = names
    still = np.tile(np.eye(4), (FRAMES, 1, 1))
    path = make_sequence(tmp_path / "a.mha", {first: STEPS} | ({second: still} if second else {}))
    scan = opened(path, image_to_probe=IMAGE_TO_PROBE)
    np.testing.assert_array_equal(poses_of(scan), STEPS)


def test_a_system_may_be_named_tool(tmp_path: Path, make_sequence: Make) -> None:
    still = np.tile(PIXEL, (FRAMES, 1, 1))
    path = make_sequence(tmp_path / "a.mha", {"ImageToTool": still, "ToolToTracker": STEPS})
    other = make_sequence(tmp_path / "b.mha", {"ImageToProbe": still, "ProbeToTracker": STEPS})
    np.testing.assert_array_equal(poses_of(opened(path)), poses_of(opened(other)))


def test_a_transform_is_inverted_where_it_leads_the_other_way(
    tmp_path: Path, make_sequence: Make
) -> None:
    path = make_sequence(tmp_path / "a.mha", {"ReferenceToProbe": STEPS})
    scan = opened(path, image_to_probe=IMAGE_TO_PROBE)
    np.testing.assert_allclose(poses_of(scan), np.linalg.inv(STEPS), atol=1e-12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(rigid=transforms(FRAMES), thickness=st.sampled_from([0.0, 1.0, 0.3]))
def test_pixels_lie_where_image_to_reference_puts_them(
    tmp_path: Path, make_sequence: Make, rigid: Array, thickness: float
) -> None:
    image_to_reference = rigid @ np.diag([0.1, 0.2, thickness, 1.0])
    path = make_sequence(tmp_path / "a.mha", {"ImageToReference": image_to_reference})
    scan = opened(path)
    assert scan.calibration.spacing == pytest.approx((0.1, 0.2))
    for x, y in [(0, 0), (79, 0), (0, 59), (33, 44)]:
        expected = (image_to_reference @ [x, y, 0, 1])[:, :3]
        np.testing.assert_allclose(places(scan, x, y), expected, atol=1e-6)


def test_pixels_on_slightly_skewed_axes_lie_where_the_file_puts_them(
    tmp_path: Path, make_sequence: Make
) -> None:
    skewed = np.tile(np.eye(4), (FRAMES, 1, 1))
    skewed[:, :3, 0], skewed[:, :3, 1] = [0.2, 0.0, 0.0], [-0.0096, 0.19977, 0.0]
    path = make_sequence(tmp_path / "a.mha", {"ImageToReference": STEPS @ skewed})
    for x, y in [(0, 0), (79, 59)]:
        expected = (STEPS @ skewed @ [x, y, 0, 1])[:, :3]
        np.testing.assert_allclose(places(opened(path), x, y), expected, atol=1e-9)


def test_pixels_lie_where_image_to_probe_and_the_pose_put_them(
    tmp_path: Path, make_sequence: Make
) -> None:
    path = make_sequence(tmp_path / "a.mha", {"ProbeToReference": STEPS})
    scan = opened(path, image_to_probe=IMAGE_TO_PROBE)
    for x, y in [(0, 0), (79, 59)]:
        expected = (STEPS @ PIXEL @ [x, y, 0, 1])[:, :3]
        np.testing.assert_allclose(places(scan, x, y), expected, atol=1e-9)


def test_image_to_probe_in_the_file_joins_the_chain(tmp_path: Path, make_sequence: Make) -> None:
    pixel = np.tile(PIXEL, (FRAMES, 1, 1))
    path = make_sequence(tmp_path / "a.mha", {"ImageToProbe": pixel, "ProbeToTracker": STEPS})
    expected = (STEPS @ PIXEL @ [20, 30, 0, 1])[:, :3]
    np.testing.assert_allclose(places(opened(path), 20, 30), expected, atol=1e-9)


@pytest.mark.parametrize("name", ["ImageToProbe", "ImageToReference"])
def test_a_flat_image_transform_does_not_disturb_a_given_image_to_probe(
    tmp_path: Path, name: str, make_sequence: Make
) -> None:
    flat = np.tile(np.diag([0.1, 0.2, 0.0, 1.0]), (FRAMES, 1, 1))
    path = make_sequence(tmp_path / "a.mha", {name: flat, "ProbeToReference": STEPS})
    scan = opened(path, image_to_probe=IMAGE_TO_PROBE)
    np.testing.assert_array_equal(poses_of(scan), STEPS)


@pytest.mark.parametrize("status", ["INVALID", "MISSING"])
def test_an_invalid_status_in_one_frame_leaves_frames_without_truth(
    tmp_path: Path, status: str, make_sequence: Make
) -> None:
    broken = {"Seq_Frame0003_ProbeToTrackerTransformStatus": status}
    path = make_sequence(tmp_path / "a.mha", {"ProbeToTracker": STEPS}, fields=broken)
    scan = opened(path, image_to_probe=IMAGE_TO_PROBE)
    assert scan.true_motion() is None
    assert scan.frames[0:FRAMES].shape == (FRAMES, 60, 80)


def test_an_invalid_image_transform_falls_back_on_the_given_spacing(
    tmp_path: Path, make_sequence: Make, refused: Refused
) -> None:
    broken = {"Seq_Frame0003_ImageToReferenceTransformStatus": "INVALID"}
    pixel = np.tile(PIXEL, (FRAMES, 1, 1))
    path = make_sequence(tmp_path / "a.mha", {"ImageToReference": pixel}, fields=broken)
    scan = opened(path, spacing=(0.5, 0.6))
    assert scan.true_motion() is None
    assert scan.calibration.spacing == (0.5, 0.6)
    with refused("a.mha", "--image-to-probe", "--spacing", kind=InputError):
        opened(path)


def test_the_files_own_pixel_size_goes_before_the_given_spacing(
    tmp_path: Path, make_sequence: Make
) -> None:
    pixel = np.tile(PIXEL, (FRAMES, 1, 1))
    path = make_sequence(tmp_path / "a.mha", {"ImageToReference": pixel})
    assert opened(path, spacing=(0.5, 0.6)).calibration.spacing == pytest.approx((0.1, 0.2))


def test_without_any_pixel_size_the_options_are_named(
    tmp_path: Path, make_sequence: Make, refused: Refused
) -> None:
    path = make_sequence(tmp_path / "a.mha", {"ProbeToTracker": STEPS})
    with refused(str(path), "--image-to-probe", "--spacing X Y", kind=InputError):
        opened(path)


@pytest.mark.parametrize(
    ("flag", "flip_y", "flip_x"),
    [
        ("MF", False, False),
        ("UF", False, True),
        ("MN", True, False),
        ("UN", True, True),
        ("MFA", False, False),
        ("UNA", True, True),
    ],
)
def test_the_orientation_flag_turns_frames_into_marked_far(
    tmp_path: Path, flag: str, flip_y: bool, flip_x: bool, make_sequence: Make
) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    fields = {"UltrasoundImageOrientation": flag}
    path = make_sequence(tmp_path / "a.mha", pixels=pixels, fields=fields)
    frames = opened(path, spacing=(1, 1)).frames[0:2]
    expected = np.flip(pixels, tuple(n for n, flip in ((1, flip_y), (2, flip_x)) if flip))
    np.testing.assert_array_equal(frames, expected)


@pytest.mark.parametrize("flag", ["XX", "M", "FM"])
def test_an_unknown_orientation_is_refused(
    tmp_path: Path, flag: str, make_sequence: Make, refused: Refused
) -> None:
    path = make_sequence(tmp_path / "a.mha", fields={"UltrasoundImageOrientation": flag})
    with refused("a.mha", repr(flag), "MF, UF, MN or UN", kind=InputError):
        opened(path, spacing=(1, 1))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ("1 2 3", "not 16 numbers"),
        ("1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 one", "not 16 numbers"),
        ("1 0 0 nan 0 1 0 0 0 0 1 0 0 0 0 1", "NaN"),
        ("1 0 0 inf 0 1 0 0 0 0 1 0 0 0 0 1", "NaN"),
        ("0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0", "cannot be inverted"),
        ("2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1", "frame 3: not rigid"),
        ("-1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", "frame 3: not rigid"),
        ("1 0 0 0 0 1 0 0 0 0 1 0 0 0 1 1", "frame 3: not rigid"),
    ],
)
def test_broken_poses_with_status_ok_are_refused(
    tmp_path: Path, numbers: str, words: str, make_sequence: Make, refused: Refused
) -> None:
    broken = {"Seq_Frame0003_ProbeToTrackerTransform": numbers}
    path = make_sequence(tmp_path / "a.mha", {"ProbeToTracker": STEPS}, fields=broken)
    with refused("a.mha", words, "expected" if "rigid" in words else "", kind=InputError):
        opened(path, image_to_probe=IMAGE_TO_PROBE)


def test_an_image_transform_with_skewed_axes_is_refused(
    tmp_path: Path, make_sequence: Make, refused: Refused
) -> None:
    skewed = np.tile(PIXEL, (FRAMES, 1, 1))
    skewed[:, 0, 1] = 0.2
    path = make_sequence(tmp_path / "a.mha", {"ImageToReference": skewed})
    with refused("a.mha", "perpendicular", kind=InputError):
        opened(path)


@pytest.mark.parametrize("keep", [0, 100, -100, -20_000])
def test_a_truncated_sequence_is_refused(
    tmp_path: Path, keep: int, make_sequence: Make, refused: Refused
) -> None:
    path = make_sequence(tmp_path / "a.mha", {"ProbeToTracker": STEPS})
    path.write_bytes(path.read_bytes()[:keep])
    with refused("a.mha", "truncated", kind=InputError):
        opened(path, spacing=(1, 1))


def test_a_sequence_of_one_frame_is_refused(
    tmp_path: Path, make_sequence: Make, refused: Refused
) -> None:
    path = make_sequence(tmp_path / "a.mha", pixels=np.zeros((1, 6, 8), np.uint8))
    with refused("a.mha", "(1, 6, 8)", "at least 2 frames", kind=InputError):
        opened(path, spacing=(1, 1))


def test_a_single_colour_picture_is_no_scan_of_its_rows(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "a.mha"
    picture = sitk.GetImageFromArray(np.zeros((48, 64, 3), np.uint8), isVector=True)
    sitk.WriteImage(picture, str(path))
    with refused(str(path), "at least 2 frames", kind=InputError):
        opened(path, spacing=(0.2, 0.2))


def test_a_missing_sequence_is_refused(tmp_path: Path, refused: Refused) -> None:
    with refused("a.mha", "no such file", kind=InputError):
        opened(tmp_path / "a.mha", spacing=(1, 1))


@pytest.mark.parametrize(
    "failure",
    [
        ("SimpleITK.ReadImage", RuntimeError("Failed to allocate memory for image.")),
        ("SimpleITK.ReadImage", RuntimeError("Exception thrown in SimpleITK: std::bad_alloc")),
        ("SimpleITK.GetArrayFromImage", MemoryError()),
        ("tusrec.sequences._oriented", MemoryError()),
    ],
)
def test_a_sequence_that_memory_does_not_hold_is_told_so(
    failure: tuple[str, Exception],
    tmp_path: Path,
    make_sequence: Make,
    monkeypatch: pytest.MonkeyPatch,
    refused: Refused,
) -> None:
    path = make_sequence(tmp_path / "a.mha")

    def fail(*_: object) -> None:
        raise failure[1]

    monkeypatch.setattr(failure[0], fail)
    with refused("a.mha", "found no memory", kind=OutOfMemoryError):
        opened(path, spacing=(0.2, 0.2))


def test_a_header_field_with_a_name_that_is_not_utf8_is_refused(
    tmp_path: Path, make_sequence: Make, refused: Refused
) -> None:
    file = make_sequence(tmp_path / "a.mha", fields={"Operateur": "x"})
    content = file.read_bytes()
    assert b"Operateur" in content
    file.write_bytes(content.replace(b"Operateur", b"Op\xe9rateur"))
    with refused(str(file), "not UTF-8", "mend the header", kind=InputError):
        opened(file, spacing=(0.2, 0.2))


def test_a_plain_volume_is_not_a_sequence(tmp_path: Path, make_sequence: Make) -> None:
    volume = tmp_path / "volume.mha"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5), np.uint8)), str(volume))
    assert not is_sequence(volume)
    sequence = make_sequence(tmp_path / "sequence.mha", {"ProbeToTracker": STEPS})
    assert is_sequence(sequence)
    assert not is_sequence(sequence.rename(tmp_path / "sequence.raw"))


SPINE = [
    [-0.00157821, 0.0785919, -0.00803285, 15.3978],
    [-0.0839128, 0.00372697, 0.0153803, 49.5705],
    [0.0159024, 0.00714276, 0.0803604, -8.63446],
    [0, 0, 0, 1],
]
BONE = [
    [0.000796231, 0.0854272, 0.000850194, 12.74],
    [-0.0853999, 0.000772721, 0.00233653, 50.76],
    [0.00232863, -0.000871617, 0.0853992, -0.5],
    [0, 0, 0, 1],
]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real sequences are not on this machine")
@pytest.mark.parametrize(
    ("name", "image_to_probe", "spacing", "tolerance"),
    [  # the spine's calibration is skewed by 2.7 degrees, which a rigid one cannot follow
        ("SpinePhantomFreehand.igs.mha", SPINE, (0.0854, 0.0790), 1.1),
        ("BoneUltrasound_L14.igs.mha", BONE, (0.0854, 0.0854), 1e-3),
    ],
)
def test_real_sequences_are_read_with_their_poses(
    name: str, image_to_probe: list[list[float]], spacing: tuple[float, float], tolerance: float
) -> None:
    matrix = np.array(image_to_probe)
    assert is_sequence(REAL / name)
    scan = opened(REAL / name, image_to_probe=from_image_to_probe(matrix, name))
    assert scan.frames.shape == (21, 616, 820)
    assert scan.calibration.spacing == pytest.approx(spacing, abs=1e-4)
    expected = (poses_of(scan) @ matrix @ [410, 308, 0, 1])[:, :3]
    assert np.linalg.norm(places(scan, 410, 308) - expected, axis=1).max() < tolerance


@pytest.mark.skipif(not REAL.is_dir(), reason="the real sequences are not on this machine")
def test_the_real_spine_sweep_moves_by_its_known_steps() -> None:
    matrix = np.array(SPINE)
    path = REAL / "SpinePhantomFreehand.igs.mha"
    scan = opened(path, image_to_probe=from_image_to_probe(matrix, "spine"))
    steps = np.linalg.norm(np.diff(places(scan, 410, 308), axis=0), axis=1)
    assert np.median(steps) == pytest.approx(1.6, abs=0.3)
