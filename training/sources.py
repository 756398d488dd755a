"""What training reads: folders of clips, and tracked data sets that are cut into clips first."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from training.checkpoint import FILE as CHECKPOINT
from training.checkpoint import OF_PEOPLE
from training.clips import REAL_SEED, Clip, seed_of
from training.folds import SIMULATED, Fold, Others, subject_number
from training.learner import KeptOnDisk
from training.mixture import Mixture
from training.tracked import cards_of, subject_of, write_tracked_clips
from tusrec.errors import InputError
from tusrec.files import is_there

CLIPS = "*.safetensors"


@dataclass(frozen=True)
class Source:
    """Clips of one kind.

    folder: holds the clips, or a folder for each subject. dataset: what they were cut from, if so.
    """

    name: str
    folder: Path
    dataset: Path | None = None

    def clips(self) -> list[Path]:
        """All clips there are by now, in order of their names."""
        return _clips_in(self.folder)

    def subject(self, clip: Path) -> str:
        """Whose clip it is: its folder's name where its own begins so, or what its own says.

        A simulated clip is its own subject, also in a folder that is named like its seed.
        """
        of_folder = clip.stem.startswith(f"{clip.parent.name}_")
        its_own = not of_folder or SIMULATED.fullmatch(clip.stem)
        return subject_of(clip.stem) if its_own else clip.parent.name

    def kept(self, fold: Fold) -> list[Path]:
        """Clips to train on. Raises InputError if there is none."""
        found = [clip for clip in self.clips() if not fold.holds_out(self.subject(clip))]
        if not found:
            raise InputError(
                f"{self.dataset or self.folder}: found no clips to train on{_beside(fold)}; "
                f"{self._mend()}"
            )
        return found

    def _mend(self) -> str:
        if self.dataset:
            return "add tracked scans of other subjects, or choose another --fold"
        return f"run `python -m training.simulated {self.folder}`"

    def unseen(self, by: Fold | Others) -> list[Path]:
        """Clips of the subjects that a fold holds out, all where there is none, or of others."""
        return by.unseen(self.clips(), self.subject)


def find_source(path: Path, cache: Path, share: tuple[int, int] = (0, 1)) -> Source:
    """A folder of clips as it is; a data set by its clips in `cache`, cut now if they are not.

    share: (which, of how many) processes divide the cutting among themselves.
    Raises InputError if `path` is neither.
    """
    name = path.resolve().name
    if holds_clips(path):
        return Source(name, path)
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]  # of sets named alike
    source = Source(name, cache / f"{name}_{place}", path)
    write_tracked_clips(path, source.folder, share, its_own=True)
    return source


def remembered_as(path: Path) -> str:
    """The name under which a run remembers what it was trained on, and whether that shows people.

    Raises InputError if there is nothing, or a broken clip.
    """
    return path.resolve().name + (OF_PEOPLE if shows_people(path) else "")


def shows_people(path: Path) -> bool:
    """Whether subjects of clips or of a data set are people: neither was simulated."""
    _require_there(path)
    clips = _clips_in(path)
    return seed_of(clips[0])[0] == REAL_SEED if clips else not cards_of(path)


def holds_clips(path: Path) -> bool:
    """Whether a folder, or a subject's folder in it, has clips; InputError if it is not there."""
    _require_there(path)
    return bool(_clips_in(path))


def _require_there(path: Path) -> None:
    if not is_there(path):
        raise InputError(
            f"{path}: found nothing, expected clips or a data set in the challenge's layout; "
            f"run `python -m training.simulated {path}` or unpack the data there"
        )


def _clips_in(folder: Path) -> list[Path]:
    """All but the checkpoint of a run whose --output is there too, in order of their names."""
    found = sorted([*folder.glob(CLIPS), *folder.glob(f"*/{CLIPS}")])
    return [path for path in found if path.name != CHECKPOINT]


def people_in(sources: Sequence[Source], fold: Fold) -> set[int]:
    """Numbers of the people whom some sources show without those that a fold holds out."""
    return {
        subject_number(source.subject(clip))
        for source in sources
        if shows_people(source.dataset or source.folder)
        for clip in source.kept(fold)
    }


def mixture_of(
    sources: Sequence[Source],
    fold: Fold,
    prepare: Callable[[Clip], Any],
    capacity: int,
    on_disk: KeptOnDisk | None = None,
) -> Mixture:
    """Draws from sources in turn, without the subjects that a fold holds out.

    Raises InputError if nothing is left of one.
    """
    return Mixture([partial(source.kept, fold) for source in sources], prepare, capacity, on_disk)


def _beside(fold: Fold) -> str:
    return f" outside fold {fold}" if str(fold) else ""
