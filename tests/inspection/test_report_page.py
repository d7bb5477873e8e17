"""The report in a browser: what a person does with it."""

import csv
import itertools
import json
import shutil

import numpy as np
import pytest

from skclean import LabelledSamples
from skclean.inspection.report import write_report

pytest.importorskip("jinja2")
webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium, chromedriver")

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--force-prefers-reduced-motion"
).split()
CLASSES = np.array(["</script><b>x", '=1+1, "q"', "line\nbreak", "שלום 😀"])
N = 160


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory, downloads):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(service=Service(DRIVER), options=options)
    driver.set_window_size(1280, 900)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_report(
        rows(), tmp_path_factory.mktemp("report") / "page.html", ids=ids(), texts=texts()
    )


@pytest.fixture
def page(browser, path):
    """The report as it is opened for the first time; afterwards it must have said nothing."""
    browser.get(path.as_uri())
    yield browser
    browser.execute_script("try { localStorage.clear() } catch { }")
    assert browser.get_log("browser") == []


def rows():
    """160 rows, all suspicious; the last without a given label, the one before unreadable."""
    classes, order = np.unique(CLASSES), np.arange(N)
    given, label = order % 4, (order + 1) % 4
    proba = np.full((N, 4), 0.05)
    proba[order, label] = 0.85
    y = classes[given].astype(object)
    y[-1] = None
    clean = np.linspace(0, 0.4, N)
    clean[-2:] = np.nan
    status = np.where(order % 3, "corrected", "unknown").astype(object)
    status[-1] = "predicted"
    readable = order != N - 2
    pictures = (np.arange(N * 64) % 251).reshape(N, 8, 8).astype(np.uint8)
    features = np.random.default_rng(0).normal(size=(N, 3))
    return LabelledSamples(
        features,
        y,
        classes=classes,
        inputs=pictures,
        proba=proba,
        labels=classes[label],
        status=status,
        clean_proba=clean,
        readable=readable,
    )


def ids():
    return [f"<i>{i}</i>" for i in range(N)]


def texts():
    return [f"<img src=x onerror=alert({i})> needle{i % 10}" for i in range(N)]


def shown(page):
    """Ids of the rows in the table."""
    script = "return [...document.querySelectorAll('#rows .item .id')].map(e => e.textContent)"
    return page.execute_script(script)


def press(page, keys):
    page.switch_to.active_element.send_keys(keys)


def progress(page):
    return page.find_element(By.ID, "progress").text


def choose(page, name, text):
    Select(page.find_element(By.ID, name)).select_by_visible_text(text)


def button(page, name):
    return page.find_element(By.ID, name)


def line(page, i):
    return page.find_elements(By.CSS_SELECTOR, "#rows tbody tr")[i]


def click(page, i, kind):
    target = line(page, i).find_element(By.CSS_SELECTOR, f"button.{kind}")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)
    target.click()


def exported(page, downloads):
    for old in downloads.iterdir():
        old.unlink()
    button(page, "export").click()
    sizes = [None]

    def settled(_):
        found = list(downloads.iterdir())
        sizes.append([(file.suffix, file.stat().st_size) for file in found])
        return len(found) == 1 and found[0].suffix == ".csv" and sizes[-1] == sizes[-2]

    WebDriverWait(page, 10, ignored_exceptions=[FileNotFoundError]).until(settled)
    (file,) = downloads.glob("*.csv")
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_it_loads_and_asks_for_nothing(page, path):
    page.get_log("performance")  # What the browser did before.
    page.refresh()
    assert page.title == "Label report"
    assert shown(page) == ids()[:50]
    assert line(page, 0).find_element(By.CSS_SELECTOR, ".text").text == texts()[0]
    assert not page.find_elements(By.CSS_SELECTOR, "#rows i:not(.meter i), #rows b > *")
    image = line(page, 0).find_element(By.TAG_NAME, "img")
    page.execute_script("arguments[0].scrollIntoView()", image)
    WebDriverWait(page, 10).until(lambda _: image.get_property("naturalWidth") == 8)
    asked = set()
    for entry in page.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"].partition(",")[0])
    assert all(url == path.as_uri() or url.startswith("data:") for url in asked), asked


