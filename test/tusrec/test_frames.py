from pathlib import Path

import h5py
import numpy as np
import pytest

from tusrec import memory
from tusrec.frames import evenly_spread, in_memory_if_it_fits
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


def test_what_is_evenly_spread_has_both_ends_and_nothing_twice() -> None:
    assert evenly_spread(9, 3) == [0, 4, 8]
    assert evenly_spread(3, 9) == [0, 1, 2]
    assert evenly_spread(9, 1) == [0]
    assert evenly_spread(0, 3) == []
