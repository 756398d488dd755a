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
MEMINFO = Path("/proc/meminfo")
KIB = 1024


def available_bytes() -> int:
    """Memory that the machine can give, or the container where that has a lower limit.

    Copies of files that the kernel keeps in case they are read again count as free.
    """
    free = _machine_bytes()
    return min(free, _container_bytes(free))


def peak_bytes() -> int:
    """Largest resident size of this process so far.

    `VmHWM` rather than getrusage, whose maximum a process inherits from the one that started it.
    """
    if not STATUS.exists():  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(_fields(STATUS, ":")["VmHWM"].split()[0]) * KIB


def _machine_bytes() -> int:
    if not MEMINFO.exists():  # not Linux
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(_fields(MEMINFO, ":")["MemAvailable"].split()[0]) * KIB


def _container_bytes(otherwise: int) -> int:
    for limit, used in CGROUPS:
        # A file that is not there, or says `max`, sets no limit.
        with suppress(OSError, ValueError):
            return int(limit.read_text()) - int(used.read_text()) + _file_copies(used.parent)
    return otherwise


def _file_copies(group: Path) -> int:
    """Bytes of files that a control group could give back."""
    try:
        fields = _fields(group / "memory.stat", " ")
    except OSError:
        return 0
    return sum(int(fields.get(name, 0)) for name in ("inactive_file", "active_file"))


def _fields(path: Path, separator: str) -> dict[str, str]:
    return dict(line.split(separator, 1) for line in path.read_text().splitlines())
