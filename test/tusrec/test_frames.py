from pathlib import Path

import h5py
import numpy as np
import pytest

from tusrec import memory
from tusrec.frames import in_memory_if_it_fits
from tusrec.hdf5 import Hdf5Frames


def test_frames_are_read_in_one_piece_only_where_memory_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 10, 20)).astype(np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        lazy = Hdf5Frames(file.create_dataset("frames", data=pixels))
        monkeypatch.setattr(memory, "available_bytes", lambda: 8 * pixels.nbytes)
        whole = in_memory_if_it_fits(lazy)
        assert isinstance(whole, np.ndarray)
        np.testing.assert_array_equal(whole, pixels)
        monkeypatch.setattr(memory, "available_bytes", lambda: 2 * pixels.nbytes)
        assert in_memory_if_it_fits(lazy) is lazy


def test_a_containers_limit_counts_where_it_is_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, used = tmp_path / "memory.max", tmp_path / "memory.current"
    monkeypatch.setattr(memory, "CGROUP_LIMIT", limit)
    monkeypatch.setattr(memory, "CGROUP_USED", used)
    without_container = memory.available_bytes()
    assert without_container > 10_000
    limit.write_text("10000\n")
    used.write_text("4000\n")
    assert memory.available_bytes() == 6000
    limit.write_text("max\n")
    assert memory.available_bytes() > 10_000


def test_the_peak_is_that_of_a_living_python_process_in_bytes() -> None:
    assert 10_000_000 < memory.peak_bytes() < 10**12
