"""Checkpoints: one safetensors file from which training goes on as if it had never stopped.

Tensors `network.*`, `average.*` (the averaged weights, which are those to use) and `optimizer.*`;
in the metadata, as JSON, the progress and the architecture.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as tensor_bytes
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from model.weights import load_into
from tusrec.errors import WeightsError
from tusrec.files import write_bytes

AVERAGED_STEPS = 400


@dataclass
class Progress:
    """How far training has come. model: name of the learner. minutes: of training alone."""

    model: str
    seed: int
    step: int = 0
    pairs: int = 0
    minutes: float = 0.0


def save(
    path: Path, progress: Progress, network: nn.Module, average: AveragedModel, optimizer: Optimizer
) -> None:
    """Write a checkpoint in place of an older one, complete or not at all. Raises OutputError."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": v for name, v in average.module.state_dict().items()}
    tensors["average_count"] = average.n_averaged
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    copies = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    content = tensor_bytes(copies, {"progress": json.dumps(asdict(progress))})
    write_bytes(path, content, "the checkpoint")


def read_progress(path: Path) -> Progress:
    """The progress of a checkpoint; raises WeightsError if it is broken."""
    try:
        with safe_open(path, "torch") as file:
            return Progress(**json.loads(file.metadata()["progress"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: found {error}, expected a checkpoint of train.py; start anew"
        ) from error


def restore(
    path: Path, network: nn.Module, average: AveragedModel, optimizer: Optimizer
) -> Progress:
    """Set network, average and optimizer to a checkpoint's; raises WeightsError if they differ."""
    progress = read_progress(path)
    tensors = read_tensors(path)
    load_into(network, _under(tensors, "network."), str(path))
    load_into(average.module, _under(tensors, "average."), str(path))
    average.n_averaged.copy_(tensors["average_count"])
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in _under(tensors, "optimizer.").items():
        number, key = name.split(".", 1)
        states.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
    return progress


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


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}


def averaged(network: nn.Module) -> AveragedModel:
    """A running average of a network's weights and buffers, long but for its beginning."""
    return AveragedModel(network, avg_fn=_closer, use_buffers=True)


def _closer(average: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
    share = max(1 / AVERAGED_STEPS, 10 / (10 + int(count)))
    return average * (1 - share) + value * share
