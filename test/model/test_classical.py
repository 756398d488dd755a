"""Synthetic speckle: white complex noise under a Gaussian point spread function, log-compressed."""

from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from model import classical, decorrelation
from model.block_matching import Grid, Patches, correlate, cut, find_peaks, moving_mask, normalise
from model.classical import Classical
from model.decorrelation import correlation_at, distance_at, fit_planes
from model.fusion import Prior, fuse_intervals
from model.interface import LocalMotions
from model.persistence import LENGTH, MARGIN
from model.rigid_fit import fit_in_plane, predicted_shifts
from model.signs import choose_signs
from tusrec import poses
from tusrec.calibration import Calibration, from_spacing, read_calibration
from tusrec.errors import OutOfMemoryError

Array = NDArray[np.float64]
CPU = torch.device("cpu")
PIXEL = 0.2  # mm
SIGMA = (2.0, 3.0)  # of the amplitude's point spread function, axial and lateral, pixels
ELEVATION_SIGMA = decorrelation.ELEVATIONAL_OVER_LATERAL * SIGMA[1]


def estimate(frames: NDArray[np.uint8], pixel: float = PIXEL) -> LocalMotions:
    return Classical().estimate(frames, from_spacing(pixel, pixel), CPU)


def centred(motions: LocalMotions, frames: NDArray[np.uint8]) -> Array:
    """Exponential coordinates about the image centre."""
    centre = np.array([(frames.shape[2] + 1) / 2, (frames.shape[1] + 1) / 2, 0.0]) * PIXEL
    return poses.log(poses.about_point(motions.T_previous_from_frame, centre))


def grey(amplitude: NDArray[np.complex128]) -> Array:
    """Log-compressed envelope, 60 dB over 0..255, unrounded."""
    envelope = np.abs(amplitude)
    decibel = 20 * np.log10(envelope / np.sqrt((envelope**2).mean()) + 1e-6)
    return np.asarray(np.clip(180 + decibel * 255 / 60, 1, 255), np.float64)


@cache
def plane(height: int = 260, width: int = 300) -> NDArray[np.complex128]:
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(2, height, width))
    real, imaginary = (gaussian_filter(part, SIGMA) for part in noise)
    return np.asarray(real + 1j * imaginary)


@cache
def volume(slices: int = 72, height: int = 200, width: int = 240) -> Array:
    """Slices of grey levels (Z, H, W), one pixel apart."""
    rng = np.random.default_rng(6)
    noise = rng.normal(size=(2, slices, height, width))
    real, imaginary = (gaussian_filter(part, (ELEVATION_SIGMA, *SIGMA)) for part in noise)
    return grey(real + 1j * imaginary)


def moved(theta: float, x: float, y: float) -> NDArray[np.uint8]:
    """What a probe sees that has turned by theta rad and gone (x, y) mm in its own plane."""
    height, width = 200, 240
    rows, columns = np.mgrid[:height, :width].astype(float)
    right, down = columns - (width - 1) / 2, rows - (height - 1) / 2
    c, s = np.cos(theta), np.sin(theta)
    source = [
        s * right + c * down + y / PIXEL + (plane().shape[0] - 1) / 2,
        c * right - s * down + x / PIXEL + (plane().shape[1] - 1) / 2,
    ]
    parts = [map_coordinates(part, source, order=3) for part in (plane().real, plane().imag)]
    return grey(parts[0] + 1j * parts[1]).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("x", "y"), [(0.0, 0.0), (0.2, 0.0), (0.13, -0.07), (-0.31, 0.26), (0.8, -0.6)]
)
def test_a_shift_is_recovered_to_a_twelfth_of_a_pixel(x: float, y: float) -> None:
    frames = np.stack([moved(0, 0, 0), moved(0, x, y)])
    grid = Grid.of((200, 240), (PIXEL, PIXEL))
    patches = cut(*normalise(torch.from_numpy(frames).float(), torch.ones(200, 240), grid), grid)
    surface = correlate(patches[:1], patches[1:])
    near = torch.tensor([[[-round(x / PIXEL), -round(y / PIXEL)]]])
    peaks = find_peaks(surface, near, 2)
    expected = np.array([-x, -y]) / PIXEL
    median = np.median(peaks.shift[0].numpy(), axis=0)
    np.testing.assert_allclose(median, expected, atol=1 / 12)
    assert peaks.height.median() > 0.9


@settings(max_examples=8, deadline=None)
@given(theta=st.floats(-0.012, 0.012), x=st.floats(-0.3, 0.3), y=st.floats(-0.3, 0.3))
def test_an_in_plane_motion_is_recovered(theta: float, x: float, y: float) -> None:
    frames = np.stack([moved(i * theta, i * x, i * y) for i in range(-1, 2)])
    found = centred(estimate(frames), frames).mean(axis=0)
    np.testing.assert_allclose(found[3:5], [x, y], atol=0.04)
    assert found[2] == pytest.approx(theta, abs=0.001)


