"""The report in headless Chromium: it loads silently, its controls work, and it does without a script too.

These tests need Chromium with its driver and the package selenium. They are skipped without, unless the environment
variable PARHELION_NEED_BROWSER is set, as in continuous integration: then they fail.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil

import pytest

from parhelion.report.figures.arrays import measured

NEEDED = bool(os.environ.get("PARHELION_NEED_BROWSER"))
PAGES = ["overview", "physics", "classifiers", "distributions", "training", "numbers", "reproduce"]


def missing(what):
    text = f"{what} is not installed, so the report is not tried in a browser"
    if NEEDED:
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="module")
def chromium():
    """A headless browser that logs its console and its requests."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        missing("Chromium or its driver (Debian: chromium, chromium-driver)")
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        missing("The package selenium (pip install 'parhelion[dev]')")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
        "--window-size=1440,1043", "--disable-background-networking", "--no-first-run",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(service=Service(driver), options=options)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def address(full, tmp_path_factory):
    path = tmp_path_factory.mktemp("browser") / "report.html"
    path.write_text(full[1], encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def report(chromium, address):
    """The report, freshly opened."""
    chromium.get("about:blank")
    chromium.get_log("browser")
    chromium.get_log("performance")
    chromium.get(address)
    yield Report(chromium, address)
    assert chromium.get_log("browser") == []


class Report:
    """What a reader does with a report."""

    def __init__(self, browser, address):
        self.browser, self.address = browser, address

    def go(self, anchor):
        self.run("location.hash = arguments[0]", anchor)
        self.settle()

    def settle(self):
        """Wait for two frames: hash changes, layout and resize observers are done then."""
        self.browser.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)))"
        )

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def one(self, selector):
        return self.browser.find_element("css selector", selector)

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def shown(self, selector):
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility()).length", selector
        )

    def pages(self):
        return self.run(
            "return [...document.querySelectorAll('.page')].filter((e) => e.checkVisibility()).map((e) => e.id)"
        )

    def choose(self, explorer, label, value):
        """Take an option of a select; returns nothing if there is none."""
        self.run(
            """const found = [...document.querySelectorAll(arguments[0] + ' label')].find(
                 (l) => l.firstChild.textContent === arguments[1]).querySelector('select');
               found.value = arguments[2]; found.dispatchEvent(new Event('change'));""",
            explorer, label, value,
        )  # fmt: skip

    def press(self, explorer, value):
        self.run("document.querySelector(arguments[0]).click()", f"{explorer} input[value={value}]")

    def mouse(self):
        from selenium.webdriver import ActionChains

        return ActionChains(self.browser, duration=20)

    def keys(self, element, text):
        self.run("arguments[0].focus()", element)
        element.send_keys(text)

    def read(self, explorer):
        """What is told about the bin or cell under the cursor."""
        return dict(
            self.run(
                "return [...document.querySelectorAll(arguments[0] + ' dt')].map("
                "(t) => [t.textContent, t.nextSibling.textContent])",
                explorer,
            )
        )

    def at(self, svg, x, y):
        """A mouse that has moved to a point of a drawing, in pixels from its corner."""
        self.run("arguments[0].scrollIntoView({block: 'center'})", svg)
        size = self.run("const b = arguments[0].getBoundingClientRect(); return [b.width, b.height]", svg)
        return self.mouse().move_to_element_with_offset(svg, round(x - size[0] / 2), round(y - size[1] / 2))


BINS = "#distributions .explorer.binned"
MAPS = "#physics .explorer.maps"


def axis(report, explorer=BINS):
    svg = report.one(f"{explorer} svg")
    return svg, tuple(float(svg.get_attribute(f"data-{end}")) for end in ("low", "high"))


def frame(report, explorer=BINS):
    """Left edge, top, width of the plot within its drawing."""
    rect = report.one(f"{explorer} svg rect.frame")
    return tuple(float(rect.get_attribute(key)) for key in ("x", "y", "width"))


def test_it_loads_silently_and_asks_for_nothing(report, address):
    messages = [json.loads(entry["message"])["message"] for entry in report.browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert address in asked
    assert [url[:60] for url in asked if url != address and not url.startswith("data:")] == []
    assert report.pages() == ["overview"]
    assert (
        report.run("return performance.getEntriesByType('resource').filter((e) => !e.name.startsWith('data:'))") == []
    )


def test_errors_and_foreign_scripts_would_be_noticed(chromium, address):
    chromium.get(address)
    chromium.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.foreign = 1'; document.body.append(s);"
        "const i = new Image(); i.src = 'http://localhost:9/x.png'; document.body.append(i);"
    )
    log = " ".join(entry["message"] for entry in chromium.get_log("browser"))
    assert "script-src" in log
    assert "img-src" in log
    assert chromium.execute_script("return window.foreign") is None


