"""How a scan was made, from its name: the rotation of 2025 or the sweeps of 2024."""

import re

SWEEP = re.compile(r"(?:LH|RH)_(Par|Per)_([LCS])_(DtP|PtD)$")
ROTATION = re.compile(r"(?:LH|RH)_rotation$")


def protocol_of(name: str) -> str:
    """`rotation`, a sweep such as `Par-C-DtP`, or `other`. Takes `RH_rotation` or a scan key."""
    scan = name.rsplit("__", 1)[-1]
    if ROTATION.match(scan):
        return "rotation"
    sweep = SWEEP.match(scan)
    return "-".join(sweep.groups()) if sweep else "other"
