"""Many scans: each to its own file, over processes or machines, going on where a run stopped."""

import logging
import multiprocessing
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import torch

from model.device import choose_device, describe_device, is_out_of_memory, shared_index
from model.interface import Estimator
from model.registry import load_estimator
from pipeline.prediction import predict_motion
from tusrec import __version__, memory, metrics
from tusrec.errors import InputError, OutOfMemoryError, OutputError, TusrecError
from tusrec.files import discard_partial
from tusrec.frames import in_memory_if_it_fits
from tusrec.metrics import Errors, Geometry, Motion
from tusrec.protocols import protocol_of
from tusrec.results import (
    Result,
    holds_displacements,
    read_result,
    require_of_scan,
    result_path,
    write_result,
)
from tusrec.scans import Scan, ScanSource
from tusrec.spread import end_with_parent, without_interrupts

UNEXPECTED = 1  # exit code of a failure that is a defect of this program

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How scans are to be predicted."""

    output: Path
    model: str
    weights: Path | None = None
    device: str = "auto"
    device_index: int = 0
    ddf: str = "landmarks"
    probe_scale: float = 1.0
    overwrite: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a scan: `done`, `kept` from an earlier run, or `failed` with a message."""

    key: str
    status: str
    seconds: float = float("nan")
    frames: int = 0
    peak_bytes: int = 0
    errors: Errors | None = None
    message: str = ""
    exit_code: int = 0


def predict_all(sources: list[ScanSource], settings: Settings, jobs: int) -> Iterator[Outcome]:
    """Outcomes as scans end. A failing scan is an outcome; it never costs the others."""
    if jobs <= 1:
        yield from (predict_one(source, settings) for source in sources)
        return
    waiting = deque(sources)
    while waiting:
        suspects: list[ScanSource] = []
        yield from _until_one_is_killed(waiting, suspects, settings, jobs)
        for source in suspects:  # alone, so that only the one that is killed again fails
            alone, killed = deque([source]), list[ScanSource]()
            yield from _until_one_is_killed(alone, killed, settings, 1)
            yield from map(_killed, killed)


def _until_one_is_killed(
    waiting: "deque[ScanSource]", suspects: list[ScanSource], settings: Settings, jobs: int
) -> Iterator[Outcome]:
    """Outcomes of those `waiting`, taken from there, until the system kills a process.

    It may have been that of any scan being predicted then; these become `suspects`.
    """
    running: dict[Future[Outcome], ScanSource] = {}
    with _workers(jobs) as pool:
        try:
            while not suspects and (waiting or running):
                while waiting and len(running) < jobs:
                    with without_interrupts():
                        source = waiting.popleft()
                        running[_submitted(pool, source, settings)] = source
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    source = running.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        suspects.append(source)
        except BaseException:
            _end_workers(pool, [result_path(settings.output, s.key) for s in running.values()])
            raise
    suspects.extend(running.values())


