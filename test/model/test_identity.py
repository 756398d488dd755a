import numpy as np
import torch

from model.identity import ROTATION_SD_RAD, TRANSLATION_SD_MM, Identity
from tusrec.calibration import from_spacing


class Unreadable:
    shape = (7, 480, 640)

    def __getitem__(self, key: slice) -> np.ndarray:
        raise AssertionError("identity needs no pixels")


def test_identity_says_that_nothing_moves_without_reading_a_pixel() -> None:
    motions = Identity().estimate(Unreadable(), from_spacing(0.2, 0.2), torch.device("cpu"))
    assert motions.T_previous_from_frame.shape == (6, 4, 4)
    assert motions.T_previous_from_frame.dtype == np.float64
    assert (motions.T_previous_from_frame == np.eye(4)).all()


def test_identity_is_as_uncertain_as_a_hand_is_free() -> None:
    motions = Identity().estimate(Unreadable(), from_spacing(0.2, 0.2), torch.device("cpu"))
    sd = np.sqrt(np.diagonal(motions.covariance, axis1=1, axis2=2))
    assert sd.shape == (6, 6)
    np.testing.assert_allclose(
        sd, np.tile(np.repeat([ROTATION_SD_RAD, TRANSLATION_SD_MM], 3), (6, 1))
    )


def test_one_frame_has_no_motion() -> None:
    frames = np.zeros((1, 8, 8), np.uint8)
    motions = Identity().estimate(frames, from_spacing(0.2, 0.2), torch.device("cpu"))
    assert motions.T_previous_from_frame.shape == (0, 4, 4)
    assert motions.covariance.shape == (0, 6, 6)
