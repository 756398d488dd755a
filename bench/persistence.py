"""The persistence found in each scan of the held-out set beside what the simulator had mixed in.

`python -m bench.persistence`. The simulator shows a mean of a frame and, by a share, the one before
(`sim.scan.Scan.frame`); three scans in four have none.
"""

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench import held_out
from bench.console import say
from model.persistence import averaged, find_undoing
from sim.scan import draw_recipe
from tusrec.entry import exit_code_of


@dataclass(frozen=True)
class Found:
    """Shares of the frame before in one scan, mixed in and found.

    0 for none, NaN if another mixing was found.
    """

    key: str
    true: float
    share: float

    def line(self) -> str:
        """As people read it."""
        return f"{self.key}: {self.true:.3f}, found {self.share:.3f}"


def main() -> int:
    """Print a line for each scan, and what they come to."""
    sources = held_out.sources()
    scans = []
    for item in held_out.items():
        with sources[item.key].open() as scan:
            share = share_of(find_undoing(scan.frames))
        recipe = draw_recipe((held_out.SEED, item.number), item.protocol, item.frames)
        scans.append(Found(item.key, recipe.console.persistence, share))
    say(*(scan.line() for scan in scans), summary(scans))
    return 0


def share_of(weights: NDArray[np.float64]) -> float:
    """The share of the frame before that `model.persistence.averaged` undoes with these weights."""
    if weights.size == 0:
        return 0.0
    share = float(weights[0] / (1 + weights[0]))
    return share if abs(weights - averaged(share)).max() < 1e-6 else float("nan")


def summary(scans: list[Found]) -> str:
    """How many were found, how well, and what was taken for persistence."""
    mixed = [scan for scan in scans if scan.true]
    found = [abs(scan.share - scan.true) for scan in mixed if scan.share > 0]
    wrong = sum(scan.share != 0 for scan in scans if not scan.true)
    return (
        f"found in {len(found)} of {len(mixed)} scans that have it, largest error "
        f"{max(found, default=0.0):.3f}; in {wrong} of {len(scans) - len(mixed)} that have none"
    )


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
