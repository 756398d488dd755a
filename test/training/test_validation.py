"""Validation: the challenge's own scores of scans that are not trained on."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from synthetic import write_clips

from model.baseline import Baseline, build_network
from model.interface import LocalMotions
from model.learned import Learned
from model.pose_net import PoseNet
from model.screen import Screen
from pipeline.evaluation import evaluate_scan
from training.clips import Clip, read_clip
from training.folds import Fold, Others
from training.learner import KeptOnDisk
from training.sources import find_source, people_in
from training.validation import (
    Amount,
    HeldOutSet,
    estimator_of,
    held_out_sets,
    pair_lines,
    report,
    score_lines,
    scored,
)
from tusrec.calibration import Calibration
from tusrec.errors import InputError
from tusrec.frames import Frames
from tusrec.layouts import find_scans

CPU = torch.device("cpu")
SAMPLE = Path(__file__).parents[2] / "sample"
WHOLE = Amount(4, 0)
NOBODY = Others(frozenset())
SCANS = {f"sub{n:03d}__RH_rotation": 6 for n in range(4)}
MakeDataset = Callable[..., Path]


class Learner:
    """Keeps clips as they are."""

    device = CPU
    network: torch.nn.Module
    clips_a_step = 1
    kept_on_disk: KeptOnDisk | None = None

    def prepare(self, clip: Clip) -> Clip:
        return clip

    def draw(self, *_: object) -> None:
        raise NotImplementedError

    def loss(self, *_: object) -> tuple[torch.Tensor, int]:
        raise NotImplementedError


class Knowing:
    """Answers with given motions."""

    name, weights_sha256 = "knowing", ""

    def __init__(self, T_previous_from_frame: NDArray[np.float64]) -> None:
        self._motions = T_previous_from_frame

    def estimate(
        self, frames: Frames, calibration: Calibration, device: torch.device
    ) -> LocalMotions:
        return LocalMotions(self._motions, np.zeros((len(self._motions), 6, 6)))


@pytest.fixture(scope="module")
def sample() -> HeldOutSet:
    (found,) = held_out_sets([], [SAMPLE], (Fold(), NOBODY), WHOLE, Learner())
    return found


def test_a_whole_scan_is_held_against_the_truth_of_evaluate_py(sample: HeldOutSet) -> None:
    (source,) = find_scans(SAMPLE).scans
    expected = {entry.row: entry.measures() for entry in evaluate_scan(source, {})}
    (scan,) = sample.scans
    motions = scan.truth.motion.T_previous_from_frame
    found = scored(sample.scans, Knowing(motions), CPU)
    assert [entry.row for entry in found] == ["identity", "knowing", "knowing, better mirror"]
    for entry, row in zip(found, ("identity", "truth", "truth"), strict=True):
        for name, value in expected[row].items():
            assert entry.measures()[name] == pytest.approx(value, abs=1e-5, nan_ok=True), name
    assert {entry.truth for entry in found} == {"exact"}


def test_lines_and_report_tell_errors_and_scores_beside_identity(sample: HeldOutSet) -> None:
    (scan,) = sample.scans
    entries = scored([scan], Knowing(scan.truth.motion.T_previous_from_frame), CPU)
    identity, knowing, mirror = score_lines("sample", entries)
    assert (identity["row"], identity["final"], identity["scans"]) == ("identity", 0.0, 1)
    assert knowing["final"] == mirror["final"] == pytest.approx(1.0)
    assert identity["GPE"] > knowing["GPE"] == pytest.approx(0.0, abs=1e-6)
    assert "knowing, better mirror" in report(sample, entries)


def test_a_scan_that_is_held_out_is_prepared_without_what_its_screen_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Screen(undoing=np.array([1.5, -0.5]))
    monkeypatch.setattr(Screen, "of", lambda _: screen)
    (held,) = held_out_sets([], [SAMPLE], (Fold(), NOBODY), Amount(1, 20), Learner())
    assert held.scans[0].clip.screen is screen


def test_an_excerpt_has_its_own_landmarks_alone(sample: HeldOutSet) -> None:
    (short,) = held_out_sets([], [SAMPLE], (Fold(), NOBODY), Amount(1, 20), Learner())
    (excerpt,), (whole,) = short.scans, sample.scans
    assert len(excerpt.clip.frames) == 20
    assert 0 < len(excerpt.landmarks) < len(whole.landmarks)
    assert excerpt.landmarks[:, 0].max() < 20


def test_of_clips_too_the_first_frames_alone_are_measured(tmp_path: Path) -> None:
    folder = write_clips(tmp_path / "clips", 1)
    (held,) = held_out_sets([], [folder], (Fold(), NOBODY), Amount(1, 4), Learner())
    (scan,) = held.scans
    whole = read_clip(next(folder.iterdir()))
    np.testing.assert_array_equal(scan.clip.frames, whole.frames[:4])
    np.testing.assert_array_equal(scan.clip.T_first_from_frame, whole.T_first_from_frame[:4])


def test_a_held_out_clip_or_scan_that_the_model_cannot_take_is_named(
    tmp_path: Path,
    make_train_dataset: MakeDataset,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object) -> None:
        raise InputError("found frames of another size")

    monkeypatch.setattr(Learner, "prepare", refuse)
    clips = write_clips(tmp_path / "clips", 1)
    scans = make_train_dataset(tmp_path / "set", {"sub001__RH_rotation": 4})
    with pytest.raises(InputError, match=r"0\.safetensors: found frames of another size"):
        held_out_sets([], [clips], (Fold(), NOBODY), WHOLE, Learner())
    with pytest.raises(InputError, match="set: found no usable scan"):
        held_out_sets([], [scans], (Fold(), NOBODY), WHOLE, Learner())
    assert "left out: sub001__RH_rotation: found frames of another size" in caplog.text


def test_scans_without_poses_alone_are_nothing_to_validate_on(
    tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    folder = make_train_dataset(tmp_path / "set", {"sub001__RH_rotation": 4})
    for path in folder.glob("frames_transfs/*/*.h5"):
        with h5py.File(path, "r+") as file:
            del file["tforms"]
    with pytest.raises(InputError, match="set: found no usable scan"):
        held_out_sets([], [folder], (Fold(), NOBODY), WHOLE, Learner())


def test_a_fold_holds_out_whole_scans_of_data_sets_and_clips_of_folders(
    tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    folders = [make_train_dataset(tmp_path / "set", SCANS), write_clips(tmp_path / "clips", 4)]
    sources = [find_source(folder, tmp_path / "cache") for folder in folders]
    scans, clips = held_out_sets(sources, [], (Fold(1, 3), NOBODY), WHOLE, Learner())
    assert [scan.key for scan in scans.scans] == ["sub001__RH_rotation"]
    assert [scan.key for scan in clips.scans] == ["1"]
    assert held_out_sets(sources, [], (Fold(), NOBODY), WHOLE, Learner()) == []


def test_a_source_of_which_the_fold_holds_out_nobody_leaves_it_to_the_others(
    tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    few = make_train_dataset(tmp_path / "few", {"sub000__RH_rotation": 6})
    many = make_train_dataset(tmp_path / "many", SCANS)
    sources = [find_source(folder, tmp_path / "cache") for folder in (few, many)]
    (held,) = held_out_sets(sources, [], (Fold(1, 3), NOBODY), WHOLE, Learner())
    assert held.name == "many"
    with pytest.raises(InputError, match="few: found no scan that is held out"):
        held_out_sets(sources[:1], [], (Fold(1, 3), NOBODY), WHOLE, Learner())


def test_sets_of_one_name_are_told_apart_by_the_folders_that_they_are_in(
    tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    ours = find_source(make_train_dataset(tmp_path / "a" / "2025", SCANS), tmp_path / "cache")
    others = [
        write_clips(tmp_path / place, 1, first_seed=seed)
        for seed, place in ((1, "b/2025"), (2, "b/clips"))
    ]
    found = held_out_sets([ours], others, (Fold(1, 3), NOBODY), WHOLE, Learner())
    assert [held.name for held in found] == ["a/2025", "b/2025", "clips"]


def test_no_more_than_the_amount_is_read_spread_over_all(
    tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    folder = make_train_dataset(tmp_path / "set", SCANS)
    (found,) = held_out_sets([], [folder], (Fold(), NOBODY), Amount(2, 3), Learner())
    assert [scan.key[:6] for scan in found.scans] == ["sub000", "sub003"]
    assert {len(scan.clip.frames) for scan in found.scans} == {3}


def test_what_is_trained_on_is_not_validated_on(
    tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    folder = make_train_dataset(tmp_path / "set", SCANS)
    source = find_source(folder, tmp_path / "cache")
    for path in (folder, source.folder):
        with pytest.raises(InputError, match="--data too"):
            held_out_sets([source], [path], (Fold(), NOBODY), WHOLE, Learner())


def test_a_folder_with_clips_that_are_trained_on_in_it_is_not_validated_on(tmp_path: Path) -> None:
    source = find_source(write_clips(tmp_path / "clips" / "wide", 2), tmp_path)
    with pytest.raises(InputError, match="--data too"):
        held_out_sets([source], [tmp_path / "clips"], (Fold(), NOBODY), WHOLE, Learner())


def test_of_another_year_nobody_is_validated_on_who_is_trained_on(
    tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    keys = [f"sub{n:03d}__RH_rotation" for n in range(4)]
    older = make_train_dataset(tmp_path / "2024", dict.fromkeys(keys[:3], 6))
    newer = make_train_dataset(tmp_path / "2025", dict.fromkeys(keys, 6), seed=50)
    source = find_source(older, tmp_path / "cache")
    for fold, expected in ((Fold(1, 3), [keys[1], keys[3]]), (Fold(), keys[3:])):
        unseen = fold, Others(frozenset(people_in([source], fold)))
        *_, held = held_out_sets([source], [newer], unseen, WHOLE, Learner())
        assert [scan.key for scan in held.scans] == expected
    fewer = make_train_dataset(tmp_path / "fewer", dict.fromkeys(keys[:1], 6), seed=51)
    with pytest.raises(
        InputError, match="fewer: found no usable scan of a subject that is not trained on"
    ):
        held_out_sets([source], [fewer], unseen, WHOLE, Learner())


def test_whom_earlier_runs_were_trained_on_is_not_validated_on(
    tmp_path: Path, make_train_dataset: MakeDataset
) -> None:
    data = make_train_dataset(tmp_path / "2025", SCANS)
    unseen = Fold(), Others(frozenset({0, 2}))
    (held,) = held_out_sets([], [data], unseen, WHOLE, Learner())
    assert [scan.key[:6] for scan in held.scans] == ["sub001", "sub003"]
    (held,) = held_out_sets([], [write_clips(tmp_path / "clips", 4)], unseen, WHOLE, Learner())
    assert len(held.scans) == 4  # a simulated limb's number is nobody's


def test_a_fold_without_anyone_is_named(tmp_path: Path) -> None:
    source = find_source(write_clips(tmp_path / "clips", 2), tmp_path)
    with pytest.raises(InputError, match="no scan that is held out"):
        held_out_sets([source], [], (Fold(4, 5), NOBODY), WHOLE, Learner())


def test_each_network_is_measured_by_its_own_estimator() -> None:
    assert isinstance(estimator_of(PoseNet()), Learned)
    network = build_network()
    frames = np.random.default_rng(0).integers(0, 256, (2, 480, 640)).astype(np.uint8)
    calibration = Calibration(np.diag([0.229389, 0.220980, 1, 1]), np.eye(4))
    estimator = estimator_of(network)
    assert isinstance(estimator, Baseline)
    found = estimator.estimate(frames, calibration, CPU).T_previous_from_frame[0, :3, 3]
    with torch.inference_mode():
        expected = network(torch.from_numpy(frames)[None] / 255)[0, 3:]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert list(pair_lines(HeldOutSet("none", []), network)) == []
