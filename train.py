#!/usr/bin/env python3
"""Train a model of model/ on clips; run again with the same --output, it goes on where it was.

python -m training.simulated clips && python train.py --data clips --output runs/first --minutes 60
torchrun --nproc-per-node 8 train.py ...  # several GPUs or machines
"""

import argparse
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from model.device import CHOICES, choose_device
from model.pose_net import PoseNet
from sim.stream import require_training_seed
from training import checkpoint
from training.baseline_learner import BaselineLearner
from training.checkpoint import Progress
from training.clips import find_clips, read_clip
from training.learner import Learner
from training.measure import held_out
from training.mixture import Mixture
from training.pose_learner import PoseLearner, prepare
from tusrec.errors import InputError, TusrecError

LEARNERS: dict[str, type[PoseLearner] | type[BaselineLearner]] = {
    "tusrec": PoseLearner,
    "baseline": BaselineLearner,
}
RATES = {"tusrec": 1e-3, "baseline": 1e-4}
WARM_UP_STEPS = 200
LOG_EVERY = 50  # steps
LARGEST_GRADIENT = 5.0
log = logging.getLogger("train")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 trained, 2 something was missing or unusable."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = parser().parse_args(arguments)
    try:
        require_training_seed(options.seed)
        train(options)
    except TusrecError as error:
        log.error("error: %s", error)
        return error.exit_code
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    return 0


def train(options: argparse.Namespace) -> None:
    """The training loop."""
    rank, processes = join_processes()
    torch.manual_seed(options.seed)
    device = choose_device(options.device, int(os.environ.get("LOCAL_RANK", "0")))
    learner: Learner = LEARNERS[options.model](device)
    clips = Mixture(options.data, learner.prepare, options.keep)
    network = learner.network
    average = checkpoint.averaged(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, weight_decay=0.01)
    progress = Progress(options.model, options.seed)
    path = options.output / "checkpoint.safetensors"
    if path.exists():
        progress = checkpoint.restore(path, network, average, optimizer)
        require_same_model(progress, options.model, path)
    if processes > 1:
        learner.network = DistributedDataParallel(network)

    asked_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_stop.append(number))
    saved = validated = time.monotonic()
    losses: list[float] = []
    while (
        not asked_to_stop and progress.minutes < options.minutes and progress.step < options.steps
    ):
        started = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = rate(progress, options)
        # The draw depends on seed, step and process alone, so that a resumed run goes on alike.
        rng = np.random.default_rng([progress.seed, progress.step, rank])
        network.train()
        loss, pairs = learner.loss(clips.draw(learner.clips_a_step, rng), rng)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        average.update_parameters(network)
        losses.append(loss.item())
        progress.step += 1
        progress.pairs += pairs * processes
        progress.minutes += (time.monotonic() - started) / 60

        if rank == 0 and progress.step % LOG_EVERY == 0:
            write_log(options.output, progress, loss=np.mean(losses), clips=clips.clips)
            losses.clear()
        if rank == 0 and time.monotonic() - saved > 60 * options.save_minutes:
            checkpoint.save(path, progress, network, average, optimizer)
            saved = time.monotonic()
        if rank == 0 and time.monotonic() - validated > 60 * options.validate_minutes:
            validate(options, progress, average.module)
            validated = time.monotonic()
    if rank == 0:
        checkpoint.save(path, progress, network, average, optimizer)
        if not asked_to_stop:
            validate(options, progress, average.module)


def join_processes() -> tuple[int, int]:
    """This process's rank and how many there are; under torchrun, joins the others."""
    if "RANK" not in os.environ:
        return 0, 1
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return distributed.get_rank(), distributed.get_world_size()


def share_done(progress: Progress, options: argparse.Namespace) -> float:
    """Share of the run that is done, 1 at its end."""
    return float(max(progress.minutes / options.minutes, progress.step / options.steps))


def rate(progress: Progress, options: argparse.Namespace) -> float:
    """Learning rate: a linear start, then half a cosine down to a hundredth over the run."""
    done = share_done(progress, options)
    peak = options.rate or RATES[options.model]
    fall = 0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2
    return float(peak * fall * min(1.0, (progress.step + 1) / WARM_UP_STEPS))


def validate(options: argparse.Namespace, progress: Progress, network: nn.Module) -> None:
    """Log the error on held-out clips; the baseline's is left to evaluate.py."""
    if not isinstance(network, PoseNet):
        return
    for folder in options.validate:
        clips = [prepare(read_clip(path)) for path in find_clips(folder)]
        for interval, found in held_out(network, clips, (1, 4)).items():
            rounded = {name: round(value, 3) for name, value in found.items()}
            write_log(options.output, progress, held_out=folder.name, interval=interval, **rounded)


def require_same_model(progress: Progress, model: str, path: Path) -> None:
    """Raise InputError if a checkpoint is another model's."""
    if progress.model != model:
        raise InputError(
            f"{path}: found a checkpoint of {progress.model}, expected {model}; choose another "
            "--output or --model"
        )


def write_log(folder: Path, progress: Progress, **values: object) -> None:
    """Add one line of JSON to the log, and to stderr."""
    state = {"step": progress.step, "pairs": progress.pairs, "minutes": round(progress.minutes, 2)}
    line = json.dumps(state | values, default=float)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    log.info(line)


def parser() -> argparse.ArgumentParser:
    """The command line; argparse exits with 2 when it is wrong."""
    command = argparse.ArgumentParser(
        prog="train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = command.add_argument
    add("--model", choices=tuple(LEARNERS), default="tusrec")
    add("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders of clips")
    add("--output", type=Path, required=True, metavar="DIR", help="checkpoint and log")
    add("--validate", type=Path, nargs="*", default=[], metavar="DIR", help="held-out clips")
    add("--minutes", type=float, default=60.0, help="of training, over all runs together")
    add("--steps", type=int, default=10**9, help="end after so many steps if that comes first")
    add("--rate", type=float, help="peak learning rate; by default the model's")
    add("--seed", type=int, default=0, help="of weights and draws")
    add("--device", choices=CHOICES, default="auto")
    add("--keep", type=int, default=3000, help="clips kept in memory, 2 MB each (baseline: 5)")
    add("--save-minutes", type=float, default=2.0)
    add("--validate-minutes", type=float, default=5.0)
    return command


if __name__ == "__main__":
    sys.exit(main())
