"""Clips laid out once: what is kept is what would be laid out, and never what is out of date."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from synthetic import moving_clip

from training import canvases
from training.clips import Clip, write_clip
from training.mixture import Mixture
from training.prepared import Prepared, prepare
from tusrec.errors import OutputError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    clip = tmp_path / "1_000000.safetensors"
    write_clip(moving_clip(), clip)
    return clip


@pytest.fixture
def laid(path: Path) -> Prepared:
    found = prepare(moving_clip())
    canvases.keep(path, found)
    return found


def file_of(clip: Path) -> Path:
    return clip.with_suffix(".canvas")


def test_what_is_kept_is_what_was_laid_out(path: Path, laid: Prepared) -> None:
    found = canvases.kept(path)
    assert found is not None
    assert torch.equal(found.levels, laid.levels)
    np.testing.assert_array_equal(found.T_first_from_frame, laid.T_first_from_frame)
    assert found.canvas == laid.canvas


def test_a_clip_is_laid_out_once_whoever_draws_it(path: Path) -> None:
    laid_out = []

    def noted(clip: Clip) -> Prepared:
        laid_out.append(clip)
        return prepare(clip)

    def draw() -> None:
        mixture = Mixture([lambda: [path]], noted, 1, canvases)
        mixture.draw(1, np.random.default_rng(0))

    draw()
    draw()
    assert len(laid_out) == 1


def test_a_clip_that_was_made_anew_is_laid_out_anew(path: Path, laid: Prepared) -> None:
    later = file_of(path).stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    assert canvases.kept(path) is None


@pytest.mark.usefixtures("laid")
def test_what_other_code_laid_out_is_not_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canvases, "_made_by", lambda: {"code": "of another day"})
    assert canvases.kept(path) is None


@pytest.mark.usefixtures("laid")
@pytest.mark.parametrize("fault", ["cut short", "of a size", "without poses", "not there"])
def test_what_is_broken_is_laid_out_anew(path: Path, fault: str) -> None:
    file = file_of(path)
    tensors = load_file(file)
    if fault == "cut short":
        file.write_bytes(file.read_bytes()[:-10])
    elif fault == "of a size":
        save_file(
            tensors | {"levels": tensors["levels"][:, :-1].clone()}, file, canvases._made_by()
        )
    elif fault == "without poses":
        del tensors["T_first_from_frame"]
        save_file(tensors, file, canvases._made_by())
    else:
        file.unlink()
    assert canvases.kept(path) is None


def test_where_nothing_can_be_written_clips_are_laid_out_each_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OutputError(f"{path}: read-only")

    monkeypatch.setattr(canvases, "write_bytes", refuse)
    canvases.keep(path, prepare(moving_clip()))
    assert canvases.kept(path) is None
    assert [file.name for file in path.parent.iterdir()] == [path.name]
