"""What the first process keeps of a run: its log, checkpoints, and validation."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from training import checkpoint, journal
from training.checkpoint import State
from training.curves import write_curves
from training.validation import HeldOutSet, estimator_of, pair_lines, report, score_lines, scored

LOG_EVERY = 50  # steps
log = logging.getLogger(__name__)


class Keeper:
    """Writes a run into its folder.

    every_minutes: of the clock, between checkpoints and between validations.
    """

    def __init__(
        self,
        folder: Path,
        every_minutes: tuple[float, float],
        held_out: Sequence[HeldOutSet],
        device: torch.device,
    ) -> None:
        self._folder, self._held_out, self._device = folder, held_out, device
        self._save_minutes, self._validate_minutes = every_minutes
        self._saved = self._validated = time.monotonic()
        self._losses: list[float] = []

    def after_step(self, state: State, loss: float, clips: Callable[[], int]) -> None:
        """Log, save and validate when it is time. clips: tells how many are known."""
        self._losses.append(loss)
        if state.progress.step % LOG_EVERY == 0:
            mean = float(np.mean(self._losses))
            journal.write(self._folder, state.progress, {"loss": mean, "clips": clips()})
            self._losses.clear()
        if time.monotonic() - self._saved > 60 * self._save_minutes:
            self.save(state)
        if time.monotonic() - self._validated > 60 * self._validate_minutes:
            self.validate(state)

    def save(self, state: State) -> None:
        """Write the checkpoint."""
        checkpoint.save(self._folder / checkpoint.FILE, state)
        self._saved = time.monotonic()

    def validate(self, state: State) -> None:
        """Errors and challenge scores on what is held out, and the curves."""
        journal.forget_measured(self._folder, state.progress.step)
        network = state.average.module
        estimator = estimator_of(network)
        for held in self._held_out:
            entries = scored(held.scans, estimator, self._device)
            for line in [*pair_lines(held, network), *score_lines(held.name, entries)]:
                journal.write(self._folder, state.progress, line)
            log.info(report(held, entries))
        write_curves(self._folder)
        self._validated = time.monotonic()
