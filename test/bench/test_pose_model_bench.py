"""The bench of the pose model runs, and reads its scans from disk."""

import re

import torch

from bench import pose_model
from tusrec.hdf5 import find_dataset, open_hdf5


def test_the_scan_on_disk_is_as_long_as_asked_and_never_jumps() -> None:
    with pose_model.scan_on_disk(130) as path, open_hdf5(path) as file:
        dataset = find_dataset(file, "frames")
        assert dataset.shape == (130, 480, 640)
        assert (dataset[119] == dataset[120]).all()  # turned round, at both of its ends
        assert dataset[129].any()
    assert not path.exists()


def test_speed_is_a_ratio_taken_in_one_run() -> None:
    threads = torch.get_num_threads()
    line = pose_model.speed(frames=10, pairs=1, times=1)
    assert re.search(r"[\d.]+ frames/s; .* [\d.]+ pairs/s: [\d.]+ times faster", line)
    assert torch.get_num_threads() == threads


def test_memory_is_that_of_a_process_of_its_own() -> None:
    assert re.search(r"10 frames: peak 0\.\d+ GB", pose_model.memory(10))


def test_linearity_compares_what_one_more_frame_costs() -> None:
    line = pose_model.linearity((4, 8, 16))
    assert re.match(r"[\d.]+ s for 4, [\d.]+ s for 8, [\d.]+ s for 16 frames: one more", line)
