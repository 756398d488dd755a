from pathlib import Path

import numpy as np
import pytest

from tusrec import memory


@pytest.mark.parametrize("version", [0, 1])
def test_a_containers_limit_is_seen_in_either_version_of_control_groups(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = [(tmp_path / f"limit{n}", tmp_path / f"used{n}") for n in range(2)]
    groups[version][0].write_text("5000000\n")
    groups[version][1].write_text("2000000\n")
    monkeypatch.setattr(memory, "CGROUPS", tuple(groups))
    assert memory.available_bytes() == 3_000_000


def test_files_that_the_kernel_keeps_in_memory_count_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 300000\nactive_file 200000\n")
    (tmp_path / "limit").write_text("5000000\n")
    (tmp_path / "used").write_text("2000000\n")
    monkeypatch.setattr(memory, "CGROUPS", ((tmp_path / "limit", tmp_path / "used"),))
    assert memory.available_bytes() == 3_500_000
    (tmp_path / "meminfo").write_text("MemFree: 1 kB\nMemAvailable:       200 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    assert memory.available_bytes() == 200 * 1024


def test_a_container_without_a_limit_has_what_the_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "limit").write_text("max\n")
    (tmp_path / "used").write_text("2000000\n")
    monkeypatch.setattr(memory, "CGROUPS", ((tmp_path / "limit", tmp_path / "used"),))
    assert memory.available_bytes() > 10_000_000


def test_the_peak_grows_with_what_is_touched_and_does_not_shrink() -> None:
    before = memory.peak_bytes()
    block = np.ones(max(before, 100_000_000), np.uint8)
    touched = memory.peak_bytes()
    del block
    assert touched > before
    assert memory.peak_bytes() > touched - 1_000_000  # the kernel counts in batches