def _workers(jobs: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    try:
        return ProcessPoolExecutor(jobs, context, _start_worker, (context.Value("i", 0), jobs))
    except OSError as error:
        raise OutputError(
            f"/dev/shm: found no shared memory ({error.strerror}), expected it for --jobs; mount "
            "it, or leave out --jobs"
        ) from error


def _submitted(
    pool: ProcessPoolExecutor, source: ScanSource, settings: Settings
) -> "Future[Outcome]":
    try:
        return pool.submit(_predict_in_worker, source, settings)
    except BrokenProcessPool as error:  # of a process that was killed a moment ago
        failed: Future[Outcome] = Future()
        failed.set_exception(error)
        return failed


def _killed(source: ScanSource) -> Outcome:
    message = f"{source.key}: its process was killed, most likely out of memory; give fewer --jobs"
    return _failed(source.key, message, OutOfMemoryError.exit_code)


def predict_one(source: ScanSource, settings: Settings) -> Outcome:
    """Predict a scan and write its file, or keep the finished one that is there."""
    try:
        estimator = load_estimator(settings.model, settings.weights)
        with source.open() as scan:
            return _kept(scan, estimator, settings) or _predict(scan, estimator, settings)
    except OutOfMemoryError as error:  # of the device, which knows no scan
        return _failed(source.key, f"{source.key}: {error}", error.exit_code)
    except TusrecError as error:
        return _failed(source.key, str(error), error.exit_code)
    except Exception as error:  # a defect in one scan must not cost the others
        if is_out_of_memory(error):
            message = f"{source.key}: out of memory; free memory, or give fewer --jobs"
            return _failed(source.key, message, OutOfMemoryError.exit_code)
        log.debug("unexpected failure", exc_info=True)
        message = f"{source.key}: unexpected {type(error).__name__}: {error}"
        return _failed(source.key, " ".join(message.split()), UNEXPECTED)


def versions() -> dict[str, str]:
    """Versions of this program and of what its numbers depend on."""
    packages = ("torch", "numpy", "scipy", "h5py", "SimpleITK")
    return {"tusrec": __version__, **{name: version(name) for name in packages}}


def _predict(scan: Scan, estimator: Estimator, settings: Settings) -> Outcome:
    device = choose_device(settings.device, settings.device_index)
    frames = in_memory_if_it_fits(scan.frames)
    started = time.perf_counter()
    prediction = predict_motion(estimator, frames, scan.calibration, device, settings.probe_scale)
    seconds = time.perf_counter() - started
    geometry = Geometry(scan.calibration.scale, *scan.image_size, scan.landmarks)
    errors = _errors(scan, prediction.motion, geometry)
    attributes = _attributes(scan, estimator, device, seconds, errors)
    attributes["probe_scale"] = settings.probe_scale
    result = Result(prediction.motion, prediction.local_covariance, attributes)
    write_result(result_path(settings.output, scan.key), result, geometry, settings.ddf)
    return Outcome(scan.key, "done", seconds, scan.frames.shape[0], memory.peak_bytes(), errors)


def _kept(scan: Scan, estimator: Estimator, settings: Settings) -> Outcome | None:
    """The outcome of a finished scan, or None if there is work to do."""
    path = result_path(settings.output, scan.key)
    if settings.overwrite or not path.exists():
        return None
    try:
        result = read_result(path)
    except InputError as error:
        log.warning("%s; predicting it again", error)
        return None
    expected = (estimator.name, estimator.weights_sha256, settings.probe_scale)
    if result.made_by != expected:
        raise InputError(
            f"{path}: holds results of {_maker(*result.made_by)}, expected {_maker(*expected)}; "
            "pass --overwrite or another --output"
        )
    require_of_scan(result, scan, path)
    beside = result.attributes.get("beside_sha256")
    if beside not in (None, scan.beside_sha256()) or not holds_displacements(path, settings.ddf):
        return None
    frames, peak = scan.frames.shape[0], memory.peak_bytes()
    return Outcome(scan.key, "kept", result.seconds, frames, peak, result.errors)


def _maker(model: str, weights_sha256: str, probe_scale: float) -> str:
    return f"model {model} (weights {weights_sha256 or 'none'}, probe scale {probe_scale:g})"


def _errors(scan: Scan, predicted: Motion, geometry: Geometry) -> Errors | None:
    truth = scan.true_motion()
    return metrics.errors(predicted, truth, geometry) if truth else None


def _attributes(
    scan: Scan, estimator: Estimator, device: torch.device, seconds: float, errors: Errors | None
) -> dict[str, Any]:
    return {
        "model": estimator.name,
        "weights_sha256": estimator.weights_sha256,
        "calibration_scale": scan.calibration.scale,
        "calibration_T_tool_from_image": scan.calibration.T_tool_from_image,
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
        "device": describe_device(device),
        "seconds": seconds,
        "frames": scan.frames.shape[0],
        "image_height": scan.image_size[0],
        "image_width": scan.image_size[1],
        "protocol": protocol_of(scan.key),
        "predicted": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "frames_sha256": scan.frames_sha256(),
        "beside_sha256": scan.beside_sha256(),
        **(asdict(errors) if errors else {}),
    }


def _failed(key: str, message: str, exit_code: int) -> Outcome:
    return Outcome(key, "failed", message=message, exit_code=exit_code)


_worker = 0, 1  # which, of how many


def _start_worker(counter: "Synchronized[int]", jobs: int) -> None:
    global _worker  # noqa: PLW0603 - a pool's initializer has no other place to leave it
    with counter.get_lock():
        _worker = counter.value, jobs
        counter.value += 1
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    end_with_parent()


def _predict_in_worker(source: ScanSource, settings: Settings) -> Outcome:
    which, of = _worker
    index = shared_index(of * settings.device_index + which)
    return predict_one(source, replace(settings, device_index=index))


def _end_workers(pool: ProcessPoolExecutor, results: list[Path]) -> None:
    """End all workers at once; what they were writing goes with them."""
    for worker in multiprocessing.active_children():
        worker.kill()
    # The pool's own thread waits for them; a second waiter would race with it.
    pool.shutdown(wait=True, cancel_futures=True)
    for path in results:
        discard_partial(path)