def test_more_rows_on_demand(page):
    button(page, "more").click()
    assert len(shown(page)) == 100
    page.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert len(shown(page)) == N and not button(page, "more").is_displayed()


def test_sorting(page):
    head = page.find_element(By.CSS_SELECTOR, "button[data-order=clean]")
    head.click()
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"
    head.click()
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    assert shown(page)[2] == ids()[N - 3]
    choose(page, "order", "id")
    assert shown(page)[:11] == ids()[:11]  # Numbers by their size, not their digits.
    page.find_element(By.CSS_SELECTOR, "button[data-order=given]").click()
    assert len(shown(page)) == 50
    choose(page, "order", "worst first")
    assert shown(page) == ids()[:50]


def test_filtering(page):
    page.find_element(By.ID, "search").send_keys("NEEDLE7")
    assert shown(page) == ids()[7::10]
    assert "16 rows of 160" in page.find_element(By.ID, "count").text
    page.find_element(By.ID, "search").send_keys("none such")
    assert shown(page) == [] and "No row" in page.find_element(By.ID, "count").text
    page.find_element(By.ID, "search").clear()
    page.find_element(By.ID, "search").send_keys(" ", Keys.BACKSPACE)
    choose(page, "status-filter", "predicted")
    assert shown(page) == ids()[-1:]
    choose(page, "status-filter", "all")
    options = [o.text for o in Select(page.find_element(By.ID, "class-filter")).options]
    assert len(options) == 5 and "</script><b>x" in options
    choose(page, "class-filter", "</script><b>x")
    place = sorted(CLASSES).index("</script><b>x")
    assert set(shown(page)) <= {ids()[i] for i in range(N) if place in (i % 4, (i + 1) % 4)}


def test_deciding_by_mouse_taking_back_and_undoing(page):
    click(page, 0, "accept")
    click(page, 1, "reject")
    assert progress(page).startswith("1 accepted · 1 rejected · 158 open")
    assert "accept" in line(page, 0).get_attribute("class")
    pressed = line(page, 1).find_element(By.CSS_SELECTOR, "button.reject")
    assert pressed.get_attribute("aria-pressed") == "true"
    click(page, 1, "reject")
    assert progress(page).startswith("1 accepted · 0 rejected")
    button(page, "undo").click()
    button(page, "undo").click()
    button(page, "undo").click()
    assert progress(page).startswith("0 accepted · 0 rejected")
    assert not button(page, "undo").is_enabled() and not button(page, "export").is_enabled()


def test_deciding_by_keyboard(page):
    page.find_element(By.TAG_NAME, "body").send_keys("j")
    for key in ("a", "j", "r", "j", "j", "k", "a", "u"):
        press(page, key)
    assert progress(page).startswith("1 accepted · 1 rejected")
    assert page.switch_to.active_element.get_attribute("data-i") == "2"
    press(page, "/")
    assert page.switch_to.active_element.get_attribute("id") == "search"
    press(page, "ajr" + Keys.ESCAPE)
    assert progress(page).startswith("1 accepted · 1 rejected")
    page.find_element(By.ID, "search").clear()
    page.find_element(By.CSS_SELECTOR, ".help summary").click()
    button(page, "shortcuts").click()
    page.find_element(By.ID, "review-title").click()
    page.find_element(By.TAG_NAME, "body").send_keys("ju")
    assert progress(page).startswith("1 accepted · 1 rejected")


def test_keys_go_beyond_the_rows_shown(page):
    page.find_element(By.TAG_NAME, "body").send_keys("j" * 51)
    assert page.switch_to.active_element.get_attribute("data-i") == "50"


def test_accepting_all_that_the_filters_leave(page):
    click(page, 7, "reject")
    page.find_element(By.ID, "search").send_keys("needle7")
    assert button(page, "accept-all").text == "Accept 15 filtered"
    button(page, "accept-all").click()
    assert progress(page).startswith("15 accepted · 1 rejected")
    choose(page, "decision-filter", "rejected")
    assert shown(page) == ids()[7:8]
    button(page, "undo").click()
    assert progress(page).startswith("0 accepted · 1 rejected")


