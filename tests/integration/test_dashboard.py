# SPDX-License-Identifier: MIT
"""The page of iomem-exporter, in a headless Chromium: map, events, themes, and names that mean harm."""

import json
import os
import re
import shutil

import pytest

from support import ROOT, wait_for
from test_exporter import Exporter, exporter_program

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By  # noqa: E402  pylint: disable=wrong-import-position

pytestmark = [
    pytest.mark.modes("passthrough"),
    pytest.mark.skipif(not exporter_program().exists(), reason="built without libmicrohttpd"),
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="chromium-driver is not installed"),
    pytest.mark.timeout(180),
]
MIB = 1 << 20
HARM = "<img src=x onerror=document.title='harm'>"


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options)
    yield driver
    driver.quit()


class Page:
    """The page on a mount, and what it shows."""

    def __init__(self, browser, mount, query=""):
        self.exporter = Exporter("-m", mount)
        self.browser = browser
        browser.get(f"http://127.0.0.1:{self.exporter.port}/{query}")

    def script(self, text):
        return self.browser.execute_script(f"return {text}")

    def text(self, name):
        return self.script(f"document.getElementById({json.dumps(name)}).textContent")

    def names(self):
        return self.script("[...document.querySelectorAll('#map .region')].map((cell) => cell.dataset.name)")

    def directories(self):
        return self.script("[...document.querySelectorAll('#map .dir')].map((cell) => cell.dataset.dir)")

    def events(self):
        return self.script("[...document.querySelectorAll('#events li')].map((line) => line.textContent)")

    def wait(self, condition, what):
        return wait_for(condition, what)

    def click(self, selector):
        self.browser.execute_script(f"document.querySelector({json.dumps(selector)}).click()")

    def close(self):
        # Nothing went wrong that only the console shows.
        assert [line for line in self.browser.get_log("browser") if line["level"] == "SEVERE"] == []
        self.browser.get("about:blank")
        self.exporter.close()


@pytest.fixture
def page(mount, browser):
    (mount / "camera/left").mkdir(parents=True)
    mount.create("camera/left/one", 4 * MIB)
    mount.create("camera/two", 8 * MIB, "populate")
    mount.create("big", 32 * MIB)
    one = Page(browser, mount)
    one.wait(lambda: len(one.names()) == 3, "the map")
    yield one
    one.close()


def test_map(page):
    assert set(page.names()) == {"camera/left/one", "camera/two", "big"}
    assert page.directories() == ["camera", "camera/left"]
    assert (page.text("n-regions"), page.text("n-size")) == ("3", "44M")
    assert page.text("n-used").startswith("44M of ")
    assert page.text("n-restarts") == "0"
    # Areas are as sizes.
    areas = page.script(
        "Object.fromEntries([...document.querySelectorAll('#map .region')].map("
        "(cell) => [cell.dataset.name, cell.offsetWidth * cell.offsetHeight]))"
    )
    assert 2.5 < areas["big"] / areas["camera/two"] < 6
    assert 1.4 < areas["camera/two"] / areas["camera/left/one"] < 3.5
    inside = page.script("(() => { const map = document.getElementById('map').getBoundingClientRect();"
                         "return [...document.querySelectorAll('#map .region')].every((cell) => {"
                         "const r = cell.getBoundingClientRect(); return r.left >= map.left && r.right <= map.right + 1"
                         "&& r.top >= map.top && r.bottom <= map.bottom + 1; }); })()")
    assert inside
    # The part that has memory is filled.
    assert page.script("document.querySelector('[data-name=\"camera/two\"] .fill').style.height") == "100%"
    assert page.script("document.querySelector('[data-name=\"big\"] .fill').style.height") == "0%"


def test_going_into_a_directory(page):
    page.click('#map [data-dir="camera"]')
    page.wait(lambda: set(page.names()) == {"camera/left/one", "camera/two"}, "camera")
    assert page.text("path").endswith("camera")
    page.click('#map [data-dir="camera/left"]')
    page.wait(lambda: page.names() == ["camera/left/one"], "camera/left")
    page.click("#path button")
    page.wait(lambda: len(page.names()) == 3, "all again")
    page.click("#by-allocated")
    page.wait(lambda: page.names() == ["camera/two"], "what has memory")
    page.click("#by-size")
    page.wait(lambda: len(page.names()) == 3, "by size")


