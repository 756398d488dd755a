"""Simulated clips: repeatable, of any probe, with poses that are those of their frames."""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from synthetic import moving_clip

from sim import SIMULATOR
from sim.console import Developer
from sim.imaging import Beamformer
from sim.motion import WHOLE_FRAMES
from sim.probe import PROBES
from sim.scan import Scan, draw_recipe
from sim.tissue_kernels import skin_depth
from training import grabber, simulated
from training.simulated import (
    LONGEST_MEAN,
    LONGEST_STEP,
    USUAL,
    WARM_UP,
    draw_probe,
    fitting_picture,
    longest_clip,
    simulated_clip,
)

ROOT = Path(__file__).parents[2]
# As GNU's, which takes OpenMP's threads for its cores.
NPROC = "#!/bin/sh\necho ${OMP_NUM_THREADS:-${OMP_THREAD_LIMIT:-7}}\n"


def test_a_clip_depends_on_its_seed_alone() -> None:
    first, again, other = (simulated_clip((5, n), length=3) for n in (2, 2, 3))
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.T_first_from_frame, again.T_first_from_frame)
    assert not np.array_equal(first.frames, other.frames)


def test_a_clip_has_moving_pictures_and_rigid_poses_that_start_at_identity() -> None:
    clip = simulated_clip((5, 0), length=4)
    assert clip.frames.shape == (4, 480, 640)
    assert clip.T_first_from_frame.shape == (4, 4, 4)
    np.testing.assert_allclose(clip.T_first_from_frame[0], np.eye(4), atol=1e-9)
    rotations = clip.T_first_from_frame[:, :3, :3]
    np.testing.assert_allclose(rotations @ rotations.swapaxes(1, 2), np.tile(np.eye(3), (4, 1, 1)),
                               atol=1e-6)  # fmt: skip
    steps = np.linalg.norm(np.diff(clip.T_first_from_frame[:, :3, 3], axis=0), axis=1)
    assert 0 < steps.max() < 10
    assert (clip.frames[0] != clip.frames[-1]).mean() > 0.05


def test_a_grabber_shows_the_same_scan_in_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grabber, "COARSE_SHARE", 1.0)
    own, taken = (simulated.usual_clip((5, 1), 3, by_grabber=taken) for taken in (False, True))
    np.testing.assert_array_equal(own.T_first_from_frame, taken.T_first_from_frame)
    assert own.frames.shape == taken.frames.shape
    assert not np.array_equal(own.frames, taken.frames)
    assert np.corrcoef(own.frames.ravel(), taken.frames.ravel())[0, 1] > 0.8


def test_clips_of_all_kinds_need_no_grabber_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        simulated.main([str(tmp_path), "--grabbed"])