def test_export_is_what_was_decided_and_alters_no_label(page, downloads):
    classes = np.unique(CLASSES)
    page.find_element(By.ID, "search").send_keys("needle")
    button(page, "accept-all").click()
    click(page, 1, "reject")
    choose(page, "status-filter", "predicted")
    click(page, 0, "reject")
    found = exported(page, downloads)
    assert list(found[0]) == ["id", "given_label", "suggested_label", "decision", "label"]
    by_id = {row["id"]: row for row in found}
    # The unreadable row has no suggestion to accept.
    assert len(found) == N - 1 and ids()[N - 2] not in by_id
    for i, one in enumerate(ids()[:-2]):
        given, suggested = classes[i % 4], classes[(i + 1) % 4]
        row = by_id[one]
        assert (row["given_label"], row["suggested_label"]) == (given, suggested)
        assert row["decision"] == ("reject" if i == 1 else "accept")
        assert row["label"] == (given if i == 1 else suggested)
    last = by_id[ids()[-1]]
    assert (last["given_label"], last["decision"], last["label"]) == ("", "reject", "")


def other(page, i):
    return line(page, i).find_element(By.CSS_SELECTOR, ".decide .other")


def test_another_label(page, downloads):
    classes = np.unique(CLASSES)
    for i in range(4):
        Select(other(page, i)).select_by_index(4)
    # The last class is that suggested for row 2 and given in row 3.
    assert progress(page).startswith("1 accepted · 1 rejected · 2 other · 156 open")
    assert "other" in line(page, 0).get_attribute("class")
    assert "accept" in line(page, 2).get_attribute("class")
    assert Select(other(page, 2)).first_selected_option.get_attribute("value") == "3"
    Select(other(page, 1)).select_by_index(0)
    assert progress(page).startswith("1 accepted · 1 rejected · 1 other · 157 open")
    button(page, "undo").click()
    page.refresh()
    assert Select(other(page, 1)).first_selected_option.get_attribute("value") == "3"
    row = exported(page, downloads)[1]
    assert (row["decision"], row["label"], row["given_label"]) == ("other", classes[3], classes[1])
    choose(page, "decision-filter", "other")
    assert shown(page) == ids()[:2]
    click(page, 0, "accept")
    assert progress(page).startswith("2 accepted · 1 rejected · 1 other")


def test_another_label_by_keyboard(page):
    page.find_element(By.TAG_NAME, "body").send_keys("jo")
    assert page.switch_to.active_element == other(page, 0)
    press(page, Keys.END)
    assert progress(page).startswith("0 accepted · 0 rejected · 1 other")
    press(page, Keys.ESCAPE)
    press(page, "ja")
    assert progress(page).startswith("1 accepted · 0 rejected · 1 other")


def test_keys_pass_over_the_given_and_the_suggested_label(page):
    """Class 1 was given to row 1 and class 2 is suggested."""
    page.find_element(By.TAG_NAME, "body").send_keys("jjo")
    for kind in ("other", "reject", "accept", "other"):
        press(page, Keys.ARROW_DOWN)
        assert kind in line(page, 1).get_attribute("class")
    assert other(page, 1).get_attribute("value") == "3"
    for kind in ("accept", "reject", "other", ""):
        press(page, Keys.ARROW_UP)
        assert line(page, 1).get_attribute("class") == kind
    assert progress(page).startswith("0 accepted · 0 rejected · 160 open")