@pytest.mark.parametrize("step", [1.65, 2.5])
def test_a_shift_beyond_the_search_is_as_unsure_as_if_nothing_were_seen(step: float) -> None:
    frames = np.stack([moved(0, step * index, 0) for index in (-2, -1, 0, 1, 2)])
    sd = np.sqrt(np.diagonal(estimate(frames).covariance, axis1=1, axis2=2))
    np.testing.assert_allclose(sd[:, 2:5], np.tile(classical.IN_PLANE_PRIOR_SD, (4, 1)))


def test_frames_alike_by_chance_alone_tell_nothing_of_motion_in_the_plane() -> None:
    motions = estimate(noise(12, 200, 240))
    sd = np.sqrt(np.diagonal(motions.covariance, axis1=1, axis2=2))
    np.testing.assert_allclose(sd[:, 2:5], np.tile(classical.IN_PLANE_PRIOR_SD, (11, 1)))


def test_echoes_above_noise_that_fills_most_of_the_picture_tell_of_motion_in_the_plane() -> None:
    rng, (rows, columns) = np.random.default_rng(2), (520, 400)
    echoes = plane(rows, columns + 40)
    echoes = echoes / np.std(echoes)
    frames = np.empty((8, rows, columns), np.uint8)
    for number, frame in enumerate(frames):
        noise = [gaussian_filter(part, 1) for part in rng.normal(size=(2, rows, columns))]
        shown = (noise[0] + 1j * noise[1]) / np.std(noise) / np.sqrt(2)
        shown[: rows // 4] = echoes[: rows // 4, 2 * number :][:, :columns]
        frame[:] = grey(shown).round()
    found = centred(estimate(frames), frames)[:, 3]
    assert np.median(found) == pytest.approx(2 * PIXEL, rel=0.15)


def test_the_decorrelation_curve_is_half_at_one_half_width_and_its_inverse_inverts_it() -> None:
    distance = np.linspace(0, 1.8, 50)
    correlation = correlation_at(distance)
    assert correlation_at(np.array(1.0)) == pytest.approx(0.5, abs=1e-3)
    assert (np.diff(correlation) < 0).all()
    np.testing.assert_allclose(distance_at(correlation), distance, atol=1e-3)


@pytest.mark.parametrize("step", [1, 2])
def test_elevational_distance_under_a_known_beam_is_right_within_a_quarter(step: int) -> None:
    frames = volume()[4::step][:24].round().astype(np.uint8)
    found = centred(estimate(frames), frames)
    assert np.median(found[:, 5]) == pytest.approx(step * PIXEL, rel=0.25)
    assert np.abs(found[:, 3:5]).max() < 0.08


def test_elevational_distance_grows_with_the_true_one() -> None:
    found = []
    for step in (1, 2, 3, 4):
        frames = volume()[::step][:14].round().astype(np.uint8)
        found.append(np.median(centred(estimate(frames), frames)[:, 5]))
    assert (np.diff(found) > 0.6 * PIXEL).all()


def test_a_turning_plane_shows_its_tilt() -> None:
    rows = np.arange(200.0)
    tilt = 0.006
    frames = []
    for index in range(6):
        depth = 36 + index * (1.2 + tilt * (rows - 99.5))
        source = np.broadcast_arrays(depth[:, None], rows[:, None], np.arange(240.0))
        frames.append(map_coordinates(volume(), source, order=1).round().astype(np.uint8))
    found = centred(estimate(np.stack(frames)), np.stack(frames)).mean(axis=0)
    assert found[0] == pytest.approx(tilt, abs=0.003)
    assert abs(found[1]) < 0.002


@settings(max_examples=40, deadline=None)
@given(
    theta=st.floats(-0.03, 0.03), x=st.floats(-1, 1), y=st.floats(-1, 1), spoilt=st.integers(0, 19)
)
def test_the_rigid_fit_ignores_one_patch_that_went_astray(
    theta: float, x: float, y: float, spoilt: int
) -> None:
    centres = np.stack(np.meshgrid(np.linspace(-20, 20, 5), np.linspace(-15, 15, 4)), -1)
    centres = centres.reshape(-1, 2)
    shifts = predicted_shifts(np.array([[theta, x, y]]), centres)
    shifts[0, spoilt] += 1.0
    motion, information = fit_in_plane(
        shifts, np.full((1, 20, 2), 0.02), centres, np.array([1.0, 10.0, 10.0])
    )
    np.testing.assert_allclose(motion[0, 1:], [x, y], atol=0.03)
    assert motion[0, 0] == pytest.approx(theta, abs=0.002)
    assert (np.linalg.eigvalsh(information[0]) > 0).all()


def test_the_rigid_fit_is_less_sure_where_patches_scatter_more_than_their_sd() -> None:
    centres = np.stack(np.meshgrid(np.linspace(-20, 20, 5), np.linspace(-15, 15, 4)), -1)
    centres = centres.reshape(-1, 2)
    sd, scatter = 0.02, 1.8  # so that no patch is taken for one that went astray
    shifts = np.random.default_rng(0).choice([-scatter, scatter], (1, 20, 2)) * sd
    _, information = fit_in_plane(
        np.concatenate([0 * shifts, shifts]), np.full((2, 20, 2), sd), centres, np.full(3, 10.0)
    )
    sure, unsure = (np.diagonal(one) for one in information)
    np.testing.assert_allclose(sure / unsure, scatter**2, rtol=0.2)


@settings(max_examples=40, deadline=None)
@given(a=st.floats(-0.5, 0.5), b=st.floats(-0.03, 0.03), c=st.floats(-0.03, 0.03))
def test_a_plane_is_found_from_its_absolute_values(a: float, b: float, c: float) -> None:
    centres = np.stack(np.meshgrid(np.linspace(-20, 20, 8), np.linspace(-20, 20, 8)), -1)
    centres = centres.reshape(-1, 2)
    true = a + centres @ [b, c]
    found = fit_planes(np.abs(true)[None], np.full((1, 64), 0.01), centres, np.ones(3))
    plane_found = found.coefficients[0, 0] + centres @ found.coefficients[0, 1:]
    error = min(np.abs(plane_found - true).mean(), np.abs(plane_found + true).mean())
    assert error < 0.1 * np.abs(true).mean() + 0.01


def test_intervals_that_agree_add_up_to_their_steps() -> None:
    steps = np.random.default_rng(2).normal(size=(9, 3))
    total = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    motions = {
        k: (total[k:] - total[:-k], np.tile(np.eye(3) * 1e4, (10 - k, 1, 1))) for k in (1, 2, 3)
    }
    solved, covariance = fuse_intervals(motions, 9, Prior(np.full(3, 1e3)))
    np.testing.assert_allclose(solved, steps, atol=1e-5)
    alone, wider = fuse_intervals({1: motions[1]}, 9, Prior(np.full(3, 1e3)))
    np.testing.assert_allclose(alone, steps, atol=1e-5)
    assert (np.trace(covariance, axis1=1, axis2=2) < np.trace(wider, axis1=1, axis2=2)).all()


def test_a_scan_goes_towards_positive_z_and_keeps_turning_the_same_way() -> None:
    onward = np.tile([0.3, 0.0, 0.0], (12, 1))
    turning = np.tile([0.001, 0.03, 0.0], (12, 1))
    for measured, freedom in ((onward, 0), (turning, 1)):
        measured[5:8] *= -1  # the sign that a plane is measured with means nothing
        planes = decorrelation.Planes(measured, np.tile(np.diag([1e3, 1e5, 1e5]), (12, 1, 1)))
        signed = choose_signs({1: planes}, np.diag([1.0, 100.0, 100.0]))[1][0]
        assert len(set(np.sign(signed[:, freedom]))) == 1
        assert signed[:, 0].sum() > 0


def noise(count: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, height, width), dtype=np.uint8)


