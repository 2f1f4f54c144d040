"""A real browser: Chromium without a window, by its own driver. On a laptop without one its tests skip; CI has it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from sojourn.control_plane.embedded.free_ports import free_ports

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_SWITCHES = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking")


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """A fresh profile; closed afterwards."""
    program = next((path for name in _NAMES if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if not program or not driver:
        if os.environ.get("CI"):
            pytest.fail("CI provides chromium and chromedriver")
        pytest.skip("no chromium and chromedriver here")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for switch in (*_SWITCHES, "--window-size=1280,900"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(driver, port=free_ports(1)[0]))
    try:
        yield made
    finally:
        made.quit()
