#!/usr/bin/env python3
"""Train a model of model/; run again with the same --output, it goes on where it was.

python -m training.simulated clips && python train.py --data clips --output runs/first --minutes 60
python train.py --data 2024 2025 --fold 0 --from weights/tusrec.safetensors --output runs/tuned
torchrun --nproc-per-node 8 train.py ...  # several GPUs or machines

docs/training.md tells more.
"""

import argparse
import logging
import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from tusrec.entry import GOES_ON, exit_code_of, heed_signals

if __name__ == "__main__":
    heed_signals()

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from model.device import CHOICES, choose_device, is_out_of_memory
from model.weights import load_into
from sim.stream import require_training_seed
from training import batches, checkpoint, journal, processes
from training.baseline_learner import BaselineLearner
from training.checkpoint import Progress, State
from training.folds import Fold, Others
from training.keeper import Keeper
from training.learner import Learner
from training.pose_learner import PoseLearner
from training.sources import (
    Source,
    find_source,
    mixture_of,
    people_in,
    remembered_as,
    shows_people,
)
from training.validation import Amount, held_out_sets, require_others
from tusrec.errors import InputError, OutOfMemoryError, TusrecError
from tusrec.files import held, is_there
from tusrec.options import positive, whole_number

LEARNERS: dict[str, type[PoseLearner] | type[BaselineLearner]] = {
    "tusrec": PoseLearner,
    "baseline": BaselineLearner,
}
RATES = {"tusrec": 1e-3, "baseline": 1e-4}
FINE_TUNING = 0.2  # of the rate, where training begins with trained weights
WARM_UP_STEPS = 200
LARGEST_GRADIENT = 5.0
MUST_AGREE = {"model": "model", "seed": "seed", "fold": "fold", "from": "origin"}
"""Options and what of a run's progress they set, which is the same when it is gone on with."""
MORE_MEMORY = (
    "take fewer clips a batch (--clips), keep or read ahead fewer (--keep, --workers), choose "
    "another --device or end what else uses this one; the last checkpoint is good"
)
log = logging.getLogger("train")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code (see the parser's epilog)."""
    options = parser().parse_args(arguments)
    try:
        return exit_code_of(partial(run, options), GOES_ON)
    finally:
        processes.leave()  # once a failure is told: to part may take as long as others work


def run(options: argparse.Namespace) -> int:
    """Train as the options say; raises OutOfMemoryError, with what would mend it.

    Raises BusyError if another run has --output: each would overwrite what the other learnt.
    """
    require_training_seed(options.seed)
    if options.validate_frames == 1:
        raise InputError("--validate-frames: found 1, expected 0 for all, or 2 and more")
    first = processes.numbers()[0] == 0
    try:
        with held(options.output) if first else nullcontext():
            return train(options)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        found = f"{options.output}: found no memory left, expected more; {MORE_MEMORY}"
        raise OutOfMemoryError(found) from error


def train(options: argparse.Namespace) -> int:
    """What is needed, the training loop, and what it leaves; 0, or which signal ended it before."""
    rank, count = processes.numbers()
    device = choose_device(options.device, processes.local_number())
    fold = fold_of(options)
    torch.manual_seed(options.seed)
    learner: Learner = LEARNERS[options.model](device)
    network = learner.network
    state = begun_or_resumed(options, network)
    progress = state.progress
    hold(network, options.hold)
    sources = find_sources(options, (rank, count))  # last, for it may take hours
    processes.join(device)  # by when all have cut their share of the data

    if share_done(progress, options) < 1:
        progress.people = sorted(people_in(sources, fold).union(progress.people))
    workers = worker_count(options, device)
    capacity = options.keep // max(workers, 1)
    mixture = mixture_of(sources, fold, learner.prepare, capacity, learner.kept_on_disk)
    clips = options.clips or learner.clips_a_step
    drawn = batches.Batches(mixture, learner.draw, clips, progress.seed, rank)
    keeper = keeper_of(options, sources, learner, state) if rank == 0 else None
    if count > 1:
        learner.network = DistributedDataParallel(network)

    reading = batches.from_step(drawn, progress.step, workers)
    with requests_to_stop() as asked, reading as upcoming:
        while goes_on(progress, options, bool(asked), device):
            started = time.monotonic()
            # What is random depends on seed, step and process alone: a resumed run goes on alike.
            rng = np.random.default_rng([progress.seed, progress.step, rank, 1])
            torch.manual_seed(int(rng.integers(2**63)))
            network.train()
            hold(network, options.hold)
            loss, pairs = learner.loss(next(upcoming))
            descend(loss, network, state, rate(progress, options))
            progress.step += 1
            progress.pairs += pairs * count
            progress.minutes += (time.monotonic() - started) / 60
            if keeper:
                keeper.after_step(state, loss.item(), mixture.count)
        if keeper:
            keeper.save(state)
    complete = share_done(progress, options) >= 1
    if keeper and complete:
        keeper.validate(state)
    if complete or count > 1:  # torchrun tells of signals itself, and would end those that save yet
        return 0
    return 128 + asked[0]


def find_sources(options: argparse.Namespace, share: tuple[int, int]) -> list[Source]:
    """What is trained on; data sets are cut into clips unless they have been.

    Raises InputError before that, which may take hours, if there is nothing to validate on, or it
    is what is trained on.
    """
    for path in options.validate:
        shows_people(path)
    require_others(options.validate, options.data)
    cache = options.cache or options.output / "clips"
    return [find_source(path, cache, share) for path in options.data]


def begun_or_resumed(options: argparse.Namespace, network: nn.Module) -> State:
    """The state of the run in --output, or of a new one, from --from if so.

    Raises InputError if the run there is another (MUST_AGREE), or if --from has been trained on
    what this run holds out.
    """
    names = [remembered_as(path) for path in options.data]
    progress = Progress(options.model, options.seed, fold=str(fold_of(options)), data=names)
    path = options.output / checkpoint.FILE
    if is_there(path):
        return resumed(options, network, progress, path)
    if options.start:
        start = checkpoint.starting_weights(options.start, progress)
        progress.origin, progress.before = start.origin, start.seen
        progress.people = start.people
        load_into(network, start.weights, str(options.start))
    return checkpoint.begun(network, progress)


def resumed(options: argparse.Namespace, network: nn.Module, asked: Progress, path: Path) -> State:
    """The state of a checkpoint, which has all of --from: that may be gone, or gone on since."""
    found = checkpoint.read_progress(path)
    as_ever = checkpoint.began_with(options.start, found)
    asked.origin = found.origin if as_ever else str(options.start or "")
    require_same_run(found, asked, path)
    checkpoint.require_unseen(path, found.before, found.people, asked)
    state = checkpoint.begun(network, asked)
    checkpoint.restore(path, state)
    if share_done(state.progress, options) < 1:
        state.progress.data = list(dict.fromkeys([*state.progress.data, *asked.data]))
    return state


def require_same_run(found: Progress, expected: Progress, path: Path) -> None:
    """Raise InputError if a checkpoint is of a run that MUST_AGREE and does not."""
    for option, name in MUST_AGREE.items():
        there, asked = str(getattr(found, name)), str(getattr(expected, name))
        if there != asked:
            raise InputError(
                f"{path}: found a run with {option} {there or 'none'}, expected "
                f"{asked or 'none'}; choose another --output or --{option}"
            )


def fold_of(options: argparse.Namespace) -> Fold:
    """The fold that is asked for; InputError if there is none such."""
    if options.fold is not None and not 0 <= options.fold < options.folds:
        raise InputError(
            f"--fold: found {options.fold}, expected 0 to {options.folds - 1}, less than --folds"
        )
    return Fold(options.fold, options.folds)


def worker_count(options: argparse.Namespace, device: torch.device) -> int:
    """Processes that read ahead: none beside a CPU that has work enough, some for a GPU."""
    if options.workers is not None:
        return int(options.workers)
    return 4 if device.type == "cuda" else 0


@contextmanager
def requests_to_stop() -> Iterator[list[int]]:
    """A list that grows when SIGTERM or Ctrl-C asks for an end, which then comes after a step."""
    asked: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda which, _: asked.append(which)) for number in numbers]
    try:
        yield asked
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def goes_on(
    progress: Progress, options: argparse.Namespace, stop: bool, device: torch.device
) -> bool:
    """Whether there is another step, the same for all processes; sets their minutes alike."""
    stop, progress.minutes = processes.agree(stop, progress.minutes, progress.step, device)
    return not stop and share_done(progress, options) < 1


