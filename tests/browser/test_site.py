"""The built site, looked at by axe-core. `make site` builds it."""

import pytest

from browser.access import serious
from browser.lab import ROOT

SITE = ROOT / "output" / "site"
PAGES = (
    "index",
    "errors",
    "notebooks/00_start_here",
    "notebooks/06_curriculum_sampling",
    "reference/distillation",
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_accessible(name, theme, browser, output):
    file = SITE / f"{name}.html"
    if not file.is_file():
        pytest.skip("no site: make site builds it")
    page = browser.new_page(viewport={"width": 1300, "height": 1700}, color_scheme=theme)
    page.goto(file.as_uri())
    page.screenshot(path=output / f"site-{name.replace('/', '-')}-{theme}.png")
    found = serious(page, "article", dark=theme == "dark")
    page.close()
    assert found == []