def test_clips_of_scans_as_they_are_have_no_other_screen(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        simulated.main([str(tmp_path), "--screen", "compounded", "--usual", "sweeps"])


def test_looks_from_several_sides_leave_less_speckle_and_the_same_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(simulated, "grabbed", lambda frames, T, rng: (frames, T))
    plain, compounded = (simulated_clip((5, 0), 4, screen) for screen in ("plain", "compounded"))
    np.testing.assert_array_equal(plain.T_first_from_frame, compounded.T_first_from_frame)
    frames = [clip.frames.astype(float) for clip in (plain, compounded)]
    shown = (np.minimum(*frames) > 0) & (np.maximum(*frames) < 255)
    grain = [np.median(np.abs(f - ndimage.gaussian_filter(f, (0, 6, 6)))[shown]) for f in frames]
    assert 0.3 < grain[1] / grain[0] < 0.85


@pytest.mark.parametrize("number", range(8))
def test_a_probe_of_any_kind_is_pressed_into_the_skin_by_its_own_face(number: int) -> None:
    scan = simulated._draw((2, number), np.random.default_rng(number), 4)
    face = np.array([*scan.beamformer.image.contact_mm, 0.0, 1.0])
    layers = scan.anatomy.layers
    places = (T @ face for T in scan.T_limb_from_image)
    depths = [skin_depth(layers, *map(float, place[:3])) for place in places]
    assert -0.05 < min(depths) <= max(depths) < 2.5


@pytest.mark.parametrize("above_db", [-10.0, 20.0])
def test_noise_lies_as_far_below_tissue_as_asked_at_the_end_of_the_picture(above_db: float) -> None:
    recipe = draw_recipe((5, 0), "rotation", 9)
    scan = Scan(replace(recipe, console=simulated._noisy(recipe, above_db)))
    console = replace(scan.recipe.console, dynamic_range_db=120.0, white_db=40.0)
    rows, lines = scan.beamformer.shape
    rng = np.random.default_rng(0)
    tissue = rng.standard_normal((rows, 2 * lines), np.float32) / np.float32(np.sqrt(2))
    none = np.zeros((rows, lines), np.float32)
    deepest = [
        Developer(replace(console, noise_db=noise_db), scan.beamformer, rng)
        .grey(echoes, none, 0.0, 1)[-20:]
        .mean()
        for noise_db, echoes in ((console.noise_db, 0 * tissue), (-300.0, tissue))
    ]
    # By less at the last rows' near end, and speckle reduction shifts both means a little.
    assert (deepest[1] - deepest[0]) * 120 / 255 == pytest.approx(above_db, abs=1.0)


def test_each_frame_of_several_sides_takes_the_next_and_is_shown_with_the_others() -> None:
    """Where one does not reach, the others are shown alone."""
    scan = Scan(replace(draw_recipe((5, 0), "rotation", 9), strata=4))
    sides = np.radians([0.0, 15.0, -15.0])
    own = scan.beamformer
    lines = [Beamformer(own.probe, own.image, own.grid, side) for side in sides]
    shown = simulated._compounded(scan, np.array([4, 7]), sides).astype(float)
    looks = np.array([scan.look(n, lines[n % 3]) for n in (3, 4, 5)], float)
    seen = np.array([lines[n % 3].field_of_view for n in (3, 4, 5)])
    expected = np.where(seen, looks, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    assert np.abs(shown[0] - expected)[own.field_of_view].max() <= 0.5
    assert (seen.sum(axis=0)[own.field_of_view] < 3).any()
    assert not shown[:, ~own.field_of_view].any()


@pytest.mark.parametrize("kind", list(PROBES))
def test_every_probe_lies_in_the_ranges_of_the_market_and_fits_its_picture(kind: str) -> None:
    for seed in range(50):
        probe = draw_probe(kind, np.random.default_rng(seed))
        image = fitting_picture(probe)
        assert 2 <= probe.frequency_mhz <= 15
        assert 0.3 <= probe.lens_waist_mm <= 1.5
        assert 1.54 / probe.frequency_mhz <= probe.axial_fwhm_mm < 1.2
        angle = probe.half_width if probe.radius_mm else 0.0
        half = (probe.radius_mm + probe.depth_mm) * np.sin(angle) or probe.half_width
        contact_x, contact_y = image.contact_mm
        assert contact_x - half > 0
        assert contact_x + half < 640 * image.spacing[0]
        assert contact_y + probe.depth_mm < 480 * image.spacing[1]
        assert contact_y > probe.radius_mm * (1 - np.cos(angle))


def test_persistence_mixes_in_what_was_on_the_screen() -> None:
    frames = [np.full((2, 2), grey, np.uint8) for grey in (0, 100, 100)]
    shown = simulated._with_persistence(frames, 0.5)
    np.testing.assert_array_equal(shown[:, 0, 0], [0, 50, 75])
    np.testing.assert_array_equal(simulated._with_persistence(frames, 0.0), frames)


class Counting:
    """A scan whose frames all show their number."""

    def frame(self, number: int) -> np.ndarray:
        return np.full((2, 2), 10 * number, np.uint8)


def test_a_screen_of_means_shows_each_frame_with_those_about_it() -> None:
    shown = simulated._means(Counting(), np.array([0, 4, 6]), 3)  # type: ignore[arg-type]
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown[:, 0, 0], [3, 40, 60])


EXCERPT = LONGEST_STEP * 15 + 1 + LONGEST_MEAN // 2  # as for a clip of 16 frames


def _paces() -> np.ndarray:
    """Steps (60, 15) between the frames of clips."""
    drawn = [simulated._frame_numbers(EXCERPT, 16, np.random.default_rng(n)) for n in range(60)]
    assert all(len(numbers) == WARM_UP + 16 for numbers in drawn)
    assert min(numbers.min() for numbers in drawn) >= 0
    assert max(numbers.max() for numbers in drawn) < EXCERPT
    return np.diff(np.array(drawn)[:, WARM_UP:], axis=1)


def test_frames_shown_are_in_order_and_within_the_excerpt() -> None:
    steps = _paces()
    assert (steps >= 1).all()
    assert 1.5 < steps.mean() < 2.5


def test_in_most_clips_the_hand_changes_its_pace() -> None:
    steps = _paces()
    smooth = (steps[:, :5].mean(axis=1), steps[:, -5:].mean(axis=1))
    changed = np.abs(np.log(smooth[0] / smooth[1])) > np.log(1.5)
    assert 0.25 < changed.mean() < 0.75


def test_without_a_change_of_pace_frames_are_about_evenly_spaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(simulated, "UNEVEN_SHARE", 0.0)
    monkeypatch.setattr(simulated, "CHANGING_SHARE", 0.0)
    steps = _paces()
    assert (np.ptp(steps, axis=1) <= 1).all()
    assert len(np.unique(steps)) >= 3


def test_clips_are_made_from_a_number_on_and_shared_among_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        simulated, "simulated_clip", lambda seed, length, screen: moving_clip(length=length)
    )
    for first in ("10", "11"):
        order = ["--seed", "7", "--first", first, "--count", "4", "--step", "2", "--length", "3"]
        assert simulated.main([str(tmp_path), *order]) == 0
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == [f"7_{number:06d}.safetensors" for number in range(10, 14)]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (["--length", "4"], "found length 3, expected 4;"),
        (["--length", "3", "--screen", "means"], "found screen none, expected means;"),
    ],
)
def test_clips_of_another_order_are_not_taken_for_these(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    other: list[str],
    told: str,
) -> None:
    monkeypatch.setattr(
        simulated, "simulated_clip", lambda seed, length, screen: moving_clip(length=length)
    )
    common = [str(tmp_path), "--count", "1"]
    for _ in range(2):
        assert simulated.main([*common, "--length", "3"]) == 0
    assert simulated.main([*common, *other]) == 2
    assert f"1.order.json: {told}" in caplog.text
    assert simulated.main([*common, *other, "--seed", "2"]) == 0