def test_navigation_shows_one_page_at_a_time(report):
    for anchor in PAGES:
        report.one(f'.sidebar a[href="#{anchor}"]').click()
        report.settle()
        assert report.pages() == [anchor]
        assert [a.get_attribute("hash") for a in report.all(".sidebar a[aria-current]")] == [f"#{anchor}"]
    report.browser.back()
    report.settle()
    assert report.pages() == [PAGES[-2]]
    report.go("all")
    assert report.pages() == PAGES
    report.go("nothing-of-the-kind")
    assert report.pages() == ["overview"]


def test_a_link_to_a_figure_opens_its_page(report):
    report.go("figure-structure_exact_equalities")
    assert report.pages() == ["physics"]
    top = report.run("return document.getElementById('figure-structure_exact_equalities').getBoundingClientRect().top")
    assert 0 <= top < 900
    # A link from outside does so too.
    report.browser.get("about:blank")
    report.browser.get(f"{report.address}#classifiers")
    report.settle()
    assert report.pages() == ["classifiers"]


def test_selectors_change_the_drawing(report):
    report.go("distributions")
    svg = report.one(f"{BINS} svg")

    def line():
        return report.one(f"{BINS} svg path.line").get_attribute("d")

    before = line()
    report.choose(BINS, "Observable", "RichDLLp")
    assert line() != before
    assert "RichDLLp" in svg.text
    before = line()
    report.choose(BINS, "Category", "K")
    assert line() != before
    assert svg.get_attribute("data-scale") == "log"
    report.press(BINS, "linear")
    assert svg.get_attribute("data-scale") == "linear"
    report.press(BINS, "pull")
    assert svg.get_attribute("data-lower") == "pull"
    assert "Pull" in svg.text


def test_dragging_zooms_and_a_double_click_resets(report):
    report.go("distributions")
    svg, whole = axis(report)
    assert whole == (-60.0, 80.0)
    left, top, width = frame(report)
    reset = report.one(f"{BINS} button")
    assert not reset.is_enabled()
    start = report.at(svg, left + 0.25 * width, top + 60)
    start.click_and_hold().move_by_offset(round(0.5 * width), 0).release().perform()
    _, zoomed = axis(report)
    assert zoomed == pytest.approx((-25.0, 45.0), abs=0.5)
    ticks = [t.text for t in report.all(f"{BINS} text.x-tick")]
    assert "−40" not in ticks
    assert "40" in ticks
    assert reset.is_enabled()
    report.mouse().double_click(svg).perform()
    assert axis(report)[1] == whole
    report.keys(svg, "+")
    low, high = axis(report)[1]
    assert high - low == pytest.approx(70.0)
    reset.click()
    assert axis(report)[1] == whole


def test_a_bin_under_the_cursor_tells_its_numbers(report, full):
    report.go("distributions")
    report.choose(BINS, "Category", "K")
    d = next(r for r in full[0].results if r.name == "histograms" and r.details["category"] == "K").details
    left, top, width = frame(report)
    svg, (low, high) = axis(report)
    index = 17
    centre = 0.5 * (d["edges"][index] + d["edges"][index + 1])
    report.at(svg, left + (centre - low) / (high - low) * width, top + 100).perform()
    told = report.read(BINS)
    assert told["Reference"] == measured(d["reference"]["share"][index], d["reference"]["error"][index])
    assert told["Generated"] == measured(d["generated"]["share"][index], d["generated"]["error"][index])
    assert told["Ratio"] == measured(d["ratio"][index], d["ratio_error"][index])
    assert float(told["Pull"].replace("−", "-")) == pytest.approx(d["pull"][index], abs=0.006)
    assert [float(t.replace("−", "-")) for t in told["Bin"].split(" to ")] == pytest.approx(
        d["edges"][index : index + 2]
    )
    from selenium.webdriver.common.keys import Keys

    report.keys(svg, Keys.ARROW_RIGHT)
    assert report.read(BINS)["Generated"] == measured(*(d["generated"][k][index + 1] for k in ("share", "error")))


def test_efficiencies_can_be_looked_at_with_their_differences(report, full):
    explorer = "#physics .explorer.binned"
    report.go("physics")
    svg = report.one(f"{explorer} svg")
    report.press(explorer, "difference")
    assert svg.get_attribute("data-lower") == "difference"
    d = next(r for r in full[0].results if r.name == "efficiency").details
    report.keys(svg, "\ue014" * 3)
    assert report.read(explorer)["Difference"] == measured(d["difference"][2], d["difference_error"][2])
    # The first bin has too few tracks.
    report.keys(svg, "\ue012" * 5)
    assert report.read(explorer)["Reference"] == "–"


