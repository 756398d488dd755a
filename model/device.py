"""The one place of device handling: which device, what it is, and what to do when it is full."""

import logging
import platform
import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from os import environ
from pathlib import Path
from typing import TypeVar

import torch

from tusrec.errors import InputError, OutOfMemoryError

T = TypeVar("T")
log = logging.getLogger(__name__)

CHOICES = ("auto", "cuda", "cpu")
DRIVER_VERSION_FILE = Path("/proc/driver/nvidia/version")
GPU_DEVICE_FILE = Path("/dev/nvidia0")
# What the allocators of the host, CUDA, cuBLAS and cuDNN say; only CUDA's has a class of its own.
OUT_OF_MEMORY_TEXTS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "ALLOC_FAILED",  # of cuBLAS and cuFFT
    "ALLOCATION_FAILED",  # of cuDNN
    "DataLoader worker (pid",  # of a process that read ahead and was killed
)


def choose_device(choice: str, index: int = 0) -> torch.device:
    """The device named by `--device`: "cuda" is GPU number `index`, "auto" a GPU or else the CPU.

    Raises InputError for another choice, for "cuda" without a usable GPU, and for "auto" where a
    GPU is visible but unusable: a silent run on the CPU would be far slower than was bought.
    """
    if choice not in CHOICES:
        raise InputError(f"--device: found {choice!r}, expected one of {', '.join(CHOICES)}")
    if choice == "cpu":
        return torch.device("cpu")
    fault = _gpu_fault(index)
    if not fault:
        return torch.device("cuda", index)
    if choice == "cuda" or gpu_is_visible():
        raise InputError(
            f"--device {choice}: a GPU {'is visible' if gpu_is_visible() else 'was asked for'} but "
            f"torch cannot use it ({fault}); start the container with --gpus all and a driver that "
            "suits this torch, or pass --device cpu"
        )
    return torch.device("cpu")


def shared_index(number: int) -> int:
    """The GPU of process `number`: one after the other, and again from the first."""
    return number % max(torch.cuda.device_count(), 1)


def gpu_is_visible() -> bool:
    """Whether an NVIDIA driver or device is there that CUDA_VISIBLE_DEVICES does not hide."""
    hidden = environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1")
    return not hidden and (DRIVER_VERSION_FILE.exists() or GPU_DEVICE_FILE.exists())


def describe_device(device: torch.device) -> str:
    """One line for logs and result files: the device, its driver and CUDA build, and torch's."""
    build = f"torch {torch.__version__}"
    if device.type == "cpu":
        return f"CPU {platform.machine()}, {torch.get_num_threads()} threads, {build}"
    properties = torch.cuda.get_device_properties(device)
    gibibytes = properties.total_memory / 2**30
    name = f"{properties.name}, {gibibytes:.0f} GiB, sm_{properties.major}{properties.minor}"
    return f"{name}, driver {_driver_version()}, CUDA {torch.version.cuda}, {build}"


def repeatable_float32() -> AbstractContextManager[None]:
    """Convolutions in full float32 by repeatable algorithms, so that a GPU agrees with the CPU.

    cuDNN would round inputs to TF32's 10 bits otherwise. Of no effect on the CPU.
    """
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False
    )
    return flags


def fast_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes in it, float32 where it would only imitate it."""
    if device.type == "cuda":
        return (
            torch.bfloat16
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float32
        )
    known = torch.cpu.get_capabilities()
    native = any(known.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return torch.bfloat16 if native else torch.float32


def fast_arithmetic(device: torch.device, precision: torch.dtype | None = None) -> torch.autocast:
    """Autocast to `precision`, or `fast_precision`; of no effect if that is float32."""
    precision = precision or fast_precision(device)
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


class Batches:
    """A batch size that halves for good when memory runs out."""

    def __init__(self, size: int) -> None:
        self.size = size

    def run(self, work: Callable[[int, int], T], count: int) -> list[T]:
        """Results of work(start, stop) over 0..count in steps of the batch size, in order.

        A step that runs out of memory is repeated with half the size; what is done stays done.
        Raises OutOfMemoryError when a step of one runs out too.
        """
        results: list[T] = []
        start = 0
        while start < count:
            stop = min(start + self.size, count)
            try:
                results.append(work(start, stop))
                start = stop
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(stop - start, error)
        return results

    def _halve(self, failed: int, error: Exception) -> None:
        if failed == 1:
            raise OutOfMemoryError(
                f"out of memory with a batch of 1 ({_first_line(error)}); free memory, choose a "
                "device with more, or pass --device cpu"
            ) from error
        self.size = failed // 2
        log.warning("out of memory with a batch of %d; going on with %d", failed, self.size)


def is_out_of_memory(error: Exception) -> bool:
    """Whether numpy, torch or CUDA could not allocate."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY_TEXTS)
    )


def _gpu_fault(index: int) -> str:
    """Why torch cannot compute on GPU number `index`; empty when it can."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    with warnings.catch_warnings(record=True) as caught:  # torch warns of a driver that is too old
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        return _first_line(caught[0].message) if caught else "torch finds no CUDA device"
    if index >= torch.cuda.device_count():
        return f"GPU {index} asked for, found {torch.cuda.device_count()}, counted from 0"
    try:  # a GPU older or newer than this build fails only when a kernel is started
        torch.ones(1, device=torch.device("cuda", index)).add(1).item()
    except RuntimeError as error:
        return _first_line(error)
    return ""


def _driver_version() -> str:
    try:
        found = re.search(r"\d+\.\d+(\.\d+)?", DRIVER_VERSION_FILE.read_text(encoding="utf-8"))
    except OSError:
        return "unknown"
    return found.group() if found else "unknown"


def _first_line(message: object) -> str:
    lines = str(message).strip().splitlines()
    return lines[0] if lines else type(message).__name__
