"""One JupyterLab and one browser for all tests here. `make test-browser`."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser.lab import ROOT, Lab

OUTPUT = ROOT / "output" / "browser"  # pictures to look at, and list.csv
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="session")
def browser() -> Iterator:
    if "KDCOURSE_BROWSER" not in os.environ:
        pytest.skip("in a browser: make test-browser")
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = os.environ.get("KDCOURSE_CHROMIUM") or next(
        filter(None, map(shutil.which, names)), None
    )
    if chromium is None:
        pytest.skip("no Chromium: apt install chromium, or say by KDCOURSE_CHROMIUM where one is")
    from playwright.sync_api import sync_playwright  # from the extra `browser`

    sandbox = ["--no-sandbox"] * (
        hasattr(os, "geteuid") and os.geteuid() == 0
    )  # root can have none
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*QUIET, *sandbox])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def output() -> Path:
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    return OUTPUT


@pytest.fixture(scope="session")
def lab(browser, work, output, tmp_path_factory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    yield lab
    lab.close()
    shutil.copy(lab.log, output)


@pytest.fixture(scope="module")
def opened(browser, lab) -> Iterator:
    """Opens a notebook of the tree: `opened("notebooks/00_start_here.ipynb")`. Its kernel stops
    with the next one.
    """
    from browser.page import Notebook

    pages = []

    def close():
        for page in pages:
            page.close()
        pages.clear()
        lab.stop_kernels()

    def open_it(path: str) -> Notebook:
        close()
        page = browser.new_page(viewport={"width": 1300, "height": 1700})
        pages.append(page)
        return Notebook(page, lab.address(lab.tree / path))

    yield open_it
    close()
