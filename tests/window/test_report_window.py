"""The report in a browser without a window: it looks right at every width, sorts, and asks nothing of the network."""

import base64
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image as PillowImage

from stormseg_ij import report as report_module
from stormseg_ij.image import Calibration, Image, write_labels
from stormseg_ij.pipeline import Result
from stormseg_ij.report import write_report

pytestmark = pytest.mark.window

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")
START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
WIDTHS = (1280, 400)
LOADED = "[...document.images].map((image) => image.complete ? image.naturalWidth : 0)"
FIRST_COLUMN = "[...document.querySelectorAll('table.sortable tbody th')].map((cell) => cell.textContent)"
BUTTONS = "[...document.querySelectorAll('table.sortable thead button')]"
CLICK = BUTTONS + ".find((button) => button.textContent === '{}').click()"
CONTRASTS = """
(() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (part) => {
    for (; part; part = part.parentElement) {
      const colour = parse(getComputedStyle(part).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const texts = [...document.querySelectorAll("body *:not(script)")].filter(
    (part) => [...part.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) && !part.closest("title"));
  return texts.map((part) => {
    const style = getComputedStyle(part);
    const ink = parse(part.namespaceURI.endsWith("svg") ? style.fill : style.color).slice(0, 3);
    const pair = [light(ink), light(behind(part))];
    return [(Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05), part.textContent.slice(0, 40)];
  });
})()
"""


class Browser:
    """A browser that is spoken to through two pipes, in the Chrome DevTools Protocol."""

    def __init__(self, program, profile):
        down, self._out = os.pipe()
        self._in, up = os.pipe()
        command = [program, *OPTIONS, f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(down), str(up), *command],
            pass_fds=[down, up],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(down)
        os.close(up)
        self._numbers, self._rest, self._session = itertools.count(1), b"", None
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        os.close(self._out)
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._in)

    def call(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def show(self, path, *, width=1280, height=900, scheme="light"):
        """Load a page; the events are then those of this page."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def run(self, script):
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def picture(self):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip={**size, "scale": 1})
        return PillowImage.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")

    def complaints(self):
        kinds = {"Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"}
        return [event for event in self.events if event["method"] in kinds]

    def requests(self):
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def _read(self):
        while b"\0" not in self._rest:
            data = os.read(self._in, 1 << 16)
            assert data, f"the browser has left (status {self._process.wait(timeout=20)})"
            self._rest += data
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.fail("the tests of the report need a browser: apt-get install chromium-headless-shell", pytrace=False)
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report on three images, two of them with truth; one with a long name, one without nuclei."""
    folder = tmp_path_factory.mktemp("results")
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:240, :300]
    for number, name in enumerate(["b_" + "long_name_" * 9, "a", "c<b>&amp;"]):
        labels = np.zeros(x.shape, np.int32)
        for n in range((9, 14, 0)[number]):
            row, column = divmod(n, 5)
            labels[(y - 40 - 70 * row) ** 2 + (x - 35 - 58 * column) ** 2 < rng.integers(100, 500)] = n + 1
        pixels = np.where(labels > 0, rng.poisson(90.0, x.shape), rng.poisson(3.0, x.shape)).astype(np.uint8)
        used = {"size": 100 * number + 100, "plane": None}
        run = {"settings": {"asked": {}, "used": used}, "model": {"name": "none"}, "seconds": {"network": 1.0}}
        scores = {n: 0.5 + 0.03 * n for n in range(1, 15)}
        image = Image(pixels, name, Calibration(0.1, 0.1, "micron"))
        Result(image, labels, scores, {**run, "notes": ["a note"]}).save(folder)
        if number < 2:
            truth = np.where(labels == 3, 0, labels)
            truth[215:235, 200:230] = 90
            write_labels(folder / "truth" / f"{name}.tif", truth)
    return write_report(folder)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_page_is_whole_and_fits(browser, report, width, scheme):
    browser.show(report.path, width=width, scheme=scheme)
    widths = browser.run(LOADED)
    assert len(widths) == 3
    assert min(widths) > 0
    assert browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    shown = browser.run("[...document.images].map((image) => image.getBoundingClientRect().width)")
    assert min(shown) > 0.4 * min(width, 1200)
    background = np.asarray(browser.picture())[2, 2]
    assert (background.min() > 200) if scheme == "light" else (background.max() < 60)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(browser, report, scheme):
    browser.show(report.path, scheme=scheme)
    contrasts = browser.run(CONTRASTS)
    assert len(contrasts) > 100
    assert [pair for pair in contrasts if pair[0] < 4.5] == []  # WCAG 2, level AA