def test_another_label_out_of_many_classes(browser, tmp_path, downloads):
    classes = np.array([*(f"class {k}" for k in range(60)), "line\nbreak"])
    samples = LabelledSamples(
        np.eye(2), ["class 7", "class 8"], classes=np.unique(classes), status=["unknown"] * 2
    )
    browser.get(write_report(samples, tmp_path / "page.html").as_uri())
    offered = "return [...arguments[0].list.options].map((option) => option.value)"
    assert len(browser.execute_script(offered, other(browser, 0))) == 61
    named = "return [...document.querySelectorAll('[id]')].map((element) => element.id)"
    found = browser.execute_script(named)
    assert len(set(found)) == len(found)
    for text, i in (("class 59", 0), ("linebreak", 1)):
        other(browser, i).send_keys(text, Keys.ENTER)
    assert progress(browser).startswith("0 accepted · 0 rejected · 2 other")
    assert [row["label"] for row in exported(browser, downloads)] == ["class 59", "line\nbreak"]
    other(browser, 0).send_keys("9", Keys.ENTER)
    message = browser.execute_script("return arguments[0].validationMessage", other(browser, 0))
    assert message == "No class has this name."
    assert exported(browser, downloads)[0]["label"] == "class 59"
    other(browser, 0).clear()
    assert progress(browser).startswith("0 accepted · 0 rejected · 1 other")
    browser.execute_script("localStorage.clear()")
    assert browser.get_log("browser") == []


def test_decisions_survive_a_reload(page, path):
    click(page, 3, "accept")
    click(page, 4, "reject")
    page.refresh()
    assert progress(page).startswith("1 accepted · 1 rejected")
    assert "accept" in line(page, 3).get_attribute("class")
    key = page.execute_script("return Object.keys(localStorage)[0]")
    for broken in (
        "{",
        "null",
        '{"0": "maybe", "999": "accept", "4": "reject"}',
        '{"4": "other:x"}',
        "[1]",
    ):
        page.execute_script("localStorage.setItem(arguments[0], arguments[1])", key, broken)
        page.refresh()
        assert len(shown(page)) == 50
        assert progress(page).startswith(f"0 accepted · {broken.count('reject')} rejected")


def test_without_storage_it_works_and_says_so(page, path, downloads):
    block = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }})"
    command = "Page.addScriptToEvaluateOnNewDocument"
    script = page.execute_cdp_cmd(command, {"source": block})
    try:
        page.refresh()
        assert button(page, "storage-note").is_displayed()
        click(page, 0, "accept")
        assert len(exported(page, downloads)) == 1
    finally:
        page.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_it_fits_narrow_screens_and_can_be_read(page):
    try:
        for width, scheme in itertools.product((320, 390, 1280), ("light", "dark")):
            metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
            feature = [{"name": "prefers-color-scheme", "value": scheme}]
            page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
            page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            assert page.execute_script("return document.documentElement.scrollWidth") <= width
            assert page.execute_script(CUT_OFF) == []
            assert page.execute_script(CONTRAST) >= 4.5
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


# Cells of the table of classes that cannot be seen without scrolling.
CUT_OFF = """
const box = document.querySelector("#classes .scroll").getBoundingClientRect();
return [...document.querySelectorAll("#classes tbody *")]
  .filter((e) => e.getBoundingClientRect().right > box.right + 1).map((e) => e.textContent);
"""


# The least contrast of text that can be acted on, by the formula of WCAG 2.
CONTRAST = """
const light = (text) => {
  const parts = text.match(/[\\d.]+/g).slice(0, 3).map((v) => {
    v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const ground = (element) => {
  for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    const alpha = colour.match(/[\\d.]+/g)[3];
    if (alpha === undefined || alpha === "1") return colour;
  }
  return "rgb(255, 255, 255)";
};
let least = 21;
const read = "h1, h2, p, a, button:enabled, select, .id, .label, .muted, td, th";
for (const element of document.querySelectorAll(read)) {
  if (element.closest(".heat, .skip, .unseen") || !element.textContent.trim()) continue;
  const pair = [light(getComputedStyle(element).color), light(ground(element))];
  pair.sort((a, b) => b - a);
  least = Math.min(least, (pair[0] + 0.05) / (pair[1] + 0.05));
}
return least;
"""


@pytest.mark.parametrize("status", ["kept", "unknown"])
def test_one_row_or_nothing_suspicious(browser, tmp_path, status):
    samples = LabelledSamples([[0.0]], ["a"], classes=["a", "b"], status=[status])
    browser.get(write_report(samples, tmp_path / "page.html").as_uri())
    assert len(shown(browser)) == (status == "unknown")
    assert browser.get_log("browser") == []