def share_done(progress: Progress, options: argparse.Namespace) -> float:
    """Share of the run that is done, 1 at its end."""
    return float(max(progress.minutes / options.minutes, progress.step / options.steps))


def rate(progress: Progress, options: argparse.Namespace) -> float:
    """Learning rate: a linear start, then half a cosine down to a hundredth over the run."""
    done = share_done(progress, options)
    peak = options.rate or RATES[options.model] * (FINE_TUNING if options.start else 1.0)
    fall = 0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2
    return float(peak * fall * min(1.0, (progress.step + 1) / WARM_UP_STEPS))


def hold(network: nn.Module, names: Sequence[str]) -> None:
    """Keep parts of a network as they are; raises InputError for one that it does not have."""
    parts = dict(network.named_modules())
    for name in names:
        if not name or name not in parts:
            raise InputError(
                f"--hold: found {name}, expected parts of the network such as "
                f"{', '.join(dict(network.named_children()))}"
            )
        parts[name].requires_grad_(False).eval()


def descend(loss: torch.Tensor, network: nn.Module, state: State, learning_rate: float) -> None:
    """One step down the gradient of a loss; raises TusrecError if that is no number."""
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
    require_finite(norm.item(), state.progress)
    state.optimizer.param_groups[0]["lr"] = learning_rate
    state.optimizer.step()
    state.average.update_parameters(network)


