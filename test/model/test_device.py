import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from model import device
from model.device import (
    Batches,
    choose_device,
    describe_device,
    gpu_is_visible,
    is_out_of_memory,
    repeatable_float32,
    shared_index,
)
from tusrec.errors import InputError, OutOfMemoryError

ALLOCATION_FAILURES = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
]


@pytest.fixture(autouse=True)
def _no_gpu_is_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(device, "DRIVER_VERSION_FILE", tmp_path / "version")
    monkeypatch.setattr(device, "GPU_DEVICE_FILE", tmp_path / "nvidia0")


@pytest.fixture
def make_visible(tmp_path: Path) -> Callable[[], None]:
    def write() -> None:
        (tmp_path / "version").write_text(
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 2023\n"
        )

    return write


@pytest.fixture
def torch_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that says it has two GPUs; the trial sum is computed on the CPU."""
    on_cpu = torch.ones(1)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "ones", lambda *size, device: on_cpu)


def test_auto_is_the_cpu_where_there_is_no_gpu() -> None:
    assert choose_device("auto") == torch.device("cpu")


def test_cuda_without_a_gpu_is_refused_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(InputError, match=r"built without CUDA\).*--device cpu") as caught:
        choose_device("cuda")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("torch_with_gpus")
@pytest.mark.parametrize("choice", ["auto", "cuda"])
def test_a_usable_gpu_is_taken_by_its_number(choice: str) -> None:
    assert choose_device(choice) == torch.device("cuda", 0)
    assert choose_device(choice, 1) == torch.device("cuda", 1)


@pytest.mark.usefixtures("torch_with_gpus")
def test_the_cpu_is_taken_when_asked_for_although_there_is_a_gpu() -> None:
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.usefixtures("torch_with_gpus")
def test_a_gpu_beyond_those_there_is_refused() -> None:
    with pytest.raises(InputError, match="GPU 2 asked for, found 2"):
        choose_device("cuda", 2)


def test_auto_never_leaves_a_visible_gpu_in_silence(make_visible: Callable[[], None]) -> None:
    make_visible()
    with pytest.raises(InputError, match=r"a GPU is visible but torch cannot use it.*--device cpu"):
        choose_device("auto")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_the_user_hides_is_not_visible(
    hidden: str, make_visible: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_visible()
    assert gpu_is_visible()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert not gpu_is_visible()
    assert choose_device("auto") == torch.device("cpu")


def test_a_device_file_alone_makes_a_gpu_visible(tmp_path: Path) -> None:
    (tmp_path / "nvidia0").touch()
    assert gpu_is_visible()


def test_torch_s_own_warning_is_the_reason_given(
    make_visible: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_old() -> bool:
        warnings.warn("The NVIDIA driver on your system is too old\nsee elsewhere", stacklevel=1)
        return False

    make_visible()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", too_old)
    with pytest.raises(InputError, match=r"\(The NVIDIA driver on your system is too old\)"):
        choose_device("auto")


@pytest.mark.usefixtures("torch_with_gpus")
def test_a_gpu_that_this_build_has_no_kernels_for_is_unusable(
    make_visible: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_kernel(*size: int, device: torch.device) -> None:
        raise RuntimeError("CUDA error: no kernel image is available\nmore text")

    make_visible()
    monkeypatch.setattr(torch, "ones", no_kernel)
    with pytest.raises(InputError, match=r"\(CUDA error: no kernel image is available\)"):
        choose_device("auto")


@pytest.mark.parametrize("choice", ["gpu", "cuda:1", "CPU", ""])
def test_other_choices_are_refused(choice: str) -> None:
    with pytest.raises(InputError, match="expected one of auto, cuda, cpu"):
        choose_device(choice)


def test_the_cpu_is_described_with_its_threads_and_torch() -> None:
    text = describe_device(torch.device("cpu"))
    assert f"{torch.get_num_threads()} threads, torch {torch.__version__}" in text


def test_a_gpu_is_described_with_driver_and_cuda_build(
    make_visible: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = SimpleNamespace(name="NVIDIA X1", total_memory=32 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "driver unknown" in describe_device(torch.device("cuda", 0))
    make_visible()
    expected = "NVIDIA X1, 32 GiB, sm_90, driver 535.54.03, CUDA 13.0, torch "
    assert describe_device(torch.device("cuda", 0)).startswith(expected)


def test_tf32_is_off_inside_and_as_before_outside() -> None:
    before = torch.backends.cudnn.allow_tf32
    with repeatable_float32():
        assert torch.backends.cudnn.enabled
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.parametrize("error", ALLOCATION_FAILURES, ids=str)
def test_every_allocator_s_failure_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_real_allocators_fail_in_a_way_that_is_known() -> None:
    for allocate in (torch.empty, np.empty):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate(10**15)
        assert is_out_of_memory(caught.value)


def test_batches_cover_the_count_in_order() -> None:
    assert Batches(3).run(lambda start, stop: (start, stop), 8) == [(0, 3), (3, 6), (6, 8)]
    assert Batches(3).run(lambda start, stop: (start, stop), 0) == []


@pytest.mark.parametrize("error", ALLOCATION_FAILURES, ids=str)
def test_a_batch_that_does_not_fit_is_halved_for_good_and_said_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[int] = []

    def work(start: int, stop: int) -> None:
        if stop - start > 2:
            raise error
        done.extend(range(start, stop))

    batches = Batches(8)
    with caplog.at_level(logging.WARNING):
        batches.run(work, 9)
        batches.run(work, 9)
    assert done == [*range(9), *range(9)]
    assert caplog.messages == [
        "out of memory with a batch of 8; going on with 4",
        "out of memory with a batch of 4; going on with 2",
    ]


def test_what_is_done_before_memory_runs_out_is_not_done_again() -> None:
    asked = []

    def work(start: int, stop: int) -> int:
        asked.append((start, stop))
        if asked == [(0, 4), (4, 8)]:
            raise MemoryError
        return stop

    assert Batches(4).run(work, 8) == [4, 6, 8]
    assert asked == [(0, 4), (4, 8), (4, 6), (6, 8)]


@pytest.mark.parametrize("error", ALLOCATION_FAILURES, ids=str)
def test_a_batch_of_one_that_does_not_fit_ends_with_exit_code_3(error: Exception) -> None:
    def work(start: int, stop: int) -> None:
        raise error

    with pytest.raises(OutOfMemoryError, match="out of memory with a batch of 1") as caught:
        Batches(4).run(work, 8)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


def test_other_errors_pass_through_untouched() -> None:
    def work(start: int, stop: int) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    batches = Batches(4)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        batches.run(work, 8)
    assert batches.size == 4


@pytest.mark.parametrize(("gpus", "expected"), [(0, [0, 0, 0]), (1, [0, 0, 0]), (2, [0, 1, 0])])
def test_processes_share_the_gpus_that_there_are(
    gpus: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert [shared_index(number) for number in range(3)] == expected