def test_live(mount, page):
    page.wait(lambda: page.script("state.source.readyState") == 1, "the stream of events")
    mount.create("new", 2 * MIB)
    page.wait(lambda: "new" in page.names(), "the new region")
    assert re.match(rf"createnew2M\s+by root\[{os.getpid()}\]", page.events()[0])
    os.unlink(mount / "new")
    page.wait(lambda: "new" not in page.names(), "its end")
    assert page.events()[0].startswith("removenew")
    assert page.text("n-events") == "(2)"
    os.kill(int(mount.stats()['iomemfs_daemon_pid{role="worker"}']), 9)
    page.wait(lambda: page.text("n-restarts") == "1", "the restart")
    page.wait(lambda: any(line.startswith("restart") for line in page.events()), "its event")


def test_details(page):
    page.browser.execute_script("document.querySelector('[data-name=big]').focus()")
    text = page.text("tip")
    assert not page.script("document.getElementById('tip').hidden")
    for part in ("big", "size32M", "uid 0, gid 0, mode 0644", "python3["):
        assert part in text, text
    rows = page.script("[...document.querySelectorAll('#rows tr')].map((row) => row.children[0].textContent)")
    assert rows == ["big", "camera/two", "camera/left/one"]


def luminance(color):
    red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", color)[:3])
    parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_dark_and_light(page):
    def colors(selector):
        return page.script(f"((s) => [s.color, s.backgroundColor])(getComputedStyle(document.querySelector('{selector}')))")

    backgrounds = set()
    for _ in range(2):
        front, back = colors("body")
        backgrounds.add(back)
        assert contrast(front, back) > 7
        region = colors("#map .region")
        assert contrast(*region) > 4.5
        page.click("#theme")
    assert len(backgrounds) == 2


@pytest.mark.parametrize("wanted", ["dark", "light"])
def test_the_theme_of_the_system(browser, mount, wanted):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": wanted}]})
    one = Page(browser, mount)
    try:
        assert one.script("document.documentElement.dataset.theme") == wanted
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        one.close()


def test_names_are_only_shown(mount, page):
    """Names are text, whatever they are."""
    assert "/" not in HARM
    for name in (HARM, "a\u202eb", '"><script>document.title="harm"<'):
        (mount / name.replace("/", "")).write_bytes(b"x" * MIB)
    (mount / os.fsdecode(b"bytes\xff")).write_bytes(b"x" * MIB)
    page.wait(lambda: len(page.names()) == 7, "the names")
    labels = page.script("[...document.querySelectorAll('#map .region')].map((c) => c.getAttribute('aria-label')).join()")
    assert HARM in labels and "a\\u202eb" in labels and "\u202e" not in labels
    assert page.browser.title == "iomemfs"
    assert page.browser.find_elements(By.TAG_NAME, "img") == []


def test_nobody_else_is_asked(page):
    """All that the page loads comes from the exporter."""
    loaded = page.script("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert loaded
    here = f"http://127.0.0.1:{page.exporter.port}/"
    assert [name for name in loaded if not name.startswith(here)] == []


def test_nothing_there(browser, home):
    one = Page(browser, home)
    try:
        one.wait(lambda: "cannot be read" in one.text("state"), "the message")
        assert one.script("document.getElementById('state').className") == "bad"
    finally:
        # The failed requests are in the console, as they should be.
        browser.get_log("browser")
        one.close()


def test_a_small_window(page):
    size = page.browser.get_window_size()
    try:
        page.browser.set_window_size(500, 900)
        page.wait(lambda: page.script("document.getElementById('map').clientWidth") < 500, "the size")
        page.wait(lambda: len(page.names()) == 3, "the map")
        assert page.script("document.documentElement.scrollWidth <= innerWidth")
    finally:
        page.browser.set_window_size(size["width"], size["height"])


def test_the_picture_in_docs_is_small():
    path = ROOT / "docs" / "dashboard.png"
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size < 150_000
    assert "dashboard.png" in (ROOT / "docs/operating.md").read_text()
