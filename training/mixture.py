"""Clips of several kinds, mixed within each batch, so that no kind of scan is forgotten."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from training.clips import Clip, named, read_training_clip
from training.learner import KeptOnDisk

Listing = Callable[[], list[Path]]
LOOK_AGAIN = 500  # draws after which the lists are asked for again


class Mixture:
    """Draws prepared clips from lists of them in turn; keeps at most `capacity` in memory.

    Lists count alike however long they are, and are asked for again now and then, for clips that
    have come since. Raises InputError when a clip that is kept for evaluation is drawn.
    """

    def __init__(
        self,
        lists: Sequence[Listing],
        prepare: Callable[[Clip], Any],
        capacity: int,
        on_disk: KeptOnDisk | None = None,
    ) -> None:
        self._lists, self._prepare, self._capacity = lists, prepare, capacity
        self._on_disk = on_disk
        self._kept: OrderedDict[Path, Any] = OrderedDict()
        self._draws = 0
        self._look()

    def count(self) -> int:
        """Number of clips there were when they were last looked for."""
        return sum(map(len, self._paths))

    def draw(self, count: int, rng: np.random.Generator) -> list[Any]:
        """`count` clips, as `prepare` makes them."""
        first = int(rng.integers(len(self._lists)))
        paths = [self._paths[(first + n) % len(self._paths)] for n in range(count)]
        return [self._get(here[int(rng.integers(len(here)))]) for here in paths]

    def _look(self) -> None:
        self._paths = [clips() for clips in self._lists]

    def _get(self, path: Path) -> Any:
        self._draws += 1
        if self._draws % LOOK_AGAIN == 0:
            self._look()
        if path in self._kept:
            return self._kept[path]
        prepare = partial(self._prepared, path)
        prepared = self._on_disk(path, prepare) if self._on_disk else prepare()
        self._kept[path] = prepared
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return prepared

    def _prepared(self, path: Path) -> Any:
        clip = read_training_clip(path)
        with named(path):
            return self._prepare(clip)
