"""train.py with a network of a few weights, for tests of all else; torchrun and kill can run it.

python test/training/tiny.py ARGUMENTS OF train.py

Each process leaves its own weights, and the names of the threads that it ends with, in --output.
The second one's clock runs a thousand times too fast, as clocks of machines may differ.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import train
from model.identity import Identity
from training import checkpoint, keeper
from training.checkpoint import Progress, State
from training.clips import Clip
from training.learner import KeptOnDisk

PAIRS = 5


class TinyLearner:
    """Guesses from a frame's mean brightness how far the probe has gone."""

    clips_a_step = 2
    kept_on_disk: KeptOnDisk | None = None

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.network: nn.Module = nn.Sequential(
            nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)
        )

    def prepare(self, clip: Clip) -> Tensor:
        """Rows of mean brightness and way (N, 2)."""
        brightness = clip.frames.mean(axis=(1, 2)) / 100
        rows = np.column_stack([brightness, clip.T_first_from_frame[:, 0, 3]])
        return torch.from_numpy(rows.astype(np.float32))

    def draw(self, prepared: Sequence[Tensor], rng: np.random.Generator) -> Tensor:
        """PAIRS rows."""
        rows = torch.cat(list(prepared))
        return rows[torch.from_numpy(rng.integers(len(rows), size=PAIRS))]

    def loss(self, batch: Tensor) -> tuple[Tensor, int]:
        """Mean square error of some rows."""
        return (self.network(batch[:, :1]) - batch[:, 1:]).square().mean(), len(batch)


class TinyEstimator(Identity):
    """What goes with it: nothing ever moves."""

    name = "tusrec"


def install() -> None:
    """Make train.py's `tusrec` the tiny one."""
    train.LEARNERS["tusrec"] = TinyLearner  # type: ignore[assignment]
    keeper.estimator_of = lambda network: TinyEstimator()  # type: ignore[attr-defined]


def main(arguments: Sequence[str]) -> int:
    """Train, as one of the processes or alone."""
    rank = os.environ.get("RANK", "0")
    output = Path(arguments[arguments.index("--output") + 1])
    states: list[State] = []
    begun, clock = checkpoint.begun, time.monotonic

    def noted(network: nn.Module, progress: Progress) -> State:
        states.append(begun(network, progress))
        return states[-1]

    install()
    checkpoint.begun = noted
    if rank == "1":
        time.monotonic = lambda: 1000 * clock()
    output.mkdir(parents=True, exist_ok=True)
    (output / f"pid_{rank}").write_text(str(os.getpid()))
    code = train.main(arguments)
    threads = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    (output / f"threads_{rank}").write_text("".join(threads))
    weights = {name: p.detach() for name, p in states[0].network.named_parameters()}
    save_file(weights, output / f"rank_{rank}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
