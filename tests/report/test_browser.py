"""The report in a real browser without a network: nothing missing, nothing cut off, in light, dark, phone and print."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

_WIDER_THAN_THE_PAGE = """
return [...document.querySelectorAll('body *')]
  .filter(e => !e.closest('.scroll, pre, svg') && e.getBoundingClientRect().right > innerWidth + 0.5)
  .map(e => e.tagName + '.' + e.className + ': ' + e.textContent.slice(0, 40))
"""
_WIDTHS = "return [document.documentElement.clientWidth, document.documentElement.scrollWidth]"
_CURVES = """
return [...document.querySelectorAll('svg path.line')].map(path => {
  const box = path.getBoundingClientRect(), style = getComputedStyle(path);
  return [box.width, box.height, style.stroke, path.getTotalLength()]
})
"""
_FOLDED = """
const folded = document.querySelector('details:not([open])');
return getComputedStyle(folded, '::details-content').contentVisibility
"""
_BACKGROUND = "return getComputedStyle(document.body).backgroundColor"


def show(browser: Any, report: Path, *, width: int = 1100, height: int = 900, scheme: str = "light") -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    preferred = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})
    browser.get(report.as_uri())


def screenshot(browser: Any) -> bytes:
    whole = {"captureBeyondViewport": True, "format": "png"}
    return base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", whole)["data"])


@pytest.fixture(scope="module")
def report(new_run: Any, page_of: Any) -> Path:
    """The report of a run with everything in it, long words too."""
    run = new_run()
    run.whole()
    run.record(name="demo-" + "x" * 35, training_config={"model_name_or_path": "y" * 200, "do_train": True})
    sample = {"question": "w" * 300, "answer": "a " * 200, "before": "", "after": "z" * 300, "correct_after": False}
    run.evaluate(samples=[sample])
    page_of(run)
    return run.paths.report


@pytest.fixture(autouse=True)
def quiet_console(browser: Any) -> Any:
    """A page that the browser complains about fails its test."""
    browser.get_log("browser")
    yield
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 768, 1440])
def test_nothing_is_wider_than_the_screen(browser: Any, report: Path, width: int, scheme: str) -> None:
    show(browser, report, width=width, scheme=scheme)
    room, needed = browser.execute_script(_WIDTHS)
    assert room == needed == width
    assert browser.execute_script(_WIDER_THAN_THE_PAGE) == []


@pytest.mark.parametrize("width", [375, 1100])
def test_every_curve_is_drawn(browser: Any, report: Path, width: int) -> None:
    show(browser, report, width=width)
    curves = browser.execute_script(_CURVES)
    assert len(curves) == 4  # loss, learning rate, gradient norm, tokens per second
    for wide, high, stroke, length in curves:
        assert wide > width / 4
        assert high > 20
        assert length > 500
        assert stroke not in ("none", "rgb(0, 0, 0)")


def test_a_screenshot_shows_the_colours_of_the_scheme(browser: Any, report: Path) -> None:
    pictures: dict[str, bytes] = {}
    grounds: dict[str, str] = {}
    for scheme in ("light", "dark"):
        show(browser, report, scheme=scheme)
        pictures[scheme], grounds[scheme] = screenshot(browser), browser.execute_script(_BACKGROUND)
    assert grounds == {"light": "rgb(246, 247, 249)", "dark": "rgb(15, 20, 26)"}
    for picture in pictures.values():
        width, height = struct.unpack(">II", picture[16:24])  # of the PNG's header
        assert width == 1100
        assert height > 2000
        assert len(picture) > 50_000  # an empty page compresses to a few thousand bytes
    assert pictures["light"] != pictures["dark"]


def test_a_step_tells_its_numbers_under_the_pointer(browser: Any, report: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    show(browser, report)
    place = browser.find_elements(By.CSS_SELECTOR, ".large .read")[29]
    told = place.find_element(By.TAG_NAME, "em")
    assert not told.is_displayed()
    ActionChains(browser).move_to_element(place).perform()
    assert told.is_displayed()
    assert told.text.startswith("step 30: Training loss 0.")


def test_one_click_selects_a_whole_digest(browser: Any, report: Path) -> None:
    from selenium.webdriver.common.by import By

    show(browser, report)
    digest = next(each for each in browser.find_elements(By.CSS_SELECTOR, "code.copy") if each.text == "a" * 64)
    digest.click()
    assert browser.execute_script("return getSelection().toString()") == "a" * 64


def test_paper_gets_what_is_folded_on_the_screen(browser: Any, report: Path) -> None:
    show(browser, report, scheme="dark")
    assert browser.execute_script(_FOLDED) == "hidden"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script(_FOLDED) == "visible"
    assert browser.execute_script(_BACKGROUND) == "rgb(255, 255, 255)"


def test_an_empty_run_has_a_page_too(browser: Any, new_run: Any, page_of: Any) -> None:
    run = new_run()
    page_of(run)
    show(browser, run.paths.report, width=375)
    assert "Not started" in browser.find_element("css selector", "body").text
    assert browser.execute_script(_WIDER_THAN_THE_PAGE) == []
