"""How much memory there is, and how much this process has used."""

import os
import resource
from contextlib import suppress
from pathlib import Path

# The container's limit and use, where version 2 and version 1 of control groups keep them.
CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
STATUS = Path("/proc/self/status")
KIB = 1024


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
    for limit, used in CGROUPS:
        # A file that is not there, or says `max`, sets no limit.
        with suppress(OSError, ValueError):
            return int(limit.read_text()) - int(used.read_text())
    return otherwise
