"""The report in a real browser: headless Chromium opens it, clicks, presses keys and looks."""

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

import predict
from tusrec import poses

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
from selenium.webdriver.chrome.webdriver import WebDriver  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="needs Chromium: apt-get install chromium chromium-driver",
)

SAMPLE = Path(__file__).parents[2] / "sample"
NAMED = "<img src=x onerror=hacked=1>"
FRAMES = 30
DESK, PHONE = (1400, 1000), (500, 900)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over a tracked scan, one whose name is an attack, and a broken file."""
    folder = tmp_path_factory.mktemp("report")
    data = folder / "data"
    data.mkdir()
    shutil.copy(SAMPLE / "calib_matrix.csv", data)
    with h5py.File(next((SAMPLE / "frames").glob("*/*.h5"))) as file:
        frames = file["frames"][:FRAMES]
    steps = np.tile([0.01, 0.02, 0.0, 0.05, 0.0, 0.4], (FRAMES, 1))
    with h5py.File(data / "first.h5", "w") as file:
        file["frames"], file["tforms"] = frames, poses.chain(poses.exp(steps))
        file["tforms"].attrs["truth"] = "exact"
    with h5py.File(data / f"{NAMED}.h5", "w") as file:
        file["frames"] = frames[:3]
    (data / "broken.h5").write_bytes(b"nothing")
    output = folder / "out"
    predict.main(["--input", str(data), "--output", str(output), "--device", "cpu", "--report"])
    return output / "report.html"


@pytest.fixture(scope="module")
def chromium() -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for switch in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER)) as browser:
        yield browser


@pytest.fixture
def browser(chromium: WebDriver, report: Path) -> WebDriver:
    """The page of the tracked scan, freshly opened."""
    chromium.set_window_size(*DESK)
    chromium.get(report.as_uri())
    wait_for(chromium, "document.documentElement.dataset.ready")
    chromium.execute_script("choose(run.scans.find((s) => s.key === 'first').id)")
    wait_for(chromium, "document.documentElement.dataset.ready === 'first'")
    return chromium


def wait_for(browser: WebDriver, condition: str) -> None:
    WebDriverWait(browser, 120, 0.05).until(lambda b: b.execute_script(f"return {condition}"))


def find(browser: WebDriver, selector: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, selector)


def frame(browser: WebDriver) -> int:
    return int(browser.execute_script("return state.frame"))


def press(browser: WebDriver, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def drawn(browser: WebDriver, selector: str) -> NDArray[np.uint8]:
    """What is on a canvas, (H, W, 4), once all that is queued has been drawn."""
    browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
    )
    url = browser.execute_script(
        "return document.querySelector(arguments[0]).toDataURL()", selector
    )
    return pixels(base64.b64decode(url.partition(",")[2]))


def pixels(png: bytes) -> NDArray[np.uint8]:
    """The picture of a PNG, (H, W, 4)."""
    return np.asarray(imread(io.BytesIO(png)) * 255, np.uint8)


def test_the_page_opens_without_a_complaint_and_without_asking_for_anything(
    browser: WebDriver,
) -> None:
    assert find(browser, "h1").text == "first"
    asked_for = browser.execute_script(
        "return performance.getEntriesByType('resource').map((r) => r.name)"
    )
    assert all(name.startswith(("data:", "blob:")) for name in asked_for)
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


def test_keys_step_through_the_frames(browser: WebDriver) -> None:
    press(browser, Keys.ARROW_RIGHT)
    assert frame(browser) == 1
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.ARROW_RIGHT).key_up(
        Keys.SHIFT
    ).perform()
    assert frame(browser) == 11
    press(browser, Keys.END)
    assert frame(browser) == FRAMES - 1
    press(browser, Keys.ARROW_RIGHT)
    assert frame(browser) == FRAMES - 1
    press(browser, Keys.ARROW_LEFT)
    assert find(browser, "#slider").get_property("value") == str(FRAMES - 2)
    assert f"frame {FRAMES - 2} of {FRAMES - 1}, drift" in find(browser, "#readout").text
    press(browser, Keys.HOME)
    assert frame(browser) == 0


def test_the_slider_itself_works_by_keyboard(browser: WebDriver) -> None:
    find(browser, "#slider").send_keys(Keys.ARROW_RIGHT)
    assert frame(browser) == 1


def test_space_plays_and_stops(browser: WebDriver) -> None:
    press(browser, Keys.SPACE)
    wait_for(browser, "state.frame > 2")
    press(browser, Keys.SPACE)
    assert find(browser, "#play").text == "Play"


def test_a_screen_reader_is_told_the_frame_but_not_of_every_one_that_plays(
    browser: WebDriver,
) -> None:
    for _ in range(2):
        assert find(browser, "#readout").get_attribute("aria-live") == "polite"
        press(browser, Keys.SPACE)
        assert find(browser, "#readout").get_attribute("aria-live") == "off"
        press(browser, Keys.SPACE)


def test_a_finger_scrolls_the_page_over_what_it_does_not_drag(browser: WebDriver) -> None:
    for canvas, action in (
        ("#space", "none"),
        ("#frame", "auto"),
        ("#slice-x", "none"),
        ("#curve-0", "pan-y"),
        ("#drift", "pan-y"),
    ):
        assert find(browser, canvas).value_of_css_property("touch-action") == action


def test_arrows_in_a_slice_move_the_point_but_not_the_frame(browser: WebDriver) -> None:
    before = browser.execute_script("return state.point")
    spacing = browser.execute_script("return state.scan.volumes.predicted.spacing")
    find(browser, "#slice-y").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    after = browser.execute_script("return state.point")
    assert np.subtract(after, before) == pytest.approx([2 * spacing, 0, spacing])
    assert frame(browser) == 0


def test_what_the_poses_are_and_that_the_sign_is_a_guess_is_told(browser: WebDriver) -> None:
    text = find(browser, "main").text
    assert "tracked" not in text
    for words in ("predicted and exact image centre", "against exact", "exact poses"):
        assert words in text
    assert "this scan, better mirror" in find(browser, "#scores").text


def test_every_control_is_reached_by_tab_and_shows_where_one_is(browser: WebDriver) -> None:
    browser.execute_script("document.activeElement.blur()")
    reached = set()
    for _ in range(25):
        press(browser, Keys.TAB)
        reached.add(browser.execute_script("return document.activeElement.id"))
        outline = browser.execute_script(
            "return getComputedStyle(document.activeElement).outlineStyle"
        )
        assert outline != "none"
        if {"scan", "theme", "play", "slider", "space"} <= reached:
            return
    pytest.fail(f"reached only {reached}")


def test_arrows_turn_and_plus_zooms_the_view_in_space_and_0_brings_it_back(
    browser: WebDriver,
) -> None:
    before = drawn(browser, "#space")
    find(browser, "#space").send_keys(Keys.ARROW_LEFT, Keys.ARROW_UP, "+")
    assert frame(browser) == 0
    assert browser.execute_script("return [state.yaw, state.pitch]") == [-40, 27]
    assert (drawn(browser, "#space") != before).any()
    find(browser, "#space").send_keys("0")
    np.testing.assert_array_equal(drawn(browser, "#space"), before)


def test_the_mouse_turns_the_view(browser: WebDriver) -> None:
    ActionChains(browser).drag_and_drop_by_offset(find(browser, "#space"), 40, 0).perform()
    assert browser.execute_script("return state.yaw") == pytest.approx(-15, abs=1)


def test_a_click_on_a_curve_goes_to_its_frame(browser: WebDriver) -> None:
    find(browser, "#curve-2").click()  # the middle of the canvas
    assert abs(frame(browser) - FRAMES / 2) < 4


def test_a_click_in_a_slice_moves_the_point_but_not_the_frame(browser: WebDriver) -> None:
    before = browser.execute_script("return state.point")
    slice_ = find(browser, "#slice-z")
    ActionChains(browser).move_to_element_with_offset(slice_, 20, 15).click().perform()
    after = browser.execute_script("return state.point")
    assert after[0] > before[0] + 1
    assert after[2] == before[2]
    assert frame(browser) == 0


def test_the_frame_and_the_slice_show_the_ultrasound(browser: WebDriver) -> None:
    for canvas in ("#frame", "#slice-z", "#space"):
        grey = drawn(browser, canvas)[..., 0]
        assert len(np.unique(grey)) > 60, canvas


def test_slices_change_with_the_poses_they_are_made_of(browser: WebDriver) -> None:
    before = drawn(browser, "#slice-x")
    find(browser, "[data-volume=true]").click()
    wait_for(browser, "state.scan.volumes.true.values")
    assert (drawn(browser, "#slice-x") != before).any()
    assert find(browser, "[data-volume=true]").get_attribute("aria-pressed") == "true"


def test_curves_change_between_the_first_frame_and_the_one_before(browser: WebDriver) -> None:
    before = drawn(browser, "#curve-2")
    find(browser, "[data-kind=previous]").click()
    assert (drawn(browser, "#curve-2") != before).any()


def test_light_and_dark_are_told_apart_in_a_screenshot(browser: WebDriver) -> None:
    brightness = {}
    for _ in range(2):
        theme = browser.execute_script("return isDark()")
        brightness[theme] = pixels(browser.get_screenshot_as_png())[..., :3].mean()
        find(browser, "#theme").click()
    press(browser, "t")
    assert brightness[False] > 200
    assert brightness[True] < 70


def test_names_are_text_and_never_markup(browser: WebDriver) -> None:
    for _ in range(2):
        press(browser, "p")
    assert find(browser, "h1").text == NAMED
    assert NAMED in browser.title
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert browser.execute_script("return typeof hacked") == "undefined"
    assert not find(browser, "#drift-section").is_displayed() or "Own estimate" in (
        find(browser, "#drift-title").text
    )
    assert "no tracked poses" in find(browser, "#scores").text


def test_a_scan_is_dated_by_its_own_result_and_not_by_the_run(browser: WebDriver) -> None:
    for date, shown in (("'its own'", True), ("undefined", False)):
        browser.execute_script(
            "run.run.predicted = 'the run'; "
            f"state.scan.facts.predicted = {date}; showFacts(state.scan)"
        )
        facts = find(browser, "#facts").text
        assert "the run" not in facts
        assert ("its own" in facts) is shown
        assert (browser.execute_script("return run.run.input") in facts) is True


def test_the_scan_is_chosen_from_the_list_and_from_the_table(browser: WebDriver) -> None:
    find(browser, "#scan").send_keys(NAMED)
    wait_for(browser, f"state.scan.key === {NAMED!r}")
    find(browser, "#all tr:last-child button").click()
    wait_for(browser, "state.scan.key === 'first'")


def test_a_scan_that_failed_is_told(browser: WebDriver) -> None:
    assert "broken.h5" in find(browser, "#failures").text


def test_the_leaderboard_is_marked_as_other_data(browser: WebDriver) -> None:
    text = find(browser, "#scores").text
    assert "other data" in text
    assert "ImFusion (DualTrack)" in text


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_overlaps_or_leaves_the_window(browser: WebDriver, size: tuple[int, int]) -> None:
    browser.set_window_size(*size)
    overflow = browser.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert overflow <= 0
    overlapping = browser.execute_script(
        """
        const kinds = ["canvas", "button", "h2", "p", "table"].map((kind) => `main ${kind}`);
        const shown = [...document.querySelectorAll(kinds)]
          .filter((e) => e.offsetParent && !e.closest("#player"));
        const boxes = shown.map((e) => e.getBoundingClientRect()), found = [];
        for (let i = 0; i < shown.length; i++) for (let j = i + 1; j < shown.length; j++) {
          if (shown[i].contains(shown[j])) continue;
          const [a, b] = [boxes[i], boxes[j]];
          if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
              Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
            found.push([shown[i].outerHTML.slice(0, 60), shown[j].outerHTML.slice(0, 60)]);
        }
        return found;
        """
    )
    assert overlapping == []
