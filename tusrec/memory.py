"""How much memory there is, and how much this process has used."""

import os
import resource
from pathlib import Path

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
STATUS = Path("/proc/self/status")
KIB = 1024
CGROUP_USED = Path("/sys/fs/cgroup/memory.current")


def available_bytes() -> int:
    """Free memory of the machine, or of the container where that has a lower limit."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(free, _container_bytes(free))


def peak_bytes() -> int:
    """Largest resident size of this process so far.

    `VmHWM` rather than getrusage, whose maximum a process inherits from the one that started it.
    """
    if not STATUS.exists():  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * KIB


def _container_bytes(otherwise: int) -> int:
    try:
        return int(CGROUP_LIMIT.read_text()) - int(CGROUP_USED.read_text())
    except (OSError, ValueError):
        return otherwise