def test_a_cell_under_the_cursor_tells_its_numbers(report, full):
    report.go("physics")
    d = next(r for r in full[0].results if r.name == "auc_map").details
    cells = report.all(f"{MAPS} svg rect.cell")
    assert len(cells) == 24
    row, column = 1, 2
    cell = cells[row * 6 + column]
    x, y, wide, tall = (float(cell.get_attribute(key)) for key in ("x", "y", "width", "height"))
    report.at(report.one(f"{MAPS} svg"), x + wide / 2, y + tall / 2).perform()
    told = report.read(MAPS)
    assert told["ΔAUC: generated − reference"] == measured(d["difference"][row][column], d["error"][row][column])
    assert told["pull: ΔAUC / standard error"].replace("−", "-") == f"{d['pull'][row][column]:.4g}"
    assert float(told["n(K)"]) == pytest.approx(d["signal_tracks"][row][column], rel=1e-3)
    assert told["P [GeV]"].startswith(f"{d['x_edges'][column]:.4g} to")
    before = cell.get_attribute("fill")
    report.choose(MAPS, "Colours and numbers", "1")
    assert report.all(f"{MAPS} svg rect.cell")[row * 6 + column].get_attribute("fill") != before
    report.choose(MAPS, "Map", "1")
    assert "nTracks" in report.one(f"{MAPS} svg").text


def test_the_table_sorts_and_filters(report, full):
    report.go("numbers")
    table = "#numbers table.sortable"

    def column(number):
        return report.run(
            "return [...document.querySelector(arguments[0]).tBodies[0].rows].filter((r) => r.checkVisibility())"
            ".map((r) => r.cells[arguments[1]].dataset.sort ?? r.cells[arguments[1]].textContent)",
            table, number,
        )  # fmt: skip

    count = sum(len(r.quantities) for r in full[0].results)
    assert len(column(4)) == count
    press = report.one(f"{table} th:nth-child(5) button")
    press.click()
    ascending = [float(v) for v in column(4)]
    assert ascending == sorted(ascending)
    press.click()
    assert [float(v) for v in column(4)] == ascending[::-1]
    assert report.one(f"{table} th:nth-child(5)").get_attribute("aria-sort") == "descending"
    words = report.one("#numbers input[type=search]")
    words.send_keys("histograms W1_scaled")
    assert set(column(3)) == {"w1_scaled"}
    assert len(column(3)) == 4
    assert f"4 of {count} rows" in report.one("#numbers .count").text
    report.go("classifiers")
    report.one("#classifiers a[data-pick]").click()
    report.settle()
    assert column(0) == ["Classifiers"]


def test_figures_are_chosen_by_observable(report):
    report.go("distributions")
    assert report.shown("#distributions figure") == 2
    report.choose("#distributions .filter", "Show figures about", "RichDLLp")
    assert report.shown("#distributions figure") == 1
    assert report.shown("#figure-distribution_RichDLLp") == 1
    report.choose("#distributions .filter", "Show figures about", "")
    assert report.shown("#distributions figure") == 2


def test_a_figure_is_enlarged_and_moved(report):
    report.go("classifiers")
    picture = report.one("#classifiers .picture")
    picture.click()
    dialog = report.one("dialog.large")
    assert dialog.is_displayed()
    assert report.run("return document.querySelector('dialog .stage svg, dialog .stage img') !== null")
    stage = report.one("dialog .stage")
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    report.mouse().scroll_from_origin(ScrollOrigin.from_element(stage), 0, -400).perform()
    report.settle()
    assert float(dialog.get_attribute("data-scale")) > 1.3
    before = report.one("dialog .stage > div").get_attribute("style")
    report.mouse().click_and_hold(stage).move_by_offset(70, 30).release().perform()
    assert report.one("dialog .stage > div").get_attribute("style") != before
    report.mouse().double_click(stage).perform()
    assert float(dialog.get_attribute("data-scale")) == 1.0
    report.mouse().send_keys("\ue00c").perform()
    assert not dialog.is_displayed()
    # By keyboard alone.
    report.keys(report.one("#classifiers button.enlarge"), "\ue007")
    assert dialog.is_displayed()


def pdf_pages(browser):
    data = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert data.startswith(b"%PDF")
    return len(re.findall(rb"/Type\s*/Page\b", data))


def test_all_pages_are_printed_without_controls(report):
    report.go("classifiers")
    report.one("#classifiers .picture").click()
    assert pdf_pages(report.browser) >= len(PAGES)
    report.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert report.pages() == PAGES
        assert report.shown("figure") == 8
        for hidden in (".sidebar", ".explorer", ".controls", "dialog", ".enlarge"):
            assert report.shown(hidden) == 0
    finally:
        report.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_everything_is_there_without_a_script(chromium, address):
    chromium.get("about:blank")
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chromium.get(address)
        assert "js" not in (chromium.find_element("css selector", "html").get_attribute("class") or "")
        assert [
            p.get_attribute("id") for p in chromium.find_elements("css selector", ".page") if p.is_displayed()
        ] == PAGES
        assert all(f.is_displayed() for f in chromium.find_elements("css selector", "figure"))
        assert chromium.find_elements("css selector", ".explorer, dialog, .controls") == []
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("width", [400, 900, 1440])
def test_nothing_is_wider_than_the_window(report, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    report.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for anchor in (*PAGES, "all"):
            report.go(anchor)
            assert report.run("return [innerWidth, document.documentElement.scrollWidth]") == [width, width], anchor
    finally:
        report.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
