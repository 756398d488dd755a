"""Clips laid out once: what is kept is what would be laid out, and never what is out of date."""

import logging
import os
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from synthetic import moving_clip

from training import canvases
from training.clips import Clip, write_clip
from training.mixture import Mixture
from training.prepared import Prepared, prepare
from tusrec.errors import BusyError, InputError, OutputError


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """What was told once may be told again."""
    canvases._tell_once.cache_clear()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    clip = tmp_path / "1_000000.safetensors"
    write_clip(moving_clip(), clip)
    return clip


@pytest.fixture
def laid(path: Path) -> Prepared:
    found = prepare(moving_clip())
    canvases.keep(path, canvases.stamp(path), found)
    return found


def kept(clip: Path) -> Prepared | None:
    return canvases.kept(clip, canvases.stamp(clip))


def drawn(clip: Path) -> tuple[Prepared, int]:
    """What a run draws from that begins now, and how many clips it lays out for it."""
    laid_out = []

    def noted(read: Clip) -> Prepared:
        laid_out.append(read)
        return prepare(read)

    mixture = Mixture([lambda: [clip]], noted, 1, canvases.laid_out)
    (found,) = mixture.draw(1, np.random.default_rng(0))
    return found, len(laid_out)


def test_what_is_kept_is_what_was_laid_out(path: Path, laid: Prepared) -> None:
    found = kept(path)
    assert found is not None
    assert torch.equal(found.levels, laid.levels)
    np.testing.assert_array_equal(found.T_first_from_frame, laid.T_first_from_frame)
    assert found.canvas == laid.canvas


def test_a_clip_is_laid_out_once_whoever_draws_it(path: Path) -> None:
    assert [drawn(path)[1] for _ in range(3)] == [1, 0, 0]


def test_a_clip_that_is_replaced_even_by_an_older_file_is_laid_out_anew(path: Path) -> None:
    other = path.parent / "other"
    write_clip(moving_clip((1, 1)), other)
    os.utime(other, ns=(0, 0))
    before = drawn(path)[0]
    other.replace(path)
    after, laid_out = drawn(path)
    assert laid_out == 1
    assert not torch.equal(after.levels, before.levels)


def test_a_clip_that_is_written_anew_while_it_is_laid_out_is_laid_out_again(path: Path) -> None:
    def rewritten(read: Clip) -> Prepared:
        write_clip(moving_clip((1, 1)), path)
        return prepare(read)

    Mixture([lambda: [path]], rewritten, 1, canvases.laid_out).draw(1, np.random.default_rng(0))
    assert drawn(path)[1] == 1


def test_a_clip_kept_for_evaluation_is_refused_though_a_canvas_lies_there(path: Path) -> None:
    drawn(path)
    write_clip(moving_clip((900_000, 0)), path)
    with pytest.raises(InputError, match="900000"):
        drawn(path)


@pytest.mark.parametrize("code", [canvases.CODE, canvases.OF_SCREENS])
def test_all_code_that_lays_clips_out_or_finds_their_screens_is_told_apart(
    code: tuple[ModuleType, ...],
) -> None:
    known = {module.__name__ for module in code}
    parts = [part for module in code for part in vars(module).values()]
    names = {
        str(getattr(part, "__module__", None) or getattr(part, "__name__", "")) for part in parts
    }
    of_estimators = {"model.interface"}
    assert {name for name in names if name.startswith("model.")} <= known | of_estimators
    assert len({canvases.code_of(code), *(canvases.code_of((one,)) for one in code)}) > len(code)


@pytest.mark.usefixtures("laid")
@pytest.mark.parametrize(
    "fault", ["cut short", "of a size", "of a kind", "one number", "without poses", "not there"]
)
def test_what_is_broken_is_laid_out_anew(path: Path, fault: str) -> None:
    file, stamp = canvases.of(path), canvases.stamp(path)
    tensors = load_file(file)
    levels = tensors["levels"]
    other = {
        "of a size": levels[:, :-1].clone(),
        "of a kind": levels.float(),
        "one number": torch.tensor(1, dtype=torch.int8),
    }
    if fault == "cut short":
        file.write_bytes(file.read_bytes()[:-10])
    elif fault == "without poses":
        del tensors["T_first_from_frame"]
        save_file(tensors, file, stamp)
    elif fault == "not there":
        file.unlink()
    else:
        save_file(tensors | {"levels": other[fault]}, file, stamp)
    assert kept(path) is None


def test_where_nothing_can_be_written_clips_are_laid_out_each_time_which_is_told_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OutputError(f"{path}: read-only")

    monkeypatch.setattr(canvases, "write_bytes", refuse)
    with caplog.at_level(logging.WARNING):
        assert [drawn(path)[1] for _ in range(2)] == [1, 1]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: read-only; clips are laid out each time they are read, .25 s each"
    ]


def test_of_a_disk_that_is_all_but_full_nothing_is_taken(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = shutil.disk_usage(path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    drawn(path)
    assert not canvases.of(path).exists()
    assert "found less than 2 GB free" in caplog.text


def test_another_process_that_lays_out_the_same_clip_is_no_fault(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def busy(*_: object) -> None:
        raise BusyError(f"{path}: another run is writing it")

    monkeypatch.setattr(canvases, "write_bytes", busy)
    assert drawn(path)[1] == 1
    assert not caplog.records
