"""Grey levels: what is white and black, gains, noise, speckle reduction, persistence."""

from dataclasses import replace

import numpy as np
import pytest

from sim.console import Console, Developer, Float32, draw_console
from sim.imaging import Beamformer, LineGrid
from sim.probe import PROBES
from sim.scan import IMAGES

COARSE = LineGrid(320, 0.15)
PLAIN = Console(
    dynamic_range_db=60.0, white_db=30.0, noise_db=-200.0, attenuation_db_mm=0.5, tgc_db_mm=0.5,
    tgc_limit_db=100.0, tgc_sliders_db=(0.0,) * 8, ringing_db=-200.0, ringing_mm=1.0, gel_mm=2.0,
    speckle_reduction=0.0, persistence=0.0,
)  # fmt: skip


def developer(console: Console) -> Developer:
    b = Beamformer(PROBES["convex"], IMAGES["convex"], COARSE)
    return Developer(console, b, np.random.default_rng(0))


def grey(console: Console, amplitude_db: float, gain_db: float = 0.0) -> Float32:
    """Grey levels of an even echo."""
    d = developer(console)
    echoes = np.zeros((d.gain_db.size, 2 * COARSE.lines), np.float32)
    echoes[:, ::2] = 10 ** (amplitude_db / 20)
    loss = np.zeros((d.gain_db.size, COARSE.lines), np.float32)
    return d.grey(echoes, loss, gain_db, seed=1)


@pytest.mark.parametrize(("amplitude", "level"), [(30, 255), (0, 127.5), (-30, 0), (-50, 0)])
def test_the_dynamic_range_ends_at_white_and_at_black(amplitude: float, level: float) -> None:
    np.testing.assert_allclose(grey(PLAIN, amplitude), level, atol=0.1)


def test_a_gain_of_six_decibels_lightens_by_a_tenth_of_60() -> None:
    np.testing.assert_allclose(grey(PLAIN, 0, gain_db=6.0) - grey(PLAIN, 0), 25.5, atol=0.1)


def test_gain_that_lags_behind_attenuation_darkens_the_depth() -> None:
    lagging = grey(replace(PLAIN, tgc_db_mm=0.4), 0).mean(axis=1)
    assert lagging[0] == pytest.approx(127.5, abs=0.5)
    assert lagging[0] - lagging[-1] == pytest.approx(9.0 * 255 / 60, rel=0.03)


def test_noise_grows_with_the_gain_over_depth_and_has_its_level_at_the_face() -> None:
    d = developer(replace(PLAIN, noise_db=-20.0, white_db=40.0, dynamic_range_db=85.0))
    nothing = np.zeros((d.gain_db.size, 2 * COARSE.lines), np.float32)
    levels = d.grey(nothing, nothing[:, ::2], 0.0, seed=3).mean(axis=1)
    decibels = levels * 85 / 255 - 45
    # The mean of the logarithm of a Rayleigh amplitude is 2.5 dB under its RMS.
    assert decibels[:8].mean() == pytest.approx(-20 - 2.5, abs=0.6)
    assert decibels[100:110].mean() - decibels[:10].mean() == pytest.approx(7.5, abs=0.8)


def test_speckle_reduction_smooths() -> None:
    noisy = replace(PLAIN, noise_db=0.0)
    smooth = replace(noisy, speckle_reduction=0.8)
    assert grey(smooth, 0)[:60].std() < 0.75 * grey(noisy, 0)[:60].std()


def test_ringing_is_the_same_in_every_frame_and_dies_away() -> None:
    d = developer(replace(PLAIN, ringing_db=10.0))
    nothing = np.zeros((d.gain_db.size, 2 * COARSE.lines), np.float32)
    first, second = (d.grey(nothing, nothing[:, ::2], 0.0, seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(first, second)
    assert first[:4].mean() > 80
    assert first[60:].max() == 0


def test_settings_are_drawn_within_their_ranges() -> None:
    for seed in range(200):
        console = draw_console(np.random.default_rng(seed), 6.0)
        assert 50 <= console.dynamic_range_db <= 85
        assert 0.4 <= console.attenuation_db_mm <= 0.9
        assert console.tgc_db_mm <= console.attenuation_db_mm
        assert 0 <= console.persistence <= 0.5
