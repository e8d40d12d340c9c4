"""A notebook in JupyterLab as a learner meets it: opened, run through the menus, its controls moved
by keyboard.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, Route

# What JupyterLab's own code says in the browser's console though nothing is wrong.
NOT_OURS = (
    # A kernel was restarted while JupyterLab waited for its answer, such as on the debugger.
    "Canceled future for ",
)
# the only thing that a notebook loads from elsewhere
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
BLANK = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="117" height="20">'
    '<rect width="117" height="20" fill="#777"/></svg>'
)

QUIZ = "xpath=//*[contains(@class,'widget-vbox')][.//ol[@type='A']]"
CONTROLS = "select, input, textarea, button, [role=slider]"
KEYS = {
    "slider": ("ArrowRight", "ArrowLeft"),
    "checkbox": ("Space", "Space"),
    "button": ("Enter", "Enter"),
}
PRESSES = 5  # a step of a control may be too small to change what is drawn

FINDINGS = """() => [...document.querySelectorAll('.jp-Notebook .jp-CodeCell')].map(cell => ({
    number: cell.querySelector('.jp-InputPrompt').textContent.replace(/[^0-9*]/g, ''),
    errors: [...cell.querySelectorAll('[data-mime-type$="jupyter.error"]')]
        .map(shown => shown.innerText),
    stderr: [...cell.querySelectorAll('[data-mime-type$="jupyter.stderr"]')]
        .map(shown => shown.innerText)}))"""


def until(done: Callable[[], object], seconds: float, what: str) -> object:
    """The first true value of `done`. Raises AssertionError with `what` after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := done():
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s: {what}")


