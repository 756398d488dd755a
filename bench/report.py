"""The bars of the report: size and loading time of a scan of 1,500 frames.

`python -m bench.report [PAGE]`. The sample's frames, noise added so that no two are alike, along
a rotation scan; loading is measured in headless Chromium, from the start of navigation until
everything is drawn.
"""

import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

import predict
from bench.console import require_done, say, seconds
from bench.sample import SAMPLE, sample_calibration, sample_frames
from bench.volume import rotation
from tusrec import poses
from tusrec.entry import exit_code_of

FRAMES = 1500
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
DRAWN = "return document.documentElement.dataset.ready && performance.now()"


def main(page: Path | None) -> int:
    """Write a report, measure it, and print one line for each bar."""
    with tempfile.TemporaryDirectory(prefix="tusrec-bench-") as folder:
        write_dataset(Path(folder) / "data")
        results = Path(folder) / "results"
        command = ["--input", f"{folder}/data", "--output", str(results), "--model", "identity"]
        command += ["--ddf", "none"]
        require_done("predict.py", predict.main(command))
        move(next(results.glob("sub*.h5")))
        taken = seconds(lambda: require_done("predict.py", predict.main([*command, "--report"])))
        say(f"the report on {FRAMES} frames is written in {taken:.0f} s")
        report = results / "report.html"
        say(f"report: {report.stat().st_size / 1e6:.1f} MB (bar: 15)")
        say(drawing(report))
        if page is not None:
            page.write_bytes(report.read_bytes())
    return 0


def write_dataset(folder: Path) -> None:
    """A scan of FRAMES frames in the validation layout."""
    key = "RH_rotation.h5"
    for part in ("frames/900", "transfs/900"):
        (folder / part).mkdir(parents=True)
    (folder / "calib_matrix.csv").write_bytes((SAMPLE / "calib_matrix.csv").read_bytes())
    T_tool_from_image = sample_calibration().T_tool_from_image
    tracked = T_tool_from_image @ rotation(FRAMES) @ poses.inverse(T_tool_from_image)
    with h5py.File(folder / "transfs/900" / key, "w") as file:
        file["tforms"] = tracked.astype(np.float32)
    with h5py.File(folder / "frames/900" / key, "w") as file:
        file["frames"] = noisy_frames()


def move(result: Path) -> None:
    """Give a result poses that err by a tenth, so that its volume is no plane."""
    motions = poses.exp(1.1 * poses.log(rotation(FRAMES)))[1:]
    with h5py.File(result, "a") as file:
        file["global"][...], file["local"][...] = motions, poses.unchain(motions)
        file["local_covariance"][...] = np.diag([1e-6] * 3 + [1e-4] * 3)


def noisy_frames() -> NDArray[np.uint8]:
    """The sample's frames over and over, (FRAMES, H, W)."""
    random = np.random.default_rng(0)
    frames = sample_frames()
    made = np.empty((FRAMES, *frames.shape[1:]), np.uint8)
    for index in range(FRAMES):
        gain = random.integers(192, 320, frames.shape[1:], np.uint16)
        made[index] = np.minimum(frames[index % len(frames)] * gain // 256, 255)
    return made


def drawing(page: Path) -> str:
    """How long it takes until the page is drawn, where there is a browser."""
    if CHROMIUM is None or DRIVER is None:
        return "drawn after: not measured, no Chromium (apt-get install chromium chromium-driver)"
    times = [loading_seconds(page, CHROMIUM, DRIVER) for _ in range(5)]
    return f"drawn after {np.median(times):.2f} s, at most {max(times):.2f} s (bar: 2)"


def loading_seconds(page: Path, chromium: str, driver: str) -> float:
    """Time until the page says that it is drawn, in a fresh browser."""
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(switch)
    with webdriver.Chrome(options=options, service=Service(driver)) as browser:
        browser.get(page.as_uri())
        drawn = WebDriverWait(browser, 30, 0.02).until(lambda b: b.execute_script(DRAWN))
        return float(drawn) / 1000


if __name__ == "__main__":
    page = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    sys.exit(exit_code_of(partial(main, page)))
