"""Sources: clips as they are, data sets by their clips, and no subject on both sides of a fold."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from synthetic import write_clips

from training import canvases, tracked
from training.clips import Clip, read_clip, write_clip
from training.folds import Fold
from training.sources import Source, find_source, holds_clips, mixture_of, remembered_as
from training.tracked import excerpt
from tusrec.errors import InputError
from tusrec.scans import Scan

MakeDataset = Callable[..., Path]
SUBJECTS = {f"sub{n:03d}__{hand}_rotation": 3 for n in range(4) for hand in ("RH", "LH")}
SWEEPS = {f"sub{n:03d}__RH_Par_C_DtP": 3 for n in range(4)}


def key(clip: Clip) -> bytes:
    return clip.frames.tobytes()


def test_a_folder_of_clips_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = write_clips(tmp_path / "clips")
    source = find_source(folder, tmp_path / "cache")
    assert (source.folder, source.dataset) == (folder, None)
    assert [clip.stem for clip in source.clips()] == ["0", "1", "2", "3"]
    assert not (tmp_path / "cache").exists()


def test_data_sets_of_both_years_and_layouts_are_cut_into_clips_of_each_subject(
    tmp_path: Path, make_train_dataset: MakeDataset, make_validation_dataset: MakeDataset
) -> None:
    for folder in (
        make_train_dataset(tmp_path / "2025", SUBJECTS),
        make_validation_dataset(tmp_path / "2024", SWEEPS, landmarks=20),
    ):
        source = find_source(folder, tmp_path / "cache")
        subjects = {source.subject(clip) for clip in source.clips()}
        assert subjects == {"sub000", "sub001", "sub002", "sub003"}
        assert read_clip(source.clips()[0]).frames.shape == (3, 480, 640)


def test_a_data_set_is_cut_once_and_what_is_missing_is_cut_again(
    tmp_path: Path, make_train_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_train_dataset(tmp_path / "set", {"sub000__RH_rotation": 40})
    clips = find_source(folder, tmp_path / "cache").clips()
    assert len(clips) == 3
    clips[1].unlink()
    written: list[Path] = []
    read: list[int] = []

    def write(clip: Clip, path: Path) -> None:
        written.append(path)
        write_clip(clip, path)

    def cut(scan: Scan, first: int, length: int) -> Clip:
        read.append(first)
        return excerpt(scan, first, length)

    monkeypatch.setattr(tracked, "write_clip", write)
    monkeypatch.setattr(tracked, "excerpt", cut)
    assert find_source(folder, tmp_path / "cache").clips() == clips
    assert written == [clips[1]]
    assert len(read) == 1


def test_a_data_set_whose_poses_were_corrected_is_cut_anew(
    tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    keys = {"sub000__RH_rotation": 3, "sub001__RH_rotation": 3}
    folder = make_train_dataset(tmp_path / "set", keys)
    before = [read_clip(clip) for clip in find_source(folder, tmp_path / "cache").clips()]
    with h5py.File(next((folder / "frames_transfs" / "000").glob("*.h5")), "r+") as file:
        file["tforms"][1, 0, 3] += 2.0
    after = [read_clip(clip) for clip in find_source(folder, tmp_path / "cache").clips()]
    paths = [[clip.T_first_from_frame for clip in clips] for clips in (before, after)]
    assert [np.array_equal(*both) for both in zip(*paths, strict=True)] == [False, True]


def test_clips_whose_screens_were_found_by_other_code_are_cut_anew(
    tmp_path: Path, make_train_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_train_dataset(tmp_path / "set", {"sub000__RH_rotation": 3})
    (clip,) = find_source(folder, tmp_path / "cache").clips()
    before = clip.stat().st_ino, clip.stat().st_mtime_ns
    find_source(folder, tmp_path / "cache")
    assert (clip.stat().st_ino, clip.stat().st_mtime_ns) == before
    monkeypatch.setattr(canvases, "OF_SCREENS", canvases.OF_SCREENS[1:])
    find_source(folder, tmp_path / "cache")
    assert (clip.stat().st_ino, clip.stat().st_mtime_ns) != before


def test_a_broken_scan_costs_only_itself(
    tmp_path: Path, make_train_dataset: MakeDataset, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_train_dataset(tmp_path / "set", SUBJECTS)
    broken = next((folder / "frames_transfs" / "002").glob("*.h5"))
    broken.write_bytes(broken.read_bytes()[:2000])
    assert len(find_source(folder, tmp_path / "cache").clips()) == len(SUBJECTS) - 1
    assert caplog.text.count("left out") == 1
    assert str(broken) in caplog.text


def test_a_scan_that_is_taken_out_or_broken_later_is_trained_on_no_more(
    tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    folder = make_train_dataset(tmp_path / "set", SUBJECTS)
    source = find_source(folder, tmp_path / "cache")
    before = {source.subject(clip) for clip in source.clips()}
    shutil.rmtree(folder / "frames_transfs" / "001")
    for scan in (folder / "frames_transfs" / "002").glob("*.h5"):
        scan.write_bytes(b"no HDF5")
    source = find_source(folder, tmp_path / "cache")
    after = {source.subject(clip) for clip in source.clips()}
    assert before - after == {"sub001", "sub002"}


@pytest.mark.parametrize("name", ["1", "clips"])
def test_a_simulated_clip_is_its_own_subject_whatever_its_folder(tmp_path: Path, name: str) -> None:
    source = Source(name, tmp_path / name)
    assert source.subject(tmp_path / name / "1_000012.safetensors") == "1_000012"
    assert source.subject(tmp_path / name / "P012" / "P012_1_00000.safetensors") == "P012"
    assert source.subject(tmp_path / name / "12" / "12_00031.safetensors") == "12"


def test_two_processes_cut_a_data_set_together(
    tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    folder = make_train_dataset(tmp_path / "set", SUBJECTS)
    half = find_source(folder, tmp_path / "cache", (0, 2)).clips()
    whole = find_source(folder, tmp_path / "cache", (1, 2)).clips()
    assert (len(half), len(whole)) == (4, 8)
    assert set(half) < set(whole)


def test_data_sets_named_alike_do_not_share_a_cache(
    tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    folders = [make_train_dataset(tmp_path / year / "train") for year in ("2024", "2025")]
    a, b = (find_source(folder, tmp_path / "cache").folder for folder in folders)
    assert a != b


def test_a_run_beside_the_scans_is_not_taken_for_clips(
    tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    data = make_train_dataset(tmp_path / "2025", {"sub001__RH_rotation": 6})
    (data / "run").mkdir()
    (data / "run" / "checkpoint.safetensors").write_bytes(b"")
    assert not holds_clips(data)


def test_what_is_neither_clips_nor_a_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: found nothing"):
        find_source(tmp_path / "nowhere", tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: found no scans"):
        find_source(tmp_path / "empty", tmp_path / "cache")


@pytest.mark.parametrize("number", range(3))
def test_no_subject_is_both_trained_on_and_held_out(
    number: int, tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    folders = [
        make_train_dataset(tmp_path / "2025", SUBJECTS),
        make_train_dataset(tmp_path / "2024", SWEEPS, seed=50),
    ]
    found = [find_source(folder, tmp_path / "cache") for folder in folders]
    fold = Fold(number, 3)
    trained = {s.subject(clip) for s in found for clip in s.kept(fold)}
    held = {s.subject(clip) for s in found for clip in s.unseen(fold)}
    assert trained
    assert held
    assert not trained & held
    everything = {clip for s in found for clip in s.clips()}
    assert everything == {clip for s in found for clip in [*s.kept(fold), *s.unseen(fold)]}
    mixture = mixture_of(found, fold, key, capacity=10)
    drawn = {
        frames for step in range(20) for frames in mixture.draw(4, np.random.default_rng(step))
    }
    assert not drawn & {key(read_clip(clip)) for s in found for clip in s.unseen(fold)}


def test_a_run_remembers_whether_data_show_people(
    tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    simulated = write_clips(tmp_path / "clips")
    data = make_train_dataset(tmp_path / "2025", SUBJECTS)
    cut = find_source(data, tmp_path / "cache").folder
    assert remembered_as(simulated) == "clips"
    assert remembered_as(data) == "2025 (tracked)"
    assert remembered_as(cut) == f"{cut.name} (tracked)"
    (data / "simulation.json").write_text('{"order": {"seed": 3}}')
    assert remembered_as(data) == "2025"


def test_simulated_clips_in_folders_by_kind_are_subjects_by_their_numbers() -> None:
    source = Source("unseen", Path("unseen"))
    assert source.subject(Path("unseen/sweeps/3_100000.safetensors")) == "3_100000"
    assert source.subject(Path("cache/scan/scan_00015.safetensors")) == "scan"


def test_clips_of_a_subject_in_one_folder_are_known_by_their_name() -> None:
    source = Source("sub007", Path("cache/sub007"))
    assert source.subject(Path("cache/sub007/sub007__RH_rotation_00015.safetensors")) == "sub007"
    assert source.subject(Path("cache/sub007/1_000015.safetensors")) == "1_000015"


def test_every_batch_mixes_all_sources(tmp_path: Path) -> None:
    folders = [write_clips(tmp_path / str(n), count, n + 1) for n, count in ((0, 1), (1, 5))]
    found = [find_source(folder, tmp_path) for folder in folders]
    mixture = mixture_of(found, Fold(), lambda clip: clip.seed[0], capacity=10)
    for step in range(5):
        assert sorted(mixture.draw(4, np.random.default_rng(step))) == [1, 1, 2, 2]


def test_a_fold_that_leaves_nothing_to_train_on_is_named(tmp_path: Path) -> None:
    source = find_source(write_clips(tmp_path / "clips", 1), tmp_path)
    with pytest.raises(InputError, match="outside fold 0/5"):
        mixture_of([source], Fold(0, 5), key, capacity=1)