def test_a_click_sorts_the_table(browser, report):
    browser.show(report.path)
    a, b, c = "a", "b_" + "long_name_" * 9, "c<b>&amp;"
    assert browser.run(FIRST_COLUMN) == [a, b, c]
    for head, once, twice in (
        ("Nuclei", [c, b, a], [a, b, c]),
        ("Network size (px)", [b, a, c], [c, a, b]),
        ("Image", [a, b, c], [c, b, a]),
    ):
        for order, expected in (("ascending", once), ("descending", twice)):
            browser.run(CLICK.format(head))
            assert browser.run(FIRST_COLUMN) == expected
            sorted_by = "document.querySelector('[aria-sort]')"
            assert browser.run(f"[{sorted_by}.textContent, {sorted_by}.ariaSort]") == [head, order]
    browser.run(CLICK.format("F1 at 0.7"))
    assert browser.run(FIRST_COLUMN)[2] == c  # what has no score comes last
    browser.run(CLICK.format("F1 at 0.7"))
    assert browser.run(FIRST_COLUMN)[2] == c
    assert browser.complaints() == []


def test_nothing_leaves_the_page(browser, report):
    browser.show(report.path)
    assert {url.split(",")[0] for url in browser.requests()} == {report.path.as_uri(), "data:image/jpeg;base64"}
    refused = """
      new Promise((done) => {
        const found = [];
        document.addEventListener("securitypolicyviolation", (event) => {
          found.push(event.effectiveDirective);
          if (found.length === 3) done([found.sort(), window.entered]);
        });
        new Image().src = "http://127.0.0.1:9/x.png";
        fetch("http://127.0.0.1:9/").catch(() => 0);
        const script = document.createElement("script");
        script.textContent = "window.entered = true";
        document.body.append(script);
      })"""
    directives, entered = browser.run(refused)
    assert directives == ["connect-src", "img-src", "script-src-elem"]
    assert entered is None


def test_comparison_is_seen_in_colours_and_lines(browser, report):
    browser.show(report.path, width=1280)
    pixels = np.asarray(browser.picture()).astype(int)
    for colour in ((0x56, 0xC4, 0xFF), (0xFF, 0xA6, 0x30), (0xFF, 0x7B, 0xE5)):
        assert np.count_nonzero(np.abs(pixels - colour).max(axis=-1) < 40) > 60, colour
    styles = []
    for kind, count in (("hit", 21), ("missed", 2), ("false", 2)):
        found = f"[...document.querySelectorAll('.stage .{kind}')]"
        assert browser.run(f"{found}.length") == count
        style = f"getComputedStyle({found}[0])"
        styles.append(browser.run(f"[{style}.stroke, {style}.strokeDasharray]"))
    assert len({stroke for stroke, _ in styles}) == 3
    assert len({dashes for _, dashes in styles}) == 3
    legends = browser.run("[...document.querySelectorAll('.legend')].map((list) => list.innerText)")
    assert legends[0].split("\n") == ["found (IoU > 0.7): 13", "missed: 1", "false: 1"]


def test_outlines_lie_over_the_nuclei(browser, report):
    browser.show(report.path)
    box = "((box) => [box.x, box.y, box.width, box.height])(stage.querySelector(name).getBoundingClientRect())"
    stages = "[...document.querySelectorAll('.stage')]"
    boxes = browser.run(f"{stages}.map((stage) => ['img', 'svg'].map((name) => {box}))")
    assert len(boxes) == 3
    for image, outlines in boxes:
        assert outlines == pytest.approx(image, abs=0.6)


def test_page_can_be_printed(browser, report):
    browser.show(report.path)
    start = time.perf_counter()
    pdf = base64.b64decode(browser.call("Page.printToPDF", printBackground=False)["data"])
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 50_000  # with its pictures
    assert time.perf_counter() - start < 30
    assert browser.run("[...document.querySelectorAll('details')].every((part) => part.open)")


def test_many_pictures_wait_until_they_are_near_but_are_seen_and_printed(browser, report, tmp_path, monkeypatch):
    monkeypatch.setattr(report_module, "MANY_IMAGES", 2)
    browser.show(write_report(report.path.parent, tmp_path / "many.html").path, width=400, height=300)
    assert browser.run("[...document.images].map((image) => image.loading)") == ["lazy"] * 3
    heights = "[...document.images].map((image) => image.getBoundingClientRect().height)"
    before = browser.run(heights)
    assert min(before) > 100  # their place is kept
    pdf = base64.b64decode(browser.call("Page.printToPDF", printBackground=False)["data"])
    assert pdf.count(b"/Subtype /Image") >= 3
    browser.run("document.images[2].scrollIntoView({ behavior: 'instant' }); document.images[2].decode()")
    assert browser.run(heights) == before
    assert browser.run(LOADED)[2] > 0
    assert browser.complaints() == []
