"""Checkpoints: one safetensors file from which training goes on as if it had never stopped.

Tensors `network.*`, `average.*` (the averaged weights, which are those to use) and `optimizer.*`;
in the metadata, as JSON, the progress.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as tensor_bytes
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from model.weights import MANIFEST, load_into, load_weights, seen_by
from training.folds import Fold
from tusrec.errors import InputError, WeightsError
from tusrec.files import is_there, write_bytes

FILE = "checkpoint.safetensors"
AVERAGED_STEPS = 400
OF_PEOPLE = " (tracked)"  # ends the names of data that show people, whom others may show too


@dataclass
class Progress:
    """How far training has come, and from where.

    model: name of the learner. minutes: of training alone. fold: `number/count`, or nothing.
    data: names of the sources, of `sources.remembered_as`. origin: the weights that training began
    with, or nothing. before: names of what these were trained on, and with which fold. people:
    numbers of all tracked subjects that the weights have ever seen, whatever the data set.
    """

    model: str
    seed: int
    step: int = 0
    pairs: int = 0
    minutes: float = 0.0
    fold: str = ""
    data: list[str] = field(default_factory=list)
    origin: str = ""
    before: dict[str, str] = field(default_factory=dict)
    people: list[int] = field(default_factory=list)

    @property
    def seen(self) -> dict[str, str]:
        """Names of all data that the weights were trained on, and with which fold."""
        return self.before | dict.fromkeys(self.data, self.fold)


@dataclass(frozen=True)
class Start:
    """Weights for a run to begin with, what they are, and `Progress.seen` and `people` of them."""

    weights: dict[str, Tensor]
    origin: str
    seen: dict[str, str]
    people: list[int]


@dataclass
class State:
    """All that a run goes on from. average: that of the network, which is the one to use."""

    network: nn.Module
    average: AveragedModel
    optimizer: Optimizer
    progress: Progress


def begun(network: nn.Module, progress: Progress) -> State:
    """A run before its first step."""

    def closer(old: Tensor, new: Tensor, _: Tensor | int) -> Tensor:
        # Not the count that is passed: on a GPU, reading it would wait for each tensor in turn.
        share = max(1 / AVERAGED_STEPS, 10 / (10 + int(average.n_averaged)))
        return old * (1 - share) + new * share

    average = AveragedModel(network, avg_fn=closer, use_buffers=True)
    optimizer = AdamW(network.parameters(), lr=0.0, weight_decay=0.01)
    return State(network, average, optimizer, progress)


def save(path: Path, state: State) -> None:
    """Write a checkpoint in place of an older one, complete or not at all. Raises OutputError."""
    tensors = {f"network.{name}": value for name, value in state.network.state_dict().items()}
    average = state.average.module.state_dict()
    tensors |= {f"average.{name}": value for name, value in average.items()}
    tensors["average_count"] = state.average.n_averaged
    for number, of_one in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in of_one.items()}
    copies = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    content = tensor_bytes(copies, {"progress": json.dumps(asdict(state.progress))})
    write_bytes(path, content, "the checkpoint")


def read_progress(path: Path) -> Progress:
    """The progress of a checkpoint; raises WeightsError if it is broken or none."""
    try:
        with safe_open(path, "torch") as file:
            told = (file.metadata() or {}).get("progress")
        if told is not None:
            return Progress(**json.loads(told))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: found {error}, expected a checkpoint of train.py; start anew"
        ) from error
    raise WeightsError(
        f"{path}: found tensors of no run, expected a checkpoint of train.py, or weights of the "
        "model's name beside their manifest; choose another file"
    )


def restore(path: Path, state: State) -> None:
    """Set a state to a checkpoint's; raises WeightsError if their networks differ."""
    progress, tensors = read_progress(path), read_tensors(path)
    load_into(state.network, _under(tensors, "network."), str(path))
    load_into(state.average.module, _under(tensors, "average."), str(path))
    state.average.n_averaged.copy_(tensors["average_count"])
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in _under(tensors, "optimizer.").items():
        number, key = name.split(".", 1)
        states.setdefault(int(number), {})[key] = value
    state.optimizer.load_state_dict(state.optimizer.state_dict() | {"state": states})
    state.progress = progress


def read_average(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint, by their names in the network."""
    return _under(read_tensors(path), "average.")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint; raises WeightsError if it is broken."""
    try:
        with safe_open(path, "torch") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path}: found {error}, expected a checkpoint of train.py; start anew"
        ) from error


def starting_weights(path: Path, run: Progress) -> Start:
    """Weights for a run to begin with: a manifest's, or a checkpoint's average.

    Raises WeightsError if they are broken, another model's, or neither, and InputError if they
    were trained on data of the run, or on the people whom it may hold out, with another fold.
    """
    if not is_there(path):
        raise WeightsError(
            f"{path}: found nothing, expected a weight file beside its manifest, or the checkpoint "
            "of a run; choose another --from"
        )
    start = _of_manifest(path, run) or _of_checkpoint(path, run)
    require_unseen(path, start.seen, start.people, run)
    return start


def began_with(start: Path | None, run: Progress) -> bool:
    """Whether a run's origin is this file, as far as names tell, or nothing where there is none."""
    name = run.origin.rpartition(" (")[0]
    return name in (start.name, _folder_of(start)) if start else not name


def require_unseen(path: Path, seen: dict[str, str], people: list[int], run: Progress) -> None:
    """Raise InputError if what the weights of a file saw is what a run holds out.

    seen, people: as in `Progress`.
    """
    fold = Fold.of(run.fold)
    shows_people = any(name.endswith(OF_PEOPLE) for name in run.data)
    people = [number for number in people if shows_people and fold.has(number)]
    again = {name: seen[name] for name in run.data if name in seen}
    told = [f"{name} with fold {fold or 'none'}" for name, fold in again.items()]
    told += [f"subject {', '.join(map(str, people[:4]))}"] if people else []
    if people or (run.fold and any(fold != run.fold for fold in again.values())):
        raise InputError(
            f"{path}: found weights trained on {', '.join(told)}, expected {run.fold}, as they "
            "have seen what this fold holds out; choose another --from"
        )


def _of_manifest(path: Path, run: Progress) -> Start | None:
    if path.name != f"{run.model}.safetensors" or not (path.parent / MANIFEST).exists():
        return None
    weights, sha256 = load_weights(run.model, path.parent)
    origin = f"{path.name} (sha256 {sha256[:12]})"
    return Start(weights, origin, *seen_by(run.model, path.parent))


def _of_checkpoint(path: Path, run: Progress) -> Start:
    earlier = read_progress(path)
    if earlier.model != run.model:
        raise WeightsError(
            f"{path}: found a checkpoint of {earlier.model}, expected {run.model}; choose another "
            "--from or --model"
        )
    origin = f"{_folder_of(path)} ({earlier.step} steps)"
    return Start(read_average(path), origin, earlier.seen, earlier.people)


def _folder_of(path: Path) -> str:
    return path.absolute().parent.name


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
