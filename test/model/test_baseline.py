import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from model import baseline
from model.baseline import (
    ARCHITECTURE,
    PUBLISHED_LPE,
    Baseline,
    build_network,
    published_covariance,
    transforms_from_parameters,
)
from model.weights import write_weights
from tusrec import poses
from tusrec.calibration import Calibration, from_spacing
from tusrec.errors import InputError, OutOfMemoryError, WeightsError

CPU = torch.device("cpu")
ANGLES = st.floats(-1.5, 1.5)


class MeanBrightness(nn.Module):
    """Stands for the network: tx and ty are the means of the first and the second image."""

    largest_batch = 1000

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(6))

    def forward(self, pairs: Tensor) -> Tensor:
        if len(pairs) > self.largest_batch:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 PiB.")
        means = pairs.mean((2, 3))
        return nn.functional.pad(means, (3, 1))


class SpiedFrames:
    """Frames that note how many were asked for at once."""

    def __init__(self, frames: NDArray[np.uint8]) -> None:
        self.frames = frames
        self.shape = frames.shape
        self.asked: list[int] = []

    def __getitem__(self, key: slice) -> NDArray[np.uint8]:
        self.asked.append(len(self.frames[key]))
        return self.frames[key]


def noise() -> NDArray[np.uint8]:
    """Four frames of unlike brightness."""
    return np.random.RandomState(0).randint(
        0, [[[60]], [[120]], [[90]], [[256]]], (4, 480, 640), np.uint8
    )


@pytest.fixture
def calibration() -> Calibration:
    return from_spacing(0.229389190673828, 0.220979690551758)


@pytest.fixture
def frames() -> NDArray[np.uint8]:
    """Seven frames, frame i of grey value 10 i."""
    return np.full((7, 480, 640), np.arange(0, 70, 10)[:, None, None], np.uint8)


