"""An exercise in the browser: a check failed, hinted, passed. And the bar that shows how far a
training is.
"""

import nbformat
import pytest
from nbformat import v4

from browser.access import serious
from kdcourse.exercises import ex04

pytestmark = pytest.mark.timeout(900)
WRONG = """import torch
from torch.nn import functional as F

def soft_target_loss(student_log_probs, teacher_log_probs, temperature):
    log_probs = (student_log_probs, teacher_log_probs)
    student, teacher = (torch.log_softmax(p / temperature, 1) for p in log_probs)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)"""
CHECK = "ex04.soft_target_loss.check(soft_target_loss)"
TRAINING = """from kdcourse.data import load
from kdcourse.distillation import CrossEntropy
from kdcourse.models import thin_resnet
from kdcourse.training import fit

digits = load("digits")
for seed in range(3):
    model = thin_resnet(8, 8, channels=len(digits.channels), classes=len(digits.classes))
    history = fit(model, digits, CrossEntropy(), epochs=60, seed=seed)  # over a second, anywhere
print("trained")"""


def test_a_check_failed_hinted_passed(opened, output):
    exercise = opened("exercises/ex_04_response_distillation.ipynb")
    setup, mine = exercise.cell("import sys"), exercise.cell("def soft_target_loss")
    check = exercise.cell(CHECK)
    exercise.run(setup, 300)

    exercise.run(mine, 60)
    said = exercise.run(check, 60)
    assert said.startswith("○ Not yet.") and "replace its raise NotImplementedError" in said

    exercise.write(mine, WRONG)
    exercise.run(mine, 60)
    said = exercise.run(check, 60)
    assert said.startswith("✘ Not right yet.") and "T²" in said and "hint()" in said

    exercise.write(check, CHECK + "\nex04.soft_target_loss.hint()")
    said = exercise.run(check, 60)
    assert "Hint 1 of" in said and ex04.soft_target_loss.hints[0].replace("`", "") in said
    exercise.photograph(output, "ex04-light")
    with exercise.dark():
        exercise.photograph(output, "ex04-dark")
        found = serious(
            exercise.page, ".jp-Notebook .jp-OutputArea-output", ".jp-Notebook .jp-MarkdownOutput"
        )
    assert found == []

    exercise.write(mine, ex04.soft_target_loss.solution_code())
    exercise.run(mine, 60)
    assert exercise.run(check, 60).startswith("✔ Right: ")
    assert exercise.complaints == []


def test_a_bar_is_seen_while_a_network_trains(opened, lab, output):
    """And is gone when it has: three trainings in a cell leave what is printed, and no empty lines
    above it.
    """
    from browser.page import (
        until,
    )  # not above: it wants Playwright, which only `make test-browser` brings

    content = v4.new_notebook(
        cells=[v4.new_markdown_cell("# Training"), v4.new_code_cell(TRAINING)]
    )
    content.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(content, lab.tree / "notebooks" / "training.ipynb")
    notebook = opened("notebooks/training.ipynb")
    notebook.page.evaluate(
        """() => {
            window.bars = new Set();
            const found = '.jp-OutputArea .widget-hprogress';
            const look = () => document.querySelectorAll(found).forEach(
                bar => window.bars.add(bar.parentElement.innerText));
            const all = {childList: true, subtree: true, characterData: true};
            new MutationObserver(look).observe(document.body, all);
        }"""
    )
    cell = notebook.cell("fit(")
    cell.locator(".cm-content").click()
    notebook.page.keyboard.press("Shift+Enter")
    cell.locator(".widget-hprogress").first.wait_for(timeout=300_000)
    notebook.page.screenshot(path=output / "bar.png")
    shown = cell.locator(".jp-OutputArea").first
    until(lambda: shown.inner_text().strip() == "trained", 600, "the training's end")
    seen = notebook.page.evaluate("[...window.bars]")
    assert any("epoch" in text and "%" in text for text in seen), seen
    assert shown.bounding_box()["height"] < 60
    assert notebook.complaints == []
