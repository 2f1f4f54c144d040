"""The dashboard as a person sees it: a real browser, a real stack."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from tests.support.browser import browser
from tests.support.stack import Stack, until


@pytest.fixture(scope="module")
def page(stack: Stack) -> Iterator[webdriver.Chrome]:
    """Signed in by the link that `sojourn status` prints."""
    with browser() as made:
        made.get(json.loads(stack.cli("status", "--json").stdout)["dashboard_url"])
        yield made


def text(page: webdriver.Chrome) -> str:
    return page.find_element(By.TAG_NAME, "body").text


def shows(page: webdriver.Chrome, what: str, seconds: float = 60) -> None:
    """Waits, without reloading, until the page says it."""
    WebDriverWait(page, seconds, poll_frequency=0.1).until(lambda p: what in text(p), f"the page never says {what!r}")


def complaints(page: webdriver.Chrome) -> list[str]:
    return [entry["message"] for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def test_the_link_signs_in_once(stack: Stack, page: webdriver.Chrome):
    link = json.loads(stack.cli("status", "--json").stdout)["dashboard_url"]
    page.get(link)
    assert page.find_element(By.TAG_NAME, "h1").text == "Runs"
    assert "code=" not in page.current_url
    with browser() as stranger:
        stranger.get(link)
        assert "Runs" not in [h.text for h in stranger.find_elements(By.TAG_NAME, "h1")]


def test_a_run_appears_and_ends_before_ones_eyes(stack: Stack, page: webdriver.Chrome, gates: Path):
    page.get(stack.found["api_url"])
    gate, client = gates / "eyes", stack.client()
    run = client.trigger("waits-for", {"file": str(gate)}, {"tags": ["eyes"]})["id"]
    shows(page, "eyes")
    page.find_element(By.PARTIAL_LINK_TEXT, "waits-for").click()
    shows(page, run)
    shows(page, "Executing")
    shows(page, "waiting for the gate")
    gate.touch()
    shows(page, "Completed")
    gate.unlink()
    for part in ("Timeline", "Attempts", "Log", "Payload", "Output", "the gate is open"):
        assert part in text(page)
    assert complaints(page) == []


def test_a_failed_run_shows_its_error(stack: Stack, page: webdriver.Chrome):
    client = stack.client()
    run = client.trigger("always-fails", None)["id"]
    until(lambda: client.result(run, wait=10), 30, "it fails")
    page.get(f"{stack.found['api_url']}/runs/{run}")
    for part in ("Failed", "RuntimeError", "never works", "3 of 3"):
        assert part in text(page)
    assert complaints(page) == []


@pytest.mark.parametrize("width", [1280, 800, 400])
def test_pages_are_as_wide_as_the_window(stack: Stack, page: webdriver.Chrome, width: int):
    client, url = stack.client(), stack.found["api_url"]
    run = client.trigger("always-fails", None)["id"]
    until(lambda: client.result(run, wait=10), 30, "it fails")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == 400}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for path in ("/", f"/runs/{run}", "/reference"):
            page.get(url + path)
            page.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
            wide = page.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
            assert wide[0] <= wide[1] <= width, path
        if width == 400:  # a field of the reference, all of it
            meaning = page.find_element(By.CSS_SELECTOR, "#tasks_trigger td.prose")
            assert meaning.rect["x"] + meaning.rect["width"] <= width
        page.get(f"{url}/runs/{run}")
        box = page.find_element(By.CSS_SELECTOR, ".failure pre")
        assert page.execute_script("let b = arguments[0]; return b.scrollHeight - b.clientHeight - b.scrollTop", box) <= 1
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_markup_in_a_runs_data_is_text(stack: Stack, page: webdriver.Chrome):
    client = stack.client()
    evil = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    run = client.trigger("echo", {"text": evil}, {"tags": [evil[:100]]})["id"]
    until(lambda: client.result(run, wait=10), 30, "it ends")
    for url in (stack.found["api_url"], f"{stack.found['api_url']}/runs/{run}"):
        page.get(url)
        assert "<img src=x" in text(page)
        assert page.title != "owned"


def test_nothing_is_shown_without_a_session(stack: Stack):
    request = urllib.request.Request(stack.found["api_url"], headers={"Accept": "text/html"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    assert refused.value.code in (401, 403)