@pytest.fixture
def brightness_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(baseline, "build_network", MeanBrightness)
    write_weights("baseline", {"gain": torch.ones(6)}, ARCHITECTURE, "none", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def network_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the whole network, whose norms suit `noise`, so that pairs differ."""
    torch.manual_seed(0)
    network = build_network().train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network(torch.tensor(np.stack([noise()[:-1], noise()[1:]], axis=1)) / 255)
    folder = tmp_path_factory.mktemp("weights")
    write_weights("baseline", network.state_dict(), ARCHITECTURE, "none", folder)
    return folder


@pytest.mark.parametrize("batch_size", [None, 1, 2, 4, 6, 100])
def test_every_frame_is_paired_with_the_one_before_it(
    brightness_folder: Path,
    frames: NDArray[np.uint8],
    calibration: Calibration,
    batch_size: int | None,
) -> None:
    motions = Baseline(brightness_folder, batch_size).estimate(frames, calibration, CPU)
    expected = np.tile(np.eye(4), (6, 1, 1))
    expected[:, 0, 3] = np.arange(0, 60, 10) / 255
    expected[:, 1, 3] = np.arange(10, 70, 10) / 255
    np.testing.assert_allclose(motions.T_previous_from_frame, expected, atol=1e-6)
    assert motions.covariance.shape == (6, 6, 6)


def test_frames_are_read_in_slices_of_a_batch_and_one(
    brightness_folder: Path, frames: NDArray[np.uint8], calibration: Calibration
) -> None:
    spied = SpiedFrames(frames)
    Baseline(brightness_folder, batch_size=4).estimate(spied, calibration, CPU)
    assert spied.asked == [5, 3]


def test_two_frames_give_one_motion(
    brightness_folder: Path, frames: NDArray[np.uint8], calibration: Calibration
) -> None:
    motions = Baseline(brightness_folder).estimate(frames[:2], calibration, CPU)
    assert motions.T_previous_from_frame.shape == (1, 4, 4)


def test_running_out_of_memory_halves_the_batch_once_and_changes_nothing(
    brightness_folder: Path,
    frames: NDArray[np.uint8],
    calibration: Calibration,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = Baseline(brightness_folder, 4).estimate(frames, calibration, CPU)
    monkeypatch.setattr(MeanBrightness, "largest_batch", 2)
    estimator = Baseline(brightness_folder, batch_size=4)
    with caplog.at_level(logging.WARNING):
        found = estimator.estimate(frames, calibration, CPU)
        estimator.estimate(frames, calibration, CPU)
    assert np.array_equal(found.T_previous_from_frame, expected.T_previous_from_frame)
    assert caplog.messages == ["out of memory with a batch of 4; going on with 2"]


def test_a_single_pair_that_does_not_fit_is_out_of_memory(
    brightness_folder: Path,
    frames: NDArray[np.uint8],
    calibration: Calibration,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MeanBrightness, "largest_batch", 0)
    with pytest.raises(OutOfMemoryError, match=r"batch of 1 \(CUDA out of memory"):
        Baseline(brightness_folder, batch_size=4).estimate(frames, calibration, CPU)


@pytest.mark.parametrize("shape", [(3, 240, 320), (3, 640, 480), (3, 480, 641)])
def test_another_frame_size_is_refused(
    brightness_folder: Path, calibration: Calibration, shape: tuple[int, int, int]
) -> None:
    with pytest.raises(InputError, match=rf"{shape[1]}x{shape[2]} pixels, expected 480x640"):
        Baseline(brightness_folder).estimate(np.zeros(shape, np.uint8), calibration, CPU)


def test_another_pixel_size_is_warned_of(
    brightness_folder: Path,
    frames: NDArray[np.uint8],
    calibration: Calibration,
    caplog: pytest.LogCaptureFixture,
) -> None:
    estimator = Baseline(brightness_folder)
    estimator.estimate(frames, calibration, CPU)
    assert not caplog.messages
    estimator.estimate(frames, from_spacing(0.1, 0.1), CPU)
    assert "pixels of 0.1000 x 0.1000 mm" in caplog.messages[0]


def test_missing_weights_tell_how_to_get_them(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"models": {}}')
    with pytest.raises(WeightsError, match="make convert-baseline FILE="):
        Baseline(tmp_path)


def test_weights_of_another_network_are_refused(brightness_folder: Path) -> None:
    write_weights("baseline", {"loss": torch.ones(6)}, "?", "?", brightness_folder)
    with pytest.raises(WeightsError, match=r"1 missing, the first gain; 1 unexpected"):
        Baseline(brightness_folder)


def test_the_network_gives_the_same_motions_at_every_batch_size(
    network_folder: Path, calibration: Calibration
) -> None:
    alone, together = (
        Baseline(network_folder, size).estimate(noise(), calibration, CPU).T_previous_from_frame
        for size in (1, 3)
    )
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert np.abs(alone[1] - alone[0]).max() > 1e-3  # the pairs are told apart
    poses.require_rigid(alone, "motion")


def test_the_weights_are_named_by_their_sha256(network_folder: Path) -> None:
    estimator = Baseline(network_folder)
    assert estimator.name == "baseline"
    assert estimator.weights_sha256 in (network_folder / "manifest.json").read_text()


@given(ANGLES, ANGLES, ANGLES)
def test_angles_turn_about_x_first_then_y_then_z(
    about_z: float, about_y: float, about_x: float
) -> None:
    c, s = np.cos([about_x, about_y, about_z]), np.sin([about_x, about_y, about_z])
    Rx = np.array([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]])
    Ry = np.array([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]])
    Rz = np.array([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]])
    found = transforms_from_parameters(np.array([[about_z, about_y, about_x, 1.0, 2.0, 3.0]]))[0]
    np.testing.assert_allclose(found[:3, :3], Rz @ Ry @ Rx, atol=1e-12)
    assert found[:, 3].tolist() == [1.0, 2.0, 3.0, 1.0]


def test_the_covariance_reproduces_the_published_local_error() -> None:
    random = np.random.RandomState(0)
    xi = random.multivariate_normal(np.zeros(6), published_covariance(), size=4000)
    x, y = np.meshgrid(np.linspace(-73.4, 73.4, 9), np.linspace(-53.0, 53.0, 7))
    points = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size), np.ones(x.size)])
    displacements = (poses.exp(xi) - np.eye(4)) @ points.T
    error = np.linalg.norm(displacements[:, :3], axis=1).mean()
    assert error == pytest.approx(PUBLISHED_LPE, rel=0.1)