class Notebook:
    """A notebook open in JupyterLab. complaints: what the browser's console, the page and requests
    said was wrong.
    """

    def __init__(self, page: Page, address: str):
        self.page, self.complaints = page, []
        page.set_default_timeout(120_000)
        page.route(re.compile(r"^https?://(?!127\.0\.0\.1[:/])"), self._from_elsewhere)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"page: {error}"))
        page.on("response", self._response)
        page.goto(address)
        page.locator(".jp-Notebook .jp-MarkdownOutput h1").first.wait_for()
        page.locator(".jp-StatusBar-Widget").get_by_text(
            "| Idle"
        ).wait_for()  # till then no cell runs

    def _from_elsewhere(self, route: Route) -> None:
        if route.request.url != BADGE:
            self.complaints.append(f"asks for {route.request.url}, which is elsewhere")
        route.fulfill(content_type="image/svg+xml", body=BLANK)

    def _console(self, message) -> None:
        if message.type == "error" and not any(text in message.text for text in NOT_OURS):
            self.complaints.append(f"console: {message.text} ({message.location.get('url')})")

    def _response(self, response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} {response.request.method} {response.url}")

    # --- running ----------------------------------------------------------------------------------

    def menu(self, name: str, *entries: str) -> None:
        """Choose an entry of a menu."""
        self.page.locator(".lm-MenuBar-item").filter(has_text=name).click()
        for entry in entries:
            label = self.page.locator(".lm-Menu-itemLabel").filter(
                has_text=re.compile(rf"^{re.escape(entry)}…?$")
            )
            label.last.hover()
        label.last.click()

    def run_all(self, seconds: float) -> None:
        """Restart the kernel and run all cells through the menus, up to the end or the first
        error.
        """
        self.menu(
            "Edit", "Clear Outputs of All Cells"
        )  # else the numbers of the last run look like those of this one
        until(lambda: not any(cell["number"] for cell in self.cells()), 60, "all outputs cleared")
        self.menu("Run", "Restart Kernel and Run All Cells")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        until(self._ended, seconds, "all cells run")

    def _ended(self) -> bool:
        cells = self.cells()
        return any(cell["errors"] for cell in cells) or all(
            cell["number"].isdigit() for cell in cells
        )

    def cells(self) -> list[dict]:
        """Of each code cell its number ("*" while it runs), its errors and what it wrote to
        stderr.
        """
        return self.page.evaluate(FINDINGS)

    def cell(self, holds: str) -> Locator:
        """The code cell whose source holds this text."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").filter(
            has=self.page.locator(".jp-InputArea", has_text=holds)
        )

    def write(self, cell: Locator, source: str) -> None:
        """Type a cell's source anew."""
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(source)

    def run(self, cell: Locator, seconds: float) -> str:
        """Run one cell by Shift+Enter. What it then shows."""
        prompt = cell.locator(".jp-InputPrompt")
        before = prompt.inner_text()
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        until(
            lambda: re.search(r"\d", now := prompt.inner_text()) and now != before,
            seconds,
            "the cell run",
        )
        return "\n".join(cell.locator(".jp-OutputArea-output").all_inner_texts())

    # --- keyboard ---------------------------------------------------------------------------------

    def tab_to(self, control: Locator) -> None:
        """From its cell on, press Tab until the control has the focus."""
        cell = control.locator("xpath=ancestor::*[contains(@class,'jp-CodeCell')]")
        cell.locator(".jp-InputPrompt").click()
        cell.focus()  # the click leaves it where it is within the cell
        for _ in range(40):
            self.page.keyboard.press("Tab")
            if control.evaluate("control => control === document.activeElement"):
                return
        raise AssertionError(
            "Tab does not lead to " + control.evaluate("control => control.outerHTML")
        )

    def controls(self) -> list[Locator]:
        """Every control in an output but the buttons of quizzes, and of those that choose the one
        already chosen.
        """
        found = self.page.locator(".jp-Notebook .jp-OutputArea .jupyter-widgets").locator(CONTROLS)
        places = found.evaluate_all(
            """all => all.map((control, i) => control.matches('.mod-active')
                || control.closest('.widget-vbox')?.querySelector('ol[type=A]') ? -1 : i)"""
        )
        return [found.nth(i) for i in places if i >= 0]

    def move(self, control: Locator) -> str:
        """Move a control by keyboard until its picture and the sentence have both changed, and
        back.

        Its label. Raises AssertionError if they do not change.
        """
        kind = control.evaluate("control => control.getAttribute('role') || control.localName")
        kind = control.get_attribute("type") if kind == "input" else kind
        box = control.locator("xpath=ancestor::*[contains(@class,'widget-vbox')][1]")
        widget = control.locator("xpath=ancestor::*[label][1]")
        label = widget.inner_text().strip("\u200b\n").split("\n")[0]
        label += f": {control.inner_text()}" if kind == "button" else ""
        assert kind in KEYS, f"{label}: no key is known that moves a control of the kind {kind}"
        self.tab_to(control)
        at_first = shown(box)
        for key, back in (KEYS[kind], KEYS[kind][::-1]):
            for presses in range(1, PRESSES + 1):
                before = shown(box)
                self.page.keyboard.press(key)
                try:
                    until(lambda: shown(box) != before, 10, "anything drawn anew")  # noqa: B023  called at once
                except AssertionError:
                    continue
                until(lambda: len(shown(box)) == 2, 10, "picture and sentence")
                if all(now != then for now, then in zip(shown(box), at_first, strict=True)):
                    for _ in range(presses):
                        self.page.keyboard.press(back)
                    if kind != "button":  # which stays chosen
                        until(lambda: shown(box) == at_first, 30, f"{label} moved back")
                    return label
        raise AssertionError(
            f"{label}: picture and sentence do not both change with it: {shown(box)[1:]}"
        )

    def quizzes(self) -> Locator:
        return self.page.locator(".jp-Notebook .jp-OutputArea").locator(QUIZ)

    def answer(self, quiz: Locator, choice: int) -> str:
        """Choose by keyboard; what the live region then says."""
        button = quiz.locator("button").nth(choice)
        self.tab_to(button)
        said = quiz.get_by_role("status")
        before = said.inner_text()
        self.page.keyboard.press("Enter")
        until(lambda: said.inner_text() not in ("", before), 60, "an answer to the quiz")
        return said.inner_text()

    # --- looking ----------------------------------------------------------------------------------

    @contextmanager
    def dark(self) -> Iterator[None]:
        """In JupyterLab's dark theme."""
        self._theme("JupyterLab Dark", light="false")
        try:
            yield
        finally:
            self._theme("JupyterLab Light", light="true")

    def _theme(self, name: str, light: str) -> None:
        self.menu("Settings", "Theme", name)
        self.page.locator(f"body[data-jp-theme-light={light}]").wait_for(state="attached")

    def photograph(self, folder: Path, name: str) -> None:
        """Its pictures, each with its controls, and the whole page in pieces, as
        folder/name-*.png.
        """
        outputs = self.page.locator(".jp-Notebook .jp-OutputArea-output").filter(
            has=self.page.locator("img")
        )
        for number, output in enumerate(outputs.all(), 1):
            output.screenshot(path=folder / f"{name}-picture-{number}.png")
        scrolled, step = (
            self.page.locator(".jp-Notebook .jp-WindowedPanel-outer"),
            self.page.viewport_size["height"] - 200,
        )
        # up to the end of the last cell: below it is JupyterLab's empty space
        height = scrolled.evaluate(
            """panel => [...panel.querySelectorAll('.jp-Cell')].at(-1)
                .getBoundingClientRect().bottom
                - panel.getBoundingClientRect().top + panel.scrollTop"""
        )
        for number, top in enumerate(range(0, round(height), step), 1):
            scrolled.evaluate("(panel, top) => panel.scrollTo(0, top)", top)
            self.page.screenshot(path=folder / f"{name}-page-{number}.png")


def shown(box: Locator) -> tuple[str, ...]:
    """The picture and the sentence under it, of controls with a picture."""
    return tuple(
        box.evaluate("""box => {
            const [picture, said] = [box.querySelector('img'), box.querySelector('[role=status]')];
            return picture && said ? [picture.src, said.innerText] : [];
        }""")
    )
