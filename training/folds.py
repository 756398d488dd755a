"""Folds: which subjects are held out, the same in every process and every run."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

Found = TypeVar("Found")
SIMULATED = re.compile(r"\d+_\d{6,}")  # a clip's seed and number


@dataclass(frozen=True)
class Fold:
    """Fold `number` of `count`; without a number nobody is held out.

    A subject's number decides, whatever the data set: 000 of 2024 and 000 of 2025 may be one
    person, and are held out together.
    """

    number: int | None = None
    count: int = 5

    @classmethod
    def of(cls, words: str) -> Self:
        """The fold that `str` tells."""
        number, count = words.split("/") if words else (None, cls.count)
        return cls(number if number is None else int(number), int(count))

    def holds_out(self, subject: str) -> bool:
        """Whether a subject (`sub012`) or a simulated clip (`1_000012`) is kept from training."""
        return self.has(subject_number(subject))

    def has(self, number: int) -> bool:
        """Whether it holds out the subject of a number."""
        return self.number is not None and number % self.count == self.number

    def unseen(self, found: Sequence[Found], subject: Callable[[Found], str]) -> list[Found]:
        """What is of the subjects that this fold holds out; all where it is none."""
        return [one for one in found if self.number is None or self.holds_out(subject(one))]

    def __str__(self) -> str:
        return "" if self.number is None else f"{self.number}/{self.count}"


@dataclass(frozen=True)
class Others:
    """All whose number is none of these."""

    numbers: frozenset[int]

    def unseen(self, found: Sequence[Found], subject: Callable[[Found], str]) -> list[Found]:
        """What is of others."""
        return [one for one in found if subject_number(subject(one)) not in self.numbers]


def subject_number(subject: str) -> int:
    """A simulated clip's (`1_000012`), the first in another name, or what its letters make.

    Not the last: in P012_1 and P012_2 that would be the visit's, and one person on both sides.
    """
    if SIMULATED.fullmatch(subject):
        return int(subject.rpartition("_")[2])
    found = re.search(r"\d+", subject)
    if found:
        return int(found.group())
    # Not hash(), which differs from process to process.
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8])