def test_clips_of_another_simulator_are_not_mixed_with_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        simulated, "simulated_clip", lambda seed, length, screen: moving_clip(length=length)
    )
    common = [str(tmp_path), "--length", "3", "--count"]
    assert simulated.main([*common, "1"]) == 0
    monkeypatch.setattr(simulated, "SIMULATOR", 99)
    assert simulated.main([*common, "2"]) == 2
    assert f"1.order.json: found simulator {SIMULATOR}, expected 99;" in caplog.text


def test_several_processes_make_the_clips_that_one_makes(tmp_path: Path) -> None:
    for jobs in ("1", "2"):
        order = ["--seed", "7", "--count", "2", "--usual", "rotation", "--length", "2"]
        assert simulated.main([str(tmp_path / jobs), *order, "--jobs", jobs]) == 0
    alone, shared = (sorted((tmp_path / jobs).iterdir()) for jobs in ("1", "2"))
    assert [path.name for path in alone] == [path.name for path in shared]
    assert [path.read_bytes() for path in alone] == [path.read_bytes() for path in shared]


def test_make_has_clips_made_on_all_cores_whatever_openmp_is_told(tmp_path: Path) -> None:
    (tmp_path / "nproc").write_text(NPROC)
    (tmp_path / "nproc").chmod(0o755)
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKERS")}
    openmp = {"OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1"}
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    told = subprocess.run(
        ["make", "--dry-run", "train"],
        cwd=ROOT,
        env=own | openmp | path,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert set(re.findall(r"training.simulated --jobs (\d+)", told)) == {"7"}


@pytest.mark.parametrize(
    ("order", "told"),
    [
        (["--seed", "900000"], "900000"),
        (["--length", "5000"], "found 5000, expected"),
        (["--usual", "rotation", "--length", "5000"], "found 5000, expected"),
    ],
)
def test_clips_that_cannot_be_made_are_told_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, order: list[str], told: str
) -> None:
    assert simulated.main([str(tmp_path / "clips"), *order]) == 2
    assert told in caplog.text
    assert not (tmp_path / "clips").exists()


def test_a_folder_that_takes_no_clips_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        simulated, "simulated_clip", lambda seed, length, screen: moving_clip(length=length)
    )
    (tmp_path / "file").write_text("")
    assert simulated.main([str(tmp_path / "file"), "--count", "1"]) == 2
    assert "cannot write the clip" in caplog.text


def test_the_longest_clip_of_all_kinds_fits_into_any_scan_at_the_slowest_pace() -> None:
    frames = LONGEST_STEP * (longest_clip(None) - 1) + 1 + WARM_UP + LONGEST_MEAN // 2
    assert frames <= min(WHOLE_FRAMES.values()) < frames + LONGEST_STEP


@pytest.mark.parametrize("kind", USUAL)
def test_the_longest_clip_of_one_kind_is_its_shortest_scan(kind: str) -> None:
    assert longest_clip(kind) == min(WHOLE_FRAMES[protocol] for protocol in USUAL[kind])
