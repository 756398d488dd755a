"""Several processes that train one network: who they are, and what they must agree on."""

import gc
import importlib
import os
from datetime import timedelta

import torch
from torch import distributed

from tusrec.errors import InputError

# One may still cut its share of a large data set; when one fails, torchrun ends the others.
PATIENCE = timedelta(days=1)


def numbers() -> tuple[int, int]:
    """This process's rank and how many there are, as torchrun says."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def local_number() -> int:
    """This process's rank among those of its machine, which is the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def join(device: torch.device) -> None:
    """Under torchrun, wait for the other processes; else nothing."""
    if "RANK" not in os.environ:
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # DistributedDataParallel imports it. Were the group there by then, defaults of its functions
    # would keep it and its threads to the end, which now and then abort a process that is done.
    importlib.import_module("torch.distributed.nn.functional")
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    distributed.barrier()


def agree(stop: bool, minutes: float, step: int, device: torch.device) -> tuple[bool, float]:
    """Whether anyone was asked to stop, and the first process's minutes: the same for all.

    Without it one process would leave the loop while others wait for its gradients, and learning
    rates that follow the clock would drive the networks apart.
    Raises InputError if the processes have not come equally far.
    """
    if not distributed.is_initialized():
        return stop, minutes
    own_minutes = minutes if distributed.get_rank() == 0 else 0.0
    told = torch.tensor([stop, own_minutes, step, -step], dtype=torch.float64, device=device)
    distributed.all_reduce(told, distributed.ReduceOp.MAX)
    any_stop, first_minutes, furthest, least = told.tolist()
    if furthest != -least:
        raise InputError(
            f"found processes at steps {-least:.0f} to {furthest:.0f}, expected one; --output must "
            "be the same folder for all machines"
        )
    return bool(any_stop), first_minutes


def leave() -> None:
    """Part from the other processes."""
    if distributed.is_initialized():
        gc.collect()  # of networks that refer to the group, and by a detour to themselves
        distributed.destroy_process_group()