DEGENERATE = {
    "all black": np.zeros((12, 60, 80), np.uint8),
    "all white": np.full((12, 60, 80), 255, np.uint8),
    "two black frames": np.zeros((2, 60, 80), np.uint8),
    "noise": noise(12, 100, 120),
    "two frames of noise": noise(2, 100, 120),
    "tiny frames": noise(12, 16, 16),
    "one pixel": noise(12, 1, 1),
    "a single row": noise(3, 1, 200),
    "a black frame between": np.concatenate(
        [noise(3, 60, 80), noise(1, 60, 80) * 0, noise(3, 60, 80)]
    ),
    "one bright pixel": np.pad(np.full((9, 1, 1), 255, np.uint8), ((0, 0), (30, 30), (30, 30))),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("pixel", [0.02, 0.2, 3.0])
def test_degenerate_frames_give_finite_rigid_motions(name: str, pixel: float) -> None:
    frames = DEGENERATE[name]
    motions = estimate(frames, pixel)
    assert motions.T_previous_from_frame.shape == (len(frames) - 1, 4, 4)
    assert np.isfinite(motions.T_previous_from_frame).all()
    assert np.isfinite(motions.covariance).all()
    assert (np.linalg.eigvalsh(motions.covariance) > 0).all()
    rotation = motions.T_previous_from_frame[:, :3, :3]
    np.testing.assert_allclose(
        rotation @ rotation.swapaxes(1, 2), np.tile(np.eye(3), (len(frames) - 1, 1, 1)), atol=1e-12
    )


def test_frames_without_any_speckle_stand_still() -> None:
    motions = estimate(np.zeros((12, 60, 80), np.uint8))
    T = np.tile(np.eye(4), (11, 1, 1))
    np.testing.assert_allclose(motions.T_previous_from_frame, T, rtol=0, atol=1e-12)


def test_motion_about_a_repeated_frame_is_shared_out_and_less_sure() -> None:
    frames = volume()[:12].round().astype(np.uint8)
    frames[6] = frames[5]
    motions = estimate(frames)
    steps, sd = motions.T_previous_from_frame[:, 2, 3], motions.covariance[:, 5, 5]
    assert (np.abs(steps) > 0.02).all()
    assert sd[5:7].min() > 1.5 * np.delete(sd, [5, 6]).max()


def test_a_frozen_surround_does_not_hold_the_image_back() -> None:
    frames = np.zeros((9, 240, 280), np.uint8)
    for index in range(9):
        frames[index, 20:220, 20:260] = moved(0, 0.1 * index, 0)
    frames[:, :12] = noise(1, 12, 280)
    frames[:, -12:] = noise(1, 12, 280)
    mask = moving_mask(frames)
    assert not mask[:8].any()
    assert mask[30:210, 30:250].all()
    found = centred(estimate(frames), frames)
    np.testing.assert_allclose(found[:, 3], 0.1, atol=0.02)


class Lazy:
    """Frames that can only be sliced, a few at a time."""

    def __init__(self, frames: NDArray[np.uint8]) -> None:
        self._frames = frames
        self.largest = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self._frames.shape

    def __getitem__(self, key: slice) -> NDArray[np.uint8]:
        part = self._frames[key.start : key.stop]
        self.largest = max(self.largest, len(part))
        return part


def test_frames_are_read_in_bounded_slices_and_twice_the_same_result_comes_out() -> None:
    frames = volume()[:40].round().astype(np.uint8)
    lazy = Lazy(frames)
    calibration = from_spacing(PIXEL, PIXEL)
    found = Classical().estimate(lazy, calibration, CPU)
    again = Classical().estimate(frames, calibration, CPU)
    assert lazy.largest <= LENGTH + MARGIN
    np.testing.assert_array_equal(found.T_previous_from_frame, again.T_previous_from_frame)
    np.testing.assert_array_equal(found.covariance, again.covariance)


LEG = Path(__file__).parents[3] / "shared/real/leg_linear"


def local_error(T: Array, true: Array, calibration: Calibration) -> float:
    """LPE on every 16th pixel each way."""
    y, x = (index.ravel() for index in np.mgrid[1:481:16, 1:641:16])
    points = calibration.scale @ np.stack([x, y, np.zeros_like(x), np.ones_like(x)])
    return float(np.linalg.norm(((T - true) @ points)[:, :3], axis=1).mean())


@pytest.mark.skipif(not LEG.exists(), reason="real tracked scans are not here")
@pytest.mark.parametrize("scan", ["900/RH_run318", "901/RH_run138", "902/RH_run3"])
def test_a_real_linear_scan_comes_out_better_than_identity_up_to_its_sign(scan: str) -> None:
    calibration = read_calibration(LEG / "calib_matrix.csv")
    with h5py.File(LEG / f"transfs/{scan}.h5", locking=False) as file:
        tracked = file["tforms"][:].astype(float)
    true = poses.relative_to_previous(tracked, calibration.T_tool_from_image)
    with h5py.File(LEG / f"frames/{scan}.h5", locking=False) as file:
        T = Classical().estimate(file["frames"], calibration, CPU).T_previous_from_frame
    errors = [local_error(sign, true, calibration) for sign in (T, poses.mirror_elevation(T))]
    still = local_error(np.broadcast_to(np.eye(4), true.shape), true, calibration)
    assert min(errors) < 0.85 * still


def test_running_out_of_memory_halves_the_slices_once_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    frames = np.round(volume()[:20]).astype(np.uint8)
    whole = estimate(frames)
    cut_patches = classical._patches

    def short_of_memory(raw: NDArray[np.uint8], *rest: object) -> Patches:
        if len(raw) > classical.SLICE // 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return cut_patches(raw, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(classical, "_patches", short_of_memory)
    halved = estimate(frames)
    np.testing.assert_allclose(halved.T_previous_from_frame, whole.T_previous_from_frame, atol=1e-6)
    assert caplog.text.count("out of memory") == 1


def test_memory_that_is_short_of_one_frame_is_out_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(*_: object) -> Patches:
        raise MemoryError

    monkeypatch.setattr(classical, "_match", none_left)
    with pytest.raises(OutOfMemoryError, match="batch of 1"):
        estimate(np.round(volume()[:6]).astype(np.uint8))