def require_finite(norm: float, progress: Progress) -> None:
    """Raise TusrecError before a gradient that is no number spoils the weights."""
    if not math.isfinite(norm):
        raise TusrecError(
            f"step {progress.step}: found a gradient of length {norm}, expected a number; the "
            "last checkpoint is good: go on from it with a lower --rate"
        )


def keeper_of(
    options: argparse.Namespace, sources: Sequence[Source], learner: Learner, state: State
) -> Keeper:
    """What keeps the run's log and checkpoints, and validates it on what is held out."""
    journal.rewind(options.output, state.progress.step)
    amount = Amount(options.validate_scans, options.validate_frames)
    unseen = fold_of(options), Others(frozenset(state.progress.people))
    held_out = held_out_sets(sources, options.validate, unseen, amount, learner)
    every = (options.save_minutes, options.validate_minutes)
    return Keeper(options.output, every, held_out, learner.device)


def parser() -> argparse.ArgumentParser:
    """The command line; argparse exits with 2 when it is wrong."""
    command = argparse.ArgumentParser(
        prog="train.py",
        description=__doc__,
        epilog="exit codes: 0 trained; 1 training went astray or a defect of this program; "
        "2 something was missing or unusable; 3 out of memory; 4 bad weights; 130 and 143 ended by "
        "SIGINT and SIGTERM (the same command goes on)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add("--model", choices=tuple(LEARNERS), default="tusrec")
    add(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="clips, or data sets "
        "in the challenge's 2024 or 2025 layout; each has an equal share of the batches",
    )
    add("--output", type=Path, required=True, metavar="DIR", help="checkpoint, log and curves")
    add("--from", type=Path, dest="start", metavar="FILE", help="weights or checkpoint to tune")
    add("--hold", nargs="*", default=[], metavar="PART", help="of the network, left as it is")
    add("--fold", type=int, metavar="K", help="hold out the subjects of fold K")
    add(
        "--folds",
        type=whole_number(2),
        default=5,
        metavar="N",
        help="number of folds (default: %(default)s)",
    )
    add("--validate", type=Path, nargs="*", default=[], metavar="DIR", help="other held-out data")
    add("--cache", type=Path, metavar="DIR", help="clips cut from data sets (default: in --output)")
    add("--minutes", type=positive, default=60.0, help="of training, over all runs together")
    add("--steps", type=positive, default=1e9, help="end after so many steps if that comes first")
    add("--rate", type=positive, help="peak learning rate; by default the model's")
    add("--seed", type=whole_number(0), default=0, help="of weights and draws")
    add(
        "--clips",
        type=whole_number(1),
        help="in a batch of each process (default: what suits the model and device)",
    )
    add("--device", choices=CHOICES, default="auto")
    add(
        "--workers",
        type=whole_number(0),
        help="processes that read ahead (default: 4 for a GPU, else 0)",
    )
    add(
        "--keep",
        type=whole_number(1),
        default=3000,
        help="clips in memory; .1 MB a frame (baseline: .3)",
    )
    add("--save-minutes", type=positive, default=2.0)
    add("--validate-minutes", type=positive, default=5.0)
    add(
        "--validate-scans",
        type=whole_number(1),
        default=4,
        help="of each held-out set; thrice of clips",
    )
    add(
        "--validate-frames",
        type=whole_number(0),
        default=50,
        help="of each held-out scan, 0 for all",
    )
    return command


if __name__ == "__main__":
    sys.exit(main())
